-- case: 20
-- title: What utf8mb4 alone means to the session (default_collation_for_utf8mb4)
-- source: mysql
-- target: mysql
SET default_collation_for_utf8mb4 = utf8mb4_general_ci;
CREATE TABLE t (a VARCHAR(10)) CHARACTER SET utf8mb4;
CREATE TABLE u (a VARCHAR(10) CHARACTER SET utf8mb4, b TEXT COLLATE utf8mb4_0900_ai_ci);
ALTER TABLE u ADD c CHAR(3) CHARACTER SET utf8mb4;
SET default_collation_for_utf8mb4 = DEFAULT;
CREATE TABLE v (a VARCHAR(10) CHARACTER SET utf8mb4);
INSERT INTO t VALUES ('ß'), ('x');

-- case: 18
-- title: Collations of uca1400 (MariaDB)
-- source: mariadb
-- target: mariadb
CREATE TABLE t (k VARCHAR(20) COLLATE uca1400_ai_ci PRIMARY KEY, v VARCHAR(20) CHARACTER SET utf8mb3 COLLATE uca1400_as_cs, w TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_uca1400_german2_as_ci, x VARCHAR(5) COLLATE utf8mb4_uca1400_nopad_ai_ci UNIQUE) CHARACTER SET utf8mb4 COLLATE utf8mb4_uca1400_spanish_ai_ci;
INSERT INTO t VALUES ('a', 'á', 'ß', 'a '), ('b', 'Á', 'ss', 'a'), ('ñ', 'x', 'y', NULL);
UPDATE t SET v = 'é' WHERE k = 'A';
UPDATE t SET k = 'Á ' WHERE k = 'a';
ALTER TABLE t ADD y VARCHAR(10), CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_uca1400_nopad_as_cs;
INSERT INTO t (k) VALUES ('A'), ('A ');
ALTER DATABASE {db} COLLATE utf8mb4_uca1400_turkish_ai_ci;
CREATE TABLE u (v VARCHAR(10), w CHAR(5) CHARACTER SET ucs2 COLLATE uca1400_nopad_ai_ci);
INSERT INTO u VALUES ('ı', 'x');
SET NAMES utf8mb4 COLLATE utf8mb4_uca1400_as_ci;
CREATE TABLE cs AS SELECT 'lit' AS l, v FROM u;

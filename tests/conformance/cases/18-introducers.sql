-- case: 18
-- title: Literals, names and defaults of other character sets
-- mariadb-mysql: differs as the other way round, MariaDB takes the literal for the text of its digits
-- mysql-mariadb: differs MariaDB itself takes a hexadecimal literal with an introducer, inside an expression of a column, for the text of its digits
CREATE TABLE t (id INT PRIMARY KEY, a VARCHAR(20) CHARACTER SET utf8mb4 DEFAULT _latin1'é' COMMENT 'é', b VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin DEFAULT _utf16 x'00e9', c ENUM('é', 'x') CHARACTER SET utf8mb4, d SET('é', 'o') CHARACTER SET utf8mb4, g VARCHAR(20) CHARACTER SET utf8mb4 AS (CONCAT(a, _latin1 x'e9')) STORED);
INSERT INTO t (id) VALUES (1);
INSERT INTO t (id, a, b, c, d) VALUES (2, _latin1 x'e9', _utf16 x'd83dde00', 'é', 'é,o'), (3, _binary x'c3a9', N'é', 2, 3);
SET NAMES latin1;
CREATE TABLE u (`Ã©` INT PRIMARY KEY, v VARCHAR(5) CHARACTER SET utf8mb4 DEFAULT 'Ã©', e ENUM('Ã©') CHARACTER SET utf8mb4) COMMENT 'Ã©';
INSERT INTO u (`Ã©`) VALUES (1);
ALTER TABLE u ADD `Ã¨` VARCHAR(9) CHARACTER SET utf8mb4 DEFAULT 'Ã¨' COMMENT 'Ã¨', ADD KEY `kÃ©` (v);
UPDATE u SET `Ã¨` = 'x', e = 'Ã©';
SET NAMES utf8mb4;
SET collation_connection = utf8mb4_unicode_ci;
CREATE TABLE w AS SELECT CONCAT('a', 'b') AS s, 'é' COLLATE utf8mb4_bin AS b;
SET collation_connection = latin1_bin;
CREATE TABLE x AS SELECT CONCAT('a', 'b') AS s, UPPER('x') AS u;
CREATE VIEW vv AS SELECT 'é' AS lit, id FROM t WHERE a = 'é';

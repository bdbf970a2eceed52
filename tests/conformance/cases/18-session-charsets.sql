-- case: 18
-- title: Statements of sessions that speak utf16, gbk, latin1
CREATE TABLE t (id INT PRIMARY KEY, v INT);
INSERT INTO t VALUES (1, 1);
SET character_set_connection = utf16;
ALTER TABLE t ADD w VARCHAR(10) DEFAULT 'ü';
CREATE TABLE u (id INT PRIMARY KEY, v VARCHAR(10) CHARACTER SET utf8mb4 DEFAULT 'ö', g VARCHAR(20) CHARACTER SET utf8mb4 AS (CONCAT('ä', v)) VIRTUAL);
SET NAMES utf8mb4;
UPDATE t SET v = 2;
INSERT INTO u (id) VALUES (1);
SET character_set_connection = gbk;
ALTER TABLE t ADD x VARCHAR(10) DEFAULT '中';
SET character_set_connection = latin1, collation_connection = latin1_german2_ci;
ALTER TABLE t ADD y VARCHAR(10) DEFAULT 'é';
CREATE TABLE s AS SELECT 'ß' AS a, 'b' COLLATE latin1_bin AS b;
SET NAMES utf8mb4;
INSERT INTO t (id) VALUES (2);

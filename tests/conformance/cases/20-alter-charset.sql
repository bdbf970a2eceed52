-- case: 20
-- title: The table character set changes what later columns get
-- copied: differs a full load makes the table from what `SHOW CREATE TABLE` says, as a dump does: a column of a converted table shows its character set in words
-- mariadb-copied: equal
SET NAMES utf8mb4;
CREATE TABLE t (id INT PRIMARY KEY, a VARCHAR(20)) CHARACTER SET latin1;
INSERT INTO t VALUES (1, 'äß');
ALTER TABLE t CHARACTER SET gbk;
ALTER TABLE t ADD b VARCHAR(20), ADD c TEXT CHARACTER SET ucs2;
INSERT INTO t VALUES (2, 'é', '中', '文');
ALTER TABLE t CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
INSERT INTO t VALUES (3, '😀', '😀', '😀');
UPDATE t SET a = '中' WHERE id = 1;
ALTER DATABASE `{db}` CHARACTER SET sjis;
CREATE TABLE u (id INT PRIMARY KEY, a VARCHAR(10));
INSERT INTO u VALUES (1, 'ア');
ALTER TABLE u DEFAULT CHARACTER SET latin1, ADD b CHAR(3);
INSERT INTO u VALUES (2, 'あ', 'ü');

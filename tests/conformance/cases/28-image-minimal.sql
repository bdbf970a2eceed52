-- case: 28
-- title: binlog_row_image = MINIMAL
SET binlog_row_image = 'MINIMAL';
CREATE TABLE t (id INT PRIMARY KEY, a INT DEFAULT 5, b VARCHAR(20) DEFAULT 'b', c TEXT, u INT UNIQUE);
INSERT INTO t (id, a) VALUES (1, 1), (2, NULL);
INSERT INTO t VALUES (3, 3, NULL, 'text', 30), (4, 4, 'four', NULL, 40);
UPDATE t SET a = NULL WHERE id = 1;
UPDATE t SET c = 'new', u = 41 WHERE id = 4;
UPDATE t SET id = 20, b = NULL WHERE id = 2;
UPDATE t SET a = 0 WHERE a IS NULL;
DELETE FROM t WHERE id = 3;
CREATE TABLE k (a INT, b INT, c TEXT, UNIQUE (a));
INSERT INTO k VALUES (1, 1, 'x'), (2, 2, 'y'), (NULL, 3, 'z');
UPDATE k SET b = 9 WHERE a = 1;
DELETE FROM k WHERE b = 2;

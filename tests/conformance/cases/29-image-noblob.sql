-- case: 29
-- title: binlog_row_image = NOBLOB
SET binlog_row_image = 'NOBLOB';
CREATE TABLE t (id INT PRIMARY KEY, a INT, b BLOB, c TEXT, j JSON);
INSERT INTO t VALUES (1, 1, x'00ff', 'one', '{"a": 1}'), (2, 2, NULL, NULL, NULL), (3, 3, 'b', 'c', '[]');
UPDATE t SET a = 10 WHERE id = 1;
UPDATE t SET b = x'01' WHERE id = 2;
UPDATE t SET c = NULL WHERE id = 1;
DELETE FROM t WHERE id = 3;

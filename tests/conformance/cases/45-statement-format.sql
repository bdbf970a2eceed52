-- case: 45
-- title: Rows written as statements (binlog_format = STATEMENT)
-- expect: refused logged as text
-- note: a session that writes statements instead of rows cannot be followed
CREATE TABLE t (id INT PRIMARY KEY, v INT);
INSERT INTO t VALUES (1, 1);
SET binlog_format = 'STATEMENT';
INSERT INTO t VALUES (2, 2);
UPDATE t SET v = 3;

-- case: 47
-- title: The text of statements beside their rows
-- source: mysql
SET binlog_rows_query_log_events = ON;
CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20));
INSERT INTO t VALUES (1, 'ü'), (2, ';');
UPDATE t SET v = 'x' /* a comment */ WHERE id = 1;
DELETE FROM t WHERE id = 2;

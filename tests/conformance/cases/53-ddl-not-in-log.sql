-- case: 53
-- title: DDL that the log does not hold (sql_log_bin = 0)
-- expect: refused column
CREATE TABLE t (id INT PRIMARY KEY, v INT);
INSERT INTO t VALUES (1, 1);
SET sql_log_bin = 0;
ALTER TABLE t ADD w VARCHAR(10);
SET sql_log_bin = 1;
INSERT INTO t VALUES (2, 2, 'two');

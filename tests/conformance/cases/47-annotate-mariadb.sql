-- case: 47
-- title: The text of statements beside their rows (MariaDB)
-- source: mariadb
SET binlog_annotate_row_events = ON;
CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20));
INSERT INTO t VALUES (1, 'ü'), (2, ';');
UPDATE t SET v = 'x' /* a comment */ WHERE id = 1;
DELETE FROM t WHERE id = 2;

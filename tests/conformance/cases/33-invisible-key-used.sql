-- case: 33
-- title: A generated invisible primary key is named, shown, copied, dropped
-- source: mysql
-- target: mysql
SET SESSION sql_generate_invisible_primary_key = 1;
CREATE TABLE t (a INT, b TEXT);
INSERT INTO t VALUES (1, 'x'), (1, 'x'), (2, 'y');
UPDATE t SET b = 'z' WHERE a = 1 LIMIT 1;
INSERT INTO t (my_row_id, a) VALUES (100, 5);
CREATE TABLE l LIKE t;
INSERT INTO l SELECT * FROM t;
CREATE TABLE s AS SELECT a FROM t;
UPDATE s SET a = 3 LIMIT 1;
ALTER TABLE t ALTER COLUMN my_row_id SET VISIBLE;
INSERT INTO t VALUES (200, 7, 'v');
ALTER TABLE t MODIFY my_row_id BIGINT UNSIGNED NOT NULL, DROP PRIMARY KEY, ADD PRIMARY KEY (a, my_row_id);
SET SESSION sql_generate_invisible_primary_key = 0;
ALTER TABLE l DROP PRIMARY KEY, DROP COLUMN my_row_id;
DELETE FROM l WHERE a = 1 LIMIT 1;
SET SESSION sql_generate_invisible_primary_key = 0;
CREATE TABLE p (a INT) PARTITION BY HASH (a) PARTITIONS 2;
INSERT INTO p VALUES (1), (1), (NULL);

-- case: 33
-- title: A generated invisible primary key
-- source: mysql
-- target: mysql
SET sql_generate_invisible_primary_key = ON;
CREATE TABLE t (a INT, b VARCHAR(10));
INSERT INTO t VALUES (1, 'x'), (1, 'x'), (2, 'y');
UPDATE t SET b = 'z' WHERE a = 1 LIMIT 1;
DELETE FROM t WHERE a = 1 LIMIT 1;
ALTER TABLE t ALTER COLUMN my_row_id SET VISIBLE;
INSERT INTO t (a) VALUES (3);
-- @probe SELECT my_row_id, a, b FROM `{db}`.t ORDER BY 1

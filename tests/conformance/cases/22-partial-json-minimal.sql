-- case: 22
-- title: Partial JSON updates with MINIMAL images: no value to change
-- source: mysql
-- target: mysql
CREATE TABLE t (id INT PRIMARY KEY, j JSON, k JSON, v INT);
INSERT INTO t VALUES (1, JSON_OBJECT('a', 1, 'long', REPEAT('x', 500)), '[1, 2]', 1), (2, JSON_OBJECT('a', REPEAT('y', 500)), NULL, 2);
SET binlog_row_value_options = 'PARTIAL_JSON', binlog_row_image = 'MINIMAL';
UPDATE t SET j = JSON_SET(j, '$.a', 3, '$.c', 'new');
UPDATE t SET j = JSON_REMOVE(j, '$.c') WHERE id = 2;
DELETE FROM t WHERE id = 2;

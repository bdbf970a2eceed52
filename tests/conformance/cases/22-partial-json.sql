-- case: 22
-- title: Partial JSON updates (PARTIAL_JSON)
-- source: mysql
-- target: mysql
SET binlog_row_value_options = 'PARTIAL_JSON';
CREATE TABLE t (id INT PRIMARY KEY, j JSON, k JSON, v INT);
INSERT INTO t VALUES (1, JSON_OBJECT('a', 1, 'b', JSON_ARRAY(1, 2, 3), 'long', REPEAT('x', 500)), '[1, 2]', 1), (2, JSON_OBJECT('a', REPEAT('y', 500)), NULL, 2);
UPDATE t SET j = JSON_SET(j, '$.a', 2);
UPDATE t SET j = JSON_REPLACE(j, '$.b[1]', 1.5e0), k = JSON_ARRAY_APPEND(k, '$', 3) WHERE id = 1;
UPDATE t SET j = JSON_REMOVE(j, '$.b[0]'), v = 5;
UPDATE t SET k = JSON_SET(k, '$.x', CAST('2024-01-01' AS DATE)), v = NULL;

-- case: 22
-- title: Chains of partial JSON updates under every row image, with columns computed from them
-- source: mysql
-- target: mysql
CREATE TABLE t (id INT PRIMARY KEY, d JSON, e JSON, t TEXT, s VARCHAR(40) AS (d->>'$.name') STORED, n INT AS (d->>'$.n') VIRTUAL, KEY (s), KEY (n));
SET SESSION binlog_row_value_options = PARTIAL_JSON, binlog_row_image = NOBLOB;
INSERT INTO t (id, d, e, t) VALUES (1, CONCAT('{"name":"a","n":1,"arr":[1,2,{"x":"', REPEAT('y', 500), '"}],"s":"', REPEAT('z', 1000), '"}'), '[]', 'text'), (2, NULL, '{"a":{"b":[]}}', NULL);
UPDATE t SET d = JSON_SET(d, '$.n', 2), e = JSON_ARRAY_APPEND(e, '$', 1);
UPDATE t SET d = JSON_SET(JSON_REMOVE(JSON_REPLACE(d, '$.name', 'b'), '$.arr[0]'), '$.arr[1].x', 'short', '$.new', CAST('2024-01-01' AS DATE)) WHERE id = 1;
UPDATE t SET d = JSON_SET(d, '$.arr[9]', 'end'), t = 'changed' WHERE id = 1;
UPDATE t SET e = JSON_SET(e, '$.a.b', JSON_ARRAY(1.10, TRUE, NULL)), d = '{"name":"n"}' WHERE id = 2;
UPDATE t SET d = JSON_INSERT(d, '$.name', 'no', '$."odd key"', 1, '$."q\\"uote"', 2) WHERE id = 2;
UPDATE t SET d = JSON_SET(d, '$.x', 18446744073709551615, '$.y', -1e300, '$.z', CAST(1.50 AS DECIMAL(5,2)), '$.b', CAST('b' AS BINARY)) WHERE id = 2;
UPDATE t SET id = id + 10;
UPDATE t SET d = JSON_REMOVE(d, '$.name') ORDER BY id;
BEGIN;
UPDATE t SET d = JSON_SET(d, '$.k', 1) WHERE id = 11;
UPDATE t SET d = JSON_SET(d, '$.k', 2) WHERE id = 11;
UPDATE t SET d = JSON_SET(d, '$.k', 3), e = NULL WHERE id = 11;
DELETE FROM t WHERE id = 12;
COMMIT;
SET SESSION binlog_row_image = FULL;
UPDATE t SET d = JSON_SET(d, '$.k', 4);
SET SESSION binlog_row_image = MINIMAL;
UPDATE t SET d = JSON_SET(d, '$.k', 5, '$.s', REPEAT('w', 999));
CREATE TABLE k (d JSON, v INT);
INSERT INTO k VALUES ('{"a":1,"b":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}', 1), ('{"a":1,"b":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}', 1), (NULL, 2);
UPDATE k SET d = JSON_SET(d, '$.a', 2) LIMIT 1;
UPDATE k SET d = JSON_SET(d, '$.b', 'y');

-- case: 21
-- title: JSON: opaque DECIMAL, DATE, TIME, BIT and BLOB values
-- source: mysql
-- target: mysql
-- note: the document prints the same, but a date arrives as a string, and a DECIMAL that a double prints as becomes one (JSON_TYPE tells)
CREATE TABLE t (id INT PRIMARY KEY, j JSON, kind VARCHAR(40) AS (JSON_TYPE(JSON_EXTRACT(j, '$.v'))) STORED);
INSERT INTO t (id, j) VALUES (2, '{"v": 1}'), (7, '{}');
INSERT INTO t (id, j) VALUES (20, JSON_OBJECT('v', CAST(1.50 AS DECIMAL(65,30)))), (21, JSON_OBJECT('v', CAST('2024-02-29 01:02:03.000004' AS DATETIME(6)))), (22, JSON_OBJECT('v', CAST('-838:59:58.5' AS TIME(6)))), (23, JSON_OBJECT('v', CAST('2024-02-29' AS DATE))), (24, JSON_OBJECT('v', x'00ff27')), (25, JSON_OBJECT('v', 3.14)), (26, JSON_OBJECT('v', b'101')), (27, JSON_ARRAY(1.10, CAST(7 AS UNSIGNED), CAST(-7 AS SIGNED), 1e0, TRUE));
UPDATE t SET j = JSON_SET(j, '$.v', 1.0) WHERE id = 2;
UPDATE t SET j = '{"v": 1}' WHERE id = 21;
UPDATE t SET j = JSON_OBJECT('v', TIMESTAMP'1999-01-01 00:00:00') WHERE id = 7;
DELETE FROM t WHERE id = 24;
-- @probe SELECT id, JSON_TYPE(JSON_EXTRACT(j, '$.v')) FROM `{db}`.t ORDER BY id

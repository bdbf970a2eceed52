-- case: 21
-- title: JSON: opaque DECIMAL, DATE, TIME, BIT and BLOB values
-- source: mysql
-- target: mysql
-- copied: differs a full load reads documents as the text that the server sends, as a dump does: a date arrives as a string, and a DECIMAL that a double prints as becomes one (JSON_TYPE tells)
CREATE TABLE t (id INT PRIMARY KEY, j JSON, kind VARCHAR(40) AS (JSON_TYPE(JSON_EXTRACT(j, '$.v'))) STORED);
INSERT INTO t (id, j) VALUES (2, '{"v": 1}'), (7, '{}');
INSERT INTO t (id, j) VALUES (20, JSON_OBJECT('v', CAST(1.50 AS DECIMAL(65,30)))), (21, JSON_OBJECT('v', CAST('2024-02-29 01:02:03.000004' AS DATETIME(6)))), (22, JSON_OBJECT('v', CAST('-838:59:58.5' AS TIME(6)))), (23, JSON_OBJECT('v', CAST('2024-02-29' AS DATE))), (24, JSON_OBJECT('v', x'00ff27')), (25, JSON_OBJECT('v', 3.14)), (26, JSON_OBJECT('v', b'101')), (27, JSON_ARRAY(1.10, CAST(7 AS UNSIGNED), CAST(-7 AS SIGNED), 1e0, TRUE));
UPDATE t SET j = JSON_SET(j, '$.v', 1.0) WHERE id = 2;
UPDATE t SET j = '{"v": 1}' WHERE id = 21;
UPDATE t SET j = JSON_OBJECT('v', TIMESTAMP'1999-01-01 00:00:00') WHERE id = 7;
DELETE FROM t WHERE id = 24;
-- @probe SELECT id, JSON_TYPE(JSON_EXTRACT(j, '$.v')) FROM `{db}`.t ORDER BY id
CREATE TABLE o (id INT PRIMARY KEY, a VARBINARY(10), b BINARY(3), c TINYBLOB, d BLOB, e MEDIUMBLOB, f LONGBLOB, g BIT(10), y YEAR, ts TIMESTAMP(6) NULL, u BIGINT UNSIGNED, s BIGINT);
INSERT INTO o VALUES (1, x'ff00', x'ff', x'27', REPEAT(x'5c', 300), x'00', REPEAT(x'ff', 70000), b'1000000001', 2024, '2024-02-29 01:02:03.5', 7, 5000000000), (2, '', '', '', '', '', '', 0, 0, '1999-01-01 00:00:00', 18446744073709551615, -5000000000);
CREATE TABLE oj (id INT PRIMARY KEY, j JSON);
INSERT INTO oj SELECT id, JSON_ARRAY(a, b, c, d, e, f, g, y, ts, u, s) FROM o;
INSERT INTO oj SELECT id + 10, JSON_OBJECT('plain', 1) FROM o;
UPDATE oj SET j = JSON_SET(j, '$.at', JSON_ARRAY(CAST('2024-01-01' AS DATE), CAST(-0.50 AS DECIMAL(4,2)))) WHERE id > 10;
UPDATE oj SET j = JSON_ARRAY_INSERT(j, '$[0]', CAST('00:00:01' AS TIME)) WHERE id < 10;
CREATE TABLE keyless (j JSON, n INT);
INSERT INTO keyless SELECT j, id FROM oj;
INSERT INTO keyless SELECT j, id FROM oj;
UPDATE keyless SET n = -n LIMIT 3;
DELETE FROM keyless LIMIT 2;
-- @probe SELECT id, JSON_TYPE(j->'$[0]'), JSON_TYPE(j->'$[1]'), JSON_TYPE(j->'$[2]'), JSON_TYPE(j->'$[3]'), JSON_TYPE(j->'$[4]'), JSON_TYPE(j->'$[5]'), JSON_TYPE(j->'$[6]'), JSON_TYPE(j->'$[7]'), JSON_TYPE(j->'$[8]'), JSON_TYPE(j->'$[9]'), JSON_TYPE(j->'$[10]'), JSON_TYPE(j->'$[11]'), JSON_TYPE(j->'$.at[0]'), JSON_TYPE(j->'$.at[1]') FROM `{db}`.oj ORDER BY id

-- case: 21
-- title: JSON numbers, opaque values, NUL in strings
-- source: mysql
-- target: mysql
SET NAMES utf8mb4;
CREATE TABLE t (id INT PRIMARY KEY, j JSON, kind VARCHAR(40) AS (JSON_TYPE(JSON_EXTRACT(j, '$.v'))) STORED);
INSERT INTO t (id, j) VALUES (1, '{"v": 1.0}'), (2, '{"v": 1}'), (3, '{"v": 18446744073709551615}'), (4, '{"v": -9223372036854775808}'), (5, '{"v": 1e100}'), (6, '{"v": "a\\u0000b"}'), (7, '{}'), (8, '[]'), (9, '""'), (10, 'null'), (11, NULL), (12, '{"": {"": []}}'), (13, '{"v": 0.1, "w": -0.0, "x": 123456789012345678901234567890}');
INSERT INTO t (id, j) VALUES (30, JSON_OBJECT('b', 1, 'aa', 2, 'a', 3, 'ü', '😀"\\/\n\t')), (31, JSON_OBJECT('k', REPEAT('x', 70000))), (32, CONCAT('[', REPEAT('1,', 40000), '1]')), (33, CONCAT(REPEAT('[', 90), REPEAT(']', 90)));
UPDATE t SET j = JSON_REMOVE(j, '$.b') WHERE id = 30;
-- @probe SELECT id, JSON_TYPE(j), JSON_TYPE(JSON_EXTRACT(j, '$[0]')), JSON_TYPE(JSON_EXTRACT(j, '$.v')) FROM `{db}`.t ORDER BY id

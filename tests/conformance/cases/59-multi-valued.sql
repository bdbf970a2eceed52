-- case: 59
-- title: Multi-valued indexes of JSON, keys over expressions with collations
-- source: mysql
-- target: mysql
CREATE TABLE t (id INT PRIMARY KEY, d JSON, n VARCHAR(40), KEY zips ((CAST(d->'$.zip' AS UNSIGNED ARRAY))), UNIQUE KEY tags ((CAST(d->'$.tags' AS CHAR(20) ARRAY))), KEY coll ((CAST(n AS CHAR(10)) COLLATE utf8mb4_bin) DESC), KEY mix (n, (CAST(d->'$.d' AS DATE ARRAY)), id));
INSERT INTO t VALUES (1, '{"zip":[1,2,3],"tags":["a","b"],"d":["2024-01-02"]}', 'Abc'), (2, '{"zip":4,"tags":["c"]}', 'abc'), (3, '{"zip":[]}', NULL), (4, NULL, 'x');
UPDATE t SET d = JSON_SET(d, '$.zip', JSON_ARRAY(7, 8)) WHERE id = 1;
UPDATE t SET d = JSON_SET(d, '$.tags', JSON_ARRAY('a', 'z')), n = 'ABC' WHERE id = 1;
BEGIN;
UPDATE t SET d = '{"tags":["q"]}' WHERE id = 1;
UPDATE t SET d = '{"tags":["a","b"]}' WHERE id = 2;
COMMIT;
REPLACE INTO t VALUES (9, '{"tags":["a"]}', 'r');
DELETE FROM t WHERE 8 MEMBER OF (d->'$.zip');
ALTER TABLE t DROP KEY zips, ADD KEY zips2 ((CAST(d->'$.zip' AS DECIMAL(10,2) ARRAY)));
UPDATE t SET d = '{"zip":[1.5,2.25]}' WHERE id = 4;
CREATE INDEX lower_n ON t ((LOWER(n)), (id * -1) DESC);
ALTER TABLE t RENAME INDEX lower_n TO ln, ALTER INDEX mix INVISIBLE;
UPDATE t SET id = id + 100;

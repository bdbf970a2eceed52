-- case: 59
-- title: Keys over generated columns, JSON and hashes of long texts, that change places (MariaDB)
-- source: mariadb
-- target: mariadb
CREATE TABLE t (id INT PRIMARY KEY, d JSON, s VARCHAR(40) AS (JSON_VALUE(d, '$.n')) PERSISTENT, v INT AS (JSON_LENGTH(d)) VIRTUAL, UNIQUE (s), KEY (v), long_text TEXT UNIQUE, b BLOB, UNIQUE KEY hb (b, long_text));
INSERT INTO t (id, d, long_text, b) VALUES (1, '{"n": "a"}', 'x', 'x'), (2, '{"n": "b", "z": [1]}', NULL, 'y'), (3, NULL, NULL, NULL);
BEGIN;
UPDATE t SET long_text = 'tmp' WHERE id = 1;
UPDATE t SET long_text = 'x' WHERE id = 2;
UPDATE t SET long_text = 'y', d = '{"n": "c"}' WHERE id = 1;
UPDATE t SET d = '{"n": "a"}' WHERE id = 3;
COMMIT;
REPLACE INTO t (id, d, long_text) VALUES (9, '{"n": "c"}', 'x');
ALTER TABLE t DROP INDEX hb, ADD UNIQUE (b, id), MODIFY d LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin CHECK (JSON_VALID(d) OR d = '{"n":"x"}');
UPDATE t SET d = '{"n":"x"}' WHERE id = 3;

-- case: 59
-- title: Generated columns and the hidden ones of functional indexes
-- source: mysql
-- target: mysql
CREATE TABLE t (id INT PRIMARY KEY, a INT, b INT AS (a * 2) STORED, c INT AS (a + 1) VIRTUAL, d JSON, UNIQUE KEY (b), KEY (c), KEY f ((a % 10)), KEY g ((CAST(d->>'$.k' AS CHAR(20)))));
INSERT INTO t (id, a, d) VALUES (1, 5, '{"k": "x"}'), (2, 6, NULL);
UPDATE t SET a = 7 WHERE id = 1;
DELETE FROM t WHERE b = 12;
ALTER TABLE t ADD e VARCHAR(20) AS (CONCAT('e', a)) VIRTUAL AFTER id, ADD UNIQUE u ((a + 1000));
INSERT INTO t (id, a) VALUES (3, 8);
UPDATE t SET id = 30 WHERE id = 3;
CREATE TABLE k (a INT, b INT AS (a + 1) VIRTUAL);
INSERT INTO k (a) VALUES (1), (1), (NULL);
DELETE FROM k WHERE b = 2 LIMIT 1;
CREATE TABLE p (a INT, b INT AS (a * 10) STORED PRIMARY KEY, v INT);
INSERT INTO p (a, v) VALUES (1, 1), (2, 2);
UPDATE p SET v = 9 WHERE b = 10;
UPDATE p SET a = 5 WHERE b = 20;

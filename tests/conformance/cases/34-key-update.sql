-- case: 34
-- title: The primary key changes
CREATE TABLE t (id INT PRIMARY KEY, v INT);
INSERT INTO t VALUES (1, 1), (2, 2), (3, 3), (4, 4);
UPDATE t SET id = id + 1 ORDER BY id DESC;
UPDATE t SET id = 100 WHERE id = 3;
BEGIN;
UPDATE t SET id = 200 WHERE id = 100;
UPDATE t SET id = 3 WHERE id = 2;
UPDATE t SET id = 2 WHERE id = 200;
INSERT INTO t VALUES (200, 9);
DELETE FROM t WHERE id = 2;
INSERT INTO t VALUES (2, 8);
COMMIT;
-- @restart loader
UPDATE t SET id = -id;
CREATE TABLE c (a VARCHAR(10), b INT, v INT, PRIMARY KEY (a, b));
INSERT INTO c VALUES ('a', 1, 1), ('A ', 2, 2);
UPDATE c SET a = 'A' WHERE b = 1;
UPDATE c SET a = 'a', b = b + 1 ORDER BY b DESC;

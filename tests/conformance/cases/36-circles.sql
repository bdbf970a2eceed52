-- case: 36
-- title: Foreign keys in a circle and to the table itself, with cascades
CREATE TABLE a (id INT PRIMARY KEY, b INT);
CREATE TABLE b (id INT PRIMARY KEY, a INT, FOREIGN KEY (a) REFERENCES a (id) ON DELETE CASCADE ON UPDATE SET NULL);
ALTER TABLE a ADD FOREIGN KEY (b) REFERENCES b (id) ON DELETE SET NULL;
INSERT INTO a VALUES (1, NULL), (2, NULL);
INSERT INTO b VALUES (1, 1), (2, 2), (3, 1);
UPDATE a SET b = id;
BEGIN;
UPDATE a SET id = 10 WHERE id = 1;
DELETE FROM b WHERE id = 2;
DELETE FROM a WHERE id = 2;
INSERT INTO a VALUES (1, 3);
UPDATE b SET a = 1 WHERE id = 3;
COMMIT;
CREATE TABLE s (id INT PRIMARY KEY, p INT, n INT AS (id + 1) STORED, FOREIGN KEY (p) REFERENCES s (id) ON DELETE SET NULL);
INSERT INTO s (id, p) VALUES (1, 1), (2, 1), (3, 2), (4, 3);
DELETE FROM s WHERE id = 2;
BEGIN;
UPDATE s SET p = NULL WHERE id = 1;
DELETE FROM s WHERE id = 1;
INSERT INTO s (id, p) VALUES (1, 4), (5, 5);
UPDATE s SET p = id;
COMMIT;
SET foreign_key_checks = 0;
DELETE FROM s WHERE id = 4;
INSERT INTO s (id, p) VALUES (9, 99);
SET foreign_key_checks = 1;
UPDATE s SET p = 9 WHERE id = 9;

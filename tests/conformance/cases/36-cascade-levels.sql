-- case: 36
-- title: Cascades over several levels, to itself, across databases, and with checks off
-- mariadb-mysql: differs MySQL 9.7 itself leaves a grandchild of a row that two foreign keys reach; MariaDB does not, and logs no cascades
CREATE TABLE r (id INT PRIMARY KEY, code VARCHAR(10) UNIQUE);
CREATE TABLE m (id INT PRIMARY KEY, r INT, rc VARCHAR(10), FOREIGN KEY (r) REFERENCES r (id) ON DELETE CASCADE ON UPDATE CASCADE, FOREIGN KEY (rc) REFERENCES r (code) ON DELETE SET NULL ON UPDATE CASCADE);
CREATE TABLE l (id INT PRIMARY KEY, m INT, FOREIGN KEY (m) REFERENCES m (id) ON DELETE CASCADE);
CREATE TABLE n (id INT PRIMARY KEY, l INT, FOREIGN KEY (l) REFERENCES l (id) ON DELETE SET NULL);
CREATE TABLE s (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES s (id) ON DELETE CASCADE);
INSERT INTO r VALUES (1, 'one'), (2, 'two'), (3, 'three');
INSERT INTO m VALUES (1, 1, 'two'), (2, 1, 'three'), (3, 2, 'one'), (4, 3, 'three'), (5, NULL, NULL);
INSERT INTO l SELECT id, id FROM m;
INSERT INTO n SELECT id, id FROM l;
INSERT INTO s VALUES (1, NULL), (2, 1), (3, 2), (4, 3), (5, 1), (6, 6);
UPDATE r SET code = 'ONE' WHERE id = 1;
UPDATE r SET id = 10, code = 'un' WHERE id = 1;
DELETE FROM r WHERE id = 10;
DELETE FROM s WHERE id = 2;
BEGIN;
DELETE FROM r WHERE id = 3;
INSERT INTO r VALUES (3, 'three');
INSERT INTO m VALUES (6, 3, 'three');
DELETE FROM r WHERE id = 2;
COMMIT;
SET foreign_key_checks = 0;
INSERT INTO m VALUES (7, 777, 'none');
DELETE FROM r WHERE id = 3;
SET foreign_key_checks = 1;
INSERT INTO r VALUES (777, 'seven');
DELETE FROM r WHERE id = 777;
CREATE DATABASE {db}_2;
CREATE TABLE {db}_2.c (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES {db}.s (id) ON DELETE CASCADE);
INSERT INTO {db}_2.c VALUES (1, 5), (2, 6);
DELETE FROM s WHERE id = 5;

-- case: 55
-- title: Several renames in one statement, and swaps
CREATE DATABASE `{db}_2`;
CREATE TABLE a (id INT PRIMARY KEY, v INT);
CREATE TABLE b (id INT PRIMARY KEY, w TEXT, x INT);
INSERT INTO a VALUES (1, 1);
INSERT INTO b VALUES (1, 'b', 2);
RENAME TABLE a TO tmp, b TO a, tmp TO b;
INSERT INTO a VALUES (2, 'a', 3);
INSERT INTO b VALUES (2, 2);
RENAME TABLE a TO `{db}_2`.c, b TO a;
INSERT INTO `{db}_2`.c VALUES (3, 'c', 4);
ALTER TABLE a RENAME TO `{db}_2`.a, ADD n INT;
ALTER TABLE `{db}_2`.c RENAME AS d;
RENAME TABLES d TO `{db}_2`.e, `{db}_2`.a TO b;
INSERT INTO b VALUES (9, 9, 9);

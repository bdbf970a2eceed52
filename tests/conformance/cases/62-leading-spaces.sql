-- case: 62
-- title: Names with spaces before them, signs, digits, keywords
CREATE TABLE ` lead` (` id` INT PRIMARY KEY, `​zero` INT, `ﬀ` INT, `İ` INT, `ß` INT, `select` INT, `1` INT, `1e5` INT, `a$b` INT, `@x` INT, `?` INT, `:y` INT, `%s` INT, `a,b` INT, `(c)` INT, `/*d*/` INT, `--e` INT, `"f"` INT, `'g'` INT, `h``h` INT, `\n` INT);
INSERT INTO ` lead` VALUES (1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21),(2,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21);
UPDATE ` lead` SET `​zero` = 7, `h``h` = 8, `\n` = 9, `?` = 10 WHERE ` id` = 1;
UPDATE ` lead` SET `1e5` = 7, `select` = 8;
DELETE FROM ` lead` WHERE ` id` = 2;
ALTER TABLE ` lead` RENAME COLUMN `/*d*/` TO `*/`, ADD INDEX `i'd"x` (`a,b`, `*/`), DROP COLUMN `--e`;
ALTER TABLE ` lead` CHANGE `?` `¿` BIGINT AFTER `ß`;
UPDATE ` lead` SET `*/` = -1;
RENAME TABLE ` lead` TO `1234`;
CREATE TABLE `select` (`from` INT, `where` INT, PRIMARY KEY (`from`)) COMMENT '`x` /* y */ -- z # "q"';
INSERT INTO `select` VALUES (1, 1);
CREATE TABLE a$b LIKE `select`;
INSERT INTO a$b SELECT * FROM `select`;
CREATE TABLE 1a (2b INT PRIMARY KEY, e1 INT);
INSERT INTO 1a VALUES (1, 1);
ALTER TABLE 1a ADD COLUMN 3c INT;
UPDATE 1a SET 3c = 3;
CREATE VIEW `v w` AS SELECT `from` AS ` x`, 1 AS `a``b` FROM `select`;

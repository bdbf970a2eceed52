-- case: 62
-- title: Names with quotes, brackets, backslash, dot, spaces, emoji
SET NAMES utf8mb4;
CREATE TABLE `a.b``c` (`i'd` INT PRIMARY KEY, `"x"` INT, `[y]` INT, `a\\b` INT, `ü 中` VARCHAR(20), `select` INT, `1` INT, `$` INT);
INSERT INTO `a.b``c` VALUES (1, 1, 1, 1, '中', 1, 1, 1);
UPDATE `a.b``c` SET `"x"` = 2, `[y]` = 3, `ü 中` = 'ü' WHERE `i'd` = 1;
CREATE TABLE `a` (`b.c` INT PRIMARY KEY);
CREATE TABLE `a_b.c` (id INT PRIMARY KEY);
CREATE TABLE `a.b_c` (id INT PRIMARY KEY, v INT);
INSERT INTO `a` VALUES (1);
INSERT INTO `a_b.c` VALUES (2);
INSERT INTO `a.b_c` VALUES (3, 3);
CREATE TABLE `naïve 表;--` (id INT PRIMARY KEY, `the key` INT, UNIQUE KEY `k ``;` (`the key`));
INSERT INTO `naïve 表;--` VALUES (1, 1);
ALTER TABLE `naïve 表;--` ADD `/* c */` INT, RENAME `#2 %s ?`;
INSERT INTO `#2 %s ?` VALUES (2, 2, 2);
DROP TABLE `a`;

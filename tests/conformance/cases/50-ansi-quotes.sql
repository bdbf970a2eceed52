-- case: 50
-- title: ANSI_QUOTES, PIPES_AS_CONCAT, NO_BACKSLASH_ESCAPES, quotes in comments
-- @verbatim
SET sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES,PIPES_AS_CONCAT,IGNORE_SPACE'
-- @verbatim
CREATE TABLE "t ""x" ("id" INT PRIMARY KEY, "a`b" VARCHAR(40) DEFAULT 'c:\dir\' COMMENT 'it''s "quoted"', c VARCHAR(40) AS ("a`b" || 'x') STORED)
-- @verbatim
INSERT INTO "t ""x" (id) VALUES (1), (2)
-- @verbatim
UPDATE "t ""x" SET "a`b" = '\' WHERE id = 2
-- @verbatim
ALTER TABLE "t ""x" ADD "drop table x" INT COMMENT 'a; b -- c /* d', ADD KEY "k" ("a`b")
-- @session main
SET sql_mode = DEFAULT;
ALTER TABLE `t "x` ADD d VARCHAR(20) DEFAULT "\"'\\" COMMENT "don't";
INSERT INTO `t "x` (id) VALUES (3);
SET sql_mode = 'HIGH_NOT_PRECEDENCE,NO_UNSIGNED_SUBTRACTION';
CREATE TABLE m (a INT, b INT AS (NOT 1 BETWEEN -5 AND 5));
INSERT INTO m (a) VALUES (1);
SET sql_mode = '';
CREATE TABLE strict (a INT NOT NULL DEFAULT 1, d DATE DEFAULT '0000-00-00');
INSERT INTO strict (a) VALUES (2);

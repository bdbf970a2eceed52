-- case: 15
-- title: ENUM: invalid value, commas, quotes and multibyte in labels
-- copied: differs a full load makes the table from what `SHOW CREATE TABLE` says, as a dump does: the server prints a label beyond three bytes of UTF-8 as `?`
SET sql_mode = '';
CREATE TABLE t (id INT PRIMARY KEY, e ENUM('a,b', 'it''s', 'ü', '', '😀', 'A B', '\\', '0', '1'), f ENUM('x', 'ß') CHARACTER SET latin1, g ENUM('中', '文') CHARACTER SET gbk) CHARACTER SET utf8mb4;
INSERT INTO t VALUES (1, 'a,b', 'x', '中'), (2, 'no such', 'no', 'no'), (3, '', 'ß', '文'), (4, '0', 2, 1), (5, 8, 0, 0), (6, '😀', '', ''), (7, NULL, NULL, NULL), (8, '\\', 1, 2);
UPDATE t SET e = 'no such' WHERE id = 4;
UPDATE t SET e = '1' WHERE id = 2;
CREATE TABLE wide (id INT PRIMARY KEY, e ENUM('v1') );
SET @labels = NULL;
ALTER TABLE wide MODIFY e ENUM('v1','v2','v3','v0');
INSERT INTO wide VALUES (1, 'v0'), (2, 'bad');
CREATE TABLE keyless (e ENUM('a', '', 'b'));
INSERT INTO keyless VALUES ('a'), ('bad'), (''), ('bad');
DELETE FROM keyless WHERE e = 0 LIMIT 1;
-- @probe SELECT id, e + 0, f + 0, g + 0 FROM `{db}`.t ORDER BY id
-- @probe SELECT e + 0, COUNT(*) FROM `{db}`.keyless GROUP BY 1 ORDER BY 1

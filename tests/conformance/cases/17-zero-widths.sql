-- case: 17
-- title: BINARY(0), VARCHAR(0), CHAR(0); empty strings and NULL
CREATE TABLE t (id INT PRIMARY KEY, a CHAR(0), b VARCHAR(0), c BINARY(0), d VARBINARY(0), e CHAR(0) NOT NULL, f TINYTEXT, g TINYBLOB, h CHAR(3), i BINARY(3));
INSERT INTO t VALUES (1, '', '', '', '', '', '', '', '', ''), (2, NULL, NULL, NULL, NULL, '', NULL, NULL, NULL, NULL), (3, NULL, '', NULL, '', '', '', NULL, ' ', ' ');
UPDATE t SET a = '', b = NULL WHERE id > 1;
UPDATE t SET f = NULL, g = '', h = '', i = x'20';
DELETE FROM t WHERE id = 1;
CREATE TABLE k (a CHAR(0), b VARCHAR(0));
INSERT INTO k VALUES ('', ''), (NULL, ''), ('', NULL), (NULL, NULL), (NULL, NULL);
DELETE FROM k WHERE a IS NULL AND b = '';
UPDATE k SET a = '' WHERE a IS NULL LIMIT 1;
CREATE TABLE bits (id INT PRIMARY KEY, b BIT(1), c BIT(64), s SET('a'));
INSERT INTO bits VALUES (1, b'0', b'0', ''), (2, 1, ~0, 'a'), (3, NULL, NULL, NULL);
UPDATE bits SET b = 0 WHERE id = 2;

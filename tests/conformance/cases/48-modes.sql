-- case: 48
-- title: sql_mode changes within the session, and with it what definitions mean
SET sql_mode = 'HIGH_NOT_PRECEDENCE';
CREATE TABLE a (id INT PRIMARY KEY, b INT, c INT AS (NOT b BETWEEN -5 AND 5) STORED, v VARCHAR(3));
INSERT INTO a (id, b, v) VALUES (1, 1, 'abcdef'), (2, 0, 'x'), (3, 50, NULL);
CREATE VIEW va AS SELECT id, NOT b BETWEEN -5 AND 5 AS n FROM a;
CREATE TABLE ca AS SELECT id, NOT b BETWEEN -5 AND 5 AS n FROM a;
SET sql_mode = 'ALLOW_INVALID_DATES';
CREATE TABLE d (id INT PRIMARY KEY, d DATE DEFAULT '2024-02-31', t DATETIME);
INSERT INTO d (id, t) VALUES (1, '2023-02-29 10:00:00'), (2, '2023-04-31'), (3, '2023-13-01');
UPDATE d SET d = '2024-11-31' WHERE id = 1;
SET sql_mode = 'PIPES_AS_CONCAT';
CREATE TABLE o (id INT PRIMARY KEY, a VARCHAR(5), b VARCHAR(12) AS (a || 'x'));
INSERT INTO o (id, a) VALUES (1, 'q');
CREATE VIEW vo AS SELECT a || b AS c FROM o;
SET sql_mode = 'IGNORE_SPACE';
CREATE VIEW vi AS SELECT COUNT (*) AS c FROM o;
SET sql_mode = '';
CREATE TABLE z (id INT PRIMARY KEY, a INT, b VARCHAR(2) AS (a) STORED, c TINYINT AS (a * 1000) STORED);
INSERT INTO z (id, a) VALUES (3, 0);

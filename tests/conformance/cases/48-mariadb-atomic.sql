-- case: 48
-- title: Statements over several tables that fail in the middle (MariaDB)
-- source: mariadb
-- target: mariadb
CREATE TABLE a (id INT PRIMARY KEY);
CREATE TABLE b (id INT PRIMARY KEY);
CREATE TABLE c (id INT PRIMARY KEY);
-- @fails
DROP TABLE a, nope, b;
CREATE TABLE a (id INT PRIMARY KEY, v INT);
INSERT INTO a VALUES (1, 1);
-- @fails
CREATE TABLE d (id INT PRIMARY KEY) SELECT 1 AS id UNION ALL SELECT 1;
CREATE TABLE d (x INT);
-- @fails
RENAME TABLE a TO aa, nope TO y;
INSERT INTO a VALUES (2, 2);
-- @fails
CREATE OR REPLACE TABLE c (id INT PRIMARY KEY) SELECT 1 AS id UNION ALL SELECT 1;
CREATE TABLE IF NOT EXISTS c (z INT);
DROP VIEW IF EXISTS v1, v2;
CREATE VIEW v1 AS SELECT 1 AS one;
-- @fails
DROP VIEW v1, v2;

-- case: 65
-- title: DDL that fails, and what else came before in the transaction
CREATE TABLE t (id INT PRIMARY KEY);
BEGIN;
INSERT INTO t VALUES (1);
-- @fails
CREATE TABLE t (id INT);
BEGIN;
INSERT INTO t VALUES (2);
CREATE TABLE u (id INT PRIMARY KEY);
INSERT INTO u VALUES (1);
-- @fails
ALTER TABLE u ADD UNIQUE (nothing);
-- @fails
DROP TABLE u, nothing;
BEGIN;
INSERT INTO t VALUES (3);
-- @fails
ALTER TABLE t ADD id INT;
ROLLBACK;
-- @fails
RENAME TABLE t TO x, nothing TO y;
INSERT INTO t VALUES (4);

-- case: 60
-- title: Columns that become invisible and visible
-- source: mysql
-- target: mysql
CREATE TABLE t (id INT PRIMARY KEY, v INT, w INT);
INSERT INTO t VALUES (1, 1, 1);
ALTER TABLE t ALTER COLUMN v SET INVISIBLE;
INSERT INTO t VALUES (2, 2);
ALTER TABLE t ALTER COLUMN v SET VISIBLE, ALTER COLUMN w SET INVISIBLE;
INSERT INTO t VALUES (3, 3);
UPDATE t SET w = 9;

-- case: 48
-- title: CHECK constraints that a session passes over (MariaDB)
-- source: mariadb
-- target: mariadb
CREATE TABLE t (id INT PRIMARY KEY, a INT CHECK (a > 0), b INT, CONSTRAINT c CHECK (b < a));
INSERT INTO t VALUES (1, 5, 1);
SET check_constraint_checks = 0;
INSERT INTO t VALUES (2, -5, 100);
UPDATE t SET a = -1 WHERE id = 1;
SET check_constraint_checks = 1;
INSERT INTO t VALUES (3, 3, 1);
DELETE FROM t WHERE id = 2;

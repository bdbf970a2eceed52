-- case: 42
-- title: SAVEPOINT and ROLLBACK TO
-- mariadb-mariadb: refused ROLLBACK TO
-- mariadb-mysql: refused ROLLBACK TO
-- note: MariaDB logs a ROLLBACK TO with what it undoes where a temporary table was made behind the savepoint
CREATE TABLE t (id INT PRIMARY KEY, v INT);
CREATE TABLE m (id INT PRIMARY KEY) ENGINE = MyISAM;
BEGIN;
INSERT INTO t VALUES (1, 1);
SAVEPOINT a;
INSERT INTO t VALUES (2, 2);
SAVEPOINT `b c`;
UPDATE t SET v = 9;
ROLLBACK TO `b c`;
INSERT INTO t VALUES (3, 3);
ROLLBACK TO a;
INSERT INTO t VALUES (4, 4);
RELEASE SAVEPOINT a;
COMMIT;
SET autocommit = 0;
INSERT INTO t VALUES (5, 5);
SAVEPOINT s;
CREATE TEMPORARY TABLE x (id INT);
INSERT INTO x VALUES (1);
INSERT INTO t VALUES (6, 6);
ROLLBACK TO s;
COMMIT;

-- case: 25
-- title: System-versioned tables of MariaDB
-- source: mariadb
-- target: mariadb
-- expect: refused system-versioned
-- note: old rows would bear the target's times; leave such tables out with `exclude`
CREATE TABLE t (id INT PRIMARY KEY, v INT) WITH SYSTEM VERSIONING;
INSERT INTO t VALUES (1, 1), (2, 2);
UPDATE t SET v = v + 10;
DELETE FROM t WHERE id = 2;
-- @probe SELECT COUNT(*) FROM `{db}`.t FOR SYSTEM_TIME ALL

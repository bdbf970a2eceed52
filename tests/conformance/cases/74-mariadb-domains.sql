-- case: 74
-- title: GTID domains of MariaDB
-- source: mariadb
CREATE TABLE t (id INT PRIMARY KEY, v INT);
SET gtid_domain_id = 5;
INSERT INTO t VALUES (1, 1);
SET gtid_domain_id = 7;
INSERT INTO t VALUES (2, 2);
CREATE TABLE u (id INT PRIMARY KEY);
SET gtid_domain_id = 5;
UPDATE t SET v = 3;
-- @restart extractor
INSERT INTO u VALUES (1);
SET gtid_domain_id = 0;
INSERT INTO u VALUES (2);
-- @restart loader
INSERT INTO u VALUES (3);

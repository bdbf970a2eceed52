-- case: 24
-- title: VECTOR of MariaDB with its index
-- source: mariadb
-- target: mariadb
-- pending: VECTOR came with MariaDB 11.7, which cannot be run here; in the log its columns are VARBINARY
CREATE TABLE t (id INT PRIMARY KEY, a VECTOR(3) NOT NULL, b VARCHAR(10), VECTOR INDEX (a));
INSERT INTO t VALUES (1, VEC_FromText('[1,-2,3.4e38]'), 'behind'), (2, VEC_FromText('[0,0,0.1]'), 'x');
UPDATE t SET a = VEC_FromText('[0.1,0.2,0.3]') WHERE id = 1;
DELETE FROM t WHERE id = 2;

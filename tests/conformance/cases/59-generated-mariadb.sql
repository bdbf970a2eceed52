-- case: 59
-- title: Generated columns (MariaDB)
-- source: mariadb
CREATE TABLE t (id INT PRIMARY KEY, a INT, b INT AS (a * 2) STORED, c INT AS (a + 1) VIRTUAL, UNIQUE KEY (b), KEY (c));
INSERT INTO t (id, a) VALUES (1, 5), (2, 6);
UPDATE t SET a = 7 WHERE id = 1;
DELETE FROM t WHERE b = 12;

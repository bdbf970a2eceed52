-- case: 39
-- title: Compressed events of MariaDB
-- source: mariadb
SET GLOBAL log_bin_compress = ON, GLOBAL log_bin_compress_min_len = 10;
CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, v VARCHAR(200));
INSERT INTO t (v) VALUES (REPEAT('a', 200)), (REPEAT('b', 200));
INSERT INTO t (v) SELECT v FROM t; INSERT INTO t (v) SELECT v FROM t; INSERT INTO t (v) SELECT v FROM t;
UPDATE t SET v = CONCAT('x', id) WHERE id % 2 = 0;
DELETE FROM t WHERE id % 5 = 0;
SET GLOBAL log_bin_compress = OFF, GLOBAL log_bin_compress_min_len = 256;

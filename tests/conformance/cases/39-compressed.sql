-- case: 39
-- title: Compressed transactions
-- source: mysql
SET binlog_transaction_compression = ON, binlog_transaction_compression_level_zstd = 19;
CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, v VARCHAR(200));
INSERT INTO t (v) VALUES (REPEAT('a', 200)), (REPEAT('b', 200));
INSERT INTO t (v) SELECT v FROM t; INSERT INTO t (v) SELECT v FROM t; INSERT INTO t (v) SELECT v FROM t; INSERT INTO t (v) SELECT v FROM t;
INSERT INTO t (v) SELECT v FROM t; INSERT INTO t (v) SELECT v FROM t; INSERT INTO t (v) SELECT v FROM t; INSERT INTO t (v) SELECT v FROM t;
BEGIN;
UPDATE t SET v = CONCAT('x', id) WHERE id % 2 = 0;
DELETE FROM t WHERE id % 5 = 0;
COMMIT;
SET binlog_transaction_compression = OFF;
UPDATE t SET v = 'plain' WHERE id = 1;

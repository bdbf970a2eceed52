-- case: 40
-- title: The extractor dies within a compressed transaction
-- source: mysql
SET binlog_transaction_compression = ON;
CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, v VARCHAR(200));
INSERT INTO t (v) VALUES (REPEAT('a', 200)), (REPEAT('b', 200));
INSERT INTO t (v) SELECT v FROM t; INSERT INTO t (v) SELECT v FROM t; INSERT INTO t (v) SELECT v FROM t; INSERT INTO t (v) SELECT v FROM t;
INSERT INTO t (v) SELECT v FROM t; INSERT INTO t (v) SELECT v FROM t; INSERT INTO t (v) SELECT v FROM t; INSERT INTO t (v) SELECT v FROM t;
INSERT INTO t (v) SELECT v FROM t; INSERT INTO t (v) SELECT v FROM t; INSERT INTO t (v) SELECT v FROM t; INSERT INTO t (v) SELECT v FROM t;
-- @restart extractor
UPDATE t SET v = CONCAT('x', id);
-- @restart extractor
DELETE FROM t WHERE id % 3 = 0;

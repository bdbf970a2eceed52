-- case: 12
-- title: ON UPDATE CURRENT_TIMESTAMP where the source's update leaves the value as it is
CREATE TABLE t (id INT PRIMARY KEY, v INT, at TIMESTAMP(3) NULL DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3), d DATETIME DEFAULT NULL ON UPDATE CURRENT_TIMESTAMP);
CREATE TABLE k (v INT, at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP);
INSERT INTO t (id, v) VALUES (1, 1), (2, 2), (3, 3);
INSERT INTO t (id, v, at) VALUES (4, 4, NULL), (5, 5, '2001-01-01');
INSERT INTO k (v) VALUES (1), (1), (2);
DO SLEEP(1.2);
UPDATE t SET v = v + 1, at = at;
UPDATE t SET v = v + 1, d = d;
UPDATE t SET v = v + 1, at = at, d = d WHERE id > 1;
UPDATE k SET v = 5, at = at LIMIT 1;
-- @settle
DO SLEEP(1.2);
SET binlog_row_image = MINIMAL;
UPDATE t SET v = v + 1, at = at, d = d;
UPDATE t SET v = v + 1;
UPDATE t SET at = NULL, d = d WHERE id = 3;
SET timestamp = 1000000000;
UPDATE t SET v = v + 1;
SET timestamp = DEFAULT, binlog_row_image = FULL;
UPDATE t SET v = v;

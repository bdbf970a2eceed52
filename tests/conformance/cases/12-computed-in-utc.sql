-- case: 12
-- title: Stored columns that are computed from a TIMESTAMP, in sessions whose time zone is UTC
-- source: mysql
-- target: mysql
CREATE TABLE t (id INT PRIMARY KEY, ts TIMESTAMP(3) NULL, d DATE AS (DATE(ts)) STORED, h INT AS (HOUR(ts)) STORED, KEY (d));
INSERT INTO t (id, ts) VALUES (1, '2024-01-01 01:00:00.5'), (2, NULL);
SET time_zone = '+00:00';
INSERT INTO t (id, ts) VALUES (3, '2024-03-31 23:30:00');
UPDATE t SET ts = ts + INTERVAL 1 HOUR;
SET time_zone = '+05:00';
CREATE TABLE v (id INT PRIMARY KEY, ts TIMESTAMP NULL, d DATE AS (DATE(ts)) VIRTUAL);
INSERT INTO v (id, ts) VALUES (1, '2024-01-01 01:00:00');

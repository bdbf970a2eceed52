-- case: 7
-- title: Temporal types at their edges, in sessions of the farthest time zones
SET sql_mode = '';
SET time_zone = '+00:00';
CREATE TABLE t (id INT PRIMARY KEY, d DATE, dt DATETIME(6), ts TIMESTAMP(6) NULL, t TIME(6), y YEAR, k DATETIME(3), KEY (k));
INSERT INTO t VALUES (1, '9999-12-31', '9999-12-31 23:59:59.999999', '2038-01-19 03:14:07.499999', '838:59:59', 2155, '0000-00-00'), (2, '0000-01-01', '0000-01-01 00:00:00.000001', '1970-01-01 00:00:01', '-838:59:59', 1901, '1000-01-01'), (3, '2024-00-00', '2024-12-00 01:02:03', '0000-00-00', '-00:00:00.000001', 0, NULL);
UPDATE t SET ts = '1970-01-01 00:00:01.000001', t = '-0:0:0.5' WHERE id = 2;
SET time_zone = '+13:00';
INSERT INTO t (id, ts) VALUES (4, '1970-01-01 13:00:01'), (5, '2038-01-19 16:14:07');
SET time_zone = '-12:59';
INSERT INTO t (id, ts) VALUES (6, '1970-01-01 00:00:00'), (7, '2038-01-18 14:15:07.999999');

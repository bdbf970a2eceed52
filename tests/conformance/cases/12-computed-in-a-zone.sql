-- case: 12
-- title: A stored column that is computed from a TIMESTAMP, in a session of another time zone
-- source: mysql
-- target: mysql
-- expect: refused time_zone = '+05:00'
-- copied: differs a full load computes such columns in UTC, as a dump does
-- note: the server computes it in the session's time zone, and it cannot be written: make it VIRTUAL
CREATE TABLE t (id INT PRIMARY KEY, ts TIMESTAMP, d DATETIME AS (ts) VIRTUAL, h INT AS (HOUR(d)) STORED);
SET time_zone = '+05:00';
INSERT INTO t (id, ts) VALUES (1, '2024-01-01 01:00:00');

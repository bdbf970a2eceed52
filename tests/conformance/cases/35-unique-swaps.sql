-- case: 35
-- title: Unique values change places; REPLACE; ON DUPLICATE KEY UPDATE
CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, u INT UNIQUE, n VARCHAR(10) UNIQUE, v INT);
INSERT INTO t (u, n, v) VALUES (1, 'a', 1), (2, 'b', 2), (3, 'c', 3);
BEGIN;
UPDATE t SET u = 99 WHERE n = 'a';
UPDATE t SET u = 1 WHERE n = 'b';
UPDATE t SET u = 2 WHERE n = 'a';
COMMIT;
REPLACE INTO t (id, u, n, v) VALUES (1, 3, 'b', 7);
INSERT INTO t (u, n, v) VALUES (3, 'd', 8) ON DUPLICATE KEY UPDATE v = v + 100, n = 'e';
INSERT IGNORE INTO t (u, v) VALUES (3, 1), (4, 1), (4, 2);
UPDATE t SET u = u + 1 ORDER BY u DESC;
REPLACE INTO t (u, n) VALUES (5, 'E');

-- case: 24
-- title: VECTOR
-- source: mysql
-- target: mysql
CREATE TABLE t (id INT PRIMARY KEY, a VECTOR(3), b VARCHAR(10), c VECTOR(4), d INT);
INSERT INTO t VALUES (1, TO_VECTOR('[1,-2,3.4e38]'), 'behind', TO_VECTOR('[0,0,0,0]'), 7), (2, NULL, 'x', TO_VECTOR('[1e-37,0.1,0.2,0.3]'), 8);
UPDATE t SET a = TO_VECTOR('[0.1,0.2,0.3]'), d = 9;
DELETE FROM t WHERE id = 2;
CREATE TABLE wide (id INT PRIMARY KEY, v VECTOR(16383));
INSERT INTO wide VALUES (1, REPEAT(x'0000803f', 16383));

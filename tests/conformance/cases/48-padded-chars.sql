-- case: 48
-- title: A stored column that is computed from a CHAR which the session pads (PAD_CHAR_TO_FULL_LENGTH)
-- source: mysql
-- target: mysql
-- expect: refused PAD_CHAR_TO_FULL_LENGTH
CREATE TABLE t (id INT PRIMARY KEY, c CHAR(5), g VARCHAR(10) AS (CONCAT(c, '|')) STORED);
INSERT INTO t (id, c) VALUES (1, 'ab');
SET sql_mode = 'PAD_CHAR_TO_FULL_LENGTH';
INSERT INTO t (id, c) VALUES (2, 'ab');

-- case: 30
-- title: A row image of one session differs from the global one
CREATE TABLE t (id INT PRIMARY KEY, a INT, b INT, c TEXT);
INSERT INTO t VALUES (1, 1, 1, 'one'), (2, 2, 2, 'two');
-- @session minimal
SET binlog_row_image = 'MINIMAL';
UPDATE t SET a = NULL WHERE id = 1;
-- @session main
UPDATE t SET b = 5 WHERE id = 1;
-- @session noblob
SET binlog_row_image = 'NOBLOB';
UPDATE t SET a = 7 WHERE id = 2;
INSERT INTO t (id) VALUES (3);
-- @session minimal
INSERT INTO t (id, b) VALUES (4, 4);
DELETE FROM t WHERE id = 2;

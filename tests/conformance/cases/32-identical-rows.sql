-- case: 32
-- title: Identical rows without a key, services killed on the way
CREATE TABLE t (a INT, b VARCHAR(10));
INSERT INTO t VALUES (1, 'x'), (1, 'x'), (1, 'x');
INSERT INTO t SELECT * FROM t;
INSERT INTO t SELECT * FROM t;
INSERT INTO t SELECT * FROM t;
-- @restart loader
DELETE FROM t LIMIT 3;
UPDATE t SET a = 2 LIMIT 5;
-- @restart transformer
INSERT INTO t SELECT * FROM t;
DELETE FROM t WHERE a = 2 LIMIT 4;
-- @restart extractor
UPDATE t SET a = 1 WHERE a = 2 LIMIT 1;

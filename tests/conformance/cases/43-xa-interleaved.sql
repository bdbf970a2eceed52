-- case: 43
-- title: Interleaved XA transactions, one of 1,800 rows, with DDL and restarts between
CREATE TABLE t (id INT PRIMARY KEY, v INT);
CREATE TABLE k (a INT);
-- @session a
XA START 'g1', 'b1', 1;
INSERT INTO t VALUES (1, 1);
INSERT INTO k VALUES (1), (1);
XA END 'g1', 'b1', 1;
XA PREPARE 'g1', 'b1', 1;
-- @session b
XA START 'g1', 'b2', 1;
INSERT INTO t VALUES (2, 2);
XA END 'g1', 'b2', 1;
XA PREPARE 'g1', 'b2', 1;
-- @session d
XA START x'00ff27', x'5c';
INSERT INTO t VALUES (4, 4);
XA END x'00ff27', x'5c';
XA PREPARE x'00ff27', x'5c';
-- @session main
INSERT INTO t VALUES (100, 100);
UPDATE t SET v = 101 WHERE id = 100;
CREATE TABLE other (id INT PRIMARY KEY);
-- @session a
XA ROLLBACK 'g1', 'b1', 1;
-- @restart extractor
-- @restart transformer
-- @session f
XA START 'again';
INSERT INTO t VALUES (7, 7);
XA END 'again';
XA PREPARE 'again';
XA ROLLBACK 'again';
XA START 'again';
INSERT INTO t VALUES (7, 77);
XA END 'again';
XA PREPARE 'again';
XA COMMIT 'again';
XA START 'sp';
INSERT INTO t VALUES (5000, 1);
SAVEPOINT a;
INSERT INTO t VALUES (5001, 1);
ROLLBACK TO a;
INSERT INTO t VALUES (5002, 1);
XA END 'sp';
XA PREPARE 'sp';
-- @session main
ALTER TABLE other ADD x INT;
INSERT INTO other VALUES (2, 2);
-- @session b
XA COMMIT 'g1', 'b2', 1;
-- @restart loader
-- @session d
XA COMMIT x'00ff27', x'5c';
-- @session g
XA START 'big';
INSERT INTO k WITH RECURSIVE n AS (SELECT 1 x UNION ALL SELECT x + 1 FROM n WHERE x < 900) SELECT x FROM n;
INSERT INTO t SELECT a + 1000, a FROM k WHERE a > 1;
XA END 'big';
XA PREPARE 'big';
-- @session f
XA COMMIT 'sp';
-- @session g
XA COMMIT 'big';

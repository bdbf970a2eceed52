-- case: 43
-- title: XA PREPARE, then COMMIT or ROLLBACK, in other sessions
CREATE TABLE t (id INT PRIMARY KEY, v INT);
XA START 'a', 'b', 7;
INSERT INTO t VALUES (1, 1);
XA END 'a', 'b', 7;
XA PREPARE 'a', 'b', 7;
-- @session two
XA START x'ff00', '';
INSERT INTO t VALUES (2, 2);
XA END x'ff00', '';
XA PREPARE x'ff00', '';
-- @session three
INSERT INTO t VALUES (3, 3);
XA START 'one';
INSERT INTO t VALUES (4, 4);
XA END 'one';
XA COMMIT 'one' ONE PHASE;
-- @restart extractor
-- @restart loader
-- @session main
XA COMMIT 'a', 'b', 7;
-- @session two
XA ROLLBACK x'ff00', '';
-- @session three
INSERT INTO t VALUES (5, 5);

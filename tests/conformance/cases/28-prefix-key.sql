-- case: 28
-- title: Minimal images of a table whose primary key is over prefixes
CREATE TABLE t (k BLOB, l VARCHAR(20), v TEXT, w INT, PRIMARY KEY (k(5), l(2)));
INSERT INTO t VALUES ('abcdeX', 'xyz', 'v', 1), ('b', '', 'w', 2), ('abcdeX', 'xa', NULL, 3);
UPDATE t SET w = w + 1;
SET binlog_row_image = MINIMAL;
UPDATE t SET w = w + 1;
UPDATE t SET k = 'abcdeY', l = 'xyq' WHERE w = 3;
UPDATE t SET v = NULL WHERE w = 4;
DELETE FROM t WHERE w = 5;
BEGIN;
DELETE FROM t WHERE w = 3;
INSERT INTO t VALUES ('abcdeZ', 'XYZ', 'again', 6);
UPDATE t SET v = 'more' WHERE w = 6;
COMMIT;
SET binlog_row_image = NOBLOB;
UPDATE t SET w = w + 10;

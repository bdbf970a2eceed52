-- case: 66
-- title: A new AUTO_INCREMENT column numbers rows by the session's increment and offset
CREATE TABLE t (v INT);
INSERT INTO t VALUES (1), (2), (3);
SET auto_increment_increment = 10, auto_increment_offset = 7;
ALTER TABLE t ADD id INT AUTO_INCREMENT PRIMARY KEY;
INSERT INTO t (v) VALUES (4);
SET auto_increment_increment = 1, auto_increment_offset = 1;
CREATE TABLE u (v INT);
INSERT INTO u VALUES (1), (2);
ALTER TABLE u ADD id INT AUTO_INCREMENT PRIMARY KEY FIRST;
UPDATE t SET v = v + 1;
UPDATE u SET v = v + 1;
DELETE FROM t WHERE v = 3;

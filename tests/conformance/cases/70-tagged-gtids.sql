-- case: 70
-- title: GTIDs with tags
-- source: mysql
-- target: mysql
CREATE TABLE t (id INT PRIMARY KEY);
SET gtid_next = 'AUTOMATIC:blue';
INSERT INTO t VALUES (1);
CREATE TABLE u (id INT PRIMARY KEY);
INSERT INTO u VALUES (1);
SET gtid_next = 'AUTOMATIC:a_long_tag_of_thirty_two_chars_';
INSERT INTO t VALUES (2);
SET gtid_next = 'AUTOMATIC';
-- @restart extractor
INSERT INTO t VALUES (3);
-- @restart loader
SET gtid_next = 'AUTOMATIC:blue';
INSERT INTO t VALUES (4);

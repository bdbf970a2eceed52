-- case: 41
-- title: ROLLBACK within the log: non-transactional changes within a transaction
-- source: mariadb
-- target: mariadb
CREATE TABLE m (id INT PRIMARY KEY, v INT) ENGINE = MyISAM;
CREATE TABLE i (id INT PRIMARY KEY, v INT);
BEGIN;
INSERT INTO m VALUES (1, 1);
INSERT INTO i VALUES (1, 1);
ROLLBACK;
BEGIN;
INSERT INTO i VALUES (2, 2);
INSERT INTO m VALUES (2, 2);
UPDATE m SET v = 3;
ROLLBACK;

-- case: 41
-- title: Rows of a table without transactions
-- expect: refused has no transactions
-- source: mysql
-- target: mysql
-- note: rows of such a table cannot commit together with the checkpoint; `apply` names these tables: make them InnoDB or exclude them
CREATE TABLE m (id INT PRIMARY KEY, v INT) ENGINE = MyISAM;
INSERT INTO m VALUES (1, 1), (2, 2);
UPDATE m SET v = 3 WHERE id = 2;

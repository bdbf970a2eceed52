-- case: 36
-- title: Referenced tables and columns are renamed, and keys change places
CREATE TABLE p (id INT PRIMARY KEY, code VARCHAR(10) NOT NULL, UNIQUE KEY uc (code));
CREATE TABLE c (id INT PRIMARY KEY, pc VARCHAR(10), pid INT, CONSTRAINT f1 FOREIGN KEY (pc) REFERENCES p (code) ON UPDATE CASCADE ON DELETE SET NULL, CONSTRAINT f2 FOREIGN KEY (pid) REFERENCES p (id) ON DELETE CASCADE);
INSERT INTO p VALUES (1, 'a'), (2, 'b'), (3, 'c');
INSERT INTO c VALUES (1, 'a', 2), (2, 'b', 1), (3, NULL, 3);
ALTER TABLE p RENAME COLUMN code TO kode, RENAME COLUMN id TO pk;
UPDATE p SET kode = 'z' WHERE pk = 1;
RENAME TABLE p TO pp;
UPDATE pp SET kode = 'y' WHERE pk = 2;
DELETE FROM pp WHERE pk = 1;
ALTER TABLE c RENAME COLUMN pc TO p_c, DROP FOREIGN KEY f1, ADD CONSTRAINT f3 FOREIGN KEY (p_c) REFERENCES pp (kode) ON UPDATE CASCADE;
UPDATE pp SET kode = 'x' WHERE pk = 2;
RENAME TABLE pp TO c2, c TO pp, c2 TO c;
UPDATE c SET kode = 'w' WHERE pk = 2;
ALTER TABLE pp DROP PRIMARY KEY, ADD PRIMARY KEY (id, pid);
UPDATE pp SET id = id + 10;
DELETE FROM c WHERE kode = 'c';
SET foreign_key_checks = 0;
TRUNCATE TABLE c;
SET foreign_key_checks = 1;
INSERT INTO c VALUES (2, 'w');
UPDATE pp SET id = 99;

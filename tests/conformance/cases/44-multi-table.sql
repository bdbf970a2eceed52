-- case: 44
-- title: Statements over several tables and many rows
CREATE TABLE a (id INT PRIMARY KEY, v INT);
CREATE TABLE b (id INT PRIMARY KEY, a INT, v INT);
INSERT INTO a VALUES (1, 1), (2, 2), (3, 3);
INSERT INTO b VALUES (10, 1, 0), (20, 2, 0), (30, 3, 0), (11, 1, 0);
UPDATE a JOIN b ON b.a = a.id SET a.v = a.v + 1, b.v = a.v;
DELETE a, b FROM a JOIN b ON b.a = a.id WHERE a.id = 2;
INSERT INTO b SELECT id + 100, a, v FROM b;
UPDATE a, b SET a.v = 0, b.v = 1 WHERE a.id = b.a AND b.id > 100;

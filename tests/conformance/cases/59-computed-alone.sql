-- case: 59
-- title: Tables of which the server computes every column
CREATE TABLE g (a INT AS (1) VIRTUAL, b VARCHAR(5) AS ('x') STORED);
INSERT INTO g VALUES (), (), ();
DELETE FROM g LIMIT 1;

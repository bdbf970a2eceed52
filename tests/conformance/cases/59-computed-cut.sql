-- case: 59
-- title: Generated columns whose values a session without strict mode cuts
SET sql_mode = '';
CREATE TABLE z (id INT PRIMARY KEY, a INT, b VARCHAR(2) AS (a) STORED);
INSERT IGNORE INTO z (id, a) VALUES (1, 100000), (2, 1);
UPDATE IGNORE z SET a = 12345 WHERE id = 2;

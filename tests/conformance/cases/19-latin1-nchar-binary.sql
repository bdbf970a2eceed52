-- case: 19
-- title: latin1 is cp1252; binary collation; NCHAR
CREATE TABLE t (id INT PRIMARY KEY, a VARCHAR(300) CHARACTER SET latin1, b VARCHAR(20) CHARACTER SET latin1 COLLATE latin1_bin, c NCHAR(10), d NVARCHAR(10), e VARCHAR(10) CHARACTER SET binary, f VARCHAR(20) BINARY, g CHAR(10) COLLATE utf8mb4_bin, UNIQUE (b));
INSERT INTO t VALUES (1, x'808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f', x'80', N'ü', N'中', x'fffe', 'F', 'g '), (2, x'a0ff', x'8d', n'', n'x', x'00', 'f', 'G');
UPDATE t SET b = x'81' WHERE id = 1;
UPDATE t SET a = CONCAT(a, x'7f00') WHERE id = 2;

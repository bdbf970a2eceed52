-- case: 18
-- title: A character set for each column
SET NAMES utf8mb4;
CREATE TABLE t (id INT PRIMARY KEY, a VARCHAR(40) CHARACTER SET latin1, b VARCHAR(40) CHARACTER SET gbk, c VARCHAR(40) CHARACTER SET big5, d VARCHAR(40) CHARACTER SET ujis, e VARCHAR(40) CHARACTER SET ucs2, f TEXT CHARACTER SET utf16le, g CHAR(10) CHARACTER SET sjis, h MEDIUMTEXT CHARACTER SET cp1251, i VARCHAR(40) CHARACTER SET euckr, j VARCHAR(40) CHARACTER SET utf32, k VARCHAR(40) CHARACTER SET utf8mb3, l VARCHAR(40) CHARACTER SET koi8r, m CHAR(20) CHARACTER SET utf16, n TINYTEXT CHARACTER SET hebrew, o VARCHAR(40) CHARACTER SET gb2312, p VARCHAR(40) CHARACTER SET tis620, q VARCHAR(40) CHARACTER SET cp932, r VARCHAR(40) CHARACTER SET eucjpms) CHARACTER SET ascii;
INSERT INTO t VALUES (1, 'äöü', '中文', '中文', '日本', '中é', '😀é', 'あア', 'Привет', '한국', '😀中', 'ελλ中', 'Привет', '😀é', 'שלום', '中文', 'ไทย', '日本①', '日本①') ON DUPLICATE KEY UPDATE id = id;

INSERT INTO t (id, b, c, q) VALUES (2, x'815c', x'a45c', x'835c');
INSERT INTO t (id, a) VALUES (3, x'00275c8081ff');
UPDATE t SET b = '文\\''"', a = 'ÿ' WHERE id = 1;
DELETE FROM t WHERE id = 3;
CREATE TABLE k (a VARCHAR(20) CHARACTER SET gbk, b CHAR(5) CHARACTER SET ucs2, c VARCHAR(10) CHARACTER SET sjis COLLATE sjis_bin, v INT, PRIMARY KEY (a, b, c));
INSERT INTO k VALUES (x'815c', 'é', x'835c', 1), ('中', '中', 'ア', 2);
UPDATE k SET v = v + 10;
DELETE FROM k WHERE a = '中';

-- case: 18
-- title: Primary keys in ucs2, utf16le, utf32, sjis, euckr, tis620, armscii8
CREATE TABLE t (a VARCHAR(10) CHARACTER SET ucs2, b VARCHAR(10) CHARACTER SET utf16le, c VARCHAR(10) CHARACTER SET utf32, d VARCHAR(10) CHARACTER SET sjis, e VARCHAR(10) CHARACTER SET euckr, f VARCHAR(10) CHARACTER SET tis620, g VARCHAR(10) CHARACTER SET armscii8, h VARCHAR(10) CHARACTER SET cp932, v INT, PRIMARY KEY (a, b, c, d, e, f, g, h));
INSERT INTO t VALUES ('é', '😀', '😀', 'ソ表', '한글', 'ไทย', 'Ա', '～①', 1), ('', '', '', '', '', '', '', '', 2), (' a', 'b\0', 'c\\', '\\', '''', '"', '`', '\0', 3);
UPDATE t SET v = v + 1;
UPDATE t SET a = CONCAT(a, 'x'), d = CONCAT(d, 'ソ');
DELETE FROM t WHERE v = 3;
CREATE TABLE b (k BINARY(4) PRIMARY KEY, v BLOB, w VARBINARY(10), UNIQUE (w));
INSERT INTO b VALUES (x'00', x'00', x'00'), (x'0001', NULL, NULL), (x'5c27', x'5c27', x'5c');
UPDATE b SET w = x'0000' WHERE k = x'00000000';
UPDATE b SET k = x'ff', v = x'ff' WHERE w = x'5c';

-- case: 17
-- title: BINARY(n) whose trailing zeros the row image leaves out
CREATE TABLE t (id BINARY(8) PRIMARY KEY, b BINARY(16), v VARBINARY(16), c CHAR(8) CHARACTER SET binary);
INSERT INTO t VALUES (x'0100', x'0000', x'0000', x'41'), (x'', x'ff00ff00', x'', x'2020'), (x'0000000000000001', x'', x'00', x'00'), (x'20', '  ', '  ', '  ');
UPDATE t SET b = x'0a0b00', v = x'0a0b00' WHERE id = x'0100000000000000';
UPDATE t SET id = x'02' WHERE id = x'2000000000000000';
DELETE FROM t WHERE id = x'0000000000000001';
CREATE TABLE keyless (b BINARY(4), c CHAR(4));
INSERT INTO keyless VALUES (x'00', 'a'), (x'', 'a '), (x'00', 'a');
DELETE FROM keyless WHERE c = 'a' LIMIT 1;

-- case: 25
-- title: UUID, INET4 and INET6 of MariaDB
-- source: mariadb
-- target: mariadb
CREATE TABLE t (id UUID PRIMARY KEY, a INET6, b INET4, c UUID);
INSERT INTO t VALUES ('123e4567-e89b-12d3-a456-426655440000', '2001:db8::ff00:42:8329', '192.168.0.1', NULL), ('00000000-0000-0000-0000-000000000000', '::', '0.0.0.0', 'ffffffff-ffff-ffff-ffff-ffffffffffff'), ('01890a5d-ac96-774b-bcce-b302099a8057', '::ffff:1.2.3.4', '255.255.255.255', UUID());
UPDATE t SET a = '::1', c = '123e4567-e89b-42d3-a456-426655440000' WHERE id = '00000000-0000-0000-0000-000000000000';
DELETE FROM t WHERE b = '192.168.0.1';

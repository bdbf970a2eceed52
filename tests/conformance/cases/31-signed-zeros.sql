-- case: 31
-- title: Zeros with a sign, denormal and extreme floats, without a key and as keys
-- mysql-mariadb: differs MariaDB keeps no zero with a sign
CREATE TABLE f (a FLOAT, b DOUBLE, c DECIMAL(30,10), d FLOAT(7,3));
INSERT INTO f VALUES (0.1, 0.1, 0.1, 0.1), (-0.0, -0.0, -0.0, -0.0), (0, 0, 0, 0), (3.402823466e38, 1.7976931348623157e308, 12345678901234567890.0123456789, 1234.567), (1.175494351e-38, 5e-324, NULL, NULL), (1e-45, 2.2250738585072014e-308, 0, 0), (16777217, 9007199254740993, 1, 1), (0.1, 0.1, 0.1, 0.1), (1/3, 1/3, 1/3, 1/3);
UPDATE f SET c = 9 WHERE b = 5e-324;
UPDATE f SET c = 5 WHERE c = 0.1 LIMIT 1;
UPDATE f SET a = -a, b = -b;
DELETE FROM f WHERE b = 0 LIMIT 1;
DELETE FROM f WHERE a < -1e38;
UPDATE f SET d = d + 0.001;
CREATE TABLE k (b DOUBLE PRIMARY KEY, v INT);
INSERT INTO k VALUES (-0.0, 1), (1.1, 2), (5e-324, 3), (1.7976931348623157e308, 4), (0.1 + 0.2, 5);
UPDATE k SET v = v + 10;
UPDATE k SET b = 0.0 WHERE b = 0;
UPDATE k SET b = -0.0 WHERE b = 0;
UPDATE k SET b = b * 1.0000000000000002 WHERE b = 1.1;
DELETE FROM k WHERE v = 13;
CREATE TABLE kf (b FLOAT PRIMARY KEY, v INT);
INSERT INTO kf VALUES (0.1, 1), (-0.0, 2), (1e-45, 3), (16777216, 4), (3.4e38, 5);
UPDATE kf SET v = v + 10;
UPDATE kf SET b = b + 0.5 WHERE v = 11;
DELETE FROM kf WHERE v IN (14, 15);
CREATE TABLE z (a DOUBLE, b FLOAT(7,3), v INT);
INSERT INTO z VALUES (0e0, 0, 1), (-0e0, -0e0, 1), (0e0, 0, 1), (-0e0, 0, 1);
UPDATE z SET a = -0e0;
UPDATE z SET b = -0e0 LIMIT 1;
UPDATE z SET v = 2 LIMIT 2;
DELETE FROM z LIMIT 1;

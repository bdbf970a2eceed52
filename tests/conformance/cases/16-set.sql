-- case: 16
-- title: SET with 64 members
CREATE TABLE t (id INT PRIMARY KEY, s SET('m0','m1','m2','m3','m4','m5','m6','m7','m8','m9','m10','m11','m12','m13','m14','m15','m16','m17','m18','m19','m20','m21','m22','m23','m24','m25','m26','m27','m28','m29','m30','m31','m32','m33','m34','m35','m36','m37','m38','m39','m40','m41','m42','m43','m44','m45','m46','m47','m48','m49','m50','m51','m52','m53','m54','m55','m56','m57','m58','m59','m60','m61','m62','m63'), z SET('', 'a', 'ü', 'x y'));
INSERT INTO t VALUES (1, 'm63', ''), (2, 'm0,m63', 'a,ü'), (3, '', 1), (4, 18446744073709551615, 3), (5, 9223372036854775808, 15), (6, NULL, NULL);
UPDATE t SET s = s ^ 1 WHERE id < 6;
DELETE FROM t WHERE s = 9223372036854775809;
CREATE TABLE keyless (s SET('a', '', 'b'));
INSERT INTO keyless VALUES (''), (2), ('a,b'), (0);
DELETE FROM keyless WHERE s = 2;
-- @probe SELECT id, CAST(s AS UNSIGNED), CAST(z AS UNSIGNED) FROM `{db}`.t ORDER BY id

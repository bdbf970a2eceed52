-- case: 23
-- title: A column bound to a spatial reference system, with a spatial index
-- source: mysql
-- target: mysql
CREATE TABLE t (id INT PRIMARY KEY, g GEOMETRY NOT NULL SRID 4326, p POINT NOT NULL SRID 0, SPATIAL INDEX (g), SPATIAL INDEX (p));
INSERT INTO t VALUES (1, ST_GeomFromText('POINT(48 16)', 4326), POINT(1, 2)), (2, ST_GeomFromText('LINESTRING(1 2,3 4)', 4326), POINT(3, 4));
UPDATE t SET g = ST_GeomFromText('POINT(-90 180)', 4326) WHERE id = 1;
DELETE FROM t WHERE id = 2;
CREATE TABLE keyless (g GEOMETRY);
INSERT INTO keyless VALUES (POINT(1, 2)), (POINT(1, 2)), (NULL);
DELETE FROM keyless WHERE g IS NOT NULL LIMIT 1;

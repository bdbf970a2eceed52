-- case: 49
-- title: Executable comments
-- source: mysql
-- target: mysql
CREATE TABLE t (id INT PRIMARY KEY /*!80000 , v INT */ /*!99999 , never INT */);
INSERT INTO t VALUES (1, 1);
/*!40101 ALTER TABLE t ADD a INT */;
/*! ALTER TABLE t */ /*!50001 ADD b INT */;
ALTER /* c1 */ TABLE -- c2
 t # c3
 ADD c INT /*!80013 INVISIBLE */;
/*!50001 CREATE TABLE u (id INT PRIMARY KEY) */;
INSERT INTO u VALUES (1);
DROP TABLE /*!40005 IF EXISTS */ u /* behind */;
INSERT INTO t (id, v, a, b, c) VALUES (2, 2, 2, 2, 2);

-- case: 51
-- title: Online schema change: ghost table, triggers, atomic rename
CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, v INT);
INSERT INTO t (v) VALUES (1), (2), (3), (4);
CREATE /* gh-ost */ TABLE _t_ghc (id BIGINT AUTO_INCREMENT PRIMARY KEY, hint VARCHAR(64) CHARACTER SET ascii, value VARCHAR(4096), UNIQUE KEY hint (hint)) COMMENT='gh-ost';
CREATE /* gh-ost */ TABLE _t_gho LIKE t;
ALTER /* gh-ost */ TABLE _t_gho ADD w VARCHAR(20) NOT NULL DEFAULT 'new', MODIFY v BIGINT;
INSERT /* gh-ost */ IGNORE INTO _t_gho (id, v) SELECT id, v FROM t;
UPDATE t SET v = 20 WHERE id = 2;
REPLACE INTO _t_gho (id, v) VALUES (2, 20);
INSERT INTO _t_ghc (hint, value) VALUES ('state', 'done') ON DUPLICATE KEY UPDATE value = 'x';
CREATE TABLE _t_del (id INT AUTO_INCREMENT PRIMARY KEY) ENGINE = InnoDB COMMENT = 'ghost-cut-over-sentry';
DROP TABLE _t_del;
RENAME TABLE t TO _t_del, _t_gho TO t;
DROP TABLE _t_ghc;
DROP TABLE IF EXISTS _t_del;
INSERT INTO t (v, w) VALUES (5000000000, 'x');
CREATE TABLE _t_new (id INT PRIMARY KEY AUTO_INCREMENT, v BIGINT, w VARCHAR(40));
CREATE TRIGGER pt_del AFTER DELETE ON t FOR EACH ROW DELETE IGNORE FROM _t_new WHERE _t_new.id <=> OLD.id;
CREATE TRIGGER pt_ins AFTER INSERT ON t FOR EACH ROW REPLACE INTO _t_new (id, v, w) VALUES (NEW.id, NEW.v, NEW.w);
INSERT LOW_PRIORITY IGNORE INTO _t_new SELECT * FROM t LOCK IN SHARE MODE;
DELETE FROM t WHERE id = 1;
INSERT INTO t (v) VALUES (6);
RENAME TABLE t TO _t_old, _t_new TO t;
DROP TRIGGER IF EXISTS pt_del;
DROP TRIGGER IF EXISTS pt_ins;
DROP TABLE IF EXISTS _t_old;
INSERT INTO t (v) VALUES (7);

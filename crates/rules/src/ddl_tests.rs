#![allow(clippy::unwrap_used)]
use lutra_change::SessionContext;

use super::*;
use crate::testing::{pipeline, table};

fn ddl(kind: DdlKind, statement: &str, tables: &[&str]) -> Ddl {
    Ddl {
        statement: Bytes::copy_from_slice(statement.as_bytes()),
        database: "shop".to_owned(),
        kind,
        tables: tables.iter().map(|t| table(t)).collect(),
        context: SessionContext::default(),
    }
}

fn route(routes: &str, kind: DdlKind, statement: &str) -> String {
    match Rules::compile(&pipeline(routes)).unwrap().route_ddl(&ddl(kind, statement, &[])) {
        Ok(DdlRoute::Pass) => "pass".to_owned(),
        Ok(DdlRoute::Left(reason)) => format!("{reason:?}"),
        Ok(DdlRoute::Rewritten(ddl)) => format!("{}> {}", ddl.database, String::from_utf8_lossy(&ddl.statement)),
        Err(fault) => format!("fault: {fault}"),
    }
}

const ROUTES: &str =
    "[{match: 'shop.user_*', to: 'crm.t_$1'}, {match: shop.orders}, {match: 'shop.log_*', to: crm.log}]";

#[test]
fn without_routes_statements_stand_as_they_are() {
    assert_eq!(route("[]", DdlKind::CreateTable, "CREATE TABLE t (a INT)"), "pass");
    assert_eq!(
        route("[]", DdlKind::CreateTable, "CREATE TABLE other.t (a INT)"),
        "other> CREATE TABLE `other`.`t` (a INT)"
    );
    assert_eq!(route("[]", DdlKind::CreateDatabase, "CREATE DATABASE shop"), "> CREATE DATABASE IF NOT EXISTS shop");
    assert_eq!(
        route("[]", DdlKind::CreateDatabase, "CREATE OR REPLACE DATABASE shop"),
        "> CREATE OR REPLACE DATABASE shop"
    );
    assert_eq!(route("[]", DdlKind::DropTable, "DROP TABLE mysql.t"), "NotCarried");
    assert_eq!(route("[]", DdlKind::Other, "CREATE VIEW v AS SELECT 1"), "pass");
    assert_eq!(route("[]", DdlKind::Other, "CREATE SOMETHING new"), "pass");
    assert_eq!(route("[]", DdlKind::Other, "ANALYZE TABLE t"), "Maintenance");
}

#[test]
fn names_are_rewritten_and_qualified() {
    assert_eq!(
        route(ROUTES, DdlKind::CreateTable, "CREATE TABLE user_tag (o INT REFERENCES orders (id)) COMMENT='user_tag'"),
        "crm> CREATE TABLE `crm`.`t_tag` (o INT REFERENCES `shop`.`orders` (id)) COMMENT='user_tag'"
    );
    assert_eq!(
        route(ROUTES, DdlKind::AlterTable, "ALTER TABLE shop.`user_tag` ADD a INT"),
        "crm> ALTER TABLE `crm`.`t_tag` ADD a INT"
    );
    assert_eq!(
        route(ROUTES, DdlKind::AlterTable, "CREATE INDEX user_tag ON user_tag (a)"),
        "crm> CREATE INDEX user_tag ON `crm`.`t_tag` (a)"
    );
    assert_eq!(route(ROUTES, DdlKind::AlterTable, "ALTER TABLE orders ADD a INT"), "pass");
    assert_eq!(route(ROUTES, DdlKind::TruncateTable, "TRUNCATE user_tag"), "crm> TRUNCATE `crm`.`t_tag`");
    assert_eq!(route(ROUTES, DdlKind::AlterTable, "ALTER TABLE carts ADD a INT"), "NotCarried");
}

#[test]
fn lists_lose_what_is_not_carried() {
    assert_eq!(
        route(ROUTES, DdlKind::DropTable, "DROP TABLE IF EXISTS carts, user_tag, orders /* generated */"),
        "crm> DROP TABLE IF EXISTS `crm`.`t_tag`, `shop`.`orders` /* generated */"
    );
    assert_eq!(route(ROUTES, DdlKind::DropTable, "DROP TABLE carts"), "NotCarried");
    assert_eq!(
        route(ROUTES, DdlKind::RenameTable, "RENAME TABLE carts TO baskets, user_a TO user_b"),
        "crm> RENAME TABLE `crm`.`t_a` TO `crm`.`t_b`"
    );
}

#[test]
fn a_rename_into_or_out_of_what_is_carried_halts() {
    assert!(route(ROUTES, DdlKind::RenameTable, "RENAME TABLE carts TO user_c").contains("must be copied"));
    assert!(route(ROUTES, DdlKind::RenameTable, "RENAME TABLE user_c TO carts").contains("decide what becomes"));
    assert!(route(ROUTES, DdlKind::RenameTable, "ALTER TABLE carts RENAME TO user_c").starts_with("fault"));
}

#[test]
fn tables_that_share_a_target_are_only_created() {
    assert_eq!(
        route(ROUTES, DdlKind::CreateTable, "CREATE TABLE log_1 (a INT)"),
        "crm> CREATE TABLE IF NOT EXISTS `crm`.`log` (a INT)"
    );
    assert!(route(ROUTES, DdlKind::DropTable, "DROP TABLE log_1").contains("also go to crm.log"));
}

#[test]
fn databases_follow_their_tables() {
    let whole = "[{match: 'shop.*', to: 'crm.$1'}]";
    assert_eq!(route(whole, DdlKind::CreateDatabase, "create database shop"), "> create database IF NOT EXISTS `crm`");
    assert_eq!(route(whole, DdlKind::DropDatabase, "DROP DATABASE shop"), "> DROP DATABASE `crm`");
    assert_eq!(
        route(whole, DdlKind::AlterDatabase, "ALTER DATABASE CHARACTER SET utf8mb4"),
        "> ALTER DATABASE `crm` CHARACTER SET utf8mb4"
    );
    assert_eq!(route(whole, DdlKind::CreateDatabase, "CREATE DATABASE other"), "NotCarried");
    assert_eq!(route(ROUTES, DdlKind::CreateDatabase, "CREATE DATABASE shop"), "> CREATE DATABASE IF NOT EXISTS shop");
    let split = "[{match: shop.a, to: crm.a}, {match: shop.b, to: mall.b}]";
    assert!(route(split, DdlKind::CreateDatabase, "CREATE DATABASE shop").contains("several databases"));
    assert!(
        route("[{match: 'shop.*', to: 'crm.$1'}, {match: 'crm.*'}]", DdlKind::DropDatabase, "DROP DATABASE shop")
            .starts_with("fault")
    );
    assert!(route("[{match: shop.a, to: crm.a}]", DdlKind::DropDatabase, "DROP DATABASE shop").starts_with("fault"));
    let merged = "[{match: 'shop.*', to: 'crm.$1'}, {match: 'mall.*', to: 'crm.m_$1'}]";
    assert!(route(merged, DdlKind::DropDatabase, "DROP DATABASE shop").starts_with("fault"));
}

#[test]
fn column_rules_reach_into_the_statement() {
    let rules = "[{match: shop.t, columns: {rename: {a: b}, drop: [c]}}]";
    assert_eq!(
        route(rules, DdlKind::CreateTable, "CREATE TABLE t (`a` INT, c DATE, d INT, KEY a (a, d), PRIMARY KEY (d))"),
        "shop> CREATE TABLE `shop`.`t` (`b` INT, d INT, KEY a (`b`, d), PRIMARY KEY (d))"
    );
    assert_eq!(
        route(rules, DdlKind::AlterTable, "ALTER TABLE t ADD e INT AFTER a"),
        "shop> ALTER TABLE `shop`.`t` ADD e INT AFTER `b`"
    );
    assert_eq!(
        route(rules, DdlKind::AlterTable, "ALTER TABLE t ADD e INT AFTER c, DROP c"),
        "shop> ALTER TABLE `shop`.`t` ADD e INT "
    );
    assert_eq!(route(rules, DdlKind::AlterTable, "ALTER TABLE t MODIFY c TEXT"), "DroppedColumns");
    assert_eq!(
        route(rules, DdlKind::AlterTable, "ALTER TABLE t MODIFY c TEXT, MODIFY a TEXT"),
        "shop> ALTER TABLE `shop`.`t` MODIFY `b` TEXT"
    );
    assert_eq!(
        route(rules, DdlKind::AlterTable, "CREATE INDEX i ON t (a(10))"),
        "shop> CREATE INDEX i ON `shop`.`t` (`b`(10))"
    );
    for bad in [
        "ALTER TABLE t DROP a",
        "ALTER TABLE t CHANGE a x INT",
        "ALTER TABLE t RENAME COLUMN c TO x",
        "ALTER TABLE t ADD INDEX (c)",
    ] {
        assert!(route(rules, DdlKind::AlterTable, bad).starts_with("fault"), "{bad}");
    }
}

#[test]
fn ignored_ddl_is_left_out_and_unsafe_character_sets_halt() {
    let mut spec = pipeline("[{match: 'shop.*', to: 'crm.$1'}]");
    let mut statement = ddl(DdlKind::AlterTable, "ALTER TABLE t COMMENT 'x'", &["shop.t"]);
    statement.context.character_set_client = Some(28);
    assert!(matches!(Rules::compile(&spec).unwrap().route_ddl(&statement), Ok(DdlRoute::Rewritten(_))));
    let foreign = Rules::compile(&pipeline("[{match: 'shop.*', to: 'crü.$1'}]")).unwrap();
    assert!(foreign.route_ddl(&statement).is_err());
    spec.ddl = DdlPolicy::Ignore;
    assert_eq!(Rules::compile(&spec).unwrap().route_ddl(&statement), Ok(DdlRoute::Left(NotRouted::Ignored)));
}

#[test]
fn what_is_not_understood_passes_only_if_nothing_would_change() {
    let odd = ddl(DdlKind::AlterTable, "ALTER TABLE t COMMENT 'open", &["shop.t"]);
    assert_eq!(Rules::compile(&pipeline("[]")).unwrap().route_ddl(&odd), Ok(DdlRoute::Pass));
    assert!(Rules::compile(&pipeline("[{match: 'shop.*', to: 'crm.$1'}]")).unwrap().route_ddl(&odd).is_err());
    assert_eq!(
        Rules::compile(&pipeline("[{match: 'mall.*'}]")).unwrap().route_ddl(&odd),
        Ok(DdlRoute::Left(NotRouted::NotCarried))
    );
}

fn objects(routes: &str, statement: &str) -> String {
    let mut spec = pipeline(routes);
    (spec.triggers, spec.accounts) = (lutra_spec::TriggerPolicy::Guard, true);
    match Rules::compile(&spec).unwrap().route_ddl(&ddl(DdlKind::Other, statement, &[])) {
        Ok(DdlRoute::Pass) => "pass".to_owned(),
        Ok(DdlRoute::Left(reason)) => format!("{reason:?}"),
        Ok(DdlRoute::Rewritten(ddl)) => format!("{}> {}", ddl.database, String::from_utf8_lossy(&ddl.statement)),
        Err(fault) => format!("fault: {fault}"),
    }
}

const WHOLE: &str = "[{match: 'shop.*', to: 'crm.$1'}]";

#[test]
fn views_routines_and_events_follow_their_database() {
    assert_eq!(
        objects(WHOLE, "CREATE VIEW v AS SELECT a.x, shop.t.y FROM shop.t a"),
        "crm> CREATE VIEW `crm`.`v` AS SELECT a.x, `crm`.t.y FROM `crm`.t a"
    );
    assert_eq!(objects(WHOLE, "DROP VIEW IF EXISTS v, other.w"), "crm> DROP VIEW IF EXISTS `crm`.`v`");
    assert_eq!(
        objects(WHOLE, "CREATE DEFINER=`a`@`b` PROCEDURE p() INSERT INTO t VALUES (1)"),
        "crm> CREATE DEFINER=`a`@`b` PROCEDURE `crm`.`p`() INSERT INTO t VALUES (1)"
    );
    assert_eq!(objects(WHOLE, "DROP FUNCTION IF EXISTS shop.f"), "crm> DROP FUNCTION IF EXISTS `crm`.`f`");
    assert_eq!(objects(ROUTES, "CREATE PROCEDURE p() SELECT 1"), "NotCarried");
    assert!(objects("[{match: 'shop.*', to: 'crm.t_$1'}]", "CREATE VIEW v AS SELECT 1").starts_with("fault"));
    assert!(objects("[{match: 'shop.*', to: 'crm.t_$1'}]", "DROP PROCEDURE p").starts_with("fault"));
    assert_eq!(objects("[{match: 'shop.*'}]", "CREATE VIEW v AS SELECT shop.t.y FROM t"), "pass");
    assert_eq!(objects("[]", "GRANT SELECT ON shop.* TO u"), "pass");
    assert_eq!(objects("[]", "CREATE SERVER s FOREIGN DATA WRAPPER mysql OPTIONS (HOST 'h')"), "Instance");
}

#[test]
fn a_body_keeps_its_quotes() {
    let mut spec = pipeline(WHOLE);
    spec.triggers = lutra_spec::TriggerPolicy::Guard;
    let mut ddl = ddl(DdlKind::Other, "CREATE PROCEDURE p() DELETE FROM \"shop\".\"t\"", &[]);
    ddl.context.sql_mode = Some(4);
    let routed = Rules::compile(&spec).unwrap().route_ddl(&ddl);
    let Ok(DdlRoute::Rewritten(ddl)) = routed else { panic!("{routed:?}") };
    assert_eq!(String::from_utf8_lossy(&ddl.statement), "CREATE PROCEDURE `crm`.`p`() DELETE FROM \"crm\".\"t\"");
}

#[test]
fn events_are_disabled_and_triggers_guarded() {
    assert_eq!(
        objects("[]", "CREATE EVENT e ON SCHEDULE EVERY 1 DAY COMMENT 'x' DO BEGIN SET @a = 1; END"),
        "shop> CREATE EVENT e ON SCHEDULE EVERY 1 DAY DISABLE ON SLAVE COMMENT 'x' DO BEGIN SET @a = 1; END"
    );
    assert_eq!(
        objects("[]", "CREATE EVENT e ON SCHEDULE AT '2030-01-01' ENABLE DO DO 1"),
        "shop> CREATE EVENT e ON SCHEDULE AT '2030-01-01' DISABLE ON SLAVE DO DO 1"
    );
    assert_eq!(objects("[]", "CREATE EVENT e ON SCHEDULE EVERY 1 DAY DISABLE DO DO 1"), "pass");
    assert_eq!(objects("[]", "ALTER EVENT e ENABLE"), "shop> ALTER EVENT e DISABLE ON SLAVE");
    assert_eq!(objects("[]", "ALTER EVENT e DO SET @x = 'ENABLE'"), "pass");
    assert_eq!(
        objects("[{match: 'shop.*', to: 'crm.$1'}]", "ALTER EVENT shop.e RENAME TO shop.f DO DELETE FROM shop.t"),
        "crm> ALTER EVENT `crm`.`e` RENAME TO `crm`.`f` DO DELETE FROM `crm`.t"
    );
    assert_eq!(
        objects(WHOLE, "CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW SET NEW.a = 1; -- end"),
        "crm> CREATE TRIGGER `crm`.`g` BEFORE INSERT ON `crm`.`t` FOR EACH ROW IF @lutra_apply IS NULL THEN SET NEW.a = 1; END IF; -- end"
    );
    assert_eq!(objects("[]", "DROP TRIGGER g"), "pass");
    assert_eq!(
        route("[]", DdlKind::Other, "CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW SET NEW.a = 1"),
        "Trigger"
    );
    assert_eq!(route("[]", DdlKind::Other, "CREATE USER u"), "Account");
}

#[test]
fn a_route_has_its_own_policy() {
    let routes = "[{match: shop.a, ddl: ignore}, {match: 'shop.*'}]";
    assert_eq!(route(routes, DdlKind::AlterTable, "ALTER TABLE a ADD x INT"), "Ignored");
    assert_eq!(route(routes, DdlKind::AlterTable, "ALTER TABLE b ADD x INT"), "pass");
    assert_eq!(route(routes, DdlKind::DropTable, "DROP TABLE a, b"), "shop> DROP TABLE `shop`.`b`");
    assert_eq!(route(routes, DdlKind::DropTable, "DROP TABLE a"), "Ignored");
}

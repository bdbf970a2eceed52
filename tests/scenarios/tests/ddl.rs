//! DDL: a generated corpus, the tools that change schemas online, and the policies.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use anyhow::{Result, bail};
use lutra_harness::{SharedStack, mysql};
use lutra_mysql::Flavour;
use lutra_scenarios::corpus::{Pass, Plan, Routing};
use lutra_scenarios::{World, WorldOptions};
use mysql_async::prelude::Queryable;

const LIMIT: Duration = Duration::from_secs(30);

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

/// A pass of the corpus on servers of its own; `LUTRA_SEED` and `LUTRA_CORPUS` (statements) change it.
fn plan(name: &'static str, seed: u64, statements: u32) -> Plan {
    Plan {
        name,
        seed: setting("LUTRA_SEED", seed),
        statements: u32::try_from(setting("LUTRA_CORPUS", u64::from(statements))).unwrap_or(u32::MAX),
        flavour: Flavour::MySql,
        routing: Routing::Same,
        shared: false,
    }
}

#[tokio::test]
async fn a_hundred_statements_of_the_corpus_leave_both_sides_alike() -> Result<()> {
    let servers = SharedStack::get().await?;
    let flavour = lutra_scenarios::flavour(&servers.mysql("source")?.url()).await?;
    if flavour != lutra_scenarios::flavour(&servers.mysql("target")?.url()).await? {
        println!("definitions are not alike where the families differ");
        return Ok(());
    }
    Pass::run(Plan { name: "corpus", seed: 20_261_125, statements: 100, flavour, routing: Routing::Same, shared: true })
        .await
}

#[tokio::test]
#[ignore = "minutes: `cargo xtask test --slow`"]
async fn the_corpus_leaves_both_sides_alike() -> Result<()> {
    Pass::run(plan("long", 7, 2_000)).await
}

#[tokio::test]
#[ignore = "minutes: `cargo xtask test --slow`"]
async fn the_corpus_arrives_in_databases_of_other_names() -> Result<()> {
    Pass::run(Plan { routing: Routing::Databases, ..plan("moved", 11, 1_000) }).await
}

#[tokio::test]
#[ignore = "minutes: `cargo xtask test --slow`"]
async fn the_corpus_arrives_in_tables_of_other_names() -> Result<()> {
    Pass::run(Plan { routing: Routing::Tables, ..plan("named", 13, 1_000) }).await
}

#[tokio::test]
#[ignore = "minutes: `cargo xtask test --slow`"]
async fn the_corpus_of_mariadb_leaves_both_sides_alike() -> Result<()> {
    Pass::run(Plan { flavour: Flavour::MariaDb, ..plan("marias", 17, 1_000) }).await
}

/// A world with a database at both sides, captured whole.
async fn world(name: &str, pipeline: &str) -> Result<World> {
    let options = WorldOptions { pipeline: pipeline.to_owned(), ..WorldOptions::default() };
    World::with_database(name, options).await
}

async fn execute(world: &World, statements: &[&str]) -> Result<()> {
    world.written(statements).await
}

#[tokio::test]
async fn what_gh_ost_does_arrives_at_the_same_end() -> Result<()> {
    let world = world("ghost", "").await?;
    execute(&world, &[
        "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20))",
        "INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c')",
        "CREATE /* gh-ost */ TABLE `_t_ghc` (id BIGINT AUTO_INCREMENT, hint VARCHAR(64) CHARACTER SET ascii NOT NULL, value VARCHAR(4096) \
         CHARACTER SET ascii NOT NULL, PRIMARY KEY (id), UNIQUE KEY hint_uidx (hint)) AUTO_INCREMENT=256",
        "CREATE /* gh-ost */ TABLE `_t_gho` LIKE t",
        "ALTER /* gh-ost */ TABLE `_t_gho` ADD COLUMN w INT DEFAULT 7, MODIFY v VARCHAR(200) CHARACTER SET latin1",
        "INSERT /* gh-ost */ INTO `_t_ghc` (hint, value) VALUES ('state', 'GhostTableMigrated')",
        "INSERT /* gh-ost */ IGNORE INTO `_t_gho` (id, v) SELECT id, v FROM t WHERE id <= 2",
        "UPDATE t SET v = 'B' WHERE id = 2",
        "REPLACE /* gh-ost */ INTO `_t_gho` (id, v) VALUES (2, 'B')",
        "INSERT /* gh-ost */ IGNORE INTO `_t_gho` (id, v) SELECT id, v FROM t WHERE id > 2",
        "CREATE TABLE `_t_del` (id INT AUTO_INCREMENT PRIMARY KEY) COMMENT='ghost-cut-over-sentry'",
        "DROP TABLE `_t_del`",
        "RENAME /* gh-ost */ TABLE t TO `_t_del`, `_t_gho` TO t",
        "INSERT INTO t (id, v) VALUES (4, 'd')",
        "DROP TABLE IF EXISTS `_t_ghc`",
        "DROP TABLE IF EXISTS `_t_del`",
    ])
    .await?;
    world.settled(LIMIT).await
}

#[tokio::test]
async fn what_pt_online_schema_change_does_arrives_at_the_same_end() -> Result<()> {
    let world = world("ptosc", "").await?;
    execute(&world, &[
        "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20))",
        "INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c')",
        "CREATE TABLE `_t_new` (id INT PRIMARY KEY, v VARCHAR(20))",
        "ALTER TABLE `_t_new` ADD COLUMN w INT",
        "CREATE TRIGGER pt_osc_del AFTER DELETE ON t FOR EACH ROW DELETE IGNORE FROM `_t_new` WHERE id <=> OLD.id",
        "CREATE TRIGGER pt_osc_upd AFTER UPDATE ON t FOR EACH ROW BEGIN DELETE IGNORE FROM `_t_new` WHERE !(OLD.id <=> NEW.id) AND id <=> OLD.id; \
         REPLACE INTO `_t_new` (id, v) VALUES (NEW.id, NEW.v); END",
        "CREATE TRIGGER pt_osc_ins AFTER INSERT ON t FOR EACH ROW REPLACE INTO `_t_new` (id, v) VALUES (NEW.id, NEW.v)",
        "INSERT LOW_PRIORITY IGNORE INTO `_t_new` (id, v) SELECT id, v FROM t LOCK IN SHARE MODE /*pt-online-schema-change*/",
        "UPDATE t SET id = 9 WHERE id = 1",
        "DELETE FROM t WHERE id = 2",
        "INSERT INTO t VALUES (5, 'e')",
        "ANALYZE TABLE `_t_new` /* pt-online-schema-change */",
        "RENAME TABLE t TO `_t_old`, `_t_new` TO t",
        "DROP TABLE IF EXISTS `_t_old`",
        "DROP TRIGGER IF EXISTS pt_osc_del",
        "INSERT INTO t VALUES (6, 'f', 1)",
    ])
    .await?;
    world.settled(LIMIT).await
}

/// The one statement that waits, when there is one.
async fn waiting(world: &World, state: &str) -> Result<String> {
    let deadline = std::time::Instant::now() + LIMIT;
    // Held with everything behind it, or with its tables alone.
    let of_state = |found: &serde_json::Value| found == state || (state == "held" && found == "parked");
    loop {
        let text = world.lutra(&["ddl", "list", &world.pipeline(), "--json"]).await?;
        let listed: serde_json::Value = serde_json::from_str(&text)?;
        if let Some(found) =
            listed.as_array().and_then(|all| all.iter().find(|s| of_state(&s["state"]) && s["decision"] == ""))
        {
            return Ok(found["unit"].as_str().unwrap_or_default().to_owned());
        }
        if std::time::Instant::now() > deadline {
            bail!("no statement is {state}: {text}\n{}", world.logs());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn a_held_statement_is_approved_skipped_or_replaced() -> Result<()> {
    let world = world("hold", "  ddl: hold").await?;
    let pipeline = world.pipeline();
    let decide = async |word: &str, more: &[&str]| -> Result<()> {
        let unit = waiting(&world, "held").await?;
        let arguments: Vec<&str> = ["ddl", word, &pipeline, &unit].into_iter().chain(more.iter().copied()).collect();
        world.lutra(&arguments).await?;
        Ok(())
    };
    decide("approve", &[]).await?;
    execute(&world, &["CREATE TABLE t (id INT PRIMARY KEY)"]).await?;
    decide("approve", &[]).await?;
    execute(&world, &["INSERT INTO t VALUES (1)"]).await?;
    world.caught_up(LIMIT).await?;
    execute(&world, &["CREATE INDEX i ON t (id)"]).await?;
    decide("skip", &[]).await?;
    execute(&world, &["ALTER TABLE t ADD v INT"]).await?;
    decide("replace", &["ALTER TABLE t ADD v INT COMMENT 'mine'"]).await?;
    execute(&world, &["INSERT INTO t VALUES (2, 3)"]).await?;
    let deadline = std::time::Instant::now() + LIMIT;
    while world.lutra(&["ddl", "list", &pipeline]).await?.trim() != "no statement waits" {
        assert!(std::time::Instant::now() < deadline, "it waits for ever\n{}", world.logs());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    world.caught_up(LIMIT).await?;
    let mut target = mysql::connect(&world.target_url).await?;
    let shown: Option<(String, String)> =
        target.query_first(format!("SHOW CREATE TABLE `{}`.t", world.database())).await?;
    let (_, text) = shown.unwrap();
    assert!(text.contains("COMMENT 'mine'") && !text.contains("KEY `i`"), "{text}");
    let rows: Option<u32> = target.query_first(format!("SELECT COUNT(*) FROM `{}`.t", world.database())).await?;
    assert_eq!(rows, Some(2));
    Ok(())
}

#[tokio::test]
async fn a_failed_statement_waits_or_is_set_aside() -> Result<()> {
    for (name, policy) in [("fails", "apply"), ("aside", "dead-letter")] {
        let world = world(name, &format!("  ddl: {policy}")).await?;
        execute(&world, &["CREATE TABLE t (id INT PRIMARY KEY)"]).await?;
        world.caught_up(LIMIT).await?;
        let mut target = mysql::connect(&world.target_url).await?;
        target.query_drop(format!("ALTER TABLE `{}`.t ADD v INT", world.database())).await?;
        execute(&world, &["ALTER TABLE t ADD v INT", "INSERT INTO t VALUES (1, 2)"]).await?;
        if policy == "apply" {
            let unit = waiting(&world, "failed").await?;
            world.lutra(&["ddl", "skip", &world.pipeline(), &unit]).await?;
        }
        world.settled(LIMIT).await?;
        let letters = format!(
            "SELECT COUNT(*) FROM lutra.dead_letter WHERE task = 'load/{}' AND reason LIKE '%Duplicate column%'",
            world.pipeline()
        );
        let letters: Option<u32> = target.query_first(letters).await?;
        assert_eq!(letters, Some(u32::from(policy == "dead-letter")));
    }
    Ok(())
}

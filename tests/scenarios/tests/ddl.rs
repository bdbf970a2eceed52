//! DDL: a generated corpus, the tools that change schemas online, and the policies.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use lutra_harness::mysql;
use lutra_scenarios::corpus::{Definitions, Generator, Statement, definitions};
use lutra_scenarios::{World, WorldOptions};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

const LIMIT: Duration = Duration::from_secs(30);
/// Statements between two comparisons.
const BATCH: usize = 50;
const SEED: u64 = 20_261_125;

/// Runs a statement as its session would; the server's words where it refuses.
async fn run(connection: &mut Conn, statement: &Statement) -> Result<Option<String>> {
    // Only names and texts in ASCII mean the same in every character set.
    let names = ["utf8mb4", "latin1", "gbk", "utf8mb4 COLLATE utf8mb4_bin"];
    let names = if statement.text.is_ascii() { names[statement.text.len() % names.len()] } else { "utf8mb4" };
    connection.query_drop(format!("USE `{}`", statement.database)).await?;
    connection.query_drop(format!("SET NAMES {names}, sql_mode = '{}'", statement.sql_mode)).await?;
    Ok(connection.query_drop(&statement.text).await.err().map(|error| error.to_string()))
}

/// Names of the databases of this process: two runs on one kept stack must not meet.
fn prefix(of: &str) -> String {
    format!("{of}{:x}", std::process::id())
}

/// What differs between the two servers.
async fn differences(source: &mut Conn, target: &mut Conn, databases: &[String]) -> Result<Vec<String>> {
    let (here, there): (Definitions, Definitions) =
        (definitions(source, databases).await?, definitions(target, databases).await?);
    let mut names: Vec<&String> = here.keys().chain(there.keys()).collect();
    names.sort();
    names.dedup();
    let shown = |side: &Definitions, name: &str| side.get(name).cloned().unwrap_or_else(|| "not there".to_owned());
    let differ = names.into_iter().filter(|name| here.get(*name) != there.get(*name));
    Ok(differ
        .map(|name| format!("{name}\n  source: {}\n  target: {}", shown(&here, name), shown(&there, name)))
        .collect())
}

/// The corpus in two databases of their own.
struct Run {
    world: World,
    source: Conn,
    target: Conn,
    counts: BTreeMap<&'static str, (u32, u32)>,
}

impl Run {
    async fn new(name: &str, prefixes: &[&String]) -> Result<Self> {
        let databases = prefixes.iter().flat_map(|prefix| Generator::databases(prefix)).collect();
        let options = WorldOptions { databases, pipeline: "  triggers: guard".to_owned(), ..WorldOptions::default() };
        let world = World::shared(name, options).await?;
        for url in [&world.source_url, &world.target_url] {
            mysql::execute(url, &["SET GLOBAL log_bin_trust_function_creators = ON"]).await?;
        }
        world.apply().await?;
        let (source, target) = (mysql::connect(&world.source_url).await?, mysql::connect(&world.target_url).await?);
        Ok(Self { world, source, target, counts: BTreeMap::new() })
    }

    async fn begin(&mut self, prefix: &str) -> Result<()> {
        for side in ["a", "b"] {
            self.source.query_drop(format!("CREATE DATABASE `{prefix}_{side}`")).await?;
        }
        Ok(())
    }

    /// Runs a statement; whether the server took it.
    async fn statement(&mut self, statement: &Statement) -> Result<bool> {
        let refused = run(&mut self.source, statement).await?;
        let taken = refused.is_none();
        let count = self.counts.entry(statement.kind).or_default();
        count.0 += 1;
        count.1 += u32::from(refused.is_some());
        if let (Some(error), true) = (refused, std::env::var_os("LUTRA_REFUSED").is_some()) {
            eprintln!("refused: {error}\n  {}", statement.text);
        }
        Ok(taken)
    }

    async fn compare(&mut self, prefix: &str) -> Result<Vec<String>> {
        self.world.caught_up(LIMIT).await?;
        differences(&mut self.source, &mut self.target, &Generator::databases(prefix)).await
    }

    /// Runs the statements up to a batch that differed again, elsewhere, that batch one by one: the first that differs.
    async fn bisect(&mut self, prefix: &str, seed: u64, from: usize, to: usize) -> Result<String> {
        let mut generator = Generator::new(seed, prefix);
        self.begin(prefix).await?;
        for _ in 0..from {
            let statement = generator.statement();
            generator.settle(run(&mut self.source, &statement).await?.is_none());
        }
        for number in from..to {
            let statement = generator.statement();
            generator.settle(run(&mut self.source, &statement).await?.is_none());
            let found = self.compare(prefix).await?;
            if !found.is_empty() {
                return Ok(format!("statement {number}: {statement:?}\n{}", found.join("\n")));
            }
        }
        Ok("every statement by itself leaves both alike".to_owned())
    }
}

/// Runs so many statements at the source; after each batch definitions and row counts must be the same at the target.
async fn corpus(name: &str, seed: u64, statements: usize) -> Result<()> {
    let (first, second) = (prefix(name), prefix(&format!("{name}_again")));
    let mut run = Run::new(name, &[&first, &second]).await?;
    let mut generator = Generator::new(seed, &first);
    run.begin(&first).await?;
    let mut done = 0;
    while done < statements {
        let to = (done + BATCH).min(statements);
        let mut batch = Vec::new();
        for _ in done..to {
            let statement = generator.statement();
            generator.settle(run.statement(&statement).await?);
            batch.push(statement);
        }
        let texts = || batch.iter().map(|s| format!("{s:?}")).collect::<Vec<_>>().join("\n");
        let found = run.compare(&first).await.with_context(|| format!("statements {done} to {to}:\n{}", texts()))?;
        if !found.is_empty() {
            let what = run.bisect(&second, seed, done, to).await.unwrap_or_else(|error| format!("{error:#}"));
            bail!("between statements {done} and {to}:\n{}\n\n{what}", found.join("\n"));
        }
        done = to;
    }
    let refused: u32 = run.counts.values().map(|c| c.1).sum();
    eprintln!("{statements} statements, {refused} of them refused by the server (seed {seed}):");
    for (kind, (all, refused)) in &run.counts {
        eprintln!("  {kind}: {all}, refused {refused}");
    }
    for database in Generator::databases(&first).iter().chain(&Generator::databases(&second)) {
        run.source.query_drop(format!("DROP DATABASE IF EXISTS `{database}`")).await?;
    }
    Ok(())
}

#[tokio::test]
async fn two_hundred_statements_of_the_corpus_leave_both_sides_alike() -> Result<()> {
    corpus("corpus", SEED, 200).await
}

#[tokio::test]
#[ignore = "minutes: `cargo xtask test --slow`"]
async fn the_corpus_leaves_both_sides_alike() -> Result<()> {
    let number = |name: &str, default: usize| std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default);
    let seed = number("LUTRA_SEED", 7);
    corpus("corpuslong", u64::try_from(seed)?, number("LUTRA_CORPUS", 2_400)).await
}

/// A world with a database at both sides, captured whole.
async fn world(name: &str, pipeline: &str) -> Result<World> {
    let options = WorldOptions { pipeline: pipeline.to_owned(), ..WorldOptions::default() };
    let world = World::shared(name, options).await?;
    world.apply().await?;
    world.execute(&[&format!("CREATE DATABASE `{}`", world.database())]).await?;
    Ok(world)
}

async fn execute(world: &World, statements: &[&str]) -> Result<()> {
    let enter = format!("USE `{}`", world.database());
    let all: Vec<&str> = std::iter::once(enter.as_str()).chain(statements.iter().copied()).collect();
    world.execute(&all).await
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
    loop {
        let text = world.lutra(&["ddl", "list", &world.pipeline(), "--json"]).await?;
        let listed: serde_json::Value = serde_json::from_str(&text)?;
        if let Some(found) =
            listed.as_array().and_then(|all| all.iter().find(|s| s["state"] == state && s["decision"] == ""))
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

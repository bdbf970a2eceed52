//! What becomes of statements that wait, fail or would lose data: their tables wait or stop, the others go on.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use lutra_harness::mysql;
use lutra_harness::services::ServiceProcess;
use lutra_scenarios::{World, WorldOptions};
use mysql_async::prelude::Queryable;
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(60);

/// Name of the database of a world, known before the world is.
fn database(name: &str) -> String {
    format!("{name}_{:x}", std::process::id())
}

async fn world(name: &str, options: WorldOptions) -> Result<World> {
    World::with_database(name, options).await
}

async fn execute(world: &World, statements: &[&str]) -> Result<()> {
    world.written(statements).await
}

/// Runs statements at the target, in the world's database.
async fn at_target(world: &World, statements: &[&str]) -> Result<()> {
    world.written_at(&world.target_url, statements).await
}

/// One number of the target; `DB` stands for the world's database.
async fn number(world: &World, sql: &str) -> Result<u64> {
    let mut target = mysql::connect(&world.target_url).await?;
    let found: Option<u64> = target.query_first(sql.replace("DB", &format!("`{}`", world.database()))).await?;
    found.with_context(|| format!("no row: {sql}"))
}

async fn statements(world: &World) -> Result<Vec<Value>> {
    let text = world.lutra_until(&["ddl", "list", &world.pipeline(), "--json"], LIMIT).await?;
    Ok(serde_json::from_str::<Value>(&text)?.as_array().cloned().unwrap_or_default())
}

/// Waits for a statement that waits in that state for a decision, and gives it.
async fn waiting(world: &World, state: &str) -> Result<(String, String)> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let all = statements(world).await?;
        if let Some(found) = all.iter().find(|s| s["state"] == state && s["decision"] == "") {
            let text = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
            return Ok((text("unit"), text("reason")));
        }
        if Instant::now() > deadline {
            bail!("no statement is {state}: {all:?}\n{}", world.logs());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// The tables that changes do not reach, as `lutra status` tells them.
async fn blocked(world: &World) -> Result<Vec<Value>> {
    let text = world.lutra_until(&["status", &world.pipeline(), "--json"], LIMIT).await?;
    let status: Value = serde_json::from_str(&text)?;
    let tasks = status.pointer("/pipelines/0/tasks").and_then(Value::as_array).cloned().unwrap_or_default();
    let of_load = tasks.iter().find(|t| t["task"].as_str().is_some_and(|t| t.starts_with("load/")));
    let found = of_load.and_then(|t| t.pointer("/measured/blocked")).and_then(Value::as_array).cloned();
    Ok(found.unwrap_or_default())
}

/// Waits until changes reach every table again and nothing waits.
async fn free(world: &World) -> Result<()> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let (blocked, waits) = (blocked(world).await?, statements(world).await?);
        let task = format!("load/{}", world.pipeline());
        let left = number(world, &format!("SELECT COUNT(*) FROM lutra.stopped WHERE task = '{task}'")).await?;
        if blocked.is_empty() && waits.is_empty() && left == 0 {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("still blocked: {blocked:?}, {waits:?}, {left}\n{}", world.logs());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn decide(world: &World, word: &str, unit: &str, more: &[&str]) -> Result<()> {
    let pipeline = world.pipeline();
    let arguments: Vec<&str> = ["ddl", word, &pipeline, unit].into_iter().chain(more.iter().copied()).collect();
    world.lutra_until(&arguments, LIMIT).await.map(drop)
}

/// Replaces a service by one with these variables.
fn restart_with(service: &ServiceProcess, variables: &[(&str, &str)]) -> Result<()> {
    service.kill()?;
    service.process().change_launch(|launch| {
        launch.env.retain(|(name, _)| name != "LUTRA_CRASH_POINT");
        launch.env.extend(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    });
    service.start()
}

#[tokio::test]
async fn a_table_whose_statement_fails_stops_and_the_others_go_on() -> Result<()> {
    let options = WorldOptions { pipeline: "  ddl: stop-table".to_owned(), ..WorldOptions::default() };
    let world = world("stops", options).await?;
    execute(
        &world,
        &[
            "CREATE TABLE a (id INT PRIMARY KEY)",
            "CREATE TABLE b (id INT PRIMARY KEY)",
            "CREATE TABLE parent (id INT PRIMARY KEY)",
            "CREATE TABLE child (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES parent (id))",
        ],
    )
    .await?;
    world.settled(LIMIT).await?;
    at_target(&world, &["ALTER TABLE a ADD v INT", "ALTER TABLE parent ADD v INT"]).await?;
    execute(
        &world,
        &[
            "ALTER TABLE a ADD v INT",
            "INSERT INTO a VALUES (1, 1), (2, 2)",
            "ALTER TABLE a ADD w INT",
            "INSERT INTO b VALUES (1)",
            "ALTER TABLE parent ADD v INT",
            "INSERT INTO parent VALUES (1, 1)",
            "INSERT INTO child VALUES (1, 1)",
            "ALTER TABLE b ADD v INT DEFAULT 7",
            "INSERT INTO b VALUES (2, 2)",
        ],
    )
    .await?;
    world.caught_up(LIMIT).await?;
    assert_eq!(number(&world, "SELECT COUNT(*) FROM DB.a").await?, 0);
    assert_eq!(number(&world, "SELECT COUNT(*) FROM DB.child").await?, 0, "tied by its foreign key");
    assert_eq!(number(&world, "SELECT SUM(v) FROM DB.b").await?, 9);
    // A start that follows knows it; what is left out is counted.
    let loader = world.service("loader-1")?;
    restart_with(loader, &[])?;
    execute(&world, &["INSERT INTO a VALUES (3, 3, 3)", "INSERT INTO b VALUES (3, 3)"]).await?;
    world.caught_up(LIMIT).await?;
    assert_eq!(number(&world, "SELECT COUNT(*) FROM DB.b").await?, 3);
    let db = world.database();
    let counted = format!("SELECT row_count FROM lutra.stopped WHERE database_name = '{db}' AND table_name = 'a'");
    assert_eq!(number(&world, &counted).await?, 3);
    let found = blocked(&world).await?;
    let names: Vec<&str> = found.iter().filter_map(|t| t["table"].as_str()).collect();
    assert_eq!(names, [format!("{db}.a"), format!("{db}.child"), format!("{db}.parent")]);
    assert!(
        found.iter().all(|t| t["state"] == "stopped" && t["reason"].as_str().unwrap().contains("Duplicate column"))
    );
    let shown = world.lutra(&["status", &world.pipeline()]).await?;
    ensure!(shown.contains("STOPPED") && shown.contains("lutra load restart"), "{shown}");
    // Mended by hand, and taken up again: what is parked of nothing is replayed.
    at_target(&world, &["ALTER TABLE a ADD w INT", "INSERT INTO a VALUES (1, 1, NULL), (2, 2, NULL), (3, 3, 3)"])
        .await?;
    at_target(&world, &["INSERT INTO parent VALUES (1, 1)", "INSERT INTO child VALUES (1, 1)"]).await?;
    for _ in 0..2 {
        let (unit, _) = waiting(&world, "stopped").await?;
        decide(&world, "skip", &unit, &[]).await?;
    }
    free(&world).await?;
    execute(&world, &["UPDATE a SET v = 9 WHERE id = 1", "DELETE FROM child", "DELETE FROM parent"]).await?;
    world.settled(LIMIT).await
}

#[tokio::test]
async fn a_stopped_table_comes_back_by_a_copy() -> Result<()> {
    let options = WorldOptions {
        pipeline: "  ddl: stop-table".to_owned(),
        load: "    full: true".to_owned(),
        ..WorldOptions::default()
    };
    let world = World::shared("recopied", options).await?;
    world.execute(&[&format!("CREATE DATABASE `{}`", world.database())]).await?;
    execute(&world, &["CREATE TABLE a (id INT PRIMARY KEY)", "INSERT INTO a VALUES (1), (2)"]).await?;
    world.apply().await?;
    let deadline = Instant::now() + LIMIT;
    while number(&world, "SELECT COUNT(*) FROM DB.a").await.unwrap_or(0) < 2 {
        ensure!(Instant::now() < deadline, "the copy does not come\n{}", world.logs());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    at_target(&world, &["ALTER TABLE a ADD v INT"]).await?;
    execute(&world, &["ALTER TABLE a ADD v INT", "INSERT INTO a VALUES (3, 3)"]).await?;
    let (_, reason) = waiting(&world, "stopped").await?;
    assert!(reason.contains("Duplicate column"), "{reason}");
    let table = format!("{}.a", world.database());
    world.lutra(&["load", "restart", "--pipeline", &world.pipeline(), &table]).await?;
    free(&world).await?;
    execute(&world, &["INSERT INTO a VALUES (4, 4)"]).await?;
    let deadline = Instant::now() + LIMIT;
    loop {
        match world.settled(Duration::from_secs(10)).await {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(500)).await,
        }
    }
}

/// Two tables of which the first one's statements wait.
async fn holding(name: &str, load: &str) -> Result<World> {
    let db = database(name);
    let routes = format!("  - {{match: '{db}.a', ddl: hold}}\n  - {{match: '{db}.*'}}");
    let world = world(name, WorldOptions { routes, load: load.to_owned(), ..WorldOptions::default() }).await?;
    execute(&world, &["CREATE TABLE b (id INT PRIMARY KEY)", "CREATE TABLE a (id INT PRIMARY KEY)"]).await?;
    let (unit, reason) = waiting(&world, "parked").await?;
    assert!(reason.contains("its policy is hold"), "{reason}");
    decide(&world, "approve", &unit, &[]).await?;
    free(&world).await?;
    Ok(world)
}

#[tokio::test]
async fn behind_a_held_statement_its_table_waits_alone() -> Result<()> {
    let world = holding("parks", "").await?;
    execute(
        &world,
        &[
            "INSERT INTO a VALUES (1)",
            "ALTER TABLE a ADD v INT",
            "INSERT INTO a VALUES (2, 2)",
            "UPDATE a SET v = 1 WHERE id = 1",
            "ALTER TABLE a ADD w INT",
            "INSERT INTO a VALUES (3, 3, 3)",
            "CREATE INDEX i ON a (v)",
            "INSERT INTO b VALUES (1)",
            "ALTER TABLE b ADD v INT",
            "INSERT INTO b VALUES (2, 2)",
        ],
    )
    .await?;
    world.caught_up(LIMIT).await?;
    assert_eq!(number(&world, "SELECT COUNT(*) FROM DB.a").await?, 1);
    assert_eq!(number(&world, "SELECT SUM(v) FROM DB.b").await?, 2);
    let found = blocked(&world).await?;
    assert!(found.len() == 1 && found[0]["state"] == "held" && found[0]["rows_parked"] == 3, "{found:?}");
    // Another one joins it; rows of both wait.
    execute(
        &world,
        &["RENAME TABLE b TO t, a TO b, t TO a", "INSERT INTO b VALUES (4, 4, 4)", "INSERT INTO a VALUES (5, 5)"],
    )
    .await?;
    world.caught_up(LIMIT).await?;
    assert_eq!(number(&world, "SELECT COUNT(*) FROM DB.b").await?, 2);
    assert_eq!(blocked(&world).await?.len(), 3);
    restart_with(world.service("loader-1")?, &[])?;
    for _ in 0..4 {
        let (unit, _) = waiting(&world, "parked").await?;
        decide(&world, "approve", &unit, &[]).await?;
    }
    free(&world).await?;
    world.settled(LIMIT).await
}

/// The schedule that would apply parked changes twice, or lose them: a kill between a step and the word that it is done.
#[tokio::test]
#[ignore = "minutes: `cargo xtask test --slow`"]
async fn what_is_parked_survives_a_kill_at_every_step() -> Result<()> {
    let world = holding("parkkill", "").await?;
    let loader = world.service("loader-1")?;
    for (round, point) in [
        "between-intent-and-ddl",
        "between-ddl-and-done",
        "after-slot-update",
        "before-commit",
        "commit-unanswered",
        "after-commit",
    ]
    .iter()
    .enumerate()
    {
        let id = round * 10;
        execute(
            &world,
            &[
                &format!("ALTER TABLE a ADD c{round} INT DEFAULT {round}"),
                &format!("INSERT INTO a (id) VALUES ({id})"),
                &format!("UPDATE a SET c{round} = c{round} + 1 WHERE id = {id}"),
                &format!("INSERT INTO b VALUES ({id})"),
            ],
        )
        .await?;
        let (unit, _) = waiting(&world, "parked").await?;
        world.caught_up(LIMIT).await?;
        restart_with(loader, &[("LUTRA_CRASH_POINT", &format!("{point}:1"))])?;
        decide(&world, "approve", &unit, &[]).await?;
        loader.wait(LIMIT).await.with_context(|| format!("{point} was not reached"))?;
        restart_with(loader, &[])?;
        free(&world).await.with_context(|| format!("after {point}"))?;
        world.settled(LIMIT).await.with_context(|| format!("after {point}"))?;
    }
    Ok(())
}

#[tokio::test]
async fn what_cannot_wait_alone_has_everything_wait() -> Result<()> {
    let world = holding("parkall", "    parked_bytes: 1KiB").await?;
    // A child that goes on is tied to it.
    execute(
        &world,
        &["CREATE TABLE c (id INT PRIMARY KEY, a INT, FOREIGN KEY (a) REFERENCES a (id))", "ALTER TABLE a ADD v INT"],
    )
    .await?;
    let (unit, reason) = waiting(&world, "held").await?;
    assert!(reason.contains("foreign keys tie"), "{reason}");
    decide(&world, "approve", &unit, &[]).await?;
    world.settled(LIMIT).await?;
    execute(&world, &["DROP TABLE c", "ALTER TABLE a ADD w VARCHAR(100)"]).await?;
    waiting(&world, "parked").await?;
    // More than may be parked; the decision has the load start again.
    for id in 0..20 {
        execute(&world, &[&format!("INSERT INTO a VALUES ({id}, {id}, REPEAT('x', 100))")]).await?;
    }
    let (unit, _) = waiting(&world, "held").await?;
    let deadline = Instant::now() + LIMIT;
    loop {
        let shown = world.lutra(&["status", &world.pipeline()]).await?;
        if shown.contains("parked_bytes") {
            break;
        }
        ensure!(Instant::now() < deadline, "it does not say why it waits: {shown}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    decide(&world, "approve", &unit, &[]).await?;
    free(&world).await?;
    world.settled(LIMIT).await
}

#[tokio::test]
async fn a_statement_that_cannot_be_rewritten_follows_the_policy() -> Result<()> {
    for (name, policy, state) in [("unfit", "apply", "failed"), ("unfitstop", "stop-table", "stopped")] {
        let db = database(name);
        let routes = format!("  - {{match: '{db}.user_*', to: '{db}.users'}}\n  - {{match: '{db}.*'}}");
        let options = WorldOptions { routes, pipeline: format!("  ddl: {policy}"), ..WorldOptions::default() };
        let world = world(name, options).await?;
        execute(
            &world,
            &[
                "CREATE TABLE user_1 (id INT PRIMARY KEY)",
                "CREATE TABLE user_2 (id INT PRIMARY KEY)",
                "CREATE TABLE other (id INT PRIMARY KEY)",
                "INSERT INTO user_1 VALUES (1)",
                "ALTER TABLE user_1 ADD v INT",
                "INSERT INTO user_1 VALUES (3, 3)",
                "INSERT INTO other VALUES (1)",
            ],
        )
        .await?;
        let (unit, reason) = waiting(&world, state).await?;
        assert!(reason.contains("cannot be rewritten") && reason.contains("other tables of the source"), "{reason}");
        if policy == "stop-table" {
            world.caught_up(LIMIT).await?;
            assert_eq!(number(&world, "SELECT COUNT(*) FROM DB.other").await?, 1);
            assert_eq!(blocked(&world).await?[0]["rows_left_out"], 1);
        }
        decide(&world, "replace", &unit, &[&format!("ALTER TABLE `{db}`.users ADD v INT")]).await?;
        free(&world).await?;
        execute(&world, &["INSERT INTO user_1 VALUES (5, 5)"]).await?;
        world.caught_up(LIMIT).await?;
        assert_eq!(number(&world, "SELECT SUM(v) FROM DB.users").await?, if policy == "apply" { 8 } else { 5 });
        assert_eq!(number(&world, "SELECT COUNT(*) FROM DB.other").await?, 1);
    }
    Ok(())
}

#[tokio::test]
async fn lenient_loses_nothing() -> Result<()> {
    let options = WorldOptions { pipeline: "  ddl: lenient".to_owned(), ..WorldOptions::default() };
    let world = world("lenient", options).await?;
    let kept = async |name: &str| -> Result<String> {
        let db = world.database();
        let sql = format!(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = '{db}' AND table_name LIKE '\\_lutra\\_kept\\_%{name}' \
             ORDER BY CAST(SUBSTRING(table_name, 13) AS UNSIGNED) DESC LIMIT 1"
        );
        let found: Option<String> = mysql::connect(&world.target_url).await?.query_first(sql).await?;
        found.with_context(|| format!("nothing is kept of {name}"))
    };
    execute(
        &world,
        &[
            "CREATE TABLE t (id INT PRIMARY KEY, v INT NOT NULL, w VARCHAR(20), x BIGINT)",
            "INSERT INTO t VALUES (1, 10, 'one', 1)",
            "DROP TABLE t",
            "CREATE TABLE t (id INT PRIMARY KEY, v INT NOT NULL, w VARCHAR(20), x BIGINT)",
            "INSERT INTO t VALUES (2, 20, 'two', 2)",
        ],
    )
    .await?;
    world.caught_up(LIMIT).await?;
    assert_eq!(number(&world, &format!("SELECT v FROM DB.`{}`", kept("_t").await?)).await?, 10);
    assert_eq!(number(&world, "SELECT id FROM DB.t").await?, 2);
    execute(&world, &["TRUNCATE TABLE t", "INSERT INTO t VALUES (3, 30, 'three', 3)"]).await?;
    world.caught_up(LIMIT).await?;
    assert_eq!(number(&world, &format!("SELECT v FROM DB.`{}`", kept("_t").await?)).await?, 20);
    assert_eq!(number(&world, "SELECT v FROM DB.t").await?, 30);
    // The column stays, and rows come without it; then another one of its name.
    execute(&world, &["ALTER TABLE t DROP COLUMN v, ADD u INT DEFAULT 5", "INSERT INTO t VALUES (4, 'four', 4, 4)"])
        .await?;
    world.caught_up(LIMIT).await?;
    assert_eq!(number(&world, "SELECT COUNT(*) FROM DB.t WHERE v = 30 AND u = 5 OR v IS NULL AND u = 4").await?, 2);
    execute(&world, &["ALTER TABLE t ADD v VARCHAR(9)", "INSERT INTO t VALUES (5, 'five', 5, 5, 'new')"]).await?;
    world.caught_up(LIMIT).await?;
    assert_eq!(number(&world, "SELECT COUNT(*) FROM DB.t WHERE v = 'new'").await?, 1);
    // A type that takes less.
    execute(&world, &["ALTER TABLE t MODIFY x SMALLINT, MODIFY w VARCHAR(40)", "UPDATE t SET x = 7 WHERE id = 5"])
        .await?;
    world.caught_up(LIMIT).await?;
    assert_eq!(number(&world, "SELECT SUM(x) FROM DB.t").await?, 3 + 4 + 7);
    let columns = format!(
        "SELECT COUNT(*) FROM information_schema.columns WHERE table_schema = '{}' AND table_name = 't' AND column_name LIKE '\\_lutra\\_kept%'",
        world.database()
    );
    assert_eq!(number(&world, &columns).await?, 2, "v and x");
    // Partitions, and what has no safe way.
    execute(&world, &[
        "CREATE TABLE p (id INT PRIMARY KEY) PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (10), PARTITION p1 VALUES LESS THAN (20))",
        "INSERT INTO p VALUES (1), (11)",
        "ALTER TABLE p DROP PARTITION p0",
    ])
    .await?;
    world.caught_up(LIMIT).await?;
    assert_eq!(number(&world, &format!("SELECT id FROM DB.`{}`", kept("_p\\_p0").await?)).await?, 1);
    assert_eq!(number(&world, "SELECT id FROM DB.p").await?, 11);
    execute(
        &world,
        &[
            "CREATE TABLE q (id INT PRIMARY KEY, z INT UNIQUE)",
            "ALTER TABLE q DROP COLUMN z",
            "INSERT INTO q VALUES (1)",
            "INSERT INTO t VALUES (7, 'x', 7, 7, 'x')",
        ],
    )
    .await?;
    let (unit, reason) = waiting(&world, "parked").await?;
    assert!(reason.contains("unique key"), "{reason}");
    world.caught_up(LIMIT).await?;
    assert_eq!(number(&world, "SELECT COUNT(*) FROM DB.t WHERE id = 7").await?, 1, "the others go on");
    decide(&world, "approve", &unit, &[]).await?;
    free(&world).await?;
    assert_eq!(number(&world, "SELECT COUNT(*) FROM DB.q").await?, 1);
    Ok(())
}

#[tokio::test]
async fn rows_that_do_not_fit_are_set_aside_and_the_others_go_on() -> Result<()> {
    let world =
        world("rowaside", WorldOptions { load: "    on_conflict: dead-letter".to_owned(), ..WorldOptions::default() })
            .await?;
    execute(
        &world,
        &["CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20))", "INSERT INTO t VALUES (1, 'one'), (2, 'two')"],
    )
    .await?;
    world.settled(LIMIT).await?;
    at_target(&world, &["INSERT INTO t VALUES (5, 'mine')", "DELETE FROM t WHERE id = 2"]).await?;
    execute(
        &world,
        &[
            "INSERT INTO t VALUES (4, 'four'), (5, 'five; and''more'), (6, 'six')",
            "UPDATE t SET v = CONCAT(v, '!')",
            "DELETE FROM t WHERE id = 2",
        ],
    )
    .await?;
    world.caught_up(LIMIT).await?;
    assert_eq!(
        number(&world, "SELECT COUNT(*) FROM DB.t WHERE v IN ('one!', 'four!', 'five; and''more!', 'six!')").await?,
        4
    );
    let task = format!("load/{}", world.pipeline());
    let letters = format!(
        "SELECT COUNT(*) FROM lutra.dead_letter WHERE task = '{task}' AND kind = 'row' AND tables_named LIKE '%key columns id%'"
    );
    assert!(number(&world, &letters).await? >= 1);
    let held = format!("SELECT COUNT(*) FROM lutra.dead_letter WHERE task = '{task}' AND body LIKE '%five; and%more%'");
    assert_eq!(number(&world, &held).await?, 1, "with its values, in the target only");
    Ok(())
}

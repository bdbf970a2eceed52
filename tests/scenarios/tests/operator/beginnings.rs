//! How pipelines begin: what servers lack, where sources start, who shares them, and logs that are not the old ones.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lutra_harness::mysql;
use lutra_scenarios::{World, WorldOptions, binlog_end, executed};
use mysql_async::prelude::Queryable;

use super::{LIMIT, applied, json, until, world};

#[tokio::test]
async fn apply_names_what_servers_lack_and_checks_them_under_every_mode_of_tls() -> Result<()> {
    let world = World::shared("servers", WorldOptions::default()).await?;
    world.lutra_until(&["status"], LIMIT).await?;
    let text = world.documents()?;
    let user = |kind: &str| {
        let document = text.split("---").find(|d| d.contains(&format!("kind: {kind}"))).unwrap_or_default();
        let line = document.lines().find(|line| line.contains("user: ")).unwrap_or_default();
        line.trim().trim_start_matches("user: ").to_owned()
    };
    // Each privilege that is missing, with the statement that gives it.
    let db = world.database().replace('_', "\\_");
    let [source, target] = world.families().await?.map(|family| family.is_mariadb());
    let client = if source { "BINLOG MONITOR" } else { "REPLICATION CLIENT" };
    let mut privileges = vec![
        (&world.source_url, user("source"), client, "*.*".to_owned()),
        (&world.target_url, user("target"), "DELETE", format!("`{db}`.*")),
    ];
    if !target {
        privileges.push((&world.target_url, user("target"), "SESSION_VARIABLES_ADMIN", "*.*".to_owned()));
    }
    for (url, user, privilege, scope) in privileges {
        mysql::execute(url, &["SET sql_log_bin = 0", &format!("REVOKE {privilege} ON {scope} FROM '{user}'@'%'")])
            .await?;
        let (code, said) = applied(&world, &text, &["--dry-run"]).await?;
        let mend = format!("GRANT {privilege} ON {scope} TO '{user}'@'%'");
        ensure!(code == 3 && said.contains(&format!("mend it: {mend}")), "{code}: {said}");
        mysql::execute(url, &["SET sql_log_bin = 0", &mend]).await?;
    }
    let ca = world.stack().mysql("target")?.folder().join("data/ca.pem");
    let ca = ca.display();
    for (tls, reached) in [
        ("disabled".to_owned(), true),
        ("preferred".to_owned(), true),
        // MariaDB makes no certificate for itself.
        ("required".to_owned(), !target),
        // Its certificate is for no host, and the driver wants the name with the chain; none of the public authorities
        // signed it.
        (format!("{{mode: verify-ca, ca: \"{ca}\"}}"), false),
        ("verify-ca".to_owned(), false),
        (format!("{{mode: verify-identity, ca: \"{ca}\"}}"), false),
        ("{mode: verify-ca, ca: /no/such/file}".to_owned(), false),
    ] {
        let with = text.replace(
            &format!("kind: target\nname: t-{}\nspec:\n", world.name),
            &format!("kind: target\nname: t-{}\nspec:\n  tls: {tls}\n", world.name),
        );
        let (code, said) = applied(&world, &with, &["--dry-run"]).await?;
        ensure!(code == 0 && said.contains("was not checked") != reached, "tls: {tls}: exit {code}: {said}");
    }
    // A secret that is not here is told by its name, and a literal one is refused without being shown.
    let unset = text.replace("${env:LUTRA_TARGET_PASSWORD}", "${env:LUTRA_NO_SUCH_PASSWORD}");
    let (code, said) = applied(&world, &unset, &["--dry-run"]).await?;
    ensure!(code == 0 && said.contains("LUTRA_NO_SUCH_PASSWORD is not set"), "{said}");
    let (code, said) = applied(&world, &text.replace("${env:LUTRA_TARGET_PASSWORD}", "hunter2"), &[]).await?;
    ensure!(code == 2 && said.contains("a secret never stands in a document") && !said.contains("hunter2"), "{said}");
    Ok(())
}

#[tokio::test]
#[ignore = "long"]
async fn a_source_begins_where_it_is_told_or_says_why_it_cannot() -> Result<()> {
    let world = World::shared("starts", WorldOptions::default()).await?;
    let db = world.database().to_owned();
    let mut connection = mysql::connect(&world.source_url).await?;
    // What others wrote before is not to be read again.
    connection.query_drop("FLUSH BINARY LOGS").await?;
    let (file, _) = binlog_end(&world.source_url).await?;
    connection.query_drop(format!("PURGE BINARY LOGS TO '{file}'")).await?;
    world
        .execute(&[
            &format!("CREATE DATABASE `{db}`"),
            &format!("CREATE TABLE `{db}`.t (id INT PRIMARY KEY)"),
            &format!("INSERT INTO `{db}`.t VALUES (1)"),
        ])
        .await?;
    let set = executed(&world.source_url).await?;
    let (file, offset) = binlog_end(&world.source_url).await?;
    world.execute(&[&format!("INSERT INTO `{db}`.t VALUES (2)")]).await?;
    world.lutra_until(&["status"], LIMIT).await?;
    let n = world.name.clone();
    let text = world.documents()?;
    let source = text.split("---").next().unwrap_or_default();
    let target = text.split("---").nth(1).unwrap_or_default();
    let mut all = target.trim_start().to_owned();
    for (name, start) in [
        ("earliest", "start: earliest".to_owned()),
        ("gtid", format!("start: {{gtid: \"{set}\"}}")),
        ("position", format!("start: {{position: {{file: {file}, offset: {offset}}}}}")),
        ("file", format!("gtid: false\n  start: {{position: {{file: {file}, offset: {offset}}}}}")),
        ("latest", "start: latest".to_owned()),
    ] {
        let named = source
            .replace(&format!("name: {}", world.source()), &format!("name: {name}-{n}"))
            .replace("  tables: [", &format!("  {start}\n  tables: ["));
        all += &format!(
            "---\n{named}---\nkind: pipeline\nname: p-{name}-{n}\nspec:\n  source: {name}-{n}\n  target: t-{n}\n  tables: [{{match: \"{db}.t\", to: \"{db}.{name}\"}}]\n"
        );
        if name != "earliest" {
            mysql::execute(
                &world.target_url,
                &[
                    &format!("CREATE DATABASE IF NOT EXISTS `{db}`"),
                    &format!("CREATE TABLE `{db}`.`{name}` (id INT PRIMARY KEY)"),
                ],
            )
            .await?;
        }
    }
    let (code, said) = applied(&world, &all, &[]).await?;
    ensure!(code == 0, "{said}");
    world.running(LIMIT).await?;
    world.execute(&[&format!("INSERT INTO `{db}`.t VALUES (3)")]).await?;
    for (name, wanted) in [
        ("earliest", vec![1, 2, 3]),
        ("gtid", vec![2, 3]),
        ("position", vec![2, 3]),
        ("file", vec![2, 3]),
        ("latest", vec![3]),
    ] {
        let deadline = Instant::now() + LIMIT;
        loop {
            let mut connection = mysql::connect(&world.target_url).await?;
            let select = format!("SELECT id FROM `{db}`.`{name}` ORDER BY id");
            let rows: Vec<i32> = connection.query(select).await.unwrap_or_default();
            if rows == wanted {
                break;
            }
            ensure!(Instant::now() < deadline, "{name}: {rows:?}, not {wanted:?}\n{}", world.logs());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    let (code, answer) = json(&world, &["wait", &format!("p-file-{n}"), "--timeout", "5s"]).await?;
    ensure!(code == 2 && answer.to_string().contains("no GTIDs"), "{answer}");
    // Before the oldest file there is nothing.
    let gone = source
        .replace(&format!("name: {}", world.source()), &format!("name: gone-{n}"))
        .replace("  tables: [", "  gtid: false\n  start: {position: {file: binlog.000000, offset: 4}}\n  tables: [");
    let (code, said) = applied(&world, &gone, &[]).await?;
    ensure!(code == 3 && said.contains("ensure_binlog_not_purged"), "{code}: {said}");
    Ok(())
}

#[tokio::test]
#[ignore = "long"]
async fn a_source_that_was_made_anew_under_its_name_is_never_taken_for_the_old_one() -> Result<()> {
    let world = world("anew", WorldOptions::default()).await?;
    let (pipeline, source, db) = (world.pipeline(), world.source(), world.database().to_owned());
    world.execute(&[&format!("INSERT INTO `{db}`.t VALUES (1,'a')")]).await?;
    world.caught_up(LIMIT).await?;
    // The pipeline alone: its log is made of the same source's log and goes on.
    world.lutra(&["delete", "pipeline", &pipeline]).await?;
    world.execute(&[&format!("INSERT INTO `{db}`.t VALUES (2,'b')")]).await?;
    world.apply().await?;
    world.settled(LIMIT).await?;
    // Both: the new log begins later and counts from one.
    world.lutra(&["delete", "pipeline", &pipeline]).await?;
    world.lutra_until(&["delete", "source", &source], LIMIT).await?;
    world.execute(&[&format!("INSERT INTO `{db}`.t VALUES (3,'c')")]).await?;
    let file = world.path("documents.yaml");
    world.lutra_until(&["apply", "-f", &file.to_string_lossy()], LIMIT).await?;
    until(&world, "extract", "RUNNING", |t| t["state"] == "RUNNING" && t["begun"] == true).await?;
    world.execute(&[&format!("INSERT INTO `{db}`.t VALUES (4,'d')")]).await?;
    let failed = until(&world, "load", "FAILED", |t| t["state"] == "FAILED").await?;
    ensure!(failed.to_string().contains("another_log") && failed.to_string().contains("lutra adopt"), "{failed}");
    // The way out that it names loses nothing.
    world.lutra(&["adopt", &source, "--from-target"]).await?;
    world.running(LIMIT).await?;
    world.settled(LIMIT).await
}

#[tokio::test]
#[ignore = "long"]
async fn one_source_feeds_two_pipelines_and_one_target_takes_two_sources() -> Result<()> {
    let (db, other) = (format!("two_{:x}", std::process::id()), format!("second_{:x}", std::process::id()));
    let options =
        WorldOptions { databases: vec![db.clone()], target_databases: vec![other.clone()], ..WorldOptions::default() };
    let world = World::shared("two", options).await?;
    world.apply().await?;
    world
        .execute(&[&format!("CREATE DATABASE `{db}`"), &format!("CREATE TABLE `{db}`.t (id INT PRIMARY KEY)")])
        .await?;
    // A second source on the same server, a second pipeline of the first source into another database.
    let first = world.documents()?;
    let source = first.split("---").next().unwrap_or_default().to_owned();
    let more = format!(
        "{}---\nkind: pipeline\nname: second-{n}\nspec: {{source: {s}, target: t-{n}, tables: [{{match: \"{db}.*\", to: \"{other}.$1\"}}]}}\n---\n\
         kind: pipeline\nname: third-{n}\nspec: {{source: other-{n}, target: t-{n}, tables: [{{match: \"{db}.*\", to: \"{other}.other_$1\"}}]}}\n",
        source
            .replace(&format!("name: {}", world.source()), &format!("name: other-{}\n", world.name))
            .trim_end()
            .to_owned()
            + "\n",
        n = world.name,
        s = world.source(),
    );
    let file = world.path("more.yaml");
    std::fs::write(&file, more)?;
    mysql::execute(
        &world.target_url,
        &[&format!("CREATE DATABASE `{other}`"), &format!("CREATE TABLE `{other}`.other_t (id INT PRIMARY KEY)")],
    )
    .await?;
    world.lutra(&["apply", "-f", &file.to_string_lossy()]).await?;
    world.running(LIMIT).await?;
    world
        .execute(&[&format!("INSERT INTO `{db}`.t VALUES (1),(2)"), &format!("DELETE FROM `{db}`.t WHERE id = 1")])
        .await?;
    for pipeline in [world.pipeline(), format!("second-{}", world.name), format!("third-{}", world.name)] {
        world.lutra_until(&["wait", &pipeline, "--timeout", "20s"], LIMIT).await?;
    }
    for table in [format!("{db}.t"), format!("{other}.t"), format!("{other}.other_t")] {
        let mut connection = mysql::connect(&world.target_url).await?;
        let rows: Vec<i32> = connection.query(format!("SELECT id FROM {table}")).await?;
        ensure!(rows == [2], "{table}: {rows:?}\n{}", world.logs());
    }
    Ok(())
}

//! Commands, specifications, and what neither they nor anything else shows.

use anyhow::{Context, Result, ensure};
use lutra_harness::mysql;
use lutra_scenarios::{World, WorldOptions};
use serde_json::Value;

use super::{LIMIT, addresses, http, json, until, world};

#[tokio::test]
async fn every_command_answers_people_and_programs_with_its_exit_code() -> Result<()> {
    let world = World::shared("commands", WorldOptions::default()).await?;
    world.apply().await?;
    let (pipeline, source, db) = (world.pipeline(), world.source(), world.database().to_owned());
    // Nothing of what the source did before is this pipeline's: there is nothing to wait for.
    world.lutra(&["wait", &pipeline, "--timeout", "20s"]).await.context(world.logs())?;
    world
        .execute(&[
            &format!("CREATE DATABASE `{db}`"),
            &format!("CREATE TABLE `{db}`.t (id INT PRIMARY KEY, v VARCHAR(200))"),
        ])
        .await?;
    world.execute(&[&format!("INSERT INTO `{db}`.t VALUES (1,'a')")]).await?;
    world.caught_up(LIMIT).await?;
    let file = world.path("documents.yaml").to_string_lossy().into_owned();
    let (code, answer) = json(&world, &["apply", "-f", &file]).await?;
    ensure!(code == 0 && answer["changes"].as_array().unwrap().iter().all(|c| c["action"] == "unchanged"), "{answer}");
    for (args, wanted) in [
        (vec!["validate", "-f", &file], 0),
        (vec!["get"], 0),
        (vec!["get", "source", &source], 0),
        (vec!["get", "target", &source], 2),
        (vec!["status", "nowhere"], 2),
        (vec!["wait", &pipeline, "--timeout", "30s"], 0),
        (vec!["wait", &pipeline, "--timeout", "soon"], 2),
        (vec!["wait", "nowhere"], 2),
        (vec!["pause", "nowhere"], 2),
        (vec!["adopt", &pipeline, "--from-target", "--dry-run"], 0),
        (vec!["adopt", "nowhere", "--from-target"], 2),
        (vec!["adopt", &pipeline], 2),
        (vec!["delete", "source", &source], 1),
        (vec!["delete", "pipeline", &pipeline, "--dry-run"], 0),
        (vec!["ddl", "list", &pipeline], 0),
        (vec!["ddl", "skip", &pipeline, "99999"], 2),
        (vec!["doctor", "--grants", "-f", &file], 0),
        (vec!["frobnicate"], 2),
        (vec!["apply", "-f", "/no/such/file"], 2),
        (vec!["status", "--manager", "127.0.0.1:1"], 3),
    ] {
        let (code, answer) = json(&world, &args).await?;
        ensure!(code == wanted, "lutra {} exits with {code}, not {wanted}: {answer}", args.join(" "));
    }
    let tail = world.lutra(&["log", "tail", &source, "--json"]).await?;
    ensure!(
        tail.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()) && tail.contains(&format!("{db}.t")),
        "{tail}"
    );

    // The pipeline's life, under its states.
    world.lutra(&["pause", &pipeline]).await?;
    until(&world, "load", "PAUSED", |t| t["state"] == "PAUSED").await?;
    world.execute(&[&format!("INSERT INTO `{db}`.t VALUES (2,'b')")]).await?;
    let (code, answer) = json(&world, &["wait", &pipeline, "--timeout", "1s"]).await?;
    ensure!(code == 1 && answer["error"]["message"].as_str().unwrap().contains("PAUSED"), "{answer}");
    world.lutra(&["resume", &pipeline]).await?;
    world.caught_up(LIMIT).await?;
    world.lutra(&["stop", &pipeline]).await?;
    until(&world, "load", "CANCELLED", |t| t["state"] == "CANCELLED" && t.get("worker").is_none()).await?;
    let (code, answer) = json(&world, &["resume", &pipeline]).await?;
    ensure!(code == 1 && answer["error"]["code"] == "conflict", "{answer}");
    world.lutra(&["start", &pipeline]).await?;
    world.settled(LIMIT).await
}

#[tokio::test]
async fn a_changed_specification_is_shown_and_taken_over_by_a_running_pipeline() -> Result<()> {
    let world = world("changes", WorldOptions::default()).await?;
    let db = world.database().to_owned();
    let file = world.path("changed.yaml");
    let text = world.documents()?;
    let pipeline = format!("name: {}\nspec:\n", world.pipeline());
    std::fs::write(&file, text.replace(&pipeline, &format!("{pipeline}  load: {{connections: 2}}\n")))?;
    let file_name = file.to_string_lossy().into_owned();
    let said = world.lutra(&["apply", "-f", &file_name, "--dry-run"]).await?;
    ensure!(said.contains("would change") && said.contains("spec.load.connections: 4 -> 2"), "{said}");
    world.execute(&[&format!("INSERT INTO `{db}`.t VALUES (1,'a')")]).await?;
    let said = world.lutra(&["apply", "-f", &file_name]).await?;
    ensure!(said.contains("changed") && said.contains("spec.load.connections: 4 -> 2"), "{said}");
    until(&world, "load", "version 2", |t| t["spec_version"] == 2 && t["state"] == "RUNNING").await?;
    world.settled(LIMIT).await?;
    // What a history stands on does not move.
    std::fs::write(&file, text.replace("  tables: [", "  start: earliest\n  tables: ["))?;
    let output = world.lutra_output(&["apply", "-f", &file_name]).await?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.code() == Some(1) && said.contains("start cannot change once its log has begun"), "{said}");
    // A fault is told with its place in the file.
    let faulty = format!("{pipeline}  tables:\n    - match: \"{db}.*\"\n    - match: {db}.t\n");
    std::fs::write(&file, text.replace(&pipeline, &faulty))?;
    let output = world.lutra_output(&["apply", "-f", &file_name]).await?;
    let line = 1 + faulty_line(&text, &pipeline) + 4;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(
        output.status.code() == Some(2) && said.contains(&format!("{file_name}:{line}:14: spec.tables[1].match")),
        "line {line}: {said}"
    );
    Ok(())
}

fn faulty_line(text: &str, before: &str) -> usize {
    text[..text.find(before).unwrap_or_default()].matches('\n').count()
}

#[tokio::test]
#[ignore = "long"]
async fn no_secret_is_in_zookeeper_kafka_logs_or_answers() -> Result<()> {
    let world = world("secrets", WorldOptions::default()).await?;
    let db = world.database().to_owned();
    world.execute(&[&format!("INSERT INTO `{db}`.t VALUES (1,'a')")]).await?;
    world.caught_up(LIMIT).await?;
    // Errors about passwords are the likeliest place.
    let users: Vec<String> =
        world.documents()?.lines().filter_map(|l| Some(l.trim().strip_prefix("user: ")?.to_owned())).collect();
    let another = |user: &String| format!("ALTER USER '{user}'@'%' IDENTIFIED BY 'another'");
    for (url, user) in [(&world.source_url, &users[0]), (&world.target_url, &users[1])] {
        mysql::execute(url, &["SET sql_log_bin = 0", &another(user)]).await?;
    }
    for service in ["extractor-1", "loader-1"] {
        world.service(service)?.restart()?;
    }
    let failed = until(&world, "extract", "FAILED", |t| t["state"] == "FAILED").await?;
    ensure!(failed.to_string().contains("Access denied"), "{failed}");
    until(&world, "load", "FAILED", |t| t["state"] == "FAILED").await?;
    let mut answers = String::new();
    for args in [vec!["get", "--json"], vec!["status", "--json"], vec!["doctor"], vec!["log", "tail", &world.source()]]
    {
        let output = world.lutra_output(&args).await?;
        answers += &String::from_utf8_lossy(&[output.stdout, output.stderr].concat());
    }
    for (_, address) in addresses(&world).await? {
        for path in ["/metrics", "/health/ready", "/v1/tasks", "/openapi.json"] {
            answers += &http(&address, path).await?.1;
        }
    }
    let secret = lutra_scenarios::world::PASSWORD;
    ensure!(!answers.contains(secret), "an answer holds the password");
    let folders = ["zookeeper", "kafka", "services"].map(|name| world.stack().folder().join(name));
    let with = |text: &str| -> Result<String> {
        let found = std::process::Command::new("grep").args(["-rlaF", text]).args(&folders).output()?;
        Ok(String::from_utf8_lossy(&found.stdout).into_owned())
    };
    ensure!(with(secret)?.is_empty(), "the password is in {}", with(secret)?);
    // What is no secret is found, in ZooKeeper too.
    ensure!(with(&users[0])?.contains("/zookeeper/"), "the user's name is only in {}", with(&users[0])?);
    Ok(())
}

//! `lutra apply` holds rules against the tables that source and target have.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use anyhow::{Result, ensure};
use lutra_harness::mysql;
use lutra_scenarios::{World, WorldOptions};

#[tokio::test]
async fn every_column_that_does_not_fit_is_named_before_anything_changes() -> Result<()> {
    let db = format!("fits_{:x}", std::process::id());
    let options = WorldOptions {
        databases: vec![db.clone()],
        routes: format!("    - match: \"{db}.t\"\n      columns: {{drop: [gone, id], rename: {{v: w}}}}\n"),
        // The account that copies tables sees them.
        load: "    full: {}".to_owned(),
        ..WorldOptions::default()
    };
    let world = World::shared("fits", options).await?;
    let create = format!("CREATE DATABASE `{db}`");
    world.execute(&[&create, &format!("CREATE TABLE `{db}`.t (id INT PRIMARY KEY, v INT)")]).await?;
    let theirs = format!("CREATE TABLE `{db}`.t (k INT PRIMARY KEY, other INT NOT NULL)");
    mysql::execute(&world.target_url, &[&create, &theirs]).await?;
    world.lutra_until(&["status"], Duration::from_secs(30)).await?;
    let file = world.path("documents.yaml");
    std::fs::write(&file, world.documents()?)?;
    let refused = world.lutra(&["apply", "-f", &file.to_string_lossy()]).await;
    let text = format!("{:#}", refused.expect_err("it must be refused"));
    for part in
        ["exit status: 2", "no column gone", "column id of", "has no column w", "column other of", "spec.tables[0]"]
    {
        ensure!(text.contains(part), "{part} is not in: {text}");
    }
    let status = world.lutra(&["get"]).await?;
    ensure!(!status.contains(&world.pipeline()), "nothing was to be written: {status}");
    Ok(())
}

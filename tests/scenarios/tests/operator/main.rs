//! What a person sees and does: commands and specifications, how sources begin, states, lags and traces; and what never shows,
//! secrets.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod beginnings;
mod commands;
mod telemetry;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use lutra_scenarios::{World, WorldOptions};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(60);

/// Runs `lutra`: its exit code, and what it said as JSON (its error where it failed).
async fn json(world: &World, args: &[&str]) -> Result<(i32, Value)> {
    let output = world.lutra_output(&[args, &["--json"]].concat()).await?;
    let said = if output.status.success() { &output.stdout } else { &output.stderr };
    let text = String::from_utf8_lossy(said).into_owned();
    let value = serde_json::from_str(&text).with_context(|| format!("lutra {} --json said: {text}", args.join(" ")))?;
    Ok((output.status.code().unwrap_or(-1), value))
}

/// A task of the world's pipeline in `lutra status`: `extract`, `transform`, `load`.
async fn task(world: &World, kind: &str) -> Result<Value> {
    let (_, status) = json(world, &["status", &world.pipeline()]).await?;
    let tasks = status.pointer("/pipelines/0/tasks").and_then(Value::as_array).cloned().unwrap_or_default();
    let found = tasks.into_iter().find(|t| t["task"].as_str().is_some_and(|t| t.starts_with(&format!("{kind}/"))));
    found.with_context(|| format!("no task {kind} in {status}"))
}

/// Waits until a task looks so; reports the last look.
async fn until(world: &World, kind: &str, what: &str, fits: impl Fn(&Value) -> bool) -> Result<Value> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let seen = task(world, kind).await;
        match &seen {
            Ok(task) if fits(task) => return seen,
            _ if Instant::now() > deadline => {
                bail!("{kind}: {what} did not come; last seen: {seen:?}\n{}", world.logs())
            }
            _ => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}

async fn http(address: &str, path: &str) -> Result<(u16, String)> {
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build()?;
    let answer = client.get(format!("http://{address}{path}")).send().await?;
    Ok((answer.status().as_u16(), answer.text().await?))
}

/// The address of every worker and of the leading manager, by service.
async fn addresses(world: &World) -> Result<Vec<(String, String)>> {
    let (_, status) = json(world, &["status"]).await?;
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let workers = status["workers"].as_array().cloned().unwrap_or_default();
    let mut found: Vec<_> = workers.iter().map(|w| (text(&w["service"]), text(&w["address"]))).collect();
    found.push(("manager".to_owned(), text(&status["leader"])));
    Ok(found)
}

async fn world(name: &str, options: WorldOptions) -> Result<World> {
    let world = World::shared(name, options).await?;
    world.apply().await?;
    let db = world.database();
    world
        .execute(&[
            &format!("CREATE DATABASE `{db}`"),
            &format!("CREATE TABLE `{db}`.t (id INT PRIMARY KEY, v VARCHAR(200))"),
        ])
        .await?;
    Ok(world)
}

/// Runs `lutra apply` on a text; its exit code, and everything it said.
async fn applied(world: &World, text: &str, more: &[&str]) -> Result<(i32, String)> {
    let file = world.path("applied.yaml");
    std::fs::write(&file, text)?;
    let output = world.lutra_output(&[&["apply", "-f", &file.to_string_lossy()], more].concat()).await?;
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    Ok((output.status.code().unwrap_or(-1), said))
}

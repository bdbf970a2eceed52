//! Health, metrics, lags, traces, and what status says of a task that waits.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lutra_harness::services::Service;
use lutra_harness::{Home, Installation, Stack, StackSpec};
use lutra_scenarios::otlp::{Collector, Span};
use lutra_scenarios::{World, WorldOptions};
use serde_json::Value;

use super::{LIMIT, addresses, http, until, world};

#[tokio::test]
async fn each_service_tells_its_health_and_metrics_and_the_loader_what_it_has_done() -> Result<()> {
    let world = world("endpoints", WorldOptions::default()).await?;
    let (pipeline, db) = (world.pipeline(), world.database().to_owned());
    world.execute(&[&format!("INSERT INTO `{db}`.t VALUES (1,'a'),(2,'b')")]).await?;
    world.caught_up(LIMIT).await?;
    let addresses = addresses(&world).await?;
    ensure!(addresses.len() == 4, "{addresses:?}");
    for (service, address) in &addresses {
        ensure!(http(address, "/health/live").await?.0 == 200, "{service} is not alive");
        let (code, ready) = http(address, "/health/ready").await?;
        ensure!(code == 200 && ready.contains("\"ready\":true"), "{service}: {ready}");
        let (_, metrics) = http(address, "/metrics").await?;
        for name in ["process_resident_memory_bytes", "lutra_build_info", "lutra_zookeeper_connected 1"] {
            ensure!(metrics.contains(name), "{service} has no {name}:\n{metrics}");
        }
        for line in metrics.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            let name = line.split(['{', ' ']).next().unwrap_or_default();
            ensure!(name.starts_with("lutra_") || name.starts_with("process_"), "{service}: {line}");
            ensure!(
                !name.contains("lag") || name.ends_with("_lag_seconds"),
                "{service}: a lag without its unit: {line}"
            );
        }
    }
    let of = |wanted: &str| addresses.iter().find(|(service, _)| service == wanted).map(|(_, address)| address.clone());
    let loader = of("loader").context("a loader")?;
    let (_, metrics) = http(&loader, "/metrics").await?;
    for lag in ["read", "transit", "apply", "end_to_end"] {
        let line = format!("lutra_{lag}_lag_seconds{{pipeline=\"{pipeline}\"}}");
        ensure!(metrics.contains(&line), "no {line} in\n{metrics}");
    }
    // Each route of the loader.
    let one = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
    let (_, tasks) = http(&loader, "/v1/tasks").await?;
    ensure!(one(&tasks)[0]["task"] == format!("load/{pipeline}"), "{tasks}");
    let (_, status) = http(&loader, &format!("/v1/tasks/load/{pipeline}")).await?;
    let status = one(&status);
    ensure!(status["state"] == "running" && status["rows_applied"].as_u64() >= Some(2), "{status}");
    ensure!(http(&loader, "/v1/tasks/load/nowhere").await?.0 == 404);
    let set = status["gtid_set"].as_str().unwrap_or_default().to_owned();
    let (code, reached) = http(&loader, &format!("/v1/tasks/load/{pipeline}/wait?gtid_set={set}&timeout=5")).await?;
    ensure!(code == 200 && one(&reached)["reached"] == true, "{reached}");
    let never = "00000000-0000-0000-0000-000000000001:1";
    let asked = Instant::now();
    let (code, reached) =
        http(&loader, &format!("/v1/tasks/load/{pipeline}/wait?gtid_set={never}&timeout=0.5")).await?;
    ensure!(code == 200 && one(&reached)["reached"] == false && asked.elapsed() < Duration::from_secs(5), "{reached}");
    ensure!(http(&loader, &format!("/v1/tasks/load/{pipeline}/wait?gtid_set=nonsense")).await?.0 == 400);
    ensure!(http(&loader, "/v1/tasks/load/nowhere/wait?gtid_set=").await?.0 == 404);
    Ok(())
}

/// The end-to-end lag that `lutra status` shows.
fn lag(task: &Value) -> f64 {
    task.pointer("/measured/lags/end_to_end_lag_seconds").and_then(Value::as_f64).unwrap_or(-1.0)
}

#[tokio::test]
#[ignore = "long"]
async fn the_lag_is_small_on_an_idle_source_and_grows_when_any_stage_before_the_loader_is_gone() -> Result<()> {
    let world = world("lags", WorldOptions::default()).await?;
    let db = world.database().to_owned();
    world.execute(&[&format!("INSERT INTO `{db}`.t VALUES (1,'a')")]).await?;
    world.caught_up(LIMIT).await?;
    // Idle for longer than a heartbeat: the lag is the heartbeat's way, not the age of the last change.
    tokio::time::sleep(Duration::from_secs(3)).await;
    until(&world, "load", "a small lag", |t| (0.0..2.0).contains(&lag(t))).await?;
    for (service, kind) in [("transformer-1", "transform"), ("extractor-1", "extract")] {
        world.service(service)?.kill()?;
        until(&world, "load", "a lag that grows", |t| lag(t) > 5.0).await?;
        let gone = until(&world, kind, "PENDING and why", |t| t["state"] == "PENDING").await?;
        ensure!(gone["note"].as_str().is_some_and(|note| note.contains("start lutra-")), "{gone}");
        world.service(service)?.start()?;
        until(&world, "load", "a small lag again", |t| (0.0..2.0).contains(&lag(t))).await?;
    }
    world.service("loader-1")?.kill()?;
    let gone = until(&world, "load", "PENDING", |t| t["state"] == "PENDING").await?;
    ensure!(gone["note"].as_str().is_some_and(|note| note.contains("no loader is registered")), "{gone}");
    let text = world.lutra(&["status"]).await?;
    ensure!(text.contains("start lutra-loader"), "{text}");
    world.service("loader-1")?.start()?;
    world.settled(LIMIT).await
}

#[tokio::test]
#[ignore = "long"]
async fn one_trace_leads_from_the_binlog_to_the_commit() -> Result<()> {
    let collector = Collector::start().await?;
    let told = |service: Service| {
        let env = [("LUTRA_OTLP_ENDPOINT", collector.endpoint()), ("LUTRA_OTLP_SAMPLE_RATIO", "1".to_owned())];
        (service.program().to_owned(), env.map(|(name, value)| (name.to_owned(), value)).to_vec())
    };
    let services = [Service::Extractor, Service::Transformer, Service::Loader];
    let options = WorldOptions { env: services.into_iter().map(told).collect(), ..WorldOptions::default() };
    let world = world("traces", options).await?;
    let db = world.database().to_owned();
    world.execute(&[&format!("INSERT INTO `{db}`.t VALUES (1,'a')")]).await?;
    world.caught_up(LIMIT).await?;
    let deadline = Instant::now() + LIMIT;
    loop {
        let spans = collector.spans();
        if let Some(trace) = whole_trace(&spans) {
            println!("one trace: {trace:#?}");
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "no trace has spans of all three services, one inside the other: {spans:#?}"
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// The spans of a trace whose loader's span lies in the transformer's, and that one in the extractor's.
fn whole_trace(spans: &[Span]) -> Option<Vec<&Span>> {
    let loads = spans.iter().filter(|span| span.service == "lutra-loader");
    loads.map(|span| outward(spans, span)).find(|way| {
        ["lutra-transformer", "lutra-extractor"].iter().all(|service| way.iter().any(|span| span.service == *service))
    })
}

/// A span, the one around it, and so on.
fn outward<'s>(spans: &'s [Span], span: &'s Span) -> Vec<&'s Span> {
    let around = |inner: &&'s Span| spans.iter().find(|s| s.trace == inner.trace && s.id == inner.parent);
    std::iter::successors(Some(span), around).collect()
}

#[tokio::test]
#[ignore = "long"]
async fn a_target_with_a_full_disk_is_waited_for_and_status_says_so() -> Result<()> {
    let installation = Installation::ensure(&Home::from_env(), &|_| ())?;
    let mut spec = StackSpec::pair("disk").relaxed();
    let target = spec.mysql.iter_mut().find(|server| server.name == "target").context("a target")?;
    target.disk_mib = Some(320);
    let stack = Stack::start(&installation, spec).await?;
    let world = World::own(stack, "disk", WorldOptions::default()).await?;
    world.apply().await?;
    let db = world.database().to_owned();
    world
        .execute(&[
            &format!("CREATE DATABASE `{db}`"),
            &format!("CREATE TABLE `{db}`.t (id INT PRIMARY KEY, v LONGBLOB)"),
        ])
        .await?;
    world.caught_up(LIMIT).await?;
    let server = world.stack().mysql("target")?;
    let pid = server.process().id().context("the target runs")?.pid;
    // The disk is only seen by the server.
    let disk = format!("/proc/{pid}/root{}/data", server.folder().display());
    let balloon = std::path::Path::new(&disk).join("balloon");
    fill(&balloon)?;
    let rows: Vec<String> =
        (0..8).map(|id| format!("INSERT INTO `{db}`.t VALUES ({id}, REPEAT('x', 4000000))")).collect();
    world.execute(&rows.iter().map(String::as_str).collect::<Vec<_>>()).await?;
    let seen =
        until(&world, "load", "the full disk", |t| t["note"].as_str().is_some_and(|n| n.contains("full"))).await?;
    println!("status says: {}", seen["note"]);
    std::fs::remove_file(&balloon)?;
    let room = Instant::now();
    world.settled(Duration::from_secs(150)).await?;
    println!("everything is there {:?} after there was room", room.elapsed());
    Ok(())
}

/// Writes a file until the disk has less than 2 MiB left.
fn fill(balloon: &std::path::Path) -> Result<()> {
    use std::io::Write as _;
    let mut file = std::fs::File::create(balloon)?;
    let block = vec![0; 1 << 20];
    let mut written = 0;
    while file.write_all(&block).is_ok() {
        written += 1;
    }
    file.set_len((written - 1) << 20)?;
    Ok(())
}

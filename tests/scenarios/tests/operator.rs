//! What a person sees and does: specifications, commands, states, lags, traces; and what never shows, secrets.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use lutra_harness::services::Service;
use lutra_harness::{Home, Installation, Stack, StackSpec, mysql};
use lutra_scenarios::otlp::{Collector, Span};
use lutra_scenarios::{World, WorldOptions};
use mysql_async::prelude::Queryable;
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

/// Runs `lutra apply` on a text; its exit code, and everything it said.
async fn applied(world: &World, text: &str, more: &[&str]) -> Result<(i32, String)> {
    let file = world.path("applied.yaml");
    std::fs::write(&file, text)?;
    let output = world.lutra_output(&[&["apply", "-f", &file.to_string_lossy()], more].concat()).await?;
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    Ok((output.status.code().unwrap_or(-1), said))
}

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
    for (url, user, privilege, scope) in [
        (&world.source_url, user("source"), "REPLICATION CLIENT", "*.*".to_owned()),
        (&world.target_url, user("target"), "DELETE", format!("`{db}`.*")),
        (&world.target_url, user("target"), "SESSION_VARIABLES_ADMIN", "*.*".to_owned()),
    ] {
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
        ("required".to_owned(), true),
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
    let now: Option<(String, u64, String, String, String)> = connection.query_first("SHOW BINARY LOG STATUS").await?;
    let (file, ..) = now.context("a place in the binlog")?;
    connection.query_drop(format!("PURGE BINARY LOGS TO '{file}'")).await?;
    world
        .execute(&[
            &format!("CREATE DATABASE `{db}`"),
            &format!("CREATE TABLE `{db}`.t (id INT PRIMARY KEY)"),
            &format!("INSERT INTO `{db}`.t VALUES (1)"),
        ])
        .await?;
    let set: Option<String> = connection.query_first("SELECT @@GLOBAL.gtid_executed").await?;
    let set = set.context("a GTID set")?.replace('\n', "");
    let place: Option<(String, u64, String, String, String)> = connection.query_first("SHOW BINARY LOG STATUS").await?;
    let (file, offset, ..) = place.context("a place in the binlog")?;
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

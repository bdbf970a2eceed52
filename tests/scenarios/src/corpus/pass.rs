//! The corpus through a pipeline: after each statement source and target must have the same things with the same
//! definitions where the statement names them, and after every fifty all the same definitions and rows.
//!
//! A fault does not end the pass: what differs is dropped at both sides, what the target refuses is skipped, and all faults
//! are told at the end, up to a limit. Where the source has a native replica, what that shows as the target does is the
//! server's own difference, and no fault.
#![allow(clippy::print_stderr, reason = "a test tells what it did")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use lutra_harness::{Home, Installation, Stack, StackSpec, mysql};
use lutra_mysql::Flavour;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use super::definitions::{Reader, Thing};
use super::yardstick::Yardstick;
use super::{Generator, Statement};
use crate::world::{World, WorldOptions};

mod compare;

/// How long a statement may take from source to target on a busy machine.
const ARRIVAL: Duration = Duration::from_secs(60);
/// When a stream that stands still is looked at more closely.
const SUSPICION: Duration = Duration::from_secs(3);
/// Statements between two comparisons of everything.
const BATCH: u32 = 50;
/// After so many faults a pass ends.
const FAULTS: usize = 12;

/// Under which names the target has what the source has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Routing {
    /// The same.
    Same,
    /// Databases of other names.
    Databases,
    /// Databases and tables of other names.
    Tables,
}

/// What a pass is to be.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Its name.
    pub name: &'static str,
    /// Where its statements come from.
    pub seed: u64,
    /// How many statements the source must take.
    pub statements: u32,
    /// Whose source and target.
    pub flavour: Flavour,
    /// Names in the target.
    pub routing: Routing,
    /// On the servers that all tests share, instead of servers of its own.
    pub shared: bool,
}

/// A pass under way.
pub struct Pass {
    plan: Plan,
    world: World,
    generator: Generator,
    /// Runs the statements.
    session: Conn,
    /// Moves the marker whose arrival says that all before it has arrived.
    marking: Conn,
    marked: u32,
    source: Reader,
    target: Reader,
    known: BTreeSet<Thing>,
    counts: BTreeMap<&'static str, (u32, u32)>,
    compared: u64,
    rows: u64,
    faults: Vec<String>,
    yardstick: Option<Yardstick>,
    prefix: String,
    routed: String,
}

/// A table name's beginning in the target, where tables are renamed.
const PREFIX: &str = "zq_";

impl Pass {
    /// Runs a whole pass.
    ///
    /// # Errors
    /// When source and target differ after a statement, or the target refuses one: each is named.
    pub async fn run(plan: Plan) -> Result<()> {
        let mut pass = Self::new(plan).await?;
        let begun = Instant::now();
        let ended = pass.statements().await;
        pass.tell(begun.elapsed());
        ended?;
        ensure!(
            pass.faults.is_empty(),
            "{} faults (LUTRA_SEED={} repeats them):\n\n{}",
            pass.faults.len(),
            plan.seed,
            pass.faults.join("\n\n")
        );
        pass.clean().await
    }

    async fn new(plan: Plan) -> Result<Self> {
        // Two runs on one kept stack must not meet.
        let prefix = format!("{}{:x}", plan.name, std::process::id());
        let routed = if plan.routing == Routing::Same { prefix.clone() } else { format!("to{prefix}") };
        let world = world(plan, &prefix, &routed).await?;
        for url in [&world.source_url, &world.target_url] {
            mysql::execute(url, &["SET GLOBAL log_bin_trust_function_creators = ON"]).await?;
        }
        let other = format!("{prefix}_x");
        mysql::execute(
            &world.source_url,
            &[&format!("CREATE DATABASE {other}"), &format!("CREATE TABLE {other}.kept (a INT, v VARCHAR(20))")],
        )
        .await?;
        world.apply().await?;
        let mut marking = mysql::connect(&world.source_url).await?;
        for side in ["a", "b"] {
            marking.query_drop(format!("CREATE DATABASE `{prefix}_{side}`")).await?;
        }
        marking.query_drop(format!("CREATE TABLE `{prefix}_a`.marker (id INT PRIMARY KEY, n INT)")).await?;
        marking.query_drop(format!("INSERT INTO `{prefix}_a`.marker VALUES (1, 0)")).await?;
        let generator = Generator::new(plan.seed, &prefix, plan.flavour);
        let generator = if plan.routing == Routing::Tables { generator.tables_only() } else { generator };
        let mut renamed = Vec::new();
        if plan.routing != Routing::Same {
            renamed.push((routed.clone(), prefix.clone()));
        }
        if plan.routing == Routing::Tables {
            renamed.push((PREFIX.to_owned(), String::new()));
        }
        let reader = async |url: &str, of: &str, renamed| {
            let reader =
                Reader::new(mysql::connect(url).await?, plan.flavour, Generator::databases(of), renamed).await?;
            anyhow::Ok(if plan.routing == Routing::Tables { reader.with_sorted_checks() } else { reader })
        };
        let yardstick = match world.stack().replica_url().filter(|_| !plan.shared) {
            Some(url) => {
                let replication = world.stack().replication().await?;
                Some(Yardstick::new(url.clone(), replication, reader(&url, &prefix, Vec::new()).await?))
            }
            None => None,
        };
        Ok(Self {
            session: mysql::connect(&world.source_url).await?,
            source: reader(&world.source_url, &prefix, Vec::new()).await?,
            target: reader(&world.target_url, &routed, renamed).await?,
            plan,
            world,
            generator,
            marking,
            marked: 0,
            known: BTreeSet::new(),
            counts: BTreeMap::new(),
            compared: 0,
            rows: 0,
            faults: Vec::new(),
            yardstick,
            prefix,
            routed,
        })
    }

    async fn statements(&mut self) -> Result<()> {
        self.arrived("the marker's table").await?;
        let (mut taken, mut made) = (0, 0);
        while taken < self.plan.statements && self.faults.len() < FAULTS {
            made += 1;
            let statement = self.generator.statement();
            if let Some(yardstick) = &mut self.yardstick {
                yardstick.begin();
            }
            let accepted = self.execute(&statement).await?;
            self.generator.settle(accepted);
            // MariaDB drops what it finds of a list, and then refuses the statement.
            if !accepted && !self.plan.flavour.is_mariadb() {
                continue;
            }
            taken += u32::from(accepted);
            let what = format!(
                "statement {made} ({}), in {}:\n  {};\n  {}",
                statement.kind, statement.database, statement.session, statement.text
            );
            self.arrived(&what).await?;
            if let Some(yardstick) = &mut self.yardstick {
                yardstick.catch_up(&what).await?;
            }
            let whole = taken % BATCH == 0 || taken == self.plan.statements;
            self.compare(&what, &statement.text, whole).await?;
            if whole && accepted {
                self.compare_rows(&what).await?;
                eprintln!(
                    "{}: {taken} of {} statements, {} faults",
                    self.plan.name,
                    self.plan.statements,
                    self.faults.len()
                );
            }
        }
        Ok(())
    }

    /// Runs a statement as its session would; whether the server took it.
    async fn execute(&mut self, statement: &Statement) -> Result<bool> {
        self.session.query_drop(format!("USE `{}`", statement.database)).await.context("choose the database")?;
        self.session.query_drop(&statement.session).await.with_context(|| statement.session.clone())?;
        let refused = self.session.query_drop(&statement.text).await.err();
        let count = self.counts.entry(statement.kind).or_default();
        count.0 += 1;
        count.1 += u32::from(refused.is_some());
        match refused {
            None => Ok(true),
            Some(mysql_async::Error::Server(error)) => {
                if std::env::var_os("LUTRA_REFUSED").is_some() {
                    eprintln!("refused: {error}\n  {}", statement.text);
                }
                Ok(false)
            }
            Some(error) => Err(error).with_context(|| statement.text.clone()),
        }
    }

    /// Waits until the target has everything. A statement that it refused is a fault, and skipped.
    async fn arrived(&mut self, what: &str) -> Result<()> {
        self.marked += 1;
        self.marking
            .query_drop(format!("UPDATE `{}_a`.marker SET n = {}", self.prefix, self.marked))
            .await
            .context("move the marker")?;
        let begun = Instant::now();
        let table = if self.plan.routing == Routing::Tables { format!("{PREFIX}marker") } else { "marker".to_owned() };
        let sql = format!("SELECT n FROM `{}_a`.{table}", self.routed);
        let mut looked = begun;
        let mut pause = Duration::from_millis(5);
        loop {
            let seen: Option<u32> = match self.target.connection.query_first(&sql).await {
                Ok(seen) => seen,
                // It is not there yet.
                Err(mysql_async::Error::Server(_)) => None,
                Err(error) => return Err(error).context("read the marker"),
            };
            if seen == Some(self.marked) {
                return Ok(());
            }
            if looked.elapsed() > SUSPICION {
                looked = Instant::now();
                self.skip_refused(what).await?;
                self.ensure_running(what).await?;
            }
            ensure!(begun.elapsed() < ARRIVAL, "not arrived after {ARRIVAL:?}: {what}\n{}", self.world.logs());
            tokio::time::sleep(pause).await;
            pause = pause.mul_f32(1.4).min(Duration::from_millis(100));
        }
    }

    async fn skip_refused(&mut self, what: &str) -> Result<()> {
        let pipeline = self.world.pipeline();
        let Ok(text) = self.world.lutra(&["ddl", "list", &pipeline, "--json"]).await else { return Ok(()) };
        let listed: serde_json::Value = serde_json::from_str(&text)?;
        let failed = listed.as_array().into_iter().flatten().find(|s| s["state"] == "failed" && s["decision"] == "");
        let Some(failed) = failed else { return Ok(()) };
        let told = format!(
            "{what}\nthe target refuses it: {}\n  as {}",
            failed["reason"].as_str().unwrap_or_default(),
            failed["statement"].as_str().unwrap_or_default()
        );
        let mut excused = false;
        if let Some(yardstick) = &mut self.yardstick {
            yardstick.catch_up(what).await?;
            yardstick.refused = true;
            if yardstick.stood {
                excused = true;
                yardstick.tell(&told);
            }
        }
        if !excused {
            self.fault(told);
        }
        self.world.lutra(&["ddl", "skip", &pipeline, failed["unit"].as_str().unwrap_or_default()]).await?;
        Ok(())
    }

    /// Fails when a task halted over anything but a refused statement.
    async fn ensure_running(&self, what: &str) -> Result<()> {
        let Ok(text) = self.world.lutra(&["status", "--json"]).await else { return Ok(()) };
        let status: serde_json::Value = serde_json::from_str(&text)?;
        let tasks =
            status["pipelines"].as_array().into_iter().flatten().filter_map(|p| p["tasks"].as_array()).flatten();
        for task in tasks {
            let failure = &task["failure"];
            let message = failure["message"].as_str().unwrap_or_default();
            if failure["halted"] == true && !message.contains("statement") {
                bail!("{} halted: {message}\n{what}\n{}", task["task"], self.faults.join("\n\n"));
            }
            if failure["halted"] == true && !task["task"].as_str().unwrap_or_default().starts_with("load/") {
                bail!("{} halted: {message}\n{what}\n{}", task["task"], self.faults.join("\n\n"));
            }
        }
        Ok(())
    }

    /// Notes a fault.
    fn fault(&mut self, text: String) {
        eprintln!("fault: {text}\n");
        self.faults.push(text);
    }

    fn tell(&self, took: Duration) {
        let made: u32 = self.counts.values().map(|c| c.0).sum();
        let refused: u32 = self.counts.values().map(|c| c.1).sum();
        eprintln!(
            "{} (seed {}, {:?}): {made} statements in {:.0} s, {} taken by the source, {refused} refused by it; {} definitions and {} rows \
             compared, {} faults",
            self.plan.name,
            self.plan.seed,
            self.plan.routing,
            took.as_secs_f32(),
            made - refused,
            self.compared,
            self.rows,
            self.faults.len()
        );
        for (kind, (all, refused)) in &self.counts {
            eprintln!("  {kind}: {all}, refused {refused}");
        }
        if let Some(yardstick) = &self.yardstick {
            eprintln!(
                "{}: {} faults; {} differences as the server's own replica, which passed over {} statements",
                self.plan.name,
                self.faults.len(),
                yardstick.common,
                yardstick.passed_over
            );
        }
    }

    async fn clean(mut self) -> Result<()> {
        // Keys lead from one database into another.
        self.marking.query_drop("SET foreign_key_checks = 0").await?;
        for database in Generator::databases(&self.prefix).iter().chain(&[format!("{}_x", self.prefix)]) {
            self.marking.query_drop(format!("DROP DATABASE IF EXISTS `{database}`")).await?;
        }
        Ok(())
    }
}

async fn world(plan: Plan, prefix: &str, routed: &str) -> Result<World> {
    let to = if plan.routing == Routing::Tables { format!("{PREFIX}$1") } else { "$1".to_owned() };
    let pairs = Generator::databases(prefix).into_iter().zip(Generator::databases(routed));
    let routes: String =
        pairs.map(|(from, into)| format!("    - match: \"{from}.*\"\n      to: \"{into}.{to}\"\n")).collect();
    let options = WorldOptions {
        databases: Generator::databases(prefix),
        target_databases: Generator::databases(routed),
        routes: if plan.routing == Routing::Same { String::new() } else { routes },
        pipeline: "  triggers: guard".to_owned(),
        ..WorldOptions::default()
    };
    if plan.shared {
        return World::shared(plan.name, options).await;
    }
    let installation = Installation::ensure(&Home::from_env(), &|_| ())?;
    let flavour =
        if plan.flavour.is_mariadb() { lutra_harness::Flavour::MariaDb } else { lutra_harness::Flavour::MySql };
    let spec = StackSpec::pair(plan.name).of(flavour, flavour).with_replica().relaxed();
    World::own(Stack::start(&installation, spec).await?, plan.name, options).await
}

//! Cases through the services.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use lutra_harness::mysql::{connect, quoted};
use lutra_harness::oracle::Comparison;
use lutra_mysql::Flavour;
use lutra_mysql::dialect::mariadb_collation;
use lutra_scenarios::world::flavour;
use lutra_scenarios::{World, WorldOptions};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row, Value};

use crate::case::{Case, Expected, Step};

/// How long the target may take to follow one case.
const FOLLOW_LIMIT: Duration = Duration::from_secs(60);

/// Databases of cases that are followed, and of those that are copied, begin so.
const FOLLOWED: &str = "hc";
const COPIED: &str = "cp";

/// Which servers a run is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The source's server.
    pub source: Flavour,
    /// The target's server.
    pub target: Flavour,
}

impl Pair {
    /// As case files name it: `mysql-mariadb`.
    #[must_use]
    pub fn key(self) -> String {
        let name = |flavour| if flavour == Flavour::MySql { "mysql" } else { "mariadb" };
        format!("{}-{}", name(self.source), name(self.target))
    }
}

impl std::fmt::Display for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = |flavour| if flavour == Flavour::MySql { "MySQL" } else { "MariaDB" };
        write!(f, "{} → {}", name(self.source), name(self.target))
    }
}

/// How a case ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As expected: equal.
    Equal,
    /// As expected: refused.
    Refused,
    /// As expected: it differs.
    Differs,
    /// Not as expected, and what was seen.
    Failed(String),
    /// It does not run on these servers, or is not run yet, or is tested elsewhere.
    NotRun,
}

/// Runs cases one after another; those that go well share the services.
pub struct Suite {
    pair: Option<Pair>,
    world: Option<World>,
    worlds: u32,
    databases: Vec<String>,
}

impl Suite {
    /// For these cases.
    #[must_use]
    pub fn new(cases: &[Case]) -> Self {
        let of = |case: &Case| [database(FOLLOWED, case), format!("{}_2", database(FOLLOWED, case))];
        Self { pair: None, world: None, worlds: 0, databases: cases.iter().flat_map(of).collect() }
    }

    /// The servers, once a case has run.
    #[must_use]
    pub fn pair(&self) -> Option<Pair> {
        self.pair
    }

    /// Runs a case.
    ///
    /// # Errors
    /// When the services cannot be started; whatever the case itself does is its outcome.
    pub async fn run(&mut self, case: &Case) -> Result<Outcome> {
        if !case.is_run() {
            return Ok(Outcome::NotRun);
        }
        if self.world.is_none() {
            self.worlds += 1;
            let options = WorldOptions { databases: self.databases.clone(), ..WorldOptions::default() };
            let world = World::shared(&format!("conf{}", self.worlds), options).await?;
            world.apply().await?;
            self.pair.get_or_insert(Pair {
                source: flavour(&world.source_url).await?,
                target: flavour(&world.target_url).await?,
            });
            self.world = Some(world);
        }
        let (Some(world), Some(pair)) = (&self.world, self.pair) else { bail!("no world was made") };
        if !case.fits(pair.source, pair.target) {
            return Ok(Outcome::NotRun);
        }
        let expected = case.expected_on(&pair.key());
        let mut play =
            Play { world, case, expected, pair, database: database(FOLLOWED, case), sessions: BTreeMap::new() };
        let ended = play.run().await;
        // What halted is gone with its services; the others find new ones.
        if halted(world).await?.is_some() || ended.is_err() {
            self.world = None;
        }
        Ok(outcome(expected, ended))
    }
}

fn outcome(expected: &Expected, ended: Result<()>) -> Outcome {
    match (expected, ended) {
        (Expected::Refused(_), Ok(())) => Outcome::Refused,
        (Expected::Differs(_), Ok(())) => Outcome::Failed("it is said to differ, and does not".to_owned()),
        (Expected::Differs(_), Err(_)) => Outcome::Differs,
        (_, Ok(())) => Outcome::Equal,
        (_, Err(error)) => Outcome::Failed(format!("{error:#}")),
    }
}

fn database(prefix: &str, case: &Case) -> String {
    let name: String = case.name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    // Two runs on one kept stack must not meet.
    format!("{prefix}{:x}_{}", std::process::id(), name.get(..24).unwrap_or(&name))
}

/// The message of a task that has halted.
async fn halted(world: &World) -> Result<Option<String>> {
    let text = world.lutra_until(&["status", &world.pipeline(), "--json"], Duration::from_secs(30)).await?;
    let status: serde_json::Value = serde_json::from_str(&text).context("understand `lutra status --json`")?;
    let tasks = status.pointer("/pipelines/0/tasks").and_then(|tasks| tasks.as_array()).cloned().unwrap_or_default();
    let failure = tasks.iter().find(|task| task["failure"]["halted"] == true);
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    Ok(failure.map(|task| format!("{}: {}", text(&task["task"]), text(&task["failure"]["message"]))))
}

/// Runs what cases say at the source first, then begins a pipeline that copies the tables, and compares. Between the families
/// nothing is run.
///
/// # Errors
/// When the services cannot be started, or a statement fails.
pub async fn copied(cases: &[Case]) -> Result<(Pair, Vec<Outcome>)> {
    let databases = cases.iter().map(|case| database(COPIED, case)).collect();
    let options = WorldOptions { databases, load: "    full: {}".to_owned(), ..WorldOptions::default() };
    let world = World::shared("confcopy", options).await?;
    let pair = Pair { source: flavour(&world.source_url).await?, target: flavour(&world.target_url).await? };
    if pair.source != pair.target {
        // A table's definition is the source's own text, which the other family often refuses: the page has no column for it.
        return Ok((pair, Vec::new()));
    }
    let key = if pair.source.is_mariadb() { "mariadb-copied" } else { "copied" };
    let fits = |case: &Case| {
        let runs = matches!(case.expected_on(key), Expected::Equal | Expected::Differs(_));
        runs && case.fits(pair.source, pair.target)
    };
    let mut plays = Vec::new();
    for case in cases {
        let database = database(COPIED, case);
        let expected = case.expected_on(key);
        let mut play = Play { world: &world, case, expected, pair, database, sessions: BTreeMap::new() };
        if fits(case) {
            play.steps(false).await.with_context(|| format!("run {}", case.name))?;
        }
        plays.push(play);
    }
    world.apply().await?;
    let mut outcomes = Vec::new();
    loaded(&world).await?;
    for play in plays {
        outcomes.push(match fits(play.case) {
            false => Outcome::NotRun,
            true => outcome(play.expected, play.settle().await),
        });
    }
    Ok((pair, outcomes))
}

/// Waits until all tables are copied.
async fn loaded(world: &World) -> Result<()> {
    let deadline = Instant::now() + 2 * FOLLOW_LIMIT;
    loop {
        let text = world.lutra_until(&["status", &world.pipeline(), "--json"], Duration::from_secs(30)).await?;
        let status: serde_json::Value = serde_json::from_str(&text).context("understand `lutra status --json`")?;
        let load = status.pointer("/pipelines/0/load").and_then(|load| load.as_array()).cloned().unwrap_or_default();
        if !load.is_empty() && load.iter().all(|table| table["state"] == "DONE") {
            return Ok(());
        }
        if let Some(failure) = halted(world).await? {
            bail!("halted: {failure}");
        }
        let open: Vec<&serde_json::Value> = load.iter().filter(|table| table["state"] != "DONE").collect();
        ensure!(Instant::now() < deadline, "not copied in time: {open:?}\n{}", world.logs());
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

/// One case on its way.
struct Play<'w> {
    world: &'w World,
    case: &'w Case,
    expected: &'w Expected,
    pair: Pair,
    database: String,
    sessions: BTreeMap<String, Conn>,
}

const TARGET: &str = "@target";

impl Play<'_> {
    async fn run(&mut self) -> Result<()> {
        self.steps(true).await?;
        match self.expected {
            Expected::Refused(text) => self.refused(text).await,
            _ => self.settle().await,
        }
    }

    /// Does what the case says; `follows`: a pipeline follows it.
    async fn steps(&mut self, follows: bool) -> Result<()> {
        let create = format!("CREATE DATABASE {}", quoted(&self.database));
        self.world.execute(&[&create]).await?;
        let mut session = "main".to_owned();
        let case = self.case;
        for step in &case.steps {
            match step {
                Step::Run(statement, fails) => self.statement(&session, statement, *fails).await?,
                Step::Session(name) => name.clone_into(&mut session),
                Step::Target => TARGET.clone_into(&mut session),
                Step::Settle | Step::Restart(_) if !follows => {}
                Step::Settle => self.settle().await?,
                Step::Close => {
                    if let Some(connection) = self.sessions.remove(&session) {
                        connection.disconnect().await?;
                    }
                }
                Step::Restart(service) => {
                    let service = self.world.service(&format!("{service}-1"))?;
                    service.kill()?;
                    service.start()?;
                }
            }
        }
        Ok(())
    }

    async fn statement(&mut self, session: &str, statement: &str, fails: bool) -> Result<()> {
        let statement = statement.replace("{db}", &self.database);
        if !self.sessions.contains_key(session) {
            let url = if session == TARGET { &self.world.target_url } else { &self.world.source_url };
            let mut connection = connect(url).await?;
            let entered = connection.query_drop(format!("USE {}", quoted(&self.database))).await;
            ensure!(session == TARGET || entered.is_ok(), "enter {}: {entered:?}", self.database);
            self.sessions.insert(session.to_owned(), connection);
        }
        let connection = self.sessions.get_mut(session).context("the session was just made")?;
        match (connection.query_drop(&statement).await, fails) {
            (Ok(()), false) | (Err(_), true) => Ok(()),
            (Ok(()), true) => bail!("the statement must fail, and did not: {statement:.200}"),
            (Err(error), false) => Err(anyhow!(error).context(format!("run at the server: {statement:.200}"))),
        }
    }

    /// Waits until the target has everything, then compares.
    async fn settle(&self) -> Result<()> {
        let deadline = Instant::now() + FOLLOW_LIMIT;
        while self.world.lutra(&["wait", &self.world.pipeline(), "--timeout", "3s"]).await.is_err() {
            if let Some(failure) = halted(self.world).await? {
                bail!("halted: {failure}");
            }
            ensure!(Instant::now() < deadline, "the target does not follow within {FOLLOW_LIMIT:?}");
        }
        self.equal().await
    }

    async fn refused(&self, text: &str) -> Result<()> {
        let deadline = Instant::now() + FOLLOW_LIMIT;
        loop {
            match halted(self.world).await? {
                Some(failure) if failure.contains(text) => return Ok(()),
                Some(failure) => bail!("refused for another reason: {failure}"),
                None => ensure!(Instant::now() < deadline, "not refused within {FOLLOW_LIMIT:?}"),
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn equal(&self) -> Result<()> {
        let (mut source, mut target) = (connect(&self.world.source_url).await?, connect(&self.world.target_url).await?);
        let (left, right) = (self.databases(&mut source).await?, self.databases(&mut target).await?);
        ensure!(left == right, "databases differ: {left:?} -> {right:?}");
        let names: Vec<&str> = left.iter().map(|(name, _)| name.as_str()).collect();
        let mut comparison = Comparison::new(&self.world.source_url, &self.world.target_url).databases(&names);
        // The two families write the same definition in different words.
        if self.pair.source == self.pair.target {
            comparison = comparison.with_definitions();
        }
        let report = comparison.run().await?;
        ensure!(report.is_equal(), "{report}");
        if self.pair.source != self.pair.target {
            let (left, right) = (self.collations(&mut source).await?, self.collations(&mut target).await?);
            ensure!(left == right, "collations differ: {left:?} -> {right:?}");
        }
        let objects = if self.pair.source == self.pair.target { OBJECTS } else { NAMES };
        for query in objects {
            let of = |name: &str| query.replace("{db}", &name.replace('\'', "''"));
            for name in &names {
                self.same(&mut source, &mut target, &of(name)).await?;
            }
        }
        for probe in &self.case.probes {
            let probe = probe.replace("{db}", &self.database);
            self.same(&mut source, &mut target, &probe).await?;
        }
        Ok(())
    }

    async fn same(&self, source: &mut Conn, target: &mut Conn, query: &str) -> Result<()> {
        let (left, right) = (rows(source, query).await?, rows(target, query).await?);
        ensure!(left == right, "`{query}` gives {left:?} -> {right:?}");
        Ok(())
    }

    /// This case's databases, with their default character sets.
    async fn databases(&self, connection: &mut Conn) -> Result<BTreeSet<(String, String)>> {
        let query = "SELECT schema_name, default_collation_name FROM information_schema.schemata";
        let all: Vec<(String, String)> = connection.query(query).await?;
        let own = [self.database.clone(), format!("{}_2", self.database)];
        let own = all.into_iter().filter(|(name, _)| own.contains(&name.to_lowercase()));
        Ok(own.map(|(name, collation)| (name, self.named(collation))).collect())
    }

    /// The collations of this case's tables and columns.
    async fn collations(&self, connection: &mut Conn) -> Result<BTreeSet<(String, String, String)>> {
        // MySQL's JSON has no collation, MariaDB's is text.
        let query = "SELECT c.table_name, c.column_name, IF(c.data_type = 'json', 'utf8mb4_bin', c.collation_name) FROM \
                     information_schema.columns c JOIN information_schema.tables t USING (table_schema, table_name) WHERE \
                     (c.collation_name IS NOT NULL OR c.data_type = 'json') AND \
                     t.table_type = 'BASE TABLE' AND c.table_schema IN (?, ?) UNION ALL SELECT table_name, '', table_collation FROM \
                     information_schema.tables WHERE table_type = 'BASE TABLE' AND table_schema IN (?, ?)";
        let (own, second) = (self.database.clone(), format!("{}_2", self.database));
        let all: Vec<(String, String, String)> =
            connection.exec(query, (own.clone(), second.clone(), own, second)).await?;
        Ok(all.into_iter().map(|(table, column, collation)| (table, column, self.named(collation))).collect())
    }

    /// The name of a collation, which across the families may be another one.
    fn named(&self, collation: String) -> String {
        match mariadb_collation(&collation).filter(|_| self.pair.source != self.pair.target) {
            Some(theirs) => theirs.to_owned(),
            None => collation,
        }
    }
}

/// What a database has besides tables and rows.
const OBJECTS: [&str; 2] = [
    "SELECT table_name, view_definition, check_option, is_updatable FROM information_schema.views WHERE table_schema = '{db}' ORDER BY 1",
    "SELECT routine_type, routine_name, routine_definition, sql_mode, database_collation FROM information_schema.routines WHERE routine_schema = '{db}' ORDER BY 1, 2",
];

/// The same across the families, which keep other texts.
const NAMES: [&str; 2] = [
    "SELECT table_name, check_option FROM information_schema.views WHERE table_schema = '{db}' ORDER BY 1",
    "SELECT routine_type, routine_name FROM information_schema.routines WHERE routine_schema = '{db}' ORDER BY 1, 2",
];

async fn rows(connection: &mut Conn, query: &str) -> Result<Vec<Vec<Value>>> {
    let rows: Vec<Row> = connection.query(query).await.with_context(|| format!("ask `{query}`"))?;
    Ok(rows.into_iter().map(Row::unwrap).collect())
}

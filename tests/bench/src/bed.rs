//! What a run stands on: servers of its own, one worker of each service, and a backlog.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use lutra_change::GtidSet;
use lutra_harness::process::ProcessId;
use lutra_harness::server::Server;
use lutra_harness::services::Service;
use lutra_harness::workload::sysbench;
use lutra_harness::{Home, Installation, MySqlSpec, Stack, StackSpec, mysql};
use lutra_scenarios::{World, WorldOptions};
use mysql_async::prelude::Queryable;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::meter::{Costs, Meter};
use crate::report::{Report, per_second};
use crate::{Setting, note, now_micros};

/// The captured database.
pub const DATABASE: &str = "bench";
/// The services through which changes flow, in the order of the data.
pub const FLOW: [Service; 3] = [Service::Extractor, Service::Transformer, Service::Loader];
/// After so long a run is given up.
const LIMIT: Duration = Duration::from_secs(3_600);
/// How often the target is asked for a mark: of no weight, and fine enough for windows of seconds.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Servers and services of a run. The source has the workload's tables and first rows, the target too, and the services
/// that are to be measured do not run.
pub struct Bed {
    /// The cluster.
    pub world: World,
    /// What the run is told.
    pub setting: Setting,
    marks: u64,
}

/// What was written at the source while nothing flowed.
#[derive(Clone, Debug)]
pub struct Backlog {
    /// Row changes.
    pub rows: u64,
    /// The first transaction writes this mark, the last one the next.
    pub first_mark: u64,
    /// Everything executed behind it.
    pub gtid_set: GtidSet,
}

/// How long a backlog took.
#[derive(Clone, Debug)]
pub struct Window {
    /// From the start of the processes to the last row.
    pub whole: Duration,
    /// From the first row to the last: without the start of the processes.
    pub flowing: Duration,
    /// Who used what.
    pub costs: Costs,
}

impl Window {
    /// Writes it down as figures.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn report(&self, report: &mut Report, subject: &str, rows: u64) -> Result<()> {
        let mut figures = report.of(subject, rows);
        figures.figure("rows_per_second", per_second(rows, self.whole), "rows/s")?;
        figures.figure("rows_per_second_flowing", per_second(rows, self.flowing), "rows/s")?;
        figures.figure("window", self.whole.as_secs_f64(), "s")?;
        figures.figure("start", self.whole.saturating_sub(self.flowing).as_secs_f64(), "s")?;
        figures.costs(&self.costs)
    }
}

impl Bed {
    /// Starts everything, brings the workload's first rows to the target, and stops the services again. `replicas` are more
    /// MySQL servers, empty.
    ///
    /// # Errors
    /// When servers or services do not do what is asked.
    pub async fn open(setting: &Setting, replicas: &[&str]) -> Result<Self> {
        let installation = Installation::ensure(&Home::from_env(), &|line| note(line))?;
        let mut spec = StackSpec::pair("bench");
        let replica =
            |name: &&str| MySqlSpec { settings: vec!["skip_replica_start=ON".to_owned()], ..MySqlSpec::named(name) };
        spec.mysql.extend(replicas.iter().map(replica));
        if setting.relaxed {
            spec = spec.relaxed();
        }
        note("starting the servers");
        let stack = Stack::start(&installation, spec).await?;
        let options = WorldOptions {
            databases: vec![DATABASE.to_owned()],
            source: "  accept_weak_durability: true".to_owned(),
            ..WorldOptions::default()
        };
        let bed = Self { world: World::own(stack, "bench", options).await?, setting: *setting, marks: 0 };
        note("bringing the first rows to the target");
        bed.world.apply().await?;
        sysbench::create(&bed.world.source_url, DATABASE, setting.workload).await?;
        bed.world.caught_up(Duration::from_secs(300)).await?;
        bed.stop(&FLOW).await?;
        Ok(bed)
    }

    /// A MySQL server.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn server(&self, name: &str) -> Result<&Server> {
        self.world.stack().mysql(name)
    }

    /// Stops services in order.
    ///
    /// # Errors
    /// When one does not end within a minute.
    pub async fn stop(&self, services: &[Service]) -> Result<()> {
        for service in services {
            let running = self.world.service(&format!("{service}-1"))?;
            running.terminate()?;
            running.wait(Duration::from_secs(60)).await.with_context(|| format!("stop the {service}"))?;
        }
        Ok(())
    }

    /// Starts a stopped service.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&self, service: Service) -> Result<ProcessId> {
        let stopped = self.world.service(&format!("{service}-1"))?;
        stopped.start()?;
        stopped.process().id().with_context(|| format!("find the process of the {service}"))
    }

    /// Starts the services of a window inside it.
    ///
    /// # Errors
    /// When one cannot be started.
    pub fn start_measured(&self, services: &[Service], meter: &mut Meter) -> Result<()> {
        services.iter().try_for_each(|service| {
            meter.add(&service.to_string(), self.start(*service)?);
            Ok(())
        })
    }

    /// Begins a window over all that runs: servers and the services not to be measured afresh.
    ///
    /// # Errors
    /// When a process cannot be measured.
    pub fn meter(&self) -> Result<Meter> {
        let servers = self.world.stack().servers().map(|server| (server.name().to_owned(), server.process().id()));
        let services = self
            .world
            .services
            .iter()
            .map(|(name, service)| (name.trim_end_matches("-1").to_owned(), service.process().id()));
        let running = servers.chain(services).filter_map(|(name, id)| Some((name, id.filter(|id| id.is_alive())?)));
        let own = ("benchmark".to_owned(), ProcessId::own()?);
        Meter::start(running.chain([own]).collect())
    }

    /// Writes a backlog at the source, between two marks.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn backlog(&mut self) -> Result<Backlog> {
        let (url, setting) = (&self.world.source_url, &self.setting);
        let transactions = setting.transactions();
        note(format!("writing a backlog of {transactions} transactions"));
        let (began, first_mark) = (Instant::now(), self.marks + 1);
        sysbench::mark(url, DATABASE, first_mark).await?;
        let rows = sysbench::run(url, DATABASE, setting.workload, transactions, true).await?;
        sysbench::mark(url, DATABASE, first_mark + 1).await?;
        self.marks += 2;
        note(format!("written in {:.1} s", began.elapsed().as_secs_f64()));
        Ok(Backlog { rows, first_mark, gtid_set: executed(url).await? })
    }

    /// Waits until the last mark of a backlog is seen on a server; when the first and the last one were seen.
    ///
    /// # Errors
    /// When a task fails meanwhile, or an hour passes.
    pub async fn watch(&self, url: &str, backlog: &Backlog) -> Result<[Instant; 2]> {
        let mut connection = mysql::connect(url).await?;
        let query = format!("SELECT MAX(id) FROM `{DATABASE}`.mark");
        let (mut first, mut looked) = (None, Instant::now());
        let deadline = looked + LIMIT;
        loop {
            let newest: Option<Option<u64>> = connection.query_first(&query).await.context("look for a mark")?;
            let (newest, now) = (newest.flatten().unwrap_or(0), Instant::now());
            if newest >= backlog.first_mark {
                first.get_or_insert(now);
            }
            if newest > backlog.first_mark {
                return Ok([first.unwrap_or(now), now]);
            }
            self.look_after(&mut looked, deadline).await?;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until a service has passed on everything of a backlog.
    ///
    /// # Errors
    /// When a task fails meanwhile, or an hour passes.
    pub async fn passed_on(&self, service: Service, backlog: &Backlog) -> Result<()> {
        let mut looked = Instant::now();
        let (deadline, mut address) = (looked + LIMIT, None);
        loop {
            if address.is_none() {
                address = self.address(service).await?;
            }
            let reached = match &address {
                Some(place) => gtid_set(place).await.unwrap_or_default(),
                None => None,
            };
            if reached.is_some_and(|set| backlog.gtid_set.is_subset(&set)) {
                return Ok(());
            }
            self.look_after(&mut looked, deadline).await?;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Where a service's HTTP endpoint listens; none as long as it does not run.
    async fn address(&self, service: Service) -> Result<Option<String>> {
        let status = self.status().await?;
        let workers = status["workers"].as_array().cloned().unwrap_or_default();
        let found = workers.iter().find(|w| w["service"] == service.to_string().as_str() && w["silent"].is_null());
        Ok(found.and_then(|w| w["address"].as_str()).map(str::to_owned))
    }

    async fn status(&self) -> Result<Value> {
        let text = self.world.lutra(&["status", "--json"]).await?;
        serde_json::from_str(&text).context("understand `lutra status --json`")
    }

    /// Every ten seconds: does everything run?
    async fn look_after(&self, looked: &mut Instant, deadline: Instant) -> Result<()> {
        if looked.elapsed() < Duration::from_secs(10) {
            return Ok(());
        }
        *looked = Instant::now();
        let status = self.status().await?;
        if let Some(failure) = find(&status, "failure") {
            bail!("a task failed: {failure}\n{}", self.world.logs());
        }
        if *looked > deadline {
            bail!("the run does not end: {status}\n{}", self.world.logs());
        }
        Ok(())
    }
}

/// What a MySQL server has executed.
///
/// # Errors
/// When it does not say.
pub async fn executed(url: &str) -> Result<GtidSet> {
    let mut connection = mysql::connect(url).await?;
    let text: Option<String> = connection.query_first("SELECT @@GLOBAL.gtid_executed").await?;
    let text: String = text.unwrap_or_default().split_whitespace().collect();
    text.parse().with_context(|| format!("understand the GTID set {text}"))
}

/// The GTID set that a worker says it has reached.
async fn gtid_set(address: &str) -> Result<Option<GtidSet>> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET /v1/tasks HTTP/1.0\r\nHost: localhost\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let tasks: Value = serde_json::from_str(body).context("understand a worker's tasks")?;
    let set = find(&tasks, "gtid_set").and_then(Value::as_str).map(str::parse).transpose();
    set.context("understand a worker's GTID set")
}

/// The first value of that name, anywhere in it, that is not null.
fn find<'v>(value: &'v Value, key: &str) -> Option<&'v Value> {
    match value {
        Value::Object(map) => {
            map.get(key).filter(|v| !v.is_null()).or_else(|| map.values().find_map(|inner| find(inner, key)))
        }
        Value::Array(list) => list.iter().find_map(|inner| find(inner, key)),
        _ => None,
    }
}

/// The span from `begin` to now on the clock that brokers and servers write down.
pub(crate) fn micros_since(begin: i64, end: i64) -> Duration {
    Duration::from_micros(u64::try_from(end - begin).unwrap_or(0))
}

/// Both clocks now: for spans in this process, and for those that other processes write down.
pub(crate) fn clocks() -> (Instant, i64) {
    (Instant::now(), now_micros())
}

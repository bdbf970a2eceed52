//! What a run stands on: real servers, a link in front of each, and two of every service.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use lutra_harness::link::Link;
use lutra_harness::mysql::{connect, execute};
use lutra_harness::services::{Profile, Service, ServiceProcess};
use lutra_harness::{Home, Installation, Stack, StackSpec};
use lutra_scenarios::{World, WorldOptions};
use mysql_async::prelude::Queryable;
use serde_json::Value;

use crate::fault;

/// After so long ZooKeeper gives away what a silent process had.
pub const SESSION: Duration = Duration::from_secs(2);
/// Of each service so many run.
pub const EACH: u32 = 2;
/// Nothing that is mended may take longer to go on.
pub const LIMIT: Duration = Duration::from_secs(120);
/// A manager that has not answered by then is asked again: another may lead by now.
const ANSWER: Duration = Duration::from_secs(3);
/// How often a server is asked for a probe.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The servers and the links in front of them.
#[derive(Debug)]
pub struct Ground {
    /// MySQL source and target, Kafka, ZooKeeper.
    pub stack: Arc<Stack>,
    /// Between extractors and the source.
    pub source: Link,
    /// Between loaders and the target.
    pub target: Link,
    /// Between all services and Kafka, which tells its clients to come through here.
    pub kafka: Link,
    /// Between each process, by its name, and ZooKeeper.
    pub zookeeper: BTreeMap<String, Link>,
}

impl Ground {
    /// Starts the servers, whose commits do not wait for the disk.
    ///
    /// # Errors
    /// When one does not start.
    pub async fn start() -> Result<Self> {
        let installation = Installation::ensure(&Home::from_env(), &|line| crate::note(line))?;
        let kafka = Link::start("127.0.0.1:1").await?;
        let spec = StackSpec { kafka_advertised: Some(kafka.port()), ..StackSpec::pair("crucible").relaxed() };
        let stack = Arc::new(Stack::start(&installation, spec).await?);
        kafka.lead_to(stack.kafka()?.address());
        let mut zookeeper = BTreeMap::new();
        for name in workers() {
            zookeeper.insert(name, Link::start(stack.zookeeper()?.address()).await?);
        }
        let source = Link::start(stack.mysql("source")?.address()).await?;
        let target = Link::start(stack.mysql("target")?.address()).await?;
        Ok(Self { stack, source, target, kafka, zookeeper })
    }

    /// The link of that name (`source`, `target`, `kafka`), or the one of a process to ZooKeeper.
    ///
    /// # Errors
    /// When there is none.
    pub fn link(&self, name: &str) -> Result<&Link> {
        Ok(match name {
            "source" => &self.source,
            "target" => &self.target,
            "kafka" => &self.kafka,
            process => self.zookeeper.get(process).with_context(|| format!("there is no link called {process}"))?,
        })
    }
}

/// What is started again is the program that was there at first, though another one be built meanwhile.
fn keep_programs(world: &World) -> Result<()> {
    let folder = world.path("programs");
    std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    for process in world.services.values() {
        let kept = folder.join(process.service().program());
        let program = process.process().launch().program;
        if !kept.exists() && std::fs::hard_link(&program, &kept).is_err() {
            std::fs::copy(&program, &kept).with_context(|| format!("copy {}", program.display()))?;
        }
        process.process().change_launch(|launch| launch.program.clone_from(&kept));
    }
    Ok(())
}

/// Names of all processes.
pub fn workers() -> Vec<String> {
    Service::ALL.iter().flat_map(|service| (1..=EACH).map(move |n| format!("{service}-{n}"))).collect()
}

/// One cluster under test on the ground.
pub struct Rig {
    /// Servers and links.
    pub ground: Arc<Ground>,
    /// The cluster.
    pub world: World,
    /// Database of probes.
    pub database: String,
    probes: AtomicU64,
}

impl Rig {
    /// Starts two of each service. `databases` are captured besides that of the probes.
    ///
    /// # Errors
    /// When a service does not start, or the tasks do not run after a minute.
    pub async fn start(ground: &Arc<Ground>, name: &str, databases: &[String]) -> Result<Self> {
        let database = format!("{}_probe", name.replace('-', "_"));
        let mut env: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
        for (process, link) in &ground.zookeeper {
            let told = [("LUTRA_ZOOKEEPER", link.address()), ("LUTRA_SESSION_SECONDS", SESSION.as_secs().to_string())];
            env.insert(process.clone(), told.map(|(name, value)| (name.to_owned(), value)).into());
        }
        let options = WorldOptions {
            databases: std::iter::once(database.clone()).chain(databases.iter().cloned()).collect(),
            env,
            source_address: Some(ground.source.address()),
            target_address: Some(ground.target.address()),
            reach: Some([ground.stack.zookeeper()?.address(), ground.kafka.address()]),
            // Parts are cut often.
            source: "  part_bytes: 64KiB".to_owned(),
            start_nothing: true,
            ..WorldOptions::default()
        };
        let mut world = World::beside(Arc::clone(&ground.stack), name, options).await?;
        for service in Service::ALL {
            for n in 1..=EACH {
                world.start(service, n)?;
            }
        }
        keep_programs(&world)?;
        let rig = Self { ground: Arc::clone(ground), world, database, probes: AtomicU64::new(0) };
        rig.world.apply().await?;
        let db = &rig.database;
        rig.world
            .execute(&[
                &format!("DROP DATABASE IF EXISTS `{db}`"),
                &format!("CREATE DATABASE `{db}`"),
                &format!("CREATE TABLE `{db}`.probe (n BIGINT UNSIGNED PRIMARY KEY)"),
            ])
            .await?;
        Ok(rig)
    }

    /// The task of the loader.
    #[must_use]
    pub fn load_task(&self) -> String {
        format!("load/{}", self.world.pipeline())
    }

    /// Whether the services can be made to die at named places.
    #[must_use]
    pub fn has_crash_points() -> bool {
        Profile::from_env() == Profile::Debug
    }

    /// The process that has the task of a service, as the manager says.
    ///
    /// # Errors
    /// When nobody has it after half a minute.
    pub async fn owner(&self, service: Service) -> Result<&ServiceProcess> {
        let name = match service {
            Service::Manager => return self.leader().await,
            Service::Extractor => self.world.owner("extract").await?,
            Service::Transformer => self.world.owner("transform").await?,
            Service::Loader => self.world.owner("load").await?,
        };
        self.world.service(&name)
    }

    async fn leader(&self) -> Result<&ServiceProcess> {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            if let Ok(status) = self.status().await
                && let Some(address) = status["leader"].as_str()
            {
                let own = |name: &u32| self.world.service(&format!("manager-{name}")).ok();
                let found = (1..=EACH).filter_map(|n| own(&n)).find(|m| m.is_alive() && m.log().contains(address));
                if let Some(found) = found {
                    return Ok(found);
                }
            }
            if Instant::now() > deadline {
                bail!("no manager leads\n{}", self.world.logs());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// What `lutra status --json` says.
    ///
    /// # Errors
    /// When nobody answers.
    pub async fn status(&self) -> Result<Value> {
        let text = self.world.lutra(&["status", "--json"]).await?;
        serde_json::from_str(&text).context("understand `lutra status --json`")
    }

    /// Commits a change at the source as soon as it lets us; how long after `since` it is committed in the target.
    ///
    /// # Errors
    /// When it is not there `limit` after `since`.
    pub async fn probe(&self, since: Instant, limit: Duration) -> Result<Duration> {
        let n = self.probes.fetch_add(1, Ordering::SeqCst) + 1;
        let insert = format!("INSERT IGNORE INTO `{}`.probe VALUES ({n})", self.database);
        while let Err(error) = execute(&self.world.source_url, &[&insert]).await {
            if since.elapsed() > limit {
                return Err(error.context("write a probe at the source"));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let question = format!("SELECT COUNT(*) FROM `{}`.probe WHERE n = {n}", self.database);
        let mut conn = None;
        while since.elapsed() < limit {
            match &mut conn {
                None => conn = connect(&self.world.target_url).await.ok(),
                Some(open) => match open.query_first::<u64, _>(&question).await {
                    Ok(Some(1)) => return Ok(since.elapsed()),
                    Ok(_) => {}
                    Err(_) => conn = None,
                },
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        bail!("change {n} is not in the target {limit:?} after it should be\n{}", self.world.logs())
    }

    /// How long after `since` a manager answers.
    ///
    /// # Errors
    /// When none does within a minute.
    pub async fn managed(&self, since: Instant) -> Result<Duration> {
        loop {
            // One that is frozen takes a question and never answers it.
            let asked = tokio::time::timeout(ANSWER, self.status()).await;
            match asked.unwrap_or_else(|_late| Err(anyhow!("no answer within {ANSWER:?}"))) {
                Ok(_) => return Ok(since.elapsed()),
                Err(error) if since.elapsed() > LIMIT => return Err(error.context("no manager answers")),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// Starts whatever does not run, wakes what is frozen, and takes back every setting that a fault makes: what one left
    /// behind when it failed half-way.
    ///
    /// # Errors
    /// When something does not start.
    pub async fn mend(&self) -> Result<()> {
        let links = [&self.ground.source, &self.ground.target, &self.ground.kafka];
        for link in links.into_iter().chain(self.ground.zookeeper.values()) {
            link.set(lutra_harness::link::Conditions::default());
        }
        fault::disk::free(self)?;
        for server in self.ground.stack.servers() {
            if server.process().is_alive() {
                server.thaw()?;
            } else {
                server.start().await?;
            }
        }
        for process in self.world.services.values() {
            let id = process.process().id().filter(|id| id.is_alive());
            if fault::crash::is_armed(process) {
                fault::crash::restart_with(process, &[])?;
            } else if let Some(id) = id {
                process.thaw()?;
                fault::resources::cap_memory(id.pid, u64::MAX)?;
            } else {
                process.start()?;
            }
        }
        let settings = [
            "SET GLOBAL read_only = 0",
            "SET GLOBAL max_connections = 200",
            "SET GLOBAL binlog_group_commit_sync_delay = 0",
        ];
        let since = Instant::now();
        while let Err(error) = execute(&self.world.target_url, &settings).await {
            if since.elapsed() > Duration::from_secs(20) {
                return Err(error.context("take back settings of the target"));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }
}

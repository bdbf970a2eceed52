//! One cluster under test: two of every service.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use lutra_harness::Server;
use lutra_harness::mysql::{connect, create_user, execute};
use lutra_harness::server::Kind;
use lutra_harness::services::{Service, ServiceProcess};
use lutra_scenarios::world::PASSWORD;
use lutra_scenarios::{World, WorldOptions};
use mysql_async::prelude::Queryable;
use serde_json::Value;

use crate::fault;
use crate::ground::Ground;

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

/// What each process is told: where its ways to ZooKeeper begin, and of managers what topics are made like.
fn environment(ground: &Ground) -> Result<BTreeMap<String, Vec<(String, String)>>> {
    let mut all = BTreeMap::new();
    for process in ground.processes() {
        let mut told = vec![
            ("LUTRA_ZOOKEEPER", ground.addresses(process)?),
            ("LUTRA_SESSION_SECONDS", SESSION.as_secs().to_string()),
        ];
        if process.starts_with("manager") && ground.form.brokers > 1 {
            told.push(("LUTRA_REPLICATION", ground.form.brokers.to_string()));
            told.push(("LUTRA_MIN_INSYNC_REPLICAS", "2".to_owned()));
        }
        told.extend(ground.clock(process)?);
        all.insert(process.clone(), told.into_iter().map(|(name, value)| (name.to_owned(), value)).collect());
    }
    Ok(all)
}

/// Names of all processes.
pub fn workers() -> Vec<String> {
    Service::ALL.iter().flat_map(|service| (1..=EACH).map(move |n| format!("{service}-{n}"))).collect()
}

/// Services whose workers may become more.
pub const SCALED: [Service; 3] = [Service::Extractor, Service::Transformer, Service::Loader];

/// Workers that run only while there are more than usual: of each service as many again.
pub fn spares() -> impl Iterator<Item = (Service, u32)> {
    SCALED.into_iter().flat_map(|service| (EACH + 1..=2 * EACH).map(move |n| (service, n)))
}

/// One cluster under test on the ground.
pub struct Rig {
    /// Servers and links.
    pub ground: Arc<Ground>,
    /// The cluster.
    pub world: World,
    /// Workers that do not run, but while a fault wants more of them.
    pub spares: BTreeMap<String, ServiceProcess>,
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
        ground.come_home().await.context("go back to the first server of the source")?;
        let options = WorldOptions {
            databases: std::iter::once(database.clone()).chain(databases.iter().cloned()).collect(),
            env: environment(ground)?,
            source_address: Some(ground.addresses("source")?),
            target_address: Some(ground.target.address()),
            reach: Some([ground.stack.addresses(Kind::ZooKeeper)?, ground.addresses("kafka")?]),
            // Parts are cut often.
            source: "  part_bytes: 64KiB".to_owned(),
            start_nothing: true,
            verify_identity: ground.form.certificates,
            ..WorldOptions::default()
        };
        let mut world = World::beside(Arc::clone(&ground.stack), name, options).await?;
        world.source_url = ground.source_url()?;
        for service in Service::ALL {
            for n in 1..=EACH {
                world.start(service, n)?;
            }
        }
        for (service, n) in spares().filter(|_| ground.form.spares) {
            world.start(service, n)?;
        }
        keep_programs(&world)?;
        let mut spares = BTreeMap::new();
        for (service, n) in self::spares() {
            if let Some((name, process)) = world.services.remove_entry(&format!("{service}-{n}")) {
                process.kill()?;
                spares.insert(name, process);
            }
        }
        let rig = Self { ground: Arc::clone(ground), world, spares, database, probes: AtomicU64::new(0) };
        rig.let_in_everywhere().await?;
        rig.apply().await?;
        let db = &rig.database;
        rig.world
            .execute(&[
                &format!("DROP DATABASE IF EXISTS `{db}`"),
                &format!("CREATE DATABASE `{db}`"),
                &format!("CREATE TABLE `{db}`.probe (n BIGINT UNSIGNED PRIMARY KEY)"),
                // What servers of the source have that the primary has not given them.
                &format!("CREATE TABLE `{db}`.errant (n BIGINT UNSIGNED PRIMARY KEY)"),
            ])
            .await?;
        Ok(rig)
    }

    /// Lets the extractor's user in at the source's other server too.
    async fn let_in_everywhere(&self) -> Result<()> {
        let Ok(standby) = self.ground.standby() else { return Ok(()) };
        let (user, _) = self.users()?;
        let mut conn = connect(&self.ground.primary()?.url()).await?;
        let grants: Vec<String> = conn.query(format!("SHOW GRANTS FOR '{user}'@'%'")).await?;
        conn.disconnect().await?;
        let writable = "SET GLOBAL super_read_only = OFF";
        execute(&standby.url(), &[writable]).await?;
        create_user(&standby.url(), &user, PASSWORD, &[]).await?;
        let all: Vec<&str> = std::iter::once("SET sql_log_bin = 0").chain(grants.iter().map(String::as_str)).collect();
        execute(&standby.url(), &all).await
    }

    /// The users of extractors at the source, and of loaders at the target.
    ///
    /// # Errors
    /// When the documents name none.
    pub fn users(&self) -> Result<(String, String)> {
        let documents = self.world.documents()?;
        let mut users = documents.lines().filter_map(|line| line.trim().strip_prefix("user: "));
        let pair = users.next().zip(users.next()).context("the documents name no users")?;
        Ok((pair.0.to_owned(), pair.1.to_owned()))
    }

    /// The files with the passwords of [`Rig::users`].
    #[must_use]
    pub fn password_files(&self) -> [PathBuf; 2] {
        ["source.password", "target.password"].map(|name| self.world.path(name))
    }

    /// Applies the documents, with passwords that are found in files, and waits until all tasks run.
    async fn apply(&self) -> Result<()> {
        let mut documents = self.world.documents()?;
        let variables = ["${env:LUTRA_SOURCE_PASSWORD}", "${env:LUTRA_TARGET_PASSWORD}"];
        for (file, variable) in self.password_files().iter().zip(variables) {
            std::fs::write(file, PASSWORD).context("write a password")?;
            documents = documents.replace(variable, &format!("\"${{file:{}}}\"", file.display()));
        }
        self.ground.trust_alone(&self.world.ca_file())?;
        let path = self.world.path("documents.yaml");
        std::fs::write(&path, documents).context("write the documents")?;
        self.world.lutra_until(&["apply", "-f", &path.to_string_lossy()], Duration::from_secs(30)).await?;
        self.world.running(Duration::from_secs(60)).await
    }

    /// The next number of a row that nobody else writes.
    pub fn number(&self) -> u64 {
        self.probes.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// How many rows a question counts in the target.
    ///
    /// # Errors
    /// When the target does not answer.
    pub async fn counted(&self, question: &str) -> Result<u64> {
        let mut conn = connect(&self.world.target_url).await?;
        let count: Option<u64> = conn.query_first(question).await.with_context(|| format!("ask {question}"))?;
        conn.disconnect().await?;
        Ok(count.unwrap_or_default())
    }

    /// The task of the loader.
    #[must_use]
    pub fn load_task(&self) -> String {
        format!("load/{}", self.world.pipeline())
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
        let n = self.number();
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
        for link in self.ground.all_links() {
            link.set(lutra_harness::link::Conditions::default());
        }
        fault::disk::free(self)?;
        let servers: Vec<&Server> = self.ground.stack.servers().collect();
        for server in &servers {
            // All at once: one of several may not answer before the others run.
            if server.process().is_alive() { server.thaw()? } else { server.launch()? }
        }
        for server in servers {
            server.wait_ready(LIMIT).await?;
        }
        self.ground.mend_roles().await.context("put the source's servers right")?;
        self.ground.certify_all().await.context("put the servers' certificates right")?;
        self.ground.trust_alone(&self.world.ca_file())?;
        self.ground.right_clocks()?;
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
        for spare in self.spares.values() {
            spare.kill()?;
        }
        let settings = fault::target::settings_back(self.ground.form.target);
        let since = Instant::now();
        while let Err(error) = execute(&self.world.target_url, settings).await {
            if since.elapsed() > Duration::from_secs(20) {
                return Err(error.context("take back settings of the target"));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }
}

/// All tasks that a status shows.
pub(crate) fn tasks(status: &Value) -> impl Iterator<Item = &Value> {
    let pipelines = status["pipelines"].as_array().map(Vec::as_slice).unwrap_or_default();
    pipelines.iter().filter_map(|pipeline| pipeline["tasks"].as_array()).flatten()
}

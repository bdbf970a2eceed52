//! One Lutra cluster under test.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use lutra_harness::oracle::{Comparison, Report};
use lutra_harness::server::Kind;
use lutra_harness::services::{Binaries, Launcher, Profile, Service, ServiceProcess};
use lutra_harness::{SharedStack, Stack, mysql};
use lutra_mysql::{Flavour, checks};
use mysql_async::Row;
use mysql_async::prelude::Queryable;

/// Password of the least-privileged users that the tests run with.
pub const PASSWORD: &str = "scenario-pa55";

/// What a world is made of.
#[derive(Clone, Debug, Default)]
pub struct WorldOptions {
    /// Databases that the source captures; the world's own name where none is said.
    pub databases: Vec<String>,
    /// More YAML lines for the source's specification, indented by two.
    pub source: String,
    /// YAML of `tables:` in the pipeline's specification, indented by two.
    pub routes: String,
    /// YAML lines for the pipeline's `load:`, indented by four.
    pub load: String,
    /// More YAML lines for the pipeline's specification, indented by two.
    pub pipeline: String,
    /// Databases that the target user may write besides `databases`.
    pub target_databases: Vec<String>,
    /// Environment for a service (`lutra-loader`), or for one worker (`loader-1`), which wins.
    pub env: BTreeMap<String, Vec<(String, String)>>,
    /// `host:port` under which the loader reaches the target, without TLS: something in between may read along.
    pub target_address: Option<String>,
    /// The same for the source and its extractor; of several servers, with commas in between.
    pub source_address: Option<String>,
    /// Addresses of ZooKeeper and Kafka, where something is in between.
    pub reach: Option<[String; 2]>,
    /// The services are started by the scenario.
    pub start_nothing: bool,
    /// Source and target are reached by TLS and must prove who they are, by the authorities in [`World::ca_file`]. The
    /// scenario writes that file before it applies the documents.
    pub verify_identity: bool,
}

/// A running cluster: source, target, pipeline and one worker of each service.
pub struct World {
    /// Name of the cluster; source, pipeline and database names come from it.
    pub name: String,
    /// URL of the source with all privileges.
    pub source_url: String,
    /// URL of the target with all privileges.
    pub target_url: String,
    /// Folder of the services.
    pub folder: PathBuf,
    /// Starts more services of this cluster.
    pub launcher: Launcher,
    /// Running services by name (`loader-1`).
    pub services: BTreeMap<String, ServiceProcess>,
    stack: StackRef,
    binaries: Binaries,
    options: WorldOptions,
    connect: Vec<String>,
}

enum StackRef {
    Shared(&'static Stack),
    Own(Arc<Stack>),
}

impl World {
    /// A world on the servers that all tests of this process share.
    pub async fn shared(name: &str, options: WorldOptions) -> Result<Self> {
        Self::on(StackRef::Shared(SharedStack::get().await?), name, options).await
    }

    /// A world on servers of its own, which it may stop.
    pub async fn own(stack: Stack, name: &str, options: WorldOptions) -> Result<Self> {
        Self::on(StackRef::Own(Arc::new(stack)), name, options).await
    }

    /// A world on servers that other worlds may use too, or did before.
    pub async fn beside(stack: Arc<Stack>, name: &str, options: WorldOptions) -> Result<Self> {
        Self::on(StackRef::Own(stack), name, options).await
    }

    async fn on(stack: StackRef, name: &str, mut options: WorldOptions) -> Result<Self> {
        // Two runs on one kept stack must not meet.
        let name = format!("{name}-{:x}", std::process::id());
        if options.databases.is_empty() {
            options.databases.push(name.replace('-', "_"));
        }
        let servers = stack.get();
        let (source, target) = (servers.mysql("source")?.url(), servers.mysql("target")?.url());
        let folder = servers.folder().join("services").join(&name);
        let binaries = Binaries::find(Profile::from_env())?;
        let mut launcher = Launcher::new(binaries.clone(), servers, &folder)?;
        if let Some([zookeeper, kafka]) = &options.reach {
            launcher = launcher.reach(zookeeper, kafka);
        }
        let launcher = launcher
            .args(&["--cluster", &name, "--data-dir", "."])
            .env("LUTRA_SOURCE_PASSWORD", PASSWORD)
            .env("LUTRA_TARGET_PASSWORD", PASSWORD);
        let zookeeper = servers.addresses(Kind::ZooKeeper)?;
        let connect = ["--zookeeper", &zookeeper, "--cluster", &name].map(str::to_owned).to_vec();
        let mut world = Self {
            name,
            source_url: source,
            target_url: target,
            folder,
            launcher,
            services: BTreeMap::new(),
            stack,
            binaries,
            options,
            connect,
        };
        world.create_users().await?;
        if !world.options.start_nothing {
            for service in Service::ALL {
                world.start(service, 1)?;
            }
        }
        Ok(world)
    }

    /// The servers.
    pub fn stack(&self) -> &Stack {
        self.stack.get()
    }

    /// The first captured database.
    pub fn database(&self) -> &str {
        &self.options.databases[0]
    }

    /// Name of the source.
    pub fn source(&self) -> String {
        format!("s-{}", self.name)
    }

    /// Name of the pipeline.
    pub fn pipeline(&self) -> String {
        format!("p-{}", self.name)
    }

    fn users(&self) -> (String, String) {
        // User names are at most 32 characters.
        let short: String = self.name.chars().filter(char::is_ascii_alphanumeric).collect();
        let short = &short[short.len().saturating_sub(24)..];
        (format!("ls_{short}"), format!("lt_{short}"))
    }

    async fn create_users(&self) -> Result<()> {
        let (source, target) = self.users();
        mysql::create_user(&self.source_url, &source, PASSWORD, &[]).await?;
        mysql::create_user(&self.target_url, &target, PASSWORD, &[]).await?;
        let databases: Vec<&str> =
            self.options.databases.iter().chain(&self.options.target_databases).map(String::as_str).collect();
        let mut source_grants = checks::source_grants(&source, flavour(&self.source_url).await?);
        if self.options.load.contains("full") {
            // A full load reads the tables, and the definitions of what lives beside them.
            let grant = |d: &String| {
                format!("GRANT SELECT, SHOW VIEW, TRIGGER, EVENT ON `{}`.* TO '{source}'@'%'", d.replace('_', "\\_"))
            };
            source_grants.extend(self.options.databases.iter().map(grant));
            source_grants.push(match flavour(&self.source_url).await? {
                Flavour::MySql => format!("GRANT SHOW_ROUTINE ON *.* TO '{source}'@'%'"),
                Flavour::MariaDb => format!("GRANT SELECT ON mysql.proc TO '{source}'@'%'"),
            });
        }
        let on = flavour(&self.target_url).await?;
        // Objects come with their definers; the name that MySQL 8.0 has for it is not known to later ones.
        let definers = checks::definer_grants(&target, on).into_iter().map(|(statement, _)| statement);
        let definers = definers.filter(|statement| !statement.contains("SET_USER_ID"));
        let target_grants: Vec<String> =
            checks::target_grants(&target, &databases, on).into_iter().chain(definers).collect();
        for (url, grants) in [(&self.source_url, source_grants), (&self.target_url, target_grants)] {
            let statements: Vec<String> = std::iter::once("SET sql_log_bin = 0".to_owned()).chain(grants).collect();
            let statements: Vec<&str> = statements.iter().map(String::as_str).collect();
            mysql::execute(url, &statements).await?;
        }
        Ok(())
    }

    /// Starts the n-th worker of a service (or manager).
    pub fn start(&mut self, service: Service, n: u32) -> Result<()> {
        let name = format!("{service}-{n}");
        let told = [service.program(), name.as_str()].map(|key| self.options.env.get(key));
        let env: Vec<(&str, &str)> =
            told.into_iter().flatten().flatten().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let process = self.launcher.start(service, &name, &["--worker-id", &name], &env)?;
        self.services.insert(name, process);
        Ok(())
    }

    /// A running service.
    pub fn service(&self, name: &str) -> Result<&ServiceProcess> {
        self.services.get(name).with_context(|| format!("no service {name} was started"))
    }

    /// The documents of this world.
    pub fn documents(&self) -> Result<String> {
        let (source_user, target_user) = self.users();
        let address = |name| -> Result<String> { Ok(self.stack().mysql(name)?.address()) };
        let tables: Vec<String> = self.options.databases.iter().map(|d| format!("\"{d}.*\"")).collect();
        let mut more = String::new();
        // The shared servers' commits do not wait for the disk.
        if !self.options.source.contains("accept_weak_durability") {
            more.push_str("  accept_weak_durability: true\n");
        }
        if !self.options.source.is_empty() {
            more.push_str(&self.options.source);
            more.push('\n');
        }
        let routes = if self.options.routes.is_empty() {
            String::new()
        } else {
            format!("  tables:\n{}\n", self.options.routes)
        };
        let tls = |address: &Option<String>| {
            if self.options.verify_identity {
                format!("  tls: {{mode: verify-identity, ca: \"{}\"}}\n", self.ca_file().display())
            } else if address.is_some() {
                "  tls: {mode: disabled}\n".to_owned()
            } else {
                String::new()
            }
        };
        let mut load =
            if self.options.load.is_empty() { String::new() } else { format!("  load:\n{}\n", self.options.load) };
        if !self.options.pipeline.is_empty() {
            load = format!("{load}{}\n", self.options.pipeline);
        }
        Ok(format!(
            "kind: source\nname: {source}\nspec:\n  servers: [\"{source_address}\"]\n  user: {source_user}\n  password: ${{env:LUTRA_SOURCE_PASSWORD}}\n  \
             tables: [{tables}]\n{more}{source_tls}---\nkind: target\nname: t-{name}\nspec:\n  servers: [\"{target_address}\"]\n  user: {target_user}\n  \
             password: ${{env:LUTRA_TARGET_PASSWORD}}\n{tls}---\nkind: pipeline\nname: {pipeline}\nspec:\n  source: {source}\n  target: t-{name}\n{routes}{load}",
            source = self.source(),
            source_address =
                self.options.source_address.clone().map_or_else(|| address("source"), Ok)?.replace(',', "\", \""),
            source_tls = tls(&self.options.source_address),
            target_address = self.options.target_address.clone().map_or_else(|| address("target"), Ok)?,
            tls = tls(&self.options.target_address),
            pipeline = self.pipeline(),
            name = self.name,
            tables = tables.join(", "),
            more = more,
        ))
    }

    /// Applies the documents and waits until all three tasks run.
    pub async fn apply(&self) -> Result<()> {
        let file = self.folder.join("documents.yaml");
        std::fs::write(&file, self.documents()?)?;
        self.lutra_until(&["apply", "-f", &file.to_string_lossy()], Duration::from_secs(30)).await?;
        self.running(Duration::from_secs(60)).await
    }

    /// Waits until all three tasks run.
    pub async fn running(&self, limit: Duration) -> Result<()> {
        let mut seen = String::new();
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            match self.lutra(&["status", "--json"]).await {
                Ok(text) => {
                    let status: serde_json::Value =
                        serde_json::from_str(&text).context("understand `lutra status --json`")?;
                    let pipelines = status["pipelines"].as_array().cloned().unwrap_or_default();
                    let mut tasks = pipelines.iter().filter_map(|p| p["tasks"].as_array()).flatten();
                    if !pipelines.is_empty() && tasks.all(|t| t["state"] == "RUNNING") {
                        return Ok(());
                    }
                    seen = status["pipelines"].to_string();
                }
                Err(error) => seen = format!("{error:#}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        bail!("the tasks of {} do not all run after {limit:?}; last seen: {seen}\n{}", self.name, self.logs())
    }

    /// Runs `lutra` once, whatever it exits with.
    pub async fn lutra_output(&self, args: &[&str]) -> Result<std::process::Output> {
        tokio::process::Command::new(self.binaries.command_line())
            .args(args)
            .args(&self.connect)
            .env("LUTRA_SOURCE_PASSWORD", PASSWORD)
            .env("LUTRA_TARGET_PASSWORD", PASSWORD)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .context("run lutra")
    }

    /// Runs `lutra` once; standard output when it exits with 0.
    pub async fn lutra(&self, args: &[&str]) -> Result<String> {
        let output = self.lutra_output(args).await?;
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            bail!(
                "lutra {} ended with {}: {stdout}{}",
                args.join(" "),
                output.status,
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(stdout)
    }

    /// Runs `lutra` until it exits with 0: the manager may still be starting.
    pub async fn lutra_until(&self, args: &[&str], limit: Duration) -> Result<String> {
        let deadline = Instant::now() + limit;
        loop {
            match self.lutra(args).await {
                Ok(text) => return Ok(text),
                Err(error) if Instant::now() >= deadline => return Err(error.context(self.logs())),
                Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    }

    /// Waits until everything committed at the source before this call is committed in the target.
    pub async fn caught_up(&self, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now()).as_secs().max(1);
            match self.lutra(&["wait", &self.pipeline(), "--timeout", &format!("{left}s")]).await {
                Ok(_) => return Ok(()),
                // A manager that was just killed is still the one that ZooKeeper names.
                Err(_) if Instant::now() < deadline => tokio::time::sleep(Duration::from_millis(200)).await,
                Err(error) => return Err(error.context(self.logs())),
            }
        }
    }

    /// Runs statements at the source on one connection.
    pub async fn execute(&self, statements: &[&str]) -> Result<()> {
        mysql::execute(&self.source_url, statements).await
    }

    /// The worker that the task of this kind (`extract`, `transform`, `load`) is given to.
    pub async fn owner(&self, kind: &str) -> Result<String> {
        let text = self.lutra_until(&["status", &self.pipeline(), "--json"], Duration::from_secs(30)).await?;
        let status: serde_json::Value = serde_json::from_str(&text).context("understand `lutra status --json`")?;
        let tasks = status.pointer("/pipelines/0/tasks").and_then(|t| t.as_array()).cloned().unwrap_or_default();
        let of_kind = |t: &&serde_json::Value| t["task"].as_str().is_some_and(|t| t.starts_with(&format!("{kind}/")));
        let worker = tasks.iter().find(of_kind).and_then(|t| t["worker"].as_str());
        let worker = worker.with_context(|| format!("no worker has {kind}: {status}"))?;
        Ok(worker.rsplit_once(['.', '/']).map_or(worker, |(_, id)| id).to_owned())
    }

    /// Waits until the target has everything, then fails unless source and target are equal.
    pub async fn settled(&self, limit: Duration) -> Result<()> {
        self.caught_up(limit).await?;
        self.assert_equal().await
    }

    /// Compares the captured databases, under the same names at the target.
    pub async fn compare(&self) -> Result<Report> {
        let names: Vec<&str> = self.options.databases.iter().map(String::as_str).collect();
        let comparison = Comparison::new(&self.source_url, &self.target_url).databases(&names);
        // MySQL and MariaDB print the same definition in other words.
        let alike = flavour(&self.source_url).await? == flavour(&self.target_url).await?;
        if alike { comparison.with_definitions() } else { comparison }.run().await
    }

    /// The families of source and target: not everything that one has can be tried with the other.
    pub async fn families(&self) -> Result<[Flavour; 2]> {
        Ok([flavour(&self.source_url).await?, flavour(&self.target_url).await?])
    }

    /// Fails unless source and target are equal.
    pub async fn assert_equal(&self) -> Result<()> {
        let report = self.compare().await?;
        if !report.is_equal() {
            bail!("source and target differ:\n{report}\n{}", self.logs());
        }
        Ok(())
    }

    /// The last lines of every service's log.
    pub fn logs(&self) -> String {
        self.services.iter().map(|(name, s)| format!("--- {name}\n{}\n", s.process().log_tail(25))).collect()
    }

    /// The file of authorities that the documents name, under [`WorldOptions::verify_identity`].
    pub fn ca_file(&self) -> PathBuf {
        self.path("ca.pem")
    }

    /// A file in the world's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        Path::new(&self.folder).join(name)
    }
}

/// Whether a server is MySQL or MariaDB.
pub async fn flavour(url: &str) -> Result<Flavour> {
    Ok(Flavour::of_version(&mysql::version(url).await?))
}

/// The GTIDs that are executed at a server, in its own words.
pub async fn executed(url: &str) -> Result<String> {
    let mariadb = flavour(url).await?.is_mariadb();
    let sql = if mariadb { "SELECT @@GLOBAL.gtid_binlog_pos" } else { "SELECT @@GLOBAL.gtid_executed" };
    let set: Option<String> = mysql::connect(url).await?.query_first(sql).await?;
    Ok(set.context("the executed GTIDs")?.replace('\n', ""))
}

/// The end of a server's binlog: its last file, and the byte behind it.
pub async fn binlog_end(url: &str) -> Result<(String, u64)> {
    let mariadb = flavour(url).await?.is_mariadb();
    let sql = if mariadb { "SHOW MASTER STATUS" } else { "SHOW BINARY LOG STATUS" };
    let row: Row = mysql::connect(url).await?.query_first(sql).await?.context("the binlog's end")?;
    row.get::<String, _>(0).zip(row.get::<u64, _>(1)).context("the binlog's end")
}

impl StackRef {
    fn get(&self) -> &Stack {
        match self {
            Self::Shared(stack) => stack,
            Self::Own(stack) => stack,
        }
    }
}

//! The servers, the services, and the command line that is run against them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use lutra_harness::home::repository;
use lutra_harness::mysql;
use lutra_harness::process::Usage;
use lutra_harness::services::{Binaries, Launcher, Service, ServiceProcess, end_kept};
use lutra_harness::{Installation, Stack, StackSpec};
use mysql_async::prelude::Queryable;
use rand::Rng;
use rand::distr::Alphanumeric;
use serde_json::Value;
use tokio::task::JoinHandle;

use super::NAME;

/// The documents that are applied, and the names in them.
const DOCUMENTS: &str = "examples/shop.yaml";
/// The pipeline.
pub(super) const PIPELINE: &str = "shop-to-copy";
/// Server of the stack, and what `lutra doctor --grants` calls the account on it.
const ACCOUNTS: [(&str, &str); 2] = [("source", "source shop (MySQL)"), ("target", "target shop-copy (MySQL)")];
/// The user on both servers.
const USER: &str = "lutra";
/// How long the services of an earlier run may take to end in order.
const GRACE: Duration = Duration::from_secs(10);

/// A running Lutra with its servers.
#[derive(Debug)]
pub(super) struct Cluster {
    /// Ended before the servers they use.
    services: BTreeMap<Service, ServiceProcess>,
    stack: Stack,
    binaries: Binaries,
    password: String,
    env: Vec<(&'static str, String)>,
    /// Where the manager is, once it is known: that saves a look into ZooKeeper per call.
    manager: OnceLock<String>,
}

impl Cluster {
    /// Starts what does not run yet: servers first, then one of each service.
    pub(super) async fn up(installation: &Installation, binaries: Binaries, kept: bool) -> Result<Self> {
        let stack = if kept {
            Stack::up(installation.home(), StackSpec::pair(NAME), &|line| eprintln!("{line}")).await?
        } else {
            eprintln!("starting MySQL twice, Kafka and ZooKeeper");
            Stack::start(installation, StackSpec::pair(NAME)).await?
        };
        // Those of an earlier run: they know an old password, and may be an older build.
        end_kept(&stack.services_folder(), GRACE)?;
        let password: String = rand::rng().sample_iter(Alphanumeric).take(20).map(char::from).collect();
        let env = vec![
            ("LUTRA_ZOOKEEPER", stack.zookeeper()?.address()),
            ("LUTRA_KAFKA", stack.kafka()?.address()),
            ("LUTRA_SOURCE_ADDRESS", stack.mysql("source")?.address()),
            ("LUTRA_TARGET_ADDRESS", stack.mysql("target")?.address()),
        ];
        let mut launcher = Launcher::new(binaries.clone(), &stack, &stack.services_folder())?
            .args(&["--data-dir", "."])
            .env("LUTRA_SOURCE_PASSWORD", &password)
            .env("LUTRA_TARGET_PASSWORD", &password);
        if kept {
            launcher = launcher.kept();
        }
        for (name, value) in &env {
            launcher = launcher.env(name, value);
        }
        let mut services = BTreeMap::new();
        for service in Service::ALL {
            services.insert(service, launcher.start(service, &service.to_string(), &[], &[])?);
        }
        for server in stack.servers() {
            eprintln!("  {:<12} {}", server.name(), server.address());
        }
        eprintln!("  {:<12} {}", "folder", stack.folder().display());
        Ok(Self { services, stack, binaries, password, env, manager: OnceLock::new() })
    }

    /// The source, with all privileges.
    pub(super) fn source(&self) -> Result<String> {
        Ok(self.stack.mysql("source")?.url())
    }

    /// The target, with all privileges.
    pub(super) fn target(&self) -> Result<String> {
        Ok(self.stack.mysql("target")?.url())
    }

    /// Makes the two accounts with exactly the privileges that `lutra doctor --grants` prints.
    pub(super) async fn create_accounts(&self) -> Result<()> {
        let documents = documents();
        let answer = self.lutra(&["doctor", "--grants", "--json", "--file", &documents.to_string_lossy()]).await?;
        let answer: Value = serde_json::from_str(&answer).context("understand `lutra doctor --grants --json`")?;
        for (server, subject) in ACCOUNTS {
            let url = self.stack.mysql(server)?.url();
            let found = answer.as_array().into_iter().flatten().find(|account| account["subject"] == subject);
            let grants = found.and_then(|account| account["statements"].as_array());
            let grants = grants.ok_or_else(|| anyhow!("find the grants of {subject} in {answer}"))?;
            mysql::create_user(&url, USER, &self.password, &[]).await?;
            let statements: Vec<&str> =
                std::iter::once("SET SESSION sql_log_bin = 0").chain(grants.iter().filter_map(Value::as_str)).collect();
            mysql::execute(&url, &statements).await?;
        }
        Ok(())
    }

    /// Hands the documents over; what `lutra apply` says. The manager may still be starting.
    pub(super) async fn apply(&self) -> Result<String> {
        let documents = documents();
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            match self.lutra(&["apply", "--file", &documents.to_string_lossy()]).await {
                Ok(text) => return Ok(text),
                Err(error) if Instant::now() > deadline || !self.service(Service::Manager)?.is_alive() => {
                    return Err(error.context(self.tail(Service::Manager)));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// Returns when all tasks of the pipeline run.
    pub(super) async fn until_running(&self, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        loop {
            self.all_alive()?;
            let status = self.status().await;
            let pipeline = status.as_ref().ok().and_then(pipeline);
            if pipeline.is_some_and(|pipeline| pipeline["state"] == "RUNNING") {
                if let Some(leader) = status.as_ref().ok().and_then(|status| status["leader"].as_str()) {
                    self.manager.get_or_init(|| format!("http://{leader}"));
                }
                return Ok(());
            }
            if Instant::now() > deadline {
                let seen = pipeline.map_or_else(|| format!("{status:?}"), |pipeline| format!("{pipeline:#}"));
                bail!("the pipeline {PIPELINE} does not run after {limit:?}; last seen: {seen}");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// What `lutra status` sees.
    pub(super) async fn status(&self) -> Result<Value> {
        let text = self.lutra(&["status", "--json"]).await?;
        serde_json::from_str(&text).context("understand `lutra status --json`")
    }

    /// `lutra wait`.
    pub(super) async fn wait(&self, limit: Duration) -> Result<()> {
        self.lutra(&["wait", PIPELINE, "--timeout", &format!("{}s", limit.as_secs())]).await.map(drop)
    }

    /// Fails when a service has ended.
    pub(super) fn all_alive(&self) -> Result<()> {
        match self.services.values().find(|service| !service.is_alive()) {
            Some(ended) => bail!("the {} has ended by itself; {}", ended.service(), self.tail(ended.service())),
            None => Ok(()),
        }
    }

    /// Kills the loader and starts it again. What comes back tells how long after the kill the target has a commit of the
    /// new one.
    pub(super) async fn kill_loader(&self) -> Result<JoinHandle<Result<Duration>>> {
        let loader = self.service(Service::Loader)?;
        let mut target = mysql::connect(&self.target()?).await?;
        let killed = Instant::now();
        loader.kill()?;
        // What the server still had to do for the killed one is no commit of the new one.
        let deadline = killed + Duration::from_secs(5);
        while connections(&mut target).await? > 0 && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let before = watermark(&mut target).await?;
        loader.start()?;
        let watch = async move {
            while watermark(&mut target).await? == before {
                if killed.elapsed() > Duration::from_secs(120) {
                    bail!("wait for the next commit in the target: there was none for two minutes");
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Ok(killed.elapsed())
        };
        // It ends with this process at the latest.
        #[allow(clippy::disallowed_methods)]
        Ok(tokio::spawn(watch))
    }

    /// Memory and processor time of a service's present run.
    pub(super) fn usage(&self, service: Service) -> Result<Usage> {
        self.service(service)?.usage()
    }

    fn service(&self, service: Service) -> Result<&ServiceProcess> {
        self.services.get(&service).ok_or_else(|| anyhow!("find the {service}: it was not started"))
    }

    fn tail(&self, service: Service) -> String {
        let tail = self.services.get(&service).map(|found| found.process().log_tail(20)).unwrap_or_default();
        format!("the log of the {service} ends with\n{tail}")
    }

    /// Copies the services' logs out of a folder that is about to go; says where they are.
    pub(super) fn save_logs(&self, folder: &Path) -> Result<String> {
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        for service in self.services.values() {
            let log = service.process().launch().log;
            let name = log.file_name().unwrap_or_default();
            fs::copy(&log, folder.join(name)).with_context(|| format!("copy {}", log.display()))?;
        }
        Ok(folder.display().to_string())
    }

    /// Runs `lutra`; its standard output when it exits with 0.
    async fn lutra(&self, arguments: &[&str]) -> Result<String> {
        let mut command = tokio::process::Command::new(self.binaries.command_line());
        command.args(arguments).envs(self.env.iter().map(|(name, value)| (name, value)));
        command.envs(self.manager.get().map(|url| ("LUTRA_MANAGER", url)));
        let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await.context("start lutra")?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if !output.status.success() {
            bail!("lutra {}: {}{}", arguments.join(" "), text(&output.stdout), text(&output.stderr).trim_end());
        }
        Ok(text(&output.stdout))
    }

    /// What to type next while it runs.
    pub(super) fn next_commands(&self) -> String {
        let (folder, programs) = (near(self.stack.folder()), self.binaries.folder().display());
        let port = |name: &str| self.stack.mysql(name).map_or(0, |server| server.port());
        let (source, target) = (port("source"), port("target"));
        format!(
            "It all runs on. To look around:\n\
             \x20 set -a; . {folder}/stack.env; set +a; PATH=\"{programs}:$PATH\"\n\
             \x20 lutra status --watch\n\
             \x20 lutra log tail shop\n\
             \x20 lutra pause {PIPELINE}; lutra resume {PIPELINE}\n\
             \x20 lutra doctor\n\
             \x20 mysql --host=127.0.0.1 --user=root --port={source} shop    # the source; write to it\n\
             \x20 mysql --host=127.0.0.1 --user=root --port={target} shop    # the target\n\
             \x20 cargo xtask stack down --name {NAME}                       # ends and removes it all"
        )
    }
}

fn documents() -> PathBuf {
    repository().join(DOCUMENTS)
}

/// The pipeline in the answer of `lutra status`.
pub(super) fn pipeline(status: &Value) -> Option<&Value> {
    status["pipelines"].as_array()?.iter().find(|pipeline| pipeline["name"] == PIPELINE)
}

/// A path as it is typed from here.
fn near(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here).unwrap_or(path).display().to_string()
}

async fn connections(target: &mut mysql_async::Conn) -> Result<u64> {
    let count = format!("SELECT COUNT(*) FROM information_schema.processlist WHERE user = '{USER}'");
    Ok(target.query_first(count).await.context("count the loader's connections")?.unwrap_or(0))
}

/// The number of the last unit that the target has.
async fn watermark(target: &mut mysql_async::Conn) -> Result<Option<(u64, u64)>> {
    let newest = format!(
        "SELECT sequence, sub FROM lutra.slot WHERE task = 'load/{PIPELINE}' ORDER BY sequence DESC, sub DESC LIMIT 1"
    );
    target.query_first(newest).await.context("read the target's watermark")
}

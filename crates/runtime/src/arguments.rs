//! What every service can be told, and how all that is wrong with it is said at once.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, ValueEnum};

/// The arguments of one service: [`CommonArgs`] flattened, and its own.
pub trait ServiceArgs: Parser + fmt::Debug + Send + 'static {
    /// The service's name: `manager`, `extractor`, `transformer`, `loader`.
    const SERVICE: &'static str;

    /// The part that all services share.
    fn common(&self) -> &CommonArgs;

    /// Says what is wrong with the service's own arguments. The common ones are checked already.
    fn check(&self, violations: &mut Violations) {
        let _ = violations;
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One line of text per event, for people.
    #[default]
    Text,
    /// One JSON object per event, for machines.
    Json,
}

/// What every service can be told: by option, by environment variable, or by a line in the `--config` file
/// (in this order of precedence). Only `--zookeeper` and `--kafka` are needed.
#[derive(Clone, Debug, Args)]
pub struct CommonArgs {
    /// ZooKeeper servers that hold the cluster's tasks, as HOST:PORT[,HOST:PORT...]
    #[arg(long, env = "LUTRA_ZOOKEEPER", value_name = "HOSTS", required = true)]
    pub zookeeper: String,

    /// Kafka brokers that hold the ordered logs, as HOST:PORT[,HOST:PORT...]
    #[arg(long, env = "LUTRA_KAFKA", value_name = "HOSTS", required = true)]
    pub kafka: String,

    /// A property for the Kafka client (TLS, SASL, tuning), as KEY=VALUE; may be repeated
    #[arg(
        long = "kafka-property",
        env = "LUTRA_KAFKA_PROPERTY",
        value_name = "KEY=VALUE",
        value_delimiter = ';',
        hide_env_values = true,
        hide_default_value = true
    )]
    pub kafka_properties: Vec<KafkaProperty>,

    /// Name of the Lutra cluster; clusters of different names share a ZooKeeper without seeing each other
    #[arg(long, env = "LUTRA_CLUSTER", value_name = "NAME", default_value = "default")]
    pub cluster: String,

    /// Seconds after which ZooKeeper gives the tasks of a silent process away; the servers must allow it (their ticks bound it)
    #[arg(long, env = "LUTRA_SESSION_SECONDS", value_name = "SECONDS", default_value_t = 5)]
    pub session_seconds: u64,

    /// Address of the HTTP endpoint (metrics, health, and the manager's API), as IP:PORT; port 0 takes a free one
    #[arg(long, env = "LUTRA_BIND", value_name = "IP:PORT", default_value = "127.0.0.1:0")]
    pub bind: String,

    /// Address under which others reach this process [default: the address that is bound]
    #[arg(long, env = "LUTRA_ADVERTISE", value_name = "HOST:PORT")]
    pub advertise: Option<String>,

    /// Directory for what must survive a restart: the worker id and its lock [default: lutra/ in the state directory]
    #[arg(long, env = "LUTRA_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// Stable name of this worker; normally made once and kept in the data directory
    #[arg(long, env = "LUTRA_WORKER_ID", value_name = "NAME")]
    pub worker_id: Option<String>,

    /// How log lines look
    #[arg(long, env = "LUTRA_LOG_FORMAT", value_enum, value_name = "FORMAT", default_value_t)]
    pub log_format: LogFormat,

    /// What is logged: a level (error, warn, info, debug, trace), or directives such as info,lutra_log=debug
    #[arg(long, env = "LUTRA_LOG_LEVEL", value_name = "FILTER", default_value = "info")]
    pub log_level: String,

    /// Where to send OpenTelemetry traces (OTLP over gRPC), such as http://127.0.0.1:4317; none are made without it
    #[arg(long, env = "LUTRA_OTLP_ENDPOINT", value_name = "URL")]
    pub otlp_endpoint: Option<String>,

    /// Share of traces that are kept, from 0 to 1
    #[arg(long, env = "LUTRA_OTLP_SAMPLE_RATIO", value_name = "RATIO", default_value_t = 0.05)]
    pub otlp_sample_ratio: f64,

    /// Seconds that running work may take to end after a stop signal; a second signal ends the process at once
    #[arg(long, env = "LUTRA_SHUTDOWN_SECONDS", value_name = "SECONDS", default_value_t = 60)]
    pub shutdown_seconds: u64,

    /// A TOML file with any of these options by their long names, such as zookeeper = "127.0.0.1:2181"
    #[arg(long, env = "LUTRA_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// One `KEY=VALUE`. The value may be a password: it is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct KafkaProperty(String);

impl From<String> for KafkaProperty {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for KafkaProperty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}=[redacted]", self.0.split('=').next().unwrap_or_default())
    }
}

impl CommonArgs {
    /// The address to bind. Only valid after [`check`](Self::check) found nothing.
    pub fn bind_address(&self) -> SocketAddr {
        self.bind.parse().unwrap_or_else(|_| SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// The Kafka client properties as a map.
    pub fn kafka_property_map(&self) -> BTreeMap<String, String> {
        let pairs = self.kafka_properties.iter().filter_map(|pair| pair.0.split_once('='));
        pairs.map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned())).collect()
    }

    /// Finds everything that is wrong with these arguments.
    pub fn check(&self, violations: &mut Violations) {
        for (field, hosts) in [("zookeeper", &self.zookeeper), ("kafka", &self.kafka)] {
            for host in hosts.split(',') {
                if !is_host_port(host) {
                    violations.add(field, host, "must be HOST:PORT, several separated by commas");
                }
            }
        }
        for pair in &self.kafka_properties {
            if pair.0.split_once('=').is_none_or(|(key, _)| key.trim().is_empty()) {
                violations.add("kafka-property", "[redacted]", "must be KEY=VALUE");
            }
        }
        check_name("cluster", &self.cluster, violations);
        if let Some(worker) = &self.worker_id {
            check_name("worker-id", worker, violations);
        }
        if self.bind.parse::<SocketAddr>().is_err() {
            violations.add("bind", &self.bind, "must be IP:PORT, such as 127.0.0.1:0 (a name is not an address)");
        }
        match &self.advertise {
            Some(address) if !is_host_port(address) => violations.add("advertise", address, "must be HOST:PORT"),
            None if self.bind_address().ip().is_unspecified() => {
                let reason = format!("must be given, since --bind {} is no address to call", self.bind);
                violations.add("advertise", "", reason);
            }
            _ => {}
        }
        if let Err(error) = self.log_level.parse::<tracing_subscriber::EnvFilter>() {
            violations.add("log-level", &self.log_level, format!("must be a level or filter directives ({error})"));
        }
        if !(0.0..=1.0).contains(&self.otlp_sample_ratio) {
            violations.add("otlp-sample-ratio", self.otlp_sample_ratio.to_string(), "must be between 0 and 1");
        }
        if let Some(url) = &self.otlp_endpoint
            && !(url.starts_with("http://") || url.starts_with("https://"))
        {
            violations.add("otlp-endpoint", url, "must be a URL that begins with http:// or https://");
        }
        if !(1..=60).contains(&self.session_seconds) {
            violations.add("session-seconds", self.session_seconds.to_string(), "must be between 1 and 60");
        }
        if !(1..=3_600).contains(&self.shutdown_seconds) {
            violations.add("shutdown-seconds", self.shutdown_seconds.to_string(), "must be between 1 and 3600");
        }
    }
}

fn is_host_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let host_fits = host.chars().all(|c| c.is_ascii_alphanumeric() || "-._:[]".contains(c));
    !host.is_empty() && host_fits && port.parse::<u16>().is_ok_and(|port| port > 0)
}

fn check_name(field: &'static str, name: &str, violations: &mut Violations) {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || name.len() > 63 || name.starts_with('-') || !name.chars().all(fits) {
        violations.add(field, name, "must be 1 to 63 of a-z, 0-9 and '-', and not begin with '-'");
    }
}

/// One thing that is wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The option, by its long name.
    pub field: String,
    /// The value given.
    pub value: String,
    /// What it must be.
    pub constraint: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "--{} {:?}: {}", self.field, self.value, self.constraint)
    }
}

/// Everything that is wrong with the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Violations(Vec<Violation>);

impl Violations {
    /// Adds one: option, value given, and what it must be.
    pub fn add(&mut self, field: impl Into<String>, value: impl Into<String>, constraint: impl Into<String>) {
        self.0.push(Violation { field: field.into(), value: value.into(), constraint: constraint.into() });
    }

    /// Nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, in the order found.
    pub fn iter(&self) -> impl Iterator<Item = &Violation> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[derive(Debug, Parser)]
    struct Service {
        #[command(flatten)]
        common: CommonArgs,
    }

    fn check(arguments: &[&str]) -> Vec<String> {
        let service = Service::try_parse_from(std::iter::once(&"service").chain(arguments)).unwrap();
        let mut violations = Violations::default();
        service.common.check(&mut violations);
        violations.iter().map(|violation| violation.field.clone()).collect()
    }

    #[test]
    fn two_addresses_are_enough() {
        assert!(check(&["--zookeeper", "a:2181,b:2181", "--kafka", "[::1]:9092"]).is_empty());
    }

    #[test]
    fn all_violations_are_told_at_once() {
        let found = check(&[
            "--zookeeper",
            "nowhere",
            "--kafka",
            "h:0",
            "--cluster",
            "A b",
            "--bind",
            "localhost",
            "--worker-id",
            "X",
            "--log-level",
            "loud=very",
            "--otlp-sample-ratio",
            "2",
            "--otlp-endpoint",
            "host",
            "--session-seconds",
            "0",
            "--kafka-property",
            "x",
        ]);
        let wanted = [
            "zookeeper",
            "kafka",
            "kafka-property",
            "cluster",
            "worker-id",
            "bind",
            "log-level",
            "otlp-sample-ratio",
            "otlp-endpoint",
            "session-seconds",
        ];
        assert_eq!(found, wanted);
    }

    #[test]
    fn a_process_that_binds_all_addresses_must_say_how_it_is_called() {
        let base = ["--zookeeper", "h:1", "--kafka", "h:1", "--bind", "0.0.0.0:7070"];
        assert_eq!(check(&base), ["advertise"]);
        assert_eq!(check(&[&base[..], &["--advertise", "worker"]].concat()), ["advertise"]);
        assert!(check(&[&base[..], &["--advertise", "worker:7070"]].concat()).is_empty());
    }

    #[test]
    fn kafka_properties_become_a_map() {
        let arguments = ["s", "--zookeeper", "a:1", "--kafka", "a:1", "--kafka-property", "a=b=c;d=e"];
        let map = Service::try_parse_from(arguments).unwrap().common.kafka_property_map();
        assert_eq!(map.get("a").map(String::as_str), Some("b=c"));
        assert_eq!(map.get("d").map(String::as_str), Some("e"));
        let shown = format!("{:?}", KafkaProperty::from("sasl.password=hunter2".to_owned()));
        assert_eq!(shown, "sasl.password=[redacted]");
    }
}

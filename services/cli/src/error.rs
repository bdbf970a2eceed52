//! What goes wrong, and the exit code for it.

use std::path::PathBuf;

use serde_json::Value;

/// What goes wrong.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// Something the person wrote is not right.
    #[error("{message}")]
    Input {
        /// What.
        message: String,
        /// One by one, where there are several.
        details: Vec<String>,
    },
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The manager refused, or could not.
    #[error("{message}")]
    Manager {
        /// The HTTP status.
        status: u16,
        /// Its word for it.
        code: String,
        /// What it said.
        message: String,
        /// One by one, where there are several.
        details: Vec<Value>,
    },
    /// Nobody said where the manager is.
    #[error(
        "where is the manager? give --manager URL (or LUTRA_MANAGER), or --zookeeper HOST:PORT (or LUTRA_ZOOKEEPER) to look it up"
    )]
    NoManager,
    /// ZooKeeper does not answer.
    #[error("ZooKeeper at {hosts} does not answer; check --zookeeper and that it runs")]
    NoZooKeeper {
        /// Where it should be.
        hosts: String,
    },
    /// ZooKeeper answered something else.
    #[error("cannot look the manager up in ZooKeeper")]
    Lookup(#[source] lutra_coordination::CoordinationError),
    /// No manager leads.
    #[error("no manager runs in cluster {cluster}; start lutra-manager with the same --zookeeper and --cluster")]
    NoLeader {
        /// The cluster.
        cluster: String,
    },
    /// The manager does not answer.
    #[error("the manager at {url} does not answer; check that it runs, and --manager")]
    Unreachable {
        /// Where it should be.
        url: String,
        /// Why.
        source: reqwest::Error,
    },
    /// Kafka.
    #[error("cannot read the log from Kafka at {brokers}")]
    Kafka {
        /// Where it should be.
        brokers: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A database server.
    #[error("cannot read the binlog of {address}")]
    Server {
        /// Where it is.
        address: String,
        /// Why.
        source: Box<lutra_mysql::Error>,
    },
    /// The answer cannot be printed.
    #[error("cannot print")]
    Print(#[source] std::io::Error),
    /// A comparison cannot go on.
    #[error("cannot compare")]
    Compare(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Something was found that is not as it must be.
    #[error("{0}")]
    Failed(String),
    /// The asynchronous runtime.
    #[error("cannot start")]
    Runtime(#[source] std::io::Error),
}

impl CliError {
    /// A mistake in what the person wrote.
    pub fn input(message: impl Into<String>) -> Self {
        Self::Input { message: message.into(), details: Vec::new() }
    }

    /// 1: it failed. 2: the input is invalid. 3: the environment is not as it must be.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Input { .. } | Self::Read { .. } => 2,
            Self::Manager { status, code, .. } => match (*status, code.as_str()) {
                (422, "servers") => 3,
                (400 | 404 | 405 | 413 | 422, _) => 2,
                (409 | 504, _) => 1,
                _ => 3,
            },
            Self::Failed(_) | Self::Print(_) => 1,
            Self::NoManager
            | Self::NoZooKeeper { .. }
            | Self::Lookup(_)
            | Self::NoLeader { .. }
            | Self::Unreachable { .. }
            | Self::Kafka { .. }
            | Self::Compare(_)
            | Self::Server { .. }
            | Self::Runtime(_) => 3,
        }
    }

    /// A stable word for programs.
    pub fn code(&self) -> &str {
        match self {
            Self::Manager { code, .. } => code,
            _ => match self.exit_code() {
                1 => "failed",
                2 => "invalid",
                _ => "environment",
            },
        }
    }

    /// What is wrong one by one, as lines for people.
    pub fn lines(&self) -> Vec<String> {
        match self {
            Self::Input { details, .. } => details.clone(),
            Self::Manager { details, .. } => details.iter().map(line).collect(),
            _ => Vec::new(),
        }
    }
}

/// A violation, a finding, a fault or a check of the manager as one line.
fn line(detail: &Value) -> String {
    let text = |key: &str| detail.get(key).and_then(Value::as_str).unwrap_or_default();
    let number = |key: &str| detail.get(key).and_then(Value::as_u64).unwrap_or_default();
    let place = match detail.get("line") {
        Some(_) => format!("{}:{}", number("line"), number("column")),
        None => text("place").to_owned(),
    };
    if !place.is_empty() {
        let name = if text("pipeline").is_empty() { text("document") } else { text("pipeline") };
        let at = [name, text("path")].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ");
        return format!("{place}: {at}: {}", text("message"));
    }
    if detail.get("required").is_some() {
        return format!(
            "{}: {}: found {}, required {}\n    mend it: {}",
            text("subject"),
            text("name"),
            text("found"),
            text("required"),
            text("mend")
        );
    }
    let subject =
        ["pipeline", "document"].iter().find_map(|key| detail.get(key).and_then(Value::as_str)).unwrap_or_default();
    format!("{subject}: {}", text("message"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manager(status: u16, code: &str) -> u8 {
        CliError::Manager { status, code: code.to_owned(), message: String::new(), details: Vec::new() }.exit_code()
    }

    #[test]
    fn exit_codes_are_stable() {
        assert_eq!(CliError::input("x").exit_code(), 2);
        assert_eq!(CliError::NoManager.exit_code(), 3);
        assert_eq!(CliError::Failed("x".to_owned()).exit_code(), 1);
        assert_eq!([manager(422, "violations"), manager(404, "not_found"), manager(504, "timeout")], [2, 2, 1]);
        assert_eq!([manager(422, "servers"), manager(401, "unauthorized"), manager(503, "no_leader")], [3, 3, 3]);
    }

    #[test]
    fn details_become_lines() {
        let check = serde_json::json!({"subject": "source shop", "name": "ensure_gtid_mode", "found": "OFF", "required": "ON", "mend": "SET"});
        assert!(line(&check).contains("mend it: SET"));
        let violation = serde_json::json!({"line": 3, "column": 5, "path": "spec.user", "message": "must be given"});
        assert_eq!(line(&violation), "3:5: spec.user: must be given");
        let fault =
            serde_json::json!({"place": "a.yaml:3:5", "pipeline": "p", "path": "spec.tables[1]", "message": "no"});
        assert_eq!(line(&fault), "a.yaml:3:5: p spec.tables[1]: no");
    }
}

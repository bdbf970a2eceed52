//! What a manager can be told.

use std::path::PathBuf;

use clap::Parser;
use lutra_kafka::LogTopic;
use lutra_runtime::{CommonArgs, ServiceArgs, Violations};

/// Lutra's manager: keeps the specification, creates topics and tasks, gives tasks to workers, and serves the REST API.
///
/// Several managers may run: one leads, all answer.
#[derive(Clone, Debug, Parser)]
#[command(name = "lutra-manager", version)]
pub struct ManagerArgs {
    /// What all services share.
    #[command(flatten)]
    pub common: CommonArgs,

    /// File with the token that every call must bear; needed as soon as --bind is not a loopback address
    #[arg(long, env = "LUTRA_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,

    /// Replicas of every topic that is created
    #[arg(long, env = "LUTRA_REPLICATION", value_name = "N", default_value_t = 1)]
    pub replication: i32,

    /// Replicas that must have a record before it counts as written [default: the brokers' min.insync.replicas]
    #[arg(long, env = "LUTRA_MIN_INSYNC_REPLICAS", value_name = "N")]
    pub min_insync_replicas: Option<i32>,

    /// Hours for which an ordered log is kept, set when its topic is made; 0 keeps it for ever
    #[arg(long, env = "LUTRA_LOG_RETENTION_HOURS", value_name = "HOURS", default_value_t = 168)]
    pub log_retention_hours: u32,

    /// Bytes up to which an ordered log is kept, set when its topic is made; 0 sets no bound
    #[arg(long, env = "LUTRA_LOG_RETENTION_BYTES", value_name = "BYTES", default_value_t = 0)]
    pub log_retention_bytes: u64,
}

impl ServiceArgs for ManagerArgs {
    const SERVICE: &'static str = "manager";

    fn common(&self) -> &CommonArgs {
        &self.common
    }

    fn check(&self, violations: &mut Violations) {
        let address = self.common.bind_address();
        if !address.ip().is_loopback() && self.token_file.is_none() {
            violations.add(
                "token-file",
                "",
                format!("must be given, since --bind {address} can be reached from elsewhere"),
            );
        }
        if let Some(file) = &self.token_file
            && let Err(reason) = read_token(file)
        {
            violations.add("token-file", file.display().to_string(), reason);
        }
        if !(1..=32).contains(&self.replication) {
            violations.add("replication", self.replication.to_string(), "must be between 1 and 32");
        }
        if let Some(least) = self.min_insync_replicas
            && !(1..=self.replication).contains(&least)
        {
            violations.add("min-insync-replicas", least.to_string(), "must be between 1 and the replication");
        }
    }
}

impl ManagerArgs {
    /// How topics of ordered logs are made.
    pub fn log_topic(&self) -> LogTopic {
        let hours = i64::from(self.log_retention_hours);
        LogTopic {
            replication: self.replication,
            min_insync_replicas: self.min_insync_replicas,
            retention_ms: if hours == 0 { -1 } else { hours * 3_600_000 },
            retention_bytes: i64::try_from(self.log_retention_bytes).ok().filter(|bytes| *bytes > 0).unwrap_or(-1),
        }
    }

    /// The token, where there is one.
    pub fn token(&self) -> Option<String> {
        self.token_file.as_deref().and_then(|file| read_token(file).ok())
    }
}

/// Reads a token: at least 16 printable characters, so that nobody guesses it.
fn read_token(file: &std::path::Path) -> Result<String, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("must be readable ({error})"))?;
    let token = text.trim();
    if token.len() < 16 || !token.bytes().all(|c| c.is_ascii_graphic()) {
        return Err("must hold one token of at least 16 printable characters".to_owned());
    }
    Ok(token.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn check(more: &[&str]) -> Vec<String> {
        let base = ["manager", "--zookeeper", "h:1", "--kafka", "h:1"];
        let args = ManagerArgs::try_parse_from(base.iter().chain(more)).unwrap();
        let mut violations = Violations::default();
        args.check(&mut violations);
        violations.iter().map(|v| v.field.clone()).collect()
    }

    #[test]
    fn a_manager_that_can_be_reached_from_elsewhere_needs_a_token() {
        assert!(check(&[]).is_empty());
        assert_eq!(check(&["--bind", "0.0.0.0:8080"]), ["token-file"]);
        assert_eq!(check(&["--token-file", "/nowhere"]), ["token-file"]);
        let file = std::env::temp_dir().join(format!("lutra-manager-token-{}", std::process::id()));
        std::fs::write(&file, "0123456789abcdef\n").unwrap();
        assert!(check(&["--bind", "10.0.0.1:8080", "--token-file", file.to_str().unwrap()]).is_empty());
        std::fs::remove_file(&file).unwrap();
        assert_eq!(check(&["--replication", "2", "--min-insync-replicas", "3"]), ["min-insync-replicas"]);
    }
}

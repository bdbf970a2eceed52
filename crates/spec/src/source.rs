//! A source: a server, or servers that fail over to each other, captured once.

use lutra_change::{BinlogPosition, GtidSet};
use serde::{Deserialize, Serialize};

use crate::pattern::TablePattern;
use crate::secret::SecretRef;
use crate::server::{Address, Connection, Tls};

/// What a `kind: source` document says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceSpec {
    /// Servers that fail over to each other: one that holds everything that was read is read, a primary before a replica.
    pub servers: Vec<Address>,
    /// User name.
    pub user: String,
    /// Password, none for an account without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<SecretRef>,
    /// TLS.
    #[serde(default)]
    pub tls: Tls,
    /// Tables to capture; at least one pattern. System schemas never match.
    pub tables: Vec<TablePattern>,
    /// Tables not to capture, even if `tables` names them.
    #[serde(default)]
    pub exclude: Vec<TablePattern>,
    /// Where capture begins; resolved once, when the log is made.
    #[serde(default)]
    pub start: SourceStart,
    /// Whether GTIDs are the identity of transactions. Without them there is no fail-over.
    #[serde(default = "yes")]
    pub gtid: bool,
    /// Server id of the dump connection; chosen by the extractor where none is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_id: Option<u32>,
    /// Accept a source that may lose acknowledged transactions in a crash (`sync_binlog` or
    /// `innodb_flush_log_at_trx_commit` is not 1).
    #[serde(default)]
    pub accept_weak_durability: bool,
    /// Capture users, roles and grants, password hashes included.
    #[serde(default)]
    pub accounts: bool,
    /// Size of a log record at which it is cut, in bytes.
    #[serde(default = "part_bytes")]
    pub part_bytes: u64,
    /// Bytes handed to Kafka and not yet acknowledged, at most.
    #[serde(default = "in_flight_bytes")]
    pub in_flight_bytes: u64,
}

impl SourceSpec {
    /// Default of `part_bytes`: large enough that Kafka's cost per record does not matter, small enough to flow.
    pub const PART_BYTES: u64 = 512 * 1024;
    /// Default of `in_flight_bytes`: what keeps a broker busy over a 10 ms acknowledgement at 1 GiB/s, with room.
    pub const IN_FLIGHT_BYTES: u64 = 32 * 1024 * 1024;

    /// How the server is reached.
    pub fn connection(&self) -> Connection {
        Connection {
            servers: self.servers.clone(),
            user: self.user.clone(),
            password: self.password.clone(),
            tls: self.tls.clone(),
        }
    }

    /// Whether this source captures the table. System schemas never are.
    pub fn captures(&self, database: &str, table: &str) -> bool {
        self.tables.iter().any(|p| p.matches(database, table))
            && !self.exclude.iter().any(|p| p.matches(database, table))
    }
}

/// Where capture begins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceStart {
    /// With the oldest transaction that the server still has.
    Earliest,
    /// With the next transaction.
    #[default]
    Latest,
    /// Behind this GTID set.
    Gtid(GtidSet),
    /// At this byte of the binlog.
    Position(BinlogPosition),
}

fn yes() -> bool {
    true
}

fn part_bytes() -> u64 {
    SourceSpec::PART_BYTES
}

fn in_flight_bytes() -> u64 {
    SourceSpec::IN_FLIGHT_BYTES
}

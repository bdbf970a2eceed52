//! Who a server is, whom it follows, and how it is set.

use std::collections::BTreeMap;

use lutra_change::{BinlogPosition, GtidSet};

use super::binlog::{binlog_files, mariadb_position};
use super::{gtid_set, missing};
use crate::connection::{Connection, Row};
use crate::dialect::Flavour;
use crate::error::{ErrorKind, Result};

/// Who a server is and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerIdentity {
    /// `server_uuid`. MariaDB has none: there it is made of `server_uid`, `server_id`, host name, port and data folder, so
    /// that it stays the same as long as these do.
    pub server_uuid: String,
    /// `server_id`.
    pub server_id: u32,
    /// `version`.
    pub version: String,
    /// MySQL or MariaDB.
    pub flavour: Flavour,
    /// `gtid_executed`; on MariaDB `gtid_binlog_pos`.
    pub gtid_executed: GtidSet,
    /// `gtid_purged`; on MariaDB the position before the oldest binlog file (empty where the account may not ask).
    pub gtid_purged: GtidSet,
    /// `lower_case_table_names`.
    pub lower_case_table_names: u8,
    /// `read_only` or `super_read_only`.
    pub read_only: bool,
}

/// Asks a server who it is.
pub async fn identity(connection: &mut Connection) -> Result<ServerIdentity> {
    let variables = variables(connection).await?;
    let text = |name: &str| variables.get(name).cloned().unwrap_or_default();
    let set = |name: &'static str| gtid_set(&text(name));
    let version = text("version");
    let flavour = Flavour::of_version(&version);
    let (gtid_executed, gtid_purged) = match flavour {
        Flavour::MySql => (set("gtid_executed")?, set("gtid_purged")?),
        Flavour::MariaDb => (set("gtid_binlog_pos")?, mariadb_purged(connection, &text("log_bin")).await?),
    };
    let server_uuid = match flavour {
        Flavour::MySql => text("server_uuid"),
        Flavour::MariaDb => {
            made_uuid(&["server_uid", "server_id", "hostname", "port", "datadir"].map(text)).to_string()
        }
    };
    Ok(ServerIdentity {
        server_uuid,
        server_id: text("server_id").parse().unwrap_or(0),
        flavour,
        gtid_executed,
        gtid_purged,
        lower_case_table_names: text("lower_case_table_names").parse().unwrap_or(0),
        read_only: text("read_only") == "ON" || text("super_read_only") == "ON",
        version,
    })
}

/// Where MariaDB stood before its oldest binlog file.
async fn mariadb_purged(connection: &mut Connection, log_bin: &str) -> Result<GtidSet> {
    if log_bin != "ON" {
        return Ok(GtidSet::new());
    }
    match binlog_files(connection).await {
        Ok(files) => match files.first() {
            Some(first) => {
                Ok(mariadb_position(connection, &BinlogPosition::new(&first.file, 4)).await?.unwrap_or_default())
            }
            None => Ok(GtidSet::new()),
        },
        // Told by `ensure_grants`.
        Err(e) if e.kind() == ErrorKind::AccessDenied => Ok(GtidSet::new()),
        Err(e) => Err(e),
    }
}

/// A UUID of version 8 made of these texts (FNV-1a, 128 bits).
fn made_uuid(parts: &[String]) -> uuid::Uuid {
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let bytes = parts.iter().flat_map(|part| part.bytes().chain(std::iter::once(0)));
    let hash = bytes.fold(BASIS, |hash, byte| (hash ^ u128::from(byte)).wrapping_mul(PRIME));
    uuid::Builder::from_custom_bytes(hash.to_be_bytes()).into_uuid()
}

/// Whom a server replicates from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follows {
    /// Nobody, or its replication is stopped.
    Nobody,
    /// A server that it is connected to.
    Connected,
    /// A server that does not answer it.
    Disconnected,
}

/// Whom a server replicates from; `None` where the account may not ask. MariaDB tells all accounts whether it is connected, and
/// few whether it tries to be: one that is not follows nobody.
pub async fn follows(connection: &mut Connection) -> Result<Option<Follows>> {
    if connection.flavour().await?.is_mariadb() {
        let row = connection.query_first("SHOW GLOBAL STATUS LIKE 'Slave_running'").await?;
        let runs = row.is_some_and(|row| row.string(1).eq_ignore_ascii_case("ON"));
        return Ok(Some(if runs { Follows::Connected } else { Follows::Nobody }));
    }
    let rows = match connection.query("SHOW REPLICA STATUS").await {
        Err(e) if e.code() == Some(1064) => connection.query("SHOW SLAVE STATUS").await,
        other => other,
    };
    match rows {
        Ok(rows) => Ok(Some(followed(&rows))),
        Err(e) if e.kind() == ErrorKind::AccessDenied => Ok(None),
        Err(e) => Err(e),
    }
}

/// The channels of a MySQL server, each a row of `SHOW REPLICA STATUS`.
fn followed(rows: &[Row]) -> Follows {
    /// Whether the threads that fetch and that execute run; the same places since MySQL 5.0.
    const FETCHES: usize = 10;
    const EXECUTES: usize = 11;
    let of_group = |row: &Row| (0..row.len()).any(|n| row.text(n) == Some("group_replication_applier"));
    let channel = |row: &Row| match (row.text(FETCHES), row.text(EXECUTES)) {
        (Some("Yes"), Some("Yes")) => Follows::Connected,
        (_, Some("Yes")) if of_group(row) => Follows::Connected,
        (Some("Connecting"), _) | (Some("Yes"), _) | (_, Some("Yes")) => Follows::Disconnected,
        _ => Follows::Nobody,
    };
    let channels: Vec<Follows> = rows.iter().map(channel).collect();
    let first = |wanted: Follows| channels.contains(&wanted).then_some(wanted);
    first(Follows::Connected).or_else(|| first(Follows::Disconnected)).unwrap_or(Follows::Nobody)
}

/// All global variables by their lower-case names.
pub async fn variables(connection: &mut Connection) -> Result<BTreeMap<String, String>> {
    let rows = connection.query("SHOW GLOBAL VARIABLES").await?;
    Ok(rows.iter().map(|row| (row.string(0).to_ascii_lowercase(), row.string(1))).collect())
}

/// Now at the server, microseconds since the epoch.
pub async fn clock(connection: &mut Connection) -> Result<i64> {
    let row = connection.query_first("SELECT CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS SIGNED)").await?;
    row.and_then(|r| r.i64(0)).ok_or_else(|| missing("UNIX_TIMESTAMP"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_made_uuid_tells_servers_apart() {
        let of = |parts: [&str; 2]| made_uuid(&parts.map(str::to_owned));
        assert_eq!(of(["a", "1"]), of(["a", "1"]));
        assert_ne!(of(["a", "1"]), of(["a1", ""]));
        assert_eq!(of(["a", "1"]).get_version_num(), 8);
    }
}

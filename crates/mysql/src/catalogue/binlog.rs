//! A server's binlog: its files, where it ends, how long it is kept, and MariaDB's places in it.

use std::collections::BTreeMap;

use lutra_change::gtid::DomainGtid;
use lutra_change::{BinlogPosition, GtidSet};

use super::{gtid_set, missing};
use crate::connection::{Connection, Row};
use crate::dialect::Flavour;
use crate::error::Result;
use crate::sql::quote_text;

/// Where the binlog ends now, with the GTIDs executed up to there where the server says them beside it: MySQL does.
pub async fn log_end(connection: &mut Connection) -> Result<(BinlogPosition, Option<GtidSet>)> {
    let (row, position) = log_status(connection).await?;
    let set = match connection.flavour().await? {
        Flavour::MySql => Some(gtid_set(&row.string(4))?),
        Flavour::MariaDb => None,
    };
    Ok((position, set))
}

/// Where the binlog ends now, with the GTIDs executed up to there.
pub async fn binlog_end(connection: &mut Connection) -> Result<(BinlogPosition, GtidSet)> {
    let (row, position) = log_status(connection).await?;
    let set = match connection.flavour().await? {
        Flavour::MySql => gtid_set(&row.string(4))?,
        Flavour::MariaDb => mariadb_position(connection, &position)
            .await?
            .ok_or_else(|| missing("GTID position at its binlog's end"))?,
    };
    Ok((position, set))
}

async fn log_status(connection: &mut Connection) -> Result<(Row, BinlogPosition)> {
    let row = match connection.flavour().await? {
        Flavour::MariaDb => connection.query_first("SHOW MASTER STATUS").await?,
        Flavour::MySql => match connection.query_first("SHOW BINARY LOG STATUS").await {
            Err(e) if e.code() == Some(1064) => connection.query_first("SHOW MASTER STATUS").await?,
            other => other?,
        },
    };
    let row = row.ok_or_else(|| missing("binary log status; its binary log is off"))?;
    let position = BinlogPosition::new(row.string(0), row.u64(1).ok_or_else(|| missing("binlog position"))?);
    Ok((row, position))
}

/// For how many seconds the server keeps its binlog files; `None` where time does not purge them.
pub async fn binlog_retention(connection: &mut Connection) -> Result<Option<u64>> {
    const SQL: &str = "SHOW GLOBAL VARIABLES WHERE Variable_name IN \
                       ('binlog_expire_logs_seconds', 'expire_logs_days', 'binlog_expire_logs_auto_purge')";
    let rows = connection.query(SQL).await?;
    let found: BTreeMap<String, String> =
        rows.iter().map(|row| (row.string(0).to_ascii_lowercase(), row.string(1))).collect();
    Ok(retention(&found))
}

/// MariaDB knows days only before 10.6, and fractions of them since.
fn retention(variables: &BTreeMap<String, String>) -> Option<u64> {
    if variables.get("binlog_expire_logs_auto_purge").is_some_and(|value| value == "OFF") {
        return None;
    }
    let seconds = variables.get("binlog_expire_logs_seconds").and_then(|value| value.parse::<u64>().ok());
    let days = || variables.get("expire_logs_days").and_then(|value| value.split('.').next()?.parse::<u64>().ok());
    seconds.or_else(|| days().map(|days| days.saturating_mul(86_400))).filter(|seconds| *seconds > 0)
}

/// The binlog files that are there, oldest first, with their sizes.
pub async fn binlog_files(connection: &mut Connection) -> Result<Vec<BinlogPosition>> {
    let rows = connection.query("SHOW BINARY LOGS").await?;
    Ok(rows.iter().map(|row| BinlogPosition::new(row.string(0), row.u64(1).unwrap_or(0))).collect())
}

/// Where MariaDB stood at a place in its binlog; `None` where no event ends there, or the file is not there (any more).
pub async fn mariadb_position(connection: &mut Connection, place: &BinlogPosition) -> Result<Option<GtidSet>> {
    let sql = format!("SELECT BINLOG_GTID_POS({}, {})", quote_text(&place.file), place.offset);
    connection.query_text(sql).await?.map(|text| gtid_set(&text)).transpose()
}

/// The last GTID of each server in each domain of MariaDB's binlog (`gtid_binlog_state`).
pub async fn mariadb_binlog_state(connection: &mut Connection) -> Result<Vec<DomainGtid>> {
    let text = connection.query_text("SELECT @@GLOBAL.gtid_binlog_state").await?.unwrap_or_default();
    let each = text.split(',').map(str::trim).filter(|t| !t.is_empty());
    each.map(gtid_set)
        .map(|set| set.map(|s| s.domains().collect::<Vec<_>>()))
        .collect::<Result<Vec<_>>>()
        .map(|v| v.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binlogs_are_kept_for_seconds_for_days_or_for_ever() {
        let of = |pairs: &[(&str, &str)]| {
            retention(&pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
        };
        assert_eq!(of(&[("binlog_expire_logs_seconds", "3600"), ("expire_logs_days", "0.04")]), Some(3_600));
        assert_eq!(of(&[("expire_logs_days", "7")]), Some(7 * 86_400));
        assert_eq!(of(&[("binlog_expire_logs_seconds", "0")]), None);
        let off = ("binlog_expire_logs_auto_purge", "OFF");
        assert_eq!(of(&[("binlog_expire_logs_seconds", "3600"), off]), None);
    }
}

//! Statements: `BEGIN`, `COMMIT`, `XA …`, DDL, and the session they ran in.

use lutra_change::SessionContext;

use crate::error::Fault;
use crate::flavor::Flavor;
use crate::header::EventHeader;
use crate::reader::Reader;

/// `OPTION_AUTO_IS_NULL`, `OPTION_NO_FOREIGN_KEY_CHECKS`, `OPTION_RELAXED_UNIQUE_CHECKS` of `flags2`.
const AUTO_IS_NULL: u32 = 1 << 14;
const NO_FOREIGN_KEY_CHECKS: u32 = 1 << 26;
const RELAXED_UNIQUE_CHECKS: u32 = 1 << 27;
/// MariaDB's `OPTION_EXPLICIT_DEF_TIMESTAMP`, `OPTION_NO_CHECK_CONSTRAINT_CHECKS`, `OPTION_IF_EXISTS`,
/// `OPTION_INSERT_HISTORY` of `flags2`.
const EXPLICIT_DEFAULTS: u32 = 1 << 24;
const NO_CHECK_CONSTRAINTS: u32 = 1 << 23;
const IF_EXISTS: u32 = 1 << 28;
const INSERT_HISTORY: u32 = 1 << 30;
/// The ALTER TABLE is committed or rolled back: the number of its beginning follows (MariaDB).
const ALTER_ENDS: u8 = 4 | 8;
/// `MAX_DBS_IN_EVENT_MTS`: more databases than this are not listed.
const DATABASES_LISTED: u8 = 16;

/// A statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryEvent<'a> {
    /// Connection id at the source.
    pub thread_id: u32,
    /// Seconds it took there.
    pub execution_time: u32,
    /// Error it ended with there; 0 is none.
    pub error_code: u16,
    /// The default database; empty where there was none.
    pub database: &'a str,
    /// Session variables in force.
    pub context: SessionContext,
    /// The statement, in the character set of `character_set_client`.
    pub statement: &'a [u8],
    /// Transaction id of an atomic DDL statement.
    pub ddl_xid: Option<u64>,
    /// `CURRENT_USER()` as user and host, where the statement needs it (definers).
    pub invoker: Option<(&'a str, &'a str)>,
    /// What only MariaDB has in the session.
    pub mariadb: MariaDbSession,
    /// The first status variable that this version does not know. It and what follows were not read: `context` may lack
    /// something that the statement depends on. (The variables carry no lengths; the server's own replica also stops
    /// reading there, silently.)
    pub unknown_status: Option<u8>,
}

/// What only a MariaDB session has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MariaDbSession {
    /// `check_constraint_checks` was off.
    pub no_check_constraints: bool,
    /// `sql_if_exists` was on: every statement is meant with `IF EXISTS`.
    pub if_exists: bool,
    /// `system_versioning_insert_history` was on.
    pub insert_history: bool,
    /// `character_set_collations`: pairs of a character set (by the id of its default collation) and the collation that
    /// it has here by default (MariaDB 11.3 and later).
    pub character_set_collations: Vec<(u16, u16)>,
}

impl<'a> QueryEvent<'a> {
    pub(crate) fn parse(flavor: Flavor, header: &EventHeader, body: &'a [u8]) -> Result<Self, Fault> {
        let mut reader = Reader::new(body);
        let thread_id = reader.u32()?;
        let execution_time = reader.u32()?;
        let database_length = usize::from(reader.u8()?);
        let error_code = reader.u16()?;
        let status_length = usize::from(reader.u16()?);
        let status = reader.take(status_length)?;
        let database = reader.take(database_length)?;
        let database = reader.text(database)?;
        if reader.u8()? != 0 {
            return Err(reader.fault("the database name does not end in a zero byte"));
        }
        let mut event = Self {
            thread_id,
            execution_time,
            error_code,
            database,
            context: SessionContext::default(),
            statement: reader.rest(),
            ddl_xid: None,
            invoker: None,
            mariadb: MariaDbSession::default(),
            unknown_status: None,
        };
        let mut micros = i64::from(header.timestamp) * 1_000_000;
        // A fault there is counted from the event's body: 13 bytes lie in front.
        event.read_status(flavor, status, &mut micros).map_err(|fault| Fault { at: fault.at + 13, ..fault })?;
        event.context.timestamp_micros = Some(micros);
        Ok(event)
    }

    /// Whether the statement is exactly `BEGIN`, as the server writes it at a transaction's start.
    pub fn is_begin(&self) -> bool {
        self.statement == b"BEGIN"
    }

    /// Whether the statement is exactly `COMMIT`, as the server writes it after changes to tables without transactions.
    pub fn is_commit(&self) -> bool {
        self.statement == b"COMMIT"
    }

    /// Whether the statement is exactly `ROLLBACK`: the transaction never was.
    pub fn is_rollback(&self) -> bool {
        self.statement == b"ROLLBACK"
    }

    /// Status variables (`Query_event_status_vars`): a code and a value whose length the code decides.
    fn read_status(&mut self, flavor: Flavor, status: &'a [u8], micros: &mut i64) -> Result<(), Fault> {
        let mut reader = Reader::new(status);
        let context = &mut self.context;
        while !reader.is_empty() {
            match reader.u8()? {
                0 => {
                    let flags = reader.u32()?;
                    context.sql_auto_is_null = flags & AUTO_IS_NULL != 0;
                    context.no_foreign_key_checks = flags & NO_FOREIGN_KEY_CHECKS != 0;
                    context.relaxed_unique_checks = flags & RELAXED_UNIQUE_CHECKS != 0;
                    if flavor == Flavor::MariaDb {
                        context.explicit_defaults_for_timestamp = Some(flags & EXPLICIT_DEFAULTS != 0);
                        self.mariadb.no_check_constraints = flags & NO_CHECK_CONSTRAINTS != 0;
                        self.mariadb.if_exists = flags & IF_EXISTS != 0;
                        self.mariadb.insert_history = flags & INSERT_HISTORY != 0;
                    }
                }
                1 => context.sql_mode = Some(reader.u64()?),
                // The catalogue, always "std"; 2 ends in a zero byte (5.0.3 and older).
                2 => {
                    reader.short_bytes()?;
                    reader.u8()?;
                }
                3 => context.auto_increment = Some((reader.u16()?, reader.u16()?)),
                4 => {
                    context.character_set_client = Some(reader.u16()?);
                    context.collation_connection = Some(reader.u16()?);
                    context.collation_server = Some(reader.u16()?);
                }
                5 => {
                    let name = reader.short_bytes()?;
                    context.time_zone = Some(reader.text(name)?.to_owned());
                }
                6 => {
                    reader.short_bytes()?;
                }
                7 => context.lc_time_names = Some(reader.u16()?),
                8 => context.collation_database = Some(reader.u16()?),
                // Tables to be updated, of a statement of several.
                9 => {
                    reader.u64()?;
                }
                // The statement's size at a server that is no more.
                10 => {
                    reader.u32()?;
                }
                11 => {
                    let (user, host) = (reader.short_bytes()?, reader.short_bytes()?);
                    self.invoker = Some((reader.text(user)?, reader.text(host)?));
                }
                128 if flavor == Flavor::MariaDb => *micros += i64::from(reader.u24()?),
                129 if flavor == Flavor::MariaDb => self.ddl_xid = Some(reader.u64()?),
                // Which step of an ALTER TABLE it is: the GTID event says so too.
                130 if flavor == Flavor::MariaDb => {
                    if reader.u8()? & ALTER_ENDS != 0 {
                        reader.u64()?;
                    }
                }
                131 if flavor == Flavor::MariaDb => {
                    for _ in 0..reader.u8()? {
                        self.mariadb.character_set_collations.push((reader.u16()?, reader.u16()?));
                    }
                }
                12 if flavor == Flavor::MySql => skip_databases(&mut reader)?,
                13 if flavor == Flavor::MySql => *micros += i64::from(reader.u24()?),
                16 if flavor == Flavor::MySql => context.explicit_defaults_for_timestamp = Some(reader.u8()? != 0),
                17 if flavor == Flavor::MySql => self.ddl_xid = Some(reader.u64()?),
                18 if flavor == Flavor::MySql => context.default_collation_for_utf8mb4 = Some(reader.u16()?),
                19 if flavor == Flavor::MySql => context.sql_require_primary_key = Some(reader.u8()? != 0),
                20 if flavor == Flavor::MySql => context.default_table_encryption = Some(reader.u8()? != 0),
                // Whether triggers run on cascaded changes: with rows in the log it decides nothing for a follower.
                21 if flavor == Flavor::MySql => {
                    reader.u8()?;
                }
                code => {
                    self.unknown_status = Some(code);
                    break;
                }
            }
        }
        Ok(())
    }
}

/// The databases that a statement touches, for parallel replicas.
fn skip_databases(reader: &mut Reader<'_>) -> Result<(), Fault> {
    let count = reader.u8()?;
    if count > DATABASES_LISTED {
        return Ok(());
    }
    for _ in 0..count {
        while reader.u8()? != 0 {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn body(status: &[u8], statement: &[u8]) -> Vec<u8> {
        let mut body = vec![7, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0];
        body.extend((status.len() as u16).to_le_bytes());
        body.extend(status);
        body.extend(b"db\0");
        body.extend(statement);
        body
    }

    fn header() -> EventHeader {
        EventHeader { timestamp: 1_000, event_type: 2, server_id: 1, event_size: 0, log_pos: 0, flags: 0 }
    }

    #[test]
    fn the_session_is_read_up_to_the_first_unknown_variable() {
        let status = [
            &[0, 0, 0x40, 0, 0x0c][..],
            &[1, 0x20, 0, 0xa0, 0x55, 0, 0, 0, 0],
            b"\x06\x03std",
            &[4, 255, 0, 255, 0, 8, 0],
            b"\x05\x06SYSTEM",
            &[12, 1, b'd', b'b', 0],
            &[13, 0x0a, 0, 0],
            &[17, 9, 0, 0, 0, 0, 0, 0, 0],
            &[99, 1, 2, 3],
        ]
        .concat();
        let bytes = body(&status, b"CREATE TABLE t (a INT)");
        let query = QueryEvent::parse(Flavor::MySql, &header(), &bytes).unwrap();
        assert_eq!(
            (query.database, query.thread_id, query.ddl_xid, query.unknown_status),
            ("db", 7, Some(9), Some(99))
        );
        let context = &query.context;
        assert!(context.sql_auto_is_null && context.no_foreign_key_checks && context.relaxed_unique_checks);
        assert_eq!(context.sql_mode, Some(0x55a0_0020));
        assert_eq!((context.character_set_client, context.collation_server), (Some(255), Some(8)));
        assert_eq!((context.time_zone.as_deref(), context.timestamp_micros), (Some("SYSTEM"), Some(1_000_000_010)));
    }

    #[test]
    fn a_status_block_that_is_cut_is_refused() {
        assert!(QueryEvent::parse(Flavor::MySql, &header(), &body(&[1, 0, 0], b"BEGIN")).is_err());
        let bytes = body(&[], b"BEGIN");
        assert!(QueryEvent::parse(Flavor::MySql, &header(), &bytes).unwrap().is_begin());
    }
}

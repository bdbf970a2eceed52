//! The 19 bytes every event begins with, and the numbers of the event types.

use crate::error::{DecodeError, Fault, Place};
use crate::reader::Reader;

/// Bytes of the common header (binlog format 4, MySQL 5.0 and later).
pub(crate) const HEADER_LENGTH: usize = 19;

/// `LOG_EVENT_ARTIFICIAL_F`: made by the sender, not in the file.
const ARTIFICIAL: u16 = 0x20;
/// `LOG_EVENT_IGNORABLE_F`: may be skipped by whoever does not know it.
const IGNORABLE: u16 = 0x80;

/// The common header of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventHeader {
    /// Start of the statement, seconds since the epoch.
    pub timestamp: u32,
    /// Number of the type, see [`event_type`].
    pub event_type: u8,
    /// The server that made the event first.
    pub server_id: u32,
    /// Bytes of the event, header and checksum included.
    pub event_size: u32,
    /// Where the next event begins, modulo 2^32 (see [`PositionTracker`](crate::PositionTracker)); 0 for events that are
    /// not in the file and for those inside a payload.
    pub log_pos: u32,
    /// Flags.
    pub flags: u16,
}

impl EventHeader {
    /// Reads the header in front of an event.
    pub fn read(event: &[u8]) -> Result<Self, DecodeError> {
        Self::parse(event).map_err(|fault| fault.in_event(Place::default(), 0))
    }

    pub(crate) fn parse(event: &[u8]) -> Result<Self, Fault> {
        let mut reader = Reader::new(event);
        Ok(Self {
            timestamp: reader.u32()?,
            event_type: reader.u8()?,
            server_id: reader.u32()?,
            event_size: reader.u32()?,
            log_pos: reader.u32()?,
            flags: reader.u16()?,
        })
    }

    /// Made by the sender of the stream, not in any file.
    pub fn is_artificial(&self) -> bool {
        self.flags & ARTIFICIAL != 0
    }

    /// May be skipped by whoever does not know its type.
    pub fn is_ignorable(&self) -> bool {
        self.flags & IGNORABLE != 0
    }

    pub(crate) fn place(&self) -> Place {
        Place { event_type: self.event_type, log_pos: self.log_pos, offset: 0 }
    }
}

/// Numbers of the event types (`mysql::binlog::event::Log_event_type`; from 160 on MariaDB's own).
pub mod event_type {
    #![allow(missing_docs)]

    pub const QUERY: u8 = 2;
    pub const STOP: u8 = 3;
    pub const ROTATE: u8 = 4;
    pub const INTVAR: u8 = 5;
    pub const APPEND_BLOCK: u8 = 9;
    pub const DELETE_FILE: u8 = 11;
    pub const RAND: u8 = 13;
    pub const USER_VAR: u8 = 14;
    pub const FORMAT_DESCRIPTION: u8 = 15;
    pub const XID: u8 = 16;
    pub const BEGIN_LOAD_QUERY: u8 = 17;
    pub const EXECUTE_LOAD_QUERY: u8 = 18;
    pub const TABLE_MAP: u8 = 19;
    pub const WRITE_ROWS_V1: u8 = 23;
    pub const UPDATE_ROWS_V1: u8 = 24;
    pub const DELETE_ROWS_V1: u8 = 25;
    pub const INCIDENT: u8 = 26;
    pub const HEARTBEAT: u8 = 27;
    pub const IGNORABLE: u8 = 28;
    pub const ROWS_QUERY: u8 = 29;
    pub const WRITE_ROWS: u8 = 30;
    pub const UPDATE_ROWS: u8 = 31;
    pub const DELETE_ROWS: u8 = 32;
    pub const GTID: u8 = 33;
    pub const ANONYMOUS_GTID: u8 = 34;
    pub const PREVIOUS_GTIDS: u8 = 35;
    pub const TRANSACTION_CONTEXT: u8 = 36;
    pub const VIEW_CHANGE: u8 = 37;
    pub const XA_PREPARE: u8 = 38;
    pub const PARTIAL_UPDATE_ROWS: u8 = 39;
    pub const TRANSACTION_PAYLOAD: u8 = 40;
    pub const HEARTBEAT_V2: u8 = 41;
    pub const GTID_TAGGED: u8 = 42;
    pub const MARIADB_ANNOTATE_ROWS: u8 = 160;
    pub const MARIADB_BINLOG_CHECKPOINT: u8 = 161;
    pub const MARIADB_GTID: u8 = 162;
    pub const MARIADB_GTID_LIST: u8 = 163;
    pub const MARIADB_START_ENCRYPTION: u8 = 164;
    pub const QUERY_COMPRESSED: u8 = 165;
    pub const WRITE_ROWS_COMPRESSED_V1: u8 = 166;
    pub const UPDATE_ROWS_COMPRESSED_V1: u8 = 167;
    pub const DELETE_ROWS_COMPRESSED_V1: u8 = 168;
    pub const WRITE_ROWS_COMPRESSED: u8 = 169;
    pub const UPDATE_ROWS_COMPRESSED: u8 = 170;
    pub const DELETE_ROWS_COMPRESSED: u8 = 171;
    pub const PARTIAL_ROW_DATA: u8 = 172;
}

/// The name of an event type, for error texts and listings.
pub fn name(number: u8) -> &'static str {
    match number {
        event_type::QUERY => "query",
        event_type::STOP => "stop",
        event_type::ROTATE => "rotate",
        event_type::INTVAR => "integer variable",
        event_type::APPEND_BLOCK => "append block",
        event_type::DELETE_FILE => "delete file",
        event_type::RAND => "random seed",
        event_type::USER_VAR => "user variable",
        event_type::FORMAT_DESCRIPTION => "format description",
        event_type::XID => "XID",
        event_type::BEGIN_LOAD_QUERY => "begin load query",
        event_type::EXECUTE_LOAD_QUERY => "execute load query",
        event_type::TABLE_MAP => "table map",
        event_type::WRITE_ROWS_V1 | event_type::WRITE_ROWS => "write rows",
        event_type::UPDATE_ROWS_V1 | event_type::UPDATE_ROWS => "update rows",
        event_type::DELETE_ROWS_V1 | event_type::DELETE_ROWS => "delete rows",
        event_type::INCIDENT => "incident",
        event_type::HEARTBEAT | event_type::HEARTBEAT_V2 => "heartbeat",
        event_type::IGNORABLE => "ignorable",
        event_type::ROWS_QUERY => "rows query",
        event_type::GTID => "GTID",
        event_type::ANONYMOUS_GTID => "anonymous GTID",
        event_type::PREVIOUS_GTIDS => "previous GTIDs",
        event_type::TRANSACTION_CONTEXT => "transaction context",
        event_type::VIEW_CHANGE => "view change",
        event_type::XA_PREPARE => "XA prepare",
        event_type::PARTIAL_UPDATE_ROWS => "partial update rows",
        event_type::TRANSACTION_PAYLOAD => "transaction payload",
        event_type::GTID_TAGGED => "tagged GTID",
        160 => "annotate rows",
        161 => "binlog checkpoint",
        162 => "MariaDB GTID",
        163 => "MariaDB GTID list",
        164 => "start encryption",
        165 => "compressed query",
        166 | 169 => "compressed write rows",
        167 | 170 => "compressed update rows",
        168 | 171 => "compressed delete rows",
        event_type::PARTIAL_ROW_DATA => "partial row data",
        _ => "unknown",
    }
}

//! MariaDB's own events: GTID, GTID list, parts of rows events.

use lutra_change::gtid::DomainGtid;

use crate::control::Xid;
use crate::error::Fault;
use crate::header::EventHeader;
use crate::reader::Reader;

/// `flags2` of a GTID event.
mod flag {
    pub(super) const STANDALONE: u8 = 1;
    pub(super) const GROUP_COMMIT_ID: u8 = 2;
    pub(super) const TRANSACTIONAL: u8 = 4;
    pub(super) const ALLOW_PARALLEL: u8 = 8;
    pub(super) const WAITED: u8 = 16;
    pub(super) const DDL: u8 = 32;
    pub(super) const PREPARED_XA: u8 = 64;
    pub(super) const COMPLETED_XA: u8 = 128;
}

/// `flags_extra` of a GTID event.
mod extra {
    pub(super) const MULTI_ENGINE: u8 = 1;
    pub(super) const START_ALTER: u8 = 2;
    pub(super) const COMMIT_ALTER: u8 = 4;
    pub(super) const ROLLBACK_ALTER: u8 = 8;
}

/// What an XA transaction does at a GTID event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XaPhase {
    /// The rows behind it are those of an `XA START … XA PREPARE`.
    Prepare,
    /// The statement behind it is `XA COMMIT` or `XA ROLLBACK` of a prepared transaction.
    Complete,
}

/// A step of an `ALTER TABLE` that is logged in two (`binlog_alter_two_phase=ON`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlterPhase {
    /// It began. Whoever applies statements one by one passes over it: the statement comes again with its commit.
    Start,
    /// It took effect: the one that began with that sequence number.
    Commit(u64),
    /// It failed: the one that began with that sequence number.
    Rollback(u64),
}

/// What a transaction of a MariaDB server begins with. It stands for `BEGIN` too, unless it is
/// [standalone](Self::standalone): then one statement follows, and nothing ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MariaDbGtidEvent<'a> {
    /// The GTID.
    pub gtid: DomainGtid,
    /// One statement follows and no commit; otherwise rows and an XID or `COMMIT` (`XA PREPARE`) follow.
    pub standalone: bool,
    /// Everything in it can be rolled back.
    pub transactional: bool,
    /// It may run beside others (`skip_parallel_replication=OFF`).
    pub allow_parallel: bool,
    /// It waited for another's lock at the source.
    pub waited: bool,
    /// It holds DDL.
    pub ddl: bool,
    /// Transactions with the same id were committed together.
    pub commit_id: Option<u64>,
    /// The XA transaction it belongs to.
    pub xa: Option<(XaPhase, Xid<'a>)>,
    /// The step of an `ALTER TABLE` that is logged in two.
    pub alter: Option<AlterPhase>,
}

impl<'a> MariaDbGtidEvent<'a> {
    pub(crate) fn parse(header: &EventHeader, body: &'a [u8]) -> Result<Self, Fault> {
        let mut reader = Reader::new(body);
        let number = reader.u64()?;
        let domain = reader.u32()?;
        let flags = reader.u8()?;
        let commit_id = if flags & flag::GROUP_COMMIT_ID != 0 { Some(reader.u64()?) } else { None };
        let phase = match flags & (flag::PREPARED_XA | flag::COMPLETED_XA) {
            0 => None,
            flag::PREPARED_XA => Some(XaPhase::Prepare),
            flag::COMPLETED_XA => Some(XaPhase::Complete),
            _ => return Err(reader.fault("it both prepares and completes an XA transaction")),
        };
        let xa = match phase {
            Some(phase) => Some((phase, Xid::parse_short(&mut reader)?)),
            None => None,
        };
        let extra = if reader.is_empty() { 0 } else { reader.u8()? };
        if extra & extra::MULTI_ENGINE != 0 {
            reader.u8()?;
        }
        let alter = match extra & (extra::START_ALTER | extra::COMMIT_ALTER | extra::ROLLBACK_ALTER) {
            0 => None,
            extra::START_ALTER => Some(AlterPhase::Start),
            extra::COMMIT_ALTER => Some(AlterPhase::Commit(reader.u64()?)),
            extra::ROLLBACK_ALTER => Some(AlterPhase::Rollback(reader.u64()?)),
            _ => return Err(reader.fault("it begins and ends an ALTER TABLE")),
        };
        // Behind it: padding, and what later versions add, for monitoring.
        Ok(Self {
            gtid: DomainGtid { domain, server_id: header.server_id, number },
            standalone: flags & flag::STANDALONE != 0,
            transactional: flags & flag::TRANSACTIONAL != 0,
            allow_parallel: flags & flag::ALLOW_PARALLEL != 0,
            waited: flags & flag::WAITED != 0,
            ddl: flags & flag::DDL != 0,
            commit_id,
            xa,
            alter,
        })
    }
}

/// Where each domain stands: at the beginning of a file, what the files before it hold; made by the sender, what it
/// passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GtidList {
    /// For each domain the last GTID of each server, the domain's last one at the end.
    pub gtids: Vec<DomainGtid>,
    /// The reader asked to be sent no further than this (`START SLAVE UNTIL`), and is there.
    pub until_reached: bool,
    /// Made by the sender: these were passed over because the reader asked to ignore them (`IGNORE_DOMAIN_IDS`).
    pub ignored: bool,
}

impl GtidList {
    const UNTIL_REACHED: u32 = 1 << 28;
    const IGNORED: u32 = 1 << 29;

    pub(crate) fn parse(body: &[u8]) -> Result<Self, Fault> {
        let mut reader = Reader::new(body);
        let head = reader.u32()?;
        let count = (head & 0x0fff_ffff) as usize;
        if count.saturating_mul(16) > reader.left() {
            return Err(reader.fault("it counts more GTIDs than it has bytes"));
        }
        let mut gtids = Vec::with_capacity(count);
        for _ in 0..count {
            gtids.push(DomainGtid { domain: reader.u32()?, server_id: reader.u32()?, number: reader.u64()? });
        }
        Ok(Self { gtids, until_reached: head & Self::UNTIL_REACHED != 0, ignored: head & Self::IGNORED != 0 })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn event(body: &[u8]) -> Result<MariaDbGtidEvent<'_>, Fault> {
        let header = EventHeader { timestamp: 0, event_type: 162, server_id: 77, event_size: 0, log_pos: 0, flags: 8 };
        MariaDbGtidEvent::parse(&header, body)
    }

    fn head(sequence: u64, flags: u8) -> Vec<u8> {
        [&sequence.to_le_bytes()[..], &[3, 0, 0, 0, flags]].concat()
    }

    #[test]
    fn flags_commit_ids_and_alters_are_read() {
        let body = [&head(7, 0x2c)[..], &[0; 6]].concat();
        let plain = event(&body).unwrap();
        assert_eq!(plain.gtid.to_string(), "3-77-7");
        assert!(!plain.standalone && plain.transactional && plain.allow_parallel && plain.ddl && !plain.waited);
        assert_eq!((plain.commit_id, plain.xa, plain.alter), (None, None, None));
        let body = [&head(8, 0x02)[..], &9u64.to_le_bytes()].concat();
        assert_eq!(event(&body).unwrap().commit_id, Some(9));
        let body = [&head(32, 0x29)[..], &[4], &31u64.to_le_bytes()].concat();
        assert_eq!(event(&body).unwrap().alter, Some(AlterPhase::Commit(31)));
        assert!(event(&body[..body.len() - 1]).is_err());
        assert!(event(&[&head(1, 0xc0)[..], &[0; 6]].concat()).is_err());
    }

    #[test]
    fn the_two_phases_of_xa_name_their_transaction() {
        let body = [&head(17, 0x4c)[..], &[7, 0, 0, 0, 2, 2], b"x1b2", &[1, 255]].concat();
        let (phase, xid) = event(&body).unwrap().xa.unwrap();
        assert_eq!((phase, xid.to_string().as_str()), (XaPhase::Prepare, "X'7831',X'6232',7"));
        let body = [&head(18, 0x8d)[..], &[7, 0, 0, 0, 2, 200], b"x1b2"].concat();
        assert!(event(&body).is_err());
    }

    #[test]
    fn lists_end_at_their_bytes() {
        let gtid = DomainGtid { domain: 3, server_id: 77, number: 41 };
        let body = [&[1, 0, 0, 0x10, 3, 0, 0, 0, 77, 0, 0, 0][..], &41u64.to_le_bytes()].concat();
        let list = GtidList::parse(&body).unwrap();
        assert_eq!((list.gtids.as_slice(), list.until_reached, list.ignored), (&[gtid][..], true, false));
        // An empty list is padded.
        assert_eq!(GtidList::parse(&[0; 6]).unwrap().gtids, []);
        assert!(GtidList::parse(&[255, 255, 255, 0x0f, 1]).is_err());
    }
}

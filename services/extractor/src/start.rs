//! Before the first event: the source is fit, has our history (P7), and where capture begins.

use std::time::Duration;

use lutra_binlog::{Decoder, EventData, PositionTracker};
use lutra_change::gtid::DomainGtid;
use lutra_change::{BinlogPosition, Gtid, GtidSet};
use lutra_log::{LastUnit, SourcePlace};
use lutra_mysql::catalogue::{self, ServerIdentity};
use lutra_mysql::checks::{self, SourceCheckOptions};
use lutra_mysql::{
    BinlogSource, BinlogStream, ConnectOptions, Connection, DumpRequest, DumpStart, EventBatch, Flavour,
};
use lutra_spec::SourceStart;
use uuid::Uuid;

use crate::assembler::Known;
use crate::config::ExtractConfig;
use crate::error::ExtractError;
use crate::failover::Found;

/// Larger transactions are not asked for again to be added up, only to be recognised.
const COMPARED_UP_TO: u64 = 64 << 20;
/// How long the server may take to have committed what its dump thread sent before (P7).
const PATIENCE_SECONDS: u32 = 10;

/// The server that is read.
#[derive(Debug)]
pub struct Server {
    /// How it is reached.
    pub options: ConnectOptions,
    /// A connection for questions.
    pub connection: Connection,
    /// Who it is.
    pub identity: ServerIdentity,
    /// Its UUID.
    pub uuid: Uuid,
    /// How it stood when it was chosen.
    pub found: Found,
}

impl Server {
    /// How long it may take to answer a question: [`ensure_not_behind`](Self::ensure_not_behind) waits there.
    pub const QUESTION: Duration = Duration::from_secs(PATIENCE_SECONDS as u64 * 3);

    fn fault(&self) -> impl Fn(lutra_mysql::Error) -> ExtractError + 'static {
        let address = self.options.address();
        move |e| ExtractError::Source { address: address.clone(), source: Box::new(e) }
    }

    /// The named checks; with `start`, also whether the binlog reaches back to it.
    pub async fn ensure_fit(&mut self, config: &ExtractConfig, start: Option<DumpStart>) -> Result<(), ExtractError> {
        let wanted = SourceCheckOptions {
            gtid: config.spec.gtid,
            accept_weak_durability: config.spec.accept_weak_durability,
            server_id: Some(config.server_id),
            start,
        };
        let fault = self.fault();
        let results = checks::source(&mut self.connection, &wanted).await.map_err(fault)?;
        let faults: Vec<_> = results.into_iter().filter(|r| !r.ok).collect();
        if faults.is_empty() { Ok(()) } else { Err(ExtractError::Unfit { address: self.options.address(), faults }) }
    }

    /// Whether table maps say all that is to be known of a table.
    pub async fn says_all_of_tables(&mut self) -> Result<bool, ExtractError> {
        let fault = self.fault();
        match self.connection.query_text("SELECT @@GLOBAL.binlog_row_metadata").await {
            Ok(metadata) => Ok(metadata.is_some_and(|m| m.eq_ignore_ascii_case("FULL"))),
            // Servers before MySQL 8.0 and MariaDB 10.5 have no such variable.
            Err(e) if e.code() == Some(1193) => Ok(false),
            Err(e) => Err(fault(e)),
        }
    }

    /// P7: all of our GTID set is executed there, or becomes so in time.
    pub async fn ensure_not_behind(&mut self, ours: &GtidSet) -> Result<(), ExtractError> {
        if ours.is_empty() {
            return Ok(());
        }
        if self.identity.flavour.is_mariadb() {
            return self.ensure_mariadb_not_behind(ours).await;
        }
        let fault = self.fault();
        let wait = format!("SELECT WAIT_FOR_EXECUTED_GTID_SET('{ours}', {PATIENCE_SECONDS})");
        let answer = self.connection.query_text(wait).await.map_err(fault)?;
        if answer.as_deref() == Some("0") {
            return Ok(());
        }
        let fault = self.fault();
        let now = catalogue::identity(&mut self.connection).await.map_err(fault)?;
        let phantom = ours.minus(&now.gtid_executed);
        if phantom.is_empty() {
            Ok(())
        } else {
            let own = Box::new(now.gtid_executed.minus(ours));
            Err(ExtractError::SourceBehindLog { address: self.options.address(), phantom, own, servers: String::new() })
        }
    }

    /// The same for MariaDB: our last GTID of each domain lies in its binlog, at its own server's number or before.
    async fn ensure_mariadb_not_behind(&mut self, ours: &GtidSet) -> Result<(), ExtractError> {
        const STEP: Duration = Duration::from_millis(500);
        let deadline = tokio::time::Instant::now() + Duration::from_secs(u64::from(PATIENCE_SECONDS));
        loop {
            let fault = self.fault();
            let state = catalogue::mariadb_binlog_state(&mut self.connection).await.map_err(fault)?;
            let known = |gtid: &DomainGtid| {
                state
                    .iter()
                    .any(|s| s.domain == gtid.domain && s.server_id == gtid.server_id && gtid.number <= s.number)
            };
            let mut phantom = GtidSet::new();
            ours.domains().filter(|gtid| !known(gtid)).for_each(|gtid| phantom.insert(&Gtid::MariaDb(gtid)));
            if phantom.is_empty() {
                return Ok(());
            }
            if tokio::time::Instant::now() >= deadline {
                let own = Box::new(self.identity.gtid_executed.minus(ours));
                let (address, servers) = (self.options.address(), String::new());
                return Err(ExtractError::SourceBehindLog { address, phantom, own, servers });
            }
            // A replica that took over may still be at work; MariaDB has no way to wait for its binlog.
            tokio::time::sleep(STEP).await;
        }
    }

    /// P7, MariaDB: on the same server the log's last transaction ends where the log says. It is not asked for again, since
    /// a domain's position does not say what came before it.
    pub async fn ensure_same_history(
        &mut self,
        config: &ExtractConfig,
        last: Option<&LastUnit>,
    ) -> Result<(), ExtractError> {
        let Some((last, Gtid::MariaDb(gtid))) = last.and_then(|l| Some((l, l.gtid()?))) else { return Ok(()) };
        if last.server_uuid != self.uuid || !config.spec.gtid {
            return Ok(());
        }
        let fault = self.fault();
        let files = catalogue::binlog_files(&mut self.connection).await.map_err(&fault)?;
        if !files.iter().any(|file| file.file == last.position.file) {
            // Purged since; the GTID was looked for in the binlog's state.
            return Ok(());
        }
        let found = catalogue::mariadb_position(&mut self.connection, &last.position).await.map_err(&fault)?;
        let found = found.and_then(|set| set.domains().find(|d| d.domain == gtid.domain));
        if found == Some(gtid) {
            return Ok(());
        }
        let difference = match found {
            Some(found) => format!("{found} ends at {} there", last.position),
            None => format!("no transaction of its domain ends at {}", last.position),
        };
        Err(ExtractError::AnotherHistory { address: self.options.address(), gtid: gtid.to_string(), difference })
    }

    /// Resolves where capture begins on a log without units (P2, origin).
    pub async fn origin(&mut self, config: &ExtractConfig) -> Result<SourcePlace, ExtractError> {
        let fault = self.fault();
        let (end, executed) = catalogue::binlog_end(&mut self.connection).await.map_err(&fault)?;
        let files = catalogue::binlog_files(&mut self.connection).await.map_err(&fault)?;
        let first = files.first().map_or_else(BinlogPosition::default, |f| BinlogPosition::new(f.file.clone(), 4));
        if let Some(adopt) = &config.adopt {
            let position = adopt.position.clone().unwrap_or(first);
            return Ok(SourcePlace {
                server_uuid: adopt.source_uuid,
                position,
                gtid_set: adopt.gtid_set.clone(),
                open_xa: Vec::new(),
                definitions: None,
            });
        }
        let purged = self.identity.gtid_purged.clone();
        let (position, set) = match config.start() {
            SourceStart::Earliest => (first, purged),
            SourceStart::Latest => (end, executed),
            SourceStart::Gtid(set) => {
                self.ensure_own_kind(config, set)?;
                (first, set.clone())
            }
            SourceStart::Position(position) => {
                self.ensure_fit(config, Some(DumpStart::Position(position.clone()))).await?;
                let set = if config.spec.gtid { self.set_before(config, position).await? } else { GtidSet::new() };
                (position.clone(), set)
            }
        };
        let gtid_set = if config.spec.gtid { set } else { GtidSet::new() };
        Ok(SourcePlace { server_uuid: self.uuid, position, gtid_set, open_xa: Vec::new(), definitions: None })
    }

    /// A set of MySQL says nothing to MariaDB, and the other way round.
    fn ensure_own_kind(&self, config: &ExtractConfig, set: &GtidSet) -> Result<(), ExtractError> {
        let foreign = match self.identity.flavour {
            Flavour::MySql => set.domains().next().is_some(),
            Flavour::MariaDb => set.intervals().next().is_some(),
        };
        if !foreign {
            return Ok(());
        }
        let reason =
            format!("`start` names the GTIDs {set}, which are not of the kind of server {}", self.identity.version);
        Err(ExtractError::Definition { source_name: config.source.clone(), reason })
    }

    /// The GTIDs of everything before a place: what the file says of the files before it, and its own up to the place.
    async fn set_before(&mut self, config: &ExtractConfig, place: &BinlogPosition) -> Result<GtidSet, ExtractError> {
        let fault = self.fault();
        if self.identity.flavour.is_mariadb() {
            let set = catalogue::mariadb_position(&mut self.connection, place).await.map_err(&fault)?;
            return set.ok_or_else(|| ExtractError::Definition {
                source_name: config.source.clone(),
                reason: format!("`start` names {place}, where no event ends"),
            });
        }
        let unreadable = |e: lutra_binlog::DecodeError| ExtractError::Assemble {
            position: place.clone(),
            source: Box::new(e.into()),
        };
        let start = DumpStart::Position(BinlogPosition::new(place.file.clone(), 4));
        let request = DumpRequest { start, server_id: config.server_id, heartbeat: config.heartbeat, until_end: true };
        let mut stream = BinlogStream::connect(&self.options, &request).await.map_err(&fault)?;
        let (mut decoder, mut tracker, mut set) = (Decoder::new(), PositionTracker::new(4), GtidSet::new());
        let mut batch = EventBatch::default();
        while stream.read(&mut batch, 1 << 18).await.map_err(&fault)? {
            for bytes in batch.iter() {
                if tracker.position() >= place.offset {
                    return Ok(set);
                }
                let event = decoder.decode(bytes).map_err(unreadable)?;
                match event.data {
                    EventData::PreviousGtids(previous) => set.union_with(&previous),
                    EventData::Gtid(gtid) => gtid.gtid.iter().for_each(|g| set.insert(g)),
                    _ => {}
                }
                tracker.advance(&event.header).map_err(unreadable)?;
            }
            batch.clear();
        }
        Ok(set)
    }

    /// Where the dump begins for a log that stands at `place`, and what is to be looked at again on the way (P7).
    pub fn dump_start(
        &self,
        config: &ExtractConfig,
        place: &SourcePlace,
        last: Option<&LastUnit>,
    ) -> (DumpStart, Option<Known>) {
        if !config.spec.gtid {
            return (DumpStart::Position(place.position.clone()), None);
        }
        let mut set = place.gtid_set.clone();
        let known = last.and_then(|last| self.known(place, last));
        if let Some(known) = &known {
            let mut one = GtidSet::new();
            one.insert(&known.gtid);
            set = set.minus(&one);
        }
        (DumpStart::Gtid(set), known)
    }

    /// The log ends inside a `CREATE TABLE … SELECT` or a large `XA COMMIT … ONE PHASE`: only such units have no GTID. Its
    /// commit time.
    pub fn half(&self, config: &ExtractConfig, last: Option<&LastUnit>) -> Option<i64> {
        last.filter(|last| config.spec.gtid && last.gtid.is_none()).map(|last| last.committed_at)
    }

    fn known(&self, place: &SourcePlace, last: &LastUnit) -> Option<Known> {
        let gtid = last
            .gtid()
            .filter(|g| matches!(g, Gtid::MySql { .. }))
            .filter(|g| place.gtid_set.contains(g) && !self.identity.gtid_purged.contains(g))?;
        let same_server = last.server_uuid == self.uuid;
        Some(Known {
            gtid,
            committed_at: last.committed_at,
            position: same_server.then(|| last.position.clone()),
            totals: last.totals.filter(|t| same_server && t.bytes <= COMPARED_UP_TO),
        })
    }

    /// Without GTIDs a position belongs to one server.
    pub fn ensure_same_server(&self, config: &ExtractConfig, place: &SourcePlace) -> Result<(), ExtractError> {
        if config.spec.gtid || place.server_uuid == self.uuid {
            return Ok(());
        }
        Err(ExtractError::AnotherServer {
            address: self.options.address(),
            found: self.uuid.to_string(),
            expected: place.server_uuid.to_string(),
        })
    }
}

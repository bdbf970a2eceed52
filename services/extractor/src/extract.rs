//! One extraction: attempt after attempt, each a start of its own (P2).

use std::sync::{Arc, Mutex};
use std::time::Duration;

use lutra_binlog::{Decoder, Inflater};
use lutra_change::{Epoch, GtidSet, Number, TaskId, TaskKind};
use lutra_coordination::ObservedState;
use lutra_log::{LogWriter, SourcePlace, Tail, TransportFactory, WriterOptions};
use lutra_mysql::{BinlogStream, DumpRequest, DumpStart};
use lutra_runtime::{Backoff, BackoffPolicy, CancellationToken};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::assembler::{Assembler, Known, Resume};
use crate::attempt::Run;
use crate::config::ExtractConfig;
use crate::control::Control;
use crate::crash::{point, points};
use crate::definitions::follow;
use crate::definitions::scan::Ahead;
use crate::definitions::{Definer, Store};
use crate::disposition::{Next, judge};
use crate::error::ExtractError;
use crate::events::{AttemptEnded, FailedOver, Recovering, Started};
use crate::publisher::{Publisher, SchemaStore};
use crate::reader::{self, Batches};
use crate::snapshot::conductor::Conductor;
use crate::snapshot::desk::Desk;
use crate::start::Server;
use crate::status::{Board, Counters};
use crate::survey::{self, Published};
use crate::watch::{Witness, watch_server};

/// Attempts in a row that fail without getting anywhere, before the task is said to have failed: some ten seconds, a
/// server's restart.
const ATTEMPTS: u32 = 8;
/// An attempt that ran so long got somewhere.
const GOT_GOING: Duration = Duration::from_secs(10);
/// The largest event the server writes.
const LARGEST_EVENT: usize = 1 << 30;

/// How an extraction ended when nothing was wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Stopped as asked.
    Drained,
    /// Another owner has the task.
    Fenced,
}

/// Everything an extraction works with.
#[derive(Debug)]
pub struct Extraction<'a, F, S, C> {
    /// What it is told.
    pub config: ExtractConfig,
    /// Makes the log's producers and readers.
    pub log: &'a F,
    /// Where row schemas go.
    pub schemas: &'a S,
    /// The coordination.
    pub control: &'a C,
    /// Where it says how it does.
    pub board: Board,
    /// Cancelled when it shall drain.
    pub stop: CancellationToken,
    /// Whether traces are made.
    pub traced: bool,
}

impl<F, S, C> Extraction<'_, F, S, C>
where
    F: TransportFactory,
    S: SchemaStore + Clone,
    C: Control,
{
    /// Runs until it is stopped, fenced, or cannot go on.
    pub async fn run(mut self) -> Result<End, ExtractError> {
        let mut backoff = Backoff::new(BackoffPolicy::CONNECT);
        let mut failures = 0;
        let mut last_error = None;
        let mut memory = Memory::of(&self.config);
        loop {
            let began = Instant::now();
            let error = match self.attempt(last_error.take(), &mut memory).await {
                Ok(end) => return Ok(end),
                Err(error) => error,
            };
            match judge(&error) {
                Next::Fenced => return Ok(End::Fenced),
                Next::Fail(..) => return Err(error),
                Next::Attempt => {}
            }
            if began.elapsed() >= GOT_GOING {
                failures = 0;
                backoff = Backoff::new(BackoffPolicy::CONNECT);
            }
            failures += 1;
            if failures >= ATTEMPTS {
                return Err(error);
            }
            let text = chain(&error);
            AttemptEnded { source: &self.config.source, error: &error, text: &text }.emit();
            self.control.set_state(ObservedState::Assigned, json!({ "retrying": text }));
            last_error = Some(text);
            if backoff.wait(&self.stop).await.is_err() {
                return Ok(End::Drained);
            }
        }
    }

    /// One start, one epoch, one producer (P2).
    async fn attempt(&mut self, last_error: Option<String>, memory: &mut Memory) -> Result<End, ExtractError> {
        let Some((mut server, writer, tail, epoch)) = self.open(memory).await? else { return Ok(End::Drained) };
        let mut definer = Definer::new(&self.config, &server, Arc::clone(&memory.ahead));
        let mut publisher = Publisher::new(writer, self.schemas.clone(), server.uuid);
        let (number, place, definitions) = if tail.empty {
            self.begin_log(&mut server, &mut publisher, &mut definer).await?
        } else {
            let place = tail.source.ok_or_else(|| self.unplaced())?;
            let known = follow::resume(&mut definer, &self.config, &mut server, self.schemas, &place).await?;
            (tail.number, place, known)
        };
        server.ensure_same_server(&self.config, &place)?;
        server.ensure_not_behind(&place.gtid_set).await?;
        server.ensure_same_history(&self.config, tail.last_unit.as_ref()).await?;
        let (start, known) = server.dump_start(&self.config, &place, tail.last_unit.as_ref());
        let half = server.half(&self.config, tail.last_unit.as_ref());
        let open_xa = place.open_xa.clone();
        server.ensure_fit(&self.config, Some(start.clone())).await?;

        let mut tasks = JoinSet::new();
        let batches = self.read(&mut tasks, &server, start.clone()).await?;
        let address = server.options.address();
        Started {
            source: &self.config.source,
            server: &address,
            version: &server.identity.version,
            epoch,
            number,
            position: &place.position,
        }
        .emit();
        let (desk, readers) = Desk::new();
        memory.reads(&self.config.source, &server, &place);
        if let Some(handle) = self.control.loads() {
            let conductor = Conductor::new(handle, readers, server.options.clone(), &self.config);
            tasks.spawn(conductor.run());
        }
        let others = self.config.servers.iter().filter(|other| other.address() != address).cloned();
        let others = if self.config.spec.gtid { others.collect() } else { Vec::new() };
        let sight = watch_server(&mut tasks, server.connection, others);
        let resume = Resume { half, open_xa, ..resume(number, place, &start, known) };
        let run = Run {
            assembler: Assembler::new(Arc::new(self.config.spec.clone()), resume).with_definitions(definitions),
            definer,
            decoder: Decoder::new(),
            inflater: Inflater::new(LARGEST_EVENT),
            publisher,
            batches,
            sight,
            witness: Witness::default(),
            unheard_since: Some(Instant::now()),
            epoch,
            address,
            counters: Counters::default(),
            told: Counters::default(),
            bookmarked_at: Instant::now(),
            bookmarked_bytes: 0,
            last_error,
            began_behind: tail.last_unit.as_ref().map_or(0, |last| last.committed_at),
            retention_warning: None,
            desk,
            extraction: self,
        };
        let (outcome, published) = run.run().await;
        memory.published.set =
            published.map_or_else(|| std::mem::take(&mut memory.published.set), |place| place.gtid_set);
        outcome
    }

    /// Chooses a server, and takes the log; then it is known what the server must hold. `None` when stopped.
    async fn open(&self, memory: &mut Memory) -> Result<Option<(Server, LogWriter<F>, Tail, Epoch)>, ExtractError> {
        let Some(mut server) = self.choose(&memory.published).await? else { return Ok(None) };
        server.ensure_fit(&self.config, None).await?;
        let epoch = self.control.next_attempt();
        let options = WriterOptions {
            log_id: self.config.log.log_id,
            cluster: self.config.cluster.clone(),
            rules_version: 0,
            begun: self.config.begun,
            bookmarks: self.control.bookmarks().await,
            max_in_flight_bytes: usize::try_from(self.config.spec.in_flight_bytes).unwrap_or(usize::MAX),
        };
        let (writer, tail) = LogWriter::start(self.log, options, epoch).await?;
        point(points::EPOCH_START);
        if let Some(place) = tail.source.as_ref().filter(|_| !tail.empty) {
            let exact = memory.all_of(&self.config, place);
            if !exact.held_by(&server, &self.config) {
                let Some(other) = self.choose(&exact).await? else { return Ok(None) };
                server = other;
                server.ensure_fit(&self.config, None).await?;
            }
        }
        Ok(Some((server, writer, tail, epoch)))
    }

    /// The server to read, as soon as there is one.
    async fn choose(&self, published: &Published) -> Result<Option<Server>, ExtractError> {
        let task = TaskId::new(TaskKind::Extract, &self.config.source).to_string();
        let since = now_micros() / 1000;
        let waits = |servers: &str| {
            Recovering { source: &self.config.source, servers }.emit();
            // What it measured before is past.
            self.board.remove(&task);
            let detail = json!({ "recovering": servers, "since": since, "runbook": "server-unreachable" });
            self.control.set_state(ObservedState::Recovering, detail);
        };
        survey::choose(&self.config, published, &self.stop, waits).await
    }

    /// Writes the origin of a log without units (P2).
    async fn begin_log(
        &mut self,
        server: &mut Server,
        publisher: &mut Publisher<F, S>,
        definer: &mut Definer,
    ) -> Result<(Number, SourcePlace, Store), ExtractError> {
        let mut place = server.origin(&self.config).await?;
        server.ensure_not_behind(&place.gtid_set).await?;
        let (start, _) = server.dump_start(&self.config, &place, None);
        server.ensure_fit(&self.config, Some(start)).await?;
        let mut definitions = follow::resume(definer, &self.config, server, self.schemas, &place).await?;
        publisher.definitions(&self.config.source, &mut definitions).await?;
        place.definitions = definitions.name();
        let covered = self.config.adopt.as_ref().map_or(Number::ZERO, |a| a.number);
        let number = publisher.origin(covered, &place, now_micros()).await?;
        self.control.mark_begun();
        self.config.begun = true;
        Ok((number, place, definitions))
    }

    fn unplaced(&self) -> ExtractError {
        ExtractError::Definition {
            source_name: self.config.source.clone(),
            reason: "the log's last unit does not say where the source stands".to_owned(),
        }
    }

    async fn read(&self, tasks: &mut JoinSet<()>, server: &Server, start: DumpStart) -> Result<Batches, ExtractError> {
        let request =
            DumpRequest { start, server_id: self.config.server_id, heartbeat: self.config.heartbeat, until_end: false };
        let stream = BinlogStream::connect(&server.options, &request).await;
        let address = server.options.address();
        Ok(reader::start(tasks, stream.map_err(|e| ExtractError::Source { address, source: Box::new(e) })?))
    }
}

/// What is kept from attempt to attempt.
struct Memory {
    /// What was found ahead of the stream.
    ahead: Arc<Mutex<Ahead>>,
    /// The least that was published.
    published: Published,
}

impl Memory {
    fn of(config: &ExtractConfig) -> Self {
        let set = config.adopt.as_ref().map(|adopt| adopt.gtid_set.clone()).unwrap_or_default();
        Self { ahead: Arc::default(), published: Published { set, ..Published::default() } }
    }

    /// All that was published, as the log was read back.
    fn all_of(&mut self, config: &ExtractConfig, place: &SourcePlace) -> Published {
        self.published.set.clone_from(&place.gtid_set);
        self.published.last = Some(place.server_uuid);
        self.published.server = (!config.spec.gtid).then_some(place.server_uuid);
        Published { exact: true, ..self.published.clone() }
    }

    /// That server is read now.
    fn reads(&mut self, source: &str, server: &Server, place: &SourcePlace) {
        let before = self.published.last.replace(server.uuid).unwrap_or(place.server_uuid);
        if before != server.uuid {
            FailedOver { source, server: &server.options.address(), uuid: server.uuid, before }.emit();
        }
    }
}

/// The assembler's place: that of the log, less the transaction that is looked at again.
fn resume(number: Number, place: SourcePlace, start: &DumpStart, known: Option<Known>) -> Resume {
    let gtid_set = match start {
        DumpStart::Gtid(set) => set.clone(),
        DumpStart::Position(_) => GtidSet::new(),
    };
    Resume { number, position: place.position, gtid_set, known, half: None, open_xa: Vec::new() }
}

/// Now, microseconds since the epoch.
pub(crate) fn now_micros() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// An error with its causes, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |e| e.source());
    std::iter::once(error.to_string()).chain(causes.map(ToString::to_string)).collect::<Vec<_>>().join(": ")
}

//! One extraction: attempt after attempt, each a start of its own (P2).

use std::sync::{Arc, Mutex};
use std::time::Duration;

use lutra_binlog::{Decoder, EventData, Inflater};
use lutra_change::{BinlogPosition, Epoch, GtidSet, Number, TaskId, TaskKind};
use lutra_coordination::ObservedState;
use lutra_log::{LogWriter, SourcePlace, Tail, TransportFactory, WriterOptions};
use lutra_mysql::{BinlogStream, DumpRequest, DumpStart, EventBatch};
use lutra_runtime::{Backoff, BackoffPolicy, CancellationToken};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use crate::assembler::{Assembler, Known, Resume};
use crate::config::ExtractConfig;
use crate::control::Control;
use crate::crash::{point, points};
use crate::definitions::follow::{self, assemble, fault};
use crate::definitions::scan::Ahead;
use crate::definitions::{Definer, Store};
use crate::disposition::{Next, judge};
use crate::error::ExtractError;
use crate::events::{AttemptEnded, FailedOver, HistoryConfirmed, Progressed, Recovering, RetentionNear, Started};
use crate::publisher::{Publisher, SchemaStore};
use crate::reader::{self, Batches};
use crate::snapshot::Ask;
use crate::snapshot::conductor::Conductor;
use crate::snapshot::desk::{Desk, Room};
use crate::start::Server;
use crate::status::{Board, Counters, TaskStatus};
use crate::survey::{self, Published};
use crate::watch::{Sight, Witness, watch_server};

/// A bookmark is published at least so often (P2).
const BOOKMARK_EVERY: Duration = Duration::from_secs(10);
/// And whenever so many bytes were acknowledged since the last one.
const BOOKMARK_BYTES: u64 = 64 << 20;
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
        let waits = |servers: &str| {
            Recovering { source: &self.config.source, servers }.emit();
            // What it measured before is past.
            self.board.remove(&task);
            self.control.set_state(ObservedState::Recovering, json!({ "recovering": servers }));
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

/// A running attempt.
struct Run<'r, 'a, F: TransportFactory, S, C> {
    extraction: &'r Extraction<'a, F, S, C>,
    assembler: Assembler,
    /// Asks what tables look like, where table maps do not say so.
    definer: Definer,
    decoder: Decoder,
    inflater: Inflater,
    publisher: Publisher<F, S>,
    batches: Batches,
    /// What the server says beside its stream.
    sight: watch::Receiver<Option<Sight>>,
    witness: Witness,
    epoch: Epoch,
    address: String,
    counters: Counters,
    told: Counters,
    bookmarked_at: Instant,
    bookmarked_bytes: u64,
    last_error: Option<String>,
    /// When the last unit of the log was committed at the source, microseconds; 0 where unknown.
    began_behind: i64,
    retention_warning: Option<String>,
    /// Full loads (P12).
    desk: Desk,
}

impl<F: TransportFactory, S: SchemaStore, C: Control> Run<'_, '_, F, S, C> {
    /// Runs to its end, and says what is in the log for good.
    async fn run(mut self) -> (Result<End, ExtractError>, Option<SourcePlace>) {
        let outcome = self.follow().await;
        (outcome, self.publisher.bookmark().and_then(|bookmark| bookmark.source))
    }

    async fn follow(&mut self) -> Result<End, ExtractError> {
        let mut ticks = tokio::time::interval(self.extraction.config.heartbeat);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        self.bookmark();
        self.tell("running");
        self.extraction.control.set_state(ObservedState::Running, json!({ "server": self.address }));
        loop {
            tokio::select! {
                biased;
                // 1. Stop is heard at once.
                () = self.extraction.stop.cancelled() => return self.drain().await,
                // 2. The log's answers; an error ends the attempt.
                error = self.publisher.drive() => return Err(error),
                // 3. A heartbeat each second, also under load.
                _ = ticks.tick() => self.tick().await?,
                // 4. What full loads want: little, and the stream goes on behind it.
                ask = self.desk.next() => self.ask(ask).await?,
                // 5. What the source sends.
                batch = self.batches.next() => self.batch(batch).await?,
            }
        }
    }

    /// Everything handed over is in the log; an unfinished unit is void at the next start.
    async fn drain(&mut self) -> Result<End, ExtractError> {
        self.tell("draining");
        self.publisher.flush().await?;
        self.bookmark();
        Ok(End::Drained)
    }

    async fn tick(&mut self) -> Result<(), ExtractError> {
        self.assembler.set_now(now_micros());
        let offset = self.clock_offset();
        if let Some(sight) = self.sight.borrow().as_ref() {
            let log_end =
                self.witness.reached(self.assembler.position(), self.assembler.gtid_set(), Instant::now(), sight);
            self.ensure_same_log(log_end)?;
            if let Some(successor) = sight.successor.clone() {
                return Err(ExtractError::SteppedDown { address: self.address.clone(), successor });
            }
        }
        self.publisher.heartbeat(&mut self.assembler, offset, &mut self.counters).await?;
        let bytes = self.publisher.progress().borrow().acknowledged_bytes;
        if self.bookmarked_at.elapsed() >= BOOKMARK_EVERY || bytes - self.bookmarked_bytes >= BOOKMARK_BYTES {
            self.bookmark();
        }
        self.desk.tell_durable(self.publisher.bookmark().map(|b| b.cursor.number));
        self.publish_chunks().await?;
        self.tell("running");
        Ok(())
    }

    async fn batch(&mut self, batch: Option<Result<EventBatch, lutra_mysql::Error>>) -> Result<(), ExtractError> {
        let address = || self.address.clone();
        let batch = batch.ok_or_else(|| ExtractError::StreamEnded { address: address() })?;
        let batch = batch.map_err(|e| ExtractError::Source { address: address(), source: Box::new(e) })?;
        self.assembler.set_now(now_micros());
        let _span = self.extraction.traced.then(|| self.trace(&batch));
        for event in batch.iter() {
            self.event(event).await?;
        }
        self.counters.bytes_read += batch.size() as u64;
        self.counters.events += batch.len() as u64;
        self.counters.transactions = self.assembler.transactions();
        self.batches.give_back(batch);
        Ok(())
    }

    /// One trace per batch: its context goes with the first record that comes of it.
    fn trace(&mut self, batch: &EventBatch) -> tracing::Span {
        let span = tracing::info_span!("extract", source = self.extraction.config.source, events = batch.len());
        let mut headers = lutra_runtime::trace_context::inject(&span);
        if let Some(traceparent) = headers.remove("traceparent") {
            let tracestate = headers.remove("tracestate");
            self.publisher.set_trace(lutra_log::RecordHeaders { traceparent: Some(traceparent), tracestate });
        }
        span
    }

    async fn event(&mut self, bytes: &[u8]) -> Result<(), ExtractError> {
        let event = self.decoder.decode(bytes).map_err(|e| fault(&self.assembler, e.into()))?;
        if let EventData::Heartbeat(beat) = &event.data {
            let place = self.desk.heard(beat.file, beat.position, beat.exact, &self.assembler.position());
            let log_end = self.sight.borrow().as_ref().and_then(|sight| self.witness.heard(place, sight));
            self.ensure_same_log(log_end)?;
        }
        if let EventData::TransactionPayload(payload) = &event.data {
            self.assembler.step_over(&event.header).map_err(|e| fault(&self.assembler, e))?;
            let mut inner = self.inflater.read(payload).map_err(|e| fault(&self.assembler, e.into()))?;
            while let Some(bytes) = inner.next_event().map_err(|e| fault(&self.assembler, e.into()))? {
                let event =
                    self.decoder.decode_inner(&event.header, bytes).map_err(|e| fault(&self.assembler, e.into()))?;
                assemble(&mut self.assembler, &mut self.definer, None, &event.data).await?;
                if self.assembler.definitions().has_news() {
                    let source = &self.extraction.config.source;
                    follow::settle(&mut self.assembler, &mut self.definer, &self.publisher, source).await?;
                }
                self.publisher.publish(&mut self.assembler, &mut self.counters).await?;
            }
        } else if let EventData::Compressed(packed) = &event.data {
            let bytes = self.inflater.inflate(packed).map_err(|e| fault(&self.assembler, e.into()))?;
            let inner =
                self.decoder.decode_inner(&event.header, bytes).map_err(|e| fault(&self.assembler, e.into()))?;
            assemble(&mut self.assembler, &mut self.definer, Some(&event.header), &inner.data).await?;
        } else {
            assemble(&mut self.assembler, &mut self.definer, Some(&event.header), &event.data).await?;
        }
        if self.assembler.definitions().has_news() {
            let source = &self.extraction.config.source;
            follow::settle(&mut self.assembler, &mut self.definer, &self.publisher, source).await?;
        }
        self.publisher.publish(&mut self.assembler, &mut self.counters).await?;
        if self.desk.is_waiting() {
            self.publish_chunks().await?;
        }
        match self.assembler.tail_check() {
            Some(check) => self.confirm(&check),
            None => Ok(()),
        }
    }

    /// Fails when the end of the server's log contradicts what it sends.
    fn ensure_same_log(&self, log_end: Option<BinlogPosition>) -> Result<(), ExtractError> {
        let Some(log_end) = log_end else { return Ok(()) };
        Err(ExtractError::StreamAstray { address: self.address.clone(), sent: self.assembler.position(), log_end })
    }

    /// The source's clock less ours, microseconds; zero until it was asked.
    fn clock_offset(&self) -> i64 {
        self.sight.borrow().as_ref().map_or(0, |sight| sight.clock_offset)
    }

    /// P7: the log's last transaction was looked at again.
    fn confirm(&self, check: &crate::assembler::TailCheck) -> Result<(), ExtractError> {
        let gtid = check.gtid().to_string();
        match check.difference() {
            Some(difference) => Err(ExtractError::AnotherHistory { address: self.address.clone(), gtid, difference }),
            None => {
                HistoryConfirmed { source: &self.extraction.config.source, gtid }.emit();
                Ok(())
            }
        }
    }

    /// A wish of a full load's reader.
    async fn ask(&mut self, ask: Ask) -> Result<(), ExtractError> {
        let lag = seconds(self.lag_micros());
        let (assembler, publisher, counters) = (&mut self.assembler, &mut self.publisher, &mut self.counters);
        self.desk.take(ask, lag, Room { assembler, publisher, counters }).await
    }

    /// Publishes the chunks that the stream has passed.
    async fn publish_chunks(&mut self) -> Result<(), ExtractError> {
        let (assembler, publisher, counters) = (&mut self.assembler, &mut self.publisher, &mut self.counters);
        self.desk.publish_due(Room { assembler, publisher, counters }).await
    }

    fn bookmark(&mut self) {
        if let Some(bookmark) = self.publisher.bookmark() {
            self.extraction.control.publish_bookmark(&bookmark);
        }
        self.bookmarked_at = Instant::now();
        self.bookmarked_bytes = self.publisher.progress().borrow().acknowledged_bytes;
    }

    /// Publish acknowledged less source commit, microseconds.
    fn lag_micros(&self) -> i64 {
        let progress = *self.publisher.progress().borrow();
        match (progress.heartbeat_at, progress.committed_at) {
            // An idle source: what the newest heartbeat took.
            (read_at, _) if read_at != 0 => progress.acknowledged_at - read_at,
            (_, 0) => 0,
            (_, committed_at) => progress.acknowledged_at + self.clock_offset() - committed_at,
        }
    }

    /// Seconds until the source may purge what comes next; told once when little is left.
    fn headroom(&mut self, committed_at: i64) -> Option<f64> {
        let committed_at = if committed_at == 0 { self.began_behind } else { committed_at };
        let sight = self.sight.borrow();
        let sight = sight.as_ref()?;
        let headroom = sight.headroom(&self.assembler.position(), committed_at, now_micros())?;
        if !sight.is_short(headroom) {
            self.retention_warning = None;
        } else if self.retention_warning.is_none() {
            let kept = sight.retention.unwrap_or_default();
            let warning = format!(
                "the source keeps its binlog for {kept} s, and may purge what is to be read next in {headroom:.0} s: raise \
                 binlog_expire_logs_seconds at the source until it is read"
            );
            RetentionNear { source: &self.extraction.config.source, warning: &warning }.emit();
            self.retention_warning = Some(warning);
        }
        Some(headroom)
    }

    /// Says how it does.
    fn tell(&mut self, state: &'static str) {
        let progress = *self.publisher.progress().borrow();
        let offset = self.clock_offset();
        let lag = self.lag_micros();
        let headroom = self.headroom(progress.committed_at);
        let status = TaskStatus {
            retention_headroom_seconds: headroom,
            warning: self.retention_warning.clone(),
            state,
            server: self.address.clone(),
            epoch: self.epoch,
            acknowledged: progress.acknowledged,
            position: self.assembler.position(),
            gtid_set: self.assembler.gtid_set().clone(),
            read_lag_seconds: seconds(lag),
            clock_offset_seconds: seconds(offset),
            in_flight_bytes: progress.in_flight_bytes,
            counters: self.counters,
            last_error: self.last_error.clone(),
        };
        let done = self.counters.since(&self.told);
        self.told = self.counters;
        Progressed { source: &self.extraction.config.source, done, status: &status }.emit();
        let task = TaskId::new(TaskKind::Extract, &self.extraction.config.source).to_string();
        self.extraction.board.set(&task, status);
    }
}

fn seconds(micros: i64) -> f64 {
    micros as f64 / 1e6
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

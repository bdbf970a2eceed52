//! One pipeline, one attempt: reader, rules and writer joined.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use lutra_change::{BinlogPosition, Epoch, Number};
use lutra_coordination::{ObservedState, RestartRequest, TaskContext, TaskEnd, TaskHandle};
use lutra_kafka::{KafkaConfig, KafkaLog, SchemaTopic};
use lutra_log::{
    Bookmark, Delivered, HeaderDraft, LogError, LogPart, LogWriter, RecordHeaders, SourceDraft, SourcePlace, Tail,
    WriterOptions,
};
use lutra_rules::Rules;
use lutra_runtime::Pace;
use lutra_runtime::retry::{Backoff, BackoffPolicy};
use lutra_runtime::trace_context;
use lutra_wire::ChangesBuilder;
use lutra_wire::record::{Body, BodyKind, Header, Heartbeat, PartEnd, RawBody, UnitTotals};
use tokio_util::sync::CancellationToken;

use crate::config::TransformConfig;
use crate::error::TransformError;
use crate::events;
use crate::forward::{Forwarded, Forwarder};
use crate::intake::{self, Reader};
use crate::rules::RuleRoom;
use crate::service::Board;
use crate::xa::{Again, PrepareReader, Prepared, PreparedError};

/// Bytes handed over to Kafka and not acknowledged, at most.
const IN_FLIGHT_BYTES: usize = 16 << 20;
/// P2: a bookmark each …
const BOOKMARK_EVERY: Duration = Duration::from_secs(10);
/// … or after so many bytes.
const BOOKMARK_BYTES: u64 = 64 << 20;

/// Runs attempts until one ends otherwise than by starting again.
pub(crate) async fn run(
    kafka: &KafkaConfig,
    context: &TaskContext,
    board: &Arc<Board>,
) -> Result<TaskEnd, TransformError> {
    let mut config = TransformConfig::resolve(&context.definition)?;
    let rules = Rules::compile(&config.spec).map_err(TransformError::Rules)?;
    let mut backoff = Backoff::new(BackoffPolicy::CONNECT);
    loop {
        let epoch = context.handle.next_attempt();
        match attempt(kafka, &mut config, &rules, context, epoch, board).await {
            Err(TransformError::Log(LogError::Attempt { reason, .. })) if !context.stop.is_cancelled() => {
                events::AttemptOver { pipeline: &config.pipeline, reason: &reason }.emit();
                // What it measured before is past, and it does not run until its log is read back.
                board.forget(&config.pipeline);
                context
                    .handle
                    .set_state(ObservedState::Assigned, serde_json::json!({ "retrying": reason.to_string() }));
                if backoff.wait(&context.stop).await.is_err() {
                    return Ok(TaskEnd::Drained);
                }
            }
            ended => return ended,
        }
    }
}

async fn attempt(
    kafka: &KafkaConfig,
    config: &mut TransformConfig,
    rules: &Rules,
    context: &TaskContext,
    epoch: Epoch,
    board: &Arc<Board>,
) -> Result<TaskEnd, TransformError> {
    let handle = &context.handle;
    let log = KafkaLog::new(kafka, &config.output.topic);
    let options = options(config, handle).await?;
    // Clients that connect side by side.
    let (started, source_schemas, own_schemas) = tokio::join!(
        LogWriter::start(&log, options, epoch),
        SchemaTopic::open(kafka, &config.input.schemas_topic),
        SchemaTopic::open(kafka, &config.output.schemas_topic),
    );
    let ((writer, tail), schemas) = (started?, (source_schemas?, own_schemas?));
    events::Started { pipeline: &config.pipeline, epoch, number: tail.number, fresh: tail.empty }.emit();
    let mut task = Transformation {
        pipeline: config.pipeline.clone(),
        writer,
        forwarder: Forwarder::new(tail.number, tail.source.clone()),
        rules: RuleRoom::new(rules.clone(), schemas.0, schemas.1).of_pipeline(&config.pipeline),
        handle: handle.clone(),
        upstream: config.input.writer.clone(),
        board: Arc::clone(board),
        bookmarked_bytes: 0,
        kafka: kafka.clone(),
        input_topic: config.input.topic.clone(),
        prepared: Prepared::default(),
    };
    let reader = match tail.input {
        Some(cursor) => intake::resume(kafka, config, handle, &tail, cursor).await?,
        None => {
            // A full load begins when its definitions are there, which may take its time.
            handle.set_state(ObservedState::Running, serde_json::json!({ "phase": "beginning" }));
            tokio::select! {
                biased;
                () = context.stop.cancelled() => return Ok(TaskEnd::Drained),
                begun = task.originate(kafka, config, &tail) => begun?,
            }
        }
    };
    config.begun = true;
    task.follow(reader, &context.stop).await
}

async fn options(config: &TransformConfig, handle: &TaskHandle) -> Result<WriterOptions, TransformError> {
    let published = handle.bookmarks().await?;
    let bookmarks = published.into_iter().filter_map(|b| serde_json::from_value(b).ok()).collect();
    // P3: after a gap, what a writer counted without reading it back proves nothing.
    let gap = handle.answers().is_some_and(RestartRequest::is_for_gap);
    let bookmarks = if gap { Bookmark::only_proven(bookmarks) } else { bookmarks };
    Ok(WriterOptions {
        log_id: config.output.log_id,
        cluster: config.cluster.clone(),
        rules_version: config.rules_version,
        begun: config.begun,
        bookmarks,
        max_in_flight_bytes: IN_FLIGHT_BYTES,
    })
}

/// A transformation at work.
struct Transformation {
    pipeline: String,
    writer: LogWriter<KafkaLog>,
    forwarder: Forwarder,
    rules: RuleRoom,
    handle: TaskHandle,
    upstream: lutra_change::TaskId,
    board: Arc<Board>,
    bookmarked_bytes: u64,
    /// Where prepared XA transactions are read again.
    kafka: KafkaConfig,
    input_topic: String,
    prepared: Prepared,
}

/// A transaction that becomes of a prepared one.
struct Decided {
    /// Of the part forwarded last.
    header: Header,
    /// What the rules left of the part before.
    waiting: Option<RawBody>,
}

impl Transformation {
    /// P2: the origin of a pipeline's log holds the input cursor that its start resolved to.
    async fn originate(
        &mut self,
        kafka: &KafkaConfig,
        config: &TransformConfig,
        tail: &Tail,
    ) -> Result<Reader, TransformError> {
        let (reader, covered) = intake::begin(kafka, config, &self.handle).await?;
        if !tail.empty {
            return Ok(reader);
        }
        // The origin covers everything before it: what the start passes over, or what the target already has. It bears a
        // number that the input has: one that it has not yet may become that of a unit.
        let number = covered.max(Number::ORIGIN);
        // What a target whose tables are made anew had says nothing of where they begin.
        let adopted = config.adopt.as_ref().filter(|adopt| adopt.load.is_none());
        let place = adopted.map(|a| SourcePlace {
            server_uuid: a.source_uuid,
            position: a.position.clone().unwrap_or_default(),
            gtid_set: a.gtid_set.clone(),
            open_xa: Vec::new(),
            definitions: None,
        });
        let applied = place.as_ref().map_or_else(|| reader.gtid_set().clone(), |p| p.gtid_set.clone());
        let source = SourceDraft {
            server_uuid: place.as_ref().map(|p| p.server_uuid).unwrap_or_default(),
            position: place.as_ref().map_or_else(BinlogPosition::default, |p| p.position.clone()),
            gtid: None,
            gtid_set: &applied,
            added: None,
            open_xa: Vec::new(),
            definitions: None,
        };
        let now = now_micros();
        let draft = HeaderDraft {
            number,
            previous: Number::ZERO,
            part: 1,
            end: PartEnd::Commit,
            source: Some(source),
            committed_at: 0,
            read_at: now,
            input: Some(reader.cursor()),
            origins: Vec::new(),
            totals: None,
        };
        self.writer.append(draft, &RawBody::heartbeat(&Heartbeat { at: now, clock_offset: 0 }), None).await?;
        self.writer.flush().await?;
        self.handle.mark_begun();
        self.forwarder = Forwarder::new(number, place);
        Ok(reader)
    }

    /// The core loop.
    async fn follow(mut self, mut reader: Reader, stop: &CancellationToken) -> Result<TaskEnd, TransformError> {
        self.handle.mark_begun();
        self.handle.set_state(ObservedState::Running, serde_json::Value::Null);
        let mut pace = Pace::default();
        let mut bookmark = tokio::time::interval(BOOKMARK_EVERY);
        bookmark.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                // 1. told to stop: nothing more is taken in
                () = stop.cancelled() => return self.drain().await,
                // 2. the writer's own trouble
                error = self.writer.drive(), if self.writer.progress().borrow().in_flight_bytes > 0 => return Err(error.into()),
                // 3. what the log says
                delivered = pace.take(reader.next()) => self.take(delivered?, &reader, stop).await?,
                // 4. bookkeeping
                _ = bookmark.tick() => self.bookmark(),
            }
        }
    }

    async fn take(
        &mut self,
        delivered: Delivered,
        reader: &Reader,
        stop: &CancellationToken,
    ) -> Result<(), TransformError> {
        match delivered {
            Delivered::Part(part) => self.part(&part, reader, stop).await,
            Delivered::Heartbeat { header, heartbeat, .. } => {
                let forwarded = self.forwarder.heartbeat(&header, &heartbeat, reader.cursor());
                self.append(forwarded, reader, None).await?;
                self.board.heard(&self.pipeline, &self.forwarder, reader, header.committed_at.max(heartbeat.at));
                Ok(())
            }
            Delivered::Discarded => {
                self.forwarder.discarded();
                Ok(())
            }
            Delivered::EpochStart { .. } => Ok(()),
            Delivered::Gap { offset, expected, found, .. } => {
                events::GapSeen { pipeline: &self.pipeline, offset, expected, found }.emit();
                let reason = serde_json::json!({"gap": {"offset": offset, "expected": expected.to_string(), "found": found.to_string()}});
                Ok(self.handle.request_restart_of(&self.upstream, reason).await?)
            }
        }
    }

    async fn part(&mut self, part: &LogPart, reader: &Reader, stop: &CancellationToken) -> Result<(), TransformError> {
        let header = &part.header;
        // The input's own origin: the pipeline's log has one that covers it.
        if header.number <= self.forwarder.forwarded() {
            return Ok(());
        }
        if header.part == 1 {
            self.rules.begin_unit();
        }
        let whole = header.part == 1 && header.end == PartEnd::Commit;
        let body = &part.body;
        match body.kind() {
            BodyKind::XaPrepare => {
                self.prepared.part(header, body);
                self.forward(header, None, None, part, reader).await?;
            }
            BodyKind::XaDecision => Box::pin(self.decide(part, body, reader, stop)).await?,
            _ => {
                let body = self.rules.apply(header.number, body, whole).await?;
                if header.end == PartEnd::Commit && !whole {
                    self.rules.check_whole(header.number, header.totals)?;
                }
                let totals = self.rules.totals(header.totals);
                self.forward(header, body, totals, part, reader).await?;
            }
        }
        if header.end == PartEnd::Commit {
            self.board.heard(&self.pipeline, &self.forwarder, reader, header.committed_at);
        }
        Ok(())
    }

    /// Forwards what the rules left of a part.
    async fn forward(
        &mut self,
        header: &Header,
        body: Option<RawBody>,
        totals: Option<UnitTotals>,
        from: &LogPart,
        reader: &Reader,
    ) -> Result<(), TransformError> {
        match self.forwarder.part(header, body, empty, totals, reader.cursor()) {
            Some(forwarded) => self.append(forwarded, reader, Some(from)).await,
            None => Ok(()),
        }
    }

    /// The decision over a prepared XA transaction: its rows become a transaction under the decision's number (P11).
    async fn decide(
        &mut self,
        part: &LogPart,
        body: &RawBody,
        reader: &Reader,
        stop: &CancellationToken,
    ) -> Result<(), TransformError> {
        let (header, number) = (&part.header, part.header.number);
        let decision = body.decode().map_err(|source| TransformError::Body { number, source })?;
        let Body::XaDecision(decision) = decision else { return Ok(()) };
        let xid = String::from_utf8_lossy(&decision.xid).into_owned();
        let missing = |source| TransformError::Prepared { xid: xid.clone(), number, source };
        let open = header.source.iter().flat_map(|s| &s.open_xa).find(|open| open.decided);
        let open = open.ok_or_else(|| missing(PreparedError::NoPlace))?;
        let kept = open.number.and_then(|prepare| self.prepared.take(prepare));
        if !decision.commit {
            return self.forward(header, None, None, part, reader).await;
        }
        let mut unit = Decided { header: Header { part: 0, ..header.clone() }, waiting: None };
        let totals = match kept {
            Some((parts, totals)) => {
                for body in parts {
                    self.decided_part(&mut unit, &body, part, reader).await?;
                }
                totals
            }
            None => {
                let opened = PrepareReader::open(&self.kafka, &self.input_topic, header.log_id, open);
                let mut again = opened.await.map_err(&missing)?;
                loop {
                    let next = tokio::select! {
                        biased;
                        // What was forwarded of the unit is void: the next start begins it anew.
                        () = stop.cancelled() => return Ok(()),
                        next = again.next() => next.map_err(&missing)?,
                    };
                    match next {
                        Again::Void => {
                            self.rules.begin_unit();
                            unit = Decided { header: Header { part: 0, ..header.clone() }, waiting: None };
                        }
                        Again::Part(body, last) => {
                            self.decided_part(&mut unit, &body, part, reader).await?;
                            if let Some(totals) = last {
                                break totals;
                            }
                        }
                    }
                }
            }
        };
        self.rules.check_whole(number, totals)?;
        let left = self.rules.totals(None);
        let last = Header { part: unit.header.part + 1, ..header.clone() };
        self.forward(&last, unit.waiting, left, part, reader).await
    }

    /// One part of what was prepared: forwarded when the next one is there, as only the last completes the unit.
    async fn decided_part(
        &mut self,
        unit: &mut Decided,
        body: &RawBody,
        from: &LogPart,
        reader: &Reader,
    ) -> Result<(), TransformError> {
        let Some(left) = self.rules.apply(unit.header.number, body, false).await? else { return Ok(()) };
        if let Some(before) = unit.waiting.replace(left) {
            unit.header = Header { part: unit.header.part + 1, end: PartEnd::More, ..unit.header.clone() };
            let header = unit.header.clone();
            self.forward(&header, Some(before), None, from, reader).await?;
        }
        Ok(())
    }

    async fn append(
        &mut self,
        forwarded: Forwarded,
        reader: &Reader,
        from: Option<&LogPart>,
    ) -> Result<(), TransformError> {
        let headers = from.map(|part| trace(&self.pipeline, part));
        let bytes = forwarded.body.len();
        let complete = forwarded.end == PartEnd::Commit;
        let draft = self.forwarder.header(&forwarded, reader.gtid_set());
        self.writer.append(draft, &forwarded.body, headers.as_ref()).await?;
        events::PartForwarded { pipeline: &self.pipeline, bytes, complete }.emit();
        let acknowledged = self.writer.progress().borrow().acknowledged_bytes;
        if acknowledged >= self.bookmarked_bytes + BOOKMARK_BYTES {
            self.bookmark();
        }
        Ok(())
    }

    fn bookmark(&mut self) {
        self.bookmarked_bytes = self.writer.progress().borrow().acknowledged_bytes;
        if let Some(value) = self.writer.bookmark().and_then(|b| serde_json::to_value(b).ok()) {
            self.handle.publish_bookmark(value);
        }
    }

    async fn drain(mut self) -> Result<TaskEnd, TransformError> {
        self.writer.flush().await?;
        self.bookmark();
        Ok(TaskEnd::Drained)
    }
}

/// What stands for a last part of which the rules left nothing.
fn empty() -> RawBody {
    ChangesBuilder::new().finish()
}

/// The trace goes through this stage as a span of its own.
fn trace(pipeline: &str, part: &LogPart) -> RecordHeaders {
    if part.headers.traceparent.is_none() {
        return RecordHeaders::default();
    }
    let span = tracing::info_span!("transform", pipeline, number = %part.header.number);
    trace_context::set_parent(&span, &to_map(&part.headers));
    from_map(trace_context::inject(&span))
}

fn to_map(headers: &RecordHeaders) -> HashMap<String, String> {
    let values = [headers.traceparent.as_ref(), headers.tracestate.as_ref()];
    let named = trace_context::HEADERS.iter().zip(values);
    named.filter_map(|(name, value)| Some(((*name).to_owned(), value?.clone()))).collect()
}

fn from_map(mut map: HashMap<String, String>) -> RecordHeaders {
    let [traceparent, tracestate] = trace_context::HEADERS.map(|name| map.remove(name));
    RecordHeaders { traceparent, tracestate }
}

/// Microseconds since the epoch.
pub(crate) fn now_micros() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

//! Room 4: parts to records of the log, each row schema before its first use.

use std::collections::HashMap;

use lutra_change::{GtidSet, Number};
use lutra_kafka::SchemaTopic;
use lutra_log::{
    Bookmark, HeaderDraft, LogWriter, RecordHeaders, SourceDraft, SourcePlace, TransportFactory, WriterProgress,
};
use lutra_wire::record::{Heartbeat, PartEnd, RawBody};
use lutra_wire::{Fingerprint, RowSchema};
use tokio::sync::watch;
use uuid::Uuid;

use crate::assembler::{Assembler, Output, UnitPart};
use crate::crash::{point, points};
use crate::definitions::Store;
use crate::error::ExtractError;
use crate::status::Counters;

/// Where row schemas are kept. (A seam: tests keep them in memory.)
pub trait SchemaStore: Send + Sync {
    /// Writes the schema unless it is there; returns once it is acknowledged.
    fn ensure(
        &self,
        schema: &RowSchema,
    ) -> impl Future<Output = Result<(), Box<dyn std::error::Error + Send + Sync>>> + Send;

    /// Writes definitions under their name; returns once they are acknowledged.
    fn write_definitions(
        &self,
        name: Fingerprint,
        text: &str,
    ) -> impl Future<Output = Result<(), Box<dyn std::error::Error + Send + Sync>>> + Send;

    /// All definitions that were written, those of that name among them.
    fn read_definitions(
        &self,
        name: Fingerprint,
    ) -> impl Future<Output = Result<HashMap<Fingerprint, String>, Box<dyn std::error::Error + Send + Sync>>> + Send;
}

impl SchemaStore for SchemaTopic {
    async fn ensure(&self, schema: &RowSchema) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Self::ensure(self, schema).await.map_err(Into::into)
    }

    async fn write_definitions(
        &self,
        name: Fingerprint,
        text: &str,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Self::write_definitions(self, name, text).await.map_err(Into::into)
    }

    async fn read_definitions(
        &self,
        name: Fingerprint,
    ) -> Result<HashMap<Fingerprint, String>, Box<dyn std::error::Error + Send + Sync>> {
        Self::read_definitions(self, name).await.map_err(Into::into)
    }
}

/// Writes what the assembler gives into the log, in order.
pub struct Publisher<F: TransportFactory, S> {
    writer: LogWriter<F>,
    schemas: S,
    server: Uuid,
    /// Trace context of the batch that is being published; goes with its first record.
    headers: Option<RecordHeaders>,
}

impl<F: TransportFactory, S: SchemaStore> Publisher<F, S> {
    /// A publisher of what comes from that server.
    pub fn new(writer: LogWriter<F>, schemas: S, server: Uuid) -> Self {
        Self { writer, schemas, server, headers: None }
    }

    /// Trace context for the next record.
    pub fn set_trace(&mut self, headers: RecordHeaders) {
        self.headers = Some(headers);
    }

    /// Publishes all that the assembler has to give.
    pub async fn publish(&mut self, assembler: &mut Assembler, counters: &mut Counters) -> Result<(), ExtractError> {
        while let Some(output) = assembler.take() {
            self.output(output, assembler, counters).await?;
        }
        Ok(())
    }

    /// Writes what became known of the tables, before the units that name it.
    pub async fn definitions(&self, source_name: &str, definitions: &mut Store) -> Result<(), ExtractError> {
        for (name, text) in definitions.records() {
            let written = self.schemas.write_definitions(name, &text).await;
            written.map_err(|source| ExtractError::Definitions { source_name: source_name.to_owned(), source })?;
        }
        Ok(())
    }

    /// Publishes one thing.
    pub async fn output(
        &mut self,
        output: Output,
        assembler: &Assembler,
        counters: &mut Counters,
    ) -> Result<(), ExtractError> {
        match output {
            Output::Schema(schema) => self.schema(&schema).await,
            Output::Part(part) => self.part(*part, assembler, counters).await,
        }
    }

    async fn schema(&self, schema: &RowSchema) -> Result<(), ExtractError> {
        let written = self.schemas.ensure(schema).await;
        written.map_err(|source| ExtractError::Schema { table: schema.table().name.clone(), source })?;
        point(points::SCHEMA);
        Ok(())
    }

    async fn part(
        &mut self,
        part: UnitPart,
        assembler: &Assembler,
        counters: &mut Counters,
    ) -> Result<(), ExtractError> {
        let (end, number, first) = (part.end, part.number, part.part == 1);
        counters.part(&part);
        if end == PartEnd::Commit {
            point(points::BEFORE_COMMIT);
        }
        let inside = part.place.as_ref().and_then(|place| place.inside.as_ref());
        let without = inside.map(|gtid| {
            let mut own = GtidSet::new();
            own.insert(gtid);
            assembler.gtid_set().minus(&own)
        });
        let source = part.place.map(|place| SourceDraft {
            server_uuid: self.server,
            position: place.position,
            gtid: place.gtid,
            gtid_set: without.as_ref().unwrap_or_else(|| assembler.gtid_set()),
            added: Some(place.added),
            open_xa: place.open_xa,
            definitions: assembler.definitions().name(),
        });
        let draft = HeaderDraft {
            number,
            previous: part.previous,
            part: part.part,
            end,
            source,
            committed_at: part.committed_at,
            read_at: part.read_at,
            input: None,
            origins: part.origins,
            totals: part.totals,
        };
        let headers = self.headers.take();
        self.writer.append(draft, &part.body, headers.as_ref()).await?;
        match end {
            PartEnd::More if first => point(points::MID_TRANSACTION),
            PartEnd::Commit => point(points::AFTER_COMMIT),
            PartEnd::More | PartEnd::Abort => {}
        }
        Ok(())
    }

    /// Publishes a heartbeat: one that moves when there is what to move over, else one at the last unit.
    pub async fn heartbeat(
        &mut self,
        assembler: &mut Assembler,
        clock_offset: i64,
        counters: &mut Counters,
    ) -> Result<(), ExtractError> {
        let part = assembler.heartbeat(clock_offset);
        if part.place.is_some() {
            return self.part(part, assembler, counters).await;
        }
        let (position, gtid_set) = assembler.unit_end();
        let source = SourceDraft {
            server_uuid: self.server,
            position: position.clone(),
            gtid: None,
            gtid_set: &gtid_set,
            added: Some(GtidSet::new()),
            open_xa: Vec::new(),
            definitions: assembler.definitions().name(),
        };
        let draft = HeaderDraft { source: Some(source), ..resting(part.number, part.read_at) };
        self.writer.append(draft, &part.body, None).await?;
        Ok(())
    }

    /// Publishes the origin and waits until it is in the log (P2). It covers all up to `covered`, which is what an
    /// adopted log's targets already have (P8).
    pub async fn origin(&mut self, covered: Number, place: &SourcePlace, now: i64) -> Result<Number, ExtractError> {
        let source = SourceDraft {
            server_uuid: place.server_uuid,
            position: place.position.clone(),
            gtid: None,
            gtid_set: &place.gtid_set,
            added: Some(place.gtid_set.clone()),
            open_xa: Vec::new(),
            definitions: place.definitions,
        };
        let body = RawBody::heartbeat(&Heartbeat { at: now, clock_offset: 0 });
        let number = covered.next_sub();
        let draft = HeaderDraft { previous: Number::ZERO, source: Some(source), ..resting(number, now) };
        self.writer.append(draft, &body, None).await?;
        self.writer.flush().await?;
        Ok(number)
    }

    /// Takes in delivery reports; returns only with the error that ends the attempt. Cancel safe.
    pub async fn drive(&mut self) -> ExtractError {
        self.writer.drive().await.into()
    }

    /// Waits until everything handed over is in the log.
    pub async fn flush(&mut self) -> Result<(), ExtractError> {
        Ok(self.writer.flush().await?)
    }

    /// How far the log has acknowledged.
    pub fn progress(&self) -> watch::Receiver<WriterProgress> {
        self.writer.progress()
    }

    /// The place that may be published now.
    pub fn bookmark(&self) -> Option<Bookmark> {
        self.writer.bookmark()
    }
}

fn resting(number: Number, now: i64) -> HeaderDraft<'static> {
    HeaderDraft {
        number,
        previous: number,
        part: 1,
        end: PartEnd::Commit,
        source: None,
        committed_at: 0,
        read_at: now,
        input: None,
        origins: Vec::new(),
        totals: None,
    }
}

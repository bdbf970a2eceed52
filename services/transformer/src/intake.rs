//! Where reading begins: at the output's own input cursor, or at what the pipeline's `start` resolves to.

use lutra_change::{Cursor, GtidSet, Number};
use lutra_coordination::TaskHandle;
use lutra_kafka::{KafkaConfig, KafkaLog};
use lutra_log::{Bookmark, Delivered, LogReader, ReadFrom, ReadTransport, ReaderStart, Tail, TransportFactory};
use lutra_spec::PipelineStart;
use lutra_wire::record::{Body, BodyKind};
use uuid::Uuid;

use crate::config::TransformConfig;
use crate::error::TransformError;

/// The reader of the source's log.
pub type Reader = LogReader<<KafkaLog as TransportFactory>::Read>;

/// Opens the reader where the output's tail says.
pub(crate) async fn resume(
    kafka: &KafkaConfig,
    config: &TransformConfig,
    handle: &TaskHandle,
    tail: &Tail,
    cursor: Cursor,
) -> Result<Reader, TransformError> {
    let applied = tail.source.as_ref().map(|s| s.gtid_set.clone()).unwrap_or_default();
    let start = ReaderStart::new(config.input.log_id, ReadFrom::Cursor(cursor, applied));
    open(kafka, config, start.with_bookmarks(bookmarks(config, handle).await?)).await
}

/// Opens the reader where a pipeline without a log of its own begins, and says what the origin covers.
pub(crate) async fn begin(
    kafka: &KafkaConfig,
    config: &TransformConfig,
    handle: &TaskHandle,
) -> Result<(Reader, Number), TransformError> {
    let marks = bookmarks(config, handle).await?;
    let earliest = ReaderStart::new(config.input.log_id, ReadFrom::Beginning);
    if let Some(adopt) = &config.adopt {
        if adopt.load.is_some() {
            return begin_load(kafka, config, handle, adopt.load).await;
        }
        let mut reader = open(kafka, config, first_held(kafka, config, &marks).await?).await?;
        skip(&mut reader, |reader, _| reader.chain().last() >= adopt.number).await?;
        let covered = reader.chain().last();
        return Ok((reader, covered));
    }
    if config.spec.load.full.is_some() {
        return begin_load(kafka, config, handle, None).await;
    }
    match &config.spec.start {
        PipelineStart::Earliest => {
            let start = if marks.is_empty() { earliest } else { first_held(kafka, config, &marks).await? };
            let mut reader = open(kafka, config, start).await?;
            skip(&mut reader, |reader, _| has_begun(reader)).await?;
            Ok((reader, Number::ZERO))
        }
        PipelineStart::Now => {
            let newest = marks.iter().max_by_key(|b| b.cursor.next_offset).cloned();
            let start = newest.map_or(earliest, |b| ReaderStart::new(config.input.log_id, ReadFrom::Bookmark(b)));
            let mut reader = open(kafka, config, start).await?;
            skip(&mut reader, |reader, _| has_begun(reader)).await?;
            let end = reader.end_offset().await?;
            skip(&mut reader, |reader, _| reader.cursor().next_offset >= end).await?;
            let covered = reader.chain().last();
            Ok((reader, covered))
        }
        PipelineStart::Gtid(set) => {
            let mut reader = open(kafka, config, first_held(kafka, config, &marks).await?).await?;
            skip(&mut reader, |reader, _| has_begun(reader) && set.is_subset(reader.gtid_set())).await?;
            check_exact(set, reader.gtid_set())?;
            let covered = reader.chain().last();
            Ok((reader, covered))
        }
        PipelineStart::Time(at) => {
            let before = marks
                .iter()
                .filter(|b| b.last_unit.as_ref().is_some_and(|u| u.committed_at < *at))
                .max_by_key(|b| b.cursor.next_offset);
            let start = match before {
                Some(bookmark) => ReaderStart::new(config.input.log_id, ReadFrom::Bookmark(bookmark.clone())),
                None => first_held(kafka, config, &marks).await?,
            };
            let mut reader = open(kafka, config, start.clone()).await?;
            let mut last_before = reader.cursor();
            let mut covered = reader.chain().last();
            let mut applied = reader.gtid_set().clone();
            skip(&mut reader, |reader, committed_at| {
                let reached = committed_at >= *at;
                if !reached {
                    (last_before, covered, applied) =
                        (reader.cursor(), reader.chain().last(), reader.gtid_set().clone());
                }
                reached
            })
            .await?;
            // The unit that ended the search is the first one to carry: read it again.
            let start = ReaderStart::new(config.input.log_id, ReadFrom::Cursor(last_before, applied));
            Ok((open(kafka, config, start).await?, covered))
        }
    }
}

/// The source's own origin is read: it says what the source had executed before the log began. Without that, a pipeline
/// that began before its source would not know that it has nothing to wait for.
fn has_begun<R: ReadTransport>(reader: &LogReader<R>) -> bool {
    reader.chain().last() >= Number::ORIGIN
}

/// A pipeline with a full load begins with the unit that makes its tables (P12); one whose tables are loaded again, with that
/// of this very `load`.
async fn begin_load(
    kafka: &KafkaConfig,
    config: &TransformConfig,
    handle: &TaskHandle,
    load: Option<Uuid>,
) -> Result<(Reader, Number), TransformError> {
    let progress = handle.load_defined(&config.input.writer, &config.pipeline, load).await;
    if load.is_some() && progress.definitions != load {
        return Err(TransformError::NoStart {
            reason: "its tables shall be loaded again, and the load that the source's log has is none that removes them first: \
                     upgrade the extractors, then `lutra rewind` anew"
                .to_owned(),
        });
    }
    let begin = progress.begin.and_then(|value| serde_json::from_value::<Bookmark>(value).ok());
    let from = begin.map_or(ReadFrom::Beginning, ReadFrom::Bookmark);
    let start = ReaderStart::new(config.input.log_id, from);
    let mut reader = open(kafka, config, start).await?;
    loop {
        let (before, covered, applied) = (reader.cursor(), reader.chain().last(), reader.gtid_set().clone());
        match reader.next().await? {
            Delivered::Part(part) if part.body.kind() == BodyKind::Chunk => {
                let number = part.header.number;
                let body = part.body.decode().map_err(|source| TransformError::Body { number, source })?;
                if matches!(body, Body::Chunk(chunk) if Some(chunk.id) == progress.definitions) {
                    // It is the first one to carry: read it again.
                    let start = ReaderStart::new(config.input.log_id, ReadFrom::Cursor(before, applied));
                    return Ok((open(kafka, config, start).await?, covered));
                }
            }
            Delivered::Gap { expected, found, .. } => {
                return Err(TransformError::NoStart {
                    reason: format!("the source's log has a gap between {expected} and {found}"),
                });
            }
            _ => {}
        }
    }
}

/// A GTID set that lies between two units of the log would leave out what the log has and the set has not.
fn check_exact(set: &GtidSet, reached: &GtidSet) -> Result<(), TransformError> {
    let more = reached.minus(set);
    if more.is_empty() {
        return Ok(());
    }
    Err(TransformError::NoStart {
        reason: format!(
            "the log reaches the GTID set only together with {more}; name a set that the source passed through"
        ),
    })
}

/// Reads complete units until `done`, which sees the reader and the unit's commit time.
async fn skip<R: ReadTransport>(
    reader: &mut LogReader<R>,
    mut done: impl FnMut(&LogReader<R>, i64) -> bool,
) -> Result<(), TransformError> {
    let mut committed_at = 0;
    while !done(reader, committed_at) {
        match reader.next().await? {
            Delivered::Part(part) => committed_at = part.header.committed_at,
            Delivered::Heartbeat { header, .. } => committed_at = header.committed_at,
            Delivered::Gap { expected, found, .. } => {
                return Err(TransformError::NoStart {
                    reason: format!("the source's log has a gap between {expected} and {found}"),
                });
            }
            Delivered::EpochStart { .. } | Delivered::Discarded => {}
        }
    }
    Ok(())
}

async fn open(kafka: &KafkaConfig, config: &TransformConfig, start: ReaderStart) -> Result<Reader, TransformError> {
    let log = KafkaLog::new(kafka, &config.input.topic);
    let reader = log.reader().await.map_err(lutra_log::LogError::from)?;
    Ok(LogReader::open(reader, start).await?)
}

/// Offset 0 where the log still has it, else the oldest bookmark that it still holds.
async fn first_held(
    kafka: &KafkaConfig,
    config: &TransformConfig,
    marks: &[Bookmark],
) -> Result<ReaderStart, TransformError> {
    let mut reader = KafkaLog::new(kafka, &config.input.topic).reader().await.map_err(lutra_log::LogError::from)?;
    let (first, _) = reader.bounds().await.map_err(lutra_log::LogError::from)?;
    let oldest = marks.iter().filter(|b| b.cursor.next_offset >= first).min_by_key(|b| b.cursor.next_offset);
    let from = match oldest {
        Some(bookmark) if first > 0 => ReadFrom::Bookmark(bookmark.clone()),
        _ => ReadFrom::Beginning,
    };
    Ok(ReaderStart::new(config.input.log_id, from))
}

async fn bookmarks(config: &TransformConfig, handle: &TaskHandle) -> Result<Vec<Bookmark>, TransformError> {
    let values = handle.bookmarks_of(&config.input.writer).await?;
    Ok(values.into_iter().filter_map(|v| serde_json::from_value(v).ok()).collect())
}

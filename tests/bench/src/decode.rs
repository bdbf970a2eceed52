//! Decoding alone, on one core: binlog bytes to values, and to the bodies of log records.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lutra_binlog::{DecodeError, Decoder, Event, EventData, Inflater, Scratch, TableCache};
use lutra_change::{BinlogPosition, GtidSet, Number};
use lutra_extractor::assembler::{Assembler, Output, Resume};
use lutra_harness::workload::sysbench;
use lutra_harness::{Home, Installation, MySqlSpec, Stack, StackSpec};
use lutra_spec::SourceSpec;
use serde_json::json;

use crate::bed::{DATABASE, executed};
use crate::report::{Report, per_second};
use crate::{Setting, binlog, note};

/// A workload's binlog, in memory.
struct Recording {
    files: Vec<Vec<u8>>,
    first: String,
    /// What was executed before it.
    before: GtidSet,
    rows: u64,
    bytes: u64,
}

/// Records the workload's binlog and decodes it `rounds` times.
///
/// # Errors
/// When the server does not run, or the binlog does not hold what the workload says.
pub async fn run(setting: &Setting, rounds: u32, report: &mut Report) -> Result<()> {
    let recording = record(setting).await?;
    note(format!("decoding {} MiB", recording.bytes >> 20));
    tokio::task::block_in_place(|| {
        measure(&recording, rounds, report, "decode", || decode(&recording))?;
        measure(&recording, rounds, report, "decode and encode", || encode(&recording))
    })
}

async fn record(setting: &Setting) -> Result<Recording> {
    let installation = Installation::ensure(&Home::from_env(), &|line| note(line))?;
    let mysql = vec![MySqlSpec::named("source")];
    let spec = StackSpec { mysql, kafka: false, zookeeper: false, ..StackSpec::pair("bench") };
    note("starting the server and writing the workload");
    let stack = Stack::start(&installation, spec).await?;
    let source = stack.mysql("source")?;
    sysbench::create(&source.url(), DATABASE, setting.workload).await?;
    let first = binlog::begin_file(source).await?;
    let before = executed(&source.url()).await?;
    let rows = sysbench::run(&source.url(), DATABASE, setting.workload, setting.transactions(), true).await?;
    let files = binlog::read(&binlog::files_from(source, &first).await?)?;
    stack.down()?;
    let census = binlog::census(&files, DATABASE)?;
    census.ensure_shape(setting.workload.shape())?;
    ensure!(census.rows() == rows, "the binlog should have {rows} rows, it has {}", census.rows());
    let bytes = files.iter().map(|file| file.len() as u64).sum();
    Ok(Recording { files, first, before, rows, bytes })
}

/// The median of the rounds, after one that warms up.
fn measure(
    recording: &Recording,
    rounds: u32,
    report: &mut Report,
    subject: &str,
    round: impl Fn() -> Result<()>,
) -> Result<()> {
    round()?;
    let mut times = Vec::new();
    for _ in 0..rounds.max(1) {
        let began = Instant::now();
        round()?;
        times.push(began.elapsed());
    }
    times.sort_unstable();
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    let rate = |took: Duration| per_second(recording.bytes, took) / f64::from(1 << 20);
    let mut figures = report.of(subject, recording.rows);
    figures.figure("speed", rate(median), "MiB/s")?;
    figures.figure("best_speed", times.first().map_or(0.0, |best| rate(*best)), "MiB/s")?;
    figures.figure("rows_per_second", per_second(recording.rows, median), "rows/s")?;
    figures.figure("bytes_per_row", recording.bytes as f64 / recording.rows as f64, "B")
}

/// Every value of every row, checksums verified.
fn decode(recording: &Recording) -> Result<()> {
    let (mut tables, mut scratch) = (TableCache::new(), Scratch::new());
    for file in &recording.files {
        tables.forget_ids();
        binlog::each_event(file, |event| values(event, &mut tables, &mut scratch))?;
    }
    Ok(())
}

fn values(event: &Event<'_>, tables: &mut TableCache, scratch: &mut Scratch) -> Result<(), DecodeError> {
    match &event.data {
        EventData::TableMap(map) => {
            tables.observe(map)?;
        }
        EventData::Rows(rows) => {
            let mut images = tables.get(rows)?.rows(rows, scratch)?;
            while images.next_image().is_some() {
                images.decode_image(|column, value| {
                    black_box((column, value));
                    Ok::<_, DecodeError>(())
                })?;
            }
        }
        other => {
            black_box(other);
        }
    }
    Ok(())
}

/// What the extractor does between the source's bytes and the broker: the bodies of the log's records, with their checksums.
fn encode(recording: &Recording) -> Result<()> {
    let spec: SourceSpec = serde_json::from_value(json!({
        "servers": ["127.0.0.1:3306"], "user": "nobody", "tables": [format!("{DATABASE}.*")],
    }))
    .context("make a source's specification")?;
    let resume = Resume {
        number: Number::ORIGIN,
        position: BinlogPosition::new(recording.first.clone(), 4),
        gtid_set: recording.before.clone(),
        known: None,
        half: None,
        open_xa: Vec::new(),
    };
    let mut assembler = Assembler::new(Arc::new(spec), resume);
    let (mut decoder, mut inflater, mut rows) = (Decoder::new(), Inflater::new(1 << 30), 0);
    for file in &recording.files {
        for bytes in lutra_binlog::file::events(file)? {
            let event = decoder.decode(bytes?.bytes)?;
            if let EventData::TransactionPayload(payload) = &event.data {
                assembler.step_over(&event.header)?;
                let mut inner = inflater.read(payload)?;
                while let Some(bytes) = inner.next_event()? {
                    assembler.inner_event(&decoder.decode_inner(&event.header, bytes)?.data)?;
                }
            } else {
                assembler.event(&event.header, &event.data)?;
            }
            rows += taken(&mut assembler);
        }
    }
    ensure!(rows == recording.rows, "{rows} rows were encoded, not {}", recording.rows);
    Ok(())
}

fn taken(assembler: &mut Assembler) -> u64 {
    let mut rows = 0;
    while let Some(output) = assembler.take() {
        if let Output::Part(part) = black_box(output) {
            rows += part.rows as u64;
        }
    }
    rows
}

//! One stage alone, log to log: the extractor or the transformer on a backlog.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lutra_harness::services::Service;
use lutra_kafka::{KafkaConfig, KafkaLog};
use lutra_log::{ReadTransport, TransportFactory};
use lutra_wire::record::{BodyKind, PartEnd, Record};

use crate::bed::{Backlog, Bed, Window, clocks, micros_since};
use crate::report::{Report, per_second};
use crate::{Setting, note};

/// Measures the stage. The transformer's input is there before it starts; the extractor, without work, runs on beside it.
///
/// # Errors
/// When something does not run, or not every row comes out.
pub async fn run(setting: &Setting, service: Service, report: &mut Report) -> Result<()> {
    let mut bed = Bed::open(setting, &[]).await?;
    let backlog = bed.backlog().await?;
    bed.server("target")?.stop().await?;
    let topic = match service {
        Service::Transformer => {
            note("bringing the backlog into the source's log");
            bed.start(Service::Extractor)?;
            bed.passed_on(Service::Extractor, &backlog).await?;
            format!("{}.log", bed.world.pipeline())
        }
        _ => format!("{}.log", bed.world.source()),
    };
    let log = KafkaLog::new(&KafkaConfig::new(bed.world.stack().kafka()?.address()), &topic);
    let from = end(&log).await?;
    note(format!("{service}: at work"));
    let (mut meter, (_, began_at)) = (bed.meter()?, clocks());
    bed.start_measured(&[service], &mut meter)?;
    bed.passed_on(service, &backlog).await?;
    let costs = meter.finish()?;
    let written = survey(&log, from, &backlog).await?;
    let window = Window {
        whole: micros_since(began_at, written.last_at),
        flowing: micros_since(written.first_at, written.last_at),
        costs,
    };
    window.report(report, &service.to_string(), backlog.rows)?;
    let mut figures = report.of(&service.to_string(), backlog.rows);
    figures.figure("log_records", written.records as f64, "")?;
    figures.figure("log_bytes_per_row", written.bytes as f64 / backlog.rows as f64, "B")?;
    figures.figure("log_rate", per_second(written.bytes, window.flowing) / f64::from(1 << 20), "MiB/s")
}

/// What a stage has written.
#[derive(Debug, Default)]
struct Written {
    records: u64,
    bytes: u64,
    rows: u64,
    /// When the broker appended the first and the last record with rows, microseconds since the epoch.
    first_at: i64,
    last_at: i64,
}

async fn end(log: &KafkaLog) -> Result<i64> {
    let mut reader = log.reader().await.context("read a log")?;
    Ok(reader.bounds().await.context("ask for the end of a log")?.1)
}

/// Reads what was written from `from` on: every row of the backlog must be there.
async fn survey(log: &KafkaLog, from: i64, backlog: &Backlog) -> Result<Written> {
    let mut reader = log.reader().await.context("read a log")?;
    let end = reader.bounds().await.context("ask for the end of a log")?.1;
    reader.seek(from).await.context("read a log")?;
    let mut written = Written::default();
    loop {
        let next = tokio::time::timeout(Duration::from_secs(60), reader.next()).await;
        let stored = next.context("read a log: nothing comes")?.context("read a log")?;
        let record = Record::decode(&stored.value).context("decode a log's record")?;
        if record.body.kind() == BodyKind::Changes {
            written.records += 1;
            written.bytes += stored.value.len() as u64;
            written.last_at = stored.appended_at;
            if written.first_at == 0 {
                written.first_at = stored.appended_at;
            }
            let totals = record.header.totals.filter(|_| record.header.end == PartEnd::Commit);
            written.rows += totals.map_or(0, |totals| totals.rows);
        }
        if stored.offset + 1 >= end {
            break;
        }
    }
    // The two marks are rows too.
    let expected = backlog.rows + 2;
    ensure!(written.rows == expected, "the log should have {expected} rows, it has {}", written.rows);
    Ok(written)
}

//! Against a real broker: `LUTRA_KAFKA=host:port cargo test -p lutra-kafka -- --ignored`.
#![allow(clippy::unwrap_used, missing_docs)]

use std::time::{Duration, Instant};

use bytes::Bytes;
use lutra_kafka::{Backlog, KafkaAdmin, KafkaConfig, KafkaError, KafkaLog, LogTopic, Retention};
use lutra_log::transport::AppendError;
use lutra_log::{AppendTransport, Delivery, ReadTransport, RecordHeaders, TransportError, TransportFactory};

fn config() -> KafkaConfig {
    KafkaConfig::new(std::env::var("LUTRA_KAFKA").expect("LUTRA_KAFKA names the broker"))
}

/// A new topic for one test.
async fn topic(name: &str) -> (KafkaAdmin, KafkaLog, String) {
    let admin = KafkaAdmin::connect(&config()).await.unwrap();
    let topic = format!("kafka-test-{name}-{}", uuid::Uuid::new_v4().simple());
    admin.create_log_topic(&topic, &LogTopic::default()).await.unwrap();
    let log = KafkaLog::new(&config(), &topic);
    (admin, log, topic)
}

async fn acknowledged(producer: &mut impl AppendTransport) -> i64 {
    match producer.delivered().await {
        Delivery::Acknowledged { offset, .. } => offset.unwrap(),
        Delivery::Failed { error, .. } => panic!("{error}"),
    }
}

#[tokio::test]
#[ignore = "needs a broker"]
async fn a_record_comes_back_with_its_offset_time_and_trace_context() {
    let (admin, log, topic) = topic("roundtrip").await;
    let mut producer = log.producer().await.unwrap();
    let headers = RecordHeaders { traceparent: Some("00-ab-cd-01".into()), tracestate: None };
    for n in 0..3u8 {
        producer.append(Bytes::from(vec![n; 10]), &headers).unwrap();
    }
    for n in 0..3 {
        assert_eq!(acknowledged(&mut producer).await, n);
    }
    let mut reader = log.reader().await.unwrap();
    assert_eq!(reader.bounds().await.unwrap(), (0, 3));
    reader.seek(1).await.unwrap();
    let record = reader.next().await.unwrap();
    assert_eq!((record.offset, record.value.as_ref(), &record.headers), (1, &[1u8; 10][..], &headers));
    let age = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_micros() as i64
        - record.appended_at;
    assert!((0..60_000_000).contains(&age), "{age}");
    reader.seek(0).await.unwrap();
    assert_eq!(reader.next().await.unwrap().offset, 0);
    admin.delete_topic(&topic).await.unwrap();
}

#[tokio::test]
#[ignore = "needs a broker"]
async fn an_offset_outside_the_log_is_named() {
    let (admin, log, topic) = topic("range").await;
    let mut reader = log.reader().await.unwrap();
    reader.seek(7).await.unwrap();
    match reader.next().await {
        Err(TransportError::OutOfRange { offset: 7, .. }) => {}
        other => panic!("{other:?}"),
    }
    // At the end it waits, and can be given up and taken up again.
    reader.seek(0).await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(300), reader.next()).await.is_err());
    let mut producer = log.producer().await.unwrap();
    producer.append(Bytes::from_static(b"x"), &RecordHeaders::default()).unwrap();
    assert_eq!(reader.next().await.unwrap().offset, 0);
    admin.delete_topic(&topic).await.unwrap();
}

#[tokio::test]
#[ignore = "needs a broker"]
async fn a_client_that_stands_still_is_replaced() {
    let (admin, log, topic) = topic("still").await;
    let mut producer = log.producer().await.unwrap();
    producer.append(Bytes::from_static(b"1"), &RecordHeaders::default()).unwrap();
    let mut reader = log.reader().await.unwrap();
    reader.seek(0).await.unwrap();
    assert_eq!(reader.next().await.unwrap().offset, 0);
    reader.stand_still().unwrap();
    for _ in 0..2 {
        producer.append(Bytes::from_static(b"2"), &RecordHeaders::default()).unwrap();
        acknowledged(&mut producer).await;
    }
    // Whoever reads is interrupted again and again, as loaders and transformers are.
    let mut read = Vec::new();
    let began = Instant::now();
    while read.len() < 2 && began.elapsed() < Duration::from_secs(60) {
        if let Ok(next) = tokio::time::timeout(Duration::from_millis(300), reader.next()).await {
            read.push(next.unwrap().offset);
        }
    }
    assert_eq!(read, [1, 2]);
    admin.delete_topic(&topic).await.unwrap();
}

#[tokio::test]
#[ignore = "needs a broker"]
async fn topics_are_made_as_they_are_checked() {
    let (admin, _, topic) = topic("admin").await;
    admin.create_log_topic(&topic, &LogTopic::default()).await.unwrap();
    admin.ensure_log_topic(&topic, &LogTopic::default()).await.unwrap();
    assert!(!admin.cluster_id().await.unwrap().is_empty());

    let schemas = format!("{topic}.schemas");
    admin.create_schema_topic(&schemas, 1).await.unwrap();
    match admin.ensure_log_topic(&schemas, &LogTopic::default()).await {
        Err(KafkaError::UnfitTopic { faults, .. }) => {
            let named: Vec<_> = faults.iter().map(|f| f.property).collect();
            assert_eq!(named, ["message.timestamp.type", "cleanup.policy"]);
        }
        other => panic!("{other:?}"),
    }
    for topic in [&topic, &schemas] {
        admin.delete_topic(topic).await.unwrap();
    }
    assert!(matches!(
        admin.ensure_log_topic("kafka-test-none", &LogTopic::default()).await,
        Err(KafkaError::NoTopic { .. })
    ));
    assert!(!admin.topic_exists("kafka-test-none").await.unwrap());
}

#[tokio::test]
#[ignore = "needs a broker"]
async fn what_waits_for_a_reader_is_measured_against_the_topics_own_limits() {
    let (admin, log, topic) = topic("backlog").await;
    let kept = Retention { time: Some(Duration::from_secs(7 * 24 * 3_600)), bytes: None };
    assert_eq!(admin.retention(&topic).await.unwrap(), kept);
    let other = format!("{topic}-other");
    let settings = LogTopic { retention_ms: -1, retention_bytes: 1_000_000, ..LogTopic::default() };
    admin.create_log_topic(&other, &settings).await.unwrap();
    assert_eq!(admin.retention(&other).await.unwrap(), Retention { time: None, bytes: Some(1_000_000) });

    assert_eq!(log.backlog(0).await.unwrap(), Backlog::Nothing);
    let mut producer = log.producer().await.unwrap();
    let mut state = 7_u64;
    for _ in 0..20_000 {
        // What cannot be compressed.
        let mut byte = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        };
        let value: Vec<u8> = std::iter::repeat_with(&mut byte).take(500).collect();
        producer.append(Bytes::from(value), &RecordHeaders::default()).unwrap();
    }
    for _ in 0..20_000 {
        acknowledged(&mut producer).await;
    }
    let Backlog::Waits { appended_at, bytes } = log.backlog(10_000).await.unwrap() else { panic!("something waits") };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_micros() as i64;
    assert!((0..60_000_000).contains(&(now - appended_at)), "{appended_at}");
    // Five megabytes; up to a batch from before the place comes along, and counts for some of what is sampled.
    assert!((4_500_000..9_000_000).contains(&bytes), "{bytes}");
    assert_eq!(log.backlog(20_000).await.unwrap(), Backlog::Nothing);
    for topic in [topic, other] {
        admin.delete_topic(&topic).await.unwrap();
    }
}

/// Appends `count` records of `size` bytes and reads them back, in order.
async fn stream(log: &KafkaLog, count: usize, size: usize) -> (f64, f64) {
    let mut producer = log.producer().await.unwrap();
    let value = Bytes::from((0..size).map(|i| (i * i / 7) as u8).collect::<Vec<_>>());
    let started = Instant::now();
    let mut reported = 0i64;
    for _ in 0..count {
        while let Err(error) = producer.append(value.clone(), &RecordHeaders::default()) {
            assert!(matches!(error, AppendError::QueueFull), "{error}");
            assert_eq!(acknowledged(&mut producer).await, reported);
            reported += 1;
        }
    }
    while reported < count as i64 {
        assert_eq!(acknowledged(&mut producer).await, reported);
        reported += 1;
    }
    let megabytes = (count * size) as f64 / 1e6;
    let write = megabytes / started.elapsed().as_secs_f64();
    let mut reader = log.reader().await.unwrap();
    reader.seek(0).await.unwrap();
    let started = Instant::now();
    for offset in 0..count as i64 {
        let record = reader.next().await.unwrap();
        assert_eq!((record.offset, record.value.len()), (offset, size));
    }
    (write, megabytes / started.elapsed().as_secs_f64())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a broker"]
async fn records_stream_through_in_order() {
    let (admin, log, topic) = topic("stream").await;
    let (write, read) = stream(&log, 1_000, 256 << 10).await;
    println!("256 KiB records: {write:.0} MB/s in, {read:.0} MB/s out");
    admin.delete_topic(&topic).await.unwrap();
    let (_, log, topic) = self::topic("small").await;
    let (write, read) = stream(&log, 200_000, 500).await;
    println!("500 B records: {write:.0} MB/s in, {read:.0} MB/s out");
    admin.delete_topic(&topic).await.unwrap();
}

#[tokio::test]
#[ignore = "needs a broker"]
async fn a_single_record_takes_milliseconds() {
    let (admin, log, topic) = topic("latency").await;
    let mut producer = log.producer().await.unwrap();
    let mut reader = log.reader().await.unwrap();
    reader.seek(0).await.unwrap();
    let mut took = Vec::new();
    for _ in 0..200 {
        let started = Instant::now();
        producer.append(Bytes::from_static(&[1; 300]), &RecordHeaders::default()).unwrap();
        reader.next().await.unwrap();
        took.push(started.elapsed());
        acknowledged(&mut producer).await;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    took.sort();
    println!("append to read: median {:?}, p99 {:?}", took[100], took[198]);
    assert!(took[100] < Duration::from_millis(50));
    admin.delete_topic(&topic).await.unwrap();
}

mod ordered_log {
    use std::time::Duration;

    use bytes::Bytes;
    use lutra_change::{BinlogPosition, Epoch, Gtid, GtidSet, LogId, Number, SessionContext};
    use lutra_kafka::KafkaLog;
    use lutra_log::{
        Delivered, HeaderDraft, LogError, LogReader, LogWriter, ReadFrom, ReaderStart, SourceDraft, Tail,
        TransportFactory, WriterOptions,
    };
    use lutra_wire::{Ddl, DdlKind, Heartbeat, PartEnd, RawBody};
    use uuid::Uuid;

    fn options(log_id: LogId) -> WriterOptions {
        WriterOptions {
            log_id,
            cluster: "test".into(),
            rules_version: 0,
            begun: false,
            bookmarks: Vec::new(),
            max_in_flight_bytes: 64 << 20,
        }
    }

    /// Appends units as an extractor does.
    struct Source {
        writer: LogWriter<KafkaLog>,
        number: Number,
        executed: GtidSet,
    }

    impl Source {
        async fn start(log: &KafkaLog, options: WriterOptions, epoch: Epoch) -> (Self, Tail) {
            let (writer, tail) = LogWriter::start(log, options, epoch).await.unwrap();
            let executed = tail.source.as_ref().map(|s| s.gtid_set.clone()).unwrap_or_default();
            (Self { writer, number: tail.number, executed }, tail)
        }

        async fn append(&mut self, number: Number, part: u32, end: PartEnd, body: &RawBody) -> Result<(), LogError> {
            let gtid = (number.sub == 0).then(|| Gtid::new(Uuid::from_u128(1), number.sequence));
            if end == PartEnd::Commit {
                gtid.iter().for_each(|g| self.executed.insert(g));
            }
            let source = (end == PartEnd::Commit).then(|| SourceDraft {
                server_uuid: Uuid::nil(),
                position: BinlogPosition::new("binlog.000001", number.sequence),
                gtid,
                gtid_set: &self.executed,
                added: None,
                open_xa: Vec::new(),
                definitions: None,
            });
            let draft = HeaderDraft {
                number,
                previous: self.number,
                part,
                end,
                source,
                committed_at: 1,
                read_at: 2,
                input: None,
                origins: Vec::new(),
                totals: None,
            };
            self.writer.append(draft, body, None).await?;
            if end == PartEnd::Commit {
                self.number = number;
            }
            Ok(())
        }

        async fn origin(&mut self) {
            let body = RawBody::heartbeat(&Heartbeat { at: 1, clock_offset: 0 });
            self.append(Number::ORIGIN, 1, PartEnd::Commit, &body).await.unwrap();
        }

        async fn units(&mut self, count: u64, size: usize) -> Result<(), LogError> {
            let body = body(size);
            for _ in 0..count {
                let number = self.number.next_sequence();
                self.append(number, 1, PartEnd::More, &body).await?;
                self.append(number, 2, PartEnd::Commit, &body).await?;
            }
            self.writer.flush().await
        }
    }

    fn body(size: usize) -> RawBody {
        RawBody::ddl(&Ddl {
            statement: Bytes::from(vec![7; size]),
            database: "shop".into(),
            kind: DdlKind::Other,
            tables: Vec::new(),
            context: SessionContext::default(),
        })
    }

    /// Reads until unit `last` is complete.
    async fn read<F: TransportFactory>(reader: &mut LogReader<F::Read>, last: u64) -> Vec<u64> {
        let mut units = Vec::new();
        while units.last() != Some(&last) {
            match tokio::time::timeout(Duration::from_secs(20), reader.next()).await.unwrap().unwrap() {
                Delivered::Part(part) if part.header.end == PartEnd::Commit && part.header.number.sub == 0 => {
                    units.push(part.header.number.sequence);
                }
                Delivered::Gap { expected, found, .. } => panic!("gap: {expected} {found}"),
                _ => {}
            }
        }
        units
    }

    #[tokio::test]
    #[ignore = "needs a broker"]
    async fn a_restart_goes_on_where_the_log_ends_and_fences_the_old_writer() {
        let (admin, log, topic) = super::topic("log").await;
        let log_id = LogId::random();
        let (mut first, tail) = Source::start(&log, options(log_id), Epoch::new(10, 0)).await;
        assert!(tail.empty);
        first.origin().await;
        first.units(20, 100).await.unwrap();
        let bookmark = first.writer.bookmark().unwrap();
        assert_eq!(
            (bookmark.cursor.number, first.writer.progress().borrow().acknowledged),
            (Number::new(20, 0), Number::new(20, 0))
        );

        // A reader along the way.
        let start = ReaderStart::new(log_id, ReadFrom::Beginning);
        let mut reader = LogReader::open(log.reader().await.unwrap(), start).await.unwrap();
        assert_eq!(read::<KafkaLog>(&mut reader, 20).await, (1..=20).collect::<Vec<_>>());
        let (cursor, applied) = (reader.cursor(), reader.gtid_set().clone());
        assert_eq!(applied.len(), 20);

        let again = WriterOptions { begun: true, bookmarks: vec![bookmark], ..options(log_id) };
        let (mut second, tail) = Source::start(&log, again, Epoch::new(11, 0)).await;
        assert_eq!((tail.number, tail.source.unwrap().gtid_set.len()), (Number::new(20, 0), 20));
        assert_eq!(tail.last_unit.unwrap().gtid().unwrap().number(), 20);

        // The old writer appends, reads what it did not write, and stops.
        let fenced = loop {
            match first.units(1, 10).await {
                Ok(()) => {}
                Err(error) => break error,
            }
        };
        assert!(matches!(fenced, LogError::Fenced { by, .. } if by == Epoch::new(11, 0)), "{fenced:?}");

        second.units(5, 100).await.unwrap();
        let start = ReaderStart::new(log_id, ReadFrom::Cursor(cursor, applied));
        let mut later = LogReader::open(log.reader().await.unwrap(), start).await.unwrap();
        assert_eq!(read::<KafkaLog>(&mut later, 25).await, [21, 22, 23, 24, 25]);
        assert_eq!(read::<KafkaLog>(&mut reader, 25).await, [21, 22, 23, 24, 25]);

        let stale = LogWriter::start(&log, options(log_id), Epoch::new(10, 5)).await.unwrap_err();
        assert!(matches!(stale, LogError::Fenced { .. }), "{stale:?}");
        let foreign = LogWriter::start(&log, options(LogId::random()), Epoch::new(12, 0)).await.unwrap_err();
        assert!(matches!(foreign, LogError::Halt { .. }), "{foreign:?}");
        admin.delete_topic(&topic).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "needs a broker"]
    async fn the_log_streams() {
        let (admin, log, topic) = super::topic("logstream").await;
        let log_id = LogId::random();
        let (mut source, _) = Source::start(&log, options(log_id), Epoch::new(1, 0)).await;
        source.origin().await;
        for (count, size) in [(1_000, 128 << 10), (50_000, 300)] {
            let from = source.number.sequence;
            let started = std::time::Instant::now();
            source.units(count, size).await.unwrap();
            let took = started.elapsed().as_secs_f64();
            let megabytes = (count as usize * 2 * size) as f64 / 1e6;
            println!("{size} bytes x2: {:.0} MB/s, {:.0} units/s written", megabytes / took, count as f64 / took);
            let start = ReaderStart::new(log_id, ReadFrom::Beginning);
            let mut reader = LogReader::open(log.reader().await.unwrap(), start).await.unwrap();
            let started = std::time::Instant::now();
            read::<KafkaLog>(&mut reader, from + count).await;
            println!("   whole log read in {:.2} s", started.elapsed().as_secs_f64());
        }
        admin.delete_topic(&topic).await.unwrap();
    }
}

#[tokio::test]
#[ignore = "needs a broker"]
async fn schemas_are_found_by_fingerprint_by_whoever_reads_the_topic() {
    use lutra_change::{Column, ColumnType, TableName, TableSchema};
    use lutra_kafka::SchemaTopic;
    use lutra_wire::RowSchema;

    let admin = KafkaAdmin::connect(&config()).await.unwrap();
    let topic = format!("kafka-test-schemas-{}", uuid::Uuid::new_v4().simple());
    admin.create_schema_topic(&topic, 1).await.unwrap();
    let schema = |columns: usize| {
        let column =
            |n| Column { name: format!("c{n}"), column_type: ColumnType::Json, nullable: true, invisible: false };
        let table = TableSchema {
            name: TableName { database: "shop".into(), table: "t".into() },
            columns: (0..columns).map(column).collect(),
            primary_key: Vec::new(),
        };
        RowSchema::from_table(&table).unwrap()
    };
    let writer = SchemaTopic::open(&config(), &topic).await.unwrap();
    let reader = SchemaTopic::open(&config(), &topic).await.unwrap();
    for columns in 1..4 {
        writer.ensure(&schema(columns)).await.unwrap();
        writer.ensure(&schema(columns)).await.unwrap();
        let found = reader.get(schema(columns).fingerprint()).await.unwrap();
        assert_eq!(found.json(), schema(columns).json());
    }
    // All at once, some known and some not.
    let late = SchemaTopic::open(&config(), &topic).await.unwrap();
    let (one, two) = tokio::join!(late.get(schema(3).fingerprint()), late.get(schema(1).fingerprint()));
    assert_eq!(
        (one.unwrap().fingerprint(), two.unwrap().fingerprint()),
        (schema(3).fingerprint(), schema(1).fingerprint())
    );
    let mut log = KafkaLog::new(&config(), &topic).reader().await.unwrap();
    assert_eq!(log.bounds().await.unwrap(), (0, 3), "each is written once");
    admin.delete_topic(&topic).await.unwrap();
}

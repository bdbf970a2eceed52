//! Against a real broker: `LUTRA_KAFKA=host:port cargo test -p lutra-kafka -- --ignored`.
#![allow(clippy::unwrap_used, missing_docs)]

use std::time::{Duration, Instant};

use bytes::Bytes;
use lutra_kafka::{KafkaAdmin, KafkaConfig, KafkaError, KafkaLog, LogTopic};
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
    let age = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_micros() as i64 - record.appended_at;
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
    assert!(matches!(admin.ensure_log_topic("kafka-test-none", &LogTopic::default()).await, Err(KafkaError::NoTopic { .. })));
    assert!(!admin.topic_exists("kafka-test-none").await.unwrap());
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

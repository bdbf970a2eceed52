//! Against a real server: `LUTRA_SOURCE_URL=mysql://… cargo test -p lutra-mysql -- --ignored`.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, missing_docs)]

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use lutra_change::{ColumnType, TableName, Value};
use lutra_mysql::checks::{self, SourceCheckOptions};
use lutra_mysql::{
    BinlogSource, BinlogStream, ConnectOptions, Connection, DumpRequest, DumpStart, ErrorKind, EventBatch, TlsMode,
    catalogue, sql,
};

fn options() -> ConnectOptions {
    let url = std::env::var("LUTRA_SOURCE_URL").expect("LUTRA_SOURCE_URL names the server");
    ConnectOptions::from_url(&url).unwrap()
}

async fn connect(database: &str) -> Connection {
    let mut connection = Connection::connect(&options().with_found_rows()).await.unwrap();
    connection
        .batch(format!("DROP DATABASE IF EXISTS {database}; CREATE DATABASE {database}; USE {database}"))
        .await
        .unwrap();
    connection
}

#[tokio::test]
#[ignore = "needs a server"]
async fn a_batch_gives_one_outcome_per_statement_and_stops_at_the_first_failure() {
    let mut c = connect("ex_batch").await;
    c.execute("CREATE TABLE t (id INT PRIMARY KEY, v INT)").await.unwrap();
    let sql = "INSERT INTO t VALUES (1,1),(2,2),(3,3); UPDATE t SET v = 2 WHERE id < 3; SELECT * FROM t; DELETE FROM t WHERE id = 9; \
               SELECT 1 WHERE FALSE";
    let done = c.batch(sql).await.unwrap();
    assert_eq!(done.iter().map(|o| o.rows).collect::<Vec<_>>(), [3, 2, 0, 0, 0]);
    assert_eq!(done.iter().map(|o| o.given).collect::<Vec<_>>(), [0, 0, 3, 0, 0]);
    assert_eq!(done[1].changed, Some(1));

    let failed =
        c.batch("UPDATE t SET v = 5 WHERE id = 1; INSERT INTO t VALUES (1, 1); DELETE FROM t").await.unwrap_err();
    assert_eq!((failed.done.len(), failed.done[0].rows), (1, 1));
    assert_eq!(failed.error.kind(), ErrorKind::DuplicateKey);
    assert!(!failed.error.to_string().contains("'1'"), "{}", failed.error);
    assert_eq!(c.query_text("SELECT COUNT(*) FROM t").await.unwrap().unwrap(), "3");
    assert_eq!(c.execute("SELECT 1").await.unwrap().given, 1);
    let missing = c.execute("SELECT * FROM nowhere").await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NoSuchTable);
    c.close().await.unwrap();
}

#[tokio::test]
#[ignore = "needs a server"]
async fn tls_is_used_where_it_is_asked_for() {
    let mut wanted = options();
    for (mode, tls) in [(TlsMode::Disabled, false), (TlsMode::Preferred, true), (TlsMode::Required, true)] {
        wanted.tls.mode = mode;
        let mut c = Connection::connect(&wanted).await.unwrap();
        let row = c.query_first("SHOW STATUS LIKE 'Ssl_cipher'").await.unwrap().unwrap();
        assert_eq!(!row.text(1).unwrap().is_empty(), tls, "{mode:?}");
    }
    wanted.tls.mode = TlsMode::VerifyIdentity;
    assert!(Connection::connect(&wanted).await.is_err(), "a self-signed certificate is not verified");
}

#[tokio::test]
#[ignore = "needs a server"]
async fn a_password_is_proven_with_and_without_tls() {
    let mut root = Connection::connect(&options()).await.unwrap();
    let make = "SET sql_log_bin = 0; DROP USER IF EXISTS ex_login; CREATE USER ex_login IDENTIFIED BY 'gehe1m'; SET sql_log_bin = 1";
    root.batch(make).await.unwrap();
    for mode in [TlsMode::Disabled, TlsMode::Required] {
        let mut login = options().with_password(Some(lutra_mysql::Password::new("gehe1m")));
        login.user = "ex_login".to_owned();
        login.tls.mode = mode;
        root.execute("FLUSH PRIVILEGES").await.unwrap();
        Connection::connect(&login).await.unwrap();
        login.password = Some(lutra_mysql::Password::new("fa1sch"));
        let error = Connection::connect(&login).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AccessDenied);
        assert!(!format!("{error:?}").contains("fa1sch"));
    }
}

#[tokio::test]
#[ignore = "needs a server"]
async fn the_catalogue_tells_keys_and_foreign_keys() {
    let mut c = connect("ex_catalogue").await;
    c.execute("CREATE TABLE parent (id INT PRIMARY KEY, code VARCHAR(20), UNIQUE u (code(5), (UPPER(code))))")
        .await
        .unwrap();
    c.execute(
        "CREATE TABLE child (a INT, b INT, twice INT AS (a * 2) STORED, hidden INT INVISIBLE DEFAULT 7, PRIMARY KEY (a, b), \
         CONSTRAINT fk FOREIGN KEY (b) REFERENCES parent (id) ON DELETE CASCADE)",
    )
    .await
    .unwrap();
    let parent = catalogue::table_definition(&mut c, &TableName::new("ex_catalogue", "parent")).await.unwrap().unwrap();
    assert_eq!(parent.keys.len(), 2);
    assert_eq!(parent.keys[1].parts[0].prefix, Some(5));
    assert!(parent.keys[1].parts[1].expression.is_some() && parent.keys[1].parts[1].column.is_none());
    assert_eq!((parent.referenced_by.len(), parent.referenced_by[0].on_delete.as_str()), (1, "CASCADE"));
    let child = catalogue::table_definition(&mut c, &TableName::new("ex_catalogue", "child")).await.unwrap().unwrap();
    assert_eq!(
        child.columns.iter().map(|c| (c.generated, c.invisible)).collect::<Vec<_>>(),
        [(false, false), (false, false), (true, false), (false, true)]
    );
    assert_eq!(child.foreign_keys[0].columns, ["b"]);
    assert!(catalogue::table_definition(&mut c, &TableName::new("ex_catalogue", "nowhere")).await.unwrap().is_none());
    let collations = catalogue::Collations::read(&mut c).await.unwrap();
    for id in [8, 28, 45, 63, 255] {
        assert_eq!(collations.charset(id), sql::charset_of(id));
        assert_eq!(collations.name(id), sql::collation_name(id));
    }
}

#[tokio::test]
#[ignore = "needs a server"]
async fn literals_store_what_they_say() {
    let mut c = connect("ex_literals").await;
    c.execute(sql::PLAIN_SESSION).await.unwrap();
    c.execute(
        "CREATE TABLE t (id INT PRIMARY KEY, f FLOAT, d DOUBLE, g VARCHAR(20) CHARACTER SET gbk, l VARCHAR(20) CHARACTER SET latin1, \
         u VARCHAR(20), b VARBINARY(20), j JSON, bits BIT(9), e ENUM('x','y'), s SET('p','q','r'), ts TIMESTAMP(6) NULL, \
         p GEOMETRY, w VARCHAR(20) CHARACTER SET utf16)",
    )
    .await
    .unwrap();
    let text = |collation| ColumnType::VarChar { bytes: 80, collation };
    let point = [&0u32.to_le_bytes()[..], &[1, 1, 0, 0, 0], &1f64.to_le_bytes(), &2f64.to_le_bytes()].concat();
    let float = 16_777_217.0_f32 / 3.0;
    let values: Vec<(Value<'_>, ColumnType, &str, Vec<u8>)> = vec![
        (Value::Float(float), ColumnType::Float, "f = CAST(? AS DOUBLE)", f64::from(float).to_string().into_bytes()),
        (Value::Double(0.1), ColumnType::Double, "d = CAST(? AS DOUBLE)", b"0.1".to_vec()),
        (Value::Bytes(&[0x95, 0x5c, 0x27]), text(28), "HEX(g) = ?", b"955C27".to_vec()),
        (Value::Bytes(&[0xe9, b'\'', b'\\']), text(8), "HEX(l) = ?", b"E9275C".to_vec()),
        (Value::Bytes("é'\\\0".as_bytes()), text(255), "HEX(u) = ?", b"C3A9275C00".to_vec()),
        (Value::Bytes(&[0, 255, 39]), ColumnType::VarBinary { bytes: 20 }, "HEX(b) = ?", b"00FF27".to_vec()),
        (Value::Json(r#"{"a": "x'\"y"}"#), ColumnType::Json, "j->>'$.a' = ?", br#"x'"y"#.to_vec()),
        (Value::Bit(&[1, 2]), ColumnType::Bit { length: 9 }, "bits + 0 = ?", b"258".to_vec()),
        (Value::Enum(2), ColumnType::Enum { labels: vec![], collation: 255 }, "e = ?", b"y".to_vec()),
        (Value::Set(5), ColumnType::Set { labels: vec![], collation: 255 }, "s = ?", b"p,r".to_vec()),
        (
            Value::Timestamp(1_500_000),
            ColumnType::Timestamp { fsp: 6 },
            "ts = ?",
            b"1970-01-01 00:00:01.500000".to_vec(),
        ),
        (Value::Bytes(&point), ColumnType::Geometry { kind: 0 }, "ST_AsText(p) = ?", b"POINT(1 2)".to_vec()),
        (Value::Bytes(&[0x20, 0xac]), text(54), "HEX(w) = ?", b"20AC".to_vec()),
    ];
    let mut statement = b"INSERT INTO t VALUES (1".to_vec();
    for (value, column, _, _) in &values {
        statement.push(b',');
        sql::write_literal(&mut statement, value, column);
    }
    statement.push(b')');
    c.execute(&statement).await.unwrap();
    for (value, _, condition, expected) in values {
        let found = c
            .exec_query(&format!("SELECT 1 FROM t WHERE {condition}"), vec![lutra_mysql::Param::Bytes(expected)])
            .await;
        assert_eq!(found.unwrap().len(), 1, "{value:?}");
    }
}

#[tokio::test]
#[ignore = "needs a server"]
async fn a_dump_by_gtid_and_by_position_gives_the_same_events() {
    let mut c = connect("ex_dump").await;
    let (position, before) = catalogue::binlog_end(&mut c).await.unwrap();
    c.execute("CREATE TABLE t (id INT PRIMARY KEY)").await.unwrap();
    c.execute("INSERT INTO t VALUES (1), (2)").await.unwrap();
    let mut streams = Vec::new();
    for (server_id, start) in [(91_001, DumpStart::Gtid(before)), (91_002, DumpStart::Position(position))] {
        let request = DumpRequest { start, server_id, heartbeat: Duration::from_secs(1), until_end: true };
        let mut stream = BinlogStream::connect(&options(), &request).await.unwrap();
        let (mut batch, mut events) = (EventBatch::default(), Vec::new());
        while stream.read(&mut batch, 1 << 16).await.unwrap() {
            // Whole events: the size in the header is that of the bytes; artificial ones (rotate) are of the stream only.
            for event in batch.iter() {
                let size = u32::from_le_bytes(event[9..13].try_into().unwrap());
                assert_eq!(size as usize, event.len(), "event type {}", event[4]);
                if u32::from_le_bytes(event[13..17].try_into().unwrap()) != 0 {
                    events.push(event.to_vec());
                }
            }
            batch.clear();
        }
        stream.close().await;
        streams.push(events);
    }
    // By GTID the server also sends the format description and the previous GTIDs with their positions.
    let behind = streams[1].iter().filter(|e| ![15, 35].contains(&e[4])).cloned().collect::<Vec<_>>();
    let by_gtid = streams[0].iter().filter(|e| ![15, 35].contains(&e[4])).cloned().collect::<Vec<_>>();
    // Others write to the server too: what one of the dumps has before or behind the other is theirs.
    let from = by_gtid.iter().position(|e| *e == behind[0]).unwrap();
    let same = by_gtid[from..].iter().zip(&behind).take_while(|(a, b)| a == b).count();
    assert_eq!(same, behind.len().min(by_gtid.len() - from));
    assert!(same >= 6, "{same}");
}

#[tokio::test]
#[ignore = "needs a server"]
async fn heartbeats_come_on_an_idle_stream_with_their_checksum() {
    let mut c = Connection::connect(&options()).await.unwrap();
    let (_, now) = catalogue::binlog_end(&mut c).await.unwrap();
    let request = DumpRequest {
        start: DumpStart::Gtid(now),
        server_id: 91_003,
        heartbeat: Duration::from_millis(200),
        until_end: false,
    };
    let mut stream = BinlogStream::connect(&options(), &request).await.unwrap();
    let mut batch = EventBatch::default();
    let heartbeat = async {
        loop {
            stream.read(&mut batch, 1 << 16).await.unwrap();
            if let Some(event) = batch.iter().find(|e| e[4] == 27) {
                return event.len();
            }
            batch.clear();
        }
    };
    // 19 bytes of header, a file name, 4 bytes of checksum.
    assert!(tokio::time::timeout(Duration::from_secs(10), heartbeat).await.unwrap() > 23);
}

/// Passes on what client and server say to each other, and holds back for a while what the server says to a dump.
async fn slow_to_seek(server: ConnectOptions, delay: Duration) -> u16 {
    const COM_BINLOG_DUMP: u8 = 0x12;
    const COM_BINLOG_DUMP_GTID: u8 = 0x1e;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (client, _) = listener.accept().await.unwrap();
        let server = tokio::net::TcpStream::connect((server.host.as_str(), server.port)).await.unwrap();
        let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
            (client.into_split(), server.into_split());
        let seeks = std::sync::atomic::AtomicBool::new(false);
        let ask = async {
            let mut bytes = vec![0; 1 << 16];
            while let Ok(length @ 1..) = from_client.read(&mut bytes).await {
                if matches!(bytes[4], COM_BINLOG_DUMP | COM_BINLOG_DUMP_GTID) {
                    seeks.store(true, std::sync::atomic::Ordering::SeqCst);
                }
                to_server.write_all(&bytes[..length]).await.unwrap();
            }
        };
        let answer = async {
            let mut bytes = vec![0; 1 << 16];
            while let Ok(length @ 1..) = from_server.read(&mut bytes).await {
                if seeks.swap(false, std::sync::atomic::Ordering::SeqCst) {
                    tokio::time::sleep(delay).await;
                }
                to_client.write_all(&bytes[..length]).await.unwrap();
            }
        };
        tokio::join!(ask, answer);
    });
    port
}

#[tokio::test]
#[ignore = "needs a server"]
async fn a_server_may_seek_for_longer_than_it_may_be_silent() {
    let mut c = Connection::connect(&options()).await.unwrap();
    let (_, now) = catalogue::binlog_end(&mut c).await.unwrap();
    let request = DumpRequest {
        start: DumpStart::Gtid(now),
        server_id: 91_005,
        heartbeat: Duration::from_millis(200),
        until_end: false,
    };
    let mut slow = options();
    slow.host = "127.0.0.1".to_owned();
    slow.port = slow_to_seek(options(), Duration::from_secs(3)).await;
    slow.tls.mode = TlsMode::Disabled;
    slow.read_timeout = Duration::from_secs(1);
    let mut stream = BinlogStream::connect(&slow, &request).await.unwrap();
    let mut batch = EventBatch::default();
    assert!(stream.read(&mut batch, 1 << 16).await.unwrap(), "what comes after the search is read");
}

#[tokio::test]
#[ignore = "needs a server"]
async fn the_source_checks_pass_with_the_least_grants_and_name_what_is_missing_without() {
    let mut root = Connection::connect(&options()).await.unwrap();
    root.batch("SET sql_log_bin = 0; DROP USER IF EXISTS ex_least; CREATE USER ex_least").await.unwrap();
    let mut login = options();
    login.user = "ex_least".to_owned();
    let wanted = SourceCheckOptions {
        gtid: true,
        accept_weak_durability: true,
        server_id: Some(91_004),
        start: Some(DumpStart::Gtid(catalogue::identity(&mut root).await.unwrap().gtid_executed)),
    };
    let mut poor = Connection::connect(&login).await.unwrap();
    let faults: Vec<_> = checks::source(&mut poor, &wanted).await.unwrap().into_iter().filter(|r| !r.ok).collect();
    assert_eq!(faults.iter().map(|f| f.name).collect::<Vec<_>>(), ["ensure_grants"]);
    root.execute(&faults[0].mend).await.unwrap();
    let mut enough = Connection::connect(&login).await.unwrap();
    let results = checks::source(&mut enough, &wanted).await.unwrap();
    assert!(results.iter().all(|r| r.ok), "{results:#?}");
    catalogue::binlog_end(&mut enough).await.unwrap();
}

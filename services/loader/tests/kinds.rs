//! Every kind of table and unit against a real server:
//! `LUTRA_TARGET_URL=mysql://… cargo test -p lutra-loader --test kinds -- --ignored`.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{Change, LoadSettings, Source, describe, forget, fresh, int, options, rows, start, text, typed};
use lutra_change::{ColumnType, Epoch, Operation, RowFlags, Value};
use lutra_loader::error::Disposition;
use lutra_log::{LogWriter, WriterOptions};
use lutra_mysql::Connection;
use lutra_wire::{ChangesBuilder, DdlKind};

fn ints(values: &[i64]) -> Option<Vec<Value<'static>>> {
    Some(values.iter().map(|v| Value::Int(*v)).collect())
}

#[tokio::test]
#[ignore = "needs a server"]
async fn rows_of_a_table_without_a_key_stay_exact_with_their_duplicates() {
    let mut c = fresh("ld_keyless").await;
    forget(&mut c, "ld-keyless").await;
    c.execute("CREATE TABLE t (a VARCHAR(20), f FLOAT, j JSON, KEY (a))").await.unwrap();
    let mut source = Source::new().await;
    let columns = vec![text("a"), typed("f", ColumnType::Float), typed("j", ColumnType::Json)];
    let t = source.table("ld_keyless", "t", columns, &[]);
    let row = |a: &'static str, f: f32, j: &'static str| {
        Some(vec![Value::Bytes(a.as_bytes()), Value::Float(f), Value::Json(j)])
    };
    for _ in 0..3 {
        source.transaction(&[(&t, None, row("x", 0.1, "{\"a\": 1}")), (&t, None, row("X", 0.1, "{\"a\": 1}"))]).await;
    }
    source.transaction(&[(&t, row("x", 0.1, "{\"a\": 1}"), None)]).await;
    source.transaction(&[(&t, row("X", 0.1, "{\"a\": 1}"), row("Y", 0.2, "[]"))]).await;
    source.transaction(&[(&t, None, Some(vec![Value::Null, Value::Null, Value::Null]))]).await;
    source.transaction(&[(&t, Some(vec![Value::Null, Value::Null, Value::Null]), row("n", 1.5, "null"))]).await;
    source.flush().await;
    let mut load = start(&source, LoadSettings::new("ld-keyless", 1)).await;
    load.reach(&source.gtid_set.clone()).await;
    let found = rows(&mut c, "SELECT CAST(a AS BINARY), f, j FROM t ORDER BY CAST(a AS BINARY)").await;
    let one = |a: &str| format!("{a},0.1,{{\"a\": 1}}");
    assert_eq!(found, [one("X"), one("X"), "Y,0.2,[]".to_owned(), "n,1.5,null".to_owned(), one("x"), one("x")]);
    load.stop().await;
}

#[tokio::test]
#[ignore = "needs a server"]
async fn unique_values_wander_between_rows_and_batches() {
    let mut c = fresh("ld_unique").await;
    forget(&mut c, "ld-unique").await;
    c.execute("CREATE TABLE t (id INT PRIMARY KEY, u INT UNIQUE, n VARCHAR(9), UNIQUE KEY (n))").await.unwrap();
    let mut source = Source::new().await;
    let t = source.table("ld_unique", "t", vec![int("id"), int("u"), text("n")], &[0]);
    let names = ["a", "b", "c", "d", "é", "e1"];
    let row = |id: i64, u: i64, n: usize| Some(vec![Value::Int(id), Value::Int(u), Value::Bytes(names[n].as_bytes())]);
    for id in 0..4 {
        source.transaction(&[(&t, None, row(id, id, usize::try_from(id).unwrap()))]).await;
    }
    for round in 0..50 {
        // Rows 0 and 1 swap both values by way of a third.
        let (x, y) = if round % 2 == 0 { (0, 1) } else { (1, 0) };
        source
            .transaction(&[
                (&t, row(0, x, x as usize), row(0, 99, 5)),
                (&t, row(1, y, y as usize), row(1, x, x as usize)),
                (&t, row(0, 99, 5), row(0, y, y as usize)),
            ])
            .await;
        // Row 2 dies, row 7 takes its values, under another key, and back.
        source.transaction(&[(&t, row(2, 2, 2), None), (&t, None, row(7, 2, 2))]).await;
        source
            .transaction(&[
                (&t, row(7, 2, 2), row(2, 2, 2)),
                (&t, row(3, 3, 3), row(3, 3, 4)),
                (&t, row(3, 3, 4), row(3, 3, 3)),
            ])
            .await;
    }
    source.flush().await;
    for connections in [1, 4] {
        c.batch("TRUNCATE t").await.unwrap();
        forget(&mut c, "ld-unique").await;
        let settings = LoadSettings { connections, rows: 7, ..LoadSettings::new("ld-unique", u64::from(connections)) };
        let mut load = start(&source, settings).await;
        load.reach(&source.gtid_set.clone()).await;
        assert_eq!(rows(&mut c, "SELECT * FROM t ORDER BY id").await, ["0,0,a", "1,1,b", "2,2,c", "3,3,d"]);
        load.stop().await;
    }
}

#[tokio::test]
#[ignore = "needs a server"]
async fn parents_come_before_children_and_the_target_cascades_where_the_log_does_not() {
    let mut c = fresh("ld_parents").await;
    forget(&mut c, "ld-parents").await;
    c.batch(
        "CREATE TABLE p (id INT PRIMARY KEY, v INT); \
         CREATE TABLE k (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES p (id) ON DELETE CASCADE ON UPDATE CASCADE)",
    )
    .await
    .unwrap();
    let mut source = Source::new().await;
    let p = source.table("ld_parents", "p", vec![int("id"), int("v")], &[0]);
    let k = source.table("ld_parents", "k", vec![int("id"), int("p")], &[0]);
    for id in 0..30 {
        let mut changes: Vec<Change<'_>> = vec![(&p, None, ints(&[id, 0]))];
        changes.extend((0..3).map(|n| (&k, None, ints(&[id * 10 + n, id])) as Change<'_>));
        source.transaction(&changes).await;
    }
    // Not logged as rows: the children of 1 go, those of 2 follow.
    source.transaction(&[(&p, ints(&[1, 0]), None), (&p, ints(&[2, 0]), ints(&[200, 0]))]).await;
    // Logged as rows, child first.
    source.set_flags(RowFlags::SQL_FOREIGN_KEY | RowFlags::NO_FOREIGN_KEY_CHECKS);
    let children: Vec<Change<'_>> = (0..3).map(|n| (&k, ints(&[50 + n, 5]), None) as Change<'_>).collect();
    source.transaction(&[children, vec![(&p, ints(&[5, 0]), None)]].concat()).await;
    source.flush().await;
    let mut load = start(&source, LoadSettings::new("ld-parents", 1)).await;
    load.reach(&source.gtid_set.clone()).await;
    assert_eq!(rows(&mut c, "SELECT COUNT(*), SUM(id = 200) FROM p").await, ["28,1"]);
    assert_eq!(rows(&mut c, "SELECT COUNT(*), SUM(p = 200), SUM(p IN (1, 2, 5)) FROM k").await, ["84,3,0"]);
    load.stop().await;
}

#[tokio::test]
#[ignore = "needs a server"]
async fn values_of_every_type_arrive_as_they_are() {
    let mut c = fresh("ld_types").await;
    forget(&mut c, "ld-types").await;
    c.execute(
        "CREATE TABLE t (id BIGINT UNSIGNED PRIMARY KEY, f FLOAT, d DOUBLE, n DECIMAL(65,30), y YEAR, da DATE, ti TIME(6), \
         dt DATETIME(3), ts TIMESTAMP(6) NULL, b BIT(40), l VARCHAR(20) CHARACTER SET latin1, g VARCHAR(20) CHARACTER SET gbk, \
         bi BINARY(4), bl LONGBLOB, e ENUM('x','y'), s SET('p','q','r'), j JSON, po GEOMETRY, \
         gen INT AS (id % 7) STORED, inv INT INVISIBLE)",
    )
    .await
    .unwrap();
    let mut source = Source::new().await;
    let columns = vec![
        typed("id", ColumnType::BigInt { unsigned: true }),
        typed("f", ColumnType::Float),
        typed("d", ColumnType::Double),
        typed("n", ColumnType::Decimal { precision: 65, scale: 30 }),
        typed("y", ColumnType::Year),
        typed("da", ColumnType::Date),
        typed("ti", ColumnType::Time { fsp: 6 }),
        typed("dt", ColumnType::DateTime { fsp: 3 }),
        typed("ts", ColumnType::Timestamp { fsp: 6 }),
        typed("b", ColumnType::Bit { length: 40 }),
        typed("l", ColumnType::VarChar { bytes: 20, collation: 8 }),
        typed("g", ColumnType::VarChar { bytes: 40, collation: 28 }),
        typed("bi", ColumnType::Binary { bytes: 4 }),
        typed("bl", ColumnType::Blob { prefix: 4 }),
        typed("e", ColumnType::Enum { labels: vec!["x".into(), "y".into()], collation: 255 }),
        typed("s", ColumnType::Set { labels: vec!["p".into(), "q".into(), "r".into()], collation: 255 }),
        typed("j", ColumnType::Json),
        typed("po", ColumnType::Geometry { kind: 1 }),
        int("gen"),
        int("inv"),
    ];
    let t = source.table("ld_types", "t", columns, &[0]);
    let point = [&[0_u8; 4][..], &[1, 1, 0, 0, 0], &1.5_f64.to_le_bytes(), &2.5_f64.to_le_bytes()].concat();
    let decimal = "-12345678901234567890123456789012345.123456789012345678901234567890";
    let odd = |id: u64, e: u16, with_point: bool| {
        Some(vec![
            Value::UInt(id),
            Value::Float(f32::MIN_POSITIVE),
            Value::Double(1.0e-300),
            Value::Decimal(decimal),
            Value::Int(0),
            Value::Date("0000-00-00"),
            Value::Time("-838:59:59.000000"),
            Value::DateTime("2024-02-00 00:00:00.000"),
            Value::Timestamp(1_700_000_000_123_456),
            Value::Bit(&[0xff, 0, 0, 0, 1]),
            Value::Bytes(&[0xe9, b'\'', b'\\']),
            Value::Bytes(&[0x81, 0x5c]),
            Value::Bytes(&[0, 255, b'\'', 0]),
            Value::Bytes(&[0, 1, 2, 0x27, 0x5c, 0xff, 0x1a]),
            Value::Enum(e),
            Value::Set(5),
            // As MySQL prints it: for MariaDB it is text.
            Value::Json("{\"n\": [1, 2.5, null], \"é\": \"a'b\\\\n\"}"),
            if with_point { Value::Bytes(&point) } else { Value::Null },
            Value::Int(0),
            Value::Int(3),
        ])
    };
    let nothing = |id: u64| {
        let mut values = vec![Value::UInt(id)];
        values.resize(20, Value::Null);
        Some(values)
    };
    for id in (0..10).chain([u64::MAX]) {
        source.transaction(&[(&t, None, nothing(id))]).await;
    }
    for id in 0..9 {
        source.transaction(&[(&t, nothing(id), odd(id, 2, false))]).await;
    }
    source.flush().await;
    // Nine rows in one joined update.
    let mut load = start(&source, LoadSettings::new("ld-types", 1)).await;
    load.reach(&source.gtid_set.clone()).await;
    load.stop().await;
    for id in 0..9 {
        source.transaction(&[(&t, odd(id, 2, false), odd(id, 2, true))]).await;
    }
    source.transaction(&[(&t, nothing(u64::MAX), odd(u64::MAX, 0, true)), (&t, nothing(9), odd(9, 0, true))]).await;
    source.flush().await;
    for compare_image in [false, true] {
        if compare_image {
            forget(&mut c, "ld-types").await;
            c.execute("TRUNCATE t").await.unwrap();
        }
        let term = 2 + u64::from(compare_image);
        let settings = LoadSettings {
            compare_image,
            rows: if compare_image { 5 } else { 1_000 },
            ..LoadSettings::new("ld-types", term)
        };
        let mut load = start(&source, settings).await;
        load.reach(&source.gtid_set.clone()).await;
        c.execute("SET time_zone = '+00:00', sql_mode = ''").await.unwrap();
        let found = "SELECT f, d, n, y, da, ti, dt, ts, HEX(b), HEX(l), HEX(g), HEX(bi), HEX(bl), s + 0, j, HEX(po), inv, COUNT(*), \
                     SUM(e + 0), SUM(gen = id % 7) FROM t GROUP BY 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17";
        let expected = format!(
            "1.17549e-38,1e-300,{decimal},0000,0000-00-00,-838:59:59.000000,2024-02-00 00:00:00.000,2023-11-14 22:13:20.123456,\
             FF00000001,E9275C,815C,00FF2700,000102275CFF1A,5,{{\"n\": [1, 2.5, null], \"é\": \"a'b\\\\n\"}},{},3,11,18,11",
            point.iter().map(|b| format!("{b:02X}")).collect::<String>()
        );
        assert_eq!(rows(&mut c, found).await, [expected]);
        load.stop().await;
    }
}

#[tokio::test]
#[ignore = "needs a server"]
async fn a_unit_larger_than_memory_is_applied_while_it_is_read_and_undone_when_it_never_was() {
    let mut c = fresh("ld_large").await;
    forget(&mut c, "ld-large").await;
    c.execute("CREATE TABLE t (id INT PRIMARY KEY, v LONGBLOB)").await.unwrap();
    let mut source = Source::new().await;
    let t = source.table("ld_large", "t", vec![int("id"), typed("v", ColumnType::Blob { prefix: 4 })], &[0]);
    let big = vec![b'x'; 60_000];
    let part = |first: i64| -> Vec<Change<'_>> {
        (first..first + 17).map(|id| (&t, None, Some(vec![Value::Int(id), Value::Bytes(&big)])) as Change<'_>).collect()
    };
    source.transaction(&[(&t, None, Some(vec![Value::Int(-1), Value::Null]))]).await;
    source.flush().await;
    let mut load = start(&source, LoadSettings::new("ld-large", 1)).await;
    load.reach(&source.gtid_set.clone()).await;

    // A unit whose writer dies in the middle: twelve parts, no end.
    let number = source.last.next_sequence();
    for at in 1..=12 {
        let mut builder = ChangesBuilder::new();
        let index = builder.table(t.schema.fingerprint(), &t.schema.table().name);
        for (_, _, after) in part(at * 100) {
            let mut datum = Vec::new();
            for (column, value) in after.unwrap().iter().enumerate() {
                t.encoder.write(column, *value, &mut datum).unwrap();
            }
            builder.push(Operation::Insert, RowFlags(0), index, None, Some(&datum), None, None);
        }
        let draft = lutra_log::HeaderDraft {
            number,
            previous: source.last,
            part: u32::try_from(at).unwrap(),
            end: lutra_wire::PartEnd::More,
            source: None,
            committed_at: 0,
            read_at: 0,
            input: None,
            origins: Vec::new(),
            totals: None,
        };
        source.writer.append(draft, &builder.finish(), None).await.unwrap();
    }
    source.flush().await;
    let options = WriterOptions {
        log_id: source.log_id,
        cluster: "test".to_owned(),
        rules_version: 0,
        begun: true,
        bookmarks: Vec::new(),
        max_in_flight_bytes: 1 << 30,
    };
    source.writer = LogWriter::start(&source.log, options, Epoch::new(2, 1)).await.unwrap().0;
    let parts: Vec<Vec<Change<'_>>> = (0..20).map(|n| part(10_000 + n * 100)).collect();
    source.parts(&parts.iter().map(Vec::as_slice).collect::<Vec<_>>()).await;
    source.flush().await;
    load.reach(&source.gtid_set.clone()).await;
    assert_eq!(rows(&mut c, "SELECT COUNT(*), SUM(id < 10000), SUM(LENGTH(v)) FROM t").await, ["341,1,20400000"]);
    let slot = "SELECT MAX(sequence), MAX(next_offset) > 30 FROM lutra.slot WHERE task='load/ld-large'";
    assert_eq!(rows(&mut c, slot).await, ["2,1"]);
    load.stop().await;
}

#[tokio::test]
#[ignore = "needs a server"]
async fn a_higher_epoch_takes_over_and_a_killed_connection_ends_the_attempt() {
    let mut c = fresh("ld_takeover").await;
    forget(&mut c, "ld-takeover").await;
    c.execute("CREATE TABLE t (id INT PRIMARY KEY, v INT)").await.unwrap();
    let mut source = Source::new().await;
    let t = source.table("ld_takeover", "t", vec![int("id"), int("v")], &[0]);
    for id in 0..500 {
        source.transaction(&[(&t, None, ints(&[id, 0])), (&t, None, ints(&[id + 1_000, 0]))]).await;
        source.transaction(&[(&t, ints(&[id, 0]), ints(&[id, 1]))]).await;
    }
    source.flush().await;
    let old = start(&source, LoadSettings { rows: 3, ..LoadSettings::new("ld-takeover", 1) }).await;
    let mut watched = old.progress.clone();
    watched.wait_for(|p| p.batches_committed > 20).await.unwrap();
    let mut new = start(&source, LoadSettings { rows: 3, ..LoadSettings::new("ld-takeover", 2) }).await;
    let ended = old.fails().await;
    assert_eq!(ended.disposition().0, Disposition::Retry, "{}", describe(Err(ended)));

    // And the new one loses all its connections on the way.
    new.progress.wait_for(|p| p.batches_committed > 20).await.unwrap();
    let mut killer = Connection::connect(&options()).await.unwrap();
    let held =
        rows(&mut killer, "SELECT IS_USED_LOCK(CONCAT('lutra:', LEFT(SHA2('load/ld-takeover', 256), 24), ':0'))").await;
    killer.kill(held[0].parse().unwrap()).await.unwrap();
    let ended = new.fails().await;
    assert_eq!(ended.disposition().0, Disposition::Retry, "{}", describe(Err(ended)));

    let mut last = start(&source, LoadSettings::new("ld-takeover", 3)).await;
    last.reach(&source.gtid_set.clone()).await;
    assert_eq!(rows(&mut c, "SELECT COUNT(*), SUM(v) FROM t").await, ["1000,500"]);
    last.stop().await;
}

#[tokio::test]
#[ignore = "needs a server"]
async fn a_lock_of_another_session_is_waited_for() {
    let mut c = fresh("ld_lock").await;
    forget(&mut c, "ld-lock").await;
    c.batch("CREATE TABLE t (id INT PRIMARY KEY, v INT); INSERT INTO t VALUES (1, 0), (2, 0)").await.unwrap();
    let mut source = Source::new().await;
    let t = source.table("ld_lock", "t", vec![int("id"), int("v")], &[0]);
    let mut other = Connection::connect(&options()).await.unwrap();
    other.batch("BEGIN; SELECT * FROM ld_lock.t WHERE id = 1 FOR UPDATE").await.unwrap();
    source.transaction(&[(&t, ints(&[1, 0]), ints(&[1, 1]))]).await;
    source.transaction(&[(&t, ints(&[2, 0]), ints(&[2, 1]))]).await;
    source.flush().await;
    let mut load = start(&source, LoadSettings { rows: 1, ..LoadSettings::new("ld-lock", 1) }).await;
    // The lock wait runs into its limit at least once.
    load.progress.wait_for(|p| p.state == "retrying").await.unwrap();
    assert_eq!(rows(&mut c, "SELECT SUM(v) FROM t").await, ["0"]);
    other.rollback().await.unwrap();
    load.reach(&source.gtid_set.clone()).await;
    assert_eq!(rows(&mut c, "SELECT SUM(v) FROM t").await, ["2"]);
    load.stop().await;
}

#[tokio::test]
#[ignore = "needs a server"]
async fn ddl_whose_intent_was_left_open_is_settled() {
    let mut c = fresh("ld_intent").await;
    forget(&mut c, "ld-intent").await;
    let mut source = Source::new().await;
    source.flush().await;
    // A first start makes the slot rows.
    let load = start(&source, LoadSettings::new("ld-intent", 1)).await;
    let mut progress = load.progress.clone();
    progress.wait_for(|p| matches!(p.state, "seeking" | "running")).await.unwrap();
    load.stop().await;
    let name = lutra_change::TableName::new("ld_intent", "t");
    let statement = "CREATE TABLE ld_intent.t (id INT PRIMARY KEY)";
    source.ddl(statement, DdlKind::CreateTable, std::slice::from_ref(&name)).await;
    source.flush().await;
    // As if the owner before had died between the statement and the done row.
    if c.flavour().await.unwrap().is_mariadb() {
        c.execute(statement).await.unwrap();
        return settled_by_the_tables(&mut c, &source, statement).await;
    }
    let uuid =
        rows(&mut c, "SELECT ddl_uuid FROM lutra.slot WHERE task = 'load/ld-intent' AND slot = 0").await.remove(0);
    c.execute(format!("SET gtid_next = '{uuid}:1'")).await.unwrap();
    c.execute(statement).await.unwrap();
    c.execute("SET gtid_next = 'AUTOMATIC'").await.unwrap();
    let fault = start(&source, LoadSettings::new("ld-intent", 2)).await.fails().await;
    assert!(fault.to_string().contains("executed already, without an intent"), "{fault}");
    c.execute(format!(
        "UPDATE lutra.slot SET ddl_intent = JSON_OBJECT('number', JSON_OBJECT('sequence', 1, 'sub', 0), 'statement_sha256', \
         SHA2('{statement}', 256), 'by_gtid', CAST('true' AS JSON), 'before', JSON_ARRAY()) WHERE task = 'load/ld-intent' AND slot = 0"
    ))
    .await
    .unwrap();
    let mut load = start(&source, LoadSettings::new("ld-intent", 3)).await;
    load.reach(&source.gtid_set.clone()).await;
    assert_eq!(
        rows(&mut c, "SELECT ddl_next, ddl_intent FROM lutra.slot WHERE task='load/ld-intent' AND slot=0").await,
        ["2,NULL"]
    );
    load.stop().await;
}

/// Without GTIDs the intent says what the tables looked like before: here the statement's table was not there, and is.
async fn settled_by_the_tables(c: &mut Connection, source: &Source, statement: &str) {
    c.execute(format!(
        "UPDATE lutra.slot SET ddl_intent = CONCAT('{{\"number\":{{\"sequence\":1,\"sub\":0}},\"statement_sha256\":\"', \
         SHA2('{statement}', 256), '\",\"by_gtid\":false,\"before\":[\"-\"]}}') WHERE task = 'load/ld-intent' AND slot = 0"
    ))
    .await
    .unwrap();
    let mut load = start(source, LoadSettings::new("ld-intent", 3)).await;
    load.reach(&source.gtid_set.clone()).await;
    let slot = "SELECT ddl_next, ddl_intent FROM lutra.slot WHERE task='load/ld-intent' AND slot=0";
    assert_eq!(rows(c, slot).await, ["1,NULL"]);
    load.stop().await;
}

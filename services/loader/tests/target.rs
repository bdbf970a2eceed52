//! A load against a real server: `LUTRA_TARGET_URL=mysql://… cargo test -p lutra-loader --test target -- --ignored`.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{LoadSettings, Source, forget, fresh, int, rows, start, text};
use lutra_change::{TableName, Value};
use lutra_loader::error::LoadError;
use lutra_wire::DdlKind;

#[tokio::test]
#[ignore = "needs a server"]
async fn rows_and_checkpoint_arrive_together_and_a_restart_goes_on() {
    let mut c = fresh("ld_first").await;
    forget(&mut c, "ld-first").await;
    c.execute("CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20))").await.unwrap();
    let mut source = Source::new().await;
    let t = source.table("ld_first", "t", vec![int("id"), text("v")], &[0]);
    let row = |id: i64, v: &'static str| Some(vec![Value::Int(id), Value::Bytes(v.as_bytes())]);
    source.transaction(&[(&t, None, row(1, "a")), (&t, None, row(2, "b'\\"))]).await;
    source.transaction(&[(&t, row(1, "a"), row(1, "c")), (&t, row(2, "b'\\"), row(3, "b"))]).await;
    source.flush().await;
    let mut load = start(&source, LoadSettings::new("ld-first", 10)).await;
    load.reach(&source.gtid_set.clone()).await;
    assert_eq!(rows(&mut c, "SELECT * FROM t ORDER BY id").await, ["1,c", "3,b"]);
    load.stop().await;

    source.transaction(&[(&t, row(1, "c"), None), (&t, None, row(9, "z"))]).await;
    source.flush().await;
    let mut load = start(&source, LoadSettings::new("ld-first", 11)).await;
    load.reach(&source.gtid_set.clone()).await;
    assert_eq!(rows(&mut c, "SELECT * FROM t ORDER BY id").await, ["3,b", "9,z"]);
    let slot = "SELECT MAX(sequence), COUNT(*), MIN(term), GROUP_CONCAT(DISTINCT origins) FROM lutra.slot WHERE task='load/ld-first'";
    assert_eq!(rows(&mut c, slot).await, ["3,4,11,memory"]);
    load.stop().await;

    let fenced = start(&source, LoadSettings::new("ld-first", 5)).await.fails().await;
    assert!(matches!(fenced, LoadError::Fenced { .. }), "{fenced}");
}

#[tokio::test]
#[ignore = "needs a server"]
async fn ddl_runs_once_under_a_gtid_of_its_own() {
    let mut c = fresh("ld_ddl").await;
    forget(&mut c, "ld-ddl").await;
    let mut source = Source::new().await;
    let name = TableName::new("ld_ddl", "t");
    source
        .ddl("CREATE TABLE ld_ddl.t (id INT PRIMARY KEY, v INT)", DdlKind::CreateTable, std::slice::from_ref(&name))
        .await;
    let t = source.table("ld_ddl", "t", vec![int("id"), int("v")], &[0]);
    source.transaction(&[(&t, None, Some(vec![Value::Int(1), Value::Int(1)]))]).await;
    source.ddl("ALTER TABLE ld_ddl.t ADD w INT", DdlKind::AlterTable, std::slice::from_ref(&name)).await;
    let t = source.table("ld_ddl", "t", vec![int("id"), int("v"), int("w")], &[0]);
    source.transaction(&[(&t, None, Some(vec![Value::Int(2), Value::Int(2), Value::Int(2)]))]).await;
    source.ddl("TRUNCATE TABLE ld_ddl.t", DdlKind::TruncateTable, &[name]).await;
    source.transaction(&[(&t, None, Some(vec![Value::Int(3), Value::Null, Value::Int(3)]))]).await;
    source.flush().await;
    let mut load = start(&source, LoadSettings::new("ld-ddl", 1)).await;
    load.reach(&source.gtid_set.clone()).await;
    assert!(load.progress.borrow().ddl_by_gtid);
    assert_eq!(rows(&mut c, "SELECT * FROM t").await, ["3,NULL,3"]);
    let slot = "SELECT MAX(ddl_next), MAX(ddl_intent) FROM lutra.slot WHERE task='load/ld-ddl'";
    assert_eq!(rows(&mut c, slot).await, ["4,NULL"]);
    load.stop().await;
}

#[tokio::test]
#[ignore = "needs a server"]
async fn a_missing_row_is_a_conflict_that_names_the_key_and_not_the_value() {
    let mut c = fresh("ld_conflict").await;
    forget(&mut c, "ld-conflict").await;
    c.execute("CREATE TABLE t (id INT PRIMARY KEY, v INT)").await.unwrap();
    let mut source = Source::new().await;
    let t = source.table("ld_conflict", "t", vec![int("id"), int("v")], &[0]);
    let row = |id: i64, v: i64| Some(vec![Value::Int(id), Value::Int(v)]);
    for id in 0..20 {
        source.transaction(&[(&t, None, row(id, 0))]).await;
    }
    source.transaction(&[(&t, row(777, 0), row(777, 1))]).await;
    source.flush().await;
    let error = start(&source, LoadSettings::new("ld-conflict", 1)).await.fails().await;
    let message = error.to_string();
    assert!(
        message.contains("update of a row of ld_conflict.t (key columns id)") && message.contains("0 rows matched"),
        "{message}"
    );
    assert!(!message.contains("777"), "{message}");
}

//! Values that a server would change on their way in, and tables that cannot take them exactly once, against a real server:
//! `LUTRA_TARGET_URL=mysql://… cargo test -p lutra-loader --test exact -- --ignored`.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{LoadSettings, Source, describe, forget, fresh, int, rows, start, typed};
use lutra_change::{Column, ColumnType, Value};
use lutra_loader::error::Disposition;

fn member(name: &str) -> Column {
    typed(name, ColumnType::Enum { labels: vec!["x".into(), "y".into()], collation: 255 })
}

#[tokio::test]
#[ignore = "needs a server"]
async fn an_invalid_member_of_an_enum_lets_nothing_else_in() {
    let mut c = fresh("ld_lenient").await;
    forget(&mut c, "ld-lenient").await;
    c.execute("CREATE TABLE t (id INT PRIMARY KEY, e ENUM('x','y'), f ENUM('x','y') NOT NULL, n TINYINT)")
        .await
        .unwrap();
    let mut source = Source::new().await;
    let t = source.table("ld_lenient", "t", vec![int("id"), member("e"), member("f"), int("n")], &[0]);
    let row = |id, e, f, n| Some(vec![Value::Int(id), Value::Enum(e), Value::Enum(f), Value::Int(n)]);
    source.transaction(&[(&t, None, row(1, 0, 0, 1)), (&t, None, row(2, 1, 2, 2)), (&t, None, row(3, 2, 0, 3))]).await;
    source.transaction(&[(&t, row(2, 1, 2, 2), row(2, 0, 2, 2))]).await;
    source.flush().await;
    let mut load = start(&source, LoadSettings::new("ld-lenient", 1)).await;
    load.reach(&source.gtid_set.clone()).await;
    let found = "SELECT id, e + 0, f + 0, n FROM t ORDER BY id";
    assert_eq!(rows(&mut c, found).await, ["1,0,0,1", "2,0,2,2", "3,2,0,3"]);
    load.stop().await;

    // A second bad value, which a lenient session would only warn of.
    source.transaction(&[(&t, None, row(4, 0, 1, 300))]).await;
    source.flush().await;
    let ended = start(&source, LoadSettings::new("ld-lenient", 2)).await.fails().await;
    assert_eq!(ended.disposition().0, Disposition::Halt);
    let told = describe(Err(ended));
    assert!(told.contains("ld_lenient.t") && told.contains("would be stored otherwise"), "{told}");
    assert_eq!(rows(&mut c, "SELECT COUNT(*) FROM t").await, ["3"]);

    // Nor does the session stay lenient for what follows.
    c.execute("ALTER TABLE t MODIFY n INT").await.unwrap();
    let mut load = start(&source, LoadSettings::new("ld-lenient", 3)).await;
    load.reach(&source.gtid_set.clone()).await;
    load.stop().await;
    c.execute("ALTER TABLE t MODIFY e ENUM('x','y') NOT NULL").await.unwrap();
    source.transaction(&[(&t, None, row(5, 0, 1, 1))]).await;
    let null = Some(vec![Value::Int(6), Value::Null, Value::Enum(0), Value::Int(1)]);
    source.transaction(&[(&t, None, null)]).await;
    source.flush().await;
    let told = describe(Err(start(&source, LoadSettings::new("ld-lenient", 4)).await.fails().await));
    assert!(told.contains("ld_lenient.t"), "{told}");
    assert_eq!(rows(&mut c, "SELECT COUNT(*) FROM t WHERE id = 6").await, ["0"]);
}

#[tokio::test]
#[ignore = "needs a server"]
async fn a_table_without_transactions_is_named_with_its_engine_and_the_way_out() {
    let mut c = fresh("ld_engine").await;
    forget(&mut c, "ld-engine").await;
    // Without a key, so that MariaDB could not tell a row that comes twice either.
    c.execute("CREATE TABLE m (id INT, v INT) ENGINE=MyISAM").await.unwrap();
    let mut source = Source::new().await;
    let m = source.table("ld_engine", "m", vec![int("id"), int("v")], &[]);
    source.transaction(&[(&m, None, Some(vec![Value::Int(1), Value::Int(1)]))]).await;
    source.flush().await;
    let ended = start(&source, LoadSettings::new("ld-engine", 1)).await.fails().await;
    assert_eq!(ended.disposition().0, Disposition::Halt);
    let told = describe(Err(ended));
    assert!(told.contains("ld_engine.m") && told.contains("its engine MyISAM has no transactions"), "{told}");
    // The way out that it names.
    let (_, rest) = told.split_once('`').unwrap();
    let remedy = format!("ALTER TABLE {}", rest.split_once("ALTER TABLE ").map_or(rest, |(_, r)| r));
    let (remedy, _) = remedy.split_once("InnoDB").unwrap();
    c.execute(format!("{remedy}InnoDB")).await.unwrap();
    let mut load = start(&source, LoadSettings::new("ld-engine", 2)).await;
    load.reach(&source.gtid_set.clone()).await;
    assert_eq!(rows(&mut c, "SELECT id, v FROM m").await, ["1,1"]);
    load.stop().await;
}

/// A document with a scalar of every type that JSON text does not tell, marked as the extractor marks them.
const TYPED: &str = "{\"b\": \t\t\t\t\t\t\t\t\"base64:type252:AP8n\", \"d\": \t\t\t1.50, \"u\": \t7, \"da\": \t\t\t\t\"2024-02-29\", \
                     \"dt\": \t\t\t\t\t\t\"2024-02-29 01:02:03.000004\", \"li\": [1, \t\t5000000000, [\t\t\t-0.10]], \
                     \"ti\": \t\t\t\t\t\"-838:59:58.500000\"}";

#[tokio::test]
#[ignore = "needs a server"]
async fn scalars_inside_json_keep_their_types() {
    let mut c = fresh("ld_json").await;
    if c.flavour().await.unwrap().is_mariadb() {
        return;
    }
    forget(&mut c, "ld-json").await;
    c.execute("CREATE TABLE t (id INT PRIMARY KEY, j JSON); ").await.unwrap();
    c.execute("CREATE TABLE k (j JSON)").await.unwrap();
    let mut source = Source::new().await;
    let t = source.table("ld_json", "t", vec![int("id"), typed("j", ColumnType::Json)], &[0]);
    let k = source.table("ld_json", "k", vec![typed("j", ColumnType::Json)], &[]);
    let row = |id, text| Some(vec![Value::Int(id), Value::Json(text)]);
    let alone = |text| Some(vec![Value::Json(text)]);
    source.transaction(&[(&t, None, row(1, TYPED)), (&t, None, row(2, "{\"d\": 1}")), (&t, None, row(3, "{}"))]).await;
    source.transaction(&[(&t, row(2, "{\"d\": 1}"), row(2, TYPED)), (&t, row(3, "{}"), row(3, "\t\t\t1.10"))]).await;
    source
        .transaction(&[
            (&k, None, alone(TYPED)),
            (&k, None, alone("{\"da\": \"2024-02-29\"}")),
            (&k, None, alone(TYPED)),
        ])
        .await;
    source.transaction(&[(&k, alone(TYPED), None)]).await;
    source.transaction(&[(&k, alone(TYPED), alone("[]"))]).await;
    source.flush().await;
    let mut load = start(&source, LoadSettings::new("ld-json", 1)).await;
    load.reach(&source.gtid_set.clone()).await;
    load.stop().await;
    let types = "SELECT id, JSON_TYPE(j->'$.b'), JSON_TYPE(j->'$.d'), JSON_TYPE(j->'$.u'), JSON_TYPE(j->'$.dt'), JSON_TYPE(j->'$.da'), \
                 JSON_TYPE(j->'$.ti'), JSON_TYPE(j->'$.li[1]'), JSON_TYPE(j->'$.li[2][0]'), JSON_TYPE(j) FROM t ORDER BY id";
    let all = "BLOB,DECIMAL,UNSIGNED INTEGER,DATETIME,DATE,TIME,INTEGER,DECIMAL,OBJECT";
    let none = "NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,DECIMAL";
    assert_eq!(rows(&mut c, types).await, [format!("1,{all}"), format!("2,{all}"), format!("3,{none}")]);
    let printed = lutra_change::json::printed(TYPED).into_owned();
    assert_eq!(rows(&mut c, "SELECT CAST(j AS CHAR) FROM t WHERE id < 3").await, [printed.clone(), printed]);
    assert_eq!(rows(&mut c, "SELECT CAST(j AS CHAR) FROM k ORDER BY 1").await, ["[]", "{\"da\": \"2024-02-29\"}"]);
}

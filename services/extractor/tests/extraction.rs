//! On a real source and broker: `LUTRA_SOURCE_URL=… LUTRA_KAFKA=… cargo test -p lutra-extractor -- --ignored`.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use lutra_change::{Number, Operation};
use lutra_extractor::error::ExtractError;
use lutra_spec::SourceStart;
use lutra_wire::record::{BodyKind, DdlKind, PartEnd};
use support::{Scene, Seen};

#[tokio::test]
#[ignore = "needs the stack"]
async fn inserts_updates_and_deletes_of_a_table_reach_the_log_in_order() {
    let mut scene = Scene::new("ex_rows").await;
    scene.sql("CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20))").await;
    let following = scene.follow(&["ex_rows.*"]).await;
    scene.sql("INSERT INTO t VALUES (1, 'a'), (2, 'b')").await;
    scene.sql("UPDATE t SET v = 'c' WHERE id = 2").await;
    scene.batch("BEGIN; DELETE FROM t WHERE id = 1; INSERT INTO t VALUES (3, 'd'); COMMIT").await;
    let seen = scene.read(3).await;
    following.stop().await;

    assert_eq!(seen.iter().map(|u| u.number.sequence).collect::<Vec<_>>(), [1, 2, 3]);
    let rows: Vec<_> = seen.iter().flat_map(|u| u.rows.clone()).collect();
    assert_eq!(
        rows,
        [
            (Operation::Insert, "t".to_owned(), None, Some("1,a".to_owned())),
            (Operation::Insert, "t".to_owned(), None, Some("2,b".to_owned())),
            (Operation::Update, "t".to_owned(), Some("2,b".to_owned()), Some("2,c".to_owned())),
            (Operation::Delete, "t".to_owned(), Some("1,a".to_owned()), None),
            (Operation::Insert, "t".to_owned(), None, Some("3,d".to_owned())),
        ]
    );
    assert!(seen.iter().all(|u| u.gtid.is_some() && u.totals.is_some()));
}

#[tokio::test]
#[ignore = "needs the stack"]
async fn a_second_start_goes_on_where_the_first_one_ended() {
    let mut scene = Scene::new("ex_resume").await;
    scene.sql("CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20))").await;
    for round in 0..4 {
        let following = scene.follow(&["ex_resume.*"]).await;
        scene.sql(&format!("INSERT INTO t VALUES ({round}, 'x')")).await;
        if round % 2 == 0 {
            scene.read(round + 1).await;
            following.stop().await;
        } else {
            following.kill().await;
        }
        scene.sql(&format!("UPDATE t SET v = 'y' WHERE id = {round}")).await;
        scene.sql(&format!("UPDATE t SET v = 'x' WHERE id = {round}")).await;
        scene.sql(&format!("DELETE FROM t WHERE id = 1000 + {round}")).await;
    }
    let following = scene.follow(&["ex_resume.*"]).await;
    let seen = scene.read(12).await;
    following.stop().await;
    let numbers: Vec<u64> = seen.iter().map(|u| u.number.sequence).collect();
    assert_eq!(numbers, (1..=12).collect::<Vec<_>>());
    let ids: Vec<_> = seen.iter().map(|u| u.gtid.clone().unwrap()).collect();
    let mut unique = ids.clone();
    unique.dedup();
    assert_eq!(ids, unique);
}

#[tokio::test]
#[ignore = "needs the stack"]
async fn definitions_and_only_captured_ones_become_units() {
    let mut scene = Scene::new("ex_ddl").await;
    let following = scene.follow(&["ex_ddl.t*"]).await;
    scene.sql("CREATE TABLE t1 (id INT PRIMARY KEY)").await;
    scene.sql("CREATE TABLE other (id INT PRIMARY KEY)").await;
    scene.sql("ALTER TABLE t1 ADD COLUMN v INT /* x */").await;
    scene.sql("CREATE VIEW v AS SELECT 1").await;
    scene.sql("CREATE TABLE t2 AS SELECT 1 AS a, 'x' AS b").await;
    scene.sql("DROP TABLE t1, other").await;
    let seen = scene.read(5).await;
    following.stop().await;
    let what: Vec<_> = seen.iter().map(|u| u.ddl.clone().map(|(kind, tables, _)| (kind, tables))).collect();
    let of = |kind, tables: &[&str]| Some((kind, tables.iter().map(|t| format!("ex_ddl.{t}")).collect::<Vec<_>>()));
    assert_eq!(
        what,
        [
            of(DdlKind::CreateTable, &["t1"]),
            of(DdlKind::AlterTable, &["t1"]),
            of(DdlKind::CreateTable, &["t2"]),
            None,
            // What is not captured is left out of the list.
            of(DdlKind::DropTable, &["t1"]),
        ]
    );
    assert_eq!(seen[3].rows, [(Operation::Insert, "t2".to_owned(), None, Some("1,x".to_owned()))]);
    let create = &seen[2].ddl.as_ref().unwrap().2;
    assert!(!create.contains("START TRANSACTION"), "{create}");
    assert!(seen[2].gtid.is_none() && seen[3].gtid.is_some());
}

#[tokio::test]
#[ignore = "needs the stack"]
async fn a_large_transaction_comes_in_parts_of_bounded_size() {
    let mut scene = Scene::new("ex_parts").await;
    scene.sql("CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(1000))").await;
    let following = scene.follow(&["ex_parts.*"]).await;
    scene.sql("SET SESSION cte_max_recursion_depth = 100000").await;
    let fill = "INSERT INTO t (v) WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 20000) \
                SELECT REPEAT('x', 500) FROM n";
    scene.sql(fill).await;
    let seen = scene.read(1).await;
    following.stop().await;
    let Seen { rows, parts, number, totals, .. } = &seen[0];
    assert_eq!((rows.len(), *number, totals.unwrap().rows), (20_000, Number::new(1, 0), 20_000));
    assert!(parts.len() >= 18 && parts.iter().all(|&bytes| bytes <= 600_000), "{parts:?}");
}

#[tokio::test]
#[ignore = "needs the stack"]
async fn transactions_that_are_not_captured_make_a_heartbeat_move() {
    let mut scene = Scene::new("ex_move").await;
    scene.sql("CREATE TABLE t (id INT PRIMARY KEY)").await;
    scene.sql("CREATE TABLE other (id INT PRIMARY KEY)").await;
    let following = scene.follow(&["ex_move.t"]).await;
    scene.sql("INSERT INTO other VALUES (1)").await;
    let executed = scene.executed().await;
    let heartbeat = scene.wait_for_heartbeat(|h| h.number.sub > 1 && executed.is_subset(&h.gtid_set)).await;
    scene.sql("INSERT INTO t VALUES (1)").await;
    let seen = scene.read(1).await;
    following.stop().await;
    assert_eq!(heartbeat.kind, BodyKind::Heartbeat);
    assert_eq!(heartbeat.end, PartEnd::Commit);
    assert_eq!((seen[0].number.sequence, seen[0].previous.sequence), (1, 0));
}

#[tokio::test]
#[ignore = "needs the stack"]
async fn the_least_grants_are_enough() {
    let mut scene = Scene::new("ex_grants").await;
    scene.sql("CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20))").await;
    scene.batch("SET sql_log_bin = 0; DROP USER IF EXISTS ex_reader; CREATE USER ex_reader IDENTIFIED BY 'l3st'").await;
    for grant in lutra_mysql::checks::source_grants("ex_reader", lutra_mysql::Flavour::MySql) {
        scene.sql(&grant).await;
    }
    scene.sql("SET sql_log_bin = 1").await;
    let mut config = scene.config(&["ex_grants.*"]);
    for server in &mut config.servers {
        server.user = "ex_reader".to_owned();
        server.password = Some(lutra_mysql::Password::new("l3st"));
    }
    config.spec.user = "ex_reader".to_owned();
    let following = scene.follow_as(config).await;
    scene.sql("INSERT INTO t VALUES (1, 'a')").await;
    assert_eq!(scene.read(1).await.len(), 1);
    following.stop().await;
}

#[tokio::test]
#[ignore = "needs the stack"]
async fn a_source_without_the_logs_transactions_is_refused_and_they_are_named() {
    let mut scene = Scene::new("ex_phantom").await;
    let mut config = scene.config(&["ex_phantom.*"]);
    let mut set = scene.executed().await;
    let phantom = "3e11fa47-71ca-11e1-9e33-c80aa9429562:5-7";
    set.union_with(&phantom.parse().unwrap());
    config.spec.start = SourceStart::Gtid(set);
    match scene.start(config).failure().await {
        ExtractError::SourceBehindLog { phantom: found, .. } => assert_eq!(found.to_string(), phantom),
        other => panic!("{other}"),
    }
}

#[tokio::test]
#[ignore = "needs the stack"]
async fn a_server_that_is_not_fit_is_refused_with_what_mends_it() {
    let mut scene = Scene::new("ex_unfit").await;
    let mut config = scene.config(&["ex_unfit.*"]);
    config.server_id = scene.source.query_text("SELECT @@server_id").await.unwrap().unwrap().parse().unwrap();
    match scene.start(config).failure().await {
        ExtractError::Unfit { faults, .. } => assert_eq!(faults[0].name, "ensure_server_id"),
        other => panic!("{other}"),
    }
    // By position, behind the binlog's end.
    let mut config = scene.config(&["ex_unfit.*"]);
    config.spec.start = SourceStart::Position(lutra_change::BinlogPosition::new("nowhere.000001", 4));
    match scene.start(config).failure().await {
        ExtractError::Unfit { faults, .. } => assert_eq!(faults[0].name, "ensure_binlog_not_purged"),
        other => panic!("{other}"),
    }
}

#[tokio::test]
#[ignore = "needs the stack"]
async fn capture_can_begin_at_a_position_with_and_without_gtid() {
    for gtid in [true, false] {
        let mut scene = Scene::new(if gtid { "ex_position" } else { "ex_file" }).await;
        scene.sql("CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20))").await;
        scene.sql("INSERT INTO t VALUES (1, 'before')").await;
        let (position, _) = lutra_mysql::catalogue::binlog_end(&mut scene.source).await.unwrap();
        scene.sql("INSERT INTO t VALUES (2, 'behind')").await;
        let mut config = scene.config(&[if gtid { "ex_position.*" } else { "ex_file.*" }]);
        config.spec.gtid = gtid;
        config.spec.start = SourceStart::Position(position);
        let following = scene.follow_as(config.clone()).await;
        let seen = scene.read(1).await;
        following.stop().await;
        assert_eq!(seen[0].rows[0].3.as_deref(), Some("2,behind"));
        assert_eq!(seen[0].gtid.is_some(), gtid);

        scene.sql("CREATE TABLE u AS SELECT * FROM t").await;
        config.begun = true;
        let following = scene.follow_as(config).await;
        scene.sql("INSERT INTO t VALUES (3, 'later')").await;
        let seen = scene.read(4).await;
        following.stop().await;
        assert_eq!(seen.iter().map(|u| u.number.sequence).collect::<Vec<_>>(), [1, 2, 3, 4]);
        assert_eq!(seen[3].rows[0].3.as_deref(), Some("3,later"));
    }
}

#[tokio::test]
#[ignore = "needs the stack"]
async fn a_loaders_mark_says_where_a_transaction_came_from() {
    let mut scene = Scene::new("ex_mark").await;
    scene.sql("CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20))").await;
    scene
        .batch(
            "CREATE DATABASE IF NOT EXISTS lutra; CREATE TABLE IF NOT EXISTS lutra.slot (task VARCHAR(100), slot INT, \
         origins TEXT, PRIMARY KEY (task, slot)); REPLACE INTO lutra.slot (task, slot) VALUES ('load/ex_mark', 0)",
        )
        .await;
    let following = scene.follow(&["ex_mark.*"]).await;
    scene.batch(
        "BEGIN; UPDATE lutra.slot SET origins = 'crm,shop' WHERE task = 'load/ex_mark'; INSERT INTO t VALUES (1, 'a'); COMMIT",
    ).await;
    scene.sql("UPDATE lutra.slot SET origins = 'crm' WHERE task = 'load/ex_mark'").await;
    scene.sql("INSERT INTO t VALUES (2, 'b')").await;
    let seen = scene.read(2).await;
    following.stop().await;
    assert_eq!(seen.iter().map(|u| u.origins.join(" ")).collect::<Vec<_>>(), ["crm shop", ""]);
    assert_eq!(
        seen[1].previous, seen[0].number,
        "a transaction of Lutra's tables alone does not move a heartbeat at once"
    );
}

#[tokio::test]
#[ignore = "needs the stack"]
async fn compressed_transactions_are_carried_once() {
    let mut scene = Scene::new("ex_payload").await;
    scene.sql("CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(2000))").await;
    let following = scene.follow(&["ex_payload.*"]).await;
    scene.sql("SET SESSION binlog_transaction_compression = ON").await;
    scene
        .batch(
            "BEGIN; INSERT INTO t VALUES (1, REPEAT('a', 2000)); INSERT INTO t VALUES (2, REPEAT('a', 2000)); COMMIT",
        )
        .await;
    scene.sql("UPDATE t SET v = REPEAT('b', 1999)").await;
    scene.sql("SET SESSION binlog_transaction_compression = OFF").await;
    scene.sql("DELETE FROM t").await;
    let seen = scene.read(3).await;
    following.stop().await;
    assert_eq!(seen.iter().map(|u| u.rows.len()).collect::<Vec<_>>(), [2, 2, 2]);
    assert_eq!(seen.iter().map(|u| u.number.sequence).collect::<Vec<_>>(), [1, 2, 3]);
}

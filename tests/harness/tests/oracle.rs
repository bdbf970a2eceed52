//! The oracle on real servers: equal is equal, and every kind of difference is seen.
#![allow(clippy::unwrap_used)]

use lutra_harness::SharedStack;
use lutra_harness::mysql::execute;
use lutra_harness::oracle::{Comparison, Difference};

const TABLES: &[&str] = &[
    "CREATE TABLE item (id BIGINT PRIMARY KEY, name VARCHAR(40), price DECIMAL(10,2), made TIMESTAMP(6) NULL,
        weight FLOAT, kind ENUM('', 'a', 'b'), doc JSON, hidden INT INVISIBLE)",
    "INSERT INTO item (id, name, price, made, weight, kind, doc, hidden)
        WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)
        SELECT i, CONCAT('name ', i), i / 7, FROM_UNIXTIME(i * 1000), i / 3, 'a', JSON_OBJECT('i', i), i FROM n",
    "CREATE TABLE ledger (what VARCHAR(20), amount INT, note TEXT)",
    "INSERT INTO ledger VALUES ('in', 1, 'x'), ('in', 1, 'x'), ('out', 2, NULL)",
];

/// Makes the same tables in a database of its own on both servers, and then what `changes` says in the target.
async fn compared(database: &str, changes: &[&str]) -> Vec<Difference> {
    let stack = SharedStack::get().await.unwrap();
    let (source, target) = (stack.mysql("source").unwrap().url(), stack.mysql("target").unwrap().url());
    for (url, changes) in [(&source, [].as_slice()), (&target, changes)] {
        let create = format!("CREATE DATABASE {database}");
        let choose = format!("USE {database}");
        let mut statements = vec![create.as_str(), choose.as_str(), "SET sql_mode=''"];
        statements.extend(TABLES);
        statements.extend(changes);
        execute(url, &statements).await.unwrap();
    }
    let report = Comparison::new(&source, &target).databases(&[database]).with_definitions().run().await.unwrap();
    assert_eq!(report.count, report.differences.len() as u64);
    report.differences
}

#[tokio::test]
async fn equal_databases_are_equal() {
    assert_eq!(compared("oracle_equal", &[]).await, vec![]);
}

#[tokio::test]
async fn changed_missing_and_extra_rows_are_told_by_key() {
    let changes = [
        "UPDATE item SET price = 0 WHERE id = 17",
        "DELETE FROM item WHERE id = 18",
        "INSERT INTO item (id) VALUES (1000)",
    ];
    let found = compared("oracle_rows", &changes).await;
    assert_eq!(found.len(), 3, "{found:?}");
    let table = || "oracle_rows.item".to_owned();
    let columns = vec![("price".to_owned(), "\"2.43\"".to_owned(), "\"0.00\"".to_owned())];
    assert!(found.contains(&Difference::Values { table: table(), key: "(id=17)".into(), columns }), "{found:?}");
    assert!(found.contains(&Difference::MissingRow { table: table(), key: "(id=18)".into(), times: 1 }));
    assert!(found.contains(&Difference::ExtraRow { table: table(), key: "(id=1000)".into(), times: 1 }));
}

#[tokio::test]
async fn values_that_print_alike_are_told_apart() {
    let changes = [
        "UPDATE item SET weight = 0.33333331 WHERE id = 1",
        "UPDATE item SET hidden = 0 WHERE id = 2",
        "UPDATE item SET kind = '' WHERE id = 3",
    ];
    let found = compared("oracle_exact", &changes).await;
    assert_eq!(found.len(), 3, "{found:?}");
}

#[tokio::test]
async fn an_invalid_enum_value_is_no_empty_member() {
    let stack = SharedStack::get().await.unwrap();
    let (source, target) = (stack.mysql("source").unwrap().url(), stack.mysql("target").unwrap().url());
    for (url, value) in [(&source, "'no member'"), (&target, "''")] {
        let insert = format!("INSERT INTO oracle_enum.t VALUES (1, {value})");
        let statements = [
            "SET sql_mode=''",
            "CREATE DATABASE oracle_enum",
            "CREATE TABLE oracle_enum.t (id INT PRIMARY KEY, e ENUM('', 'a'))",
            &insert,
        ];
        execute(url, &statements).await.unwrap();
    }
    let report = Comparison::new(&source, &target).databases(&["oracle_enum"]).run().await.unwrap();
    assert_eq!(report.count, 1, "{report}");
}

#[tokio::test]
async fn a_doubled_row_of_a_keyless_table_is_seen() {
    let found = compared("oracle_ledger", &["INSERT INTO ledger VALUES ('in', 1, 'x')"]).await;
    let key = "(what=\"in\", amount=1, note=\"x\")".to_owned();
    assert_eq!(found, vec![Difference::ExtraRow { table: "oracle_ledger.ledger".into(), key, times: 1 }]);
}

#[tokio::test]
async fn tables_and_definitions_are_compared() {
    let changes = ["DROP TABLE ledger", "CREATE TABLE other (id INT)", "ALTER TABLE item ADD INDEX (name)"];
    let found = compared("oracle_tables", &changes).await;
    assert!(matches!(found.first(), Some(Difference::MissingTable { source, .. }) if source == "oracle_tables.ledger"));
    assert!(matches!(found.get(1), Some(Difference::ExtraTable { target }) if target == "oracle_tables.other"));
    assert!(matches!(found.get(2), Some(Difference::Definition { table, .. }) if table == "oracle_tables.item"));
    assert_eq!(found.len(), 3);
}

#[tokio::test]
async fn routed_tables_are_found_under_their_new_names() {
    let stack = SharedStack::get().await.unwrap();
    let (source, target) = (stack.mysql("source").unwrap().url(), stack.mysql("target").unwrap().url());
    let at_source = [
        "CREATE DATABASE oracle_shop",
        "CREATE TABLE oracle_shop.user_info (id INT PRIMARY KEY, mail VARCHAR(20), secret INT)",
        "INSERT INTO oracle_shop.user_info VALUES (1, 'a', 9), (2, 'b', 9)",
    ];
    let at_target = [
        "CREATE DATABASE oracle_crm",
        "CREATE TABLE oracle_crm.t_user (id INT PRIMARY KEY, email VARCHAR(20))",
        "INSERT INTO oracle_crm.t_user VALUES (1, 'a'), (2, 'B')",
    ];
    execute(&source, &at_source).await.unwrap();
    execute(&target, &at_target).await.unwrap();
    let report = Comparison::new(&source, &target)
        .databases(&["oracle_shop"])
        .table("oracle_shop.user_info", "oracle_crm.t_user")
        .renamed_column("oracle_shop.user_info", "mail", "email")
        .dropped_column("oracle_shop.user_info", "secret")
        .run()
        .await
        .unwrap();
    assert_eq!(report.count, 1, "{report}");
    assert!(report.to_string().contains("oracle_crm.t_user row (id=2): mail is \"b\" -> \"B\""), "{report}");
}

#![allow(clippy::unwrap_used)]
use lutra_change::{DdlKind, SessionContext};

use super::*;

fn ddl(statement: &str, tables: &[&str]) -> Ddl {
    let name = |t: &&str| TableName::new("d", *t);
    Ddl {
        statement: bytes::Bytes::from(statement.to_owned()),
        database: "d".to_owned(),
        kind: DdlKind::AlterTable,
        tables: tables.iter().map(name).collect(),
        context: SessionContext::default(),
    }
}

fn blocked(tables: &[(&str, Block, u64)]) -> Blocked {
    let table = |(name, block, group): &(&str, Block, u64)| BlockedTable {
        table: TableName::new("d", *name),
        group: Number::new(*group, 0),
        block: *block,
        reason: "why".to_owned(),
        rows: 0,
    };
    let standing = Standing { tables: tables.iter().map(table).collect(), ..Standing::default() };
    Blocked::new("load/p", "s", 100, standing, None)
}

fn groups(numbers: &[u64]) -> BTreeSet<Number> {
    numbers.iter().map(|n| Number::new(*n, 0)).collect()
}

#[test]
fn a_statement_meets_what_it_changes_and_what_it_refers_to() {
    let blocked = blocked(&[("a", Block::Held, 7), ("b", Block::Held, 9), ("c", Block::Stopped, 8)]);
    let meets = |statement: &str, tables: &[&str]| blocked.meets(&Scope::of(&ddl(statement, tables)));
    assert_eq!(meets("ALTER TABLE x ADD v INT", &["x"]), Meets::Nothing);
    assert_eq!(meets("ALTER TABLE a ADD v INT", &["a"]), Meets::Groups(Block::Held, groups(&[7])));
    assert_eq!(
        meets("RENAME TABLE a TO t, b TO a", &["a", "t", "b", "a"]),
        Meets::Groups(Block::Held, groups(&[7, 9]))
    );
    assert_eq!(meets("CREATE TABLE x LIKE a", &["x"]), Meets::Groups(Block::Held, groups(&[7])));
    assert_eq!(meets("DROP TABLE c, x", &["c", "x"]), Meets::Groups(Block::Stopped, groups(&[8])));
    let everything = |statement: &str, tables: &[&str]| matches!(meets(statement, tables), Meets::Everything(_));
    assert!(everything("RENAME TABLE a TO t, c TO a", &["a", "t", "c", "a"]), "held and stopped");
    assert!(everything("CREATE VIEW v AS SELECT * FROM d.a", &["v"]), "a view of a held table");
    assert!(everything("DROP DATABASE d", &[]) && everything("ALTER DATABASE CHARACTER SET latin1", &[]));
    assert_eq!(meets("CREATE DATABASE e", &[]), Meets::Nothing);
    assert_eq!(meets("CREATE PROCEDURE p() DELETE FROM a", &[]), Meets::Nothing);
}

#[test]
fn only_a_statement_on_tables_alone_waits_alone() {
    let alone = |statement: &str, tables: &[&str]| Scope::of(&ddl(statement, tables)).waits_alone();
    assert_eq!(alone("ALTER TABLE a ADD v INT", &["a"]), Ok(()));
    assert_eq!(alone("RENAME TABLE a TO b", &["a", "b"]), Ok(()));
    for (statement, tables) in [
        ("CREATE TABLE a LIKE b", vec!["a"]),
        ("ALTER TABLE a ADD FOREIGN KEY (x) REFERENCES b (x)", vec!["a"]),
        ("CREATE VIEW v AS SELECT 1", vec!["v"]),
        ("DROP DATABASE d", vec![]),
        ("FROBNICATE TABLE a", vec!["a"]),
    ] {
        assert!(alone(statement, &tables).is_err(), "{statement}");
    }
    let unfit = ddl("ALTER TABLE z.a ADD v INT", &["b"]).unfit("because");
    let scope = Scope::of(&unfit);
    assert_eq!((scope.waits_alone(), scope.own.len()), (Ok(()), 1), "names of the source are not those of the target");
}

#[test]
fn groups_that_meet_become_one_and_lift_together() {
    let mut blocked = blocked(&[("a", Block::Held, 7), ("b", Block::Held, 9)]);
    blocked.joined(Block::Held, &groups(&[7, 9]), std::iter::once(TableName::new("d", "t")).collect(), 60);
    assert_eq!(blocked.of_group(Number::new(7, 0)).len(), 3);
    assert!(!blocked.is_full());
    blocked.waits(Number::new(7, 0), "next");
    assert!(blocked.news().unwrap().iter().all(|t| t.reason == "next") && blocked.news().is_none());
    blocked.lifted(Number::new(7, 0));
    assert!(blocked.is_empty());
}

#[test]
fn a_table_that_is_copied_anew_is_stopped_no_more() {
    let mut blocked = blocked(&[("c", Block::Stopped, 8), ("a", Block::Held, 7)]);
    let c = [TableName::new("d", "c")];
    let statements = blocked.made_anew(&c, Number::new(20, 0)).unwrap();
    assert_eq!(statements.len(), 3, "the table, and with the last one its group: {statements:?}");
    assert!(blocked.made_anew(&[TableName::new("d", "a")], Number::new(20, 0)).is_err());
    blocked.were_made_anew(&c);
    assert!(blocked.is_held(&TableName::new("d", "a")) && blocked.of_group(Number::new(8, 0)).is_empty());
}

#[test]
fn what_was_under_way_is_settled_first_and_never_before_a_statement_of_the_log() {
    let ready = |n| ReadyGroup { group: Number::new(n, 0), head: Number::new(n, 0) };
    let mut parked =
        Blocked { intent: Some(Number::new(9, 0)), ..blocked(&[("a", Block::Held, 7), ("b", Block::Held, 9)]) };
    parked.answered(vec![ready(7), ready(9)]);
    assert_eq!(parked.next_ready(Number::new(20, 0)), Some(ready(9)));
    let mut of_log = Blocked { intent: Some(Number::new(21, 0)), ..blocked(&[("a", Block::Held, 7)]) };
    of_log.answered(vec![ready(7)]);
    assert_eq!(of_log.next_ready(Number::new(20, 0)), None);
    assert!(!of_log.has_ready(Number::new(20, 0), false) && of_log.has_ready(Number::new(21, 0), false));
    assert!(!of_log.has_ready(Number::new(21, 0), true), "what was put off may be what is under way");
    assert_eq!(of_log.next_ready(Number::new(21, 0)), Some(ready(7)));
}

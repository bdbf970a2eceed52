#![allow(clippy::unwrap_used)]
//! What the planner's statements do to a small table in memory is what the changes did, row by row.

use std::sync::Arc;

use lutra_change::{Column, ColumnType, KeyPart, TableName, TableSchema};
use proptest::prelude::*;

use super::*;
use crate::catalogue::{TargetColumn, TargetKey, TargetTable};

/// (id, u, v): `id` is the key, `u` unique and compared without case, `v` anything.
type Row = (u8, Option<char>, u8);

fn map(keyed: bool) -> Arc<TableMap> {
    let name = TableName::new("d", "t");
    let int = |name: &str| Column {
        name: name.to_owned(),
        column_type: ColumnType::Int { unsigned: false },
        nullable: false,
        invisible: false,
    };
    let text = Column { column_type: ColumnType::VarChar { bytes: 4, collation: 255 }, nullable: true, ..int("u") };
    let primary_key = if keyed { vec![KeyPart { column: 0, prefix: None }] } else { Vec::new() };
    let schema = TableSchema { name: name.clone(), columns: vec![int("id"), text, int("v")], primary_key };
    let column = |name: &str, collation: Option<&str>| TargetColumn {
        name: name.to_owned(),
        generated: false,
        nullable: collation.is_some(),
        needs_value: false,
        touched_by_updates: false,
        data_type: if collation.is_some() { "varchar" } else { "int" }.to_owned(),
        charset: collation.map(|_| "utf8mb4".to_owned()),
        collation: collation.map(str::to_owned),
    };
    let key =
        |name: &str, column: &str| TargetKey { name: name.to_owned(), columns: vec![column.to_owned()], plain: true };
    let table = TargetTable {
        name,
        engine: "InnoDB".to_owned(),
        transactional: true,
        columns: vec![column("id", None), column("u", Some("utf8mb4_0900_ai_ci")), column("v", None)],
        unique_keys: if keyed { vec![key("PRIMARY", "id"), key("u", "u")] } else { Vec::new() },
        related: Vec::new(),
        self_referencing: false,
        triggers: Vec::new(),
        computed_in_zone: None,
        computed_from_char: None,
        system_is_utc: true,
        flavour: lutra_mysql::Flavour::MySql,
    };
    Arc::new(TableMap::compile(&Arc::new(schema), &table).unwrap())
}

fn image(arena: &mut Arena, row: Row) -> Image {
    let image = arena.begin(3);
    arena.put(image, |out| out.extend_from_slice(row.0.to_string().as_bytes()));
    let text = row.1.map_or_else(|| "NULL".to_owned(), |u| format!("'{u}'"));
    arena.put(image, |out| out.extend_from_slice(text.as_bytes()));
    arena.put(image, |out| out.extend_from_slice(row.2.to_string().as_bytes()));
    image
}

fn row_of(arena: &Arena, image: Image) -> Row {
    let text = |c| std::str::from_utf8(arena.column(image, c)).unwrap();
    let u = if text(1) == "NULL" { None } else { text(1).chars().nth(1) };
    (text(0).parse().unwrap(), u, text(2).parse().unwrap())
}

/// A table that checks its keys after each row, as InnoDB does.
#[derive(Clone, Debug, PartialEq)]
struct Model {
    rows: Vec<Row>,
    keyed: bool,
}

impl Model {
    fn allows(&self, row: Row, besides: Option<usize>) -> bool {
        let fold = |u: Option<char>| u.map(|c| c.to_ascii_lowercase());
        !self.keyed
            || self.rows.iter().enumerate().all(|(at, other)| {
                Some(at) == besides || (other.0 != row.0 && (row.1.is_none() || fold(other.1) != fold(row.1)))
            })
    }

    fn find(&self, row: Row) -> Option<usize> {
        self.rows.iter().position(|r| if self.keyed { r.0 == row.0 } else { *r == row })
    }

    fn insert(&mut self, row: Row) {
        assert!(self.allows(row, None), "duplicate key: {row:?} into {:?}", self.rows);
        self.rows.push(row);
    }

    fn delete(&mut self, row: Row) {
        let at = self.find(row).unwrap_or_else(|| panic!("no row {row:?} in {:?}", self.rows));
        self.rows.remove(at);
    }

    fn update(&mut self, before: Row, after: Row) {
        let at = self.find(before).unwrap_or_else(|| panic!("no row {before:?} in {:?}", self.rows));
        assert!(self.allows(after, Some(at)), "duplicate key: {after:?} into {:?}", self.rows);
        self.rows[at] = after;
    }

    /// Rows of one statement go in any order: the last first here.
    fn apply(&mut self, statement: &Statement, arena: &Arena) {
        match statement {
            Statement::Session(_) => {}
            Statement::Upsert { rows, .. } => {
                for row in rows.iter().map(|r| row_of(arena, *r)) {
                    self.rows.retain(|known| known.0 != row.0);
                    self.rows.push(row);
                }
            }
            Statement::Remove { rows, .. } => {
                for row in rows.iter().map(|r| row_of(arena, *r)) {
                    self.rows.retain(|known| known.0 != row.0);
                }
            }
            Statement::Patch { .. } => panic!("images are complete here"),
            Statement::Insert { rows, .. } => rows.iter().for_each(|r| self.insert(row_of(arena, *r))),
            Statement::Delete { rows, .. } => rows.iter().rev().for_each(|r| self.delete(row_of(arena, *r))),
            Statement::Update { rows, columns, .. } => rows.iter().rev().for_each(|(before, after)| {
                let (before, after) = (row_of(arena, *before), row_of(arena, *after));
                let mut row = self.rows[self.find(before).unwrap()];
                if columns.contains(&0) {
                    row.0 = after.0;
                }
                if columns.contains(&1) {
                    row.1 = after.1;
                }
                if columns.contains(&2) {
                    row.2 = after.2;
                }
                self.update(before, row);
            }),
        }
    }

    fn sorted(mut self) -> Vec<Row> {
        self.rows.sort_unstable();
        self.rows
    }
}

/// Turns arbitrary wishes into a history that the table allows.
fn history(model: &mut Model, wishes: &[(u8, u8, Row)]) -> Vec<(Option<Row>, Option<Row>)> {
    let mut changes = Vec::new();
    for &(kind, pick, row) in wishes {
        let chosen = (!model.rows.is_empty()).then(|| model.rows[usize::from(pick) % model.rows.len()]);
        match (kind % 4, chosen) {
            (0, _) if model.allows(row, None) => {
                model.insert(row);
                changes.push((None, Some(row)));
            }
            (1, Some(before)) => {
                model.delete(before);
                changes.push((Some(before), None));
            }
            (2 | 3, Some(before)) => {
                // Half of the updates keep the key.
                let after = if kind % 4 == 2 { (before.0, row.1, row.2) } else { row };
                if after != before && model.allows(after, model.find(before)) {
                    model.update(before, after);
                    changes.push((Some(before), Some(after)));
                }
            }
            _ => {}
        }
    }
    changes
}

fn check(keyed: bool, initial: &[Row], wishes: &[(u8, u8, Row)]) -> Vec<Statement> {
    let mut source = Model { rows: Vec::new(), keyed };
    for &row in initial {
        if source.allows(row, None) {
            source.insert(row);
        }
    }
    let mut target = source.clone();
    let changes = history(&mut source, wishes);
    let map = map(keyed);
    let mut arena = Arena::default();
    let changes: Vec<Change> = changes
        .into_iter()
        .map(|(before, after)| Change {
            map: Arc::clone(&map),
            before: before.map(|r| image(&mut arena, r)),
            after: after.map(|r| image(&mut arena, r)),
            complete: true,
            lenient: false,
        })
        .collect();
    let conditions = Conditions { foreign_key_checks: true, effort: Effort::Sets };
    let statements = plan(&changes, &arena, conditions);
    for statement in &statements {
        target.apply(statement, &arena);
    }
    assert_eq!(target.sorted(), source.sorted());
    statements
}

fn rows() -> impl Strategy<Value = Row> {
    let text = prop_oneof![
        Just(None),
        prop_oneof![Just('a'), Just('A'), Just('b'), Just('B'), Just('c'), Just('é')].prop_map(Some)
    ];
    (0..6_u8, text, 0..3_u8)
}

fn ascii(row: Row) -> Row {
    // The model folds ASCII only.
    (row.0, row.1.map(|c| if c == 'é' { 'e' } else { c }), row.2)
}

proptest! {
    #[test]
    fn statements_do_what_the_changes_did(
        initial in prop::collection::vec(rows().prop_map(ascii), 0..6),
        wishes in prop::collection::vec((any::<u8>(), any::<u8>(), rows().prop_map(ascii)), 0..24),
    ) {
        check(true, &initial, &wishes);
    }

    #[test]
    fn tables_without_a_key_keep_their_duplicates(
        initial in prop::collection::vec(rows(), 0..6),
        wishes in prop::collection::vec((any::<u8>(), any::<u8>(), rows()), 0..24),
    ) {
        for statement in check(false, &initial, &wishes) {
            assert!(matches!(statement, Statement::Insert { .. }) || statement.rows() == 1);
        }
    }
}

#[test]
fn one_statement_per_kind_when_order_allows() {
    let initial = [(0, None, 0), (1, None, 0), (2, None, 0), (3, None, 0)];
    let wishes =
        [(2, 0, (0, None, 1)), (1, 1, (0, None, 0)), (2, 1, (0, None, 2)), (0, 0, (9, None, 1)), (0, 0, (8, None, 1))];
    let kinds: Vec<_> = check(true, &initial, &wishes).iter().map(|s| (s.verb(), s.rows())).collect();
    assert_eq!(kinds, [("delete", 1), ("update", 2), ("insert", 2)]);
}

#[test]
fn what_came_and_went_leaves_no_statement() {
    let wishes = [(0, 0, (1, None, 1)), (2, 0, (1, None, 2)), (1, 0, (0, None, 0))];
    assert!(check(true, &[], &wishes).is_empty());
}

#[test]
fn a_unique_value_that_wanders_keeps_the_order() {
    // Row 0 gives up 'a' to row 1.
    let initial = [(0, Some('a'), 0), (1, Some('b'), 0)];
    let wishes = [(2, 0, (0, Some('c'), 0)), (2, 1, (1, Some('A'), 0))];
    let statements = check(true, &initial, &wishes);
    assert_eq!(statements.iter().map(Statement::rows).collect::<Vec<_>>(), [1, 1]);
}

#[test]
fn a_list_for_mariadb_names_its_columns_in_its_first_row() {
    let mut map = map(true);
    Arc::get_mut(&mut map).unwrap().flavour = lutra_mysql::Flavour::MariaDb;
    let mut arena = Arena::default();
    let rows: Vec<Image> = (0..5).map(|id| image(&mut arena, (id, Some('x'), id))).collect();
    let text = |statement: Statement| {
        let script = render(&[statement], &arena, false);
        String::from_utf8(script.packets[0].text.clone()).unwrap()
    };
    let pairs = rows.iter().map(|r| (*r, *r)).collect();
    assert_eq!(
        text(Statement::Update { map: Arc::clone(&map), columns: vec![2], rows: pairs, lenient: false }),
        "UPDATE (SELECT 0 AS k0,0 AS c0 UNION ALL VALUES (1,1),(2,2),(3,3),(4,4)) AS v STRAIGHT_JOIN `d`.`t` \
         FORCE INDEX (`PRIMARY`) ON `d`.`t`.`id`=v.k0 SET `d`.`t`.`v`=v.c0;"
    );
    assert_eq!(
        text(Statement::Delete { map, rows }),
        "DELETE `d`.`t` FROM (SELECT 0 AS k0 UNION ALL VALUES (1),(2),(3),(4)) AS v STRAIGHT_JOIN `d`.`t` \
         FORCE INDEX (`PRIMARY`) ON `d`.`t`.`id`=v.k0;"
    );
}

#[test]
fn text_is_joined_by_the_key_and_single_rows_are_found_by_it() {
    let map = map(true);
    let mut arena = Arena::default();
    let rows: Vec<Image> = (0..5).map(|id| image(&mut arena, (id, Some('x'), id))).collect();
    let update = |n: usize| Statement::Update {
        map: Arc::clone(&map),
        columns: vec![2],
        rows: rows[..n].iter().map(|r| (*r, *r)).collect(),
        lenient: false,
    };
    let text = |statement: Statement, image| {
        let script = render(&[statement], &arena, image);
        String::from_utf8(script.packets[0].text.clone()).unwrap()
    };
    assert_eq!(
        text(update(5), false),
        "UPDATE (VALUES ROW(0,0),ROW(1,1),ROW(2,2),ROW(3,3),ROW(4,4)) AS v(k0,c0) STRAIGHT_JOIN `d`.`t` \
         FORCE INDEX (`PRIMARY`) ON `d`.`t`.`id`=v.k0 SET `d`.`t`.`v`=v.c0;"
    );
    assert_eq!(text(update(1), false), "UPDATE `d`.`t` SET `v`=0 WHERE `id`=0;");
    assert!(
        text(update(1), true).contains("WHERE `id`=0 AND `id`<=>0 AND `u`<=>'x' AND CAST(CONVERT(`u` USING utf8mb4)")
    );
    let delete = Statement::Delete { map: Arc::clone(&map), rows: rows.clone() };
    assert!(text(delete, false).starts_with("DELETE `d`.`t` FROM (VALUES ROW(0),ROW(1),"));
    let insert = Statement::Insert { map: Arc::clone(&map), rows, lenient: true };
    assert!(text(insert, false).contains("INSERT INTO `d`.`t` (`id`,`u`,`v`) VALUES (0,'x',0),(1,'x',1)"));
}

#[test]
fn an_update_sets_what_would_change_by_itself() {
    let mut map = Arc::into_inner(map(true)).unwrap();
    map.columns[2].touched_by_updates = true;
    let map = Arc::new(map);
    let mut arena = Arena::default();
    let rows = [(1, Some('a'), 5), (1, Some('b'), 5)].map(|row| image(&mut arena, row));
    // The source says nothing of `v`.
    let partial = arena.begin(3);
    for literal in ["", "'c'", ""] {
        arena.put(partial, |out| out.extend_from_slice(literal.as_bytes()));
    }
    let update = |before, after, complete| Change {
        map: Arc::clone(&map),
        before: Some(before),
        after: Some(after),
        complete,
        lenient: false,
    };
    let text = |changes: &[Change]| {
        let statements = plan(changes, &arena, Conditions { foreign_key_checks: false, effort: Effort::Sets });
        render(&statements, &arena, false)
            .packets
            .iter()
            .map(|p| String::from_utf8_lossy(&p.text).into_owned())
            .collect()
    };
    let whole: String = text(&[update(rows[0], rows[1], true)]);
    assert!(whole.contains("SET `u`='b',`v`=5 WHERE"), "{whole}");
    let part: String = text(&[update(rows[1], partial, false)]);
    assert!(part.contains("SET `u`='c',`v`=`v` WHERE"), "{part}");
    let nothing: String = text(&[update(rows[0], rows[0], true)]);
    assert!(nothing.is_empty(), "{nothing}");
}

#[test]
fn a_row_that_lacks_a_column_does_not_name_it() {
    let map = map(true);
    let mut arena = Arena::default();
    let row = arena.begin(3);
    for literal in ["1", "'c'", ""] {
        arena.put(row, |out| out.extend_from_slice(literal.as_bytes()));
    }
    let insert = Statement::Insert { map, rows: vec![row], lenient: true };
    let script = render(&[insert], &arena, false);
    let text: String = script.packets.iter().map(|p| String::from_utf8_lossy(&p.text).into_owned()).collect();
    assert!(text.contains("INSERT INTO `d`.`t` (`id`,`u`) VALUES (1,'c')"), "{text}");
}

#[test]
fn rows_one_by_one_are_lenient_to_what_the_target_computes() {
    let text_of = |table: Arc<TableMap>| {
        let mut arena = Arena::default();
        let after = image(&mut arena, (1, Some('a'), 2));
        let change = Change { map: table, before: None, after: Some(after), complete: true, lenient: false };
        let conditions = Conditions { foreign_key_checks: true, effort: Effort::RowByRow };
        let script = render(&plan(&[change], &arena, conditions), &arena, false);
        script.packets.iter().map(|p| String::from_utf8_lossy(&p.text).into_owned()).collect::<String>()
    };
    assert!(!text_of(map(true)).contains("sql_mode"));
    let mut table = Arc::into_inner(map(true)).unwrap();
    table.computed.push("g".to_owned());
    assert!(text_of(Arc::new(table)).contains("sql_mode"));
}

#[test]
fn only_what_a_row_is_lenient_for_may_be_warned_of() {
    let leniency = Leniency {
        statement: 0,
        invalid: vec!["e".to_owned()],
        without_value: vec!["w".to_owned()],
        computed: Vec::new(),
    };
    assert!(leniency.allows(1265, "Data truncated for column 'e' at row 1"));
    assert!(leniency.allows(1364, "Field 'w' doesn't have a default value"));
    for (code, message) in [
        (1265, "Data truncated for column 'n' at row 1"),
        (1364, "Field 'e' doesn't have a default value"),
        (1264, "Out of range value for column 'e' at row 1"),
        (1366, "Incorrect integer value: 'e' for column 'w' at row 1"),
        (1292, "Truncated incorrect INTEGER value: 'x'"),
    ] {
        assert!(!leniency.allows(code, message), "{message}");
    }
    let computed = Leniency { computed: vec!["g".to_owned()], ..leniency };
    assert!(computed.allows(1406, "Data too long for column 'g' at row 1"));
    assert!(computed.allows(1292, "Truncated incorrect INTEGER value: 'x'"));
    assert!(!computed.allows(1406, "Data too long for column 'n' at row 1"));
    assert!(!computed.allows(1292, "Incorrect date value: 'x' for column 'n' at row 1"));
}

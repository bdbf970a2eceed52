#![allow(clippy::unwrap_used)]
use lutra_change::{Column, ColumnType, TableSchema, Value};
use lutra_wire::RowEncoder;
use proptest::prelude::*;

use super::*;

fn schema() -> RowSchema {
    let column = |name: &str| Column {
        name: name.to_owned(),
        column_type: ColumnType::Int { unsigned: false },
        nullable: false,
        invisible: false,
    };
    let table =
        TableSchema { name: TableName::new("a", "t"), columns: vec![column("id"), column("v")], primary_key: vec![] };
    RowSchema::from_table(&table).unwrap()
}

fn datum(schema: &RowSchema, id: i64, v: i64) -> Vec<u8> {
    let encoder = RowEncoder::new(schema);
    let mut out = Vec::new();
    encoder.write(0, Value::Int(id), &mut out).unwrap();
    encoder.write(1, Value::Int(v), &mut out).unwrap();
    out
}

/// One transaction: sets the row of a key, or removes it.
#[derive(Clone, Copy, Debug)]
struct Transaction {
    key: i64,
    value: Option<i64>,
}

/// A source whose commits become visible later than they are in the binlog, as a server's do.
fn table_after(history: &[Transaction], seen: usize) -> HashMap<i64, i64> {
    let mut table = HashMap::new();
    for t in &history[..seen] {
        match t.value {
            Some(v) => table.insert(t.key, v),
            None => table.remove(&t.key),
        };
    }
    table
}

/// Which of the two marks are kept.
#[derive(Clone, Copy)]
struct Marks {
    low: bool,
    high: bool,
}

/// The stream has passed `stream` transactions when the window opens, of which the server shows `visible` unless it is
/// waited for; the read sees `read`; the chunk is published when the stream has passed `publish`.
fn differs(history: &[Transaction], [stream, visible, read, publish]: [usize; 4], marks: Marks) -> bool {
    let schema = schema();
    let name = TableName::new("a", "t");
    let stream = stream.min(history.len());
    // The low mark: nothing is read before all that the stream has seen is executed.
    let visible = if marks.low { visible.max(stream) } else { visible };
    let read = read.max(visible).min(history.len());
    // The high mark: nothing is published before the stream has seen all that the read can have.
    let publish = if marks.high { publish.max(read) } else { publish };
    let publish = publish.max(stream).min(history.len());
    let mut windows = Windows::default();
    let window = windows.open(Watched { table: Some(name.clone()), key: vec!["id".to_owned()], parents: Vec::new() });
    let plan = KeyPlan::new(&schema, &["id".to_owned()]).unwrap();
    let rows = table_after(history, read).into_iter().map(|(id, v)| {
        let datum = datum(&schema, id, v);
        ReadRow { key: plan.key(&datum).unwrap(), datum }
    });
    let rows: Vec<ReadRow> = rows.collect();
    for (at, t) in history.iter().enumerate().take(publish).skip(stream) {
        let before = table_after(history, at).get(&t.key).map(|v| datum(&schema, t.key, *v));
        let after = t.value.map(|v| datum(&schema, t.key, v));
        let (before, after) = (before.as_deref(), after.as_deref());
        let row = StreamRow { table: &name, schema: &schema, before, after, partial: false, cascades_are_logged: true };
        windows.row(&row);
    }
    assert_eq!(windows.void(window), None);
    // The target: the stream's changes as upserts from the window's opening on, then the chunk over them.
    let mut target: HashMap<i64, i64> = HashMap::new();
    for t in &history[stream..publish] {
        match t.value {
            Some(v) => target.insert(t.key, v),
            None => target.remove(&t.key),
        };
    }
    for row in windows.fold(window, rows) {
        let mut values = Vec::new();
        RowDecoder::new(&schema).decode_into(&row.datum, &mut values).unwrap();
        if let [Value::Int(id), Value::Int(v)] = values[..] {
            target.insert(id, v);
        }
    }
    target != table_after(history, publish)
}

fn histories() -> impl Strategy<Value = (Vec<Transaction>, [usize; 4])> {
    let transaction =
        (0i64..4, proptest::option::weighted(0.7, 0i64..100)).prop_map(|(key, value)| Transaction { key, value });
    (prop::collection::vec(transaction, 0..24), prop::array::uniform4(0usize..25))
}

proptest! {
    #[test]
    fn a_chunk_is_the_table_as_it_is_at_its_place((history, places) in histories()) {
        let differs = differs(&history, places, Marks { low: true, high: true });
        prop_assert!(!differs);
    }
}

#[test]
fn without_the_low_mark_a_commit_that_is_not_visible_yet_is_lost() {
    let history = [Transaction { key: 1, value: Some(1) }, Transaction { key: 1, value: Some(2) }];
    // The stream has seen both when the window opens, the read sees one.
    assert!(differs(&history, [2, 1, 1, 2], Marks { low: false, high: true }));
    assert!(!differs(&history, [2, 1, 1, 2], Marks { low: true, high: true }));
}

#[test]
fn without_the_high_mark_a_chunk_is_ahead_of_its_place() {
    let history = [Transaction { key: 1, value: Some(1) }, Transaction { key: 1, value: None }];
    // The read sees the row gone; published before the stream knows of it, the row is not there to be deleted.
    assert!(differs(&history, [1, 1, 2, 1], Marks { low: true, high: false }));
    assert!(!differs(&history, [1, 1, 2, 1], Marks { low: true, high: true }));
}

#[test]
fn definitions_parents_and_partial_rows_void_a_window() {
    let schema = schema();
    let (name, parent) = (TableName::new("a", "t"), TableName::new("a", "p"));
    let watched = Watched { table: Some(name.clone()), key: vec!["id".to_owned()], parents: vec![parent.clone()] };
    let old = datum(&schema, 1, 1);
    let row = |table, partial, logged| StreamRow {
        table,
        schema: &schema,
        before: Some(&old),
        after: None,
        partial,
        cascades_are_logged: logged,
    };
    let ddl = |kind, tables: &[&TableName]| Ddl {
        statement: bytes::Bytes::new(),
        database: String::new(),
        kind,
        tables: tables.iter().map(|t| (*t).clone()).collect(),
        context: lutra_change::SessionContext::default(),
    };
    let voided = |act: &dyn Fn(&mut Windows)| {
        let mut windows = Windows::default();
        let window = windows.open(watched.clone());
        act(&mut windows);
        windows.void(window).is_some()
    };
    assert!(voided(&|w| w.row(&row(&parent, false, false))));
    assert!(!voided(&|w| w.row(&row(&parent, false, true))));
    assert!(voided(&|w| w.row(&row(&name, true, true))));
    assert!(!voided(&|w| w.row(&row(&name, false, false))));
    assert!(voided(&|w| w.ddl(&ddl(DdlKind::TruncateTable, &[&name]))));
    assert!(!voided(&|w| w.ddl(&ddl(DdlKind::AlterTable, &[&parent]))));
    assert!(voided(&|w| w.void_all("an XA transaction was decided")));
    let mut windows = Windows::default();
    let whole = windows.open(Watched { table: Some(name.clone()), key: vec![], parents: vec![] });
    let all = windows.open(Watched::default());
    windows.row(&row(&name, false, true));
    assert!(windows.void(whole).is_some() && windows.void(all).is_none());
    windows.ddl(&ddl(DdlKind::Other, &[]));
    assert!(windows.void(all).is_some());
}

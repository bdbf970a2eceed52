//! Partial JSON values, recorded from a real server, which says itself what each document became.
#![allow(clippy::unwrap_used)]

mod common;

use lutra_binlog::{Cell, DecodeError, Decoder, Event, EventData, Image, Inflater, Scratch, TableCache};
use lutra_change::{Operation, Value, json};

/// The JSON columns of a row, as text.
type Documents = Vec<Option<String>>;

/// What the file says of its tables: after images of `docs` (the JSON columns `j` and `k`), rows of `seen`, and the
/// changes without a document to apply them to.
#[derive(Default)]
struct Reading {
    tables: TableCache,
    scratch: Scratch,
    /// Row, and how many of its values came as changes.
    last: Documents,
    compared: usize,
    updates: Vec<String>,
}

impl Reading {
    fn event(&mut self, event: &Event<'_>) -> Result<(), DecodeError> {
        match &event.data {
            EventData::TableMap(map) => drop(self.tables.observe(map)?.clone()),
            EventData::Rows(rows) => self.rows(rows)?,
            _ => {}
        }
        Ok(())
    }

    fn rows(&mut self, event: &lutra_binlog::RowsEvent<'_>) -> Result<(), DecodeError> {
        let table = self.tables.get(event)?.clone();
        let mut images = table.rows(event, &mut self.scratch)?;
        let seen = table.schema().name.table == "seen";
        while let Some(image) = images.next_image() {
            let mut documents: Documents = vec![None; 2];
            images.decode_cells(|column, cell| {
                let slot = match table.schema().columns[column].name.as_str() {
                    "j" => &mut documents[0],
                    "k" => &mut documents[1],
                    _ => return Ok(()),
                };
                match cell {
                    Cell::Value(Value::Null) => {}
                    Cell::Value(Value::Json(text)) => *slot = Some(json::printed(text).into_owned()),
                    Cell::Value(Value::Bytes(text)) => *slot = Some(String::from_utf8(text.to_vec()).unwrap()),
                    Cell::Value(other) => panic!("{other:?}"),
                    Cell::JsonUpdate(update) => {
                        let mut text = Vec::new();
                        update.write(&mut text).unwrap();
                        self.updates.push(String::from_utf8(text).unwrap());
                    }
                }
                Ok::<_, DecodeError>(())
            })?;
            if seen {
                assert_eq!(documents, self.last, "row {}", self.compared);
                self.compared += 1;
            } else if image == Image::After && event.operation == Operation::Update {
                self.last = documents;
            }
        }
        Ok(())
    }
}

fn read() -> Reading {
    let file = common::fixture("partial.1.binlog");
    let (mut decoder, mut inflater, mut reading) = (Decoder::new(), Inflater::new(1 << 26), Reading::default());
    for event in lutra_binlog::file::events(&file).unwrap() {
        let event = decoder.decode(event.unwrap().bytes).unwrap();
        reading.event(&event).unwrap();
        if let EventData::TransactionPayload(payload) = &event.data {
            let mut inner = inflater.read(payload).unwrap();
            while let Some(bytes) = inner.next_event().unwrap() {
                reading.event(&decoder.decode_inner(&event.header, bytes).unwrap()).unwrap();
            }
        }
    }
    reading
}

#[test]
fn each_document_becomes_what_the_server_says() {
    assert_eq!(read().compared, 26);
}

/// Only MINIMAL leaves out the document of a column that is updated; NOBLOB keeps it.
#[test]
fn changes_without_a_document_are_given_as_they_are() {
    assert_eq!(
        read().updates,
        [r#"[{"op": "replace", "path": "$.a", "value": 100}, {"op": "insert", "path": "$.list", "value": "x"}]"#,]
    );
}

#[test]
fn whoever_cannot_carry_changes_is_told_what_to_set() {
    let error = common::walk(&common::fixture("partial.1.binlog"), |_, _| {}).unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("column j of partial.docs") && text.contains("binlog_row_image=FULL"), "{text}");
}

//! Looking ahead: which statements between two places of a binlog change definitions.

use std::time::Duration;

use lutra_binlog::{Decoder, EventData, Inflater, PositionTracker, QueryEvent};
use lutra_change::sql_lexer::Lexis;
use lutra_change::sql_statement::{Object, StatementKind};
use lutra_change::{BinlogPosition, DdlKind, Statement, TableName};
use lutra_mysql::{BinlogSource, BinlogStream, ConnectOptions, DumpRequest, DumpStart, EventBatch};
use uuid::Uuid;

use crate::snapshot::desk::compare;

/// Bytes read at a time.
const BATCH_BYTES: usize = 1 << 20;
/// The largest compressed statement.
const LARGEST: usize = 1 << 30;

/// What was found ahead of the stream: facts about one server's binlog.
#[derive(Debug, Default)]
pub struct Ahead {
    server: Uuid,
    /// Looked through from here …
    from: BinlogPosition,
    /// … to here.
    to: BinlogPosition,
    changes: Vec<(BinlogPosition, Touches)>,
}

/// What a statement may have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Touches {
    Tables(Vec<TableName>),
    Database(String),
    /// It cannot be read.
    Anything,
}

impl Touches {
    fn table(&self, name: &TableName) -> bool {
        let same = |a: &str, b: &str| a.eq_ignore_ascii_case(b) || a.to_lowercase() == b.to_lowercase();
        match self {
            Self::Tables(tables) => {
                tables.iter().any(|t| same(&t.database, &name.database) && same(&t.table, &name.table))
            }
            Self::Database(database) => same(database, &name.database),
            Self::Anything => true,
        }
    }
}

/// How the binlog is read.
#[derive(Clone, Debug)]
pub struct Dump {
    /// Where from.
    pub options: ConnectOptions,
    /// A server id of its own: the stream goes on beside it.
    pub server_id: u32,
    /// The server.
    pub server: Uuid,
}

impl Ahead {
    /// Looks as far as `to`, beginning at `from` or where it was looked before.
    ///
    /// # Errors
    /// When the binlog cannot be read, or decoded.
    pub async fn look(
        &mut self,
        dump: &Dump,
        from: &BinlogPosition,
        to: &BinlogPosition,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let covered =
            self.server == dump.server && compare(&self.from, from).is_le() && compare(from, &self.to).is_le();
        if !covered {
            *self = Self { server: dump.server, from: from.clone(), to: from.clone(), changes: Vec::new() };
        }
        // What the stream has passed is of no use any more.
        self.from = from.clone();
        self.changes.retain(|(position, _)| compare(position, from).is_gt());
        if compare(&self.to, to).is_ge() {
            return Ok(());
        }
        let start = DumpStart::Position(self.to.clone());
        let heartbeat = Duration::from_secs(1);
        let request = DumpRequest { start, server_id: dump.server_id, heartbeat, until_end: true };
        let mut stream = BinlogStream::connect(&dump.options, &request).await?;
        let outcome = self.read(&mut stream, to).await;
        stream.close().await;
        outcome
    }

    async fn read(
        &mut self,
        stream: &mut BinlogStream,
        to: &BinlogPosition,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let (mut decoder, mut inflater, mut batch) = (Decoder::new(), Inflater::new(LARGEST), EventBatch::default());
        let (mut file, mut tracker) = (self.to.file.clone(), PositionTracker::new(self.to.offset));
        loop {
            let more = stream.read(&mut batch, BATCH_BYTES).await?;
            for bytes in batch.iter() {
                let event = decoder.decode(bytes)?;
                match &event.data {
                    EventData::Rotate(rotate) => {
                        if !rotate.artificial {
                            tracker.advance(&event.header)?;
                        }
                        rotate.file.clone_into(&mut file);
                        tracker.rotate(rotate.position);
                        continue;
                    }
                    EventData::FormatDescription(format) => tracker.set_flavor(format.flavor()),
                    _ => {}
                }
                tracker.advance(&event.header)?;
                let touches = match &event.data {
                    EventData::Query(query) => of_query(query),
                    EventData::Compressed(packed) => {
                        let inner = decoder.decode_inner(&event.header, inflater.inflate(packed)?)?;
                        if let EventData::Query(query) = &inner.data { of_query(query) } else { None }
                    }
                    _ => None,
                };
                let here = BinlogPosition::new(file.clone(), tracker.position());
                if let Some(touches) = touches {
                    self.changes.push((here.clone(), touches));
                }
                if compare(&here, to).is_ge() {
                    self.to = here;
                    return Ok(());
                }
            }
            batch.clear();
            if !more {
                // It was there a moment ago.
                return Err(format!("the binlog ends before {to}").into());
            }
        }
    }

    /// The first statement ahead that may change the table: where it ends.
    pub fn change_of(&self, table: &TableName) -> Option<&BinlogPosition> {
        self.changes.iter().find(|(_, touches)| touches.table(table)).map(|(position, _)| position)
    }
}

fn of_query(query: &QueryEvent<'_>) -> Option<Touches> {
    if query.is_begin() || query.is_commit() {
        return None;
    }
    touches(query.database, query.statement, Lexis::of_context(&query.context))
}

/// What a statement may change; none where that is nothing.
fn touches(database: &str, text: &[u8], lexis: Lexis) -> Option<Touches> {
    let Some(statement) = Statement::new(text, lexis) else { return Some(Touches::Anything) };
    match statement.kind() {
        StatementKind::Unknown => Some(Touches::Database(database.to_owned())),
        StatementKind::Definition(words) => match words.object {
            Object::Database => Some(Touches::Database(words.home(database).to_owned())),
            Object::Table if words.kind != DdlKind::TruncateTable && !words.temporary => {
                Some(Touches::Tables(words.tables(database)))
            }
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn of(statement: &str) -> Option<Touches> {
        touches("d", statement.as_bytes(), Lexis::default())
    }

    #[test]
    fn a_statement_touches_the_tables_it_names() {
        let t = TableName::new("d", "t");
        for text in [
            "ALTER TABLE t ADD a INT",
            "RENAME TABLE x TO y, y TO T",
            "CREATE TABLE d.t (a INT)",
            "DROP TABLE a, t",
            "CREATE INDEX i ON t (a)",
            "DROP DATABASE d",
            "SOMETHING NEW",
            "'open",
        ] {
            assert!(of(text).is_some_and(|touches| touches.table(&t)), "{text}");
        }
        for text in
            ["BEGIN", "COMMIT", "TRUNCATE t", "CREATE VIEW t AS SELECT 1", "ALTER TABLE u ADD a INT", "DROP DATABASE e"]
        {
            assert!(!of(text).is_some_and(|touches| touches.table(&t)), "{text}");
        }
    }
}

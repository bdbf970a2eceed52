//! Reads the target's own binlog: not some committed states but all of them, in their order.
//!
//! The decoder is the MySQL driver's, not Lutra's.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::StreamExt;
use lutra_harness::mysql::connect;
use mysql_async::binlog::events::{EventData, RowsEventData};
use mysql_async::binlog::row::BinlogRow;
use mysql_async::binlog::value::BinlogValue;
use mysql_async::prelude::Queryable;
use mysql_async::{BinlogStreamRequest, Row, Value};

use crate::findings::{Findings, Invariant};

/// Under which the auditor reads a server's binlog.
const SERVER_ID: u32 = 0x4c43_0001;
/// A server that sends nothing for so long has nothing more.
const PATIENCE: Duration = Duration::from_secs(30);

/// A place in a binlog.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    file: String,
    offset: u64,
}

/// What is looked for in the target's transactions.
#[derive(Clone, Debug, Default)]
pub struct Subject {
    /// The loader's task.
    pub task: String,
    /// The bank's database, where it runs.
    pub bank: Option<String>,
    /// The versioned rows' database, where they run.
    pub hot: Option<String>,
}

/// The auditor of a target: it goes on where it stopped.
#[derive(Debug)]
pub struct Auditor {
    url: String,
    subject: Subject,
    place: Place,
    state: State,
    /// Commits of the loader that were read.
    pub commits: u64,
    /// Row changes in the captured databases.
    pub rows: u64,
}

/// What the transactions so far lead to.
#[derive(Debug, Default)]
struct State {
    epoch: [i128; 2],
    watermark: [i128; 2],
    slots: BTreeMap<i128, [i128; 2]>,
    versions: BTreeMap<i128, i128>,
    transfers: HashSet<i128>,
    // Of the transaction that is being read.
    balance: i128,
    marked: bool,
    touched: u64,
    wrong: Vec<(Invariant, String)>,
}

/// One row change: table and images, as whole numbers where they are some.
#[derive(Debug)]
struct Change<'a> {
    database: &'a str,
    table: &'a str,
    before: Option<Vec<Cell>>,
    after: Option<Vec<Cell>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Cell {
    Number(i128),
    Text(String),
    Other,
}

impl Auditor {
    /// Begins at the end of the target's binlog.
    ///
    /// # Errors
    /// When the target does not say where that is.
    pub async fn begin(url: &str, subject: Subject) -> Result<Self> {
        let place = end(url).await?;
        Ok(Self { url: url.to_owned(), subject, place, state: State::default(), commits: 0, rows: 0 })
    }

    /// Reads on to the end.
    ///
    /// # Errors
    /// When the binlog cannot be read.
    pub async fn read_on(&mut self, findings: &Findings) -> Result<()> {
        let end = end(&self.url).await?;
        let conn = connect(&self.url).await?;
        let request = BinlogStreamRequest::new(SERVER_ID)
            .with_filename(self.place.file.as_bytes())
            .with_pos(self.place.offset)
            .with_non_blocking();
        let mut stream = conn.get_binlog_stream(request).await.context("ask the target for its binlog")?;
        loop {
            let event = tokio::time::timeout(PATIENCE, stream.next()).await.context("read the target's binlog")?;
            let Some(event) = event else { break };
            let event = event.context("read the target's binlog")?;
            let Some(data) = event.read_data().context("decode the target's binlog")? else { continue };
            match data {
                EventData::RowsEvent(rows) => {
                    let table = stream.get_tme(rows.table_id()).context("a row change of an unknown table")?;
                    let (database, name) = (table.database_name().into_owned(), table.table_name().into_owned());
                    for row in rows_of(&rows, table)? {
                        let change = Change { database: &database, table: &name, before: row.0, after: row.1 };
                        self.rows += u64::from(database != "lutra");
                        self.state.see(&change, &self.subject);
                    }
                }
                EventData::XidEvent(_) => {
                    self.commits += u64::from(self.state.marked);
                    self.state.committed(findings);
                }
                EventData::GtidEvent(_) | EventData::AnonymousGtidEvent(_) => self.state.begin(),
                // So MariaDB tells those who know nothing of its GTIDs.
                EventData::QueryEvent(query) if query.query_raw() == b"BEGIN" => self.state.begin(),
                _ => {}
            }
        }
        let _ = tokio::time::timeout(PATIENCE, stream.close()).await;
        self.place = end;
        self.put_away().await
    }

    /// What was read is not needed any more, and a run of hours writes much.
    async fn put_away(&mut self) -> Result<()> {
        let mut conn = connect(&self.url).await?;
        conn.query_drop("FLUSH BINARY LOGS").await.context("begin a new binlog file")?;
        let purge = format!("PURGE BINARY LOGS TO '{}'", self.place.file);
        conn.query_drop(purge).await.context("purge the target's binlog")?;
        conn.disconnect().await.context("close a connection to MySQL")
    }

    /// Ledger lines that came so far, all told apart.
    #[must_use]
    pub fn transfers(&self) -> usize {
        self.state.transfers.len()
    }
}

async fn end(url: &str) -> Result<Place> {
    let mut conn = connect(url).await?;
    let version: Option<String> = conn.query_first("SELECT VERSION()").await.context("ask for the version")?;
    let mariadb = version.is_some_and(|version| version.contains("MariaDB"));
    let question = if mariadb { "SHOW MASTER STATUS" } else { "SHOW BINARY LOG STATUS" };
    let row: Option<Row> = conn.query_first(question).await.context("ask for the end of the binlog")?;
    conn.disconnect().await?;
    let place = row.and_then(|row| Some(Place { file: row.get(0)?, offset: row.get(1)? }));
    match place {
        Some(place) => Ok(place),
        None => bail!("the target writes no binlog"),
    }
}

type Images = (Option<Vec<Cell>>, Option<Vec<Cell>>);

fn rows_of(rows: &RowsEventData<'_>, table: &mysql_async::binlog::events::TableMapEvent<'_>) -> Result<Vec<Images>> {
    let mut all = Vec::new();
    for row in rows.rows(table) {
        let (before, after) = row.context("decode a row of the target's binlog")?;
        all.push((before.as_ref().map(cells), after.as_ref().map(cells)));
    }
    Ok(all)
}

fn cells(row: &BinlogRow) -> Vec<Cell> {
    let cell = |at: usize| match row.as_ref(at) {
        Some(BinlogValue::Value(Value::Int(n))) => Cell::Number((*n).into()),
        Some(BinlogValue::Value(Value::UInt(n))) => Cell::Number((*n).into()),
        Some(BinlogValue::Value(Value::Bytes(bytes))) => Cell::Text(String::from_utf8_lossy(bytes).into_owned()),
        _ => Cell::Other,
    };
    (0..row.len()).map(cell).collect()
}

fn number(image: Option<&Vec<Cell>>, at: usize) -> Option<i128> {
    match image?.get(at)? {
        Cell::Number(n) => Some(*n),
        _ => None,
    }
}

impl State {
    fn begin(&mut self) {
        (self.balance, self.marked, self.touched) = (0, false, 0);
        self.wrong.clear();
    }

    fn see(&mut self, change: &Change<'_>, subject: &Subject) {
        let (before, after) = (change.before.as_ref(), change.after.as_ref());
        if change.database == "lutra" {
            let own = |image: &Vec<Cell>| image.first() == Some(&Cell::Text(subject.task.clone()));
            if change.table == "slot" && before.or(after).is_some_and(own) {
                self.slot(before, after);
            }
        } else if subject.bank.as_deref() == Some(change.database) {
            if change.table.starts_with("account_") {
                self.balance += number(after, 1).unwrap_or(0) - number(before, 1).unwrap_or(0);
                self.touched += 1;
            } else if let ("ledger", None, Some(transfer)) = (change.table, before, number(after, 0))
                && !self.transfers.insert(transfer)
            {
                self.wrong.push((Invariant::NothingDoubled, format!("transfer {transfer} was written twice")));
            }
        } else if subject.hot.as_deref() == Some(change.database)
            && let (Some(key), Some(version)) = (number(after, 0), number(after, 1))
        {
            let high = self.versions.entry(key).or_insert(version - 1);
            if version <= *high {
                self.wrong.push((Invariant::HistoryInOrder, format!("key {key}: version {version} behind {high}")));
            }
            *high = (*high).max(version);
        }
    }

    /// Columns of a slot row: task, slot, cluster, term, attempt, sequence, sub.
    fn slot(&mut self, before: Option<&Vec<Cell>>, after: Option<&Vec<Cell>>) {
        let Some(slot) = number(after, 1) else {
            self.wrong.push((Invariant::WatermarkForward, "a slot row was deleted".to_owned()));
            return;
        };
        let pair = |at: usize| [number(after, at).unwrap_or_default(), number(after, at + 1).unwrap_or_default()];
        let (epoch, place) = (pair(3), pair(5));
        if epoch < self.epoch {
            let text = format!("slot {slot} was written under {epoch:?}, behind {:?}", self.epoch);
            self.wrong.push((Invariant::NoForeignCommit, text));
        }
        self.epoch = self.epoch.max(epoch);
        let known = self.slots.insert(slot, place);
        // A new row stands at the watermark; a start raises the epoch and nothing else.
        let moved = before.is_some() && known.is_some_and(|known| known != place);
        if known.is_some_and(|known| place < known) || (moved && place <= self.watermark) {
            let text = format!("slot {slot} was written at {place:?}, the watermark being {:?}", self.watermark);
            self.wrong.push((Invariant::WatermarkForward, text));
        }
        self.watermark = self.watermark.max(place);
        self.marked = true;
    }

    fn committed(&mut self, findings: &Findings) {
        if self.touched > 0 {
            let off =
                (self.balance != 0).then(|| format!("a commit of the target changes the sum by {}", self.balance));
            findings.look(Invariant::NothingTorn, off);
        }
        if self.marked {
            let about = [
                Invariant::NoForeignCommit,
                Invariant::WatermarkForward,
                Invariant::NothingDoubled,
                Invariant::HistoryInOrder,
            ];
            about.into_iter().for_each(|invariant| findings.fine(invariant, 1));
        }
        self.wrong.drain(..).for_each(|(invariant, text)| findings.broken(invariant, text));
        self.begin();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(cells: &[i128]) -> Option<Vec<Cell>> {
        Some(cells.iter().map(|n| Cell::Number(*n)).collect())
    }

    fn slot(epoch: [i128; 2], place: [i128; 2]) -> Option<Vec<Cell>> {
        let mut cells = vec![Cell::Text("load/p".to_owned()), Cell::Number(0), Cell::Text("c".to_owned())];
        cells.extend([epoch[0], epoch[1], place[0], place[1]].map(Cell::Number));
        Some(cells)
    }

    type Row = (&'static str, &'static str, Option<Vec<Cell>>, Option<Vec<Cell>>);

    fn audited(changes: Vec<Row>) -> Vec<Invariant> {
        let subject = Subject { task: "load/p".to_owned(), bank: Some("b".to_owned()), hot: Some("h".to_owned()) };
        let (mut state, findings) = (State::default(), Findings::default());
        for (database, table, before, after) in changes {
            if table == "commit" {
                state.committed(&findings);
            } else {
                state.see(&Change { database, table, before, after }, &subject);
            }
        }
        findings.violated()
    }

    #[test]
    fn a_whole_transfer_passes_and_half_of_one_does_not() {
        let half = ("b", "account_1", image(&[1, 100]), image(&[1, 90]));
        let other = ("b", "account_2", image(&[1, 100]), image(&[1, 110]));
        let line = ("b", "ledger", None, image(&[7, 10]));
        let commit = ("", "commit", None, None);
        assert_eq!(audited(vec![half.clone(), other.clone(), line.clone(), commit.clone()]), []);
        assert_eq!(audited(vec![half, commit.clone()]), [Invariant::NothingTorn]);
        assert_eq!(audited(vec![line.clone(), commit.clone(), line, commit]), [Invariant::NothingDoubled]);
    }

    #[test]
    fn epochs_and_checkpoints_only_rise() {
        let to = |old, new| ("lutra", "slot", old, new);
        let commit = ("", "commit", None, None);
        let first = to(slot([1, 1], [1, 0]), slot([1, 1], [2, 0]));
        let fenced = to(slot([1, 1], [2, 0]), slot([2, 1], [2, 0]));
        let foreign = to(slot([1, 1], [2, 0]), slot([1, 1], [3, 0]));
        let back = to(slot([2, 1], [2, 0]), slot([2, 1], [1, 0]));
        assert_eq!(audited(vec![first.clone(), commit.clone(), fenced.clone(), commit.clone()]), []);
        assert_eq!(
            audited(vec![first.clone(), fenced.clone(), commit.clone(), foreign, commit.clone()]),
            [Invariant::NoForeignCommit]
        );
        assert_eq!(audited(vec![first, fenced, back, commit]), [Invariant::WatermarkForward]);
    }

    #[test]
    fn versions_of_a_key_rise_and_may_leave_some_out() {
        let to = |version: i128| ("h", "counter", image(&[3, version - 1]), image(&[3, version]));
        let commit = ("", "commit", None, None);
        assert_eq!(audited(vec![to(5), to(6), to(9), commit.clone()]), []);
        assert_eq!(audited(vec![to(5), to(6), to(6), commit]), [Invariant::HistoryInOrder]);
    }
}

//! A worker of a job: takes a table and copies it to its end.

use std::sync::Arc;
use std::time::Duration;

use lutra_change::TableName;
use lutra_coordination::{CopyState, TableProgress, Wish};
use lutra_wire::ChunkStep;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use uuid::Uuid;

use super::super::plan;
use super::super::reader::{Look, Reader, Slice};
use super::super::window::Watched;
use super::super::{Answer, ChunkRows, SnapshotError};
use super::state::{Pick, chunk_id, wish_of};
use super::{Job, REST, copied_table};

/// Waiting for a level stream so long is called starving.
const PATIENCE: Duration = Duration::from_secs(3);
/// Batches of a whole table between reader and desk.
const BATCHES: usize = 4;

/// Takes tables while there are any; waits for wishes then.
pub(super) async fn run(job: Arc<Job>) -> Result<(), SnapshotError> {
    let mut request = job.request.clone();
    loop {
        let pick = {
            let wanted = request.borrow_and_update().clone();
            job.shared.pick(&wanted)
        };
        match pick {
            None => request.changed().await.map_err(|_| SnapshotError::Ended)?,
            Some(pick) => {
                let index = pick.index;
                let copied = Copying { job: &job, behind_since: None }.table(pick).await;
                job.shared.release(index);
                match copied {
                    Ok(()) => {}
                    // Others can be copied all the same.
                    Err(
                        error @ (SnapshotError::Schema(_) | SnapshotError::Row { .. } | SnapshotError::Value { .. }),
                    ) => {
                        let text = crate::extract::chain(&error);
                        tracing::error!(pipeline = job.pipeline, error = text, "a table cannot be copied");
                        job.shared.say(index, CopyState::Failed, Some(text));
                    }
                    Err(error) => return Err(error),
                }
            }
        }
    }
}

/// A slice that was read.
struct Read {
    slice: Slice,
    rows: u64,
    id: Uuid,
    step: ChunkStep,
    /// How far the copy is behind it, its rows not counted.
    next: TableProgress,
}

/// A slice that was handed to the desk.
struct Sent {
    answer: oneshot::Receiver<Answer>,
    next: TableProgress,
}

struct Copying<'j> {
    job: &'j Job,
    behind_since: Option<Instant>,
}

impl Copying<'_> {
    async fn table(&mut self, pick: Pick) -> Result<(), SnapshotError> {
        let Some(name) = name_of(&pick.table.table) else {
            let note = format!("{:?} is not DATABASE.TABLE", pick.table.table);
            self.job.shared.say(pick.index, CopyState::Failed, Some(note));
            return Ok(());
        };
        let full = self.job.full();
        let mut reader = Reader::connect(&self.job.options, self.job.desk.clone(), full.chunk_rows).await?;
        let mut progress = pick.table;
        if let Some(generation) = pick.again {
            match self.again(&mut reader, pick.index, &name, generation).await? {
                Some(made) => progress = made,
                None => return Ok(()),
            }
        }
        let mut sent: Option<Sent> = None;
        loop {
            let is_last = sent.as_ref().is_some_and(|sent| sent.next.state == CopyState::Done);
            if is_last || !self.is_wanted(&progress) {
                self.settle(pick.index, sent.take(), &mut progress).await?;
            }
            // Picked again, or left alone, by what is wished now.
            if progress.state == CopyState::Done || !self.is_wanted(&progress) {
                return Ok(());
            }
            self.wait_for_source(&mut reader).await?;
            // The next slice is read while the one before it is on its way into the log.
            let begin = sent.as_ref().map_or(&progress, |sent| &sent.next).clone();
            let look = reader.look(&name).await?;
            let window = match look {
                Look::Open(window) => window,
                Look::Behind | Look::Gone => {
                    let ends = sent.take();
                    self.settle(pick.index, ends, &mut progress).await?;
                    if matches!(look, Look::Gone) {
                        self.job.shared.say(pick.index, CopyState::Gone, None);
                        return Ok(());
                    }
                    self.rest(pick.index, &progress).await;
                    continue;
                }
            };
            self.behind_since = None;
            let keyless = reader.plan().is_none_or(|plan| plan.key.is_empty());
            let read = match (begin.whole, keyless) {
                (true, _) => {
                    self.whole(&mut reader, window, &name, pick.index, &mut progress).await?;
                    continue;
                }
                (false, false) => self.slice(&mut reader, window, &name, &begin).await?,
                (false, true) => {
                    reader.close(window).await;
                    self.settle(pick.index, sent.take(), &mut progress).await?;
                    let note =
                        "its key was dropped while it was copied: `lutra load restart` copies it anew".to_owned();
                    self.job.shared.say(pick.index, CopyState::Failed, Some(note));
                    return Ok(());
                }
            };
            if !self.settle(pick.index, sent.take(), &mut progress).await? {
                // It is read again, and so is what was read behind it.
                reader.close(window).await;
                continue;
            }
            let rows = read.rows;
            sent = Some(self.send(read).await?);
            if let Some(wait) = self.job.shared.throttle(rows, full.rows_per_second) {
                // A window that is open meanwhile would have to remember more.
                tokio::time::sleep(wait).await;
            }
        }
    }

    /// Whether the copy of this generation shall go on.
    fn is_wanted(&self, progress: &TableProgress) -> bool {
        let (wish, generation) = wish_of(&self.job.request.borrow(), &progress.table);
        wish == Wish::Run && generation <= progress.generation
    }

    /// Waits for what becomes of a slice that was handed to the desk; false when it has to be read again.
    async fn settle(
        &self,
        index: usize,
        sent: Option<Sent>,
        progress: &mut TableProgress,
    ) -> Result<bool, SnapshotError> {
        let Some(Sent { answer, next }) = sent else { return Ok(true) };
        match answer.await.map_err(|_| SnapshotError::Ended)? {
            Answer::Published { number, rows, .. } => {
                *progress = TableProgress { rows: progress.rows + rows, ..next };
                self.handed(index, number, progress);
                Ok(true)
            }
            Answer::Void(reason) => {
                tracing::debug!(table = progress.table, reason, "a slice is read again");
                Ok(false)
            }
        }
    }

    fn handed(&self, index: usize, number: lutra_change::Number, progress: &TableProgress) {
        self.job.shared.handed(index, number, progress.clone());
        if progress.state == CopyState::Done {
            let (pipeline, table, rows) = (&self.job.pipeline, &progress.table, progress.rows);
            tracing::info!(pipeline, table, rows, "a table is copied");
        }
    }

    /// Rests while the stream is behind; that it starves is said.
    async fn rest(&mut self, index: usize, progress: &TableProgress) {
        let since = *self.behind_since.get_or_insert_with(Instant::now);
        let state = if since.elapsed() > PATIENCE { CopyState::Starving } else { progress.state };
        self.job.shared.say(index, state, None);
        tokio::time::sleep(REST).await;
    }

    /// Rests while more statements run at the source than the settings allow.
    async fn wait_for_source(&self, reader: &mut Reader) -> Result<(), SnapshotError> {
        let Some(most) = self.job.full().source_threads else { return Ok(()) };
        loop {
            let row = reader.connection().query_first("SHOW GLOBAL STATUS LIKE 'Threads_running'").await?;
            // Ours is one of them.
            if row.and_then(|row| row.u64(1)).unwrap_or(0) <= u64::from(most) + 1 {
                return Ok(());
            }
            tokio::time::sleep(REST).await;
        }
    }

    /// Reads one slice.
    async fn slice(
        &self,
        reader: &mut Reader,
        window: u64,
        name: &TableName,
        begin: &TableProgress,
    ) -> Result<Read, SnapshotError> {
        let after = begin.after.as_ref().map(|after| after.iter().map(|hex| from_hex(hex)).collect::<Vec<_>>());
        let slice = reader.slice(window, after.as_deref()).await?;
        let bound = slice.bound.as_ref().map(|bound| bound.iter().map(|l| to_hex(l)).collect::<Vec<_>>());
        let id = self.id(begin, begin.after.as_deref(), bound.as_deref(), slice.last);
        let table = copied_table(name, begin.generation, false);
        let step = ChunkStep::Rows { table, previous: begin.chunk, last: slice.last };
        let next = moved(begin, 0, id, bound.or_else(|| begin.after.clone()), slice.last);
        Ok(Read { rows: slice.rows.len() as u64, slice, id, step, next })
    }

    /// Hands a slice to the desk.
    async fn send(&self, read: Read) -> Result<Sent, SnapshotError> {
        let Read { slice: Slice { window, high, schema, rows, .. }, id, step, next, .. } = read;
        let answer = self.job.submit(window, high, id, step, ChunkRows::Slice(rows), Some(schema)).await?;
        Ok(Sent { answer, next })
    }

    /// The whole table as one unit: a view that nothing changed while it was opened.
    async fn whole(
        &self,
        reader: &mut Reader,
        window: u64,
        name: &TableName,
        index: usize,
        progress: &mut TableProgress,
    ) -> Result<(), SnapshotError> {
        let (high, schema) = reader.view(window).await?;
        let id = self.id(progress, None, None, true);
        let table = copied_table(name, progress.generation, true);
        let step = ChunkStep::Rows { table, previous: None, last: true };
        let (sender, receiver) = mpsc::channel(BATCHES);
        let published = self.job.publish(window, high, id, step, ChunkRows::Whole(receiver), Some(schema));
        let (scanned, answer) = tokio::join!(reader.scan_whole(sender), published);
        match answer? {
            Answer::Published { number, rows, .. } => {
                scanned?;
                *progress = moved(progress, rows, id, None, true);
                self.handed(index, number, progress);
            }
            // A void one leaves a scan without a taker, and the connection in its middle.
            Answer::Void(reason) => {
                tracing::info!(table = %name, reason, "a table is read again");
                *reader = Reader::connect(&self.job.options, self.job.desk.clone(), self.job.full().chunk_rows).await?;
            }
        }
        Ok(())
    }

    /// Makes the table anew in the target, and begins its copy again.
    async fn again(
        &self,
        reader: &mut Reader,
        index: usize,
        name: &TableName,
        generation: u32,
    ) -> Result<Option<TableProgress>, SnapshotError> {
        loop {
            let Look::Open(looked) = reader.look(name).await? else {
                if reader.plan().is_none() {
                    self.job.shared.say(index, CopyState::Gone, None);
                    return Ok(None);
                }
                tokio::time::sleep(REST).await;
                continue;
            };
            let whole = reader.plan().is_none_or(|plan| plan.key.is_empty());
            // The table's own window would be voided by its rows, too; what counts here are definitions.
            reader.close(looked).await;
            let Some(window) = reader.open(Watched::default()).await? else {
                tokio::time::sleep(REST).await;
                continue;
            };
            let (indexes, names) = (self.job.full().indexes, std::slice::from_ref(name));
            let statements = match plan::definitions(reader.connection(), names, true, indexes).await {
                Ok(statements) => statements,
                Err(error) => return reader.give_up(window, error).await,
            };
            let estimate = plan::estimate(reader.connection(), name).await?;
            let high = reader.high().await?;
            let text = name.to_string();
            let id = chunk_id(&[self.job.shared.id.as_bytes(), b"again", text.as_bytes(), &generation.to_be_bytes()]);
            let step = ChunkStep::Define { tables: vec![copied_table(name, generation, whole)], statements };
            let answer = self.job.publish(window, high, id, step, ChunkRows::Slice(Vec::new()), None).await?;
            if let Answer::Published { number, .. } = answer {
                let progress = TableProgress { table: text, generation, estimate, whole, ..TableProgress::default() };
                self.job.shared.handed(index, number, progress.clone());
                return Ok(Some(progress));
            }
        }
    }

    fn id(&self, progress: &TableProgress, after: Option<&[String]>, bound: Option<&[String]>, last: bool) -> Uuid {
        let text = |bound: Option<&[String]>| bound.map(|b| b.join(",")).unwrap_or_default();
        chunk_id(&[
            self.job.shared.id.as_bytes(),
            progress.table.as_bytes(),
            &progress.generation.to_be_bytes(),
            text(after).as_bytes(),
            text(bound).as_bytes(),
            &[u8::from(last)],
        ])
    }
}

fn moved(progress: &TableProgress, rows: u64, id: Uuid, after: Option<Vec<String>>, last: bool) -> TableProgress {
    TableProgress {
        state: if last { CopyState::Done } else { CopyState::Copying },
        rows: progress.rows + rows,
        chunks: progress.chunks + 1,
        chunk: Some(id),
        after,
        note: None,
        ..progress.clone()
    }
}

fn name_of(text: &str) -> Option<TableName> {
    text.split_once('.').map(|(database, table)| TableName::new(database, table))
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn from_hex(text: &str) -> Vec<u8> {
    let digit = |at: usize| text.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok()).unwrap_or(0);
    (0..text.len() / 2).map(|n| digit(n * 2)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_survive_their_hexadecimal_form() {
        for bytes in [&b"'a\xff'"[..], b"", b"\0\x01"] {
            assert_eq!(from_hex(&to_hex(bytes)), bytes);
        }
    }
}

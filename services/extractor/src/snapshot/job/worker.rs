//! A worker of a job: takes a table and copies it to its end.

use std::sync::Arc;
use std::time::Duration;

use lutra_change::TableName;
use lutra_coordination::{CopyState, TableProgress, Wish};
use lutra_wire::ChunkStep;
use tokio::sync::mpsc;
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
        loop {
            let (wish, generation) = wish_of(&self.job.request.borrow(), &progress.table);
            // Picked again, or left alone, by what is wished now.
            if wish != Wish::Run || generation > progress.generation {
                return Ok(());
            }
            self.wait_for_source(&mut reader).await?;
            let window = match reader.look(&name).await? {
                Look::Open(window) => window,
                Look::Behind => {
                    self.rest(pick.index, &progress).await;
                    continue;
                }
                Look::Gone => {
                    self.job.shared.say(pick.index, CopyState::Gone, None);
                    return Ok(());
                }
            };
            self.behind_since = None;
            let keyless = reader.plan().is_none_or(|plan| plan.key.is_empty());
            let next = match (progress.whole, keyless) {
                (true, _) => self.whole(&mut reader, window, &name, &progress).await?,
                (false, false) => self.slice(&mut reader, window, &name, &progress).await?,
                (false, true) => {
                    let note =
                        "its key was dropped while it was copied: `lutra load restart` copies it anew".to_owned();
                    self.job.shared.say(pick.index, CopyState::Failed, Some(note));
                    return reader.give_up(window, SnapshotError::Ended).await.or(Ok(()));
                }
            };
            let Some((number, next)) = next else { continue };
            let read = next.rows - progress.rows;
            progress = next;
            self.job.shared.handed(pick.index, number, progress.clone());
            if progress.state == CopyState::Done {
                tracing::info!(
                    pipeline = self.job.pipeline,
                    table = progress.table,
                    rows = progress.rows,
                    "a table is copied"
                );
                return Ok(());
            }
            if let Some(wait) = self.job.shared.throttle(read, full.rows_per_second) {
                tokio::time::sleep(wait).await;
            }
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

    /// One slice; none when it has to be read again.
    async fn slice(
        &self,
        reader: &mut Reader,
        window: u64,
        name: &TableName,
        progress: &TableProgress,
    ) -> Result<Option<(lutra_change::Number, TableProgress)>, SnapshotError> {
        let after = progress.after.as_ref().map(|after| after.iter().map(|hex| from_hex(hex)).collect::<Vec<_>>());
        let Slice { window, high, schema, rows, bound, last } = reader.slice(window, after.as_deref()).await?;
        let bound = bound.map(|bound| bound.iter().map(|l| to_hex(l)).collect::<Vec<_>>());
        let id = self.id(progress, progress.after.as_deref(), bound.as_deref(), last);
        let step =
            ChunkStep::Rows { table: copied_table(name, progress.generation, false), previous: progress.chunk, last };
        let answer = self.job.publish(window, high, id, step, ChunkRows::Slice(rows), Some(schema)).await?;
        let Answer::Published { number, rows, .. } = answer else { return Ok(None) };
        let after = bound.or_else(|| progress.after.clone());
        Ok(Some((number, moved(progress, rows, id, after, last))))
    }

    /// The whole table as one unit: a view that nothing changed while it was opened.
    async fn whole(
        &self,
        reader: &mut Reader,
        window: u64,
        name: &TableName,
        progress: &TableProgress,
    ) -> Result<Option<(lutra_change::Number, TableProgress)>, SnapshotError> {
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
                Ok(Some((number, moved(progress, rows, id, None, true))))
            }
            // A void one leaves a scan without a taker, and the connection in its middle.
            Answer::Void(reason) => {
                tracing::info!(table = %name, reason, "a table is read again");
                *reader = Reader::connect(&self.job.options, self.job.desk.clone(), self.job.full().chunk_rows).await?;
                Ok(None)
            }
        }
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
            let _ = self.job.desk.asks.send(super::super::Ask::Close(looked)).await;
            let Some(window) = reader.open(Watched::default()).await? else {
                tokio::time::sleep(REST).await;
                continue;
            };
            let statements = match plan::definitions(reader.connection(), std::slice::from_ref(name), true).await {
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

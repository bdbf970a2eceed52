//! One slice of a table: a window, the read, and what came of it.

use std::cmp::Ordering;
use std::sync::Arc;
use std::time::Duration;

use lutra_change::{BinlogPosition, GtidSet, TableName};
use lutra_mysql::catalogue::{self, Collations};
use lutra_mysql::scan::SCAN_SESSION;
use lutra_mysql::{Cell, ConnectOptions, Connection, Flavour};
use lutra_wire::{RowEncoder, RowSchema};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::desk::{DeskHandle, compare};
use super::encode::encode_row;
use super::plan::ReadPlan;
use super::window::{KeyPlan, ReadRow, Watched};
use super::{Ask, Opened, SnapshotError};

/// How long the server may take to have executed what its dump thread sent before (P7).
const PATIENCE_SECONDS: u32 = 10;
/// A statement without an answer for so long is taken for lost.
const SILENCE: Duration = Duration::from_secs(60);
/// A slice larger than this is cut.
const SLICE_BYTES: usize = 16 << 20;
/// Batches of a scan that wait.
const BATCHES: usize = 4;

/// A reader's connection.
#[derive(Debug)]
pub struct Reader {
    connection: Connection,
    flavour: Flavour,
    collations: Collations,
    desk: DeskHandle,
    plan: Option<ReadPlan>,
    schema: Option<Compiled>,
    /// Rows of the next slice, at most.
    limit: u32,
}

#[derive(Clone, Debug)]
struct Compiled {
    schema: Arc<RowSchema>,
    encoder: RowEncoder,
    key: Option<KeyPlan>,
}

/// What was read.
#[derive(Debug)]
pub struct Slice {
    /// Its window.
    pub window: u64,
    /// Where the binlog ended behind the read.
    pub high: BinlogPosition,
    /// The rows' schema.
    pub schema: Arc<RowSchema>,
    /// The rows.
    pub rows: Vec<ReadRow>,
    /// Key of the last one, as literals.
    pub bound: Option<Vec<Vec<u8>>>,
    /// Nothing is behind it.
    pub last: bool,
}

/// What a look at a table gives.
#[derive(Debug)]
pub enum Look {
    /// A window is open and the table is planned.
    Open(u64),
    /// The stream is behind.
    Behind,
    /// The table is not there.
    Gone,
}

impl Reader {
    /// Connects.
    pub async fn connect(options: &ConnectOptions, desk: DeskHandle, limit: u32) -> Result<Self, SnapshotError> {
        let mut options = options.clone();
        options.read_timeout = SILENCE;
        options.init.extend(SCAN_SESSION.map(str::to_owned));
        let mut connection = Connection::connect(&options).await?;
        let collations = Collations::read(&mut connection).await?;
        let flavour = connection.flavour().await?;
        Ok(Self { connection, flavour, collations, desk, plan: None, schema: None, limit })
    }

    /// The connection, for questions.
    pub fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// The plan of the table that was looked at last.
    pub fn plan(&self) -> Option<&ReadPlan> {
        self.plan.as_ref()
    }

    /// Opens a window, and waits until the server has executed everything that the stream has seen (the low mark): a
    /// transaction that the stream has passed and the read does not see would be lost.
    pub async fn open(&mut self, watched: Watched) -> Result<Option<u64>, SnapshotError> {
        let end = self.high().await?;
        let (reply, answer) = oneshot::channel();
        self.desk.asks.send(Ask::Open { watched, end, reply }).await.map_err(|_| SnapshotError::Ended)?;
        match answer.await.map_err(|_| SnapshotError::Ended)? {
            Opened::Behind => Ok(None),
            Opened::Window { window, executed, place } => match self.low(&executed, &place).await {
                Ok(true) => Ok(Some(window)),
                Ok(false) => self.give_up(window, SnapshotError::Late { seconds: PATIENCE_SECONDS }).await,
                Err(error) => self.give_up(window, error).await,
            },
        }
    }

    /// Whether everything that the stream has seen became visible in time.
    async fn low(&mut self, executed: &GtidSet, place: &BinlogPosition) -> Result<bool, SnapshotError> {
        if !self.flavour.is_mariadb() {
            let wait = format!("SELECT WAIT_FOR_EXECUTED_GTID_SET('{executed}', {PATIENCE_SECONDS})");
            return Ok(self.connection.query_text(wait).await?.as_deref() == Some("0"));
        }
        // There a snapshot says behind which place of the binlog everything before it is visible; what is read later sees
        // no less.
        let deadline = Instant::now() + Duration::from_secs(PATIENCE_SECONDS.into());
        let mut rest = Duration::from_millis(1);
        loop {
            let seen = self.visible().await?;
            if compare(&seen, place) != Ordering::Less {
                return Ok(true);
            }
            // Events that commit nothing move the stream, not the snapshot.
            let set = catalogue::mariadb_position(&mut self.connection, &seen).await?;
            if set.is_some_and(|set| executed.is_subset(&set)) {
                return Ok(true);
            }
            if Instant::now() > deadline {
                return Ok(false);
            }
            tokio::time::sleep(rest).await;
            rest = (rest * 2).min(Duration::from_millis(100));
        }
    }

    /// Behind which place of MariaDB's binlog everything before it is visible now.
    async fn visible(&mut self) -> Result<BinlogPosition, SnapshotError> {
        self.connection.execute("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ").await?;
        self.connection.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY").await?;
        let rows = self.connection.query("SHOW STATUS LIKE 'binlog_snapshot_%'").await?;
        self.connection.rollback().await?;
        let value = |name: &str| rows.iter().find(|row| row.string(0).eq_ignore_ascii_case(name));
        let file = value("binlog_snapshot_file").map(|row| row.string(1)).unwrap_or_default();
        let position = value("binlog_snapshot_position").and_then(|row| row.u64(1)).unwrap_or_default();
        Ok(BinlogPosition::new(file, position))
    }

    /// Closes a window of which nothing came.
    pub async fn give_up<T>(&self, window: u64, error: SnapshotError) -> Result<T, SnapshotError> {
        self.close(window).await;
        Err(error)
    }

    /// Closes a window.
    pub async fn close(&self, window: u64) {
        // Without a desk there are no windows.
        let _ = self.desk.asks.send(Ask::Close(window)).await;
    }

    /// Where the binlog ends now: behind all that a read before can have seen (the high mark), since transactions become
    /// visible only after they are in it.
    pub async fn high(&mut self) -> Result<BinlogPosition, SnapshotError> {
        if !self.flavour.is_mariadb() {
            return Ok(catalogue::binlog_end(&mut self.connection).await?.0);
        }
        // Without the GTIDs there: the server would search its binlog for them.
        let row = self.connection.query_first("SHOW MASTER STATUS").await?;
        let place = row.and_then(|row| Some(BinlogPosition::new(row.string(0), row.u64(1)?)));
        place.ok_or(SnapshotError::NoBinlog)
    }

    /// Plans the table and opens a window over it. The definition is looked at inside of the window, so that any change
    /// of it voids what is read.
    pub async fn look(&mut self, table: &TableName) -> Result<Look, SnapshotError> {
        if self.plan.as_ref().is_none_or(|plan| plan.schema.name != *table) && !self.replan(table, None).await? {
            return Ok(Look::Gone);
        }
        for _ in 0..2 {
            let Some(plan) = &self.plan else { return Ok(Look::Gone) };
            let (key, parents) = (plan.key_columns(), plan.parents.clone());
            let Some(window) = self.open(Watched { table: Some(table.clone()), key, parents }).await? else {
                return Ok(Look::Behind);
            };
            match catalogue::show_create_table(&mut self.connection, table).await {
                Err(error) => return self.give_up(window, error.into()).await,
                Ok(text) if text.as_ref() == self.plan.as_ref().map(|p| &p.text) => return Ok(Look::Open(window)),
                Ok(text) => {
                    self.close(window).await;
                    if !self.replan(table, text).await? {
                        return Ok(Look::Gone);
                    }
                }
            }
        }
        Ok(Look::Behind)
    }

    async fn replan(&mut self, table: &TableName, text: Option<String>) -> Result<bool, SnapshotError> {
        (self.plan, self.schema) = (None, None);
        let text = match text {
            Some(text) => Some(text),
            None => catalogue::show_create_table(&mut self.connection, table).await?,
        };
        let Some(text) = text else { return Ok(false) };
        let Some(plan) = ReadPlan::make(&mut self.connection, table, text, &self.collations).await? else {
            return Ok(false);
        };
        let schema = RowSchema::from_table(&plan.schema)
            .map_err(|source| SnapshotError::Row { table: table.clone(), source: Box::new(source) })?;
        let encoder = RowEncoder::new(&schema);
        let key = KeyPlan::new(&schema, &plan.key_columns());
        self.schema = Some(Compiled { schema: Arc::new(schema), encoder, key });
        self.plan = Some(plan);
        Ok(true)
    }

    /// Reads the rows behind `after` in a window.
    pub async fn slice(&mut self, window: u64, after: Option<&[Vec<u8>]>) -> Result<Slice, SnapshotError> {
        match self.try_slice(window, after).await {
            Ok(slice) => Ok(slice),
            Err(error) => self.give_up(window, error).await,
        }
    }

    async fn try_slice(&mut self, window: u64, after: Option<&[Vec<u8>]>) -> Result<Slice, SnapshotError> {
        let (Some(plan), Some(compiled)) = (self.plan.clone(), self.schema.clone()) else {
            return Err(SnapshotError::Ended);
        };
        let limit = self.limit;
        let (sender, mut batches) = mpsc::channel(BATCHES);
        let query = plan.query(after, limit);
        let mut rows = Vec::new();
        let (mut bytes, mut bound) = (0, None);
        let scan = async {
            let scanned = self.connection.scan(&query, &sender).await;
            drop(sender);
            scanned
        };
        let collect = async {
            while let Some(batch) = batches.recv().await {
                for cells in &batch {
                    let row = compiled.row(&plan, cells)?;
                    bytes += row.datum.len();
                    rows.push(row);
                }
                bound = batch.last().and_then(|cells| plan.bound(cells)).or(bound.take());
            }
            Ok::<_, SnapshotError>(())
        };
        let (scanned, collected) = tokio::join!(scan, collect);
        collected?;
        let last = scanned? < u64::from(limit);
        if bytes > SLICE_BYTES {
            self.limit = (limit / 2).max(1);
        }
        let high = self.high().await?;
        Ok(Slice { window, high, schema: compiled.schema, rows, bound, last })
    }

    /// Opens a consistent view of the table inside of a window; it is then [scanned](Self::scan_whole).
    pub async fn view(&mut self, window: u64) -> Result<(BinlogPosition, Arc<RowSchema>), SnapshotError> {
        let viewed = async {
            self.connection.execute("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ").await?;
            self.connection.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY").await?;
            let compiled = self.schema.clone().ok_or(SnapshotError::Ended)?;
            Ok((self.high().await?, compiled.schema))
        };
        match viewed.await {
            Ok(viewed) => Ok(viewed),
            Err(error) => self.give_up(window, error).await,
        }
    }

    /// Reads the whole table in the view; an empty batch says that it was all.
    pub async fn scan_whole(&mut self, rows: mpsc::Sender<Vec<ReadRow>>) -> Result<u64, SnapshotError> {
        let (Some(plan), Some(compiled)) = (self.plan.clone(), self.schema.clone()) else {
            return Err(SnapshotError::Ended);
        };
        let (sender, mut batches) = mpsc::channel(BATCHES);
        let query = plan.query(None, 0);
        let scan = async {
            let scanned = self.connection.scan(&query, &sender).await;
            drop(sender);
            scanned
        };
        let forward = async {
            while let Some(batch) = batches.recv().await {
                let read: Vec<ReadRow> =
                    batch.iter().map(|cells| compiled.row(&plan, cells)).collect::<Result<_, _>>()?;
                rows.send(read).await.map_err(|_| SnapshotError::Ended)?;
            }
            Ok::<_, SnapshotError>(())
        };
        let (scanned, forwarded) = tokio::join!(scan, forward);
        forwarded?;
        let count = scanned?;
        rows.send(Vec::new()).await.map_err(|_| SnapshotError::Ended)?;
        self.connection.rollback().await?;
        Ok(count)
    }
}

impl Compiled {
    fn row(&self, plan: &ReadPlan, cells: &[Cell]) -> Result<ReadRow, SnapshotError> {
        let mut datum = Vec::new();
        encode_row(&plan.schema, &self.encoder, cells, &mut datum)?;
        let key = self.key.as_ref().and_then(|key| key.key(&datum)).unwrap_or_default();
        Ok(ReadRow { key, datum })
    }
}

//! What the servers' own binlogs say: of what a workload consists, and when transactions committed.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use lutra_binlog::{DecodeError, Decoder, Event, EventData, Image, Inflater, RowDecoder, Scratch, TableCache};
use lutra_change::{Operation, Value};
use lutra_harness::mysql;
use lutra_harness::server::Server;
use mysql_async::Row;
use mysql_async::prelude::Queryable;

/// Begins a new file; its name.
///
/// # Errors
/// When the server refuses.
pub async fn begin_file(server: &Server) -> Result<String> {
    let mut connection = mysql::connect(&server.url()).await?;
    connection.query_drop("FLUSH BINARY LOGS").await.context("begin a new binlog file")?;
    let status: Option<Row> =
        connection.query_first("SHOW BINARY LOG STATUS").await.context("ask for the binlog file")?;
    status.and_then(|row| row.get(0)).context("ask for the binlog file: the server has none")
}

/// The files from `first` on that are complete: the present one is closed for that.
///
/// # Errors
/// When the server refuses.
pub async fn files_from(server: &Server, first: &str) -> Result<Vec<PathBuf>> {
    let current = begin_file(server).await?;
    let mut connection = mysql::connect(&server.url()).await?;
    let rows: Vec<Row> = connection.query("SHOW BINARY LOGS").await.context("ask for the binlog files")?;
    let names = rows.into_iter().filter_map(|row| row.get::<String, _>(0));
    let wanted = names.skip_while(|name| name != first).take_while(|name| *name != current);
    Ok(wanted.map(|name| server.folder().join("data").join(name)).collect())
}

/// Reads the files into memory.
///
/// # Errors
/// When one cannot be read.
pub fn read(files: &[PathBuf]) -> Result<Vec<Vec<u8>>> {
    files.iter().map(|path| std::fs::read(path).with_context(|| format!("read {}", path.display()))).collect()
}

/// Shows every event of a file, those inside compressed transactions too.
///
/// # Errors
/// When the file cannot be decoded, or `see` fails.
pub fn each_event<E: From<DecodeError>>(
    file: &[u8],
    mut see: impl FnMut(&Event<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let (mut decoder, mut inflater) = (Decoder::new(), Inflater::new(1 << 30));
    for bytes in lutra_binlog::file::events(file)? {
        let event = decoder.decode(bytes?.bytes)?;
        see(&event)?;
        if let EventData::TransactionPayload(payload) = &event.data {
            let mut inner = inflater.read(payload)?;
            while let Some(bytes) = inner.next_event()? {
                see(&decoder.decode_inner(&event.header, bytes)?)?;
            }
        }
    }
    Ok(())
}

/// What the transactions of a workload consist of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Transactions by the rows that they insert, update and delete.
    pub shapes: BTreeMap<[u64; 3], u64>,
    /// Tables that rows were changed in, with the number of changes.
    pub tables: BTreeMap<String, u64>,
    /// Statements by the number of rows that they changed.
    pub statements: BTreeMap<u64, u64>,
}

impl Census {
    /// Row changes in all.
    pub fn rows(&self) -> u64 {
        self.tables.values().sum()
    }

    /// Fails unless every transaction has this shape.
    ///
    /// # Errors
    /// When one has another.
    pub fn ensure_shape(&self, shape: [u64; 3]) -> Result<()> {
        ensure!(
            self.shapes.keys().eq([&shape]),
            "each transaction should insert, update and delete {shape:?} rows; there are {:?}",
            self.shapes
        );
        Ok(())
    }
}

struct Counting {
    census: Census,
    tables: TableCache,
    scratch: Scratch,
    open: [u64; 3],
    statement: u64,
}

impl Counting {
    fn see(&mut self, event: &Event<'_>, database: &str) -> Result<(), DecodeError> {
        match &event.data {
            EventData::TableMap(map) => {
                self.tables.observe(map)?;
            }
            EventData::Rows(rows) => {
                let table = Arc::clone(self.tables.get(rows)?);
                let name = &table.schema().name;
                if name.database != database {
                    return Ok(());
                }
                let (mut images, mut count) = (table.rows(rows, &mut self.scratch)?, 0);
                while let Some(image) = images.next_image() {
                    images.decode_image(|_, _| Ok::<_, DecodeError>(()))?;
                    // An update is counted by its second image.
                    count += u64::from(rows.operation != Operation::Update || image == Image::After);
                }
                let kind = match rows.operation {
                    Operation::Update => 1,
                    Operation::Delete => 2,
                    _ => 0,
                };
                self.open[kind] += count;
                self.statement += count;
                *self.census.tables.entry(name.to_string()).or_default() += count;
                if rows.is_statement_end() {
                    *self.census.statements.entry(std::mem::take(&mut self.statement)).or_default() += 1;
                }
            }
            EventData::Xid(_) if self.open != [0; 3] => {
                *self.census.shapes.entry(std::mem::take(&mut self.open)).or_default() += 1;
            }
            _ => {}
        }
        Ok(())
    }
}

/// Counts what the files say of a database.
///
/// # Errors
/// When they cannot be decoded.
pub fn census(files: &[Vec<u8>], database: &str) -> Result<Census> {
    let mut counting = Counting {
        census: Census::default(),
        tables: TableCache::new(),
        scratch: Scratch::new(),
        open: [0; 3],
        statement: 0,
    };
    for file in files {
        counting.tables.forget_ids();
        each_event(file, |event| counting.see(event, database))?;
    }
    Ok(counting.census)
}

/// When each mark committed: by its id, microseconds since the epoch on the server's clock.
///
/// # Errors
/// When the files cannot be decoded.
pub fn mark_times(files: &[Vec<u8>], database: &str) -> Result<HashMap<u64, i64>> {
    let mut tables: TableCache<Option<Arc<RowDecoder>>> = TableCache::default();
    let (mut scratch, mut committed_at, mut times) = (Scratch::new(), 0, HashMap::new());
    for file in files {
        tables.forget_ids();
        each_event(file, |event| {
            match &event.data {
                EventData::Gtid(gtid) => committed_at = i64::try_from(gtid.immediate_commit_timestamp).unwrap_or(0),
                EventData::TableMap(map) => {
                    tables.observe_with(map, |map| {
                        let is_mark = map.database == database && map.table == "mark";
                        is_mark.then(|| RowDecoder::plan(map).map(Arc::new)).transpose()
                    })?;
                }
                EventData::Rows(rows) => {
                    let Some(table) = tables.get(rows)?.clone() else { return Ok(()) };
                    let mut images = table.rows(rows, &mut scratch)?;
                    while let Some(image) = images.next_image() {
                        images.decode_image(|_, value| {
                            if let (Image::After, Value::UInt(id)) = (image, value) {
                                times.insert(id, committed_at);
                            }
                            Ok::<_, DecodeError>(())
                        })?;
                    }
                }
                _ => {}
            }
            Ok::<_, DecodeError>(())
        })?;
    }
    Ok(times)
}

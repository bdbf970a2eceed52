//! `lutra binlog`: a binlog, from files or from a server, as text or JSON lines, with row counts per table.

mod counts;
mod files;
mod listing;
mod value;

use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Duration;

use lutra_change::{BinlogPosition, GtidSet};
use lutra_mysql::{BinlogSource, BinlogStream, ConnectOptions, Connection, DumpRequest, DumpStart, EventBatch};

use self::files::EventReader;
use self::listing::Listing;
use crate::arguments::BinlogArguments;
use crate::error::CliError;
use crate::output::Output;

/// So many bytes of events are read from a server at once.
const BATCH_BYTES: usize = 4 << 20;
/// Server ids that no replica has by chance: behind these bits comes the process id.
const SERVER_ID_BITS: u32 = 0x4c00_0000;
/// Where events begin in a file.
const FIRST_EVENT: u64 = 4;

pub(super) async fn run(arguments: &BinlogArguments, output: &Output) -> Result<(), CliError> {
    let out = BufWriter::with_capacity(1 << 16, std::io::stdout());
    let mut listing = Listing::new(out, output.is_json(), arguments.summary);
    let read = match &arguments.from {
        Some(url) => stream(url, arguments, &mut listing).await,
        None => arguments.files.iter().try_for_each(|path| file(path, &mut listing)),
    };
    // What was read up to an error is counted and said too.
    match read.and(listing.finish()) {
        Err(CliError::Print(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}

fn file<W: Write>(path: &Path, listing: &mut Listing<W>) -> Result<(), CliError> {
    let name = path.display().to_string();
    let fault = |source| CliError::Read { path: path.to_owned(), source };
    let file = std::fs::File::open(path).map_err(fault)?;
    let mut reader = EventReader::new(std::io::BufReader::with_capacity(1 << 20, file));
    listing.file(&name, FIRST_EVENT)?;
    loop {
        match reader.next_event() {
            Ok(None) => return Ok(()),
            Ok(Some(event)) => listing.event(event)?,
            Err(files::FileError::Read(source)) => return Err(fault(source)),
            Err(files::FileError::Format { offset, what }) => {
                return Err(CliError::Failed(format!("{name}, byte {offset}: {what}")));
            }
        }
    }
}

async fn stream<W: Write>(url: &str, arguments: &BinlogArguments, listing: &mut Listing<W>) -> Result<(), CliError> {
    let options =
        ConnectOptions::from_url(url).ok_or_else(|| CliError::input("--from must be mysql://USER@HOST:PORT"))?;
    let fault = |source| CliError::Server { address: options.address(), source: Box::new(source) };
    let start = match &arguments.start {
        Some(text) => start(text)?,
        None => DumpStart::Position(oldest(&options).await.map_err(fault)?),
    };
    if let DumpStart::Position(position) = &start {
        listing.file(&position.file, position.offset)?;
    }
    let request = DumpRequest {
        start,
        server_id: SERVER_ID_BITS | (std::process::id() & 0xff_ffff),
        heartbeat: Duration::from_secs(10),
        until_end: !arguments.follow,
    };
    let mut stream = BinlogStream::connect(&options, &request).await.map_err(fault)?;
    let mut batch = EventBatch::default();
    loop {
        batch.clear();
        let more = tokio::select! {
            _ = tokio::signal::ctrl_c() => false,
            more = stream.read(&mut batch, BATCH_BYTES) => more.map_err(fault)?,
        };
        batch.iter().try_for_each(|event| listing.event(event))?;
        if !more {
            stream.close().await;
            return Ok(());
        }
        if arguments.follow {
            listing.flush()?;
        }
    }
}

/// The oldest place that the server has.
async fn oldest(options: &ConnectOptions) -> lutra_mysql::Result<BinlogPosition> {
    let mut connection = Connection::connect(options).await?;
    let file = connection.query_text("SHOW BINARY LOGS").await?;
    Ok(BinlogPosition::new(file.unwrap_or_default(), FIRST_EVENT))
}

/// A set of GTIDs that are not wanted, a file, or a byte of a file.
fn start(text: &str) -> Result<DumpStart, CliError> {
    if let Ok(set) = text.parse::<GtidSet>()
        && !set.is_empty()
    {
        return Ok(DumpStart::Gtid(set));
    }
    let (file, offset) = match text.rsplit_once(':') {
        Some((file, offset)) => (file, offset.parse().ok()),
        None => (text, Some(FIRST_EVENT)),
    };
    match offset {
        Some(offset) if !file.is_empty() && offset >= FIRST_EVENT => {
            Ok(DumpStart::Position(BinlogPosition::new(file, offset)))
        }
        _ => Err(CliError::input("--start must be FILE, FILE:POSITION, or a set of GTIDs that are not wanted")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_a_file_a_byte_or_a_set() {
        let position = |text: &str| match start(text) {
            Ok(DumpStart::Position(p)) => p.to_string(),
            other => format!("{other:?}"),
        };
        assert_eq!(position("binlog.000007"), "binlog.000007:4");
        assert_eq!(position("binlog.000007:5000000000"), "binlog.000007:5000000000");
        for set in ["3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5", "0-1-7"] {
            assert!(matches!(start(set), Ok(DumpStart::Gtid(_))), "{set}");
        }
        assert!(start("binlog.000007:2").is_err() && start(":9").is_err() && start("").is_err());
    }
}

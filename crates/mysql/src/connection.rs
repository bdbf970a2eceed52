//! A connection: statements as text, several in one round trip, and queries.

use std::time::Duration;

use mysql_async::prelude::{Protocol, Queryable};
use mysql_async::{Conn, Params, QueryResult, Value};

use crate::dialect::Flavour;
use crate::error::{BatchError, Error, Result};
use crate::options::{ConnectOptions, TlsMode};

/// What a statement did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Rows the server counts: *matched* ones where the connection was made with
    /// [`found_rows`](ConnectOptions::found_rows), else changed ones. 0 for a statement that gives rows.
    pub rows: u64,
    /// Rows an UPDATE changed (`Changed: n`); `None` for other statements.
    pub changed: Option<u64>,
    /// Warnings.
    pub warnings: u16,
    /// Rows given back by a statement that gives rows.
    pub given: u64,
}

/// A parameter of a prepared statement.
#[derive(Clone, Debug, PartialEq)]
pub enum Param {
    /// NULL.
    Null,
    /// Signed.
    Int(i64),
    /// Unsigned.
    UInt(u64),
    /// Floating point.
    Double(f64),
    /// Text or bytes.
    Bytes(Vec<u8>),
}

impl From<&str> for Param {
    fn from(text: &str) -> Self {
        Self::Bytes(text.as_bytes().to_vec())
    }
}

impl From<String> for Param {
    fn from(text: String) -> Self {
        Self::Bytes(text.into_bytes())
    }
}

impl From<u64> for Param {
    fn from(n: u64) -> Self {
        Self::UInt(n)
    }
}

impl From<i64> for Param {
    fn from(n: i64) -> Self {
        Self::Int(n)
    }
}

impl<T: Into<Self>> From<Option<T>> for Param {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl From<Param> for Value {
    fn from(param: Param) -> Self {
        match param {
            Param::Null => Self::NULL,
            Param::Int(n) => Self::Int(n),
            Param::UInt(n) => Self::UInt(n),
            Param::Double(n) => Self::Double(n),
            Param::Bytes(b) => Self::Bytes(b),
        }
    }
}

/// A row of a query, its values by index.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row(Vec<Option<Vec<u8>>>);

impl Row {
    fn from_driver(row: mysql_async::Row) -> Self {
        Self(row.unwrap().into_iter().map(text_of).collect())
    }

    /// How many values.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The bytes of a value; `None` for NULL and for an index beyond the row.
    pub fn bytes(&self, index: usize) -> Option<&[u8]> {
        self.0.get(index)?.as_deref()
    }

    /// The value as text; `None` for NULL and for what is no UTF-8.
    pub fn text(&self, index: usize) -> Option<&str> {
        std::str::from_utf8(self.bytes(index)?).ok()
    }

    /// The value as text, `""` where [`text`](Self::text) is none.
    pub fn string(&self, index: usize) -> String {
        self.text(index).unwrap_or_default().to_owned()
    }

    /// The value as an unsigned number.
    pub fn u64(&self, index: usize) -> Option<u64> {
        self.text(index)?.trim().parse().ok()
    }

    /// The value as a signed number.
    pub fn i64(&self, index: usize) -> Option<i64> {
        self.text(index)?.trim().parse().ok()
    }
}

/// Values as the text protocol would give them (times of prepared statements excepted: select them as CHAR).
fn text_of(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::NULL => None,
        Value::Bytes(bytes) => Some(bytes),
        Value::Int(n) => Some(n.to_string().into_bytes()),
        Value::UInt(n) => Some(n.to_string().into_bytes()),
        Value::Float(n) => Some(n.to_string().into_bytes()),
        Value::Double(n) => Some(n.to_string().into_bytes()),
        other => Some(other.as_sql(true).trim_matches('\'').as_bytes().to_vec()),
    }
}

/// A connection to a server. After an error that [is a gone connection](Error::is_connection_gone) it is of no use.
#[derive(Debug)]
pub struct Connection {
    conn: Conn,
    read_timeout: Duration,
    address: String,
    flavour: Option<Flavour>,
}

impl Connection {
    /// Connects and logs in.
    ///
    /// # Errors
    /// [`Error::Connect`] with the reason as its source.
    pub async fn connect(options: &ConnectOptions) -> Result<Self> {
        let conn = connect_driver(options).await?;
        Ok(Self { conn, read_timeout: options.read_timeout, address: options.address(), flavour: None })
    }

    /// The server's number of this connection.
    pub fn connection_id(&self) -> u64 {
        u64::from(self.conn.id())
    }

    /// The server's version.
    pub fn server_version(&self) -> (u16, u16, u16) {
        self.conn.server_version()
    }

    /// Whether it is MySQL or MariaDB; asked once.
    pub async fn flavour(&mut self) -> Result<Flavour> {
        if let Some(known) = self.flavour {
            return Ok(known);
        }
        let version = self.query_text("SELECT VERSION()").await?.unwrap_or_default();
        let flavour = Flavour::of_version(&version);
        self.flavour = Some(flavour);
        Ok(flavour)
    }

    /// `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Whether the connection is known to be gone.
    pub fn is_disconnected(&self) -> bool {
        self.conn.is_disconnected()
    }

    /// Changes the limit of one statement.
    pub fn set_read_timeout(&mut self, timeout: Duration) {
        self.read_timeout = timeout;
    }

    /// Runs one statement; rows it gives are counted and dropped.
    pub async fn execute(&mut self, sql: impl AsRef<[u8]> + Send) -> Result<Outcome> {
        let mut outcomes = self.batch(sql).await.map_err(|e| e.error)?;
        outcomes.pop().ok_or(Error::Unexpected { operation: STATEMENT, reason: "no result came back".to_owned() })
    }

    /// Runs several statements, separated by `;`, in one round trip: one outcome each, in order.
    ///
    /// The server runs them one after the other and stops at the first that fails.
    pub async fn batch(&mut self, sql: impl AsRef<[u8]> + Send) -> std::result::Result<Vec<Outcome>, BatchError> {
        let limit = self.read_timeout;
        let mut done = Vec::new();
        let run = run_batch(&mut self.conn, sql.as_ref(), &mut done);
        match limited(STATEMENT, limit, run).await {
            Ok(()) => Ok(done),
            Err(error) => Err(BatchError { done, error }),
        }
    }

    /// All rows of a query.
    pub async fn query(&mut self, sql: impl AsRef<[u8]> + Send) -> Result<Vec<Row>> {
        let conn = &mut self.conn;
        let run = async move {
            let mut result = conn.query_iter(sql.as_ref()).await?;
            let mut rows = Vec::new();
            result.for_each(|row| rows.push(Row::from_driver(row))).await?;
            result.drop_result().await?;
            Ok(rows)
        };
        limited(QUERY, self.read_timeout, run).await
    }

    /// The first row of a query.
    pub async fn query_first(&mut self, sql: impl AsRef<[u8]> + Send) -> Result<Option<Row>> {
        Ok(self.query(sql).await?.into_iter().next())
    }

    /// The one value of a query, as text.
    pub async fn query_text(&mut self, sql: impl AsRef<[u8]> + Send) -> Result<Option<String>> {
        Ok(self.query_first(sql).await?.and_then(|row| row.text(0).map(str::to_owned)))
    }

    /// Runs a prepared statement (prepared once per connection).
    pub async fn exec(&mut self, sql: &str, params: Vec<Param>) -> Result<Outcome> {
        let conn = &mut self.conn;
        let run = async move {
            let mut result = conn.exec_iter(sql, positional(params)).await?;
            let outcome = read_outcome(&mut result).await?;
            result.drop_result().await?;
            Ok(outcome)
        };
        limited(STATEMENT, self.read_timeout, run).await
    }

    /// All rows of a prepared query.
    pub async fn exec_query(&mut self, sql: &str, params: Vec<Param>) -> Result<Vec<Row>> {
        let conn = &mut self.conn;
        let run = async move {
            let mut result = conn.exec_iter(sql, positional(params)).await?;
            let mut rows = Vec::new();
            result.for_each(|row| rows.push(Row::from_driver(row))).await?;
            result.drop_result().await?;
            Ok(rows)
        };
        limited(QUERY, self.read_timeout, run).await
    }

    /// Starts a transaction.
    pub async fn begin(&mut self) -> Result<()> {
        self.execute("START TRANSACTION").await.map(drop)
    }

    /// Commits. A failed answer leaves the outcome unknown.
    pub async fn commit(&mut self) -> Result<()> {
        self.execute("COMMIT").await.map(drop)
    }

    /// Rolls back.
    pub async fn rollback(&mut self) -> Result<()> {
        self.execute("ROLLBACK").await.map(drop)
    }

    /// Ends another connection of the server. One that is not there any more is no error.
    pub async fn kill(&mut self, connection_id: u64) -> Result<()> {
        const NO_SUCH_THREAD: u16 = 1094;
        match self.execute(format!("KILL CONNECTION {connection_id}")).await {
            Err(e) if e.code() == Some(NO_SUCH_THREAD) => Ok(()),
            other => other.map(drop),
        }
    }

    /// Asks for a sign of life.
    pub async fn ping(&mut self) -> Result<()> {
        limited("a ping", self.read_timeout, self.conn.ping()).await
    }

    /// Says goodbye. Dropping the connection closes it as well, without a word.
    pub async fn close(self) -> Result<()> {
        limited("closing a connection", self.read_timeout, self.conn.disconnect()).await
    }

    pub(crate) fn driver(&mut self) -> &mut Conn {
        &mut self.conn
    }

    pub(crate) fn read_timeout(&self) -> Duration {
        self.read_timeout
    }

    pub(crate) fn into_driver(self) -> Conn {
        self.conn
    }
}

const STATEMENT: &str = "a statement";
const QUERY: &str = "a query";

fn positional(params: Vec<Param>) -> Params {
    if params.is_empty() { Params::Empty } else { Params::Positional(params.into_iter().map(Into::into).collect()) }
}

async fn run_batch(conn: &mut Conn, sql: &[u8], done: &mut Vec<Outcome>) -> mysql_async::Result<()> {
    let mut result = conn.query_iter(sql).await?;
    loop {
        // No rows and nothing behind it: the last one. (A last one with rows is seen by nothing being pending after it.)
        let last = result.is_empty();
        done.push(read_outcome(&mut result).await?);
        if last || result.columns().is_none() {
            return result.drop_result().await;
        }
    }
}

/// The outcome of the current result; moves on to the next one.
async fn read_outcome<P: Protocol>(result: &mut QueryResult<'_, '_, P>) -> mysql_async::Result<Outcome> {
    let mut outcome = Outcome {
        rows: result.affected_rows(),
        changed: changed_of(&result.info()),
        warnings: result.warnings(),
        given: 0,
    };
    if !result.columns_ref().is_empty() {
        outcome = Outcome { warnings: outcome.warnings, ..Outcome::default() };
    }
    result.for_each(|_| outcome.given += 1).await?;
    Ok(outcome)
}

/// The number behind `Changed:` in the server's text on an UPDATE.
fn changed_of(info: &str) -> Option<u64> {
    let rest = info.split_once("Changed: ")?.1;
    rest.split_whitespace().next()?.parse().ok()
}

pub(crate) async fn limited<T>(
    operation: &'static str,
    after: Duration,
    run: impl Future<Output = mysql_async::Result<T>>,
) -> Result<T> {
    match tokio::time::timeout(after, run).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(Error::from_driver(operation, error)),
        Err(_) => Err(Error::Timeout { operation, after }),
    }
}

async fn connect_driver(options: &ConnectOptions) -> Result<Conn> {
    let fault = |source| {
        let source = Box::new(named(options, source));
        Error::Connect { address: options.address(), user: options.user.clone(), source }
    };
    let wanted = options.tls.mode != TlsMode::Disabled;
    let authorities = authorities(options).await.map_err(fault)?;
    let attempt = async |tls| {
        let driver = options.driver(tls, authorities.as_deref());
        limited("a login", options.connect_timeout, Conn::new(driver)).await
    };
    match attempt(wanted).await {
        // What `Preferred` puts up with.
        Err(Error::NoTls) if options.tls.mode == TlsMode::Preferred => attempt(false).await.map_err(fault),
        other => other.map_err(fault),
    }
}

/// What the file of authorities holds now: whoever rotates them writes it anew, and nobody starts us again for that.
async fn authorities(options: &ConnectOptions) -> Result<Option<Vec<u8>>> {
    let file = options.tls.ca.as_ref().filter(|_| options.tls.mode != TlsMode::Disabled);
    let Some(file) = file else { return Ok(None) };
    let read = tokio::fs::read(file).await;
    read.map(Some).map_err(|error| Error::Tls { reason: format!("the file of authorities cannot be read: {error}") })
}

/// Names the file by which the server was judged.
fn named(options: &ConnectOptions, error: Error) -> Error {
    match (error, &options.tls.ca) {
        (Error::Tls { reason }, Some(file)) => {
            Error::Tls { reason: format!("{reason} (authorities: {})", file.display()) }
        }
        (error, _) => error,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn a_file_of_authorities_that_is_not_there_is_named() {
        let mut options = ConnectOptions::new("127.0.0.1", 1, "nobody");
        options.tls.mode = TlsMode::VerifyIdentity;
        options.tls.ca = Some("/no/such/ca.pem".into());
        let error = Connection::connect(&options).await.err().unwrap();
        assert_eq!(error.kind(), crate::ErrorKind::Tls);
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains("/no/such/ca.pem") && cause.contains("cannot be read"), "{cause}");
    }

    #[test]
    fn an_update_tells_what_it_changed() {
        assert_eq!(changed_of("Rows matched: 3  Changed: 2  Warnings: 0"), Some(2));
        assert_eq!(changed_of("Records: 3  Duplicates: 0  Warnings: 0"), None);
    }
}

//! Asking the source's catalogue what a table looks like, and whether that is true where the stream stands.
//!
//! SHOW CREATE TABLE waits for a statement that is changing the table, up to the moment at which its change is both logged and
//! visible. So what it prints is the table as of the binlog's end that is asked for next; and as of the stream's place, when no
//! statement in between changes the table.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lutra_change::sql_lexer::Lexis;
use lutra_change::{BinlogPosition, SessionContext, Statement, TableName};
use lutra_mysql::{Connection, catalogue};
use lutra_spec::SourceSpec;

use super::charsets::Charsets;
use super::create;
use super::reader::Session;
use super::scan::{Ahead, Dump};
use super::store::{Entry, Store};
use super::table::Definition;
use crate::config::ExtractConfig;
use crate::error::ExtractError;
use crate::start::Server;

/// What is looked ahead where nothing depends on it.
const NEAR: u64 = 16 << 20;
/// One statement of the catalogue.
const PATIENCE: Duration = Duration::from_secs(30);

/// How far to look ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Only where it is quick.
    Near,
    /// As far as the binlog goes.
    Whole,
}

/// What an answer is.
#[derive(Debug)]
enum Answer {
    Is(Definition),
    /// There is no such table any more.
    Gone,
    /// Why it cannot be told.
    Unknown(String),
}

/// Asks the catalogue.
#[derive(Debug)]
pub struct Definer {
    dump: Dump,
    mariadb: bool,
    lower_case: bool,
    connection: Option<Connection>,
    ahead: Arc<Mutex<Ahead>>,
}

impl Definer {
    /// Of that server. What was found ahead of the stream is kept over attempts.
    pub fn new(config: &ExtractConfig, server: &Server, ahead: Arc<Mutex<Ahead>>) -> Self {
        // Two dumps of one id would end each other.
        let server_id = config.server_id ^ 1 << 31;
        let dump = Dump { options: server.options.clone(), server_id, server: server.uuid };
        let mariadb = server.identity.flavour.is_mariadb();
        Self { dump, mariadb, lower_case: server.identity.lower_case_table_names != 0, connection: None, ahead }
    }

    /// Begins to follow definitions.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn activate(&mut self, store: &mut Store) -> Result<(), ExtractError> {
        if store.is_active() {
            return Ok(());
        }
        let fault = self.fault();
        let collations = catalogue::collations(self.connection().await?).await.map_err(fault)?;
        store.activate(Arc::new(Charsets::new(collations)), self.lower_case);
        Ok(())
    }

    /// What all captured tables look like at a place.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn base(
        &mut self,
        store: &mut Store,
        spec: &SourceSpec,
        place: &BinlogPosition,
    ) -> Result<usize, ExtractError> {
        self.activate(store).await?;
        let fault = self.fault();
        let tables = catalogue::tables(self.connection().await?).await.map_err(fault)?;
        let tables = tables.into_iter().map(|t| t.name).filter(|t| spec.captures(&t.database, &t.table));
        let mut texts = Vec::new();
        for name in tables {
            if let Ok(Some(text)) = self.text(&name).await? {
                texts.push((name, text));
            }
        }
        let fault = self.fault();
        let databases = catalogue::database_defaults(self.connection().await?).await.map_err(fault)?;
        if self.look(place, Reach::Near).await?.is_err() {
            return Ok(0);
        }
        for (name, collation) in databases {
            store.set_default(&name, &collation);
        }
        let mut known = 0;
        for (name, text) in texts {
            if self.change_of(&name).is_none()
                && let Ok(definition) = self.parsed(&text, store)
            {
                store.set(&name, Entry::Is(Arc::new(definition)));
                known += 1;
            }
        }
        Ok(known)
    }

    /// Asks what a table looks like where the stream stands, and puts that into the store. Says whether it is known now.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn define(
        &mut self,
        store: &mut Store,
        table: &TableName,
        place: &BinlogPosition,
        reach: Reach,
    ) -> Result<Defined, ExtractError> {
        self.activate(store).await?;
        let answer = self.ask(store, table, place, reach).await?;
        let before = store.get(table);
        Ok(match answer {
            Answer::Is(definition) => {
                let entry = Entry::Is(Arc::new(definition));
                let differs = matches!(before, Some(Entry::Is(_))) && before != Some(&entry);
                if differs {
                    tracing::warn!(%table, "what was made of its statements is not what the source's catalogue says: taken from there");
                }
                store.set(table, entry);
                Defined::Known
            }
            Answer::Gone => Defined::Unknown("there is no such table at the source any more".to_owned()),
            Answer::Unknown(why) => Defined::Unknown(why),
        })
    }

    async fn ask(
        &mut self,
        store: &Store,
        table: &TableName,
        place: &BinlogPosition,
        reach: Reach,
    ) -> Result<Answer, ExtractError> {
        let text = match self.text(table).await? {
            Ok(text) => text,
            Err(why) => return Ok(Answer::Unknown(why)),
        };
        if let Err(why) = self.look(place, reach).await? {
            return Ok(Answer::Unknown(why));
        }
        if let Some(at) = self.change_of(table) {
            return Ok(Answer::Unknown(format!(
                "the source's catalogue says how it is behind a statement that ends at {at}"
            )));
        }
        let Some(text) = text else { return Ok(Answer::Gone) };
        Ok(match self.parsed(&text, store) {
            Ok(definition) => Answer::Is(definition),
            Err(why) => Answer::Unknown(format!("what the source's catalogue says is not understood: {why}")),
        })
    }

    /// What the server prints; the reason where it does not tell.
    async fn text(&mut self, table: &TableName) -> Result<Result<Option<String>, String>, ExtractError> {
        let fault = self.fault();
        match catalogue::show_create_table(self.connection().await?, table).await {
            Ok(text) => Ok(Ok(text)),
            // The database is gone too.
            Err(error) if error.code() == Some(1049) => Ok(Ok(None)),
            Err(error) if matches!(error.code(), Some(1142 | 1044)) => {
                let database = lutra_mysql::sql::quote_identifier(&table.database);
                Ok(Err(format!("the account may not see it at the source: GRANT SELECT ON {database}.* to it")))
            }
            Err(error) => Err(fault(error)),
        }
    }

    fn parsed(&self, text: &str, store: &Store) -> Result<Definition, String> {
        let Some(charsets) = store.charsets() else { return Err("definitions are not followed".to_owned()) };
        let statement = Statement::new(text.as_bytes(), Lexis::default()).ok_or("a quote is left open")?;
        let words = statement.definition().ok_or("it is no definition")?;
        let context = SessionContext::default();
        let session = Session { charsets, context: &context, mariadb: self.mariadb, default: None };
        create::create(&statement, words.body, &session).map_err(|e| e.to_string())
    }

    /// Looks ahead from a place to where the binlog ends now.
    async fn look(&mut self, place: &BinlogPosition, reach: Reach) -> Result<Result<(), String>, ExtractError> {
        let fault = self.fault();
        let (end, _) = catalogue::binlog_end(self.connection().await?).await.map_err(fault)?;
        let near = end.file == place.file && end.offset.saturating_sub(place.offset) <= NEAR;
        if reach == Reach::Near && !near {
            return Ok(Err("the stream is far behind".to_owned()));
        }
        // Nobody else has it: attempts follow one another.
        let mut ahead = std::mem::take(&mut *self.ahead.lock().unwrap_or_else(PoisonError::into_inner));
        let looked = ahead.look(&self.dump, place, &end).await;
        *self.ahead.lock().unwrap_or_else(PoisonError::into_inner) = ahead;
        Ok(looked.map_err(|e| format!("the binlog cannot be looked through up to {end}: {}", chain(e.as_ref()))))
    }

    fn change_of(&self, table: &TableName) -> Option<BinlogPosition> {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner).change_of(table).cloned()
    }

    fn fault(&self) -> impl Fn(lutra_mysql::Error) -> ExtractError + 'static {
        let address = self.dump.options.address();
        move |e| ExtractError::Source { address: address.clone(), source: Box::new(e) }
    }

    /// A connection of its own, made anew where it was lost.
    async fn connection(&mut self) -> Result<&mut Connection, ExtractError> {
        let fault = self.fault();
        let kept = self.connection.take().filter(|c| !c.is_disconnected());
        let connection = match kept {
            Some(connection) => connection,
            None => {
                let mut options = self.dump.options.clone();
                options.read_timeout = PATIENCE;
                options.init.push("SET sql_mode = ''".to_owned());
                if !self.mariadb {
                    // Generated invisible keys are columns of the rows. Servers before 8.0.30 have neither.
                    options
                        .init
                        .push("/*!80030 SET show_gipk_in_create_table_and_information_schema = ON */".to_owned());
                }
                Connection::connect(&options).await.map_err(fault)?
            }
        };
        Ok(self.connection.insert(connection))
    }
}

/// What came of asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Defined {
    /// It is in the store.
    Known,
    /// Why not.
    Unknown(String),
}

fn chain(error: &dyn std::error::Error) -> String {
    crate::extract::chain(error)
}

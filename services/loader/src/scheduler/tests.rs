#![allow(clippy::unwrap_used, clippy::disallowed_methods)]
//! The scheduler and its writers over connections whose failures are scripted.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lutra_change::{
    Column, ColumnType, Cursor, Epoch, KeyPart, LogId, Number, Operation, RowFlags, TableName, TableSchema, Value,
};
use lutra_log::RecordHeaders;
use lutra_mysql::Error;
use lutra_wire::{RowChange, RowDecoder, RowEncoder, RowSchema};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::batch::BatchPolicy;
use super::*;
use crate::catalogue::{TargetColumn, TargetKey, TargetTable};
use crate::copying::Define;
use crate::ddl::DdlState;
use crate::slot::{Owner, Slot};
use crate::target::{Capabilities, PacketError, TargetConnection, Warning};
use crate::unit::{RowTable, Segment};
use crate::writer::Writer;

/// What happens to a packet that holds the needle.
#[derive(Clone)]
enum Fate {
    Error(u16),
    LostCommit,
    /// Answered only when the others have rolled back so often.
    WaitsForRollbacks(usize),
    Waits(Duration),
}

/// The database: what was committed, in order; and what is to go wrong.
#[derive(Default)]
struct Database {
    fates: Mutex<Vec<(&'static str, Fate, usize)>>,
    committed: Mutex<Vec<String>>,
    rollbacks: Mutex<usize>,
    changed: Notify,
}

#[derive(Clone)]
struct Scripted(Arc<Database>);

struct Session {
    database: Arc<Database>,
    open: Vec<String>,
    lost_commit: bool,
}

fn server_error(code: u16) -> Error {
    Error::Server { operation: "a statement", code, state: "HY000".to_owned(), message: "scripted".to_owned() }
}

impl Target for Scripted {
    type Connection = Session;

    async fn take(&self, _: &Owner, _: u16) -> Result<(Vec<Slot>, Capabilities), LoadError> {
        Ok((Vec::new(), Capabilities::default()))
    }

    async fn connect(&self, _: &Owner, _: u16) -> Result<Session, LoadError> {
        Ok(Session { database: Arc::clone(&self.0), open: Vec::new(), lost_commit: false })
    }

    async fn table(&self, name: &TableName) -> Result<Option<TargetTable>, LoadError> {
        let column = |name: &str| TargetColumn {
            name: name.to_owned(),
            generated: false,
            nullable: false,
            needs_value: false,
            touched_by_updates: false,
            data_type: "int".to_owned(),
            charset: None,
            collation: None,
        };
        Ok(Some(TargetTable {
            name: name.clone(),
            engine: "InnoDB".to_owned(),
            transactional: true,
            columns: vec![column("id"), column("v")],
            unique_keys: vec![TargetKey { name: "PRIMARY".to_owned(), columns: vec!["id".to_owned()], plain: true }],
            related: Vec::new(),
            self_referencing: false,
            triggers: Vec::new(),
            computed_in_zone: None,
            computed_from_char: None,
            system_is_utc: true,
            flavour: lutra_mysql::Flavour::MySql,
        }))
    }
}

impl TargetConnection for Session {
    async fn run(&mut self, text: &[u8]) -> Result<Vec<u64>, Box<PacketError>> {
        let text = String::from_utf8(text.to_vec()).unwrap();
        let fate = {
            let mut fates = self.database.fates.lock().unwrap();
            let found = fates.iter_mut().find(|(needle, _, times)| text.contains(needle) && *times > 0);
            found.map(|(_, fate, times)| {
                *times -= 1;
                fate.clone()
            })
        };
        match fate {
            Some(Fate::Error(code)) => {
                return Err(Box::new(PacketError { done: vec![0, 1], error: server_error(code) }));
            }
            Some(Fate::LostCommit) => self.lost_commit = true,
            Some(Fate::Waits(time)) => tokio::time::sleep(time).await,
            Some(Fate::WaitsForRollbacks(wanted)) => {
                while *self.database.rollbacks.lock().unwrap() < wanted {
                    self.database.changed.notified().await;
                }
            }
            None => {}
        }
        let mut counts = Vec::new();
        for statement in text.split_terminator(';') {
            if statement.starts_with("ROLLBACK") {
                self.rollback().await.unwrap();
            } else if statement.contains("sbtest") || statement.contains("`d`.`t`") {
                self.open.push(statement.to_owned());
            }
            let rows = statement.matches("ROW(").count().max(statement.matches("),(").count() + 1);
            counts.push(u64::try_from(rows).unwrap());
        }
        Ok(counts)
    }

    async fn run_long(&mut self, _: &[u8]) -> Result<(), Error> {
        Ok(())
    }

    async fn warnings(&mut self) -> Result<Vec<Warning>, Error> {
        Ok(Vec::new())
    }

    async fn ask(&mut self, _: &str) -> Result<Option<String>, Error> {
        Ok(None)
    }

    async fn commit(&mut self) -> Result<(), Error> {
        self.database.committed.lock().unwrap().append(&mut self.open);
        if self.lost_commit {
            return Err(Error::ConnectionLost {
                operation: "COMMIT",
                source: std::io::ErrorKind::ConnectionReset.into(),
            });
        }
        Ok(())
    }

    async fn rollback(&mut self) -> Result<(), Error> {
        self.open.clear();
        *self.database.rollbacks.lock().unwrap() += 1;
        self.database.changed.notify_waiters();
        Ok(())
    }
}

struct Rig {
    database: Arc<Database>,
    messages: mpsc::Sender<Message>,
    progress: watch::Receiver<Progress>,
    stop: CancellationToken,
    ended: JoinHandle<Result<(), LoadError>>,
    table: Arc<RowTable>,
    encoder: RowEncoder,
}

async fn rig(fates: Vec<(&'static str, Fate, usize)>) -> Rig {
    rig_of(fates, None).await
}

async fn rig_of(fates: Vec<(&'static str, Fate, usize)>, reload: Option<uuid::Uuid>) -> Rig {
    let database = Arc::new(Database { fates: Mutex::new(fates), ..Database::default() });
    let target = Arc::new(Scripted(Arc::clone(&database)));
    let owner = Arc::new(Owner { task: "load/x".to_owned(), cluster: "c".to_owned(), epoch: Epoch::new(1, 1) });
    let (line, _) = watch::channel(Line::START);
    let (answers, reports) = mpsc::channel(16);
    let mut jobs = Vec::new();
    for slot in 0..3 {
        let connection = target.connect(&owner, slot).await.unwrap();
        let writer = Writer::new(connection, Arc::clone(&owner), slot, Number::ZERO, line.clone(), DdlState::default());
        let (queue, waiting) = mpsc::channel(2);
        jobs.push(queue);
        tokio::spawn(writer.run(waiting, answers.clone()));
    }
    let options = SchedulerOptions {
        policy: BatchPolicy { rows: 1, bytes: 1 << 20, compare_image: false },
        batch_age: Duration::ZERO,
        ignore_ddl: false,
        on_conflict: OnConflict::Halt,
        policies: Policies::default(),
        source: "s".to_owned(),
    };
    let (progress, watched) = watch::channel(Progress::default());
    let (stop, writers) = (CancellationToken::new(), Writers { jobs, reports, line });
    let scheduler = Scheduler::new(options, MapCache::new(target), writers, Place::default(), progress, stop.clone())
        .with_reload(reload);
    let (messages, waiting) = mpsc::channel(64);
    let int = |name: &str| Column {
        name: name.to_owned(),
        column_type: ColumnType::Int { unsigned: false },
        nullable: true,
        invisible: false,
    };
    let schema = TableSchema {
        name: TableName::new("d", "t"),
        columns: vec![int("id"), int("v")],
        primary_key: vec![KeyPart { column: 0, prefix: None }],
    };
    let schema = RowSchema::from_table(&schema).unwrap();
    let (encoder, decoder) = (RowEncoder::new(&schema), RowDecoder::new(&schema));
    let table = RowTable { fingerprint: schema.fingerprint(), name: schema.table().name.clone(), schema, decoder };
    let ended = tokio::spawn(scheduler.run(waiting));
    Rig { database, messages, progress: watched, stop, ended, table: Arc::new(table), encoder }
}

impl Rig {
    /// A unit that inserts one row.
    async fn insert(&self, sequence: u64, id: i64) {
        let mut datum = Vec::new();
        self.encoder.write(0, Value::Int(id), &mut datum).unwrap();
        self.encoder.write(1, Value::Int(0), &mut datum).unwrap();
        let row = RowChange {
            table: 0,
            operation: Operation::Insert,
            flags: RowFlags(0),
            before: None,
            after: Some(datum.into()),
            before_columns: None,
            after_columns: None,
        };
        let segment =
            Segment { tables: vec![Arc::clone(&self.table)], rows: vec![row], context: None, bytes: 10, permit: None };
        self.unit(sequence, UnitBody::Changes(vec![segment])).await;
    }

    async fn unit(&self, sequence: u64, body: UnitBody) {
        let number = Number::new(sequence, 0);
        let end = UnitEnd {
            number,
            source: None,
            cursor: Cursor { log_id: LogId::random(), next_offset: 1, epoch: Epoch::new(1, 1), number },
            committed_at: 1,
            appended_at: 1,
            taken_at: 1,
            origins: Vec::new(),
            trace: RecordHeaders::default(),
        };
        let unit =
            Unit { end, body, copy: crate::copying::UnitCopy::default(), aside: crate::blocked::Aside::default() };
        self.messages.send(Message::Unit(Box::new(unit))).await.unwrap();
    }

    async fn refused(self) -> LoadError {
        tokio::time::timeout(Duration::from_secs(20), self.ended).await.expect("goes on").unwrap().unwrap_err()
    }

    async fn reach(&mut self, sequence: u64) {
        let reached = self.progress.wait_for(|p| p.number.sequence >= sequence);
        tokio::time::timeout(Duration::from_secs(20), reached).await.expect("not reached").unwrap();
    }

    /// Ids in the order of their commits; each once.
    fn ids(&self) -> Vec<i64> {
        let mut seen = HashMap::new();
        let committed = self.database.committed.lock().unwrap();
        committed
            .iter()
            .map(|s| {
                let id: i64 = s.split("VALUES (").nth(1).unwrap().split(',').next().unwrap().parse().unwrap();
                assert!(seen.insert(id, ()).is_none(), "{id} twice");
                id
            })
            .collect()
    }

    async fn end(self) -> Result<(), LoadError> {
        self.stop.cancel();
        tokio::time::timeout(Duration::from_secs(20), self.ended).await.expect("goes on").unwrap()
    }
}

#[tokio::test]
async fn commits_are_in_source_order_though_batches_run_side_by_side() {
    let mut rig = rig(vec![("VALUES (0,", Fate::Waits(Duration::from_millis(30)), 1)]).await;
    for n in 0..9 {
        rig.insert(n + 1, i64::try_from(n).unwrap()).await;
    }
    rig.reach(9).await;
    assert_eq!(rig.ids(), (0..9).collect::<Vec<_>>());
    rig.end().await.unwrap();
}

#[tokio::test]
async fn a_deadlock_rolls_back_what_is_behind_and_all_runs_again_in_order() {
    let mut rig = rig(vec![("VALUES (1,", Fate::Error(1213), 2), ("VALUES (4,", Fate::Error(1205), 1)]).await;
    for n in 0..9 {
        rig.insert(n + 1, i64::try_from(n).unwrap()).await;
    }
    rig.reach(9).await;
    assert_eq!(rig.ids(), (0..9).collect::<Vec<_>>());
    assert!(rig.progress.borrow().reruns >= 2);
    rig.end().await.unwrap();
}

#[tokio::test]
async fn batches_behind_one_that_waits_for_their_locks_give_way() {
    let mut rig = rig(vec![("VALUES (0,", Fate::WaitsForRollbacks(2), 1)]).await;
    for n in 0..6 {
        rig.insert(n + 1, i64::try_from(n).unwrap()).await;
    }
    rig.reach(6).await;
    assert_eq!(rig.ids(), (0..6).collect::<Vec<_>>());
    rig.end().await.unwrap();
}

#[tokio::test]
async fn a_constraint_error_counts_only_when_the_batch_ran_alone() {
    // Twice: it may pass the third time, row by row.
    let mut passing = rig(vec![("VALUES (2,", Fate::Error(1062), 2)]).await;
    for n in 0..4 {
        passing.insert(n + 1, i64::try_from(n).unwrap()).await;
    }
    passing.reach(4).await;
    assert_eq!(passing.ids(), [0, 1, 2, 3]);
    passing.end().await.unwrap();

    let failing = rig(vec![("VALUES (2,", Fate::Error(1062), 9)]).await;
    for n in 0..4 {
        failing.insert(n + 1, i64::try_from(n).unwrap()).await;
    }
    let database = Arc::clone(&failing.database);
    let error = tokio::time::timeout(Duration::from_secs(20), failing.ended).await.unwrap().unwrap().unwrap_err();
    assert!(error.to_string().contains("insert of a row of d.t (key columns id)"), "{error}");
    assert_eq!(database.committed.lock().unwrap().len(), 2, "what was before it stays, what was behind it does not");
}

#[tokio::test]
async fn a_lost_commit_reply_ends_the_attempt() {
    let rig = rig(vec![("VALUES (1,", Fate::LostCommit, 1)]).await;
    for n in 0..4 {
        rig.insert(n + 1, i64::try_from(n).unwrap()).await;
    }
    let error = tokio::time::timeout(Duration::from_secs(20), rig.ended).await.unwrap().unwrap().unwrap_err();
    assert_eq!(error.disposition().0, crate::error::Disposition::Retry, "{error}");
}

#[tokio::test]
async fn nothing_passes_before_the_definitions_that_make_the_tables_anew() {
    let [wanted, stale] = [7, 6].map(uuid::Uuid::from_u128);
    let define =
        |id| UnitBody::Define(Box::new(Define { id, tables: Vec::new(), statements: Vec::new(), settles: None }));
    // A change, and the definitions of another load.
    let rig = rig_of(Vec::new(), Some(wanted)).await;
    rig.unit(1, UnitBody::Nothing).await;
    rig.insert(2, 1).await;
    let database = Arc::clone(&rig.database);
    let error = rig.refused().await;
    assert!(matches!(error, LoadError::NotMadeAnew { number, .. } if number == Number::new(2, 0)), "{error}");
    assert!(database.committed.lock().unwrap().is_empty());
    let rig = rig_of(Vec::new(), Some(wanted)).await;
    rig.unit(1, define(stale)).await;
    let error = rig.refused().await;
    assert!(matches!(error, LoadError::NotMadeAnew { load, .. } if load == wanted), "{error}");
    // Ours, behind a number that the target is past.
    let rig = rig_of(Vec::new(), Some(wanted)).await;
    rig.unit(0, define(wanted)).await;
    assert!(matches!(rig.refused().await, LoadError::NotMadeAnew { .. }));
    // Ours, and what comes behind.
    let mut rig = rig_of(Vec::new(), Some(wanted)).await;
    rig.unit(1, define(wanted)).await;
    rig.insert(2, 1).await;
    rig.reach(2).await;
    assert_eq!(rig.ids(), [1]);
    rig.end().await.unwrap();
}

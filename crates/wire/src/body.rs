//! Bodies: the union at the end of a log record.

use bytes::Bytes;
use lutra_change::{ColumnSet, Operation, RowFlags, SessionContext, TableName};
use uuid::Uuid;

use crate::avro::{
    Fault, Input, put_bool, put_branch, put_bytes, put_len, put_long, put_optional_bytes, put_optional_long, share,
};
use crate::builder::ChangesBuilder;
use crate::error::WireError;
use crate::record::{
    Body, BodyKind, Changes, Chunk, Ddl, DdlKind, EpochStart, Fragment, Heartbeat, RawBody, RowChange, TableRef,
    XaDecision, XaPrepare,
};
use crate::schema::Fingerprint;

const DDL_KINDS: [DdlKind; 9] = [
    DdlKind::CreateDatabase,
    DdlKind::AlterDatabase,
    DdlKind::DropDatabase,
    DdlKind::CreateTable,
    DdlKind::AlterTable,
    DdlKind::DropTable,
    DdlKind::RenameTable,
    DdlKind::TruncateTable,
    DdlKind::Other,
];

const KINDS: [BodyKind; 8] = [
    BodyKind::Changes,
    BodyKind::Ddl,
    BodyKind::Chunk,
    BodyKind::Heartbeat,
    BodyKind::EpochStart,
    BodyKind::XaPrepare,
    BodyKind::XaDecision,
    BodyKind::Fragment,
];

impl BodyKind {
    pub(crate) fn of_branch(branch: i64) -> Result<Self, Fault> {
        let index = usize::try_from(branch).ok();
        let kind = index.and_then(|i| KINDS.get(i).copied());
        kind.ok_or_else(|| Fault::out_of_range("the body's kind", branch))
    }
}

impl RawBody {
    /// What it carries.
    pub fn kind(&self) -> BodyKind {
        self.kind
    }

    /// Bytes of its encoding.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether the encoding is empty; never so for a body of a record.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Its encoding, branch included.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// A body from its encoding; what is in it is looked at when it is decoded.
    ///
    /// # Errors
    /// [`WireError`] when its kind cannot be told.
    pub fn from_bytes(bytes: Bytes) -> Result<Self, WireError> {
        let kind = BodyKind::of_branch(Input::new(&bytes).long("the body's kind")?)?;
        Ok(Self { kind, bytes })
    }

    /// Decodes it; row images share the record's memory.
    ///
    /// # Errors
    /// [`WireError`] naming the value that cannot be read.
    pub fn decode(&self) -> Result<Body, WireError> {
        let mut input = self.input()?;
        let body = match self.kind {
            BodyKind::Changes => Body::Changes(changes(&self.bytes, &mut input)?),
            BodyKind::Ddl => Body::Ddl(ddl(&self.bytes, &mut input)?),
            BodyKind::Chunk => Body::Chunk(Chunk {
                id: Uuid::from_bytes(input.fixed("chunk.id")?),
                addressee: input.text("chunk.addressee")?.to_owned(),
                step: share(&self.bytes, input.bytes("chunk.step")?),
                changes: changes(&self.bytes, &mut input)?,
            }),
            BodyKind::Heartbeat => Body::Heartbeat(Heartbeat {
                at: input.long("heartbeat.at")?,
                clock_offset: input.long("heartbeat.clock_offset")?,
            }),
            BodyKind::EpochStart => Body::EpochStart(EpochStart {
                cluster: input.text("epoch_start.cluster")?.to_owned(),
                rules_version: input.number("epoch_start.rules_version")?,
            }),
            BodyKind::XaPrepare => Body::XaPrepare(XaPrepare {
                xid: share(&self.bytes, input.bytes("xa.xid")?),
                changes: changes(&self.bytes, &mut input)?,
            }),
            BodyKind::XaDecision => Body::XaDecision(XaDecision {
                xid: share(&self.bytes, input.bytes("xa.xid")?),
                commit: input.bool("xa.commit")?,
            }),
            BodyKind::Fragment => Body::Fragment(Fragment {
                total: input.number("fragment.total")?,
                at: input.number("fragment.at")?,
                bytes: share(&self.bytes, input.bytes("fragment.bytes")?),
            }),
        };
        input.end("the record's body")?;
        Ok(body)
    }

    /// The tables of a body with changes (also of a chunk or an XA prepare), without a look at the rows; empty for other
    /// bodies.
    ///
    /// # Errors
    /// [`WireError`] naming the value that cannot be read.
    pub fn tables(&self) -> Result<Vec<TableRef>, WireError> {
        let mut input = self.input()?;
        match self.kind {
            BodyKind::Changes => {}
            BodyKind::Chunk => {
                input.fixed::<16>("chunk.id")?;
                input.bytes("chunk.addressee")?;
                input.bytes("chunk.step")?;
            }
            BodyKind::XaPrepare => {
                input.bytes("xa.xid")?;
            }
            BodyKind::Ddl | BodyKind::Heartbeat | BodyKind::EpochStart | BodyKind::XaDecision | BodyKind::Fragment => {
                return Ok(Vec::new());
            }
        }
        input.optional("changes.context", context)?;
        Ok(tables(&mut input)?)
    }

    /// The body of a chunk of version 1, which has no step yet, as it is now.
    pub(crate) fn chunk_of_v1(bytes: &[u8]) -> Result<Bytes, Fault> {
        let mut input = Input::new(bytes);
        input.long("the body's kind")?;
        input.fixed::<16>("chunk.id")?;
        input.bytes("chunk.addressee")?;
        let (lead, changes) = bytes.split_at(input.position());
        let mut out = Vec::with_capacity(bytes.len() + 1);
        out.extend_from_slice(lead);
        put_bytes(&mut out, b"");
        out.extend_from_slice(changes);
        Ok(Bytes::from(out))
    }

    fn input(&self) -> Result<Input<'_>, Fault> {
        let mut input = Input::new(&self.bytes);
        input.long("the body's kind")?;
        Ok(input)
    }

    fn of(kind: BodyKind, write: impl FnOnce(&mut Vec<u8>)) -> Self {
        let mut out = Vec::with_capacity(64);
        put_branch_of(&mut out, kind);
        write(&mut out);
        Self { kind, bytes: Bytes::from(out) }
    }

    /// The body of a DDL statement.
    pub fn ddl(ddl: &Ddl) -> Self {
        Self::of(BodyKind::Ddl, |out| {
            put_bytes(out, &ddl.statement);
            put_bytes(out, ddl.database.as_bytes());
            put_len(out, DDL_KINDS.iter().position(|k| *k == ddl.kind).unwrap_or(DDL_KINDS.len() - 1));
            if !ddl.tables.is_empty() {
                put_len(out, ddl.tables.len());
                ddl.tables.iter().for_each(|t| put_name(out, t));
            }
            put_len(out, 0);
            put_context(out, &ddl.context);
        })
    }

    /// The body of a heartbeat.
    pub fn heartbeat(heartbeat: &Heartbeat) -> Self {
        Self::of(BodyKind::Heartbeat, |out| {
            put_long(out, heartbeat.at);
            put_long(out, heartbeat.clock_offset);
        })
    }

    /// The body of an `EpochStart`.
    pub fn epoch_start(start: &EpochStart) -> Self {
        Self::of(BodyKind::EpochStart, |out| {
            put_bytes(out, start.cluster.as_bytes());
            put_long(out, start.rules_version as i64);
        })
    }

    /// The body of row changes. Many rows are cheaper through a [`ChangesBuilder`].
    pub fn changes(changes: &Changes) -> Self {
        let mut builder = ChangesBuilder::new();
        builder.add_all(changes);
        builder.finish()
    }

    /// The body of a slice of a table's initial copy.
    pub fn chunk(chunk: &Chunk) -> Self {
        let mut builder = ChangesBuilder::new();
        builder.add_all(&chunk.changes);
        builder.finish_chunk(chunk.id, &chunk.addressee, &chunk.step)
    }

    /// The body of a prepared XA transaction.
    pub fn xa_prepare(prepare: &XaPrepare) -> Self {
        let mut builder = ChangesBuilder::new();
        builder.add_all(&prepare.changes);
        builder.finish_xa_prepare(&prepare.xid)
    }

    /// The body of a decision over one.
    pub fn xa_decision(decision: &XaDecision) -> Self {
        Self::of(BodyKind::XaDecision, |out| {
            put_bytes(out, &decision.xid);
            put_bool(out, decision.commit);
        })
    }
}

/// The branch index takes one byte, as there are fewer than 64 kinds.
pub(crate) fn put_branch_of(out: &mut Vec<u8>, kind: BodyKind) {
    put_len(out, KINDS.iter().position(|k| *k == kind).unwrap_or_default());
}

pub(crate) fn put_name(out: &mut Vec<u8>, name: &TableName) {
    put_bytes(out, name.database.as_bytes());
    put_bytes(out, name.table.as_bytes());
}

fn name(input: &mut Input<'_>) -> Result<TableName, Fault> {
    Ok(TableName { database: input.text("table.database")?.to_owned(), table: input.text("table.name")?.to_owned() })
}

fn tables(input: &mut Input<'_>) -> Result<Vec<TableRef>, Fault> {
    let mut tables = Vec::new();
    input.array("changes.tables", |i| {
        tables.push(TableRef { fingerprint: Fingerprint(i.fixed("table.fingerprint")?), name: name(i)? });
        Ok(())
    })?;
    Ok(tables)
}

fn changes(whole: &Bytes, input: &mut Input<'_>) -> Result<Changes, Fault> {
    let context = input.optional("changes.context", context)?;
    let tables = tables(input)?;
    let mut rows = Vec::new();
    input.array("changes.rows", |i| {
        rows.push(row(whole, i, tables.len())?);
        Ok(())
    })?;
    Ok(Changes { context, tables, rows })
}

fn row(whole: &Bytes, input: &mut Input<'_>, tables: usize) -> Result<RowChange, Fault> {
    let table: u32 = input.number("row.table")?;
    if table as usize >= tables {
        return Err(Fault::out_of_range("row.table", table.into()));
    }
    Ok(RowChange {
        table,
        operation: operation(input)?,
        flags: RowFlags(input.number("row.flags")?),
        before: input.optional("row.before", |i| Ok(share(whole, i.bytes("row.before")?)))?,
        after: input.optional("row.after", |i| Ok(share(whole, i.bytes("row.after")?)))?,
        before_columns: input.optional("row.before_columns", columns)?,
        after_columns: input.optional("row.after_columns", columns)?,
    })
}

fn columns(input: &mut Input<'_>) -> Result<ColumnSet, Fault> {
    Ok(ColumnSet::from_bytes(input.bytes("row.columns")?))
}

fn operation(input: &mut Input<'_>) -> Result<Operation, Fault> {
    match input.long("row.operation")? {
        0 => Ok(Operation::Insert),
        1 => Ok(Operation::Update),
        2 => Ok(Operation::Delete),
        3 => Ok(Operation::Read),
        found => Err(Fault::out_of_range("row.operation", found)),
    }
}

fn ddl(whole: &Bytes, input: &mut Input<'_>) -> Result<Ddl, Fault> {
    Ok(Ddl {
        statement: share(whole, input.bytes("ddl.statement")?),
        database: input.text("ddl.database")?.to_owned(),
        kind: {
            let found = input.long("ddl.kind")?;
            let kind = usize::try_from(found).ok().and_then(|i| DDL_KINDS.get(i).copied());
            kind.ok_or(Fault::out_of_range("ddl.kind", found))?
        },
        tables: {
            let mut tables = Vec::new();
            input.array("ddl.tables", |i| {
                tables.push(name(i)?);
                Ok(())
            })?;
            tables
        },
        context: context(input)?,
    })
}

pub(crate) fn put_context(out: &mut Vec<u8>, context: &SessionContext) {
    put_optional_long(out, context.sql_mode.map(|m| m as i64));
    for id in [
        context.character_set_client,
        context.collation_connection,
        context.collation_server,
        context.collation_database,
        context.default_collation_for_utf8mb4,
    ] {
        put_optional_long(out, id.map(i64::from));
    }
    put_optional_bytes(out, context.time_zone.as_deref().map(str::as_bytes));
    put_optional_long(out, context.lc_time_names.map(i64::from));
    put_bool(out, context.no_foreign_key_checks);
    put_bool(out, context.relaxed_unique_checks);
    put_bool(out, context.sql_auto_is_null);
    put_optional_bool(out, context.explicit_defaults_for_timestamp);
    put_optional_long(out, context.auto_increment.map(|a| i64::from(a.0)));
    put_optional_long(out, context.auto_increment.map(|a| i64::from(a.1)));
    put_optional_bool(out, context.sql_require_primary_key);
    put_optional_bool(out, context.default_table_encryption);
    put_optional_long(out, context.timestamp_micros);
}

fn put_optional_bool(out: &mut Vec<u8>, value: Option<bool>) {
    put_branch(out, value.is_some());
    if let Some(value) = value {
        put_bool(out, value);
    }
}

fn context(input: &mut Input<'_>) -> Result<SessionContext, Fault> {
    let id = |i: &mut Input<'_>| i.optional("context.collation", |i| i.number::<u16>("context.collation"));
    let switch = |i: &mut Input<'_>| i.optional("context.switch", |i| i.bool("context.switch"));
    Ok(SessionContext {
        sql_mode: input.optional("context.sql_mode", |i| i.long("context.sql_mode"))?.map(|m| m as u64),
        character_set_client: id(input)?,
        collation_connection: id(input)?,
        collation_server: id(input)?,
        collation_database: id(input)?,
        default_collation_for_utf8mb4: id(input)?,
        time_zone: input.optional("context.time_zone", |i| Ok(i.text("context.time_zone")?.to_owned()))?,
        lc_time_names: id(input)?,
        no_foreign_key_checks: input.bool("context.no_foreign_key_checks")?,
        relaxed_unique_checks: input.bool("context.relaxed_unique_checks")?,
        sql_auto_is_null: input.bool("context.sql_auto_is_null")?,
        explicit_defaults_for_timestamp: switch(input)?,
        auto_increment: {
            let increment = id(input)?;
            let offset = id(input)?;
            increment.zip(offset)
        },
        sql_require_primary_key: switch(input)?,
        default_table_encryption: switch(input)?,
        timestamp_micros: input.optional("context.timestamp_micros", |i| i.long("context.timestamp_micros"))?,
    })
}

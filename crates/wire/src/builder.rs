//! Building a body of row changes, and adding up a unit.

use bytes::Bytes;
use lutra_change::{ColumnSet, Operation, RowFlags, SessionContext, TableName};
use uuid::Uuid;

use crate::avro::{put_branch, put_bytes, put_len, put_long, put_optional_bytes};
use crate::body::{put_branch_of, put_context, put_name};
use crate::fragment::RECORD_LIMIT;
use crate::record::{BodyKind, Changes, RawBody, TableRef, UnitTotals};
use crate::schema::Fingerprint;

/// Collects row changes into the body of one part. Rows are written once, into the buffer that becomes the body's.
#[derive(Debug, Default)]
pub struct ChangesBuilder {
    context: Option<SessionContext>,
    tables: Vec<TableRef>,
    rows: Vec<u8>,
    count: usize,
}

impl ChangesBuilder {
    /// An empty builder.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the session context of the transaction.
    pub fn set_context(&mut self, context: SessionContext) {
        self.context = Some(context);
    }

    /// The index of a table in this part; added where it is new.
    pub fn table(&mut self, fingerprint: Fingerprint, name: &TableName) -> u32 {
        // Most rows follow a row of the same table.
        let found = self.tables.iter().rposition(|t| t.fingerprint == fingerprint && t.name == *name);
        let index = found.unwrap_or_else(|| {
            self.tables.push(TableRef { fingerprint, name: name.clone() });
            self.tables.len() - 1
        });
        u32::try_from(index).unwrap_or(u32::MAX)
    }

    /// Adds one row change; images are row datums.
    #[allow(clippy::too_many_arguments, reason = "the fields of a row change, borrowed")]
    pub fn push(
        &mut self,
        operation: Operation,
        flags: RowFlags,
        table: u32,
        before: Option<&[u8]>,
        after: Option<&[u8]>,
        before_columns: Option<&ColumnSet>,
        after_columns: Option<&ColumnSet>,
    ) {
        let out = &mut self.rows;
        let bytes = before.map_or(0, <[u8]>::len) + after.map_or(0, <[u8]>::len);
        if bytes > RECORD_LIMIT {
            out.reserve_exact(bytes + 64);
        }
        put_long(out, i64::from(table));
        put_long(
            out,
            match operation {
                Operation::Insert => 0,
                Operation::Update => 1,
                Operation::Delete => 2,
                Operation::Read => 3,
            },
        );
        put_long(out, i64::from(flags.0));
        put_optional_bytes(out, before);
        put_optional_bytes(out, after);
        put_optional_bytes(out, before_columns.map(ColumnSet::to_bytes).as_deref());
        put_optional_bytes(out, after_columns.map(ColumnSet::to_bytes).as_deref());
        self.count += 1;
    }

    /// Adds everything of decoded changes.
    pub fn add_all(&mut self, changes: &Changes) {
        if let Some(context) = &changes.context {
            self.set_context(context.clone());
        }
        let images = changes.rows.iter().flat_map(|r| [&r.before, &r.after]).flatten().map(Bytes::len);
        self.rows.reserve(images.sum::<usize>() + 16 * changes.rows.len());
        let indexes: Vec<u32> = changes.tables.iter().map(|t| self.table(t.fingerprint, &t.name)).collect();
        for row in &changes.rows {
            let table = indexes.get(row.table as usize).copied().unwrap_or(row.table);
            let columns = (row.before_columns.as_ref(), row.after_columns.as_ref());
            self.push(
                row.operation,
                row.flags,
                table,
                row.before.as_deref(),
                row.after.as_deref(),
                columns.0,
                columns.1,
            );
        }
    }

    /// Bytes of the rows so far.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether no row was added.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Rows so far.
    pub fn rows(&self) -> usize {
        self.count
    }

    /// The body; the builder is empty again and keeps its session context.
    pub fn finish(&mut self) -> RawBody {
        self.finish_as(BodyKind::Changes, |_| ())
    }

    /// The body as that of a prepared XA transaction.
    pub fn finish_xa_prepare(&mut self, xid: &[u8]) -> RawBody {
        self.finish_as(BodyKind::XaPrepare, |out| put_bytes(out, xid))
    }

    /// The body as that of a slice of a table's initial copy.
    pub fn finish_chunk(&mut self, id: Uuid, addressee: &str, step: &[u8]) -> RawBody {
        self.finish_as(BodyKind::Chunk, |out| {
            out.extend_from_slice(id.as_bytes());
            put_bytes(out, addressee.as_bytes());
            put_bytes(out, step);
        })
    }

    /// Writes the body; `lead` stands before the changes.
    fn finish_as(&mut self, kind: BodyKind, lead: impl FnOnce(&mut Vec<u8>)) -> RawBody {
        let mut out = Vec::with_capacity(self.rows.len() + 128 * self.tables.len() + 256);
        put_branch_of(&mut out, kind);
        lead(&mut out);
        put_branch(&mut out, self.context.is_some());
        if let Some(context) = &self.context {
            put_context(&mut out, context);
        }
        if !self.tables.is_empty() {
            put_len(&mut out, self.tables.len());
            for table in &self.tables {
                out.extend_from_slice(&table.fingerprint.0);
                put_name(&mut out, &table.name);
            }
        }
        put_len(&mut out, 0);
        if self.count > 0 {
            put_len(&mut out, self.count);
            out.extend_from_slice(&self.rows);
        }
        put_len(&mut out, 0);
        self.tables.clear();
        self.rows.clear();
        // A giant row's memory is given back.
        self.rows.shrink_to(RECORD_LIMIT);
        self.count = 0;
        RawBody { kind, bytes: Bytes::from(out) }
    }

    /// Forgets what was added, the session context included.
    pub fn clear(&mut self) {
        self.context = None;
        self.tables.clear();
        self.rows.clear();
        self.count = 0;
    }
}

/// Adds up a unit: rows, bytes and CRC-32C of its row images, in order.
#[derive(Clone, Copy, Debug, Default)]
pub struct UnitDigest {
    totals: UnitTotals,
}

impl UnitDigest {
    /// Nothing added up yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one row change.
    pub fn update(&mut self, before: Option<&[u8]>, after: Option<&[u8]>) {
        self.totals.rows += 1;
        for image in [before, after].into_iter().flatten() {
            self.totals.bytes += image.len() as u64;
            self.totals.crc32c = crc32c::crc32c_append(self.totals.crc32c, image);
        }
    }

    /// What was added up.
    pub fn totals(&self) -> UnitTotals {
        self.totals
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::record::Body;

    fn one_row(builder: &mut ChangesBuilder) {
        let table = builder.table(Fingerprint([1; 16]), &TableName::new("a", "b"));
        builder.push(Operation::Insert, RowFlags::default(), table, None, Some(b"row"), None, None);
    }

    #[test]
    fn a_table_is_named_once_per_part() {
        let mut builder = ChangesBuilder::new();
        let name = TableName::new("a", "b");
        assert_eq!(builder.table(Fingerprint([1; 16]), &name), 0);
        assert_eq!(builder.table(Fingerprint([2; 16]), &name), 1);
        assert_eq!(builder.table(Fingerprint([1; 16]), &TableName::new("a", "c")), 2);
        assert_eq!(builder.table(Fingerprint([1; 16]), &name), 0);
        assert_eq!(builder.finish().tables().unwrap().len(), 3);
    }

    #[test]
    fn a_builder_is_empty_behind_finish_and_keeps_the_context() {
        let mut builder = ChangesBuilder::new();
        builder.set_context(SessionContext { sql_mode: Some(u64::MAX), ..SessionContext::default() });
        for _ in 0..2 {
            one_row(&mut builder);
            assert_eq!((builder.rows(), builder.is_empty()), (1, false));
            let Body::Changes(changes) = builder.finish().decode().unwrap() else { panic!("no changes") };
            assert_eq!((changes.tables.len(), changes.rows.len()), (1, 1));
            assert_eq!(changes.context.unwrap().sql_mode, Some(u64::MAX));
            assert_eq!((builder.rows(), builder.len(), builder.is_empty()), (0, 0, true));
        }
    }

    #[test]
    fn a_prepare_and_a_chunk_tell_their_tables() {
        let mut builder = ChangesBuilder::new();
        one_row(&mut builder);
        let prepare = builder.finish_xa_prepare(b"xid");
        one_row(&mut builder);
        let chunk = builder.finish_chunk(Uuid::from_u128(1), "p", b"{}");
        for body in [prepare, chunk] {
            assert_eq!(body.tables().unwrap()[0].name, TableName::new("a", "b"));
            assert!(matches!(body.decode().unwrap(), Body::XaPrepare(_) | Body::Chunk(_)));
        }
    }

    #[test]
    fn a_digest_does_not_depend_on_where_images_are_cut_but_on_their_order() {
        let mut whole = UnitDigest::new();
        whole.update(None, Some(b"123456789"));
        let mut cut = UnitDigest::new();
        cut.update(Some(b"1234"), Some(b"56789"));
        assert_eq!(whole.totals(), cut.totals());
        // The check value of CRC-32C.
        assert_eq!(cut.totals(), UnitTotals { rows: 1, bytes: 9, crc32c: 0xe306_9283 });
        let mut turned = UnitDigest::new();
        turned.update(Some(b"56789"), Some(b"1234"));
        assert_ne!(turned.totals(), cut.totals());
    }
}

//! Row data become literals; what a batch writes becomes its write set.

use std::hash::Hasher as _;
use std::sync::Arc;

use lutra_change::{ColumnSet, ColumnType, Number, RowFlags, SessionContext, Value};
use lutra_mysql::{json, sql};
use lutra_wire::record::RowChange;
use lutra_wire::{Fingerprint, WireError};
use rustc_hash::{FxHashMap, FxHashSet, FxHasher};

use crate::error::LoadError;
use crate::image::{Arena, Image};
use crate::json_update;
use crate::mapping::{ExactForm, Folded, MappedColumn, MappedKey, TableMap};
use crate::planner::{Change, fold_key};
use crate::unit::{RowTable, Segment};

/// How the target's session must be set for a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// `foreign_key_checks`.
    pub foreign_key_checks: bool,
    /// `unique_checks`.
    pub unique_checks: bool,
    /// MariaDB's `check_constraint_checks`.
    pub check_constraints: bool,
}

impl Session {
    /// All checks on, as a new connection has them.
    pub const PLAIN: Self = Self { foreign_key_checks: true, unique_checks: true, check_constraints: true };
    /// For the rows of a copy: parents may come behind their children, and what `CHECK` let in at the source is there.
    pub const COPY: Self = Self { foreign_key_checks: false, unique_checks: true, check_constraints: false };

    /// What the source's flags ask for. Where the source logged its cascades as rows, the target must not check or
    /// cascade by itself: every row comes.
    pub fn of(flags: RowFlags) -> Self {
        Self {
            foreign_key_checks: !flags.no_foreign_key_checks() && !flags.cascades_are_logged(),
            unique_checks: !flags.relaxed_unique_checks(),
            check_constraints: !flags.no_check_constraints(),
        }
    }

    /// The statement that sets it. MySQL has no such switch for `CHECK`: it refuses the row, by name.
    pub fn statement(self) -> String {
        format!(
            "SET SESSION foreign_key_checks={}, unique_checks={} /*M!100201 , check_constraint_checks={}*/",
            u8::from(self.foreign_key_checks),
            u8::from(self.unique_checks),
            u8::from(self.check_constraints)
        )
    }
}

/// The maps of the tables of a batch, by their row schema.
pub type Maps = FxHashMap<Fingerprint, Arc<TableMap>>;

/// Rows of a batch, written out.
#[derive(Debug, Default)]
pub struct Written {
    /// The literals.
    pub arena: Arena,
    /// The changes, in source order.
    pub changes: Vec<Change>,
    /// Where the session must be set, and how: index of the first change that needs it. The first is at 0.
    pub sessions: Vec<(usize, Session)>,
}

impl Written {
    /// Writes out the rows of a segment.
    ///
    /// # Errors
    /// [`LoadError::Row`] when a datum does not fit its schema.
    pub fn add(&mut self, segment: &Segment, maps: &Maps, number: Number) -> Result<(), LoadError> {
        let tables: Vec<Option<(&Arc<RowTable>, &Arc<TableMap>)>> =
            segment.tables.iter().map(|t| maps.get(&t.fingerprint).map(|m| (t, m))).collect();
        for row in &segment.rows {
            let index = usize::try_from(row.table).unwrap_or(usize::MAX);
            let Some((table, map)) = tables.get(index).copied().flatten() else {
                return Err(LoadError::Unit {
                    number,
                    what: "a row names a table that its part does not list",
                    source: format!("index {index}").into(),
                });
            };
            ensure_found(row, map, number)?;
            ensure_computable(row, map, segment.context.as_deref(), number)?;
            let failed = |source| LoadError::Row { table: table.name.clone(), number, source: Box::new(source) };
            let change = self.write(row, table, map).map_err(failed)?;
            let session = Session::of(row.flags);
            if self.sessions.last().is_none_or(|(_, last)| *last != session) {
                self.sessions.push((self.changes.len(), session));
            }
            match (change.before, change.after) {
                // The row under the old key may be there, the one under the new key is not.
                (Some(before), Some(after)) if map.copying && change.complete && self.moves(map, before, after) => {
                    self.changes.push(Change { after: None, ..change.clone() });
                    self.changes.push(Change { before: None, ..change });
                }
                _ => self.changes.push(change),
            }
        }
        Ok(())
    }

    /// Whether the key changes.
    fn moves(&self, map: &TableMap, before: Image, after: Image) -> bool {
        let changes = |c: &usize| self.arena.column(before, *c) != self.arena.column(after, *c);
        map.key.as_ref().is_some_and(|key| key.columns.iter().any(changes))
    }

    fn write(&mut self, row: &RowChange, table: &RowTable, map: &Arc<TableMap>) -> Result<Change, WireError> {
        let mut lenient = false;
        let before = match &row.before {
            Some(datum) => {
                Some(self.image(table, map, datum, row.before_columns.as_ref(), Side::Before, &mut lenient)?)
            }
            None => None,
        };
        lenient = false;
        let after = match &row.after {
            Some(datum) => {
                let side = Side::After(before);
                Some(self.image(table, map, datum, row.after_columns.as_ref(), side, &mut lenient)?)
            }
            None => None,
        };
        // A source that is not strict fills in what a column without default lacks; a strict session of ours would refuse.
        lenient |= row.before.is_none()
            && row
                .after_columns
                .as_ref()
                .is_some_and(|p| map.columns.iter().any(|c| c.needs_value && !p.contains(c.source)));
        let complete = row.before_columns.is_none() && row.after_columns.is_none();
        Ok(Change { map: Arc::clone(map), before, after, complete, lenient })
    }

    fn image(
        &mut self,
        table: &RowTable,
        map: &TableMap,
        datum: &[u8],
        present: Option<&ColumnSet>,
        side: Side,
        lenient: &mut bool,
    ) -> Result<Image, WireError> {
        let arena = &mut self.arena;
        let image = arena.begin(map.columns.len());
        // Both the datum and the map are in the order of the source's columns.
        let mut columns = map.columns.iter().peekable();
        let (mut before_time, mut bad_update) = (false, false);
        let all = table.decoder.table().columns.len();
        let mut number = 0;
        table.decoder.decode(datum, |column, value| {
            if let Some(mapped) = columns.next_if(|c| c.source == column) {
                let at = number;
                number += 1;
                before_time |= !map.flavour.is_mariadb() && matches!(value, Value::Timestamp(1..=999_999));
                let absent = present.is_some_and(|p| !p.contains(column));
                if let (Some(true), Value::Json(text)) = (present.map(|p| p.contains(all + column)), &value) {
                    let update = json_update::parse(text);
                    bad_update |= update.is_none();
                    arena.put(image, |out| {
                        json_update::write(out, &mapped.quoted, &update.unwrap_or_default(), map.flavour);
                    });
                    arena.mark_expression(image);
                    return;
                }
                let unsaid = !absent && side.is_unsaid(&value, mapped, at, arena);
                *lenient |= unsaid || matches!(value, Value::Enum(0));
                // An update to nothing has no words at all: the target refuses it, by name.
                let silent = unsaid && matches!(side, Side::After(None));
                let absent = absent || (silent && matches!(mapped.column_type, ColumnType::Geometry { .. }));
                let mut expression = false;
                arena.put(image, |out| match &value {
                    _ if absent => {}
                    _ if unsaid => out.extend_from_slice(b"DEFAULT"),
                    Value::Json(text) if mapped.exact == ExactForm::Json => {
                        expression = json::write_document(out, text);
                    }
                    value => sql::write_literal(out, value, &mapped.column_type),
                });
                if expression {
                    arena.mark_document(image);
                }
            }
        })?;
        if bad_update {
            let reason = "it is not a list of changes".to_owned();
            return Err(WireError::Malformed { what: "what changed inside a JSON value", reason });
        }
        if before_time {
            // A session that is not strict would make it zero.
            let reason =
                "MariaDB holds a fraction of a second behind 1970-01-01 00:00:00 there, which MySQL has no place for";
            return Err(WireError::Malformed { what: "a TIMESTAMP", reason: reason.to_owned() });
        }
        Ok(image)
    }
}

/// Which image of a change it is.
#[derive(Clone, Copy, Debug)]
enum Side {
    /// What the row was.
    Before,
    /// What it becomes, and what it was.
    After(Option<Image>),
}

impl Side {
    /// Whether the value is one that no literal says: the VECTOR without any number, and MariaDB's geometry without any
    /// byte, that a source which is not strict leaves in a NOT NULL column. A session of ours that is not strict leaves the
    /// same there. A row that had it before keeps it.
    fn is_unsaid(self, value: &Value<'_>, column: &MappedColumn, at: usize, arena: &Arena) -> bool {
        let Self::After(before) = self else { return false };
        let is_void = matches!(
            (value, &column.column_type),
            (Value::Bytes([]), ColumnType::Vector { .. } | ColumnType::Geometry { .. })
        );
        if !is_void || !column.needs_value {
            return false;
        }
        let mut empty = Vec::new();
        sql::write_literal(&mut empty, value, &column.column_type);
        before.is_none_or(|before| arena.column(before, at) != empty)
    }
}

/// A partial image that does not hold what finds its row in the target is refused, by name.
/// A stored generated column is computed by the target's session, which must be like the source's.
fn ensure_computable(
    row: &RowChange,
    map: &TableMap,
    context: Option<&SessionContext>,
    number: Number,
) -> Result<(), LoadError> {
    const UTC: [&str; 8] = ["", "+00:00", "-00:00", "UTC", "Etc/UTC", "Etc/GMT", "GMT", "Zulu"];
    const PAD_CHAR_TO_FULL_LENGTH: u64 = 1 << 31;
    if map.computed_in_zone.is_none() && map.computed_from_char.is_none() {
        return Ok(());
    }
    let Some(context) = context.filter(|_| row.after.is_some()) else { return Ok(()) };
    let fault = |column: &str, setting: String| {
        let (table, column) = (map.name.clone(), column.to_owned());
        Err(LoadError::ForeignComputation { table, number, column, setting })
    };
    let zone = context.time_zone.as_deref().unwrap_or_default();
    let is_utc = UTC.contains(&zone) || (zone == "SYSTEM" && map.system_is_utc);
    match (&map.computed_in_zone, &map.computed_from_char) {
        (Some(column), _) if !is_utc => fault(column, format!("time_zone = '{zone}'")),
        (_, Some(column)) if context.sql_mode.unwrap_or(0) & PAD_CHAR_TO_FULL_LENGTH != 0 => {
            fault(column, "sql_mode = PAD_CHAR_TO_FULL_LENGTH".to_owned())
        }
        _ => Ok(()),
    }
}

fn ensure_found(row: &RowChange, map: &TableMap, number: Number) -> Result<(), LoadError> {
    let Some(present) = row.before_columns.as_ref().filter(|_| row.before.is_some()) else { return Ok(()) };
    let absent = |c: usize| map.columns.get(c).filter(|column| !present.contains(column.source));
    let absent = match &map.key {
        Some(key) => key.columns.iter().find_map(|c| absent(*c)),
        None => (0..map.columns.len()).find_map(absent),
    };
    match absent {
        None => Ok(()),
        Some(column) => Err(LoadError::PartialImage {
            table: map.name.clone(),
            number,
            column: column.name.clone(),
            found_by: if map.key.is_some() { "its key" } else { "all columns, as it has no key" },
        }),
    }
}

/// Whether a partial update leaves the columns of a key as they are.
fn leaves(change: &Change, key: &MappedKey, arena: &Arena) -> bool {
    let untouched = |after| key.columns.iter().all(|&c| arena.column(after, c).is_empty());
    !change.complete && change.before.is_some() && change.after.is_some_and(untouched)
}

/// What a batch writes: hashes of all unique keys before and after, folded as the target may compare them.
#[derive(Debug, Default)]
pub struct WriteSet {
    keys: FxHashSet<u64>,
    /// Tables and keys in which anything may be equal to anything.
    wide: FxHashSet<u64>,
    /// Seeds of all keys written, against the other's wide ones.
    seeds: FxHashSet<u64>,
}

impl WriteSet {
    /// The write set of these changes.
    pub fn of(written: &Written) -> Self {
        let mut set = Self::default();
        let mut buffer = Vec::new();
        let foreign_key_checks = written.sessions.iter().any(|(_, s)| s.foreign_key_checks);
        for change in &written.changes {
            let map = &change.map;
            set.seeds.insert(map.table_seed);
            if map.key.is_none() || map.opaque_keys || (map.related && foreign_key_checks) {
                set.wide.insert(if map.related && foreign_key_checks { RELATED } else { map.table_seed });
                set.seeds.insert(RELATED);
                continue;
            }
            if map.related {
                set.seeds.insert(RELATED);
            }
            for key in map.keys() {
                set.seeds.insert(key.seed);
                let images = match leaves(change, key, &written.arena) {
                    // The row is found by its key; a value that stays as it is meets nobody.
                    true if map.key.as_ref().is_some_and(|k| k.seed == key.seed) => [change.before, None],
                    true => [None, None],
                    false => [change.before, change.after],
                };
                for image in images.into_iter().flatten() {
                    buffer.clear();
                    match fold_key(map, key, &written.arena, image, &mut buffer) {
                        Folded::Null => {}
                        Folded::Any => {
                            set.wide.insert(key.seed);
                        }
                        Folded::Bytes => {
                            let mut hasher = FxHasher::default();
                            hasher.write_u64(key.seed);
                            hasher.write(&buffer);
                            set.keys.insert(hasher.finish());
                        }
                    }
                }
            }
        }
        set
    }

    /// Whether and how the two could touch the same key, so that their order matters.
    pub fn meets(&self, other: &Self) -> Meeting {
        let wide = |a: &Self, b: &Self| a.wide.iter().any(|seed| b.seeds.contains(seed));
        let (small, large) = if self.keys.len() < other.keys.len() { (self, other) } else { (other, self) };
        if wide(self, other) || wide(other, self) {
            Meeting::Anywhere
        } else if small.keys.iter().any(|key| large.keys.contains(key)) {
            Meeting::InKeys
        } else {
            Meeting::Nowhere
        }
    }
}

/// How the write sets of two batches meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meeting {
    /// Their order does not matter.
    Nowhere,
    /// In keys that find their rows: once the earlier one holds all its row locks, the later one may begin, and waits at
    /// those locks where it must.
    InKeys,
    /// Rows may be found by a search: the later one begins when the earlier one is committed.
    Anywhere,
}

/// Stands for all tables that foreign keys connect, where the target checks them: one batch after the other.
const RELATED: u64 = 0x6c75_7472_615f_666b;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bytes::Bytes;
    use lutra_change::{Column, KeyPart, Operation, TableName, TableSchema};
    use lutra_wire::{RowDecoder, RowEncoder, RowSchema};

    use super::*;
    use crate::catalogue::{TargetColumn, TargetKey, TargetTable};

    /// `id` is the key, `u` unique, `v` anything.
    struct Scene {
        table: Arc<RowTable>,
        encoder: RowEncoder,
        target: TargetTable,
        maps: Maps,
    }

    fn scene(keys: &[&str]) -> Scene {
        let column = |name: &str| Column {
            name: name.to_owned(),
            column_type: ColumnType::Int { unsigned: false },
            nullable: true,
            invisible: false,
        };
        let name = TableName::new("d", "t");
        let columns = vec![column("id"), column("u"), column("v")];
        let primary_key = vec![KeyPart { column: 0, prefix: None }];
        let schema = RowSchema::from_table(&TableSchema { name: name.clone(), columns, primary_key }).unwrap();
        let target = |name: &str| TargetColumn {
            name: name.to_owned(),
            generated: false,
            nullable: name == "u",
            needs_value: name == "v",
            touched_by_updates: false,
            data_type: "int".to_owned(),
            charset: None,
            collation: None,
        };
        let key = |name: &str| TargetKey {
            name: if name == "id" { "PRIMARY".to_owned() } else { name.to_owned() },
            columns: vec![name.to_owned()],
            plain: true,
        };
        let target = TargetTable {
            name: name.clone(),
            engine: "InnoDB".to_owned(),
            transactional: true,
            columns: ["id", "u", "v"].map(target).to_vec(),
            unique_keys: keys.iter().map(|k| key(k)).collect(),
            related: Vec::new(),
            self_referencing: false,
            triggers: Vec::new(),
            computed_in_zone: None,
            computed_from_char: None,
            system_is_utc: true,
            flavour: lutra_mysql::Flavour::MySql,
        };
        let map = Arc::new(TableMap::compile(schema.table(), &target).unwrap());
        let fingerprint = schema.fingerprint();
        let (encoder, decoder) = (RowEncoder::new(&schema), RowDecoder::new(&schema));
        let table = Arc::new(RowTable { fingerprint, name, decoder, schema });
        Scene { table, encoder, target, maps: [(fingerprint, map)].into_iter().collect() }
    }

    type Partial = [Option<i64>; 3];

    impl Scene {
        fn image(&self, values: Option<Partial>) -> (Option<Bytes>, Option<ColumnSet>) {
            let Some(values) = values else { return (None, None) };
            let mut out = Vec::new();
            for (column, value) in values.iter().enumerate() {
                match value {
                    Some(n) => self.encoder.write(column, Value::Int(*n), &mut out).unwrap(),
                    None => self.encoder.write_absent(column, &mut out),
                }
            }
            let present = values.iter().enumerate().filter(|(_, v)| v.is_some()).map(|(c, _)| c).collect();
            (Some(Bytes::from(out)), values.contains(&None).then_some(present))
        }

        fn write(&self, before: Option<Partial>, after: Option<Partial>) -> Result<Written, LoadError> {
            let ((before, before_columns), (after, after_columns)) = (self.image(before), self.image(after));
            let operation = match (&before, &after) {
                (None, _) => Operation::Insert,
                (_, None) => Operation::Delete,
                _ => Operation::Update,
            };
            let flags = RowFlags::default();
            let row = RowChange { table: 0, operation, flags, before, after, before_columns, after_columns };
            let segment = Segment {
                tables: vec![Arc::clone(&self.table)],
                rows: vec![row],
                context: None,
                bytes: 0,
                permit: None,
            };
            let mut written = Written::default();
            written.add(&segment, &self.maps, Number::ORIGIN)?;
            Ok(written)
        }

        fn set(&self, before: Option<Partial>, after: Option<Partial>) -> WriteSet {
            WriteSet::of(&self.write(before, after).unwrap())
        }
    }

    #[test]
    fn a_partial_update_meets_only_the_row_and_the_values_that_it_names() {
        let scene = scene(&["id", "u"]);
        let insert = |id, u| scene.set(None, Some([Some(id), Some(u), Some(0)]));
        let update = scene.set(Some([Some(1), None, None]), Some([None, None, Some(5)]));
        assert_eq!(update.meets(&insert(1, 9)), Meeting::InKeys);
        assert_eq!(update.meets(&insert(2, 9)), Meeting::Nowhere);
        // It gives up a unique value that it does not name.
        for change in [
            scene.set(Some([Some(1), None, None]), Some([None, Some(7), None])),
            scene.set(Some([Some(1), None, None]), None),
        ] {
            assert_eq!(change.meets(&insert(2, 9)), Meeting::Anywhere);
        }
    }

    #[test]
    fn an_image_that_does_not_say_which_row_is_refused_by_name() {
        let by_u = scene(&["v"]);
        let failed = by_u.write(Some([Some(1), None, None]), Some([None, None, Some(5)])).unwrap_err().to_string();
        assert!(failed.contains("d.t") && failed.contains("column v") && failed.contains("by its key"), "{failed}");
        let keyless = scene(&[]);
        let failed = keyless.write(Some([Some(1), None, None]), None).unwrap_err().to_string();
        assert!(failed.contains("column u") && failed.contains("no key"), "{failed}");
        assert!(keyless.write(Some([Some(1), Some(2), Some(3)]), None).is_ok());
        assert!(keyless.write(None, Some([Some(1), None, Some(3)])).is_ok());
    }

    #[test]
    fn a_stored_column_that_another_session_would_compute_otherwise_is_refused_by_name() {
        let scene = scene(&["id"]);
        let target = |zone: bool, char: bool, system_is_utc| {
            let named = |named: bool| named.then(|| "g".to_owned());
            let target = TargetTable {
                computed_in_zone: named(zone),
                computed_from_char: named(char),
                system_is_utc,
                ..scene.target.clone()
            };
            TableMap::compile(scene.table.schema.table(), &target).unwrap()
        };
        let row = RowChange {
            table: 0,
            operation: Operation::Insert,
            flags: RowFlags::default(),
            before: None,
            after: Some(Bytes::new()),
            before_columns: None,
            after_columns: None,
        };
        let found = |map: &TableMap, zone: Option<&str>, sql_mode| {
            let context = SessionContext {
                time_zone: zone.map(str::to_owned),
                sql_mode: Some(sql_mode),
                ..SessionContext::default()
            };
            ensure_computable(&row, map, Some(&context), Number::ORIGIN).map_err(|e| e.to_string())
        };
        let zoned = target(true, false, true);
        for zone in [None, Some("+00:00"), Some("UTC"), Some("SYSTEM")] {
            assert_eq!(found(&zoned, zone, 1 << 31), Ok(()), "{zone:?}");
        }
        let failed = found(&zoned, Some("Europe/Berlin"), 0).unwrap_err();
        assert!(failed.contains("d.t") && failed.contains("column g") && failed.contains("Europe/Berlin"), "{failed}");
        assert!(found(&target(true, false, false), Some("SYSTEM"), 0).is_err());
        assert_eq!(found(&target(false, true, true), Some("Europe/Berlin"), 0), Ok(()));
        assert!(found(&target(false, true, true), None, 1 << 31).is_err());
    }

    #[test]
    fn an_insert_without_a_value_that_has_no_default_is_lenient() {
        let scene = scene(&["id"]);
        let lenient = |after| scene.write(None, Some(after)).unwrap().changes.iter().any(|c| c.lenient);
        assert!(lenient([Some(1), Some(2), None]));
        assert!(!lenient([Some(1), None, Some(3)]));
    }
}

//! Table maps of servers whose `binlog_row_metadata` is not FULL: completed by a definition of the table, and held against
//! it.

use std::borrow::Cow;

use lutra_change::schema::BINARY_COLLATION;
use lutra_change::{Column, ColumnType, TableSchema};

use crate::column::Wire;
use crate::flavor::Flavor;
use crate::metadata::{Collations, Metadata};

/// What a table is said to look like, by its definition.
#[derive(Clone, Copy, Debug)]
pub struct Defined<'d> {
    /// Its columns and key. A length or a collation of 0 is one that the definition does not tell.
    pub schema: &'d TableSchema,
    /// Names of the columns behind those, which only the server sees (of functional indexes); nothing else is known of them.
    /// Some servers leave them out of row images.
    pub hidden: &'d [String],
}

impl<'d> Defined<'d> {
    /// Of that schema.
    pub fn new(schema: &'d TableSchema, hidden: &'d [String]) -> Self {
        Self { schema, hidden }
    }

    /// The names of the columns of a table map that has so many.
    pub(crate) fn names(&self, columns: usize) -> Vec<&'d str> {
        let seen = self.schema.columns.iter().map(|c| c.name.as_str());
        let hidden = if columns == self.schema.columns.len() { &[] } else { self.hidden };
        seen.chain(hidden.iter().map(String::as_str)).collect()
    }

    fn column(&self, index: usize) -> Option<&'d ColumnType> {
        self.schema.columns.get(index).map(|c| &c.column_type)
    }

    /// Puts in what the table map does not say.
    pub(crate) fn complete(&self, metadata: &mut Metadata<'_>, flavor: Flavor, wires: &[Wire]) {
        let columns = || wires.iter().enumerate().map(|(index, wire)| (wire, self.column(index)));
        let mariadb = flavor == Flavor::MariaDb;
        if metadata.unsigned.is_none() {
            let numeric = columns().filter(|(wire, _)| is_numeric(**wire));
            metadata.unsigned = Some(Cow::Owned(bits(numeric.map(|(_, column)| column.is_some_and(is_unsigned)))));
        }
        if metadata.collations.is_none() {
            let characters = columns().filter(|(wire, _)| has_collation(**wire, mariadb));
            metadata.collations = Some(Collations::Each(characters.map(|(_, column)| collation(column)).collect()));
        }
        if metadata.label_collations.is_none() {
            let labelled = columns().filter(|(wire, _)| matches!(wire, Wire::Enum { .. } | Wire::Set { .. }));
            metadata.label_collations = Some(Collations::Each(labelled.map(|(_, column)| collation(column)).collect()));
        }
        if metadata.enums.is_empty() {
            metadata.enums = columns().filter(|(w, _)| matches!(w, Wire::Enum { .. })).map(|c| labels(c.1)).collect();
        }
        if metadata.sets.is_empty() {
            metadata.sets = columns().filter(|(w, _)| matches!(w, Wire::Set { .. })).map(|c| labels(c.1)).collect();
        }
        if metadata.geometries.is_empty() {
            let kind = |column: Option<&ColumnType>| match column {
                Some(ColumnType::Geometry { kind }) => *kind,
                _ => 0,
            };
            metadata.geometries =
                columns().filter(|(w, _)| matches!(w, Wire::Geometry { .. })).map(|c| kind(c.1)).collect();
        }
        if metadata.dimensions.is_empty() {
            let dimensions = |column: Option<&ColumnType>| match column {
                Some(ColumnType::Vector { dimensions }) => *dimensions,
                _ => 0,
            };
            metadata.dimensions =
                columns().filter(|(w, _)| matches!(w, Wire::Vector { .. })).map(|c| dimensions(c.1)).collect();
        }
        if metadata.visible.is_none() {
            let visible = |index: usize| self.schema.columns.get(index).is_some_and(|c| !c.invisible);
            metadata.visible = Some(Cow::Owned(bits((0..wires.len()).map(visible))));
        }
        if metadata.key.is_empty() {
            metadata.key = self.schema.primary_key.iter().map(|part| (part.column, part.prefix)).collect();
        }
    }

    /// What the table map says otherwise than the definition, if it does.
    pub(crate) fn difference(&self, found: &TableSchema, wires: &[Wire]) -> Option<String> {
        let columns = self.schema.columns.iter().zip(&found.columns).zip(wires);
        columns.into_iter().find_map(|((defined, found), wire)| {
            if !fits(defined, found, *wire) {
                let (name, here, there) = (&defined.name, &found.column_type, &defined.column_type);
                return Some(format!("column {name} is {here:?}, in the definition {there:?}"));
            }
            let null = |column: &Column| if column.nullable { "takes NULL" } else { "takes no NULL" };
            (defined.nullable != found.nullable)
                .then(|| format!("column {} {}, in the definition it {}", defined.name, null(found), null(defined)))
        })
    }
}

/// Bits, first one highest.
fn bits(each: impl Iterator<Item = bool>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (at, set) in each.enumerate() {
        if at % 8 == 0 {
            bytes.push(0);
        }
        if let Some(byte) = bytes.last_mut()
            && set
        {
            *byte |= 0x80 >> (at % 8);
        }
    }
    bytes
}

fn is_numeric(wire: Wire) -> bool {
    use Wire as W;
    matches!(
        wire,
        W::Tiny | W::Short | W::Int24 | W::Long | W::LongLong | W::Float | W::Double | W::Decimal { .. } | W::Year
    )
}

fn has_collation(wire: Wire, mariadb: bool) -> bool {
    use Wire as W;
    matches!(
        wire,
        W::Char { .. }
            | W::VarChar { .. }
            | W::CompressedVarChar { .. }
            | W::Blob { .. }
            | W::CompressedBlob { .. }
            | W::Vector { .. }
    ) || (mariadb && matches!(wire, W::Geometry { .. }))
}

fn is_unsigned(column: &ColumnType) -> bool {
    use ColumnType as T;
    matches!(
        column,
        T::TinyInt { unsigned: true }
            | T::SmallInt { unsigned: true }
            | T::MediumInt { unsigned: true }
            | T::Int { unsigned: true }
            | T::BigInt { unsigned: true }
    )
}

fn collation(column: Option<&ColumnType>) -> u16 {
    use ColumnType as T;
    match column {
        Some(
            T::Char { collation, .. }
            | T::VarChar { collation, .. }
            | T::Text { collation, .. }
            | T::Enum { collation, .. }
            | T::Set { collation, .. },
        ) => *collation,
        _ => BINARY_COLLATION,
    }
}

fn labels(column: Option<&ColumnType>) -> Vec<String> {
    match column {
        Some(ColumnType::Enum { labels, .. } | ColumnType::Set { labels, .. }) => labels.clone(),
        _ => Vec::new(),
    }
}

/// Whether a column of the table map can be the one of the definition.
fn fits(defined: &Column, found: &Column, wire: Wire) -> bool {
    use ColumnType as T;
    // Not told by the one who made the definition: the table map's own.
    let like = |a: u16, b: u16| a == b || a == 0;
    let long = |a: u32, b: u32| a == b || a == 0;
    match (&defined.column_type, &found.column_type) {
        (T::Char { bytes: a, collation: c }, T::Char { bytes: b, collation: d })
        | (T::VarChar { bytes: a, collation: c }, T::VarChar { bytes: b, collation: d }) => {
            long(*a, *b) && like(*c, *d) && *d != 0
        }
        // Its collation being unknown, it may be that of bytes.
        (T::Char { collation: 0, .. }, T::Binary { .. }) | (T::VarChar { collation: 0, .. }, T::VarBinary { .. }) => {
            true
        }
        (T::Text { prefix: a, collation: 0 }, T::Blob { prefix: b }) => a == b,
        (T::Text { prefix: a, collation: c }, T::Text { prefix: b, collation: d }) => a == b && like(*c, *d) && *d != 0,
        (T::Enum { labels, .. }, T::Enum { .. }) => {
            wire == Wire::Enum { bytes: if labels.len() > 255 { 2 } else { 1 } } && !labels.is_empty()
        }
        (T::Set { labels, .. }, T::Set { .. }) => {
            let bytes = match labels.len().div_ceil(8) {
                bytes @ 1..=4 => bytes,
                _ => 8,
            };
            matches!(wire, Wire::Set { bytes: found } if usize::from(found) == bytes) && !labels.is_empty()
        }
        (a, b) => a == b,
    }
}

//! What is made of each distinct table map: whether its rows are captured, and how they are re-encoded.

use std::sync::Arc;

use lutra_binlog::{DecodeError, Defined, RowDecoder, TableMap};
use lutra_change::{TableName, Value};
use lutra_spec::SourceSpec;
use lutra_wire::{Fingerprint, RowEncoder, RowSchema};

use crate::definitions::{Entry, Store};
use crate::error::AssembleError;

/// The table in which loaders keep their checkpoints, and the column that is their mark (P13).
const SLOT: (&str, &str, &str) = ("lutra", "slot", "origins");

/// What is made of a table map.
#[derive(Debug)]
pub(super) enum Table {
    /// Not captured.
    Foreign,
    /// Lutra's own, not the slots.
    Own,
    /// The slots of loaders: read for their mark only.
    Slot(SlotTable),
    /// Captured.
    Captured(Box<CapturedTable>),
}

/// A captured table: from binlog bytes to record bytes in one pass.
#[derive(Debug)]
pub(super) struct CapturedTable {
    pub(super) name: TableName,
    pub(super) fingerprint: Fingerprint,
    pub(super) schema: Arc<RowSchema>,
    pub(super) decoder: RowDecoder,
    pub(super) encoder: RowEncoder,
}

/// The slots of loaders.
#[derive(Debug)]
pub(super) struct SlotTable {
    pub(super) decoder: RowDecoder,
    origins: Option<usize>,
}

impl Table {
    /// Plans the table. One that is not captured costs nothing and may have metadata that captured ones may not.
    pub(super) fn plan(map: &TableMap<'_>, spec: &SourceSpec, definitions: &Store) -> Result<Self, AssembleError> {
        if map.database == SLOT.0 {
            if map.table != SLOT.1 {
                return Ok(Self::Own);
            }
            let decoder = decoder(map, definitions)?;
            let origins = decoder.schema().column(SLOT.2);
            return Ok(Self::Slot(SlotTable { decoder, origins }));
        }
        if !spec.captures(map.database, map.table) {
            return Ok(Self::Foreign);
        }
        let decoder = decoder(map, definitions)?;
        let schema = Arc::new(RowSchema::from_table(decoder.schema())?);
        let encoder = RowEncoder::new(&schema);
        let name = map.name();
        Ok(Self::Captured(Box::new(CapturedTable {
            name,
            fingerprint: schema.fingerprint(),
            schema,
            decoder,
            encoder,
        })))
    }
}

/// Whether definitions of the table matter.
pub(super) fn is_followed(spec: &SourceSpec, table: &TableName) -> bool {
    spec.captures(&table.database, &table.table) || (table.database == SLOT.0 && table.table == SLOT.1)
}

/// How rows are read: by what the table map says, or else by what is known of the table, held against it.
fn decoder(map: &TableMap<'_>, definitions: &Store) -> Result<RowDecoder, AssembleError> {
    if map.is_full() {
        return Ok(RowDecoder::plan(map)?);
    }
    let name = map.name();
    let undefined = |why: String| Err(AssembleError::Undefined { table: name.clone(), why });
    let (definition, charsets) = match (definitions.get(&name), definitions.charsets()) {
        (Some(Entry::Is(definition)), Some(charsets)) => (definition, charsets),
        (Some(Entry::Unknown(why)), _) => return undefined(why.clone()),
        _ => return undefined("it was not seen before".to_owned()),
    };
    let (schema, hidden) = definition.schema(&name, charsets);
    match RowDecoder::plan_by(map, &Defined::new(&schema, &hidden)) {
        Err(DecodeError::Differs { what, .. }) => undefined(what),
        planned => Ok(planned?),
    }
}

impl SlotTable {
    /// Adds the sources that this value names, if it is that of the mark's column.
    pub(super) fn take_origins(&self, column: usize, value: Value<'_>, origins: &mut Vec<String>) {
        if Some(column) != self.origins {
            return;
        }
        if let Value::Bytes(bytes) = value {
            let text = String::from_utf8_lossy(bytes);
            for name in text.split(',').filter(|n| !n.is_empty()) {
                if !origins.iter().any(|o| o == name) {
                    origins.push(name.to_owned());
                }
            }
        }
    }
}

//! What a chunk is to the copy of a pipeline's tables (P12).

use bytes::Bytes;
use lutra_change::{SessionContext, TableName};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::record::{Ddl, DdlKind};

/// A step of a full load, in [`Chunk::step`](crate::record::Chunk::step).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum ChunkStep {
    /// Tables are made in the target; it carries no rows. The first step of a load, and of each table that is loaded again.
    Define {
        /// The tables whose rows follow.
        tables: Vec<CopiedTable>,
        /// Statements that make them, in order.
        statements: Vec<Definition>,
    },
    /// Rows of a table.
    Rows {
        /// The table.
        table: CopiedTable,
        /// The chunk before it; none for the first one of a table.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        previous: Option<Uuid>,
        /// The last one of the table.
        last: bool,
    },
}

/// A table that is copied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopiedTable {
    /// Its database.
    pub database: String,
    /// Its name there.
    pub table: String,
    /// How often its copy was begun anew.
    pub generation: u32,
    /// All its rows come in one unit, as it has no key to cut them by: changes before that unit say nothing.
    pub whole: bool,
}

impl CopiedTable {
    /// Its full name.
    pub fn name(&self) -> TableName {
        TableName::new(&self.database, &self.table)
    }

    /// The same under another name.
    #[must_use]
    pub fn renamed(&self, name: &TableName) -> Self {
        Self { database: name.database.clone(), table: name.table.clone(), ..self.clone() }
    }
}

/// What a statement of a [`ChunkStep::Define`] makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DefinitionKind {
    /// A database.
    Database,
    /// A table.
    Table,
    /// It removes a table that is made anew behind it.
    Removal,
    /// Indexes and foreign keys of a table: made when all its rows are there, or before the first DDL on it.
    Deferred,
    /// A routine, view, trigger or event, behind the tables.
    Other,
}

/// A statement of a [`ChunkStep::Define`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    /// What it makes.
    pub kind: DefinitionKind,
    /// Default database.
    pub database: String,
    /// The tables it names first.
    pub tables: Vec<(String, String)>,
    /// Its text, in UTF-8.
    pub statement: String,
    /// The session it runs in.
    pub context: SessionContext,
}

/// utf8mb4_general_ci, which every server knows.
const UTF8MB4: u16 = 45;

impl Definition {
    /// The session in which a server's own words for a table make it.
    pub fn session() -> SessionContext {
        SessionContext {
            sql_mode: Some(0),
            character_set_client: Some(UTF8MB4),
            collation_connection: Some(UTF8MB4),
            no_foreign_key_checks: true,
            explicit_defaults_for_timestamp: Some(true),
            ..SessionContext::default()
        }
    }

    /// As the statement of a DDL unit.
    pub fn to_ddl(&self) -> Ddl {
        Ddl {
            statement: Bytes::from(self.statement.clone()),
            database: self.database.clone(),
            kind: match self.kind {
                DefinitionKind::Database => DdlKind::CreateDatabase,
                DefinitionKind::Table => DdlKind::CreateTable,
                DefinitionKind::Removal => DdlKind::DropTable,
                DefinitionKind::Deferred => DdlKind::AlterTable,
                DefinitionKind::Other => DdlKind::Other,
            },
            tables: self.tables.iter().map(|(database, table)| TableName::new(database, table)).collect(),
            context: self.context.clone(),
        }
    }

    /// The same as a rewritten DDL statement has it.
    #[must_use]
    pub fn rewritten(&self, ddl: &Ddl) -> Self {
        Self {
            kind: self.kind,
            database: ddl.database.clone(),
            tables: ddl.tables.iter().map(|t| (t.database.clone(), t.table.clone())).collect(),
            statement: String::from_utf8_lossy(&ddl.statement).into_owned(),
            context: ddl.context.clone(),
        }
    }
}

impl ChunkStep {
    /// As bytes.
    pub fn to_bytes(&self) -> Bytes {
        serde_json::to_vec(self).map(Bytes::from).unwrap_or_default()
    }

    /// From the bytes of a chunk.
    ///
    /// # Errors
    /// What is wrong with the JSON.
    pub fn parse(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn steps_survive_their_bytes() {
        let table = CopiedTable { database: "shop".into(), table: "orders".into(), generation: 2, whole: false };
        let definition = Definition {
            kind: DefinitionKind::Table,
            database: "shop".into(),
            tables: vec![("shop".into(), "orders".into())],
            statement: "CREATE TABLE orders (id INT)".into(),
            context: SessionContext { no_foreign_key_checks: true, ..SessionContext::default() },
        };
        let define = ChunkStep::Define { tables: vec![table.clone()], statements: vec![definition.clone()] };
        let rows = ChunkStep::Rows { table, previous: Some(Uuid::from_u128(7)), last: true };
        for step in [define, rows] {
            assert_eq!(ChunkStep::parse(&step.to_bytes()).unwrap(), step);
        }
        assert_eq!(definition.rewritten(&definition.to_ddl()), definition);
        assert!(ChunkStep::parse(b"").is_err());
    }
}

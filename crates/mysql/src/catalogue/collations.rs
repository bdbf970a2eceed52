//! The collations that a server knows.

use std::collections::BTreeMap;

use crate::connection::{Connection, Row};
use crate::dialect::Flavour;
use crate::error::Result;

/// A collation of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collation {
    /// Its id, as in binlog events.
    pub id: u16,
    /// Its name.
    pub name: String,
    /// Name of its character set.
    pub charset: String,
    /// It is the default one of the character set.
    pub is_default: bool,
    /// Bytes that a character takes at most.
    pub bytes_per_character: u8,
}

/// The collations that a server knows.
pub async fn collations(connection: &mut Connection) -> Result<Vec<Collation>> {
    const SQL: &str = "SELECT c.id, c.collation_name, c.character_set_name, c.is_default, s.maxlen \
                       FROM information_schema.collations c \
                       JOIN information_schema.character_sets s ON s.character_set_name = c.character_set_name";
    // MariaDB 10.10 and later list there those whose names do not hold for one character set alone.
    const MARIADB: &str = "SELECT c.id, c.full_collation_name, c.character_set_name, c.is_default, s.maxlen \
                       FROM information_schema.collation_character_set_applicability c \
                           JOIN information_schema.character_sets s ON s.character_set_name = c.character_set_name";
    let rows = match connection.flavour().await? {
        Flavour::MySql => connection.query(SQL).await?,
        Flavour::MariaDb => match connection.query(MARIADB).await {
            Err(e) if e.code() == Some(1054) => connection.query(SQL).await?,
            rows => rows?,
        },
    };
    let collation = |row: &Row| {
        Some(Collation {
            id: u16::try_from(row.u64(0)?).ok()?,
            name: row.string(1),
            charset: row.string(2),
            is_default: row.text(3) == Some("Yes"),
            bytes_per_character: u8::try_from(row.u64(4)?).ok()?,
        })
    };
    Ok(rows.iter().filter_map(collation).collect())
}

/// Collation ids with the names of collation and character set.
#[derive(Clone, Debug, Default)]
pub struct Collations {
    by_id: BTreeMap<u16, (String, String)>,
}

impl Collations {
    /// Reads them from a server.
    pub async fn read(connection: &mut Connection) -> Result<Self> {
        const SQL: &str =
            "SELECT id, collation_name, character_set_name FROM information_schema.collations WHERE id IS NOT NULL";
        let rows = connection.query(SQL).await?;
        let entry = |row: &Row| Some((u16::try_from(row.u64(0)?).ok()?, (row.string(1), row.string(2))));
        Ok(Self { by_id: rows.iter().filter_map(entry).collect() })
    }

    /// Name of a collation.
    pub fn name(&self, id: u16) -> Option<&str> {
        self.by_id.get(&id).map(|(name, _)| name.as_str())
    }

    /// Name of a collation's character set.
    pub fn charset(&self, id: u16) -> Option<&str> {
        self.by_id.get(&id).map(|(_, charset)| charset.as_str())
    }

    /// The id of a collation.
    pub fn id(&self, name: &str) -> Option<u16> {
        self.by_id.iter().find(|(_, (n, _))| n == name).map(|(id, _)| *id)
    }
}

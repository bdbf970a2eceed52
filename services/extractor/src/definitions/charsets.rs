//! The character sets and collations of a server.

use std::collections::BTreeMap;

use lutra_change::schema::BINARY_COLLATION;
use lutra_mysql::catalogue::Collation;

/// What a server knows of character sets: names to collation ids.
#[derive(Clone, Debug, Default)]
pub struct Charsets {
    /// Collations by their names: id, and bytes that a character takes at most.
    collations: BTreeMap<String, (u16, u8)>,
    /// The default collation of each character set.
    defaults: BTreeMap<String, u16>,
    widths: BTreeMap<u16, u8>,
}

impl Charsets {
    /// Of the collations that the server lists.
    pub fn new(collations: impl IntoIterator<Item = Collation>) -> Self {
        let mut charsets = Self::default();
        for Collation { id, name, charset, is_default, bytes_per_character } in collations {
            charsets.widths.insert(id, bytes_per_character);
            if is_default {
                charsets.defaults.insert(charset, id);
            }
            charsets.collations.insert(name, (id, bytes_per_character));
        }
        charsets
    }

    /// The id of a collation.
    pub(super) fn collation(&self, name: &str) -> Option<u16> {
        let name = name.to_ascii_lowercase();
        // As 8.0.28 and before called it.
        let modern = || name.strip_prefix("utf8_").map(|rest| format!("utf8mb3_{rest}"));
        let found = self.collations.get(&name).or_else(|| self.collations.get(&modern()?))?;
        Some(found.0)
    }

    /// The default collation of a character set.
    pub(super) fn of_charset(&self, name: &str) -> Option<u16> {
        let name = name.to_ascii_lowercase();
        match name.as_str() {
            "binary" => Some(BINARY_COLLATION),
            "utf8" => self.defaults.get("utf8mb3").or_else(|| self.defaults.get("utf8")).copied(),
            name => self.defaults.get(name).copied(),
        }
    }

    /// The `_bin` collation of the character set of a collation.
    pub(super) fn binary_of(&self, collation: u16) -> Option<u16> {
        let (name, _) = self.collations.iter().find(|(_, (id, _))| *id == collation)?;
        let charset = name.split('_').next()?;
        self.collation(&format!("{charset}_bin"))
    }

    /// Bytes that a character takes at most.
    pub(super) fn width(&self, collation: u16) -> Option<u8> {
        if collation == BINARY_COLLATION { Some(1) } else { self.widths.get(&collation).copied() }
    }
}

/// Those that tests speak of.
#[cfg(test)]
pub(super) fn of_tests() -> Charsets {
    let all = [
        (8, "latin1_swedish_ci", "latin1", true, 1),
        (47, "latin1_bin", "latin1", false, 1),
        (63, "binary", "binary", true, 1),
        (33, "utf8mb3_general_ci", "utf8mb3", true, 3),
        (83, "utf8mb3_bin", "utf8mb3", false, 3),
        (45, "utf8mb4_general_ci", "utf8mb4", false, 4),
        (46, "utf8mb4_bin", "utf8mb4", false, 4),
        (255, "utf8mb4_0900_ai_ci", "utf8mb4", true, 4),
        (28, "gbk_chinese_ci", "gbk", true, 2),
        (35, "ucs2_general_ci", "ucs2", true, 2),
        (54, "utf16_general_ci", "utf16", true, 4),
        (244, "utf8mb4_german2_ci", "utf8mb4", false, 4),
    ];
    Charsets::new(all.map(|(id, name, charset, is_default, bytes_per_character)| Collation {
        id,
        name: name.to_owned(),
        charset: charset.to_owned(),
        is_default,
        bytes_per_character,
    }))
}

//! The reference system of a spatial column. MySQL says `SRID n` anywhere behind the type, MariaDB `REF_SYSTEM_ID=n` right
//! behind it.

use super::Translator;

const TYPES: [&[u8]; 9] = [
    b"GEOMETRY",
    b"POINT",
    b"LINESTRING",
    b"POLYGON",
    b"MULTIPOINT",
    b"MULTILINESTRING",
    b"MULTIPOLYGON",
    b"GEOMETRYCOLLECTION",
    b"GEOMCOLLECTION",
];

/// A column's type.
#[derive(Clone, Copy, Debug)]
pub(super) struct Type {
    /// Where it ends in what was written.
    end: usize,
    /// Brackets that were open.
    depth: usize,
}

impl<'a> Translator<'a> {
    /// Behind a word that was written: whether it was a spatial type. Functions of that name have brackets.
    pub(super) fn spatial_type(&mut self, word: &[u8]) {
        let behind = self.text.get(self.at..).unwrap_or_default().trim_ascii_start();
        if TYPES.iter().any(|known| word.eq_ignore_ascii_case(known)) && !behind.starts_with(b"(") {
            self.spatial = Some(Type { end: self.out.len(), depth: self.clauses.depth() });
        }
    }

    /// The next column is another one.
    pub(super) fn end_clause(&mut self, sign: u8) {
        let depth = self.clauses.depth();
        if matches!(sign, b',' | b';') && self.spatial.is_some_and(|column| depth <= column.depth) {
            self.spatial = None;
        }
    }

    /// Says the reference system of a column in the target's words; `rest` begins with the word.
    pub(super) fn reference_system(&mut self, rest: &'a [u8], word: &[u8]) -> bool {
        let own: &[u8] = if self.to.is_mariadb() { b"SRID" } else { b"REF_SYSTEM_ID" };
        let Some(column) = self.spatial.filter(|_| word.eq_ignore_ascii_case(own)) else { return false };
        let mut number = rest.get(word.len()..).unwrap_or_default().trim_ascii_start();
        if !self.to.is_mariadb() {
            let Some(behind) = number.strip_prefix(b"=") else { return false };
            number = behind.trim_ascii_start();
        }
        let digits = number.iter().take_while(|b| b.is_ascii_digit()).count();
        let Some(system) = number.get(..digits).filter(|digits| !digits.is_empty()) else { return false };
        if self.to.is_mariadb() {
            let said = [b" REF_SYSTEM_ID=", system].concat();
            self.out.splice(column.end..column.end, said);
        } else {
            self.out.extend([b"SRID ", system].concat());
        }
        self.skip(rest.len() - number.len() + digits);
        true
    }
}

#[cfg(test)]
mod tests {
    use lutra_change::SessionContext;

    use super::super::translate;
    use crate::dialect::{Flavour, SQL_MODE_OF_MARIADB};

    fn of(text: &str, sql_mode: u64, to: Flavour) -> String {
        let context = SessionContext { sql_mode: Some(sql_mode), ..SessionContext::default() };
        String::from_utf8_lossy(&translate(text.as_bytes(), &context, to)).into_owned()
    }

    #[test]
    fn a_reference_system_stands_behind_the_type_for_mariadb() {
        let to_mariadb = |text: &str| of(text, 0, Flavour::MariaDb);
        assert_eq!(
            to_mariadb(
                "CREATE TABLE `t` (`g` geometry NOT NULL /*!80003 SRID 4326 */ COMMENT 'SRID 1', p POINT DEFAULT (POINT(1, 2)) srid 0, i INT)"
            ),
            "CREATE TABLE `t` (`g` geometry REF_SYSTEM_ID=4326 NOT NULL      COMMENT 'SRID 1', p POINT REF_SYSTEM_ID=0 DEFAULT (POINT(1, 2)) , i INT)"
        );
        assert_eq!(
            to_mariadb("ALTER TABLE t MODIFY point point NOT NULL SRID 4326 AFTER x"),
            "ALTER TABLE t MODIFY point point REF_SYSTEM_ID=4326 NOT NULL  AFTER x"
        );
        for other in
            ["CREATE TABLE t (srid INT, g GEOMETRY)", "SELECT ST_SRID(g), SRID 3", "ALTER TABLE t ADD a INT SRID 3"]
        {
            assert_eq!(to_mariadb(other), other);
        }
    }

    #[test]
    fn a_reference_system_is_an_srid_for_mysql() {
        let to_mysql = |text: &str| of(text, SQL_MODE_OF_MARIADB, Flavour::MySql);
        assert_eq!(
            to_mysql("CREATE TABLE t (g geometry REF_SYSTEM_ID=4326 NOT NULL, p POINT ref_system_id = 0)"),
            "CREATE TABLE t (g geometry SRID 4326 NOT NULL, p POINT SRID 0)"
        );
        for other in ["CREATE TABLE t (g GEOMETRY, REF_SYSTEM_ID INT)", "SELECT REF_SYSTEM_ID=3"] {
            assert_eq!(to_mysql(other), other);
        }
    }
}

//! CREATE TABLE, as it is logged and as the server prints it.

use lutra_change::Statement;

use super::column::{self, Read};
use super::reader::{Reader, Session, Unclear, unclear};
use super::table::{Definition, Key, KeyKind, Part};

/// What `CREATE TABLE name (…) …` makes; `after` is the token behind the name.
///
/// # Errors
/// [`Unclear`] for what is not understood.
pub fn create(statement: &Statement<'_>, after: usize, session: &Session<'_>) -> Result<Definition, Unclear> {
    let mut reader = Reader { statement, at: after };
    if !reader.take_sign(b'(') || reader.is("LIKE") {
        return unclear("a table is made after another one");
    }
    let mut reads = Vec::new();
    let mut keys = Vec::new();
    loop {
        if is_key(&reader) {
            keys.extend(key(&mut reader)?);
        } else {
            let read = column::named(&mut reader, session)?;
            keys.extend(read.keys.iter().cloned());
            reads.push(read);
        }
        if reader.take_sign(b')') {
            break;
        }
        if !reader.take_sign(b',') {
            return unclear(format!("the columns are not understood at {:?}", reader.here()));
        }
    }
    let collation = default_collation(&mut reader, session)?;
    finish(reads, keys, collation, session)
}

fn finish(
    mut reads: Vec<Read>,
    keys: Vec<Key>,
    collation: Option<u16>,
    session: &Session<'_>,
) -> Result<Definition, Unclear> {
    reads.iter_mut().for_each(|read| column::settle(read, collation, session));
    let columns: Vec<_> = reads.into_iter().map(|read| read.column).collect();
    if let Some(column) = columns.iter().find(|c| column::must_know(c)) {
        return unclear(format!("the collation of its column {} is not known", column.name));
    }
    let mut table = Definition { columns, keys, collation };
    table.settle_keys();
    Ok(table)
}

/// Whether a key or a constraint comes next, not a column.
pub(super) fn is_key(reader: &Reader<'_, '_>) -> bool {
    reader.is_any(&["PRIMARY", "UNIQUE", "INDEX", "KEY", "FULLTEXT", "SPATIAL", "CONSTRAINT", "FOREIGN", "CHECK"])
        || reader.are(&["PERIOD", "FOR"])
        || reader.are(&["VECTOR", "INDEX"])
        || reader.are(&["VECTOR", "KEY"])
}

/// A key; none of a constraint.
pub(super) fn key(reader: &mut Reader<'_, '_>) -> Result<Option<Key>, Unclear> {
    let mut name = None;
    if reader.take(&["CONSTRAINT"]) && !reader.is_any(&["PRIMARY", "UNIQUE", "FOREIGN", "CHECK"]) {
        name = Some(reader.name()?);
    }
    let kind = match () {
        () if reader.take(&["PRIMARY", "KEY"]) => KeyKind::Primary,
        () if reader.take(&["UNIQUE"]) => KeyKind::Unique,
        () if reader.is_any(&["FOREIGN", "CHECK"]) => {
            reader.skip_item();
            return Ok(None);
        }
        () if reader.are(&["PERIOD", "FOR", "SYSTEM_TIME"]) => {
            return unclear("a table keeps old versions of its rows");
        }
        () if reader.is("PERIOD") => {
            reader.skip_item();
            return Ok(None);
        }
        () => {
            reader.take_any(&["FULLTEXT", "SPATIAL", "VECTOR"]);
            KeyKind::Plain
        }
    };
    reader.take_any(&["INDEX", "KEY"]);
    if reader.take(&["IF", "NOT", "EXISTS"]) {
        return unclear("a key is made if it is not there");
    }
    if reader.sign() != Some(b'(') && !reader.is("USING") {
        // One on a primary key is read and means nothing.
        name = Some(reader.name()?);
    }
    if reader.take(&["USING"]) || reader.take(&["TYPE"]) {
        reader.at += 1;
    }
    let parts = parts(reader)?;
    reader.skip_item();
    // A key without a name bears that of its first column.
    let name = match kind {
        KeyKind::Primary => None,
        _ => name.or_else(|| parts.first().and_then(|p| p.column.clone())),
    };
    Ok(Some(Key { name, kind, parts }))
}

/// The parts of a key, in brackets.
pub(super) fn parts(reader: &mut Reader<'_, '_>) -> Result<Vec<Part>, Unclear> {
    if !reader.take_sign(b'(') {
        return unclear(format!("the columns of a key are missing before {:?}", reader.here()));
    }
    let mut parts = Vec::new();
    loop {
        if reader.skip_brackets() {
            parts.push(Part { column: None, prefix: None });
        } else {
            let column = Some(reader.name()?);
            let prefix = reader.numbers()?.map(|n| n.0);
            parts.push(Part { column, prefix });
        }
        reader.skip_item();
        if reader.take_sign(b')') {
            return Ok(parts);
        }
        if !reader.take_sign(b',') {
            return unclear(format!("the columns of a key are not understood at {:?}", reader.here()));
        }
    }
}

/// The default collation that the options of a database say.
pub(super) fn of_database(
    statement: &Statement<'_>,
    from: usize,
    session: &Session<'_>,
) -> Result<Option<u16>, Unclear> {
    let mut reader = Reader { statement, at: from };
    let mut found = None;
    while !reader.is_end() {
        match option(&mut reader, session, found)? {
            Some(collation) => found = Some(collation),
            None => reader.at += 1,
        }
    }
    Ok(found)
}

/// The default collation that the options of a table say, or that of its database.
fn default_collation(reader: &mut Reader<'_, '_>, session: &Session<'_>) -> Result<Option<u16>, Unclear> {
    let mut found = session.default;
    let mut explicit = false;
    while !reader.is_end() {
        if reader.is("PARTITION") {
            break;
        }
        if reader.is_any(&["SELECT", "AS", "LIKE"]) {
            return unclear("a table is made of a query");
        }
        if reader.are(&["WITH", "SYSTEM", "VERSIONING"]) {
            return unclear("a table keeps old versions of its rows");
        }
        if let Some(collation) = option(reader, session, found.filter(|_| explicit))? {
            found = Some(collation);
            explicit = true;
        } else if !reader.skip_brackets() {
            reader.at += 1;
        }
    }
    Ok(found)
}

/// The collation that an option at this place sets, if it is one that does. A character set does not undo the collation
/// that was named before it.
pub(super) fn option(
    reader: &mut Reader<'_, '_>,
    session: &Session<'_>,
    named: Option<u16>,
) -> Result<Option<u16>, Unclear> {
    let charset = reader.take(&["CHARACTER", "SET"]) || reader.take(&["CHAR", "SET"]) || reader.take(&["CHARSET"]);
    if !charset && !reader.take(&["COLLATE"]) {
        return Ok(None);
    }
    reader.take_sign(b'=');
    let name = reader.word()?;
    let found = if !charset {
        session.charsets.collation(&name)
    } else if name.eq_ignore_ascii_case("DEFAULT") {
        session.default
    } else {
        let default = session.default_of(&name);
        let width = |c: Option<u16>| c.and_then(|c| session.charsets.width(c));
        // Of the same character set as far as is known: the collation decides.
        named.filter(|_| width(named) == width(default) && default.is_some()).or(default)
    };
    match found {
        Some(collation) => Ok(Some(collation)),
        None => unclear(format!("the server has no {name}")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use lutra_change::sql_lexer::Lexis;
    use lutra_change::{ColumnType as T, SessionContext, TableName};

    use super::super::charsets::of_tests;
    use super::*;

    fn read_in(text: &str, mariadb: bool, context: &SessionContext) -> Result<Definition, Unclear> {
        let charsets = of_tests();
        let statement = Statement::new(text.as_bytes(), Lexis::of_context(context)).unwrap();
        let definition = statement.definition().unwrap();
        let session = Session { charsets: &charsets, context, mariadb, default: context.collation_database };
        create(&statement, definition.body, &session)
    }

    fn read(text: &str) -> Definition {
        let context = SessionContext { collation_database: Some(255), ..SessionContext::default() };
        read_in(text, false, &context).unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    fn types(text: &str) -> Vec<T> {
        let table = read(&format!("CREATE TABLE t ({text})"));
        let (schema, _) = table.schema(&TableName::new("d", "t"), &of_tests());
        schema.columns.into_iter().map(|c| c.column_type).collect()
    }

    #[test]
    fn every_type_is_read_in_all_its_words() {
        assert_eq!(
            types(
                "a TINYINT(1), b BOOL, c INT UNSIGNED, d INTEGER ZEROFILL, e BIGINT(20) SIGNED, f INT3, g SERIAL, h BIT, i BIT(64)"
            ),
            [
                T::TinyInt { unsigned: false },
                T::TinyInt { unsigned: false },
                T::Int { unsigned: true },
                T::Int { unsigned: true },
                T::BigInt { unsigned: false },
                T::MediumInt { unsigned: false },
                T::BigInt { unsigned: true },
                T::Bit { length: 1 },
                T::Bit { length: 64 },
            ]
        );
        assert_eq!(
            types(
                "a FLOAT, b FLOAT(25), c FLOAT(7,4) UNSIGNED, d DOUBLE PRECISION, e REAL, f DEC, g NUMERIC(5), h DECIMAL(65,30), i FIXED(3,1)"
            ),
            [
                T::Float,
                T::Double,
                T::Float,
                T::Double,
                T::Double,
                T::Decimal { precision: 10, scale: 0 },
                T::Decimal { precision: 5, scale: 0 },
                T::Decimal { precision: 65, scale: 30 },
                T::Decimal { precision: 3, scale: 1 },
            ]
        );
        assert_eq!(
            types(
                "a DATE, b TIME(3), c DATETIME, d TIMESTAMP(6), e YEAR(4), f JSON, g VECTOR(3), h POINT SRID 4326, i GEOMCOLLECTION"
            ),
            [
                T::Date,
                T::Time { fsp: 3 },
                T::DateTime { fsp: 0 },
                T::Timestamp { fsp: 6 },
                T::Year,
                T::Json,
                T::Vector { dimensions: 3 },
                T::Geometry { kind: 1 },
                T::Geometry { kind: 7 },
            ]
        );
        let (latin1, utf8) = (8, 255);
        assert_eq!(
            types(
                "a CHAR(3) CHARACTER SET latin1, b VARCHAR(10), c NATIONAL VARCHAR(2), d NCHAR, e CHARACTER VARYING(4) ASCII, \
                 f TEXT, g TEXT(20) CHARSET latin1, h LONG, i LONG VARBINARY, j CHAR(2) BYTE, k VARBINARY(7), l CHAR(4) BINARY, \
                 m VARCHAR(5) COLLATE latin1_bin, n VARCHAR(6) CHARACTER SET binary, o BLOB(70000), p BINARY"
            ),
            [
                T::Char { bytes: 3, collation: latin1 },
                T::VarChar { bytes: 40, collation: utf8 },
                T::VarChar { bytes: 6, collation: 33 },
                T::Char { bytes: 3, collation: 33 },
                T::VarChar { bytes: 4, collation: latin1 },
                T::Text { prefix: 2, collation: utf8 },
                T::Text { prefix: 1, collation: latin1 },
                T::Text { prefix: 3, collation: utf8 },
                T::Blob { prefix: 3 },
                T::Binary { bytes: 2 },
                T::VarBinary { bytes: 7 },
                T::Char { bytes: 16, collation: 46 },
                T::VarChar { bytes: 5, collation: 47 },
                T::VarBinary { bytes: 6 },
                T::Blob { prefix: 3 },
                T::Binary { bytes: 1 },
            ]
        );
        let labels = |all: &[&str]| all.iter().map(|l| (*l).to_owned()).collect();
        assert_eq!(
            types(r"a ENUM('x','it''s','a,b  '), b SET('ä', 'q\\') CHARACTER SET latin1"),
            [
                T::Enum { labels: labels(&["x", "it's", "a,b"]), collation: utf8 },
                T::Set { labels: labels(&["ä", "q\\"]), collation: latin1 },
            ]
        );
    }

    #[test]
    fn attributes_say_what_is_null_hidden_and_key() {
        let table = read(
            "CREATE TABLE IF NOT EXISTS `d`.`t` (`a``b` int NOT NULL AUTO_INCREMENT COMMENT 'x, ) NOT', \
             b timestamp NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP, \
             c varchar(5) NOT NULL DEFAULT ('a' || 'b') /*!80023 INVISIBLE */ UNIQUE, \
             d int GENERATED ALWAYS AS (`a``b` + 1) STORED NOT NULL, e int AS (1) VIRTUAL, \
             f int DEFAULT -1 CHECK (f > 0) NOT ENFORCED, g int REFERENCES x (y) ON DELETE SET NULL ON UPDATE CASCADE, \
             h enum('a') DEFAULT NULL, PRIMARY KEY (`a``b`, h), KEY k (c(3) DESC, (f + 1)), CONSTRAINT fk FOREIGN KEY (g) REFERENCES x (y), \
             CONSTRAINT u UNIQUE KEY (d) USING BTREE, CHECK (a > 1)) ENGINE=InnoDB AUTO_INCREMENT=5 DEFAULT CHARSET=latin1 \
             COLLATE=latin1_bin COMMENT='CHARSET utf8mb4' /*!50100 PARTITION BY HASH (`a``b`) PARTITIONS 3 */",
        );
        let nullable: String = table.columns.iter().map(|c| if c.nullable { 'y' } else { 'n' }).collect();
        assert_eq!(nullable, "nynnyyyn");
        assert!(table.columns.iter().map(|c| c.invisible).eq([false, false, true, false, false, false, false, false]));
        assert_eq!(table.collation, Some(47));
        let (schema, hidden) = table.schema(&TableName::new("d", "t"), &of_tests());
        assert_eq!(hidden, ["!hidden!k!1!0"]);
        assert_eq!(schema.primary_key.iter().map(|p| p.column).collect::<Vec<_>>(), [0, 7]);
        let names: Vec<_> = table.keys.iter().map(|k| k.name.as_deref()).collect();
        assert_eq!(names, [Some("c"), None, Some("k"), Some("u")]);
    }

    #[test]
    fn a_unique_key_without_nulls_stands_in_for_the_primary_one() {
        let key = |text: &str| {
            let (schema, _) = read(text).schema(&TableName::new("d", "t"), &of_tests());
            schema.primary_key.iter().map(|p| (p.column, p.prefix)).collect::<Vec<_>>()
        };
        assert_eq!(
            key("CREATE TABLE t (a int, b varchar(9) NOT NULL, UNIQUE (a), UNIQUE (b(3)), UNIQUE x (b))"),
            [(1, None)]
        );
        assert_eq!(key("CREATE TABLE t (a int, UNIQUE (a))"), []);
        assert_eq!(key("CREATE TABLE t (a int, b text, PRIMARY KEY (b(3), a))"), [(1, Some(3)), (0, None)]);
        assert_eq!(key("CREATE TABLE t (b char(3), PRIMARY KEY (b(3)))"), [(0, None)]);
    }

    #[test]
    fn what_the_session_decides_is_asked_of_it() {
        let mut context =
            SessionContext { collation_database: Some(8), sql_mode: Some(1), ..SessionContext::default() };
        context.explicit_defaults_for_timestamp = Some(false);
        let table = read_in("CREATE TABLE t (a REAL, b TIMESTAMP, c CHAR)", false, &context).unwrap();
        assert_eq!(table.columns[0].column_type, T::Float);
        assert!(!table.columns[1].nullable);
        assert_eq!(table.columns[2].column_type, T::Char { bytes: 1, collation: 8 });
        let table = read_in("CREATE TABLE t (a JSON, b UUID, c INET4)", true, &context).unwrap();
        assert_eq!(table.columns[0].column_type, T::Text { prefix: 4, collation: 46 });
        assert_eq!(table.columns[1].column_type, T::Binary { bytes: 16 });
        // Nobody says what the database's default is: table maps tell it of strings, not of labels.
        let table = read_in("CREATE TABLE t (a CHAR)", false, &SessionContext::default()).unwrap();
        assert_eq!(table.columns[0].column_type, T::Char { bytes: 1, collation: 0 });
        assert!(read_in("CREATE TABLE t (a ENUM('x'))", false, &SessionContext::default()).is_err());
    }

    #[test]
    fn what_is_not_understood_is_said() {
        for text in [
            "CREATE TABLE t LIKE u",
            "CREATE TABLE t (LIKE u)",
            "CREATE TABLE t (a WHATEVER)",
            "CREATE TABLE t (a INT FANCY)",
            "CREATE TABLE t (a VARCHAR)",
            "CREATE TABLE t (a INT) AS SELECT 1",
            "CREATE TABLE t (a INT) WITH SYSTEM VERSIONING",
            "CREATE TABLE t (a CHAR CHARACTER SET klingon)",
        ] {
            assert!(read_in(text, false, &SessionContext::default()).is_err(), "{text}");
        }
    }
}

//! One column's definition, as CREATE TABLE and ALTER TABLE write it.

use lutra_change::{Column, ColumnType};

use super::reader::{Reader, Session, Unclear, unclear};
use super::table::{Key, KeyKind, Part, UNKNOWN, with_collation};

/// Where a column goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    First,
    After(String),
}

/// A column's definition that was read.
#[derive(Clone, Debug)]
pub(super) struct Read {
    pub(super) column: Column,
    /// Keys that it makes besides.
    pub(super) keys: Vec<Key>,
    pub(super) place: Option<Place>,
    /// Its collation, where it is the table's default that decides: to be put in once that is known.
    pub(super) by_default: Option<ByDefault>,
}

/// How a column's collation follows from the table's default one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ByDefault {
    /// It is that.
    Same,
    /// It is the binary one of its character set.
    Binary,
}

/// What is said of a column's collation.
#[derive(Debug, Default)]
struct Collated {
    charset: Option<String>,
    collation: Option<String>,
    binary: bool,
}

/// Words that begin an attribute: a default value ends in front of them.
const ATTRIBUTES: [&str; 31] = [
    "NOT",
    "NULL",
    "DEFAULT",
    "ON",
    "AUTO_INCREMENT",
    "UNIQUE",
    "PRIMARY",
    "KEY",
    "COMMENT",
    "COLLATE",
    "COLUMN_FORMAT",
    "STORAGE",
    "REFERENCES",
    "CHECK",
    "CONSTRAINT",
    "GENERATED",
    "AS",
    "VISIBLE",
    "INVISIBLE",
    "ENGINE_ATTRIBUTE",
    "SECONDARY_ENGINE_ATTRIBUTE",
    "VIRTUAL",
    "STORED",
    "PERSISTENT",
    "SRID",
    "CHARACTER",
    "CHARSET",
    "FIRST",
    "AFTER",
    "COMPRESSED",
    "ENFORCED",
];

/// Reads a name and its definition.
pub(super) fn named(reader: &mut Reader<'_, '_>, session: &Session<'_>) -> Result<Read, Unclear> {
    let name = reader.name()?;
    definition(reader, session, name)
}

/// Reads a definition.
pub(super) fn definition(reader: &mut Reader<'_, '_>, session: &Session<'_>, name: String) -> Result<Read, Unclear> {
    let mut collated = Collated::default();
    let serial = reader.is("SERIAL");
    let (mut column_type, own) = column_type(reader, session, &mut collated)?;
    let mut read = Read {
        column: Column { name, column_type: ColumnType::Json, nullable: !serial, invisible: false },
        keys: Vec::new(),
        place: None,
        by_default: None,
    };
    if serial {
        read.keys.push(of_column(KeyKind::Unique, &read.column.name));
    }
    if matches!(column_type, ColumnType::Timestamp { .. }) && session.timestamps_are_not_null() {
        read.column.nullable = false;
    }
    while !reader.is_item_end() {
        attribute(reader, &mut read, &mut collated)?;
    }
    if own.is_none() {
        (column_type, read.by_default) = resolved(column_type, &collated, session)?;
    }
    read.column.column_type = column_type;
    Ok(read)
}

fn of_column(kind: KeyKind, name: &str) -> Key {
    // A key without a name of its own bears that of its first column.
    let named = (kind == KeyKind::Unique).then(|| name.to_owned());
    Key { name: named, kind, parts: vec![Part { column: Some(name.to_owned()), prefix: None }] }
}

/// The type with its collation, or how that follows from the table's.
fn resolved(
    column_type: ColumnType,
    collated: &Collated,
    session: &Session<'_>,
) -> Result<(ColumnType, Option<ByDefault>), Unclear> {
    if super::table::collation_of(&column_type).is_none() {
        return Ok((column_type, None));
    }
    let known = |found: Option<u16>, name: &str| found.ok_or_else(|| Unclear(format!("the server has no {name}")));
    let collation = match (&collated.collation, &collated.charset) {
        (Some(name), _) => known(session.charsets.collation(name), name)?,
        (None, Some(name)) => {
            let default = known(session.default_of(name), name)?;
            if collated.binary { known(session.charsets.binary_of(default), name)? } else { default }
        }
        (None, None) => {
            let by_default = if collated.binary { ByDefault::Binary } else { ByDefault::Same };
            return Ok((column_type, Some(by_default)));
        }
    };
    Ok((with_collation(column_type, collation), None))
}

/// A type has its collation by itself.
type Own = Option<()>;

fn column_type(
    reader: &mut Reader<'_, '_>,
    session: &Session<'_>,
    collated: &mut Collated,
) -> Result<(ColumnType, Own), Unclear> {
    use ColumnType as T;
    if let Some(number) = number_type(reader, session)? {
        return Ok((number, Some(())));
    }
    if let Some(text) = text_type(reader, collated)? {
        charset(reader, collated)?;
        return text_of(text, collated, session).map(|t| (t, None));
    }
    let fsp = |numbers: Option<(u32, Option<u32>)>| u8::try_from(numbers.map_or(0, |n| n.0)).unwrap_or(0);
    let binary = |bytes| Ok((T::Binary { bytes }, Some(())));
    let plain = match () {
        () if reader.take(&["DATE"]) => T::Date,
        () if reader.take(&["TIME"]) => T::Time { fsp: fsp(reader.numbers()?) },
        () if reader.take(&["DATETIME"]) => T::DateTime { fsp: fsp(reader.numbers()?) },
        () if reader.take(&["TIMESTAMP"]) => T::Timestamp { fsp: fsp(reader.numbers()?) },
        () if reader.take(&["YEAR"]) => reader.numbers().map(|_| T::Year)?,
        () if reader.take_any(&["BINARY"]) => T::Binary { bytes: reader.numbers()?.map_or(1, |n| n.0) },
        () if reader.take_any(&["VARBINARY"]) => match reader.numbers()? {
            Some((bytes, _)) => T::VarBinary { bytes },
            None => return unclear("a VARBINARY has no length"),
        },
        () if reader.take(&["TINYBLOB"]) => T::Blob { prefix: 1 },
        () if reader.take(&["BLOB"]) => T::Blob { prefix: prefix_for(reader.numbers()?.map(|n| u64::from(n.0))) },
        () if reader.take(&["MEDIUMBLOB"]) || reader.take(&["LONG", "VARBINARY"]) => T::Blob { prefix: 3 },
        () if reader.take(&["LONGBLOB"]) => T::Blob { prefix: 4 },
        () if session.mariadb && reader.take(&["JSON"]) => {
            // An alias.
            let collation = session.charsets.collation("utf8mb4_bin").unwrap_or(UNKNOWN);
            T::Text { prefix: 4, collation }
        }
        () if reader.take(&["JSON"]) => T::Json,
        () if reader.take(&["VECTOR"]) => T::Vector { dimensions: reader.numbers()?.map_or(2_048, |n| n.0) },
        () if session.mariadb && reader.take_any(&["UUID", "INET6"]) => return binary(16),
        () if session.mariadb && reader.take(&["INET4"]) => return binary(4),
        () => match geometry(reader) {
            Some(kind) => T::Geometry { kind },
            None => return unclear(format!("a column's type is not known: {:?}", reader.here())),
        },
    };
    Ok((plain, Some(())))
}

fn geometry(reader: &mut Reader<'_, '_>) -> Option<u8> {
    const KINDS: [(&str, u8); 9] = [
        ("GEOMETRY", 0),
        ("POINT", 1),
        ("LINESTRING", 2),
        ("POLYGON", 3),
        ("MULTIPOINT", 4),
        ("MULTILINESTRING", 5),
        ("MULTIPOLYGON", 6),
        ("GEOMCOLLECTION", 7),
        ("GEOMETRYCOLLECTION", 7),
    ];
    KINDS.iter().find(|(word, _)| reader.take(&[word])).map(|(_, kind)| *kind)
}

/// The words of a type of integers, and the type.
type Integer = (&'static [&'static str], fn(bool) -> ColumnType);

fn number_type(reader: &mut Reader<'_, '_>, session: &Session<'_>) -> Result<Option<ColumnType>, Unclear> {
    use ColumnType as T;
    if reader.take_any(&["BOOL", "BOOLEAN"]) {
        return Ok(Some(T::TinyInt { unsigned: false }));
    }
    if reader.take(&["SERIAL"]) {
        return Ok(Some(T::BigInt { unsigned: true }));
    }
    if reader.take(&["BIT"]) {
        let length = reader.numbers()?.map_or(1, |n| n.0);
        return Ok(Some(T::Bit { length: u8::try_from(length).unwrap_or(0) }));
    }
    const INTEGERS: [Integer; 5] = [
        (&["TINYINT", "INT1"], |unsigned| T::TinyInt { unsigned }),
        (&["SMALLINT", "INT2"], |unsigned| T::SmallInt { unsigned }),
        (&["MEDIUMINT", "INT3", "MIDDLEINT"], |unsigned| T::MediumInt { unsigned }),
        (&["INT", "INTEGER", "INT4"], |unsigned| T::Int { unsigned }),
        (&["BIGINT", "INT8"], |unsigned| T::BigInt { unsigned }),
    ];
    for (words, of) in INTEGERS {
        if reader.take_any(words) {
            reader.numbers()?;
            let unsigned = sign(reader);
            return Ok(Some(of(unsigned)));
        }
    }
    let double = reader.is_any(&["DOUBLE", "FLOAT8"]) || (reader.is("REAL") && !session.real_as_float());
    if reader.take_any(&["FLOAT", "FLOAT4", "FLOAT8", "DOUBLE", "REAL"]) {
        reader.take(&["PRECISION"]);
        let wide = matches!(reader.numbers()?, Some((25.., None)));
        sign(reader);
        return Ok(Some(if double || wide { T::Double } else { T::Float }));
    }
    if reader.take_any(&["DECIMAL", "DEC", "NUMERIC", "FIXED"]) {
        let (precision, scale) = reader.numbers()?.map_or((10, 0), |(p, s)| (p, s.unwrap_or(0)));
        sign(reader);
        let small = |n| u8::try_from(n).unwrap_or(u8::MAX);
        // DECIMAL(0) is DECIMAL.
        let precision = if precision == 0 { 10 } else { precision };
        return Ok(Some(T::Decimal { precision: small(precision), scale: small(scale) }));
    }
    Ok(None)
}

/// Passes UNSIGNED, SIGNED and ZEROFILL.
fn sign(reader: &mut Reader<'_, '_>) -> bool {
    let mut unsigned = false;
    while reader.is_any(&["UNSIGNED", "SIGNED", "ZEROFILL"]) {
        unsigned |= reader.is_any(&["UNSIGNED", "ZEROFILL"]);
        reader.at += 1;
    }
    unsigned
}

/// A type of characters; of TEXT with the length asked for, in characters.
enum Text {
    Is(ColumnType),
    Of(u32),
}

fn text_type(reader: &mut Reader<'_, '_>, collated: &mut Collated) -> Result<Option<Text>, Unclear> {
    use ColumnType as T;
    let collation = UNKNOWN;
    let national = reader.is_any(&["NATIONAL", "NCHAR", "NVARCHAR"]);
    if national {
        collated.charset = Some("utf8mb3".to_owned());
        reader.take(&["NATIONAL"]);
    }
    let long = reader.is("LONG") && !reader.statement.is(reader.at + 1, "VARBINARY");
    let varying = reader.is_any(&["VARCHAR", "VARCHARACTER", "NVARCHAR"]);
    if reader.take_any(&["CHAR", "CHARACTER", "NCHAR", "VARCHAR", "VARCHARACTER", "NVARCHAR"]) {
        let varying = varying | reader.take_any(&["VARYING", "VARCHAR", "VARCHARACTER"]);
        let length = reader.numbers()?.map(|n| n.0);
        reader.take(&["COMPRESSED"]);
        return match (varying, length) {
            (false, length) => Ok(Some(Text::Is(T::Char { bytes: length.unwrap_or(1), collation }))),
            (true, Some(bytes)) => Ok(Some(Text::Is(T::VarChar { bytes, collation }))),
            (true, None) => unclear("a VARCHAR has no length"),
        };
    }
    let text = |prefix| Some(Text::Is(T::Text { prefix, collation }));
    Ok(match () {
        () if reader.take(&["TINYTEXT"]) => text(1),
        () if reader.take(&["TEXT"]) => match reader.numbers()? {
            Some((length, _)) => Some(Text::Of(length)),
            None => text(2),
        },
        () if long && reader.take(&["LONG"]) => {
            reader.take_any(&["VARCHAR", "VARCHARACTER"]);
            text(3)
        }
        () if reader.take(&["MEDIUMTEXT"]) => text(3),
        () if reader.take(&["LONGTEXT"]) => text(4),
        () if reader.take(&["ENUM"]) => Some(Text::Is(T::Enum { labels: labels(reader)?, collation })),
        () if reader.take(&["SET"]) => Some(Text::Is(T::Set { labels: labels(reader)?, collation })),
        () => None,
    })
}

/// Labels; the spaces at their ends do not count.
fn labels(reader: &mut Reader<'_, '_>) -> Result<Vec<String>, Unclear> {
    if !reader.take_sign(b'(') {
        return unclear("an ENUM or SET has no labels");
    }
    let mut labels = Vec::new();
    loop {
        let bytes = reader.text()?;
        let Some(label) = reader.statement.lexis.charset.decode(&bytes) else {
            return unclear("a label is of a character set that is not read here");
        };
        labels.push(label.trim_end_matches(' ').to_owned());
        if reader.take_sign(b')') {
            return Ok(labels);
        }
        if !reader.take_sign(b',') {
            return unclear(format!("the labels of an ENUM or SET are not understood at {:?}", reader.here()));
        }
    }
}

/// TEXT(n) is the smallest type that takes n characters.
fn text_of(text: Text, collated: &Collated, session: &Session<'_>) -> Result<ColumnType, Unclear> {
    let length = match text {
        Text::Is(column_type) => return Ok(column_type),
        Text::Of(length) => length,
    };
    let named = collated.collation.as_deref().and_then(|c| session.charsets.collation(c));
    let collation = named.or_else(|| session.default_of(collated.charset.as_deref()?));
    let Some(width) = collation.and_then(|c| session.charsets.width(c)) else {
        return unclear("a TEXT has a length, and its character set is not in the column's definition");
    };
    Ok(ColumnType::Text { prefix: prefix_for(Some(u64::from(length) * u64::from(width))), collation: UNKNOWN })
}

/// Bytes of the length prefix of a BLOB for so many bytes.
fn prefix_for(bytes: Option<u64>) -> u8 {
    match bytes {
        None | Some(0) => 2,
        Some(1..=0xff) => 1,
        Some(0x100..=0xffff) => 2,
        Some(0x1_0000..=0xff_ffff) => 3,
        Some(_) => 4,
    }
}

/// What may stand behind a type of characters.
fn charset(reader: &mut Reader<'_, '_>, collated: &mut Collated) -> Result<(), Unclear> {
    loop {
        match () {
            () if reader.take(&["CHARACTER", "SET"]) || reader.take(&["CHAR", "SET"]) || reader.take(&["CHARSET"]) => {
                collated.charset = Some(reader.word()?);
            }
            () if reader.take(&["ASCII"]) => collated.charset = Some("latin1".to_owned()),
            () if reader.take(&["UNICODE"]) => collated.charset = Some("ucs2".to_owned()),
            () if reader.take(&["BYTE"]) => collated.charset = Some("binary".to_owned()),
            () if reader.take(&["BINARY"]) => collated.binary = true,
            () if reader.take(&["COLLATE"]) => collated.collation = Some(reader.word()?),
            () if reader.take(&["COMPRESSED"]) => {
                if reader.take_sign(b'=') {
                    reader.at += 1;
                }
            }
            () => return Ok(()),
        }
    }
}

fn attribute(reader: &mut Reader<'_, '_>, read: &mut Read, collated: &mut Collated) -> Result<(), Unclear> {
    match () {
        () if reader.take(&["NOT", "NULL"]) => read.column.nullable = false,
        () if reader.take(&["NULL"]) => read.column.nullable = true,
        () if reader.take(&["AUTO_INCREMENT"]) => read.column.nullable = false,
        () if reader.take(&["UNIQUE"]) => {
            reader.take(&["KEY"]);
            read.keys.push(of_column(KeyKind::Unique, &read.column.name));
        }
        () if reader.take(&["PRIMARY", "KEY"]) || reader.take(&["PRIMARY"]) || reader.take(&["KEY"]) => {
            read.keys.push(of_column(KeyKind::Primary, &read.column.name));
        }
        // Of SERIAL DEFAULT VALUE too: an integer that counts up.
        () if reader.are(&["SERIAL", "DEFAULT", "VALUE"]) => {
            reader.at += 3;
            read.column.nullable = false;
            read.keys.push(of_column(KeyKind::Unique, &read.column.name));
        }
        () if reader.take(&["DEFAULT"]) || reader.take(&["ON", "UPDATE"]) => value(reader),
        () if reader.take(&["GENERATED", "ALWAYS", "AS", "ROW"]) => {
            return unclear("a table keeps old versions of its rows");
        }
        () if reader.take(&["GENERATED", "ALWAYS", "AS"]) || reader.take(&["AS"]) => {
            if !reader.skip_brackets() {
                return unclear(format!("an expression is missing before {:?}", reader.here()));
            }
        }
        () if reader.take_any(&["VIRTUAL", "STORED", "PERSISTENT", "VISIBLE"]) => {}
        () if reader.take(&["INVISIBLE"]) => read.column.invisible = true,
        () if reader.take(&["COLLATE"]) => collated.collation = Some(reader.word()?),
        () if reader.take_any(&[
            "COMMENT",
            "COLUMN_FORMAT",
            "STORAGE",
            "SRID",
            "ENGINE_ATTRIBUTE",
            "SECONDARY_ENGINE_ATTRIBUTE",
            "REF_SYSTEM_ID",
        ]) =>
        {
            reader.take_sign(b'=');
            reader.at += 1;
        }
        () if reader.take(&["CONSTRAINT"]) => {
            if !reader.is("CHECK") {
                reader.name()?;
            }
        }
        () if reader.take(&["CHECK"]) => {
            reader.skip_brackets();
        }
        () if reader.take(&["NOT", "ENFORCED"]) || reader.take(&["ENFORCED"]) => {}
        () if reader.take(&["REFERENCES"]) => references(reader),
        () if reader.take(&["COMPRESSED"]) => {
            if reader.take_sign(b'=') {
                reader.at += 1;
            }
        }
        () if reader.take(&["WITH", "SYSTEM", "VERSIONING"]) || reader.take(&["WITHOUT", "SYSTEM", "VERSIONING"]) => {}
        () if reader.take(&["FIRST"]) => read.place = Some(Place::First),
        () if reader.take(&["AFTER"]) => read.place = Some(Place::After(reader.name()?)),
        () => return unclear(format!("a column's attribute is not known: {:?}", reader.here())),
    }
    Ok(())
}

/// Passes a default value.
fn value(reader: &mut Reader<'_, '_>) {
    let start = reader.at;
    while !reader.is_item_end() && (reader.at == start || !reader.is_any(&ATTRIBUTES)) {
        if !reader.skip_brackets() {
            reader.at += 1;
        }
    }
}

/// Passes what a foreign key says.
fn references(reader: &mut Reader<'_, '_>) {
    const RULES: [&str; 13] = [
        "MATCH", "FULL", "PARTIAL", "SIMPLE", "ON", "DELETE", "UPDATE", "RESTRICT", "CASCADE", "SET", "NULL", "NO",
        "ACTION",
    ];
    reader.at += 1;
    while reader.take_sign(b'.') {
        reader.at += 1;
    }
    reader.skip_brackets();
    loop {
        match () {
            () if reader.take(&["ON", "DELETE", "SET", "DEFAULT"])
                || reader.take(&["ON", "UPDATE", "SET", "DEFAULT"]) => {}
            // `ON UPDATE` of the column itself does not follow here.
            () if reader.are(&["ON", "DELETE"]) || reader.are(&["ON", "UPDATE"]) || reader.is("MATCH") => {
                reader.at += 2;
            }
            () if reader.is_any(&RULES) && !reader.is_any(&["ON", "NULL"]) => reader.at += 1,
            () if reader.is("NULL") && reader.at > 0 && reader.statement.is(reader.at - 1, "SET") => reader.at += 1,
            () => return,
        }
    }
}

/// A column's collation, once the table's default one is known.
pub(super) fn settle(read: &mut Read, default: Option<u16>, session: &Session<'_>) {
    let Some(by_default) = read.by_default.take() else { return };
    let collation = match by_default {
        ByDefault::Same => default,
        ByDefault::Binary => default.and_then(|c| session.charsets.binary_of(c)),
    };
    let column_type = read.column.column_type.clone();
    read.column.column_type = match collation {
        // A table of bytes has strings of bytes; its ENUM too.
        Some(collation) => with_collation(column_type, collation),
        None => column_type,
    };
}

/// Whether the table's default decides over it, that is not known, and table maps do not tell it either.
pub(super) fn must_know(column: &Column) -> bool {
    matches!(
        column.column_type,
        ColumnType::Enum { collation: UNKNOWN, .. } | ColumnType::Set { collation: UNKNOWN, .. }
    )
}

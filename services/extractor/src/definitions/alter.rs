//! ALTER TABLE, CREATE INDEX and DROP INDEX: what becomes of a table that is known. Here the statement is read; `wanted` is what it
//! asks for, and what that makes of the table.

mod wanted;

use lutra_change::Statement;

use self::wanted::{Placed, Wanted};
use super::column;
use super::create::{is_key, key, option, parts};
use super::reader::{Reader, Session, Unclear, unclear};
use super::table::{Definition, Key, KeyKind, same};

/// What `ALTER TABLE name …` makes of the table; `after` is the token behind the name.
///
/// # Errors
/// [`Unclear`] for what is not understood.
pub fn alter(
    statement: &Statement<'_>,
    after: usize,
    table: &Definition,
    session: &Session<'_>,
) -> Result<Definition, Unclear> {
    let mut reader = Reader { statement, at: after };
    let mut wanted = Wanted::default();
    // MariaDB: WAIT n, NOWAIT.
    if reader.take(&["WAIT"]) {
        reader.at += 1;
    }
    reader.take(&["NOWAIT"]);
    while !reader.is_end() {
        if reader.are(&["PARTITION", "BY"]) {
            break;
        }
        item(&mut reader, table, session, &mut wanted)?;
        // What follows may stand without a comma: PARTITION BY.
        if !reader.take_sign(b',') && !reader.is_end() && !reader.are(&["PARTITION", "BY"]) {
            return unclear(format!("an ALTER TABLE is not understood at {:?}", reader.here()));
        }
    }
    wanted.done_to(table, session)
}

/// What `CREATE INDEX … ON name (…)` makes of the table; `after` is the token behind its name.
///
/// # Errors
/// [`Unclear`] for what is not understood.
pub fn create_index(statement: &Statement<'_>, after: usize, table: &Definition) -> Result<Definition, Unclear> {
    let mut reader = Reader { statement, at: 1 };
    reader.take(&["OR", "REPLACE"]);
    reader.take_any(&["ONLINE", "OFFLINE"]);
    let kind = if reader.take(&["UNIQUE"]) { KeyKind::Unique } else { KeyKind::Plain };
    reader.take_any(&["FULLTEXT", "SPATIAL", "VECTOR"]);
    if !reader.take(&["INDEX"]) || reader.are(&["IF", "NOT"]) {
        return unclear("an index is made if it is not there");
    }
    let name = Some(reader.name()?);
    reader.at = after;
    let parts = parts(&mut reader)?;
    let mut table = table.clone();
    table.keys.retain(|key| !has_name(key, name.as_deref().unwrap_or_default()));
    table.keys.push(Key { name, kind, parts });
    Ok(table)
}

/// What `DROP INDEX name ON table` makes of the table.
///
/// # Errors
/// [`Unclear`] for what is not understood.
pub fn drop_index(statement: &Statement<'_>, table: &Definition) -> Result<Definition, Unclear> {
    let mut reader = Reader { statement, at: 1 };
    reader.take_any(&["ONLINE", "OFFLINE"]);
    if !reader.take(&["INDEX"]) {
        return unclear("a DROP INDEX is not understood");
    }
    reader.take(&["IF", "EXISTS"]);
    let name = reader.name()?;
    let mut table = table.clone();
    let primary = same(&name, "PRIMARY");
    table.keys.retain(|key| if primary { key.kind != KeyKind::Primary } else { !has_name(key, &name) });
    Ok(table)
}

fn has_name(key: &Key, name: &str) -> bool {
    key.name.as_deref().is_some_and(|own| same(own, name))
}

/// One of the things that a statement asks for.
fn item(
    reader: &mut Reader<'_, '_>,
    table: &Definition,
    session: &Session<'_>,
    wanted: &mut Wanted,
) -> Result<(), Unclear> {
    match () {
        () if reader.take(&["ADD"]) => add(reader, table, session, wanted),
        () if reader.take(&["DROP"]) => drop(reader, table, wanted),
        () if reader.take(&["MODIFY"]) || reader.take(&["CHANGE"]) => {
            let renames = reader.statement.is(reader.at - 1, "CHANGE");
            change(reader, table, session, wanted, renames)
        }
        () if reader.take(&["ALTER"]) => alter_column(reader, wanted),
        () if reader.take(&["RENAME"]) => rename(reader, wanted),
        () if reader.take(&["CONVERT", "TO"]) => convert(reader, session, wanted),
        () => options(reader, session, wanted),
    }
}

fn add(
    reader: &mut Reader<'_, '_>,
    table: &Definition,
    session: &Session<'_>,
    wanted: &mut Wanted,
) -> Result<(), Unclear> {
    if reader.is("PARTITION") {
        reader.skip_all();
        return Ok(());
    }
    if reader.are(&["SYSTEM", "VERSIONING"]) {
        return unclear("a table begins to keep old versions of its rows");
    }
    if is_key(reader) {
        wanted.added_keys.extend(key(reader)?);
        return Ok(());
    }
    reader.take(&["COLUMN"]);
    let if_missing = reader.take(&["IF", "NOT", "EXISTS"]);
    if !reader.take_sign(b'(') {
        let read = column::named(reader, session)?;
        wanted.add(read, if_missing, table);
        return Ok(());
    }
    loop {
        if is_key(reader) {
            wanted.added_keys.extend(key(reader)?);
        } else {
            let read = column::named(reader, session)?;
            wanted.add(read, if_missing, table);
        }
        if reader.take_sign(b')') {
            return Ok(());
        }
        if !reader.take_sign(b',') {
            return unclear(format!("the columns are not understood at {:?}", reader.here()));
        }
    }
}

fn drop(reader: &mut Reader<'_, '_>, table: &Definition, wanted: &mut Wanted) -> Result<(), Unclear> {
    match () {
        () if reader.take(&["PRIMARY", "KEY"]) => wanted.drop_primary = true,
        () if reader.take(&["INDEX"]) || reader.take(&["KEY"]) => {
            reader.take(&["IF", "EXISTS"]);
            wanted.drop_key(reader.name()?);
        }
        // A key, or something else.
        () if reader.take(&["CONSTRAINT"]) => {
            reader.take(&["IF", "EXISTS"]);
            wanted.drop_key(reader.name()?);
        }
        () if reader.is("PARTITION") => reader.skip_all(),
        () if reader.are(&["FOREIGN", "KEY"]) || reader.is_any(&["CHECK", "PERIOD"]) => {
            reader.skip_item();
        }
        () if reader.are(&["SYSTEM", "VERSIONING"]) => return unclear("a table ends to keep old versions of its rows"),
        () => {
            reader.take(&["COLUMN"]);
            let if_there = reader.take(&["IF", "EXISTS"]);
            let name = reader.name()?;
            reader.take_any(&["RESTRICT", "CASCADE"]);
            if table.position(&name).is_some() {
                wanted.dropped.push(name);
            } else if !if_there {
                return unclear(format!("it drops a column {name} that is not known"));
            }
        }
    }
    Ok(())
}

fn change(
    reader: &mut Reader<'_, '_>,
    table: &Definition,
    session: &Session<'_>,
    wanted: &mut Wanted,
    renames: bool,
) -> Result<(), Unclear> {
    reader.take(&["COLUMN"]);
    let if_there = reader.take(&["IF", "EXISTS"]);
    let old = reader.name()?;
    let new = if renames { reader.name()? } else { old.clone() };
    let mut read = column::definition(reader, session, new)?;
    let Some(column) = table.position(&old).and_then(|at| table.columns.get(at)) else {
        return if if_there { Ok(()) } else { unclear(format!("it changes a column {old} that is not known")) };
    };
    if !renames {
        // As it was spelt.
        read.column.name.clone_from(&column.name);
    }
    wanted.added_keys.append(&mut read.keys);
    wanted.placed.push(Placed::Changed(wanted.changed.len()));
    wanted.changed.push((old, read));
    Ok(())
}

fn alter_column(reader: &mut Reader<'_, '_>, wanted: &mut Wanted) -> Result<(), Unclear> {
    if reader.is_any(&["INDEX", "KEY", "CHECK", "CONSTRAINT"]) {
        reader.skip_item();
        return Ok(());
    }
    reader.take(&["COLUMN"]);
    reader.take(&["IF", "EXISTS"]);
    let name = reader.name()?;
    match () {
        () if reader.take(&["SET", "VISIBLE"]) => wanted.visibility.push((name, false)),
        () if reader.take(&["SET", "INVISIBLE"]) => wanted.visibility.push((name, true)),
        () if reader.are(&["SET", "DEFAULT"]) || reader.are(&["DROP", "DEFAULT"]) => {}
        () => return unclear(format!("an ALTER COLUMN is not understood at {:?}", reader.here())),
    }
    reader.skip_item();
    Ok(())
}

fn rename(reader: &mut Reader<'_, '_>, wanted: &mut Wanted) -> Result<(), Unclear> {
    let column = reader.take(&["COLUMN"]);
    if !column && !reader.take_any(&["INDEX", "KEY"]) {
        // The table itself: told by who keeps the names.
        reader.skip_item();
        return Ok(());
    }
    if reader.take(&["IF", "EXISTS"]) {
        return unclear("something is renamed if it is there");
    }
    let old = reader.name()?;
    if !reader.take(&["TO"]) {
        return unclear(format!("a new name is missing before {:?}", reader.here()));
    }
    let new = reader.name()?;
    if column {
        wanted.renamed.push((old, new));
    } else {
        wanted.renamed_keys.push((old, new));
    }
    Ok(())
}

fn convert(reader: &mut Reader<'_, '_>, session: &Session<'_>, wanted: &mut Wanted) -> Result<(), Unclear> {
    let mut named = None;
    while !reader.is_item_end() {
        match option(reader, session, named)? {
            Some(collation) => named = Some(collation),
            None => return unclear(format!("a CONVERT TO is not understood at {:?}", reader.here())),
        }
    }
    wanted.convert = named;
    wanted.collation = named;
    Ok(())
}

/// Words that begin what changes neither columns nor keys.
const WITHOUT_EFFECT: [&str; 45] = [
    "ALGORITHM",
    "LOCK",
    "FORCE",
    "ENGINE",
    "TYPE",
    "AUTO_INCREMENT",
    "COMMENT",
    "ROW_FORMAT",
    "KEY_BLOCK_SIZE",
    "MAX_ROWS",
    "MIN_ROWS",
    "AVG_ROW_LENGTH",
    "CHECKSUM",
    "TABLE_CHECKSUM",
    "DELAY_KEY_WRITE",
    "CONNECTION",
    "PASSWORD",
    "COMPRESSION",
    "ENCRYPTION",
    "ENCRYPTED",
    "ENCRYPTION_KEY_ID",
    "DATA",
    "INDEX",
    "INSERT_METHOD",
    "PACK_KEYS",
    "STATS_AUTO_RECALC",
    "STATS_PERSISTENT",
    "STATS_SAMPLE_PAGES",
    "TABLESPACE",
    "STORAGE",
    "UNION",
    "AUTOEXTEND_SIZE",
    "ENGINE_ATTRIBUTE",
    "SECONDARY_ENGINE_ATTRIBUTE",
    "SECONDARY_ENGINE",
    "SECONDARY_LOAD",
    "SECONDARY_UNLOAD",
    "ENABLE",
    "DISABLE",
    "WITHOUT",
    "WITH",
    "TRANSACTIONAL",
    "PAGE_CHECKSUM",
    "PAGE_COMPRESSED",
    "PAGE_COMPRESSION_LEVEL",
];

/// Words that begin work on partitions or files; nothing else follows.
const PARTITIONS: [&str; 14] = [
    "TRUNCATE",
    "REMOVE",
    "UPGRADE",
    "ORDER",
    "DISCARD",
    "IMPORT",
    "COALESCE",
    "REORGANIZE",
    "EXCHANGE",
    "ANALYZE",
    "CHECK",
    "OPTIMIZE",
    "REBUILD",
    "REPAIR",
];

/// Options of the table, and work on its partitions.
fn options(reader: &mut Reader<'_, '_>, session: &Session<'_>, wanted: &mut Wanted) -> Result<(), Unclear> {
    if reader.is_any(&PARTITIONS) {
        reader.skip_all();
        return Ok(());
    }
    if !reader.is_any(&WITHOUT_EFFECT) && !reader.is_any(&["DEFAULT", "CHARACTER", "CHAR", "CHARSET", "COLLATE"]) {
        return unclear(format!("an ALTER TABLE is not understood at {:?}", reader.here()));
    }
    if reader.are(&["WITH", "SYSTEM"]) {
        return unclear("a table begins to keep old versions of its rows");
    }
    let mut named = None;
    while !reader.is_item_end() && !reader.are(&["PARTITION", "BY"]) {
        match option(reader, session, named)? {
            Some(collation) => named = Some(collation),
            None if reader.skip_brackets() => {}
            None => reader.at += 1,
        }
    }
    wanted.collation = named.or(wanted.collation);
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use lutra_change::sql_lexer::Lexis;
    use lutra_change::{ColumnType, SessionContext, TableName};

    use super::super::charsets::of_tests;
    use super::super::create::create;
    use super::*;

    const TABLE: &str = "CREATE TABLE t (id INT NOT NULL, a VARCHAR(10), b TEXT, e ENUM('x'), PRIMARY KEY (id), KEY k (a, b(5))) CHARSET latin1";

    fn altered(table: &str, text: &str) -> Result<Definition, Unclear> {
        let (charsets, context) = (of_tests(), SessionContext::default());
        let session = Session { charsets: &charsets, context: &context, mariadb: false, default: None };
        let made = Statement::new(table.as_bytes(), Lexis::default()).unwrap();
        let table = create(&made, made.definition().unwrap().body, &session).unwrap();
        let statement = Statement::new(text.as_bytes(), Lexis::default()).unwrap();
        let words = statement.definition().unwrap();
        match words.verb {
            lutra_change::sql_statement::Verb::Create => create_index(&statement, words.body, &table),
            lutra_change::sql_statement::Verb::Drop => drop_index(&statement, &table),
            _ => alter(&statement, words.body, &table, &session),
        }
    }

    /// The columns in order, NULL and invisibility marked.
    fn columns(text: &str) -> String {
        let table = altered(TABLE, text).unwrap_or_else(|e| panic!("{text}: {e}"));
        let mark = |c: &lutra_change::Column| {
            format!("{}{}{}", c.name, if c.nullable { "" } else { "!" }, if c.invisible { "-" } else { "" })
        };
        table.columns.iter().map(mark).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn columns_come_go_and_move_as_at_the_server() {
        for (text, expected) in [
            ("ALTER TABLE t ADD c INT", "id! a b e c"),
            ("ALTER TABLE t ADD COLUMN c INT NOT NULL FIRST, ADD d INT AFTER a", "c! id! a d b e"),
            ("ALTER TABLE t ADD (c INT, d INT, KEY (c))", "id! a b e c d"),
            ("ALTER TABLE t DROP a, DROP COLUMN b", "id! e"),
            ("ALTER TABLE t MODIFY a VARCHAR(20) NOT NULL", "id! a! b e"),
            ("ALTER TABLE t MODIFY a VARCHAR(20) AFTER b", "id! b a e"),
            ("ALTER TABLE t CHANGE a z INT FIRST", "z id! b e"),
            ("ALTER TABLE t CHANGE a b2 INT, CHANGE b a INT", "id! b2 a e"),
            ("ALTER TABLE t RENAME COLUMN a TO b, RENAME COLUMN b TO a", "id! b a e"),
            ("ALTER TABLE t ALTER a SET INVISIBLE, ALTER COLUMN b SET DEFAULT ('x')", "id! a- b e"),
            ("ALTER TABLE t ADD g INT AS (id + 1) STORED AFTER id, ALGORITHM = INPLACE, LOCK NONE", "id! g a b e"),
            ("ALTER TABLE t DROP a, ADD a INT", "id! b e a"),
            ("ALTER TABLE t MODIFY id BIGINT", "id! a b e"),
            ("ALTER TABLE t DROP PRIMARY KEY, MODIFY id INT NULL, ADD PRIMARY KEY (a, b(3))", "id a! b! e"),
            ("ALTER TABLE t ENGINE = InnoDB COMMENT 'x' ROW_FORMAT=DYNAMIC", "id! a b e"),
            ("ALTER TABLE t PARTITION BY HASH (id) PARTITIONS 4", "id! a b e"),
            ("ALTER TABLE t ADD c INT PARTITION BY KEY (id)", "id! a b e c"),
            ("ALTER TABLE t DROP PARTITION p1, p2", "id! a b e"),
            ("ALTER TABLE t EXCHANGE PARTITION p WITH TABLE u WITHOUT VALIDATION", "id! a b e"),
            (
                "ALTER TABLE t ADD CONSTRAINT c CHECK (id > 0), ADD FOREIGN KEY (id) REFERENCES u (id) ON DELETE CASCADE",
                "id! a b e",
            ),
            ("ALTER TABLE t ORDER BY a, b", "id! a b e"),
            ("ALTER TABLE t RENAME INDEX k TO l, RENAME TO u", "id! a b e"),
            ("CREATE UNIQUE INDEX u ON t (a)", "id! a b e"),
            ("DROP INDEX k ON t", "id! a b e"),
        ] {
            assert_eq!(columns(text), expected, "{text}");
        }
    }

    #[test]
    fn keys_follow_their_columns() {
        let key = |text: &str| {
            let table = altered(TABLE, text).unwrap();
            let (schema, hidden) = table.schema(&TableName::new("d", "t"), &of_tests());
            (schema.primary_key.iter().map(|p| p.column).collect::<Vec<_>>(), hidden)
        };
        assert_eq!(key("ALTER TABLE t RENAME COLUMN id TO nr, ADD x INT FIRST").0, [1]);
        assert!(key("ALTER TABLE t DROP PRIMARY KEY").0.is_empty());
        assert_eq!(key("ALTER TABLE t DROP PRIMARY KEY, ADD UNIQUE (e, id), MODIFY e ENUM('x') NOT NULL").0, [3, 0]);
        assert!(key("ALTER TABLE t DROP COLUMN id").0.is_empty());
        assert_eq!(key("ALTER TABLE t ADD KEY f ((a + 1), id, (b))").1, ["!hidden!f!0!0", "!hidden!f!2!0"]);
        assert_eq!(key("CREATE INDEX g ON t ((id * 2))").1, ["!hidden!g!0!0"]);
    }

    #[test]
    fn character_sets_are_converted_and_defaults_followed() {
        let types = |text: &str| {
            let table = altered(TABLE, text).unwrap();
            let (schema, _) = table.schema(&TableName::new("d", "t"), &of_tests());
            schema.columns.into_iter().map(|c| c.column_type).collect::<Vec<_>>()
        };
        let converted = types("ALTER TABLE t CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_bin");
        assert_eq!(converted[1], ColumnType::VarChar { bytes: 40, collation: 46 });
        assert_eq!(converted[2], ColumnType::Text { prefix: 3, collation: 46 });
        assert!(matches!(converted[3], ColumnType::Enum { collation: 46, .. }));
        let kept = types("ALTER TABLE t DEFAULT CHARSET utf8mb4, ADD n CHAR(2)");
        assert_eq!(kept[1], ColumnType::VarChar { bytes: 10, collation: 8 });
        assert_eq!(kept[4], ColumnType::Char { bytes: 8, collation: 255 });
        assert_eq!(types("ALTER TABLE t ADD n CHAR(2)")[4], ColumnType::Char { bytes: 2, collation: 8 });
    }

    #[test]
    fn what_is_not_understood_is_said() {
        for text in [
            "ALTER TABLE t ADD c WHATEVER",
            "ALTER TABLE t DROP nothing",
            "ALTER TABLE t MODIFY nothing INT",
            "ALTER TABLE t ADD c INT AFTER nothing",
            "ALTER TABLE t ADD a INT",
            "ALTER TABLE t FANCY NEW THING",
            "ALTER TABLE t ADD SYSTEM VERSIONING",
            "ALTER TABLE t ADD PRIMARY KEY (a)",
        ] {
            assert!(altered(TABLE, text).is_err(), "{text}");
        }
    }
}

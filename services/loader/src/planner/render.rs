//! Statements become SQL text, cut to bounded size, several in one packet.

use super::statement::Statement;
use crate::image::{Arena, Image};
use crate::mapping::{ExactForm, JoinForm, MappedKey, TableMap};
use lutra_change::ColumnType;
use lutra_mysql::{Flavour, sql};

/// Rows of one SQL statement: beyond that, parsing gains nothing and a lost lock costs more.
const STATEMENT_ROWS: usize = 1_000;
/// Bytes of one SQL statement (a single row may be larger).
const STATEMENT_BYTES: usize = 1 << 20;
/// Bytes of one packet of several statements: far below the server's default `max_allowed_packet` of 64 MiB.
const PACKET_BYTES: usize = 8 << 20;
/// From so many rows on one joined update costs the target less than single ones.
const JOIN_ROWS: usize = 2;

/// `sql_mode` of the loader's sessions: whatever the source held is taken as it is, and nothing is cut or rounded silently.
pub const SQL_MODE: &str = "STRICT_ALL_TABLES,ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO,NO_ENGINE_SUBSTITUTION";
/// The same, not strict: for the invalid member of an ENUM, and for generated columns that a strict session refuses to cut.
const LENIENT_SQL_MODE: &str = "ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO,NO_ENGINE_SUBSTITUTION";

/// One SQL statement of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Index of the [`Statement`] it belongs to.
    pub statement: usize,
    /// Rows it must match; `None` where the count says nothing.
    pub expected: Option<u64>,
    /// Where in the packet's text it ends, with what separates it from the next.
    pub end: usize,
}

/// Several SQL statements for one round trip.
#[derive(Clone, Debug, Default)]
pub struct Packet {
    /// Statements, separated by `;`.
    pub text: Vec<u8>,
    /// One entry per statement.
    pub parts: Vec<Part>,
    /// Its last statement runs in a session that is not strict: what it may warn of.
    pub lenient: Option<Leniency>,
}

/// What a row's statement may warn of in a session that is not strict; anything else would have been changed silently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leniency {
    /// Index of the [`Statement`].
    pub statement: usize,
    /// Columns in which the source holds the invalid member of an ENUM.
    pub invalid: Vec<String>,
    /// Columns without a default for which the source has no value.
    pub without_value: Vec<String>,
    /// Generated columns, whose values the target computes as the source did.
    pub computed: Vec<String>,
}

impl Leniency {
    fn of(statement: usize, map: &TableMap, columns: impl Iterator<Item = usize>, arena: &Arena, row: Image) -> Self {
        let computed = map.computed.clone();
        let mut leniency = Self { statement, invalid: Vec::new(), without_value: Vec::new(), computed };
        for (at, column) in columns.filter_map(|at| Some((at, map.columns.get(at)?))) {
            match arena.column(row, at) {
                b"0" if matches!(column.column_type, ColumnType::Enum { .. }) => {
                    leniency.invalid.push(column.name.clone());
                }
                b"" | b"DEFAULT" if column.needs_value => leniency.without_value.push(column.name.clone()),
                _ => {}
            }
        }
        leniency
    }

    /// Whether the statement may warn of that.
    pub fn allows(&self, code: u16, message: &str) -> bool {
        const TRUNCATED: u16 = 1265;
        const NO_DEFAULT: u16 = 1364;
        const OUT_OF_RANGE: u16 = 1264;
        const TOO_LONG: u16 = 1406;
        const NOT_OF_TYPE: u16 = 1366;
        const INCORRECT: u16 = 1292;
        const DIVISION_BY_ZERO: u16 = 1365;
        const DEPRECATED: u16 = 1287;
        const DEPRECATED_FOR_GOOD: u16 = 1681;
        let names = |columns: &[String]| columns.iter().any(|name| message.contains(&format!("'{name}'")));
        match code {
            TRUNCATED => names(&self.invalid) || names(&self.computed),
            OUT_OF_RANGE | TOO_LONG | NOT_OF_TYPE => names(&self.computed),
            // What names no column is about an expression.
            INCORRECT if message.contains("for column") => names(&self.computed),
            INCORRECT | DIVISION_BY_ZERO => !self.computed.is_empty(),
            NO_DEFAULT => names(&self.without_value),
            // Words that the server will not know some day change no value.
            DEPRECATED | DEPRECATED_FOR_GOOD => true,
            _ => false,
        }
    }
}

/// All packets of a batch.
#[derive(Clone, Debug, Default)]
pub struct Script {
    /// In order.
    pub packets: Vec<Packet>,
}

/// Writes the statements as text. With `compare_image` the before image stands in every condition.
pub fn render(statements: &[Statement], arena: &Arena, compare_image: bool) -> Script {
    let mut writer = Writer { script: Script { packets: vec![Packet::default()] }, compare_image, free: false };
    for (at, statement) in statements.iter().enumerate() {
        match statement {
            Statement::Session(session) => {
                writer.open().extend_from_slice(session.statement().as_bytes());
                writer.close(at, None);
            }
            Statement::Insert { map, rows, lenient } => {
                let leniency = lenient.then(|| of_inserted(at, map, rows, arena)).flatten();
                writer.leniently(at, leniency, |w| w.insert(at, map, rows, arena));
            }
            Statement::Delete { map, rows } => writer.delete(at, map, rows, arena),
            Statement::Upsert { map, rows, exact, lenient } => {
                let leniency = lenient.then(|| of_inserted(at, map, rows, arena)).flatten();
                writer.leniently(at, leniency, |w| w.freely(!exact, |w| w.upsert(at, map, rows, arena)));
            }
            Statement::Remove { map, rows } => writer.freely(true, |w| w.delete(at, map, rows, arena)),
            Statement::Patch { map, columns, rows, lenient } => {
                let leniency = lenient.then(|| of_updated(at, map, columns, rows, arena)).flatten();
                writer.leniently(at, leniency, |w| w.freely(true, |w| w.update(at, map, columns, rows, arena)));
            }
            Statement::Update { map, columns, rows, lenient } => {
                let leniency = lenient.then(|| of_updated(at, map, columns, rows, arena)).flatten();
                writer.leniently(at, leniency, |w| w.update(at, map, columns, rows, arena));
            }
        }
    }
    writer.script
}

/// A row that needs leniency has a statement of its own.
fn of_inserted(at: usize, map: &TableMap, rows: &[Image], arena: &Arena) -> Option<Leniency> {
    rows.first().map(|row| Leniency::of(at, map, 0..map.columns.len(), arena, *row))
}

fn of_updated(
    at: usize,
    map: &TableMap,
    columns: &[usize],
    rows: &[(Image, Image)],
    arena: &Arena,
) -> Option<Leniency> {
    rows.first().map(|(_, after)| Leniency::of(at, map, columns.iter().copied(), arena, *after))
}

struct Writer {
    script: Script,
    compare_image: bool,
    /// Counts say nothing: rows may match or not.
    free: bool,
}

impl Writer {
    fn open(&mut self) -> &mut Vec<u8> {
        if self.script.packets.last().is_none_or(|p| p.text.len() >= PACKET_BYTES || p.lenient.is_some()) {
            self.script.packets.push(Packet::default());
        }
        let last = self.script.packets.len() - 1;
        &mut self.script.packets[last].text
    }

    fn close(&mut self, statement: usize, expected: Option<u64>) {
        if let Some(packet) = self.script.packets.last_mut() {
            packet.text.push(b';');
            let expected = expected.filter(|_| !self.free);
            packet.parts.push(Part { statement, expected, end: packet.text.len() });
        }
    }

    /// Rows may match or not.
    fn freely(&mut self, free: bool, write: impl FnOnce(&mut Self)) {
        let before = std::mem::replace(&mut self.free, free);
        write(self);
        self.free = before;
    }

    /// The statement ends its packet, so that its warnings can be asked for.
    fn leniently(&mut self, statement: usize, leniency: Option<Leniency>, write: impl FnOnce(&mut Self)) {
        let needed = leniency.filter(|l| ![&l.invalid, &l.without_value, &l.computed].into_iter().all(Vec::is_empty));
        if needed.is_none() {
            return write(self);
        }
        self.set_mode(statement, LENIENT_SQL_MODE);
        write(self);
        if let Some(packet) = self.script.packets.last_mut() {
            packet.lenient = needed;
        }
        self.set_mode(statement, SQL_MODE);
    }

    fn set_mode(&mut self, statement: usize, mode: &str) {
        let out = self.open();
        out.extend_from_slice(b"SET SESSION sql_mode='");
        out.extend_from_slice(mode.as_bytes());
        out.push(b'\'');
        self.close(statement, None);
    }

    /// Writes rows as lists, cutting where a statement is full. A row is told its number in its list, from 0.
    fn lists<T: Copy>(
        &mut self,
        at: usize,
        rows: &[T],
        head: impl Fn(&mut Vec<u8>),
        row: impl Fn(&mut Vec<u8>, usize, T),
        tail: impl Fn(&mut Vec<u8>),
    ) {
        let mut rest = rows;
        while !rest.is_empty() {
            let out = self.open();
            let begin = out.len();
            head(out);
            let mut count = 0;
            for &one in rest.iter().take(STATEMENT_ROWS) {
                if count > 0 && out.len() - begin > STATEMENT_BYTES {
                    break;
                }
                row(out, count, one);
                count += 1;
            }
            tail(out);
            self.close(at, u64::try_from(count).ok());
            rest = rest.get(count..).unwrap_or_default();
        }
    }

    fn insert(&mut self, at: usize, map: &TableMap, rows: &[Image], arena: &Arena) {
        self.insert_with(at, map, rows, arena, |_| {});
    }

    /// Rows that may be there: each counts once when it is new or there with these very values, twice when it differs.
    fn upsert(&mut self, at: usize, map: &TableMap, rows: &[Image], arena: &Arena) {
        if map.columns.is_empty() {
            return self.insert(at, map, rows, arena);
        }
        self.insert_with(at, map, rows, arena, |out| {
            out.extend_from_slice(b" ON DUPLICATE KEY UPDATE ");
            separated(out, 0..map.columns.len(), |out, c| {
                out.extend_from_slice(quoted(map, c));
                out.extend_from_slice(b"=VALUES(");
                out.extend_from_slice(quoted(map, c));
                out.push(b')');
            });
        });
    }

    fn insert_with(&mut self, at: usize, map: &TableMap, rows: &[Image], arena: &Arena, tail: impl Fn(&mut Vec<u8>)) {
        // MariaDB takes no DEFAULT for a geometry that has none, only silence.
        if let [row] = *rows
            && (0..map.columns.len()).any(|c| arena.column(row, c).is_empty())
        {
            let said = || (0..map.columns.len()).filter(|&c| !arena.column(row, c).is_empty());
            let out = self.open();
            out.extend_from_slice(b"INSERT INTO ");
            out.extend_from_slice(map.quoted.as_bytes());
            out.extend_from_slice(b" (");
            separated(out, said(), |out, c| out.extend_from_slice(quoted(map, c)));
            out.extend_from_slice(b") VALUES (");
            separated(out, said(), |out, c| out.extend_from_slice(arena.column(row, c)));
            out.push(b')');
            tail(out);
            return self.close(at, Some(1));
        }
        self.lists(
            at,
            rows,
            |out| out.extend_from_slice(map.insert_head.as_bytes()),
            |out, n, image| {
                out.extend_from_slice(if n > 0 { b",(" } else { b"(" });
                if map.columns.iter().enumerate().any(|(c, _)| arena.column(image, c).is_empty()) {
                    separated(out, 0..map.columns.len(), |out, c| match arena.column(image, c) {
                        [] => out.extend_from_slice(b"DEFAULT"),
                        literal => out.extend_from_slice(literal),
                    });
                } else {
                    out.extend_from_slice(arena.row(image));
                }
                out.push(b')');
            },
            tail,
        );
    }

    fn delete(&mut self, at: usize, map: &TableMap, rows: &[Image], arena: &Arena) {
        match &map.key {
            Some(key) if rows.len() >= JOIN_ROWS && !self.compare_image && map.joins_by_key() => {
                let list = List::of(map, key);
                self.lists(
                    at,
                    rows,
                    |out| {
                        out.extend_from_slice(b"DELETE ");
                        out.extend_from_slice(map.quoted.as_bytes());
                        out.extend_from_slice(b" FROM ");
                        list.head(out);
                    },
                    |out, n, image| list.row(out, n, arena, key.columns.iter().map(|&c| (image, c))),
                    |out| join_tail(out, map, key, &[]),
                );
            }
            _ => {
                for &row in rows {
                    let compare_image = self.compare_image;
                    let out = self.open();
                    out.extend_from_slice(b"DELETE FROM ");
                    out.extend_from_slice(map.quoted.as_bytes());
                    condition(out, map, arena, row, compare_image);
                    self.close(at, Some(1));
                }
            }
        }
    }

    fn update(&mut self, at: usize, map: &TableMap, columns: &[usize], rows: &[(Image, Image)], arena: &Arena) {
        let literals = rows.iter().all(|(_, after)| {
            !arena.holds_document(*after) && columns.iter().all(|&c| !arena.column(*after, c).is_empty())
        });
        let joins = rows.len() >= JOIN_ROWS && !self.compare_image && map.joins_by_key() && literals;
        let plain = |key: &MappedKey| {
            let listable = |c: &usize| map.columns.get(*c).is_some_and(|c| c.listable);
            columns.iter().all(|c| !key.columns.contains(c) && listable(c))
        };
        match &map.key {
            Some(key) if joins && plain(key) => {
                let list = List::of(map, key);
                self.lists(
                    at,
                    rows,
                    |out| {
                        out.extend_from_slice(b"UPDATE ");
                        list.head(out);
                    },
                    |out, n, (before, after)| {
                        let keys = key.columns.iter().map(|&c| (before, c));
                        list.row(out, n, arena, keys.chain(columns.iter().map(|&c| (after, c))));
                    },
                    |out| join_tail(out, map, key, columns),
                );
            }
            _ => {
                for &(before, after) in rows {
                    let compare_image = self.compare_image;
                    let out = self.open();
                    out.extend_from_slice(b"UPDATE ");
                    out.extend_from_slice(map.quoted.as_bytes());
                    out.extend_from_slice(b" SET ");
                    separated(out, columns.iter().copied(), |out, c| {
                        out.extend_from_slice(quoted(map, c));
                        out.push(b'=');
                        out.extend_from_slice(match arena.column(after, c) {
                            // Kept as it is.
                            [] => quoted(map, c),
                            literal => literal,
                        });
                    });
                    condition(out, map, arena, before, compare_image);
                    self.close(at, Some(1));
                }
            }
        }
    }
}

/// The list that a set-based statement joins: how its rows are written. MySQL: `VALUES ROW(…),ROW(…)`, its columns named
/// behind it. MariaDB has no such names: `SELECT … AS k0,… UNION ALL VALUES (…),(…)`.
#[derive(Clone, Copy)]
struct List {
    flavour: Flavour,
    /// Columns of the key: `k0`, `k1`, …; those behind are `c0`, `c1`, ….
    keys: usize,
}

impl List {
    fn of(map: &TableMap, key: &MappedKey) -> Self {
        Self { flavour: map.flavour, keys: key.columns.len() }
    }

    fn head(self, out: &mut Vec<u8>) {
        out.extend_from_slice(if self.flavour.is_mariadb() { b"(" } else { b"(VALUES " });
    }

    /// The row of that number, from 0.
    fn row(self, out: &mut Vec<u8>, number: usize, arena: &Arena, values: impl Iterator<Item = (Image, usize)>) {
        let named = self.flavour.is_mariadb() && number == 0;
        out.extend_from_slice(match (self.flavour, number) {
            (Flavour::MySql, 0) => b"ROW(",
            (Flavour::MySql, _) => b",ROW(",
            (Flavour::MariaDb, 0) => b"SELECT ",
            (Flavour::MariaDb, 1) => b" UNION ALL VALUES (",
            (Flavour::MariaDb, _) => b",(",
        });
        separated(out, values.enumerate(), |out, (n, (image, column))| {
            out.extend_from_slice(arena.column(image, column));
            if named {
                out.extend_from_slice(b" AS ");
                self.name(out, n);
            }
        });
        if !named {
            out.push(b')');
        }
    }

    fn name(self, out: &mut Vec<u8>, n: usize) {
        let (letter, n) = if n < self.keys { ('k', n) } else { ('c', n - self.keys) };
        out.extend_from_slice(format!("{letter}{n}").as_bytes());
    }

    fn tail(self, out: &mut Vec<u8>, columns: usize) {
        out.extend_from_slice(b") AS v");
        if !self.flavour.is_mariadb() {
            out.push(b'(');
            separated(out, 0..self.keys + columns, |out, n| self.name(out, n));
            out.push(b')');
        }
    }
}

/// `) AS v(k0,…,c0,…) STRAIGHT_JOIN d.t FORCE INDEX (key) ON d.t.k=v.k0 … SET d.t.c=v.c0,…`: the list is read first, each row
/// found by the key. The table goes by its full name: an alias in a `DELETE` needs a default database. Never a scan,
/// however small the table: its locks would be in the way of other batches. (A list of keys in `WHERE … IN` becomes a
/// scan as soon as it names half of the table, whatever the hints.)
fn join_tail(out: &mut Vec<u8>, map: &TableMap, key: &MappedKey, columns: &[usize]) {
    let keys = &key.columns;
    let number = |out: &mut Vec<u8>, letter: u8, n: usize| {
        out.push(letter);
        out.extend_from_slice(n.to_string().as_bytes());
    };
    List::of(map, key).tail(out, columns.len());
    out.extend_from_slice(b" STRAIGHT_JOIN ");
    out.extend_from_slice(map.quoted.as_bytes());
    out.extend_from_slice(b" FORCE INDEX (");
    out.extend_from_slice(sql::quote_identifier(&key.name).as_bytes());
    out.push(b')');
    for (n, &column) in keys.iter().enumerate() {
        out.extend_from_slice(if n == 0 { b" ON " } else { b" AND " });
        full(out, map, column);
        out.push(b'=');
        if let Some(JoinForm::Text { charset, collation }) = map.columns.get(column).map(|c| &c.join) {
            out.extend_from_slice(b"CONVERT(v.");
            number(out, b'k', n);
            out.extend_from_slice(format!(" USING {charset}) COLLATE {collation}").as_bytes());
        } else {
            out.extend_from_slice(b"v.");
            number(out, b'k', n);
        }
    }
    if columns.is_empty() {
        return;
    }
    out.extend_from_slice(b" SET ");
    separated(out, columns.iter().copied().enumerate(), |out, (n, column)| {
        full(out, map, column);
        out.extend_from_slice(b"=v.");
        number(out, b'c', n);
    });
}

/// Appends `database.table.column`.
fn full(out: &mut Vec<u8>, map: &TableMap, column: usize) {
    out.extend_from_slice(map.quoted.as_bytes());
    out.push(b'.');
    out.extend_from_slice(quoted(map, column));
}

fn quoted(map: &TableMap, column: usize) -> &[u8] {
    map.columns.get(column).map_or(b"", |c| c.quoted.as_bytes())
}

/// The condition that finds the row: by its key, or by all its values where it has none (`LIMIT 1`: of equal rows one).
fn condition(out: &mut Vec<u8>, map: &TableMap, arena: &Arena, row: Image, compare_image: bool) {
    let mut first = true;
    let mut and = |out: &mut Vec<u8>| {
        out.extend_from_slice(if std::mem::take(&mut first) { b" WHERE " } else { b" AND " });
    };
    if let Some(key) = &map.key {
        for &column in &key.columns {
            and(out);
            out.extend_from_slice(quoted(map, column));
            out.push(b'=');
            out.extend_from_slice(arena.column(row, column));
        }
    }
    if map.key.is_none() || compare_image {
        for column in 0..map.columns.len() {
            if !arena.column(row, column).is_empty() {
                and(out);
                exactly(out, map, arena, row, column);
            }
        }
    }
    if map.key.is_none() {
        out.extend_from_slice(b" LIMIT 1");
    }
}

/// `this column holds exactly that value`.
fn exactly(out: &mut Vec<u8>, map: &TableMap, arena: &Arena, row: Image, column: usize) {
    let literal = arena.column(row, column);
    let name = quoted(map, column);
    let put = |out: &mut Vec<u8>, pieces: &[&[u8]]| pieces.iter().for_each(|p| out.extend_from_slice(p));
    if literal == b"NULL" {
        return put(out, &[name, b" IS NULL"]);
    }
    match map.columns.get(column).map_or(ExactForm::Plain, |c| c.exact) {
        // Both zeros compare equal; the angle tells them apart. MariaDB keeps one of them only.
        ExactForm::Plain if map.flavour.is_mariadb() => put(out, &[name, b"<=>", literal]),
        ExactForm::Plain if literal == b"-0e0" => put(out, &[name, b"=0 AND ATAN2(", name, b",-1)<0"]),
        ExactForm::Plain if literal == b"0e0" => put(out, &[name, b"=0 AND ATAN2(", name, b",-1)>0"]),
        ExactForm::Plain => put(out, &[name, b"<=>", literal]),
        ExactForm::Json => put(out, &[name, b"<=>CAST(", literal, b" AS JSON)"]),
        ExactForm::Text => put(
            out,
            &[
                name,
                b"<=>",
                literal,
                b" AND CAST(CONVERT(",
                name,
                b" USING utf8mb4) AS BINARY)<=>CAST(CONVERT(",
                literal,
                b" USING utf8mb4) AS BINARY)",
            ],
        ),
        ExactForm::Hex => put(out, &[b"HEX(", name, b")<=>HEX(", literal, b")"]),
    }
}

fn separated<T>(out: &mut Vec<u8>, items: impl Iterator<Item = T>, mut write: impl FnMut(&mut Vec<u8>, T)) {
    for (n, item) in items.enumerate() {
        if n > 0 {
            out.push(b',');
        }
        write(out, item);
    }
}

//! A corpus of DDL: statements of every kind that MySQL's manual has a synopsis for, put together by chance from a seed.
//!
//! The generator keeps a rough model of what is there, so that most statements make sense; what the server refuses all the
//! same is counted apart. Names, comments and strings are as nasty as the server allows. Everything happens in two
//! databases, `<prefix>_a` and `<prefix>_b`, so that the same statements can be run again elsewhere, one by one.

mod alters;
mod definitions;
mod objects;
mod tables;

use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

pub use definitions::{Definitions, read as definitions};

/// One statement, and the session it is run in.
#[derive(Clone, Debug)]
pub struct Statement {
    /// Default database.
    pub database: String,
    /// `sql_mode`.
    pub sql_mode: &'static str,
    /// What it is about, for counting: `create table`, `alter event`, ….
    pub kind: &'static str,
    /// The text.
    pub text: String,
}

/// A table as the generator remembers it.
#[derive(Clone, Debug)]
struct Table {
    /// `a` or `b`.
    side: char,
    name: String,
    columns: Vec<Column>,
    indexes: Vec<String>,
    checks: Vec<String>,
    foreign_keys: Vec<String>,
    partitions: Partitions,
    /// Its engine has transactions: rows of others cannot be committed together with a checkpoint.
    transactional: bool,
}

#[derive(Clone, Debug)]
struct Column {
    name: String,
    /// `int`, `text`, `json`, …: what may be done with it.
    class: &'static str,
}

/// How a table is divided.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Partitions {
    None,
    Hash,
    /// By ranges of 100; the names are `p0`, `p1`, ….
    Range(u32),
    List(u32),
}

/// What else there is.
#[derive(Clone, Debug)]
struct Named {
    side: char,
    name: String,
}

/// Makes statements.
#[derive(Clone, Debug)]
pub struct Generator {
    rng: ChaCha8Rng,
    prefix: String,
    tables: Vec<Table>,
    views: Vec<Named>,
    procedures: Vec<Named>,
    functions: Vec<Named>,
    triggers: Vec<Named>,
    events: Vec<Named>,
    /// Databases made besides the two.
    more: Vec<String>,
    counter: u32,
    ansi: bool,
    /// As it was before the statement made last.
    before: Option<Box<Generator>>,
}

const MODES: &[&str] = &[
    "ONLY_FULL_GROUP_BY,STRICT_TRANS_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION",
    "",
    "ANSI_QUOTES",
    "ANSI,TRADITIONAL",
    "NO_BACKSLASH_ESCAPES",
    "PIPES_AS_CONCAT,HIGH_NOT_PRECEDENCE,NO_UNSIGNED_SUBTRACTION",
    "REAL_AS_FLOAT,IGNORE_SPACE,ALLOW_INVALID_DATES",
    "NO_AUTO_VALUE_ON_ZERO,TIME_TRUNCATE_FRACTIONAL,STRICT_ALL_TABLES",
];

/// Ends of names that need quotes, and some that do not.
const NASTY: &[&str] =
    &["", "", "", "", " x", "`q", "\"d", ".dot", "-dash", "é", "日本", "$", "'s", "; drop", "/*c*/", "--"];

/// Texts for comments and defaults, to be quoted.
const TEXTS: &[&str] = &[
    "",
    "plain",
    "it's",
    "a \"quote\"",
    "back`tick",
    "semi; colon -- and # more",
    "/* not a comment */ RENAME TO x",
    "ünïcode 日本語",
    "%s ${1} REFERENCES t (a)",
];

impl Generator {
    /// A generator; the same seed gives the same statements in other databases.
    pub fn new(seed: u64, prefix: &str) -> Self {
        Self {
            rng: ChaCha8Rng::seed_from_u64(seed),
            prefix: prefix.to_owned(),
            tables: Vec::new(),
            views: Vec::new(),
            procedures: Vec::new(),
            functions: Vec::new(),
            triggers: Vec::new(),
            events: Vec::new(),
            more: Vec::new(),
            counter: 0,
            ansi: false,
            before: None,
        }
    }

    /// The databases that statements are about.
    pub fn databases(prefix: &str) -> Vec<String> {
        ["a", "b", "c"].iter().map(|side| format!("{prefix}_{side}")).collect()
    }

    /// Tells what became of the statement made last: what a refused one would have changed is taken back.
    pub fn settle(&mut self, taken: bool) {
        if let (false, Some(before)) = (taken, self.before.take()) {
            let (rng, counter) = (self.rng.clone(), self.counter);
            *self = *before;
            (self.rng, self.counter) = (rng, counter);
        }
    }

    /// The next statement.
    pub fn statement(&mut self) -> Statement {
        self.before = None;
        self.before = Some(Box::new(self.clone()));
        let sql_mode = self.pick(MODES);
        self.ansi = sql_mode.contains("ANSI");
        let side = self.pick(&['a', 'b']);
        let database = self.database(side);
        let (kind, text) = self.any(side);
        let text = if self.chance(6) { self.decorated(text) } else { text };
        Statement { database, sql_mode, kind, text }
    }

    fn any(&mut self, side: char) -> (&'static str, String) {
        if self.tables.len() < 12 {
            return ("create table", self.create_table(side));
        }
        match self.rng.random_range(0..100) {
            0..=16 if self.tables.len() < 60 => ("create table", self.create_table(side)),
            0..=19 => ("create table like", self.create_like(side)),
            20..=22 => ("create table select", self.create_select(side)),
            23..=58 => ("alter table", self.alter_table(side)),
            59..=62 => ("create index", self.create_index(side)),
            63..=64 => ("drop index", self.drop_index(side)),
            65..=67 => ("rename table", self.rename(side)),
            68..=69 => ("truncate table", self.truncate(side)),
            70..=72 => ("drop table", self.drop_table(side)),
            73..=77 => ("view", self.view(side)),
            78..=82 => ("routine", self.routine(side)),
            83..=86 => ("trigger", self.trigger(side)),
            87..=90 => ("event", self.event(side)),
            91..=92 => ("database", self.alter_database(side)),
            93 => ("temporary table", self.temporary(side)),
            94 => ("maintenance", self.maintenance(side)),
            _ => ("insert", self.insert(side)),
        }
    }

    /// The database of a side.
    fn database(&self, side: char) -> String {
        format!("{}_{side}", self.prefix)
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        *from.choose(&mut self.rng).unwrap_or(&from[0])
    }

    /// Once in `n` times.
    fn chance(&mut self, n: u32) -> bool {
        self.rng.random_range(0..n) == 0
    }

    fn number(&mut self, range: std::ops::Range<u32>) -> u32 {
        self.rng.random_range(range)
    }

    /// A name that is not taken.
    fn fresh(&mut self, kind: &str) -> String {
        self.counter += 1;
        let nasty = self.pick(NASTY);
        format!("{kind}{}{nasty}", self.counter)
    }

    fn quoted(&mut self, name: &str) -> String {
        let plain = name.bytes().all(|b| b.is_ascii_alphanumeric());
        match () {
            () if plain && self.chance(2) => name.to_owned(),
            () if self.ansi && self.chance(2) => format!("\"{}\"", name.replace('"', "\"\"")),
            () => format!("`{}`", name.replace('`', "``")),
        }
    }

    /// A string literal of one of the texts.
    fn text(&mut self) -> String {
        let text = self.pick(TEXTS);
        match () {
            () if !self.ansi && self.chance(3) => format!("\"{}\"", text.replace('"', "\"\"")),
            () => format!("'{}'", text.replace('\'', "''")),
        }
    }

    /// A name in its database: with the database if the session stands elsewhere, or by chance.
    fn place(&mut self, side: char, name: &str, at: char) -> String {
        let quoted = self.quoted(name);
        if side == at && !self.chance(4) {
            return quoted;
        }
        let database = self.database(side);
        format!("{}.{quoted}", self.quoted(&database))
    }

    fn table(&mut self) -> Table {
        let at = self.rng.random_range(0..self.tables.len());
        self.tables[at].clone()
    }

    /// A table with transactions, if there is one.
    fn transactional(&mut self) -> Option<Table> {
        let found: Vec<Table> = self.tables.iter().filter(|t| t.transactional).cloned().collect();
        found.choose(&mut self.rng).cloned()
    }

    /// A table that is divided, if there is one.
    fn divided(&mut self) -> Table {
        let found: Vec<Table> = self.tables.iter().filter(|t| t.partitions != Partitions::None).cloned().collect();
        found.choose(&mut self.rng).cloned().unwrap_or_else(|| self.table())
    }

    fn remembered(&mut self, table: &Table) -> Option<&mut Table> {
        self.tables.iter_mut().find(|t| t.side == table.side && t.name == table.name)
    }

    /// Comments where the lexer allows them.
    fn decorated(&mut self, text: String) -> String {
        let Some((first, rest)) = text.split_once(' ') else { return text };
        match self.number(0..7) {
            0 => format!("/* a ; b */ {first} {rest}"),
            1 => format!("{first} /* 'x */ {rest}"),
            2 => format!("{first} -- it's\n {rest}"),
            3 => format!("{first} # \"x\n {rest}"),
            4 => format!("/*!80000 {first} */ {rest}"),
            5 => format!("/*!99999 NEVER */ {first} {rest} ;"),
            _ => format!("{} /*!50001 */ {rest} -- end", first.to_lowercase()),
        }
    }
}

//! A corpus of DDL: statements of every kind that the servers' manuals have a synopsis for, put together by chance from a
//! seed.
//!
//! The generator keeps a rough model of what is there, so that most statements make sense; what the server refuses all the
//! same is counted apart. Names, comments and strings are as nasty as the server allows. Everything happens in two
//! databases, `<prefix>_a` and `<prefix>_b`; a third one comes and goes, and a fourth, `<prefix>_x`, is not captured. Rows
//! come and go meanwhile, so that conversions have something to convert. A [`Pass`] runs the corpus through a pipeline.

mod alters;
mod definitions;
mod mariadb;
mod objects;
mod partitions;
mod pass;
mod programs;
mod rows;
mod session;
mod tables;
mod types;
mod yardstick;

use partitions::Partitions;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use lutra_mysql::Flavour;
pub use pass::{Pass, Plan, Routing};

/// One statement, and the session it is run in.
#[derive(Clone, Debug)]
pub struct Statement {
    /// Default database.
    pub database: String,
    /// The `SET` statement of the session.
    pub session: String,
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
    /// Rows of it can be carried. Those of an engine without transactions cannot be committed together with a checkpoint,
    /// and those of a system-versioned table would bear the target's times.
    rows: bool,
    /// It has a primary key. Without one the order of its rows is the server's own, and numbers given to rows that are
    /// there already (a new AUTO_INCREMENT column) would differ at the server's own replica too.
    keyed: bool,
}

#[derive(Clone, Debug)]
struct Column {
    name: String,
    /// `int`, `text`, `json`, …: what may be done with it.
    class: &'static str,
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
    sequences: Vec<Named>,
    /// Numbers of the tables in the database that nobody follows.
    foreign: Vec<u32>,
    /// Whether the third database is there.
    third: bool,
    counter: u32,
    /// `ANSI_QUOTES`, in the statement that is being made.
    ansi: bool,
    /// `NO_BACKSLASH_ESCAPES`, too.
    raw: bool,
    flavour: Flavour,
    /// Only tables, and databases: where tables get other names, what names them in a body is refused.
    tables_only: bool,
    /// As it was before the statement made last.
    before: Option<Box<Generator>>,
}

/// Ends of names that need quotes, and some that do not.
const NASTY: &[&str] = &[
    "", "", "", "", " x", "`q", "\"d", ".dot", "-dash", "é", "日本", "$", "'s", "; drop", "/*c*/", "--", " TO x", "#",
    "\\",
];

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
    "back\\slash \\' and \\",
    "new\nline\ttab",
];

impl Generator {
    /// A generator; the same seed gives the same statements in other databases.
    pub fn new(seed: u64, prefix: &str, flavour: Flavour) -> Self {
        Self {
            rng: ChaCha8Rng::seed_from_u64(seed),
            prefix: prefix.to_owned(),
            tables: Vec::new(),
            views: Vec::new(),
            procedures: Vec::new(),
            functions: Vec::new(),
            triggers: Vec::new(),
            events: Vec::new(),
            sequences: Vec::new(),
            foreign: Vec::new(),
            third: false,
            counter: 0,
            ansi: false,
            raw: false,
            flavour,
            tables_only: false,
            before: None,
        }
    }

    /// The same without views, routines, triggers and events.
    pub fn tables_only(self) -> Self {
        Self { tables_only: true, ..self }
    }

    /// The databases that are captured.
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

    /// Forgets what is called so: it is not there any more.
    pub fn forget(&mut self, name: &str) {
        self.tables.retain(|t| t.name != name);
        let others = [
            &mut self.views,
            &mut self.procedures,
            &mut self.functions,
            &mut self.triggers,
            &mut self.events,
            &mut self.sequences,
        ];
        for named in others {
            named.retain(|n| n.name != name);
        }
    }

    /// The next statement.
    pub fn statement(&mut self) -> Statement {
        self.before = None;
        self.before = Some(Box::new(self.clone()));
        let session = self.session();
        let side = self.pick(&['a', 'b']);
        let database = self.database(side);
        let (kind, text) = self.any(side);
        let text = if self.chance(6) { self.decorated(text) } else { text };
        let session = session.text(&text, kind);
        Statement { database, session, kind, text }
    }

    fn any(&mut self, side: char) -> (&'static str, String) {
        if self.tables.len() < 12 {
            return ("create table", self.create_table(side));
        }
        if self.flavour.is_mariadb() && self.chance(8) {
            return self.only_mariadb(side);
        }
        match self.number(0..200) {
            0..=29 if self.tables.len() < 50 => ("create table", self.create_table(side)),
            0..=34 => ("create table like", self.create_like(side)),
            35..=41 => ("create table select", self.create_select(side)),
            42..=95 => ("alter table", self.alter_table(side)),
            96..=109 => ("alter partitions", self.alter_partitions(side)),
            110..=115 => ("create index", self.create_index(side)),
            116..=118 => ("drop index", self.drop_index(side)),
            119..=124 => ("rename table", self.rename(side)),
            125..=128 => ("truncate table", self.truncate(side)),
            129..=133 => ("drop table", self.drop_table(side)),
            134..=137 => ("database", self.alter_database(side)),
            138..=139 => ("temporary table", self.temporary(side)),
            140..=141 => ("maintenance", self.maintenance(side)),
            142 => ("of the server", self.of_the_server()),
            143..=145 => ("not captured", self.not_captured(side)),
            146..=171 => ("rows", self.change_rows(side)),
            _ if self.tables_only => ("alter table", self.alter_table(side)),
            172..=179 => ("view", self.view(side)),
            180..=187 => ("routine", self.routine(side)),
            188..=193 => ("trigger", self.trigger(side)),
            _ => ("event", self.event(side)),
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
        // MariaDB loses partitioned tables with a slash in their names: ALTER ends in "unknown database", and the table is gone.
        let nasty = if self.flavour.is_mariadb() && nasty.contains('/') { "" } else { nasty };
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
        let text = if self.raw { text.to_owned() } else { text.replace('\\', "\\\\") };
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

    /// A table of which rows can be carried, if there is one.
    fn with_rows(&mut self) -> Option<Table> {
        let found: Vec<Table> = self.tables.iter().filter(|t| t.rows).cloned().collect();
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
        // MariaDB passes 50700 to 99999 over, MySQL what is for MariaDB alone.
        let own = if self.flavour.is_mariadb() { "/*M!100100" } else { "/*!80000" };
        match self.number(0..8) {
            0 => format!("/* a ; b */ {first} {rest}"),
            1 => format!("{first} /* 'x */ {rest}"),
            2 => format!("{first} -- it's\n {rest}"),
            3 => format!("{first} # \"x\n {rest}"),
            4 => format!("{own} {first} */ {rest}"),
            5 => format!("/*!50001 {first}*/ /*+ no hint */\t\r\n{rest}"),
            6 => format!("/*!99999 NEVER */ {first} {rest} ;"),
            _ => format!("{} /*!50001 */ {rest} -- end", first.to_lowercase()),
        }
    }
}

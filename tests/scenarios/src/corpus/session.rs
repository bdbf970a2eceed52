//! The session that a statement is run in: everything that changes what it means, or what of it is logged.

use super::Generator;

/// What is set before a statement.
#[derive(Clone, Debug)]
pub(super) struct Session {
    sql_mode: &'static str,
    names: &'static str,
    others: Vec<&'static str>,
}

const MODES: &[&str] = &[
    "ONLY_FULL_GROUP_BY,STRICT_TRANS_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION",
    "",
    "ANSI_QUOTES",
    "ANSI,TRADITIONAL",
    "NO_BACKSLASH_ESCAPES",
    "ANSI_QUOTES,NO_BACKSLASH_ESCAPES",
    "PIPES_AS_CONCAT,HIGH_NOT_PRECEDENCE,NO_UNSIGNED_SUBTRACTION",
    "REAL_AS_FLOAT,IGNORE_SPACE,ALLOW_INVALID_DATES",
    "STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO",
];

/// Modes that one family has.
const MYSQL_MODES: &[&str] = &["NO_AUTO_VALUE_ON_ZERO,TIME_TRUNCATE_FRACTIONAL,STRICT_ALL_TABLES"];
const MARIADB_MODES: &[&str] =
    &["TIME_ROUND_FRACTIONAL,STRICT_TRANS_TABLES", "EMPTY_STRING_IS_NULL", "IGNORE_BAD_TABLE_OPTIONS"];

/// Character sets of the client in which ASCII means the same; what is not ASCII is sent as UTF-8.
const NAMES: &[&str] = &["utf8mb4", "latin1", "gbk", "utf8mb4 COLLATE utf8mb4_bin"];

/// A variable, its default and another value.
const SETTINGS: &[(&str, &str)] = &[
    ("foreign_key_checks = 1", "foreign_key_checks = 0"),
    ("unique_checks = 1", "unique_checks = 0"),
    ("time_zone = '+00:00'", "time_zone = '+05:30'"),
    ("timestamp = DEFAULT", "timestamp = 1700000000.5"),
    ("explicit_defaults_for_timestamp = 1", "explicit_defaults_for_timestamp = 0"),
    (
        "auto_increment_increment = 1, auto_increment_offset = 1",
        "auto_increment_increment = 7, auto_increment_offset = 3",
    ),
    ("lc_time_names = 'en_US'", "lc_time_names = 'de_DE'"),
    ("collation_server = DEFAULT", "collation_server = latin1_swedish_ci"),
];

/// Those of MySQL alone.
const MYSQL_SETTINGS: &[(&str, &str)] = &[
    ("sql_generate_invisible_primary_key = 0", "sql_generate_invisible_primary_key = 1"),
    ("sql_require_primary_key = 0", "sql_require_primary_key = 1"),
    ("default_collation_for_utf8mb4 = utf8mb4_0900_ai_ci", "default_collation_for_utf8mb4 = utf8mb4_general_ci"),
    ("restrict_fk_on_non_standard_key = 1", "restrict_fk_on_non_standard_key = 0"),
    ("innodb_strict_mode = 1", "innodb_strict_mode = 0"),
];

impl Generator {
    pub(super) fn session(&mut self) -> Session {
        let own = if self.flavour.is_mariadb() { MARIADB_MODES } else { MYSQL_MODES };
        let modes: Vec<&'static str> = MODES.iter().chain(own).copied().collect();
        let sql_mode = self.pick(&modes);
        self.ansi = sql_mode.contains("ANSI");
        self.raw = sql_mode.contains("NO_BACKSLASH_ESCAPES");
        let names = self.pick(NAMES);
        let mysql = if self.flavour.is_mariadb() { &[][..] } else { MYSQL_SETTINGS };
        let mut others = Vec::new();
        for (usual, unusual) in SETTINGS.iter().chain(mysql) {
            others.push(if self.chance(10) { *unusual } else { *usual });
        }
        Session { sql_mode, names, others }
    }
}

impl Session {
    /// The `SET` statement for that text.
    pub(super) fn text(&self, text: &str, kind: &str) -> String {
        let names = if text.is_ascii() { self.names } else { NAMES[0] };
        // Where the server writes a definition out for its binlog, it leaves out the table's options under ANSI (as SHOW
        // CREATE TABLE does), so that its own replicas lack them.
        let written_out =
            kind.contains("select") || self.others.iter().any(|o| o.ends_with("invisible_primary_key = 1"));
        let sql_mode = match (kind, self.sql_mode) {
            ("package", _) => "ORACLE",
            (_, "ANSI,TRADITIONAL") if written_out => "ANSI_QUOTES,TRADITIONAL",
            (_, sql_mode) => sql_mode,
        };
        // ALTER TABLE … ADD PARTITION gives a TIMESTAMP its old defaults where they are not explicit, and does not log that they
        // are not: the server's own replicas lack them.
        let mut others = self.others.join(", ");
        if kind == "alter partitions" {
            others = others.replace("explicit_defaults_for_timestamp = 0", "explicit_defaults_for_timestamp = 1");
        }
        format!("SET NAMES {names}, sql_mode = '{sql_mode}', {others}")
    }
}

//! What MySQL and MariaDB say differently: session settings under which a source's statement means the same.

use std::fmt::Write as _;

use lutra_change::SessionContext;
use serde::Serialize;

use crate::sql::{charset_of, collation_name, quote_text};

/// Which family a server belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Flavour {
    /// MySQL, and what is built from its source.
    #[default]
    MySql,
    /// MariaDB.
    MariaDb,
}

impl Flavour {
    /// The flavour of a server by its `version` (`9.7.4`, `10.11.19-MariaDB-log`).
    pub fn of_version(version: &str) -> Self {
        if version.to_ascii_lowercase().contains("mariadb") { Self::MariaDb } else { Self::MySql }
    }

    /// Whether it is MariaDB.
    pub fn is_mariadb(self) -> bool {
        self == Self::MariaDb
    }
}

/// Bit of a carried `sql_mode` that says that a MariaDB server wrote it. Bits of a mode mean different things to the two
/// families: MySQL's own bits are carried as they are, MariaDB's are [moved](carried_sql_mode).
pub const SQL_MODE_OF_MARIADB: u64 = 1 << 48;

const TIME_TRUNCATE_FRACTIONAL: u64 = 1 << 32;
/// Where MariaDB's `TIME_ROUND_FRACTIONAL` is carried.
const TIME_ROUND_FRACTIONAL: u64 = 1 << 45;

/// Modes that both families have under the same bit, with their names.
const SHARED_MODES: [(u8, &str); 20] = [
    (0, "REAL_AS_FLOAT"),
    (1, "PIPES_AS_CONCAT"),
    (2, "ANSI_QUOTES"),
    (3, "IGNORE_SPACE"),
    (5, "ONLY_FULL_GROUP_BY"),
    (6, "NO_UNSIGNED_SUBTRACTION"),
    (7, "NO_DIR_IN_CREATE"),
    (18, "ANSI"),
    (19, "NO_AUTO_VALUE_ON_ZERO"),
    (20, "NO_BACKSLASH_ESCAPES"),
    (21, "STRICT_TRANS_TABLES"),
    (22, "STRICT_ALL_TABLES"),
    (23, "NO_ZERO_IN_DATE"),
    (24, "NO_ZERO_DATE"),
    (25, "ALLOW_INVALID_DATES"),
    (26, "ERROR_FOR_DIVISION_BY_ZERO"),
    (27, "TRADITIONAL"),
    (29, "HIGH_NOT_PRECEDENCE"),
    (30, "NO_ENGINE_SUBSTITUTION"),
    (31, "PAD_CHAR_TO_FULL_LENGTH"),
];

/// MariaDB's own modes that change what a statement means: its bit, the bit they are carried in, their name, and whether
/// MySQL must be asked for them too (it refuses, by name).
const MARIADB_MODES: [(u8, u8, &str, bool); 14] = [
    (4, 40, "IGNORE_BAD_TABLE_OPTIONS", false),
    (9, 41, "ORACLE", true),
    (10, 42, "MSSQL", true),
    (32, 43, "EMPTY_STRING_IS_NULL", true),
    (33, 44, "SIMULTANEOUS_ASSIGNMENT", false),
    // These change nothing, but a routine, trigger or event keeps the mode it was made under: it is part of its definition.
    (28, 46, "NO_AUTO_CREATE_USER", false),
    (8, 49, "POSTGRESQL", false),
    (11, 50, "DB2", false),
    (12, 51, "MAXDB", false),
    (13, 52, "NO_KEY_OPTIONS", false),
    (14, 53, "NO_TABLE_OPTIONS", false),
    (15, 54, "NO_FIELD_OPTIONS", false),
    (16, 55, "MYSQL323", false),
    (17, 56, "MYSQL40", false),
];

/// Bit of MariaDB's `ORACLE` in a carried mode: another grammar.
pub const SQL_MODE_ORACLE: u64 = 1 << 41;
/// Bit of MariaDB's `MSSQL` in a carried mode: names in brackets.
pub const SQL_MODE_MSSQL: u64 = 1 << 42;

/// The `sql_mode` of a MariaDB server as it is carried: shared bits as they are, its own ones where MySQL has none, and
/// [`SQL_MODE_OF_MARIADB`].
pub fn carried_sql_mode(mariadb: u64) -> u64 {
    const ROUND: u64 = 1 << 34;
    let shared = SHARED_MODES.iter().fold(0, |mask, (bit, _)| mask | 1 << bit);
    let moved = MARIADB_MODES.iter().filter(|(bit, ..)| mariadb & (1 << bit) != 0);
    let moved = moved.fold(0, |mask, (_, carried, ..)| mask | 1 << carried);
    let round = if mariadb & ROUND != 0 { TIME_ROUND_FRACTIONAL } else { 0 };
    mariadb & shared | moved | round | SQL_MODE_OF_MARIADB
}

/// The text of a carried `sql_mode` for a server of that flavour. What that server has no word for is written as the
/// other's word where it changes a definition: the server refuses it by name.
pub fn sql_mode_text(mask: u64, flavour: Flavour) -> String {
    let mut names: Vec<&str> = SHARED_MODES.iter().filter(|(bit, _)| mask & (1 << bit) != 0).map(|(_, n)| *n).collect();
    let from_mariadb = mask & SQL_MODE_OF_MARIADB != 0;
    if from_mariadb {
        let own = MARIADB_MODES
            .iter()
            .filter(|(_, carried, _, always)| mask & (1 << carried) != 0 && (flavour.is_mariadb() || *always));
        names.extend(own.map(|(_, _, name, _)| *name));
    }
    // Digits of a second that a column has no place for: MySQL rounds unless told otherwise, MariaDB cuts.
    let rounds = if from_mariadb { mask & TIME_ROUND_FRACTIONAL != 0 } else { mask & TIME_TRUNCATE_FRACTIONAL == 0 };
    match (flavour, rounds) {
        (Flavour::MySql, false) => names.push("TIME_TRUNCATE_FRACTIONAL"),
        (Flavour::MariaDb, true) => names.push("TIME_ROUND_FRACTIONAL"),
        _ => {}
    }
    names.join(",")
}

/// MariaDB's name for a collation of MySQL that it does not have under that name. The pairs are those that MariaDB 11.4.5
/// and later take for the same: the Unicode collation algorithm without padding.
pub fn mariadb_collation(name: &str) -> Option<&'static str> {
    Some(match name {
        "utf8mb4_0900_ai_ci" => "utf8mb4_uca1400_nopad_ai_ci",
        "utf8mb4_0900_as_ci" => "utf8mb4_uca1400_nopad_as_ci",
        "utf8mb4_0900_as_cs" => "utf8mb4_uca1400_nopad_as_cs",
        "utf8mb4_0900_bin" => "utf8mb4_nopad_bin",
        _ => return None,
    })
}

/// MySQL's name for a collation of MariaDB that it does not have under that name: the pairs of [`mariadb_collation`].
pub fn mysql_collation(name: &str) -> Option<&'static str> {
    const THEIRS: [&str; 4] = ["utf8mb4_0900_ai_ci", "utf8mb4_0900_as_ci", "utf8mb4_0900_as_cs", "utf8mb4_0900_bin"];
    THEIRS.into_iter().find(|theirs| mariadb_collation(theirs) == Some(name))
}

/// How a collation of a source is named in `SET`: by name, or by number where only the source's family has it (a server
/// without it refuses the number).
fn collation_word(collation: u16, context: &SessionContext, flavour: Flavour) -> String {
    let from_mariadb = context.sql_mode.unwrap_or(0) & SQL_MODE_OF_MARIADB != 0;
    match collation_name(collation) {
        // Some numbers have other names there.
        _ if from_mariadb && flavour.is_mariadb() => collation.to_string(),
        Some(name) if flavour.is_mariadb() => mariadb_collation(name).unwrap_or(name).to_owned(),
        Some(name) => name.to_owned(),
        None => collation.to_string(),
    }
}

/// The `SET` statement under which a DDL statement of that context means at a server of that flavour what it meant at the
/// source.
pub fn session_statement(context: &SessionContext, flavour: Flavour) -> String {
    let mut text = String::from("SET ");
    let mut set = |name: &str, value: &dyn std::fmt::Display| {
        let comma = if text.len() > 4 { ", " } else { "" };
        let _ = write!(text, "{comma}{name} = {value}");
    };
    set("sql_mode", &quote_text(&sql_mode_text(context.sql_mode.unwrap_or(0), flavour)));
    set("foreign_key_checks", &u8::from(!context.no_foreign_key_checks));
    set("unique_checks", &u8::from(!context.relaxed_unique_checks));
    set("time_zone", &quote_text(context.time_zone.as_deref().filter(|z| !z.is_empty()).unwrap_or("+00:00")));
    if let Some(charset) = context.character_set_client.and_then(charset_of) {
        set("character_set_client", &charset);
    }
    for (name, collation) in
        [("collation_connection", context.collation_connection), ("collation_server", context.collation_server)]
    {
        if let Some(collation) = collation.filter(|c| *c != 0) {
            set(name, &collation_word(collation, context, flavour));
        }
    }
    if let Some(on) = context.explicit_defaults_for_timestamp {
        set("explicit_defaults_for_timestamp", &u8::from(on));
    }
    // Only ever forbids what the source has allowed; MariaDB has no such rule.
    if let Some(on) = context.sql_require_primary_key.filter(|_| !flavour.is_mariadb()) {
        set("sql_require_primary_key", &u8::from(on));
    }
    if let Some((increment, offset)) = context.auto_increment {
        // A new AUTO_INCREMENT column numbers the rows that are there.
        set("auto_increment_increment", &increment);
        set("auto_increment_offset", &offset);
    }
    if let Some(number) = context.lc_time_names.filter(|n| *n != 0) {
        set("lc_time_names", &number);
    }
    if let Some(collation) = context.default_collation_for_utf8mb4.filter(|c| *c != 0 && !flavour.is_mariadb()) {
        // What `CHARACTER SET utf8mb4` alone means: MySQL 5.7 has one answer, MariaDB another.
        let _ = write!(text, " /*!80011 , default_collation_for_utf8mb4 = {collation}*/");
    }
    let mut set = |name: &str, value: &dyn std::fmt::Display| {
        let _ = write!(text, ", {name} = {value}");
    };
    if let Some(micros) = context.timestamp_micros {
        let (seconds, fraction) = (micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000));
        set("timestamp", &format_args!("{seconds}.{fraction:06}"));
    }
    text
}

/// What a server of that flavour might forbid, or add of its own, to what the source has taken: said before
/// [`session_statement`], and back to the defaults of what that one sets only where the source's session had something else.
pub fn unhindered_statement(flavour: Flavour) -> &'static str {
    match flavour {
        Flavour::MySql => {
            "SET innodb_strict_mode = 0, auto_increment_increment = 1, auto_increment_offset = 1, lc_time_names = 0 \
             /*!80011 , default_collation_for_utf8mb4 = DEFAULT*/ /*!80013 , sql_require_primary_key = 0*/ \
             /*!80030 , sql_generate_invisible_primary_key = 0*/ /*!80400 , restrict_fk_on_non_standard_key = 0*/"
        }
        Flavour::MariaDb => {
            "SET innodb_strict_mode = 0, auto_increment_increment = 1, auto_increment_offset = 1, lc_time_names = 0, \
             check_constraint_checks = 0"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_numbers_rows_and_names_days_goes_along() {
        let context = SessionContext {
            auto_increment: Some((7, 3)),
            lc_time_names: Some(4),
            default_collation_for_utf8mb4: Some(45),
            timestamp_micros: Some(0),
            ..SessionContext::default()
        };
        let text = session_statement(&context, Flavour::MySql);
        assert!(
            text.ends_with(
                "auto_increment_increment = 7, auto_increment_offset = 3, lc_time_names = 4 \
                 /*!80011 , default_collation_for_utf8mb4 = 45*/, timestamp = 0.000000"
            ),
            "{text}"
        );
        assert!(!session_statement(&context, Flavour::MariaDb).contains("default_collation"));
    }

    #[test]
    fn the_version_tells_the_flavour() {
        assert_eq!(Flavour::of_version("10.11.19-MariaDB-0+deb12u1-log"), Flavour::MariaDb);
        assert_eq!(Flavour::of_version("9.7.4"), Flavour::MySql);
    }

    #[test]
    fn a_sql_mode_mask_has_its_text() {
        assert_eq!(sql_mode_text(1 << 2 | 1 << 21, Flavour::MySql), "ANSI_QUOTES,STRICT_TRANS_TABLES");
        assert_eq!(sql_mode_text(1 << 20, Flavour::MySql), "NO_BACKSLASH_ESCAPES");
    }

    #[test]
    fn fractions_of_a_second_are_cut_or_rounded_as_at_the_source() {
        assert_eq!(sql_mode_text(0, Flavour::MariaDb), "TIME_ROUND_FRACTIONAL");
        assert_eq!(sql_mode_text(TIME_TRUNCATE_FRACTIONAL, Flavour::MariaDb), "");
        let default = carried_sql_mode(1 << 21 | 1 << 28);
        assert_eq!(sql_mode_text(default, Flavour::MariaDb), "STRICT_TRANS_TABLES,NO_AUTO_CREATE_USER");
        assert_eq!(sql_mode_text(default, Flavour::MySql), "STRICT_TRANS_TABLES,TIME_TRUNCATE_FRACTIONAL");
        let cuts = carried_sql_mode(0);
        assert_eq!(sql_mode_text(cuts, Flavour::MariaDb), "");
        assert_eq!(sql_mode_text(cuts, Flavour::MySql), "TIME_TRUNCATE_FRACTIONAL");
        let rounds = carried_sql_mode(1 << 34);
        assert_eq!(sql_mode_text(rounds, Flavour::MySql), "");
        assert_eq!(sql_mode_text(rounds, Flavour::MariaDb), "TIME_ROUND_FRACTIONAL");
    }

    #[test]
    fn modes_that_only_mariadb_has_are_asked_of_mysql_by_name_where_they_matter() {
        let oracle = carried_sql_mode(1 << 9 | 1 << 33 | 1 << 2);
        assert_eq!(oracle & SQL_MODE_ORACLE, SQL_MODE_ORACLE);
        assert_eq!(sql_mode_text(oracle, Flavour::MariaDb), "ANSI_QUOTES,ORACLE,SIMULTANEOUS_ASSIGNMENT");
        assert_eq!(sql_mode_text(oracle, Flavour::MySql), "ANSI_QUOTES,ORACLE,TIME_TRUNCATE_FRACTIONAL");
    }

    #[test]
    fn a_context_becomes_one_statement() {
        let context =
            SessionContext { sql_mode: Some(0), timestamp_micros: Some(1_500_000), ..SessionContext::default() };
        assert_eq!(
            session_statement(&context, Flavour::MySql),
            "SET sql_mode = '', foreign_key_checks = 1, unique_checks = 1, time_zone = '+00:00', timestamp = 1.500000"
        );
    }

    #[test]
    fn collations_go_by_the_name_the_target_knows() {
        const UTF8MB4_0900_AI_CI: u16 = 255;
        const UCA1400: u16 = 2304;
        let of_mysql = SessionContext { collation_server: Some(UTF8MB4_0900_AI_CI), ..SessionContext::default() };
        assert!(session_statement(&of_mysql, Flavour::MySql).ends_with("collation_server = utf8mb4_0900_ai_ci"));
        let there = session_statement(&of_mysql, Flavour::MariaDb);
        assert!(there.ends_with("collation_server = utf8mb4_uca1400_nopad_ai_ci"), "{there}");
        let sql_mode = Some(carried_sql_mode(0));
        let of_mariadb = SessionContext { sql_mode, collation_server: Some(UCA1400), ..SessionContext::default() };
        for flavour in [Flavour::MySql, Flavour::MariaDb] {
            assert!(session_statement(&of_mariadb, flavour).ends_with("collation_server = 2304"));
        }
    }
}

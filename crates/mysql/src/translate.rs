//! A statement of one family for a server of the other: what each of them passes over silently, and names of collations.
//!
//! Both run the inside of `/*!NNNNN … */` from that version on; MariaDB leaves out 50700 to 99999 (MySQL's versions that
//! it did not follow) and has comments of its own, `/*M!NNNNNN … */`. A clause that the source ran and the target would
//! take for a comment (`/*!80023 INVISIBLE */`) is a silent difference: here it becomes plain text, so that the target
//! runs or refuses it, and what the source passed over becomes a plain comment. What a target has no word for it refuses.
//!
//! What both have in other words is said in the target's: the four collations that are the same, `GEOMCOLLECTION`, the
//! reference system of a spatial column (`SRID`, `REF_SYSTEM_ID`), and defaults that MySQL wants in parentheses.
//!
//! `CHARACTER SET utf8mb4` alone means another collation to each family (and version): it is written out. The other
//! character sets have one default everywhere.

use std::borrow::Cow;

use lutra_change::SessionContext;

use self::clause::{Clauses, OfTable};
use crate::dialect::{Flavour, SQL_MODE_OF_MARIADB, mariadb_collation, mysql_collation};
use crate::sql::{charset_of, collation_name};

mod clause;
mod spatial;

/// The statement for a server of the family `to`; the context is that of the source's session.
pub fn translate<'a>(statement: &'a [u8], context: &SessionContext, to: Flavour) -> Cow<'a, [u8]> {
    let sql_mode = context.sql_mode.unwrap_or(0);
    let from = if sql_mode & SQL_MODE_OF_MARIADB != 0 { Flavour::MariaDb } else { Flavour::MySql };
    if from == to {
        return Cow::Borrowed(statement);
    }
    let charset = context.character_set_client.and_then(charset_of);
    let quotes = Quotes {
        ansi: sql_mode & 1 << 2 != 0,
        no_escapes: sql_mode & 1 << 20 != 0,
        wide: matches!(charset, Some("gbk" | "gb18030" | "gb2312" | "big5" | "sjis" | "cp932")),
    };
    let out = Vec::with_capacity(statement.len());
    // A MariaDB session where it means another one is refused before: `character_set_collations`.
    let alone = match from {
        Flavour::MySql => context.default_collation_for_utf8mb4.and_then(collation_name),
        Flavour::MariaDb => Some("utf8mb4_general_ci"),
    };
    let clauses = Clauses::default();
    let table = OfTable::default();
    let (inside, wrapped, spatial) = (None, None, None);
    let mut translator =
        Translator { text: statement, at: 0, out, quotes, to, inside, alone, clauses, table, wrapped, spatial };
    translator.run();
    Cow::Owned(translator.out)
}

/// How quoted text ends.
#[derive(Clone, Copy, Debug)]
struct Quotes {
    /// `ANSI_QUOTES`.
    ansi: bool,
    /// `NO_BACKSLASH_ESCAPES`.
    no_escapes: bool,
    /// The second byte of a character may look like a quote or backslash.
    wide: bool,
}

/// What becomes of a versioned comment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Versioned {
    /// It stays as it is.
    Kept,
    /// Its inside becomes plain text.
    Unwrapped,
    /// It becomes a plain comment.
    Silenced,
}

/// First and last version that MariaDB passes over: those of MySQL servers that it did not follow.
const PASSED_OVER: std::ops::RangeInclusive<u32> = 50_700..=99_999;

struct Translator<'a> {
    text: &'a [u8],
    at: usize,
    out: Vec<u8>,
    quotes: Quotes,
    to: Flavour,
    /// The versioned comment that is open.
    inside: Option<Versioned>,
    /// What `CHARACTER SET utf8mb4` alone means to the source's session.
    alone: Option<&'static str>,
    clauses: Clauses<'a>,
    table: OfTable,
    /// Where the value ends that was put in parentheses.
    wrapped: Option<usize>,
    /// The spatial type of the column that the clause is about.
    spatial: Option<spatial::Type>,
}

impl<'a> Translator<'a> {
    fn run(&mut self) {
        while let Some(&byte) = self.text.get(self.at) {
            self.unwrap_value();
            let rest = self.text.get(self.at..).unwrap_or_default();
            match byte {
                b'\'' | b'"' | b'`' => self.copy(quoted_length(rest, self.quotes)),
                b'#' => self.copy(line_length(rest)),
                b'-' if rest.starts_with(b"--") && rest.get(2).is_none_or(u8::is_ascii_whitespace) => {
                    self.copy(line_length(rest));
                }
                b'/' if rest.starts_with(b"/*!") => self.versioned(3),
                b'/' if rest.starts_with(b"/*M!") => self.versioned(4),
                b'/' if rest.starts_with(b"/*") => self.copy(comment_length(rest)),
                b'*' if rest.starts_with(b"*/") => self.end(),
                b if is_word(b) => self.word(rest),
                sign => {
                    self.clauses.sign(sign);
                    self.end_clause(sign);
                    self.copy(1);
                }
            }
        }
        self.unwrap_value();
    }

    fn unwrap_value(&mut self) {
        if self.wrapped.is_some_and(|end| end <= self.at) {
            self.wrapped = None;
            self.out.push(b')');
        }
    }

    fn copy(&mut self, length: usize) {
        let end = self.text.len().min(self.at + length.max(1));
        self.out.extend_from_slice(self.text.get(self.at..end).unwrap_or_default());
        self.at = end;
    }

    fn skip(&mut self, length: usize) {
        self.at = self.text.len().min(self.at + length);
    }

    /// `/*!` or `/*M!` (the longer one), which opens a versioned comment.
    fn versioned(&mut self, opening: usize) {
        let behind = self.text.get(self.at + opening..).unwrap_or_default();
        let digits = behind.iter().take(6).take_while(|b| b.is_ascii_digit()).count();
        let digits = if digits < 5 { 0 } else { digits };
        let version = behind.get(..digits).and_then(|d| std::str::from_utf8(d).ok()).and_then(|d| d.parse().ok());
        let fate = match (self.to, opening, version.unwrap_or(0)) {
            // MySQL takes it for a plain comment.
            (Flavour::MariaDb, 4, _) => Versioned::Silenced,
            (Flavour::MySql, 4, _) => Versioned::Unwrapped,
            (Flavour::MariaDb, _, version) if PASSED_OVER.contains(&version) => Versioned::Unwrapped,
            (Flavour::MySql, _, version) if PASSED_OVER.contains(&version) => Versioned::Silenced,
            (Flavour::MariaDb, _, 100_000..) => Versioned::Silenced,
            (Flavour::MySql, _, 100_000..) => Versioned::Unwrapped,
            _ => Versioned::Kept,
        };
        match fate {
            Versioned::Kept => {
                self.inside = Some(fate);
                self.copy(opening + digits);
            }
            Versioned::Unwrapped => {
                self.inside = Some(fate);
                self.out.push(b' ');
                self.skip(opening + digits);
            }
            Versioned::Silenced => {
                self.out.extend_from_slice(b"/* ");
                self.skip(opening);
                let rest = self.text.get(self.at..).unwrap_or_default();
                self.copy(rest.windows(2).position(|w| w == b"*/").map_or(rest.len(), |at| at + 2));
            }
        }
    }

    fn end(&mut self) {
        match self.inside.take() {
            Some(Versioned::Unwrapped) => {
                self.out.push(b' ');
                self.skip(2);
            }
            _ => self.copy(2),
        }
    }

    fn word(&mut self, rest: &'a [u8]) {
        let length = rest.iter().take_while(|b| is_word(**b)).count();
        let word = rest.get(..length).unwrap_or_default();
        if self.to.is_mariadb() && word.eq_ignore_ascii_case(b"ENCRYPTION") && self.is_unencrypted(rest, length) {
            return;
        }
        self.table.word(word);
        if self.table.is_it() && self.reference_system(rest, word) {
            return;
        }
        // MySQL's second name for the type and for the function that makes one; `SHOW CREATE TABLE` prints it.
        if self.to.is_mariadb() && word.eq_ignore_ascii_case(b"GEOMCOLLECTION") && !self.out.ends_with(b".") {
            self.out.extend_from_slice(b"geometrycollection");
            self.skip(length);
        } else {
            self.copy(length);
        }
        self.spatial_type(word);
        self.clauses.word(word);
        if word.eq_ignore_ascii_case(b"COLLATE") {
            self.collation();
        }
        if !self.to.is_mariadb() && self.table.is_it() && word.eq_ignore_ascii_case(b"DEFAULT") {
            self.default_value();
        }
        if self.clauses.names_charset(self.to) {
            self.charset();
        }
    }

    /// The name behind `CHARACTER SET`: `utf8mb4` gets the collation that it means at the source, where none is said.
    fn charset(&mut self) {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let before = rest.iter().take_while(|b| b.is_ascii_whitespace() || **b == b'=').count();
        let name = rest.get(before..).unwrap_or_default();
        let quote = name.first().filter(|b| matches!(b, b'\'' | b'"' | b'`'));
        let length = match quote {
            Some(_) => quoted_length(name, self.quotes),
            None => name.iter().take_while(|b| is_word(**b)).count(),
        };
        let ends = usize::from(quote.is_some());
        let bare = name.get(ends..length.saturating_sub(ends).max(ends)).unwrap_or_default();
        let behind = name.get(length..).unwrap_or_default();
        let alone = bare.eq_ignore_ascii_case(b"utf8mb4") && !clause::says_collation(behind, self.quotes);
        if let Some(collation) = self.alone.filter(|_| alone) {
            self.copy(before + length);
            self.clauses.word(bare);
            let theirs = if self.to.is_mariadb() { mariadb_collation(collation) } else { None };
            self.out.extend_from_slice(format!(" COLLATE {}", theirs.unwrap_or(collation)).as_bytes());
        }
    }

    /// The name behind `COLLATE`, with or without `=` and quotes.
    fn collation(&mut self) {
        while self.text.get(self.at).is_some_and(|b| b.is_ascii_whitespace() || *b == b'=') {
            self.copy(1);
        }
        let rest = self.text.get(self.at..).unwrap_or_default();
        let quote = rest.first().copied().filter(|b| matches!(b, b'\'' | b'"' | b'`'));
        let begin = usize::from(quote.is_some());
        let name = rest.get(begin..).unwrap_or_default();
        let name = name.get(..name.iter().take_while(|b| is_word(**b)).count()).unwrap_or_default();
        let lower = String::from_utf8_lossy(name).to_ascii_lowercase();
        let theirs = if self.to.is_mariadb() { mariadb_collation(&lower) } else { mysql_collation(&lower) };
        if let Some(theirs) = theirs {
            self.out.extend(quote);
            self.out.extend_from_slice(theirs.as_bytes());
            self.skip(begin + name.len());
            self.out.extend(quote);
            self.skip(usize::from(quote.is_some()));
        }
    }

    /// MariaDB takes a function as a column's default as it stands, and any value for a TEXT or BLOB: MySQL wants both in
    /// parentheses.
    fn default_value(&mut self) {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let before = rest.iter().take_while(|b| b.is_ascii_whitespace()).count();
        let value = rest.get(before..).unwrap_or_default();
        let length = match value.first() {
            Some(b'\'' | b'"') if self.clauses.is_bulky() => quoted_length(value, self.quotes),
            Some(b) if b.is_ascii_digit() && self.clauses.is_bulky() => {
                value.iter().take_while(|b| is_word(**b) || **b == b'.').count()
            }
            Some(b) if is_word(*b) => clause::call_length(value, self.quotes),
            _ => 0,
        };
        if length > 0 {
            self.copy(before);
            self.out.push(b'(');
            self.wrapped = Some(self.at + length);
        }
    }

    /// `ENCRYPTION [=] 'N'` says what is so anyway, in words that MariaDB does not have: it is left out, with a `DEFAULT`
    /// before it. Behind a comma it stays.
    fn is_unencrypted(&mut self, rest: &[u8], length: usize) -> bool {
        let mut value = rest.get(length..).unwrap_or_default().trim_ascii_start();
        value = value.strip_prefix(b"=").unwrap_or(value).trim_ascii_start();
        let no = [&b"'N'"[..], b"'n'", b"\"N\"", b"\"n\""].iter().any(|no| value.starts_with(no));
        let before = self.out.trim_ascii_end();
        if !no || before.ends_with(b",") {
            return false;
        }
        let default = before.len().checked_sub(7).filter(|at| {
            before.get(*at..).is_some_and(|w| w.eq_ignore_ascii_case(b"DEFAULT"))
                && at.checked_sub(1).and_then(|b| before.get(b)).is_some_and(|b| !is_word(*b))
        });
        if let Some(at) = default {
            self.out.truncate(at);
        }
        self.skip(rest.len() - value.len() + 3);
        true
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || byte >= 0x80
}

fn line_length(text: &[u8]) -> usize {
    text.iter().position(|b| *b == b'\n').map_or(text.len(), |at| at + 1)
}

fn comment_length(text: &[u8]) -> usize {
    let inside = text.get(2..).unwrap_or_default();
    inside.windows(2).position(|w| w == b"*/").map_or(text.len(), |at| at + 4)
}

/// Length of what opens with a quote, up to behind its closing one.
fn quoted_length(text: &[u8], quotes: Quotes) -> usize {
    let Some(&quote) = text.first() else { return 1 };
    let name = quote == b'`' || quote == b'"' && quotes.ansi;
    let mut at = 1;
    while let Some(&byte) = text.get(at) {
        at += match byte {
            b if quotes.wide && b >= 0x81 => 2,
            b'\\' if !name && !quotes.no_escapes => 2,
            b if b == quote && text.get(at + 1) == Some(&quote) => 2,
            b if b == quote => return at + 1,
            _ => 1,
        };
    }
    text.len()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn of(text: &str, sql_mode: u64, to: Flavour) -> String {
        let context = SessionContext { sql_mode: Some(sql_mode), ..SessionContext::default() };
        String::from_utf8(translate(text.as_bytes(), &context, to).into_owned()).unwrap()
    }

    fn to_mariadb(text: &str) -> String {
        of(text, 0, Flavour::MariaDb)
    }

    fn to_mysql(text: &str) -> String {
        of(text, SQL_MODE_OF_MARIADB, Flavour::MySql)
    }

    #[test]
    fn what_utf8mb4_alone_means_to_the_source_is_written_out() {
        const UTF8MB4_0900_AI_CI: u16 = 255;
        let mysql = |text: &str| {
            let default_collation_for_utf8mb4 = Some(UTF8MB4_0900_AI_CI);
            let context = SessionContext { default_collation_for_utf8mb4, ..SessionContext::default() };
            String::from_utf8(translate(text.as_bytes(), &context, Flavour::MariaDb).into_owned()).unwrap()
        };
        let there = "COLLATE utf8mb4_uca1400_nopad_ai_ci";
        assert_eq!(
            mysql(
                "CREATE TABLE t (a CHAR(3) character set 'UTF8MB4' NOT NULL, b TEXT CHARSET latin1) DEFAULT CHARSET=utf8mb4"
            ),
            format!(
                "CREATE TABLE t (a CHAR(3) character set 'UTF8MB4' {there} NOT NULL, b TEXT CHARSET latin1) \
                 DEFAULT CHARSET=utf8mb4 {there}"
            )
        );
        assert_eq!(
            mysql("CREATE DATABASE d /*!40100 CHARACTER SET utf8mb4 */"),
            format!("CREATE DATABASE d /*!40100 CHARACTER SET utf8mb4 {there} */")
        );
        assert_eq!(
            to_mysql("CREATE TABLE t (a CHAR(3) CHARACTER SET utf8mb4) CHARSET utf8mb4"),
            "CREATE TABLE t (a CHAR(3) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci) CHARSET utf8mb4 COLLATE utf8mb4_general_ci"
        );
        for said in [
            "CREATE TABLE t (a CHAR(3) CHARSET utf8mb4 NOT NULL COLLATE utf8mb4_bin) COLLATE utf8mb4_bin CHARSET utf8mb4",
            "CREATE TABLE t (a CHAR(3) CHARSET utf8mb4 BINARY, b INT) CHARSET utf8mb4 COMMENT ', x)', DEFAULT COLLATE = utf8mb4_bin",
            "CREATE PROCEDURE p() SET CHARACTER SET utf8mb4",
            "CREATE TABLE t (a INT COMMENT 'CHARSET utf8mb4') /* CHARSET utf8mb4 */ CHARSET DEFAULT",
        ] {
            assert_eq!(mysql(said), said);
            assert_eq!(to_mysql(said), said);
        }
        let cast = "CREATE VIEW v AS SELECT CAST(a AS CHAR(3) CHARACTER SET utf8mb4)";
        assert_eq!(to_mysql(cast), cast);
    }

    #[test]
    fn within_a_family_nothing_changes() {
        let text = "CREATE TABLE t (a INT /*!80023 INVISIBLE */) COLLATE utf8mb4_0900_ai_ci";
        assert_eq!(of(text, 0, Flavour::MySql), text);
        assert_eq!(of("x /*M!100100 y */", SQL_MODE_OF_MARIADB, Flavour::MariaDb), "x /*M!100100 y */");
    }

    #[test]
    fn what_the_source_ran_is_run_and_what_it_passed_over_is_not() {
        assert_eq!(to_mariadb("a /*!80023 INVISIBLE */, b"), "a   INVISIBLE  , b");
        assert_eq!(to_mariadb("/*!40101 SET */ x /*!50100 PARTITION */"), "/*!40101 SET */ x /*!50100 PARTITION */");
        assert_eq!(to_mariadb("a /*M!100100 x */ /*!100200 y */"), "a /* 100100 x */ /* 100200 y */");
        assert_eq!(to_mysql("a /*M!100100 x */ /*!100200 y */ /*!80000 z */"), "a   x     y   /* 80000 z */");
        assert_eq!(to_mysql("/*! SQL */"), "/*! SQL */");
    }

    #[test]
    fn collations_get_the_name_that_mariadb_has() {
        assert_eq!(
            to_mariadb("a TEXT COLLATE utf8mb4_0900_ai_ci, b TEXT collate = 'UTF8MB4_0900_BIN' COLLATE latin1_bin"),
            "a TEXT COLLATE utf8mb4_uca1400_nopad_ai_ci, b TEXT collate = 'utf8mb4_nopad_bin' COLLATE latin1_bin"
        );
        let quoted = "COMMENT 'COLLATE utf8mb4_0900_ai_ci /*!80000 x */' -- /*!80000\n`COLLATE utf8mb4_0900_ai_ci`";
        assert_eq!(to_mariadb(quoted), quoted);
    }

    #[test]
    fn what_both_have_goes_by_the_targets_word() {
        assert_eq!(
            to_mariadb("CREATE TABLE t (g geomcollection DEFAULT NULL, `geomcollection` int)"),
            "CREATE TABLE t (g geometrycollection DEFAULT NULL, `geomcollection` int)"
        );
        assert_eq!(
            to_mysql(
                "CREATE TABLE `t` (`a` varchar(36) DEFAULT uuid() COMMENT 'DEFAULT f(1)', b text DEFAULT 'x)''', `c` longtext \
                 COLLATE utf8mb4_uca1400_nopad_ai_ci NOT NULL DEFAULT \"{}\" CHECK (json_valid(`c`)), d char(5) DEFAULT 'y', \
                 e datetime DEFAULT current_timestamp() ON UPDATE current_timestamp(), f int DEFAULT (1 + 1), g blob DEFAULT NULL, \
                 h varchar(9) DEFAULT concat('(', lower('B')), i tinytext DEFAULT 5)"
            ),
            "CREATE TABLE `t` (`a` varchar(36) DEFAULT (uuid()) COMMENT 'DEFAULT f(1)', b text DEFAULT ('x)'''), `c` longtext \
             COLLATE utf8mb4_0900_ai_ci NOT NULL DEFAULT (\"{}\") CHECK (json_valid(`c`)), d char(5) DEFAULT 'y', \
             e datetime DEFAULT current_timestamp() ON UPDATE current_timestamp(), f int DEFAULT (1 + 1), g blob DEFAULT NULL, \
             h varchar(9) DEFAULT (concat('(', lower('B'))), i tinytext DEFAULT (5))"
        );
        assert_eq!(to_mysql("ALTER TABLE t ADD a UUID DEFAULT uuid ()"), "ALTER TABLE t ADD a UUID DEFAULT (uuid ())");
        for other in ["INSERT INTO t VALUES (DEFAULT(a))", "CREATE PROCEDURE p() BEGIN DECLARE a INT DEFAULT f(1); END"]
        {
            assert_eq!(to_mysql(other), other);
        }
    }

    #[test]
    fn a_table_said_not_to_be_encrypted_is_not_said_to_be() {
        assert_eq!(
            to_mariadb(
                "CREATE DATABASE x /*!40100 DEFAULT CHARACTER SET utf8mb4 */ /*!80016 DEFAULT ENCRYPTION='N' */"
            ),
            "CREATE DATABASE x /*!40100 DEFAULT CHARACTER SET utf8mb4 */     "
        );
        assert_eq!(to_mariadb("x ENCRYPTION = 'Y'"), "x ENCRYPTION = 'Y'");
    }

    proptest! {
        #[test]
        fn any_bytes_are_translated(text in prop::collection::vec(prop::sample::select(b"/*!M80016 'COLLATE`-#\\\"ENCRYPTION=N\n\x95".to_vec()), 0..60), ansi: bool, wide: bool) {
            const GBK: u16 = 28;
            for (mode, to) in [(0, Flavour::MariaDb), (SQL_MODE_OF_MARIADB, Flavour::MySql)] {
                let context = SessionContext {
                    sql_mode: Some(mode | u64::from(ansi) << 2),
                    character_set_client: wide.then_some(GBK),
                    default_collation_for_utf8mb4: Some(255),
                    ..SessionContext::default()
                };
                let _ = translate(&text, &context, to);
                let _ = translate(&[b"CHARSET", &text[..], b"CHARSET utf8mb4", &text[..]].concat(), &context, to);
            }
        }
    }
}

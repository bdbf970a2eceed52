//! A statement, read token by token.

use std::ops::Range;

use lutra_change::sql_lexer::TokenKind;
use lutra_change::{SessionContext, Statement};

use super::charsets::Charsets;

/// What a statement says cannot be told: the definition must come from elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unclear(pub(super) String);

/// Why something is unclear.
pub(super) fn unclear<T>(why: impl Into<String>) -> Result<T, Unclear> {
    Err(Unclear(why.into()))
}

/// What of a session decides what a statement means.
#[derive(Clone, Copy, Debug)]
pub struct Session<'a> {
    /// The character sets of the server.
    pub charsets: &'a Charsets,
    /// What the binlog says of the session.
    pub context: &'a SessionContext,
    /// The server is a MariaDB.
    pub mariadb: bool,
    /// The default collation of the table's database, where known. (What the binlog calls `collation_database` is another
    /// thing, which LOAD DATA goes by.)
    pub default: Option<u16>,
}

impl Session<'_> {
    fn has_mode(&self, bit: u64) -> bool {
        self.context.sql_mode.unwrap_or(0) & bit != 0
    }

    pub(super) fn real_as_float(&self) -> bool {
        self.has_mode(1)
    }

    /// A TIMESTAMP without a word on NULL takes none.
    pub(super) fn timestamps_are_not_null(&self) -> bool {
        self.context.explicit_defaults_for_timestamp == Some(false)
    }

    /// The default collation of a character set, in this session.
    pub(super) fn default_of(&self, charset: &str) -> Option<u16> {
        let own = self.context.default_collation_for_utf8mb4.filter(|_| charset.eq_ignore_ascii_case("utf8mb4"));
        own.or_else(|| self.charsets.of_charset(charset))
    }
}

/// A place in a statement.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'s, 't> {
    pub(super) statement: &'s Statement<'t>,
    pub(super) at: usize,
}

impl Reader<'_, '_> {
    pub(super) fn is(&self, word: &str) -> bool {
        self.statement.is(self.at, word)
    }

    pub(super) fn is_any(&self, words: &[&str]) -> bool {
        self.statement.is_any(self.at, words)
    }

    /// Whether these words come next.
    pub(super) fn are(&self, words: &[&str]) -> bool {
        words.iter().enumerate().all(|(n, word)| self.statement.is(self.at + n, word))
    }

    /// Passes these words, if they come next.
    pub(super) fn take(&mut self, words: &[&str]) -> bool {
        let found = self.are(words);
        if found {
            self.at += words.len();
        }
        found
    }

    /// Passes one of these words, if it comes next.
    pub(super) fn take_any(&mut self, words: &[&str]) -> bool {
        let found = self.is_any(words);
        self.at += usize::from(found);
        found
    }

    pub(super) fn sign(&self) -> Option<u8> {
        self.statement.sign(self.at)
    }

    pub(super) fn take_sign(&mut self, sign: u8) -> bool {
        let found = self.sign() == Some(sign);
        self.at += usize::from(found);
        found
    }

    pub(super) fn is_end(&self) -> bool {
        self.at >= self.statement.tokens.len()
            || (self.sign() == Some(b';') && self.at + 1 == self.statement.tokens.len())
    }

    /// Whether what is being read ends here: at the statement's end, a comma, or a bracket that was opened before it.
    pub(super) fn is_item_end(&self) -> bool {
        self.is_end() || matches!(self.sign(), Some(b',' | b')')) || self.are(&["PARTITION", "BY"])
    }

    /// The words at this place, for messages.
    pub(super) fn here(&self) -> String {
        let words = self.statement.tokens.iter().skip(self.at).take(3);
        let words = words.map(|t| String::from_utf8_lossy(t.bytes(self.statement.text)).into_owned());
        words.collect::<Vec<_>>().join(" ")
    }

    /// The name at this place.
    pub(super) fn name(&mut self) -> Result<String, Unclear> {
        let Some(name) = self.statement.name(self.at) else {
            return unclear(format!("a name is missing before {:?}", self.here()));
        };
        self.at += 1;
        Ok(name)
    }

    /// A word or string at this place, as a value: `utf8mb4`, `'utf8mb4'`.
    pub(super) fn word(&mut self) -> Result<String, Unclear> {
        let Some(token) = self.statement.tokens.get(self.at) else { return unclear("a word is missing at its end") };
        match token.kind {
            TokenKind::Text => Ok(String::from_utf8_lossy(&self.text()?).into_owned()),
            _ => self.name(),
        }
    }

    /// The string at this place, escapes resolved.
    pub(super) fn text(&mut self) -> Result<Vec<u8>, Unclear> {
        let token = self.statement.tokens.get(self.at).filter(|t| t.kind == TokenKind::Text);
        let Some(bytes) = token.map(|t| t.bytes(self.statement.text)) else {
            return unclear(format!("a string is missing before {:?}", self.here()));
        };
        self.at += 1;
        let (Some(&quote), Some(inner)) = (bytes.first(), bytes.get(1..bytes.len().saturating_sub(1))) else {
            return unclear("a string is not closed");
        };
        Ok(unescaped(inner, quote, !self.statement.lexis.no_backslash_escapes))
    }

    /// A number in brackets at this place, and a second one behind a comma.
    pub(super) fn numbers(&mut self) -> Result<Option<(u32, Option<u32>)>, Unclear> {
        if !self.take_sign(b'(') {
            return Ok(None);
        }
        let first = self.number()?;
        let second = if self.take_sign(b',') { Some(self.number()?) } else { None };
        if !self.take_sign(b')') {
            return unclear(format!("a bracket is not closed before {:?}", self.here()));
        }
        Ok(Some((first, second)))
    }

    fn number(&mut self) -> Result<u32, Unclear> {
        let token = self.statement.tokens.get(self.at).filter(|t| t.kind == TokenKind::Word);
        let text = token.and_then(|t| std::str::from_utf8(t.bytes(self.statement.text)).ok());
        match text.and_then(|t| t.parse().ok()) {
            Some(number) => {
                self.at += 1;
                Ok(number)
            }
            None => unclear(format!("a number is missing before {:?}", self.here())),
        }
    }

    /// Passes what stands in brackets, if a bracket comes next.
    pub(super) fn skip_brackets(&mut self) -> bool {
        if self.sign() != Some(b'(') {
            return false;
        }
        let mut depth = 0usize;
        while let Some(token) = self.statement.tokens.get(self.at) {
            self.at += 1;
            match token.kind {
                TokenKind::Sign(b'(') => depth += 1,
                TokenKind::Sign(b')') if depth == 1 => return true,
                TokenKind::Sign(b')') => depth -= 1,
                _ => {}
            }
        }
        true
    }

    /// Passes all that is left.
    pub(super) fn skip_all(&mut self) {
        self.at = self.statement.tokens.len();
    }

    /// Passes everything up to the end of what is being read, and says which tokens that were.
    pub(super) fn skip_item(&mut self) -> Range<usize> {
        let start = self.at;
        while !self.is_item_end() {
            if !self.skip_brackets() {
                self.at += 1;
            }
        }
        start..self.at
    }
}

/// What a string's inside says.
fn unescaped(inner: &[u8], quote: u8, backslashes: bool) -> Vec<u8> {
    let mut text = Vec::with_capacity(inner.len());
    let mut at = 0;
    while let Some(&byte) = inner.get(at) {
        let next = inner.get(at + 1).copied();
        at += 1;
        match (byte, next) {
            (b, Some(n)) if b == quote && n == quote => {
                text.push(b);
                at += 1;
            }
            (b'\\', Some(n)) if backslashes => {
                at += 1;
                match n {
                    b'0' => text.push(0),
                    b'b' => text.push(8),
                    b'n' => text.push(b'\n'),
                    b'r' => text.push(b'\r'),
                    b't' => text.push(b'\t'),
                    b'Z' => text.push(26),
                    b'%' | b'_' => text.extend([b'\\', n]),
                    other => text.push(other),
                }
            }
            (b, _) => text.push(b),
        }
    }
    text
}

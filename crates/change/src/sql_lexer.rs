//! A tokenizer for MySQL statements, as far as their kind and the names in them must be found.
//!
//! Follows the lexical rules of the MySQL manual, chapter "Language Structure": quoted names and strings, comments,
//! and versioned comments (`/*!80000 … */`), whose inside is code; optimizer hints (`/*+ … */`) are comments.

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// An unquoted word: keyword, name or number.
    Word,
    /// A name in backticks, or in double quotes under `ANSI_QUOTES`.
    Quoted,
    /// A string.
    Text,
    /// One byte of punctuation.
    Sign(u8),
}

/// A token and the bytes it covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub kind: TokenKind,
    /// First byte.
    pub start: usize,
    /// Behind its last byte.
    pub end: usize,
}

/// What of the session changes how a statement is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lexis {
    /// `ANSI_QUOTES`: double quotes enclose names.
    pub ansi_quotes: bool,
    /// `NO_BACKSLASH_ESCAPES`: a backslash is an ordinary character.
    pub no_backslash_escapes: bool,
    /// The client character set is one of those in which the second byte of a character may be ASCII (gbk, gb18030,
    /// big5, sjis, cp932).
    pub wide: bool,
}

impl Lexis {
    /// From the bits of `sql_mode` (`MODE_ANSI_QUOTES`, `MODE_NO_BACKSLASH_ESCAPES`).
    pub fn of_sql_mode(sql_mode: u64) -> Self {
        Self { ansi_quotes: sql_mode & 0x4 != 0, no_backslash_escapes: sql_mode & (1 << 20) != 0, wide: false }
    }
}

impl Token {
    /// The bytes of the token.
    pub fn bytes<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        text.get(self.start..self.end).unwrap_or_default()
    }

    /// Whether it is that keyword, whatever its case.
    pub fn is_word(&self, text: &[u8], word: &str) -> bool {
        self.kind == TokenKind::Word && self.bytes(text).eq_ignore_ascii_case(word.as_bytes())
    }

    /// The name it stands for, quotes taken off; `None` for strings and punctuation.
    pub fn name(&self, text: &[u8]) -> Option<String> {
        let bytes = self.bytes(text);
        match self.kind {
            TokenKind::Word => Some(String::from_utf8_lossy(bytes).into_owned()),
            TokenKind::Quoted => {
                let quote = *bytes.first()?;
                let inner = bytes.get(1..bytes.len().checked_sub(1)?)?;
                let mut name = Vec::with_capacity(inner.len());
                let mut skip = false;
                for &byte in inner {
                    skip = byte == quote && !skip;
                    if !skip {
                        name.push(byte);
                    }
                }
                Some(String::from_utf8_lossy(&name).into_owned())
            }
            TokenKind::Text | TokenKind::Sign(_) => None,
        }
    }
}

/// The tokens of a statement; `None` if a quote or comment is left open.
pub fn tokens(text: &[u8], lexis: Lexis) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut at = 0;
    let mut in_versioned = false;
    while let Some(&byte) = text.get(at) {
        let next = text.get(at + 1).copied();
        let mut take = |kind, end| {
            tokens.push(Token { kind, start: at, end });
            end
        };
        at = match byte {
            b if b.is_ascii_whitespace() || b == 0 => at + 1,
            b'#' => line_end(text, at),
            b'-' if next == Some(b'-')
                && text.get(at + 2).is_none_or(|b| b.is_ascii_whitespace() || b.is_ascii_control()) =>
            {
                line_end(text, at)
            }
            b'/' if next == Some(b'*') && text.get(at + 2) == Some(&b'!') => {
                in_versioned = true;
                at + 3 + text.get(at + 3..)?.iter().take_while(|b| b.is_ascii_digit()).count()
            }
            b'/' if next == Some(b'*') => at + 4 + find(text.get(at + 2..)?, b"*/")?,
            b'*' if next == Some(b'/') && in_versioned => {
                in_versioned = false;
                at + 2
            }
            b'`' => take(TokenKind::Quoted, quoted(text, at, lexis, false)?),
            b'"' if lexis.ansi_quotes => take(TokenKind::Quoted, quoted(text, at, lexis, false)?),
            b'\'' | b'"' => take(TokenKind::Text, quoted(text, at, lexis, true)?),
            b if is_word(b) => take(TokenKind::Word, word_end(text, at, lexis)),
            b => take(TokenKind::Sign(b), at + 1),
        };
    }
    (!in_versioned).then_some(tokens)
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || byte >= 0x80
}

fn word_end(text: &[u8], start: usize, lexis: Lexis) -> usize {
    let mut at = start;
    while let Some(&byte) = text.get(at) {
        if lexis.wide && byte >= 0x81 {
            at += 2;
        } else if is_word(byte) {
            at += 1;
        } else {
            break;
        }
    }
    at.min(text.len())
}

fn line_end(text: &[u8], start: usize) -> usize {
    text.iter().skip(start).position(|&b| b == b'\n').map_or(text.len(), |length| start + length + 1)
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|w| w == what)
}

/// Behind the closing quote of what opens at `start`.
fn quoted(text: &[u8], start: usize, lexis: Lexis, escapes: bool) -> Option<usize> {
    let quote = *text.get(start)?;
    let mut at = start + 1;
    loop {
        let byte = *text.get(at)?;
        at += match byte {
            b if lexis.wide && b >= 0x81 => 2,
            b'\\' if escapes && !lexis.no_backslash_escapes => 2,
            b if b == quote && text.get(at + 1) == Some(&quote) => 2,
            b if b == quote => return Some(at + 1),
            _ => 1,
        };
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn words(text: &str, lexis: Lexis) -> Vec<String> {
        tokens(text.as_bytes(), lexis)
            .unwrap()
            .iter()
            .map(|t| String::from_utf8_lossy(t.bytes(text.as_bytes())).into_owned())
            .collect()
    }

    #[test]
    fn comments_are_passed_over_and_versioned_ones_are_code() {
        let text = "/* a */ CREATE /*!50100 TABLE */ t -- b\n(x INT) # c\n/*+ hint */ ;";
        assert_eq!(words(text, Lexis::default()), ["CREATE", "TABLE", "t", "(", "x", "INT", ")", ";"]);
        assert_eq!(words("a--b", Lexis::default()), ["a", "-", "-", "b"]);
    }

    #[test]
    fn quotes_follow_the_sql_mode() {
        let text = r#""a""b" 'it''s \' done' `c``d`"#;
        let plain = tokens(text.as_bytes(), Lexis::default()).unwrap();
        assert_eq!(
            plain.iter().map(|t| t.kind).collect::<Vec<_>>(),
            [TokenKind::Text, TokenKind::Text, TokenKind::Quoted]
        );
        assert_eq!(plain[2].name(text.as_bytes()).unwrap(), "c`d");
        let ansi = Lexis { ansi_quotes: true, ..Lexis::default() };
        assert_eq!(tokens(text.as_bytes(), ansi).unwrap()[0].name(text.as_bytes()).unwrap(), "a\"b");
        let raw = Lexis { no_backslash_escapes: true, ..Lexis::default() };
        assert_eq!(words(r"'a\' b", raw), [r"'a\'", "b"]);
    }

    #[test]
    fn the_second_byte_of_a_wide_character_is_no_quote() {
        let text = b"'\x95\x5c' x";
        assert_eq!(tokens(text, Lexis { wide: true, ..Lexis::default() }).unwrap().len(), 2);
        assert!(tokens(text, Lexis::default()).is_none());
    }

    proptest! {
        #[test]
        fn any_bytes_end_in_tokens_or_in_none(text in prop::collection::vec(any::<u8>(), 0..80), ansi: bool, raw: bool, wide: bool) {
            let lexis = Lexis { ansi_quotes: ansi, no_backslash_escapes: raw, wide };
            let mut end = 0;
            for token in tokens(&text, lexis).unwrap_or_default() {
                prop_assert!(end <= token.start && token.start < token.end);
                end = token.end;
                let _ = token.name(&text);
            }
        }
    }
}

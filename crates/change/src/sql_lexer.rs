//! A tokenizer for MySQL statements, as far as their kind and the names in them must be found.
//!
//! Follows the lexical rules of the MySQL manual, chapter "Language Structure": quoted names and strings, comments,
//! and versioned comments (`/*!80000 … */`, `/*M! … */`), whose inside is code; optimizer hints (`/*+ … */`) are comments.

use crate::row::SessionContext;

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
    /// `character_set_client`.
    pub charset: Charset,
}

/// What of `character_set_client` decides where characters end and what names say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Charset {
    /// UTF-8 or ASCII.
    #[default]
    Utf8,
    /// `latin1`, which is Windows-1252.
    Latin1,
    /// gbk, gb18030: a byte from 0x81 begins a character of two, whose second may be ASCII.
    Gbk,
    /// sjis, cp932: the same, but not for the half-width letters 0xa1 to 0xdf.
    Sjis,
    /// big5: the same, from 0xa1.
    Big5,
    /// Another one, in which every byte below 0x80 is ASCII.
    Other,
}

impl Charset {
    /// From the id of one of its collations.
    pub fn of_collation(collation: u16) -> Self {
        match collation {
            33 | 76 | 83 | 192..=215 | 223 | 45 | 46 | 224..=247 | 255..=323 | 11 | 65 | 576 | 608 => Self::Utf8,
            5 | 8 | 15 | 31 | 47 | 48 | 49 | 94 => Self::Latin1,
            28 | 87 | 248..=250 => Self::Gbk,
            13 | 88 | 95 | 96 => Self::Sjis,
            1 | 84 => Self::Big5,
            _ => Self::Other,
        }
    }

    /// Whether the byte begins a character of two bytes.
    fn leads(self, byte: u8) -> bool {
        match self {
            Self::Utf8 | Self::Latin1 | Self::Other => false,
            Self::Gbk => byte >= 0x81,
            Self::Sjis => matches!(byte, 0x81..=0x9f | 0xe0..=0xfc),
            Self::Big5 => byte >= 0xa1,
        }
    }

    /// The text that these bytes are; `None` where that is not known here.
    pub fn decode(self, bytes: &[u8]) -> Option<String> {
        match self {
            _ if bytes.is_ascii() => Some(String::from_utf8_lossy(bytes).into_owned()),
            Self::Utf8 => std::str::from_utf8(bytes).ok().map(str::to_owned),
            Self::Latin1 => Some(bytes.iter().map(|b| windows_1252(*b)).collect()),
            Self::Gbk | Self::Sjis | Self::Big5 | Self::Other => None,
        }
    }

    /// Whether that name can stand in a statement of this character set as UTF-8 bytes.
    pub fn takes(self, name: &str) -> bool {
        self == Self::Utf8 || name.is_ascii()
    }
}

/// 0x81, 0x8d, 0x8f, 0x90 and 0x9d are the control characters of that number to the server.
fn windows_1252(byte: u8) -> char {
    const HIGH: [char; 32] = [
        '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}', '\u{90}', '‘',
        '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
    ];
    match byte {
        0x80..=0x9f => HIGH.get(usize::from(byte - 0x80)).copied().unwrap_or(char::REPLACEMENT_CHARACTER),
        _ => char::from(byte),
    }
}

impl Lexis {
    /// From the bits of `sql_mode` (`MODE_ANSI_QUOTES`, `MODE_NO_BACKSLASH_ESCAPES`).
    pub fn of_sql_mode(sql_mode: u64) -> Self {
        Self {
            ansi_quotes: sql_mode & 0x4 != 0,
            no_backslash_escapes: sql_mode & (1 << 20) != 0,
            charset: Charset::default(),
        }
    }

    /// How a statement of that session is read.
    pub fn of_context(context: &SessionContext) -> Self {
        let charset = context.character_set_client.map_or(Charset::default(), Charset::of_collation);
        Self { charset, ..Self::of_sql_mode(context.sql_mode.unwrap_or(0)) }
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

    /// The name it stands for, quotes taken off; `None` for strings and punctuation, and for what is not text.
    pub fn name(&self, text: &[u8], lexis: Lexis) -> Option<String> {
        let bytes = self.bytes(text);
        match self.kind {
            TokenKind::Word => lexis.charset.decode(bytes),
            TokenKind::Quoted => lexis.charset.decode(&unquoted(bytes, lexis)?),
            TokenKind::Text | TokenKind::Sign(_) => None,
        }
    }
}

/// What stands between the quotes of a name; a doubled quote is one.
fn unquoted(bytes: &[u8], lexis: Lexis) -> Option<Vec<u8>> {
    let quote = *bytes.first()?;
    let inner = bytes.get(1..bytes.len().checked_sub(1)?)?;
    let mut name = Vec::with_capacity(inner.len());
    let mut at = 0;
    while let Some(&byte) = inner.get(at) {
        let width = if lexis.charset.leads(byte) { 2 } else { 1 };
        name.extend_from_slice(inner.get(at..(at + width).min(inner.len())).unwrap_or_default());
        at += if byte == quote { 2 } else { width };
    }
    Some(name)
}

/// A name in backquotes.
pub fn quote(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
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
            b'/' if next == Some(b'*') => match versioned(text, at) {
                Some(inside) => {
                    in_versioned = true;
                    inside
                }
                None => at + 4 + find(text.get(at + 2..)?, b"*/")?,
            },
            b'*' if next == Some(b'/') && in_versioned => {
                in_versioned = false;
                at + 2
            }
            b'`' => take(TokenKind::Quoted, quoted(text, at, lexis, false)?),
            b'"' if lexis.ansi_quotes => take(TokenKind::Quoted, quoted(text, at, lexis, false)?),
            b'\'' | b'"' => take(TokenKind::Text, quoted(text, at, lexis, true)?),
            b'$' => match dollar_quoted(text, at) {
                Some(end) => take(TokenKind::Text, end),
                None => take(TokenKind::Word, word_end(text, at, lexis)),
            },
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
        if lexis.charset.leads(byte) {
            at += 2;
        } else if is_word(byte) {
            at += 1;
        } else {
            break;
        }
    }
    at.min(text.len())
}

/// The inside of a comment whose inside is code: `/*! … */`, `/*!80000 … */`, MariaDB's `/*M!100100 … */`. The server takes
/// what it did not run out of its binlog by making it a plain comment.
fn versioned(text: &[u8], start: usize) -> Option<usize> {
    let mark = match text.get(start + 2..)? {
        [b'!', ..] => 3,
        [b'M', b'!', ..] => 4,
        _ => return None,
    };
    let digits = text.iter().skip(start + mark).take(6).take_while(|b| b.is_ascii_digit()).count();
    Some(start + mark + if digits >= 5 { digits } else { 0 })
}

/// Behind a string like `$$ … $$` or `$tag$ … $tag$` (the body of a routine in another language).
fn dollar_quoted(text: &[u8], start: usize) -> Option<usize> {
    let rest = text.get(start..)?;
    let tag = rest.iter().skip(1).position(|b| *b == b'$')? + 2;
    let quote = rest.get(..tag)?;
    if !quote.get(1..tag - 1)?.iter().all(|b| is_word(*b)) {
        return None;
    }
    Some(start + 2 * tag + find(rest.get(tag..)?, quote)?)
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
            b if lexis.charset.leads(b) => 2,
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

    fn name_of(text: &[u8], lexis: Lexis) -> Option<String> {
        tokens(text, lexis)?.first()?.name(text, lexis)
    }

    #[test]
    fn comments_are_passed_over_and_versioned_ones_are_code() {
        let text = "/* a */ CREATE /*!50100 TABLE */ t -- b\n(x INT) # c\n/*+ hint */ ;";
        assert_eq!(words(text, Lexis::default()), ["CREATE", "TABLE", "t", "(", "x", "INT", ")", ";"]);
        assert_eq!(words("a--b", Lexis::default()), ["a", "-", "-", "b"]);
        assert_eq!(
            words("/*!080000 a *//*M!100100 b*/ /*!1 c*/ /*!50000 d /* e */ f*/", Lexis::default()),
            ["a", "b", "1", "c", "d", "f"]
        );
        assert_eq!(words("a */ b", Lexis::default()), ["a", "*", "/", "b"]);
        for open in ["/*!50000 a", "/* a", "'a", "`a", "\"a"] {
            assert!(tokens(open.as_bytes(), Lexis::default()).is_none(), "{open}");
        }
    }

    #[test]
    fn quotes_follow_the_sql_mode() {
        let text = r#""a""b" 'it''s \' done' `c``d`"#;
        let plain = tokens(text.as_bytes(), Lexis::default()).unwrap();
        assert_eq!(
            plain.iter().map(|t| t.kind).collect::<Vec<_>>(),
            [TokenKind::Text, TokenKind::Text, TokenKind::Quoted]
        );
        assert_eq!(plain[2].name(text.as_bytes(), Lexis::default()).unwrap(), "c`d");
        let ansi = Lexis { ansi_quotes: true, ..Lexis::default() };
        assert_eq!(name_of(text.as_bytes(), ansi).unwrap(), "a\"b");
        let raw = Lexis { no_backslash_escapes: true, ..Lexis::default() };
        assert_eq!(words(r"'a\' b", raw), [r"'a\'", "b"]);
        assert_eq!(words("$$ it's $$ $a$ $$ $a$ b $c", Lexis::default()), ["$$ it's $$", "$a$ $$ $a$", "b", "$c"]);
    }

    #[test]
    fn the_second_byte_of_a_wide_character_is_no_quote() {
        let of = |charset| Lexis { charset, ..Lexis::default() };
        for charset in [Charset::Gbk, Charset::Sjis] {
            assert_eq!(tokens(b"'\x95\x5c' x", of(charset)).unwrap().len(), 2);
        }
        assert!(tokens(b"'\x95\x5c' x", Lexis::default()).is_none());
        // A half-width letter is one byte.
        assert_eq!(tokens(b"'\xb1' x", of(Charset::Sjis)).unwrap().len(), 2);
        assert!(tokens(b"'\xb1' x", of(Charset::Gbk)).is_none());
        assert_eq!(tokens(b"'\xa4\x5c' x", of(Charset::Big5)).unwrap().len(), 2);
    }

    #[test]
    fn names_are_read_in_the_clients_character_set() {
        let latin1 = Lexis { charset: Charset::of_collation(8), ..Lexis::default() };
        assert_eq!(name_of(b"`t\xe4\x80`", latin1).unwrap(), "tä€");
        assert_eq!(name_of("tä".as_bytes(), Lexis::default()).unwrap(), "tä");
        assert_eq!(name_of(b"t\xe4", Lexis::default()), None);
        let greek = Lexis { charset: Charset::of_collation(25), ..Lexis::default() };
        assert_eq!((name_of(b"t\xe4", greek), name_of(b"t", greek)), (None, Some("t".to_owned())));
    }

    proptest! {
        #[test]
        fn any_bytes_end_in_tokens_or_in_none(text in prop::collection::vec(any::<u8>(), 0..80), ansi: bool, raw: bool, collation in 0_u16..330) {
            let lexis = Lexis { ansi_quotes: ansi, no_backslash_escapes: raw, charset: Charset::of_collation(collation) };
            let mut end = 0;
            for token in tokens(&text, lexis).unwrap_or_default() {
                prop_assert!(end <= token.start && token.start < token.end && token.end <= text.len());
                end = token.end;
                let _ = token.name(&text, lexis);
            }
        }

        #[test]
        fn a_quoted_name_is_read_back(text in ".{1,20}") {
            let quoted = quote(&text);
            prop_assert_eq!(name_of(quoted.as_bytes(), Lexis::default()), Some(text));
        }
    }
}

//! A tokenizer for MySQL statements, as far as names must be found in them.
//!
//! Follows the lexical rules of the MySQL manual, chapter "Language Structure": quoted names and strings, comments, and
//! versioned comments, whose inside is code.

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// An unquoted word: keyword, name or number.
    Word,
    /// A name in backquotes, or in double quotes under `ANSI_QUOTES`.
    Quoted,
    /// A string.
    Text,
    /// One character of punctuation.
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

/// The session's settings that change how a statement is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lexis {
    /// `ANSI_QUOTES`: double quotes enclose names.
    pub ansi_quotes: bool,
    /// `NO_BACKSLASH_ESCAPES`: a backslash is an ordinary character.
    pub no_backslash_escapes: bool,
}

impl Lexis {
    /// From the bits of `sql_mode` (`sql/system_variables.h`: `MODE_ANSI_QUOTES`, `MODE_NO_BACKSLASH_ESCAPES`).
    pub fn of_sql_mode(sql_mode: u64) -> Self {
        Self { ansi_quotes: sql_mode & 0x4 != 0, no_backslash_escapes: sql_mode & (1 << 20) != 0 }
    }
}

/// The tokens of a statement; `None` if a quote or comment is left open.
pub fn tokens(text: &[u8], lexis: Lexis) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(&c) = text.get(at) {
        let next = text.get(at + 1).copied();
        at = match c {
            c if c.is_ascii_whitespace() || c == 0 => at + 1,
            b'#' => line_end(text, at),
            b'-' if next == Some(b'-')
                && text.get(at + 2).is_none_or(|c| c.is_ascii_whitespace() || c.is_ascii_control()) =>
            {
                line_end(text, at)
            }
            b'/' if next == Some(b'*') => comment(text, at)?,
            // The end of a versioned comment, whose beginning was passed over.
            b'*' if next == Some(b'/') => at + 2,
            b'`' => push(&mut tokens, TokenKind::Quoted, at, quoted(text, at, b'`', false)?),
            b'"' if lexis.ansi_quotes => push(&mut tokens, TokenKind::Quoted, at, quoted(text, at, b'"', false)?),
            b'\'' | b'"' => push(&mut tokens, TokenKind::Text, at, quoted(text, at, c, !lexis.no_backslash_escapes)?),
            c if is_word(c) => {
                let end = text[at..].iter().position(|c| !is_word(*c)).map_or(text.len(), |n| at + n);
                push(&mut tokens, TokenKind::Word, at, end)
            }
            c => push(&mut tokens, TokenKind::Sign(c), at, at + 1),
        };
    }
    Some(tokens)
}

fn push(tokens: &mut Vec<Token>, kind: TokenKind, start: usize, end: usize) -> usize {
    tokens.push(Token { kind, start, end });
    end
}

fn is_word(c: u8) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, b'_' | b'$') || c >= 0x80
}

fn line_end(text: &[u8], at: usize) -> usize {
    text[at..].iter().position(|c| *c == b'\n').map_or(text.len(), |n| at + n + 1)
}

/// Behind a comment; of a versioned one only behind its beginning.
fn comment(text: &[u8], at: usize) -> Option<usize> {
    let inside = &text[at + 2..];
    let mark = match inside {
        [b'!', ..] => 1,
        [b'M', b'!', ..] => 2,
        _ => return inside.windows(2).position(|w| w == b"*/").map(|n| at + 2 + n + 2),
    };
    let digits = inside[mark..].iter().take(6).take_while(|c| c.is_ascii_digit()).count();
    Some(at + 2 + mark + if digits >= 5 { digits } else { 0 })
}

/// Behind the closing quote; a doubled quote is one inside.
fn quoted(text: &[u8], start: usize, quote: u8, escapes: bool) -> Option<usize> {
    let mut at = start + 1;
    loop {
        match *text.get(at)? {
            b'\\' if escapes => at += 2,
            c if c == quote && text.get(at + 1) == Some(&quote) => at += 2,
            c if c == quote => return Some(at + 1),
            _ => at += 1,
        }
    }
}

/// The name that a word or quoted token spells; `None` if it is not UTF-8 or no name.
pub fn name(text: &[u8], token: Token) -> Option<String> {
    let bytes = text.get(token.start..token.end)?;
    match token.kind {
        TokenKind::Word => std::str::from_utf8(bytes).ok().map(str::to_owned),
        TokenKind::Quoted => {
            let quote = char::from(*bytes.first()?);
            let inner = std::str::from_utf8(bytes.get(1..bytes.len() - 1)?).ok()?;
            Some(inner.replace(&format!("{quote}{quote}"), &quote.to_string()))
        }
        TokenKind::Text | TokenKind::Sign(_) => None,
    }
}

/// A name in backquotes.
pub fn quote(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn words(text: &str, lexis: Lexis) -> Vec<&str> {
        tokens(text.as_bytes(), lexis).unwrap().iter().map(|t| &text[t.start..t.end]).collect()
    }

    #[test]
    fn names_strings_and_comments_are_told_apart() {
        let plain = Lexis::default();
        assert_eq!(
            words("a.`b``c` 'it''s \\' x' -- rest\n#more\n,/* no */d", plain),
            ["a", ".", "`b``c`", "'it''s \\' x'", ",", "d"]
        );
        assert_eq!(
            words("/*!50100 PARTITION BY*/ x /*M!100100 y*/ 1--2", plain),
            ["PARTITION", "BY", "x", "y", "1", "-", "-", "2"]
        );
        let strict = Lexis { ansi_quotes: true, no_backslash_escapes: true };
        assert_eq!(words("'\\' \"a b\"", strict), ["'\\'", "\"a b\""]);
        assert_eq!(tokens(b"\"a b\"", strict).unwrap()[0].kind, TokenKind::Quoted);
        assert!(tokens(b"'open", plain).is_none() && tokens(b"/* open", plain).is_none());
    }

    proptest! {
        #[test]
        fn a_quoted_name_is_read_back(text in ".{1,20}") {
            let quoted = quote(&text);
            let tokens = tokens(quoted.as_bytes(), Lexis::default()).unwrap();
            prop_assert_eq!(tokens.len(), 1);
            prop_assert_eq!(name(quoted.as_bytes(), tokens[0]), Some(text));
        }

        #[test]
        fn any_bytes_are_tokenized_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..60), ansi: bool, plain: bool) {
            if let Some(found) = tokens(&bytes, Lexis { ansi_quotes: ansi, no_backslash_escapes: plain }) {
                prop_assert!(found.iter().all(|t| t.start < t.end && t.end <= bytes.len()));
                for token in found {
                    let _ = name(&bytes, token);
                }
            }
        }
    }
}

//! Texts: GTID sets, statements, specification files.

use lutra_change::sql_lexer::{Charset, Lexis, tokens};
use lutra_change::{Gtid, GtidSet, Statement};

/// A GTID set; printed and read again it must be the same, and the algebra must hold.
pub fn gtid_set(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let _ = text.parse::<Gtid>();
    let Ok(set) = text.parse::<GtidSet>() else { return };
    let printed = set.to_string();
    assert_eq!(printed.parse::<GtidSet>().as_ref(), Ok(&set), "{printed}");
    assert!(set.is_subset(&set) && set.minus(&set).is_empty());
    let mut twice = set.clone();
    twice.union_with(&set);
    assert_eq!(twice, set);
}

/// A statement behind a byte that says how the session reads it. Tokens are in order and inside the text, and so are the
/// names of what it defines.
pub fn sql_lexer(input: &[u8]) {
    let Some((&how, text)) = input.split_first() else { return };
    let charset = match how >> 2 & 7 {
        0 => Charset::Utf8,
        1 => Charset::Latin1,
        2 => Charset::Gbk,
        3 => Charset::Sjis,
        4 => Charset::Big5,
        _ => Charset::Other,
    };
    let lexis = Lexis { ansi_quotes: how & 1 != 0, no_backslash_escapes: how & 2 != 0, charset };
    let Some(tokens) = tokens(text, lexis) else { return };
    let mut at = 0;
    for token in tokens {
        assert!(at <= token.start && token.start <= token.end && token.end <= text.len());
        at = token.end;
        let _ = token.name(text, lexis);
    }
    let _ = charset.decode(text);
    let Some(statement) = Statement::new(text, lexis) else { return };
    let _ = statement.kind();
    if let Some(definition) = statement.definition() {
        for reference in &definition.references {
            assert!(text.get(reference.bytes.clone()).is_some());
        }
    }
}

/// A specification file.
pub fn spec(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    match lutra_spec::parse(text) {
        Ok(documents) => {
            for found in documents {
                assert!(!found.document.name.is_empty());
            }
        }
        Err(violations) => assert!(!violations.0.is_empty()),
    }
}

//! Types inside JSON documents that their text does not tell.
//!
//! A MySQL document may hold scalars that JSON does not have: DECIMAL, dates, times, bytes, and integers with a sign of their
//! own. Printed and parsed again they become strings and doubles. So they are *marked*: as many [`MARK`]s stand in front of
//! them as their [`JsonScalar`] says. To JSON that is white space, and the text stays the same document for whoever reads it;
//! the server itself never prints a tab.

use std::borrow::Cow;

/// What marks are made of.
pub const MARK: u8 = b'\t';

/// A scalar that its text does not tell. The number of marks in front of it is part of the log's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JsonScalar {
    /// An unsigned integer that the text's reader would take for a signed one.
    Unsigned = 1,
    /// A signed integer that the text's reader would take for an unsigned one.
    Signed = 2,
    /// DECIMAL.
    Decimal = 3,
    /// DATE, in quotes.
    Date = 4,
    /// TIME, in quotes.
    Time = 5,
    /// DATETIME, in quotes.
    DateTime = 6,
    /// TIMESTAMP, in quotes.
    Timestamp = 7,
    /// Bytes of an SQL type: `"base64:typeN:…"`.
    Bytes = 8,
}

impl JsonScalar {
    /// Marks in front of it.
    pub fn marks(self) -> &'static [u8] {
        const MARKS: &[u8] = &[MARK; 8];
        MARKS.get(..self as usize).unwrap_or(MARKS)
    }

    /// The scalar behind that many marks.
    pub fn behind(marks: usize) -> Option<Self> {
        const ALL: [JsonScalar; 8] = [
            JsonScalar::Unsigned,
            JsonScalar::Signed,
            JsonScalar::Decimal,
            JsonScalar::Date,
            JsonScalar::Time,
            JsonScalar::DateTime,
            JsonScalar::Timestamp,
            JsonScalar::Bytes,
        ];
        ALL.get(marks.checked_sub(1)?).copied()
    }
}

/// Whether scalars are marked in a document.
pub fn is_marked(document: &str) -> bool {
    document.as_bytes().contains(&MARK)
}

/// The document as the server prints it, without marks.
pub fn printed(document: &str) -> Cow<'_, str> {
    if is_marked(document) {
        Cow::Owned(document.chars().filter(|c| *c != char::from(MARK)).collect())
    } else {
        Cow::Borrowed(document)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_scalar_has_marks_of_its_own() {
        for marks in 1..=8 {
            assert_eq!(JsonScalar::behind(marks).map(|scalar| scalar.marks().len()), Some(marks));
        }
        assert_eq!((JsonScalar::behind(0), JsonScalar::behind(9)), (None, None));
    }

    #[test]
    fn a_document_is_printed_without_marks() {
        assert_eq!(printed("{\"a\": \t\t\t1.50, \"b\\t\": 1}"), "{\"a\": 1.50, \"b\\t\": 1}");
        assert!(matches!(printed("[1, 2]"), Cow::Borrowed(_)));
    }
}

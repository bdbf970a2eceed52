//! Partial JSON values (`binlog_row_value_options=PARTIAL_JSON`): what changed inside a document, and how to apply it
//! (`Json_diff` of the MySQL source).
//!
//! The interface, from the outside:
//!
//! - [`Rows::decode_image`](crate::Rows::decode_image) gives whole values only. The after image of an update with partial
//!   JSON values is made whole from the before image, and is then a value like any other.
//! - Where the before image does not hold the document (`binlog_row_image` MINIMAL or NOBLOB), `decode_image` is an error
//!   that says so; [`Rows::decode_cells`](crate::Rows::decode_cells) gives a [`Cell::JsonUpdate`](crate::Cell) instead,
//!   to be carried as it is ([`JsonUpdate::write`]) and applied by the target.
//! - [`JsonUpdate::apply`] is the pure function from a stored document and its changes to the text of the new one.

use std::borrow::Cow;

use crate::error::Fault;
use crate::json::{self, Printer};
use crate::reader::Reader;

/// What a change does at its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonOperation {
    /// Puts another value in the place of the one that is there (`JSON_REPLACE`).
    Replace,
    /// Adds a member to an object that lacks it (`JSON_INSERT`), or an element to an array in front of the one that is
    /// there, at the end if there is none (`JSON_ARRAY_INSERT`).
    Insert,
    /// Takes out what is there (`JSON_REMOVE`).
    Remove,
}

impl JsonOperation {
    /// Its name in the text of [`JsonUpdate::write`].
    pub fn name(self) -> &'static str {
        match self {
            Self::Replace => "replace",
            Self::Insert => "insert",
            Self::Remove => "remove",
        }
    }
}

/// One change inside a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JsonChange<'a> {
    /// What it does.
    pub operation: JsonOperation,
    /// Where: a JSON path of member and array legs, as `$.a[3]."b c"`. Never the whole document.
    pub path: &'a str,
    /// The new value in the server's binary form; empty for [`Remove`](JsonOperation::Remove).
    value: &'a [u8],
}

/// What changed inside one JSON value, in the order in which it is to be applied. No changes at all is possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JsonUpdate<'a> {
    bytes: &'a [u8],
}

impl<'a> JsonUpdate<'a> {
    /// The update that lies in the bytes behind a partial value's length.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// The changes one by one. An error ends them.
    pub fn changes(&self) -> impl Iterator<Item = Result<JsonChange<'a>, &'static str>> + use<'a> {
        let mut reader = Reader::new(self.bytes);
        let mut failed = false;
        std::iter::from_fn(move || {
            if failed || reader.is_empty() {
                return None;
            }
            let change = JsonChange::read(&mut reader).map_err(|fault| fault.what);
            failed = change.is_err();
            Some(change)
        })
    }

    /// Writes the changes as a JSON array of `{"op": "replace", "path": "$.a", "value": …}`, the values as the server
    /// prints them, `out` being cleared first.
    pub fn write(&self, out: &mut Vec<u8>) -> Result<(), &'static str> {
        out.clear();
        out.push(b'[');
        for (index, change) in self.changes().enumerate() {
            let change = change?;
            let mut printer = Printer::new(out, change.value.len());
            printer.text(if index > 0 { ", {\"op\": \"" } else { "{\"op\": \"" });
            printer.text(change.operation.name());
            printer.text("\", \"path\": ");
            printer.quoted(change.path.as_bytes());
            if change.operation != JsonOperation::Remove {
                printer.text(", \"value\": ");
                printer.document(change.value).map_err(|fault| fault.what)?;
            }
            out.push(b'}');
        }
        out.push(b']');
        Ok(())
    }

    /// Applies the changes to a document in the server's binary form and writes the new one as the server prints it,
    /// `out` being cleared first. An error when a path leads nowhere: then the document is not the one that was changed.
    pub fn apply(&self, before: &[u8], out: &mut Vec<u8>) -> Result<(), &'static str> {
        let mut document = Node::document(before)?;
        for change in self.changes() {
            let change = change?;
            document.apply(&change)?;
        }
        out.clear();
        let mut printer = Printer::new(out, before.len().saturating_add(self.bytes.len()));
        document.print(&mut printer, 0).map_err(|fault| fault.what)
    }
}

impl<'a> JsonChange<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Fault> {
        let operation = match reader.u8()? {
            0 => JsonOperation::Replace,
            1 => JsonOperation::Insert,
            2 => JsonOperation::Remove,
            _ => return Err(reader.fault("a JSON change is of an unknown kind")),
        };
        let path = reader.packed_bytes()?;
        let path = std::str::from_utf8(path).map_err(|_| reader.fault("a JSON path is not UTF-8"))?;
        let value = if operation == JsonOperation::Remove { &[] } else { reader.packed_bytes()? };
        Ok(Self { operation, path, value })
    }

    /// Whether the path ends in an array leg: an insert then is one into an array.
    pub fn is_element(&self) -> bool {
        self.path.ends_with(']')
    }

    /// Writes the new value as the server prints it, `out` being cleared first; nothing for a removal.
    pub fn write_value(&self, out: &mut Vec<u8>) -> Result<(), &'static str> {
        out.clear();
        if self.operation == JsonOperation::Remove { Ok(()) } else { json::print(self.value, out) }
    }
}

/// A step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Leg<'a> {
    Member(Cow<'a, [u8]>),
    Element(usize),
    /// Counted from the last one, which is 0.
    FromLast(usize),
}

const BAD_PATH: &str = "a JSON path is malformed";

/// The legs of a path as the server writes it: `$`, then `.name`, `."quoted name"`, `[index]`, `[last]`
/// or `[last-index]`.
fn legs(path: &str) -> Result<Vec<Leg<'_>>, &'static str> {
    let mut rest = path.strip_prefix('$').ok_or(BAD_PATH)?;
    let mut legs = Vec::new();
    while !rest.is_empty() {
        if let Some(tail) = rest.strip_prefix('[') {
            let (digits, tail) = tail.split_once(']').ok_or(BAD_PATH)?;
            legs.push(element(digits)?);
            rest = tail;
        } else if let Some(tail) = rest.strip_prefix(".\"") {
            let (name, tail) = quoted_name(tail)?;
            legs.push(Leg::Member(name));
            rest = tail;
        } else {
            let tail = rest.strip_prefix('.').ok_or(BAD_PATH)?;
            let end = tail.find(['.', '[']).unwrap_or(tail.len());
            let (name, tail) = tail.split_at_checked(end).ok_or(BAD_PATH)?;
            if name.is_empty() {
                return Err(BAD_PATH);
            }
            legs.push(Leg::Member(Cow::Borrowed(name.as_bytes())));
            rest = tail;
        }
    }
    Ok(legs)
}

fn element(text: &str) -> Result<Leg<'_>, &'static str> {
    let number = |digits: &str| match digits.trim() {
        digits if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => {
            digits.parse().map_err(|_| BAD_PATH)
        }
        _ => Err(BAD_PATH),
    };
    match text.trim().strip_prefix("last").map(str::trim) {
        None => number(text).map(Leg::Element),
        Some("") => Ok(Leg::FromLast(0)),
        Some(behind) => number(behind.strip_prefix('-').ok_or(BAD_PATH)?).map(Leg::FromLast),
    }
}

/// A name up to its closing quotation mark, unescaped, and what follows the mark.
fn quoted_name(text: &str) -> Result<(Cow<'_, [u8]>, &str), &'static str> {
    let end = text.find(['"', '\\']).ok_or(BAD_PATH)?;
    let (plain, rest) = text.split_at_checked(end).ok_or(BAD_PATH)?;
    if let Some(tail) = rest.strip_prefix('"') {
        return Ok((Cow::Borrowed(plain.as_bytes()), tail));
    }
    let mut name = plain.to_owned();
    let mut chars = rest.chars();
    loop {
        match chars.next().ok_or(BAD_PATH)? {
            '"' => return Ok((Cow::Owned(name.into_bytes()), chars.as_str())),
            '\\' => name.push(match chars.next().ok_or(BAD_PATH)? {
                'b' => '\u{8}',
                'f' => '\u{c}',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'u' => unicode(&mut chars)?,
                plain @ ('"' | '\\' | '/') => plain,
                _ => return Err(BAD_PATH),
            }),
            plain => name.push(plain),
        }
    }
}

/// Four hexadecimal digits, or twice as many as a surrogate pair.
fn unicode(chars: &mut std::str::Chars<'_>) -> Result<char, &'static str> {
    let four = |chars: &mut std::str::Chars<'_>| {
        (0..4).try_fold(0u32, |number, _| Some(number << 4 | chars.next()?.to_digit(16)?)).ok_or(BAD_PATH)
    };
    let first = four(chars)?;
    if !(0xd800..0xdc00).contains(&first) {
        return char::from_u32(first).ok_or(BAD_PATH);
    }
    if (chars.next(), chars.next()) != (Some('\\'), Some('u')) {
        return Err(BAD_PATH);
    }
    let second = four(chars)?.checked_sub(0xdc00).filter(|low| *low < 0x400).ok_or(BAD_PATH)?;
    char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + second).ok_or(BAD_PATH)
}

/// A value of a document that is being changed. Only the containers on the way to a change are opened.
#[derive(Clone, Debug)]
enum Node<'a> {
    /// Kind and bytes, as stored.
    Stored(u8, &'a [u8]),
    Open(Box<Open<'a>>),
}

/// A container that was changed, or something in it.
#[derive(Clone, Debug)]
struct Open<'a> {
    stored: json::Container<'a>,
    /// The members as they are now: below [`ADDED`] the stored one of that index, from there on one of `added`.
    members: Vec<u32>,
    added: Vec<Added<'a>>,
}

/// A member that is not, or not any more, as stored.
#[derive(Clone, Debug)]
struct Added<'a> {
    /// Empty in an array.
    key: Cow<'a, [u8]>,
    node: Node<'a>,
}

const ADDED: u32 = 1 << 31;

const NOWHERE: &str =
    "a JSON change is at a path that its document does not have: the before image is not the one that was changed";

impl<'a> Node<'a> {
    fn document(bytes: &'a [u8]) -> Result<Self, &'static str> {
        // An empty document is read as null.
        let (&kind, bytes) = bytes.split_first().ok_or(NOWHERE)?;
        Ok(Self::Stored(kind, bytes))
    }

    fn apply(&mut self, change: &JsonChange<'a>) -> Result<(), &'static str> {
        let mut path = legs(change.path)?;
        let last = path.pop().ok_or("a JSON change is one of the whole document")?;
        let mut container = self.open()?;
        for leg in path {
            let at = container.find(&leg)?.map_err(|_| NOWHERE)?;
            container = container.member(at)?.open()?;
        }
        let place = container.find(&last)?;
        let value = match change.operation {
            JsonOperation::Remove => None,
            _ => Some(Self::document(change.value).map_err(|_| "a JSON change has no value")?),
        };
        match (value, place, change.operation) {
            (None, Ok(at), _) => {
                container.members.remove(at);
            }
            (Some(node), Ok(at), JsonOperation::Replace) => *container.member(at)? = node,
            (Some(node), Err(at), JsonOperation::Insert) => container.insert(at, last, node)?,
            // In front of the element that is there.
            (Some(node), Ok(at), JsonOperation::Insert) if !container.stored.is_object() => {
                container.insert(at, last, node)?;
            }
            _ => return Err(NOWHERE),
        }
        Ok(())
    }

    fn open(&mut self) -> Result<&mut Open<'a>, &'static str> {
        if let Self::Stored(kind, bytes) = *self {
            let stored = json::Container::read(kind, bytes).map_err(|fault| fault.what)?.ok_or(NOWHERE)?;
            let count = u32::try_from(stored.len()).ok().filter(|count| *count < ADDED).ok_or(NOWHERE)?;
            *self = Self::Open(Box::new(Open { stored, members: (0..count).collect(), added: Vec::new() }));
        }
        match self {
            Self::Open(open) => Ok(open),
            Self::Stored(..) => Err(NOWHERE),
        }
    }

    fn print(&self, printer: &mut Printer<'_>, depth: u32) -> Result<(), Fault> {
        match self {
            Self::Stored(kind, bytes) => printer.value(*kind, bytes, depth),
            Self::Open(open) => open.print(printer, depth),
        }
    }
}

impl<'a> Open<'a> {
    fn key(&self, member: u32) -> Result<&[u8], &'static str> {
        match member.checked_sub(ADDED) {
            None => self.stored.key(member as usize).map_err(|fault| fault.what),
            Some(added) => self.added.get(added as usize).map(|a| &*a.key).ok_or(NOWHERE),
        }
    }

    /// Where the leg leads: the index of a member that is there, or where it would be put. Keys are in the order of
    /// their lengths, then of their bytes.
    fn find(&self, leg: &Leg<'_>) -> Result<Result<usize, usize>, &'static str> {
        match leg {
            Leg::Element(index) if !self.stored.is_object() => {
                Ok(if *index < self.members.len() { Ok(*index) } else { Err(self.members.len()) })
            }
            Leg::FromLast(back) if !self.stored.is_object() => {
                Ok(self.members.len().checked_sub(back.saturating_add(1)).ok_or(0))
            }
            Leg::Member(name) if self.stored.is_object() => {
                let mut failed = None;
                let found = self.members.binary_search_by(|&member| {
                    let key = self.key(member).unwrap_or_else(|what| {
                        failed = Some(what);
                        &[]
                    });
                    key.len().cmp(&name.len()).then_with(|| key.cmp(name))
                });
                failed.map_or(Ok(found), Err)
            }
            _ => Err(NOWHERE),
        }
    }

    /// The member at that index, to be changed.
    fn member(&mut self, at: usize) -> Result<&mut Node<'a>, &'static str> {
        let member = *self.members.get(at).ok_or(NOWHERE)?;
        let added = match member.checked_sub(ADDED) {
            Some(added) => added,
            None => {
                let (kind, bytes) = self.stored.member(member as usize).map_err(|fault| fault.what)?;
                let key = match self.stored.is_object() {
                    true => Cow::Borrowed(self.stored.key(member as usize).map_err(|fault| fault.what)?),
                    false => Cow::default(),
                };
                let added = self.add(key, Node::Stored(kind, bytes))?;
                if let Some(slot) = self.members.get_mut(at) {
                    *slot = ADDED + added;
                }
                added
            }
        };
        self.added.get_mut(added as usize).map(|a| &mut a.node).ok_or(NOWHERE)
    }

    fn add(&mut self, key: Cow<'a, [u8]>, node: Node<'a>) -> Result<u32, &'static str> {
        let index = u32::try_from(self.added.len()).ok().filter(|index| *index < ADDED).ok_or(NOWHERE)?;
        self.added.push(Added { key, node });
        Ok(index)
    }

    fn insert(&mut self, at: usize, leg: Leg<'a>, node: Node<'a>) -> Result<(), &'static str> {
        let key = match leg {
            Leg::Member(name) => name,
            Leg::Element(_) | Leg::FromLast(_) => Cow::default(),
        };
        let added = self.add(key, node)?;
        self.members.insert(at.min(self.members.len()), ADDED + added);
        Ok(())
    }

    fn print(&self, printer: &mut Printer<'_>, depth: u32) -> Result<(), Fault> {
        let fault = |what| Fault { what, at: 0 };
        printer.enter(self.stored.is_object(), depth)?;
        for (index, &member) in self.members.iter().enumerate() {
            if index > 0 {
                printer.text(", ");
            }
            if self.stored.is_object() {
                let key = self.key(member).map_err(fault)?;
                printer.account(key.len())?;
                printer.quoted(key);
                printer.text(": ");
            }
            match member.checked_sub(ADDED) {
                None => {
                    let (kind, bytes) = self.stored.member(member as usize)?;
                    printer.value(kind, bytes, depth + 1)?;
                }
                Some(added) => {
                    let added = self.added.get(added as usize).ok_or(fault(NOWHERE))?;
                    added.node.print(printer, depth + 1)?;
                }
            }
        }
        printer.leave(self.stored.is_object());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// `{"a": 1, "b": [true, null]}`
    fn document() -> Vec<u8> {
        [
            &[0u8, 2, 0, 30, 0][..],
            &[18, 0, 1, 0, 19, 0, 1, 0],
            &[5, 1, 0, 2, 20, 0],
            b"ab",
            &[2, 0, 10, 0, 4, 1, 0, 4, 0, 0],
        ]
        .concat()
    }

    fn changes(changes: &[(u8, &str, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (operation, path, value) in changes {
            bytes.extend([*operation, path.len() as u8]);
            bytes.extend(path.as_bytes());
            if *operation != 2 {
                bytes.push(value.len() as u8);
                bytes.extend(*value);
            }
        }
        bytes
    }

    fn applied(all: &[(u8, &str, &[u8])]) -> Result<String, &'static str> {
        let mut out = Vec::new();
        JsonUpdate::new(&changes(all)).apply(&document(), &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    const ONE: &[u8] = &[5, 1, 0];
    const WORD: &[u8] = b"\x0c\x01w";

    #[test]
    fn changes_are_applied_one_after_the_other() {
        for (all, expected) in [
            (&[][..], r#"{"a": 1, "b": [true, null]}"#),
            (&[(0, "$.a", WORD)], r#"{"a": "w", "b": [true, null]}"#),
            (&[(1, "$.b[1]", ONE), (0, "$.b[0]", WORD)], r#"{"a": 1, "b": ["w", 1, null]}"#),
            (&[(1, "$.b[9]", ONE), (2, "$.b[0]", ONE)], r#"{"a": 1, "b": [null, 1]}"#),
            (
                &[(1, "$.ccc", ONE), (1, "$.bb", WORD), (1, "$._", ONE)],
                r#"{"_": 1, "a": 1, "b": [true, null], "bb": "w", "ccc": 1}"#,
            ),
            (&[(2, "$.b", ONE), (2, "$.a", ONE)], "{}"),
            (&[(0, "$.b[last]", ONE), (1, "$.b[last-1]", WORD)], r#"{"a": 1, "b": ["w", true, 1]}"#),
            (&[(1, "$.b[last-7]", ONE), (2, "$.b[ last - 1 ]", ONE)], r#"{"a": 1, "b": [1, null]}"#),
            (&[(0, "$.b", &document()), (0, "$.b.b[1]", ONE)], r#"{"a": 1, "b": {"a": 1, "b": [true, 1]}}"#),
            (
                &[(1, r#"$."x y\"\u00fc""#, ONE), (0, r#"$."x y\"ü""#, WORD)],
                r#"{"a": 1, "b": [true, null], "x y\"ü": "w"}"#,
            ),
        ] {
            assert_eq!(applied(all).unwrap(), expected, "{all:?}");
        }
    }

    #[test]
    fn paths_that_lead_nowhere_are_refused() {
        for (operation, path) in [
            (0, "$"),
            (0, "$.c"),
            (2, "$.c"),
            (0, "$.b[2]"),
            (2, "$.b[2]"),
            (1, "$.a"),
            (1, "$.a.x"),
            (0, "$[0]"),
            (0, "$.b.a"),
            (0, "b"),
            (0, "$."),
            (0, "$.b[last-2]"),
            (0, "$.b[-1]"),
            (0, "$.b[lastly]"),
            (0, "$.\"a"),
            (0, "$.b[99999999999999999999]"),
        ] {
            assert!(applied(&[(operation, path, ONE)]).is_err(), "{operation} {path}");
        }
        assert!(JsonUpdate::new(&[0, 3, b'$', b'.', b'a']).apply(&document(), &mut Vec::new()).is_err());
        assert!(JsonUpdate::new(&[3, 1, b'$']).apply(&document(), &mut Vec::new()).is_err());
    }

    #[test]
    fn changes_are_written_as_json() {
        let bytes = changes(&[(0, "$.a", WORD), (1, "$.\"x\"[0]", ONE), (2, "$.b", ONE)]);
        let (update, mut out) = (JsonUpdate::new(&bytes), Vec::new());
        update.write(&mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#"[{"op": "replace", "path": "$.a", "value": "w"}, {"op": "insert", "path": "$.\"x\"[0]", "value": 1}, {"op": "remove", "path": "$.b"}]"#
        );
        assert_eq!(update.changes().filter(|c| c.unwrap().is_element()).count(), 1);
    }
}

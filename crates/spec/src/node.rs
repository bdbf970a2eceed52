//! YAML as nodes that know where they stand.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span};

use crate::parse::Violation;

/// A node and its place.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) line: usize,
    pub(crate) column: usize,
    pub(crate) data: Data,
}

/// What a node is. Scalars stay text: what a value means is decided by the field that takes it, so that a table named
/// `no` or a password reference is never a boolean.
#[derive(Debug)]
pub(crate) enum Data {
    /// `quoted` scalars are never null, true, or a number.
    Scalar {
        text: String,
        quoted: bool,
    },
    Sequence(Vec<Node>),
    Mapping(Vec<(Node, Node)>),
}

impl Node {
    /// The text of a scalar.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.data {
            Data::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// Whether this is YAML's null: nothing, `~`, `null`.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.data, Data::Scalar { text, quoted: false } if matches!(text.as_str(), "" | "~" | "null"))
    }

    /// Line and column of everything in it, by path.
    pub(crate) fn places(&self, path: &str, into: &mut BTreeMap<String, (usize, usize)>) {
        into.insert(path.to_owned(), (self.line, self.column));
        match &self.data {
            Data::Scalar { .. } => {}
            Data::Sequence(items) => {
                for (index, item) in items.iter().enumerate() {
                    item.places(&format!("{path}[{index}]"), into);
                }
            }
            Data::Mapping(entries) => {
                for (key, value) in entries {
                    let Some(name) = key.text() else { continue };
                    let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
                    value.places(&path, into);
                }
            }
        }
    }

    /// What it is, for people.
    pub(crate) fn what(&self) -> &'static str {
        match &self.data {
            _ if self.is_null() => "nothing",
            Data::Scalar { .. } => "a value",
            Data::Sequence(_) => "a list",
            Data::Mapping(_) => "a mapping",
        }
    }
}

enum Open {
    Sequence(Vec<Node>),
    Mapping(Vec<(Node, Node)>, Option<Node>),
}

/// The documents of a text, or the place where it stops being YAML.
pub(crate) fn load(text: &str) -> Result<Vec<Node>, Violation> {
    let mut loader = Loader { documents: Vec::new(), open: Vec::new() };
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|e| not_yaml(&e))?;
        loader.take(event, span)?;
    }
    Ok(loader.documents)
}

fn not_yaml(error: &ScanError) -> Violation {
    Violation::new(error.marker().line(), error.marker().col() + 1, "", format!("not YAML: {}", error.info()))
}

struct Loader {
    documents: Vec<Node>,
    open: Vec<(Open, Span)>,
}

impl Loader {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Violation> {
        let refuse = |what: &str| {
            Violation::new(
                span.start.line(),
                span.start.col() + 1,
                "",
                format!("{what} are not used here: write the value out"),
            )
        };
        match event {
            Event::Scalar(_, _, anchor, _) | Event::SequenceStart(anchor, _) | Event::MappingStart(anchor, _)
                if anchor > 0 =>
            {
                Err(refuse("YAML anchors"))
            }
            Event::Alias(_) => Err(refuse("YAML aliases")),
            Event::Scalar(_, _, _, Some(_)) | Event::SequenceStart(_, Some(_)) | Event::MappingStart(_, Some(_)) => {
                Err(refuse("YAML tags"))
            }
            Event::Scalar(text, style, _, None) => {
                let data = Data::Scalar { text: text.into_owned(), quoted: style != ScalarStyle::Plain };
                self.put(Node { line: span.start.line(), column: span.start.col() + 1, data });
                Ok(())
            }
            Event::SequenceStart(..) => {
                self.open.push((Open::Sequence(Vec::new()), span));
                Ok(())
            }
            Event::MappingStart(..) => {
                self.open.push((Open::Mapping(Vec::new(), None), span));
                Ok(())
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some((open, span)) = self.open.pop() {
                    let data = match open {
                        Open::Sequence(items) => Data::Sequence(items),
                        Open::Mapping(entries, _) => Data::Mapping(entries),
                    };
                    self.put(Node { line: span.start.line(), column: span.start.col() + 1, data });
                }
                Ok(())
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => {
                Ok(())
            }
        }
    }

    fn put(&mut self, node: Node) {
        match self.open.last_mut() {
            None => self.documents.push(node),
            Some((Open::Sequence(items), _)) => items.push(node),
            Some((Open::Mapping(entries, key), _)) => match key.take() {
                Some(key) => entries.push((key, node)),
                None => *key = Some(node),
            },
        }
    }
}

//! Walks nodes into values and collects every violation on the way.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use crate::node::{Data, Node};
use crate::parse::Violation;

/// What was found so far.
#[derive(Default)]
pub(crate) struct Walk {
    pub(crate) violations: Vec<Violation>,
}

impl Walk {
    /// Notes a violation at a node.
    pub(crate) fn fault(&mut self, node: &Node, path: &str, message: impl Into<String>) {
        self.violations.push(Violation::new(node.line, node.column, path, message.into()));
    }

    /// The mapping at a node; an empty one, with a violation, if it is something else.
    pub(crate) fn fields<'n>(&mut self, node: &'n Node, path: &str) -> Fields<'n> {
        let mut fields = Fields { node, path: path.to_owned(), entries: Vec::new(), known: Vec::new() };
        match &node.data {
            Data::Mapping(entries) => {
                for (key, value) in entries {
                    match key.text() {
                        None => self.fault(key, path, "a key must be a word"),
                        Some(text) if fields.entries.iter().any(|(k, _, _)| *k == text) => {
                            self.fault(key, &join(path, text), "this key is given twice");
                        }
                        Some(text) => fields.entries.push((text, key, value)),
                    }
                }
            }
            _ if node.is_null() => {}
            _ => self.fault(node, path, format!("must be a mapping of keys to values, not {}", node.what())),
        }
        fields
    }

    /// The items of a list; a single value is not taken for one.
    pub(crate) fn items<'n>(&mut self, node: &'n Node, path: &str) -> &'n [Node] {
        match &node.data {
            Data::Sequence(items) => items,
            _ => {
                self.fault(node, path, format!("must be a list, as in [a, b], not {}", node.what()));
                &[]
            }
        }
    }

    /// The text of a scalar.
    pub(crate) fn text<'n>(&mut self, node: &'n Node, path: &str) -> Option<&'n str> {
        match node.text() {
            Some(text) if !node.is_null() => Some(text),
            _ => {
                self.fault(node, path, format!("must be a value, not {}", node.what()));
                None
            }
        }
    }

    /// A scalar read by `FromStr`.
    pub(crate) fn parsed<T: FromStr<Err: Display>>(&mut self, node: &Node, path: &str) -> Option<T> {
        let text = self.text(node, path)?;
        text.parse().map_err(|e: T::Err| self.fault(node, path, e.to_string())).ok()
    }

    /// A list read item by item by `FromStr`.
    pub(crate) fn parsed_list<T: FromStr<Err: Display>>(&mut self, node: &Node, path: &str) -> Vec<T> {
        let items = self.items(node, path);
        items.iter().enumerate().filter_map(|(i, item)| self.parsed(item, &format!("{path}[{i}]"))).collect()
    }

    /// `true` or `false`.
    pub(crate) fn boolean(&mut self, node: &Node, path: &str) -> Option<bool> {
        match &node.data {
            Data::Scalar { text, quoted: false } if text == "true" => Some(true),
            Data::Scalar { text, quoted: false } if text == "false" => Some(false),
            _ => {
                self.fault(node, path, "must be true or false");
                None
            }
        }
    }

    /// A whole number within bounds.
    pub(crate) fn number(&mut self, node: &Node, path: &str, least: u64, most: u64) -> Option<u64> {
        match node.text().and_then(|t| t.parse::<u64>().ok()).filter(|n| (least..=most).contains(n)) {
            Some(number) => Some(number),
            None => {
                self.fault(node, path, format!("must be a whole number from {least} to {most}"));
                None
            }
        }
    }

    /// One of a few words.
    pub(crate) fn word<T: Copy>(&mut self, node: &Node, path: &str, words: &[(&str, T)]) -> Option<T> {
        if let Some((_, value)) = node.text().and_then(|t| words.iter().find(|(w, _)| *w == t)) {
            return Some(*value);
        }
        let list: Vec<&str> = words.iter().map(|(w, _)| *w).collect();
        self.fault(node, path, format!("must be one of: {}", list.join(", ")));
        None
    }

    /// A mapping of texts to texts.
    pub(crate) fn text_map(&mut self, node: &Node, path: &str) -> BTreeMap<String, String> {
        let fields = self.fields(node, path);
        let mut map = BTreeMap::new();
        for (key, _, value) in &fields.entries {
            if let Some(text) = self.text(value, &join(path, key)) {
                map.insert((*key).to_owned(), text.to_owned());
            }
        }
        map
    }
}

/// The keys of one mapping; what was not asked for in the end is unknown.
pub(crate) struct Fields<'n> {
    pub(crate) node: &'n Node,
    path: String,
    pub(crate) entries: Vec<(&'n str, &'n Node, &'n Node)>,
    known: Vec<&'static str>,
}

impl<'n> Fields<'n> {
    /// The path of a key of this mapping.
    pub(crate) fn path(&self, key: &str) -> String {
        join(&self.path, key)
    }

    /// A key's value, if it is there.
    pub(crate) fn get(&mut self, key: &'static str) -> Option<&'n Node> {
        self.known.push(key);
        self.entries.iter().find(|(k, _, _)| *k == key).map(|(_, _, value)| *value)
    }

    /// A key's value, which must be there.
    pub(crate) fn need(&mut self, walk: &mut Walk, key: &'static str, example: &str) -> Option<&'n Node> {
        let found = self.get(key).filter(|n| !n.is_null());
        if found.is_none() {
            walk.fault(self.node, &self.path(key), format!("must be given, as in {key}: {example}"));
        }
        found
    }

    /// Reports the keys that nobody asked for.
    pub(crate) fn finish(&self, walk: &mut Walk) {
        for (key, key_node, _) in &self.entries {
            if !self.known.contains(key) {
                let hint = nearest(key, &self.known).map(|k| format!("; did you mean {k}?")).unwrap_or_default();
                walk.fault(
                    key_node,
                    &self.path(key),
                    format!("unknown key{hint} (known here: {})", self.known.join(", ")),
                );
            }
        }
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// The known word at most two edits away.
fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    known.iter().map(|k| (distance(word, k), *k)).filter(|(d, _)| *d <= 2).min().map(|(_, k)| k)
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (j, y) in b.chars().enumerate() {
            let above = row.get(j + 1).copied().unwrap_or(usize::MAX);
            let cost = (diagonal + usize::from(x != y)).min(left + 1).min(above + 1);
            diagonal = above;
            if let Some(cell) = row.get_mut(j) {
                *cell = left;
            }
            left = cost;
        }
        if let Some(cell) = row.last_mut() {
            *cell = left;
        }
    }
    row.last().copied().unwrap_or(0)
}

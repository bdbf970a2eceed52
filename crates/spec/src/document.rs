//! One document: a kind, a name, a specification.

use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{PipelineSpec, SourceSpec, TargetSpec};

/// What a document describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A server, captured once.
    Source,
    /// A server that is written to.
    Target,
    /// One source, rules, one target.
    Pipeline,
}

impl Kind {
    /// All kinds, in the order of the data.
    pub const ALL: [Self; 3] = [Self::Source, Self::Target, Self::Pipeline];

    /// The word in documents: `source`, `target`, `pipeline`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Target => "target",
            Self::Pipeline => "pipeline",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A name of a source, target or pipeline: 1 to 63 characters of `a-z`, `0-9` and `-`, not beginning with `-`.
/// Unique over all kinds.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

impl Name {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A text that is not a [`Name`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a name: 1 to 63 characters of a-z, 0-9 and '-', beginning with a letter or digit")]
pub struct NameError(String);

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
        match text.as_bytes() {
            [first, rest @ ..] if plain(*first) && rest.len() < 63 && rest.iter().all(|&c| plain(c) || c == b'-') => {
                Ok(Self(text.to_owned()))
            }
            _ => Err(NameError(text.to_owned())),
        }
    }
}

impl TryFrom<String> for Name {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// What a document says, by kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "spec", rename_all = "lowercase")]
pub enum Spec {
    /// A server, captured once.
    Source(SourceSpec),
    /// A server that is written to.
    Target(TargetSpec),
    /// One source, rules, one target.
    Pipeline(PipelineSpec),
}

/// One document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// Its name.
    pub name: Name,
    /// Its kind and what it says.
    #[serde(flatten)]
    pub spec: Spec,
}

impl Document {
    /// The kind of this document.
    pub fn kind(&self) -> Kind {
        match self.spec {
            Spec::Source(_) => Kind::Source,
            Spec::Target(_) => Kind::Target,
            Spec::Pipeline(_) => Kind::Pipeline,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_lower_case_words() {
        for good in ["a", "0", "shop", "shop-copy-2"] {
            assert!(good.parse::<Name>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "Shop", "a_b", "a/b", "ä", &"x".repeat(64)] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
    }
}

//! Secrets stand in documents as references only, and print as `[redacted]`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Where a secret is found: `${env:NAME}` or `${file:PATH}`. Resolved by the process that connects, never before.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum SecretRef {
    /// An environment variable.
    Env(String),
    /// A file; one line break at its end is not part of the secret.
    File(String),
}

/// Why a reference is none, or does not resolve. Never carries a secret: a text that is not a reference may be one.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// A literal text where a reference must stand.
    #[error("a secret never stands in a document: write ${{env:NAME}} or ${{file:PATH}}")]
    Literal,
    /// The variable is not set in this process.
    #[error("environment variable {0} is not set in this process; set it for every service that connects")]
    Unset(String),
    /// The variable is not UTF-8.
    #[error("environment variable {0} is not UTF-8")]
    NotText(String),
    /// The file cannot be read.
    #[error("secret file {path} cannot be read")]
    Read {
        /// Which file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
}

impl SecretRef {
    /// Reads the secret from the environment or the file.
    pub fn resolve(&self) -> Result<Secret, SecretError> {
        match self {
            Self::Env(name) => read_env(name).map(Secret),
            Self::File(path) => {
                let text =
                    std::fs::read_to_string(path).map_err(|source| SecretError::Read { path: path.clone(), source })?;
                let line = text.strip_suffix('\n').unwrap_or(&text);
                Ok(Secret(line.strip_suffix('\r').unwrap_or(line).to_owned()))
            }
        }
    }
}

/// The value of an environment variable.
pub(crate) fn read_env(name: &str) -> Result<String, SecretError> {
    std::env::var(name).map_err(|e| match e {
        std::env::VarError::NotPresent => SecretError::Unset(name.to_owned()),
        std::env::VarError::NotUnicode(_) => SecretError::NotText(name.to_owned()),
    })
}

/// Whether a text can name an environment variable.
pub(crate) fn is_variable_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

impl FromStr for SecretRef {
    type Err = SecretError;

    fn from_str(text: &str) -> Result<Self, SecretError> {
        let inner = text.strip_prefix("${").and_then(|t| t.strip_suffix('}')).ok_or(SecretError::Literal)?;
        match inner.split_once(':') {
            Some(("env", name)) if is_variable_name(name) => Ok(Self::Env(name.to_owned())),
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(path.to_owned())),
            _ => Err(SecretError::Literal),
        }
    }
}

impl TryFrom<String> for SecretRef {
    type Error = SecretError;

    fn try_from(text: String) -> Result<Self, SecretError> {
        text.parse()
    }
}

impl From<SecretRef> for String {
    fn from(reference: SecretRef) -> Self {
        reference.to_string()
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "${{env:{name}}}"),
            Self::File(path) => write!(f, "${{file:{path}}}"),
        }
    }
}

/// A secret in memory. It prints as `[redacted]` and is not serialisable.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a text as secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for the call that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn references_survive_their_text_and_literals_are_refused_without_being_shown() {
        for text in ["${env:LUTRA_PASSWORD}", "${file:/run/secrets/source}"] {
            assert_eq!(text.parse::<SecretRef>().unwrap().to_string(), text);
        }
        for text in ["hunter2", "${env:}", "${env:A B}", "${vault:x}", "$env:X", ""] {
            let error = text.parse::<SecretRef>().unwrap_err().to_string();
            assert!(text.is_empty() || !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_file_loses_one_line_break_and_a_secret_never_prints() {
        let path = std::env::temp_dir().join(format!("lutra-spec-secret-{}", std::process::id()));
        std::fs::write(&path, "p\n\r\n").unwrap();
        let secret = SecretRef::File(path.display().to_string()).resolve().unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(secret.expose(), "p\n");
        assert_eq!(format!("{secret} {secret:?}"), "[redacted] [redacted]");
    }
}

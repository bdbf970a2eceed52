//! How a database server is reached.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::secret::{Secret, SecretError, SecretRef, is_variable_name, read_env};

/// The port a MySQL or MariaDB server listens on where none is said.
pub const DEFAULT_PORT: u16 = 3306;

/// An address of a server as a document writes it: `HOST`, `HOST:PORT`, `[IPV6]:PORT`, or one of these by
/// `${env:NAME}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Address {
    /// Written out.
    Literal(HostPort),
    /// In an environment variable of the process that connects.
    Env(String),
}

/// Host and port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// Host name or IP address, IPv6 without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// Why an address is none, or does not resolve.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// Not a host with an optional port. The text is not shown: a URL may hold a password.
    #[error("is not an address: write HOST, HOST:PORT, [IPV6]:PORT or ${{env:NAME}}")]
    Malformed,
    /// The variable does not resolve.
    #[error("the server's address is not known")]
    Unset(#[source] SecretError),
    /// The variable holds something else.
    #[error("environment variable {0} does not hold an address HOST:PORT")]
    NotAnAddress(String),
}

impl Address {
    /// The host and port, read from the environment where the document says so.
    pub fn resolve(&self) -> Result<HostPort, AddressError> {
        match self {
            Self::Literal(address) => Ok(address.clone()),
            Self::Env(name) => {
                let text = read_env(name).map_err(AddressError::Unset)?;
                text.trim().parse().map_err(|_| AddressError::NotAnAddress(name.clone()))
            }
        }
    }
}

impl FromStr for HostPort {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let fault = || AddressError::Malformed;
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']').ok_or_else(fault)?;
                let port = if rest.is_empty() { None } else { Some(rest.strip_prefix(':').ok_or_else(fault)?) };
                (host, port)
            }
            None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
        };
        let ipv6 = text.starts_with('[');
        let plain =
            |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') || (ipv6 && matches!(c, ':' | '%'));
        if host.is_empty() || !host.chars().all(plain) {
            return Err(fault());
        }
        let port = port.map_or(Ok(DEFAULT_PORT), |p| p.parse().map_err(|_| fault()))?;
        if port == 0 {
            return Err(fault());
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        match text.strip_prefix("${env:").and_then(|t| t.strip_suffix('}')) {
            Some(name) if is_variable_name(name) => Ok(Self::Env(name.to_owned())),
            _ => text.parse().map(Self::Literal),
        }
    }
}

impl TryFrom<String> for Address {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.to_string()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(address) => address.fmt(f),
            Self::Env(name) => write!(f, "${{env:{name}}}"),
        }
    }
}

/// How far TLS is asked for (the words are MySQL's `--ssl-mode`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TlsMode {
    /// Never.
    Disabled,
    /// If the server offers it; the certificate is not checked.
    #[default]
    Preferred,
    /// Always; the certificate is not checked.
    Required,
    /// Always, and the certificate's chain must lead to a trusted authority.
    VerifyCa,
    /// As `verify-ca`, and the certificate must be for this host.
    VerifyIdentity,
}

impl TlsMode {
    /// All modes, from weak to strong.
    pub const ALL: [Self; 5] = [Self::Disabled, Self::Preferred, Self::Required, Self::VerifyCa, Self::VerifyIdentity];

    /// The word in documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Preferred => "preferred",
            Self::Required => "required",
            Self::VerifyCa => "verify-ca",
            Self::VerifyIdentity => "verify-identity",
        }
    }
}

/// TLS towards a server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// How far it is asked for.
    pub mode: TlsMode,
    /// Path of a PEM file with the trusted authorities, on the machine that connects; the public ones where none is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
}

/// All that is needed to connect to a server: what sources and targets have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The servers, the first that answers is taken.
    pub servers: Vec<Address>,
    /// User name.
    pub user: String,
    /// Password, none for an account without one.
    pub password: Option<SecretRef>,
    /// TLS.
    pub tls: Tls,
}

impl Connection {
    /// The password, read now; the empty one where the document names none.
    pub fn resolve_password(&self) -> Result<Secret, SecretError> {
        self.password.as_ref().map_or_else(|| Ok(Secret::new("")), SecretRef::resolve)
    }

    /// The addresses, read now.
    pub fn resolve_servers(&self) -> Result<Vec<HostPort>, AddressError> {
        self.servers.iter().map(Address::resolve).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn addresses_survive_their_text() {
        for (text, canonical) in [
            ("db", "db:3306"),
            ("db-1.example.org:3307", "db-1.example.org:3307"),
            ("[::1]:3307", "[::1]:3307"),
            ("[::1]", "[::1]:3306"),
            ("${env:LUTRA_SOURCE}", "${env:LUTRA_SOURCE}"),
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), canonical);
        }
        for bad in ["", ":3306", "db:", "db:0", "db:70000", "a b:1", "::1:3306", "u@h:1", "${env:A B}", "[::1]x"] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }
}

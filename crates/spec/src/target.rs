//! A target: a server that is written to.

use serde::{Deserialize, Serialize};

use crate::secret::SecretRef;
use crate::server::{Address, Connection, Tls};

/// What a `kind: target` document says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetSpec {
    /// Servers that fail over to each other; the first that answers and may be written to is taken.
    pub servers: Vec<Address>,
    /// User name.
    pub user: String,
    /// Password, none for an account without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<SecretRef>,
    /// TLS.
    #[serde(default)]
    pub tls: Tls,
}

impl TargetSpec {
    /// How the server is reached.
    pub fn connection(&self) -> Connection {
        Connection {
            servers: self.servers.clone(),
            user: self.user.clone(),
            password: self.password.clone(),
            tls: self.tls.clone(),
        }
    }
}

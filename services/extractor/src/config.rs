//! What one extraction is told.

use std::time::Duration;

use lutra_coordination::{Adoption, LogRef, TaskDefinition};
use lutra_mysql::{ConnectOptions, document};
use lutra_spec::{SourceSpec, SourceStart};

use crate::error::ExtractError;

/// What one extraction is told: the source's specification, resolved on this machine.
#[derive(Clone, Debug)]
pub struct ExtractConfig {
    /// Name of the source.
    pub source: String,
    /// Its servers; one that holds everything that was read is read.
    pub servers: Vec<ConnectOptions>,
    /// Which tables are captured, and more.
    pub spec: SourceSpec,
    /// Server id of the dump.
    pub server_id: u32,
    /// The log to write.
    pub log: LogRef,
    /// Cluster id.
    pub cluster: String,
    /// The task has begun before (P2).
    pub begun: bool,
    /// The log continues what a target already has (P8).
    pub adopt: Option<Adoption>,
    /// A heartbeat each.
    pub heartbeat: Duration,
}

/// A heartbeat each, at the source and in the log.
pub const HEARTBEAT: Duration = Duration::from_secs(1);
/// The source is dead after so long a silence: it sends a heartbeat each second.
pub(crate) const SILENCE: Duration = Duration::from_secs(10);

impl ExtractConfig {
    /// From a task's definition; reads secrets and addresses of this machine.
    ///
    /// # Errors
    /// [`ExtractError::Definition`], [`ExtractError::Unresolved`].
    pub fn resolve(definition: &TaskDefinition) -> Result<Self, ExtractError> {
        let named = definition.source.as_ref().ok_or_else(|| ExtractError::Definition {
            source_name: "(none)".to_owned(),
            reason: "it names no source".to_owned(),
        })?;
        let log = definition.log.clone().ok_or_else(|| ExtractError::Definition {
            source_name: named.name.clone(),
            reason: "it names no log".to_owned(),
        })?;
        let cluster = definition.cluster.to_string();
        Ok(Self {
            source: named.name.clone(),
            servers: servers(&named.name, &named.spec)?,
            server_id: named.spec.server_id.unwrap_or_else(|| own_server_id(&cluster, &named.name)),
            spec: named.spec.clone(),
            log,
            cluster,
            begun: definition.begun,
            adopt: definition.adopt.clone(),
            heartbeat: HEARTBEAT,
        })
    }

    /// Where capture begins on a log without units.
    pub fn start(&self) -> &SourceStart {
        &self.spec.start
    }
}

fn servers(name: &str, spec: &SourceSpec) -> Result<Vec<ConnectOptions>, ExtractError> {
    let found = document::servers(&spec.connection(), &format!("lutra extractor {name}"));
    let mut servers =
        found.map_err(|e| ExtractError::Unresolved { source_name: name.to_owned(), source: Box::new(e) })?;
    for options in &mut servers {
        options.read_timeout = SILENCE;
    }
    Ok(servers)
}

/// A server id that is the same at every start and another one for every source and cluster: FNV-1a of both, in the
/// range above 2^30, which people rarely use.
fn own_server_id(cluster: &str, source: &str) -> u32 {
    let bytes = cluster.bytes().chain([b'/']).chain(source.bytes());
    let hash = bytes.fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    (hash >> 2) | 1 << 30
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_source_has_a_server_id_of_its_own() {
        assert_ne!(own_server_id("a", "shop"), own_server_id("a", "crm"));
        assert_ne!(own_server_id("a", "shop"), own_server_id("b", "shop"));
        assert!(own_server_id("a", "shop") >= 1 << 30);
    }
}

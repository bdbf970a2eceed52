//! Who signed what the source's servers and the target show, and who is trusted for it.

use std::path::Path;
use std::sync::{Arc, PoisonError};

use anyhow::{Context, Result};
use lutra_harness::Server;
use lutra_harness::certificates::{Authority, trust};

use super::Ground;

impl Ground {
    /// Who signed them; nobody where services do not ask.
    pub(crate) fn authority(&self) -> Option<Arc<Authority>> {
        let authority = self.authority.as_ref()?;
        Some(Arc::clone(&authority.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// From now on it is this one.
    pub(crate) fn rely_on(&self, fresh: Arc<Authority>) {
        if let Some(authority) = &self.authority {
            *authority.lock().unwrap_or_else(PoisonError::into_inner) = fresh;
        }
    }

    /// The servers that show certificates.
    pub(crate) fn certified(&self) -> Result<Vec<&Server>> {
        let mut servers = self.sources()?;
        servers.push(self.stack.mysql("target")?);
        Ok(servers)
    }

    /// All of them show fresh certificates, where services ask.
    pub(crate) async fn certify_all(&self) -> Result<()> {
        let Some(authority) = self.authority() else { return Ok(()) };
        for server in self.certified()? {
            authority.certify(server).await?;
        }
        Ok(())
    }

    /// Services trust nobody else, by the file that their documents name.
    pub(crate) fn trust_alone(&self, file: &Path) -> Result<()> {
        let Some(authority) = self.authority() else { return Ok(()) };
        trust(file, &[&authority]).context("write the file of authorities")
    }
}

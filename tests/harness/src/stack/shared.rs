//! One stack for all tests of a process.

use std::sync::OnceLock;

use anyhow::{Context, Result};
use tokio::sync::OnceCell;

use super::{Stack, StackSpec};
use crate::home::Home;
use crate::install::Installation;
use crate::process::at_exit;

static SHARED: OnceCell<Stack> = OnceCell::const_new();
static FOLDER: OnceLock<std::path::PathBuf> = OnceLock::new();

/// The stack that the tests of one process share, started when the first asks for it and killed when the process exits.
///
/// Where `LUTRA_STACK` names a kept stack (as `cargo xtask test` does), that one is used. Tests that share must keep to
/// databases, topics and ZooKeeper roots of their own, and must not stop or change the servers.
#[derive(Debug, Clone, Copy)]
pub struct SharedStack;

impl SharedStack {
    /// The shared stack. Commits do not wait for the disk.
    ///
    /// # Errors
    /// When it cannot be installed or started.
    pub async fn get() -> Result<&'static Stack> {
        SHARED.get_or_try_init(Self::find_or_start).await
    }

    async fn find_or_start() -> Result<Stack> {
        let home = Home::from_env();
        if let Some(name) = std::env::var("LUTRA_STACK").ok().filter(|name| !name.is_empty()) {
            let found = Stack::find(&home, &name)?;
            return found.with_context(|| format!("find the stack {name} that LUTRA_STACK names: there is none"));
        }
        let installation = Installation::ensure(&home, &|line| tracing::info!("{line}"))?;
        let stack = Stack::start(&installation, StackSpec::pair("shared").relaxed()).await;
        let stack = stack.context("start the stack that tests share")?;
        let _ = FOLDER.set(stack.folder().to_path_buf());
        at_exit(end_shared);
        Ok(stack)
    }
}

extern "C" fn end_shared() {
    if let Some(stack) = SHARED.get() {
        stack.servers().for_each(|server| drop(server.kill()));
    }
    if let Some(folder) = FOLDER.get() {
        let _ = std::fs::remove_dir_all(folder);
    }
}

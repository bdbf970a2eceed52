//! The one folder in which everything lives.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The folder of downloads, unpacked programs and stacks.
#[derive(Debug, Clone)]
pub struct Home {
    root: PathBuf,
}

/// An exclusive lock between processes, held until dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Home {
    /// The folder `LUTRA_HOME` names, or `.lutra` in the repository.
    #[must_use]
    pub fn from_env() -> Self {
        match std::env::var_os("LUTRA_HOME") {
            Some(root) if !root.is_empty() => Self::at(PathBuf::from(root)),
            _ => Self::at(repository().join(".lutra")),
        }
    }

    /// The given folder; it is made when it is first needed. A relative path counts from the current directory.
    #[must_use]
    pub fn at(root: PathBuf) -> Self {
        Self { root: std::path::absolute(&root).unwrap_or(root) }
    }

    /// The folder itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Downloaded files, kept so that a broken installation can be made again without a network.
    #[must_use]
    pub fn cache(&self) -> PathBuf {
        self.root.join("cache")
    }

    /// Unpacked programs.
    #[must_use]
    pub fn dist(&self) -> PathBuf {
        self.root.join("dist")
    }

    /// One folder per stack: data, settings, logs and process ids.
    #[must_use]
    pub fn stacks(&self) -> PathBuf {
        self.root.join("stacks")
    }

    /// Waits for and takes the lock `name`, so that two runs can live side by side.
    ///
    /// # Errors
    /// When the lock file cannot be made.
    pub fn lock(&self, name: &str) -> Result<Lock> {
        fs::create_dir_all(&self.root).with_context(|| format!("make the folder {}", self.root.display()))?;
        let path = self.root.join(format!("{name}.lock"));
        let file = File::create(&path).with_context(|| format!("open the lock file {}", path.display()))?;
        file.lock().with_context(|| format!("take the lock {}", path.display()))?;
        Ok(Lock { _file: file })
    }
}

/// The root of the repository that this library was built from.
#[must_use]
pub fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_repository_is_where_the_workspace_manifest_lies() {
        assert!(repository().join("Cargo.toml").is_file());
        assert!(repository().join("tests/harness").is_dir());
    }

    #[test]
    fn a_lock_keeps_a_second_taker_out_until_it_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path().to_path_buf());
        let held = home.lock("x").unwrap();
        let second = File::open(folder.path().join("x.lock")).unwrap();
        assert!(second.try_lock().is_err());
        drop(held);
        assert!(second.try_lock().is_ok());
    }
}

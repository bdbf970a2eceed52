//! Statements in a world's own database.

use std::time::Duration;

use anyhow::Result;
use lutra_harness::mysql;

use crate::world::{World, WorldOptions};

impl World {
    /// A world on the shared servers whose tasks run, with its database made at the source.
    pub async fn with_database(name: &str, options: WorldOptions) -> Result<Self> {
        let world = Self::shared(name, options).await?;
        world.apply().await?;
        world.execute(&[&format!("CREATE DATABASE `{}`", world.database())]).await?;
        Ok(world)
    }

    /// Runs statements in the world's database at a server.
    pub async fn written_at(&self, url: &str, statements: &[&str]) -> Result<()> {
        let enter = format!("USE `{}`", self.database());
        let all: Vec<&str> = std::iter::once(enter.as_str()).chain(statements.iter().copied()).collect();
        mysql::execute(url, &all).await
    }

    /// Runs statements in the world's database at the source.
    pub async fn written(&self, statements: &[&str]) -> Result<()> {
        self.written_at(&self.source_url, statements).await
    }

    /// Runs statements in the world's database at the source, and compares when the target has them.
    pub async fn followed(&self, statements: &[&str], limit: Duration) -> Result<()> {
        self.written(statements).await?;
        self.settled(limit).await
    }
}

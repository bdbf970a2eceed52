//! Passwords are rotated: the users get new ones, their files say so, and the old ones are worth nothing any more.

use anyhow::{Context, Result};
use futures::future::BoxFuture;
use lutra_harness::mysql::execute;
use lutra_harness::{Flavour, Server};

use super::target::kill_connections;
use super::{Family, Fault, Injury, Recovery};
use crate::plan::Dice;
use crate::rig::Rig;

pub(super) fn all() -> Vec<Box<dyn Fault>> {
    vec![Box::new(Rotated)]
}

struct Rotated;

impl Fault for Rotated {
    fn name(&self) -> String {
        "passwords-rotated".to_owned()
    }

    fn family(&self) -> Family {
        Family::Source
    }

    fn about(&self) -> String {
        "the users at source and target get new passwords beside the old ones, the files that the documents name hold them, the \
         old ones are discarded, and all of Lutra's connections are killed"
            .to_owned()
    }

    fn inject<'a>(&'a self, rig: &'a Rig, _dice: &'a mut Dice) -> BoxFuture<'a, Result<Injury>> {
        Box::pin(async move {
            let (extractors, loaders) = rig.users()?;
            let [source_file, target_file] = rig.password_files();
            let fresh = format!("rotated-{}", rig.number());
            let target = rig.ground.stack.mysql("target")?;
            for server in rig.ground.sources()? {
                beside_the_old(server, &extractors, &fresh).await?;
            }
            let keeps = rig.ground.form.target == Flavour::MySql;
            if keeps {
                beside_the_old(target, &loaders, &fresh).await?;
            } else {
                // MariaDB's users have one password.
                execute(&target.url(), &[&format!("ALTER USER '{loaders}'@'%' IDENTIFIED BY '{fresh}'")]).await?;
            }
            for file in [source_file, target_file] {
                std::fs::write(file, &fresh).context("write a password")?;
            }
            for server in rig.ground.sources()? {
                discard_the_old(server, &extractors).await?;
            }
            if keeps {
                discard_the_old(target, &loaders).await?;
            }
            let injury = Injury::now("source and target", Recovery::Outage);
            for server in rig.ground.sources()? {
                kill_connections(&server.url(), "ls\\_").await?;
            }
            kill_connections(&target.url(), "lt\\_").await?;
            Ok(injury)
        })
    }
}

/// Of a replica as well: users are no part of the binlog here.
async fn change(server: &Server, statement: &str) -> Result<()> {
    let read_only = "SELECT @@GLOBAL.super_read_only INTO @was";
    let statements = [
        read_only,
        "SET GLOBAL super_read_only = OFF",
        "SET sql_log_bin = 0",
        statement,
        "SET GLOBAL super_read_only = @was",
    ];
    execute(&server.url(), &statements).await.with_context(|| format!("change a user of {}", server.name()))
}

async fn beside_the_old(server: &Server, user: &str, fresh: &str) -> Result<()> {
    change(server, &format!("ALTER USER '{user}'@'%' IDENTIFIED BY '{fresh}' RETAIN CURRENT PASSWORD")).await
}

async fn discard_the_old(server: &Server, user: &str) -> Result<()> {
    change(server, &format!("ALTER USER '{user}'@'%' DISCARD OLD PASSWORD")).await
}

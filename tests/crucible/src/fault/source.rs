//! The source.

use anyhow::{Context, Result};
use futures::StreamExt;
use futures::future::BoxFuture;
use lutra_harness::mysql::connect;
use mysql_async::prelude::Queryable;
use mysql_async::{BinlogStreamRequest, Row};

use super::target::kill_connections;
use super::{Family, Fault, Injury, Recovery};
use crate::plan::Dice;
use crate::rig::Rig;

pub(super) fn all() -> Vec<Box<dyn Fault>> {
    let ways = [Way::Kill, Way::Restart, Way::Connections, Way::ServerId, Way::Freeze];
    ways.map(|way| -> Box<dyn Fault> { Box::new(Source { way }) }).into()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Kill,
    Restart,
    Connections,
    ServerId,
    Freeze,
}

struct Source {
    way: Way,
}

impl Fault for Source {
    fn name(&self) -> String {
        match self.way {
            Way::Kill => "source-killed",
            Way::Restart => "source-restarted",
            Way::Connections => "source-connections-killed",
            Way::ServerId => "source-server-id-taken",
            Way::Freeze => "source-frozen",
        }
        .to_owned()
    }

    fn family(&self) -> Family {
        Family::Source
    }

    fn about(&self) -> String {
        match self.way {
            Way::Kill => "SIGKILL to the source, started again at once, recovering",
            Way::Restart => "the source is stopped in order and started again",
            Way::Connections => "KILL of all of Lutra's connections at the source, the binlog dump among them",
            Way::ServerId => "a foreign replica registers under the extractor's server id and takes its dump away",
            Way::Freeze => "SIGSTOP to the source for 1 to 4 s, then SIGCONT",
        }
        .to_owned()
    }

    fn inject<'a>(&'a self, rig: &'a Rig, dice: &'a mut Dice) -> BoxFuture<'a, Result<Injury>> {
        Box::pin(async move {
            let server = rig.ground.primary()?;
            let injury = Injury::now(server.name(), Recovery::Outage);
            Ok(match self.way {
                Way::Kill => {
                    server.kill()?;
                    server.start().await?;
                    injury
                }
                Way::Restart => {
                    server.restart().await?;
                    injury
                }
                Way::Connections => {
                    let mut killed = 0;
                    for server in rig.ground.sources()? {
                        killed += kill_connections(&server.url(), "ls\\_").await?;
                    }
                    Injury::now(format!("source ({killed} connections)"), Recovery::Outage)
                }
                Way::ServerId => {
                    take_server_id(rig).await?;
                    injury
                }
                Way::Freeze => {
                    server.freeze()?;
                    injury.holding(dice.span(1_000, 4_000))
                }
            })
        })
    }

    fn heal<'a>(&'a self, rig: &'a Rig, _injury: &'a mut Injury) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            match self.way {
                Way::Freeze => rig.ground.primary()?.thaw(),
                _ => Ok(()),
            }
        })
    }
}

/// Server ids up to this one are of the rig's own servers.
const SERVERS: u32 = 16;

/// Registers as the replica that is registered, with its UUID too: the server then ends the older dump.
async fn take_server_id(rig: &Rig) -> Result<()> {
    let mut found = None;
    for server in rig.ground.sources()? {
        let mut conn = connect(&server.url()).await?;
        let replicas: Vec<Row> = conn.query("SHOW REPLICAS").await.context("ask the source for its replicas")?;
        let uuid = |row: &Row| row.get_opt("Replica_UUID").and_then(Result::ok).unwrap_or_default();
        let mut dumps = replicas.iter().filter_map(|row| Some((row.get("Server_Id")?, uuid(row))));
        // The servers of the rig are numbered from 1.
        let dump: Option<(u32, String)> = dumps.find(|(id, _)| *id > SERVERS);
        found = found.or(dump.map(|dump| (conn, dump)));
    }
    let (mut conn, (id, uuid)) = found.context("the source has no replica: the extractor is not connected")?;
    conn.query_drop(format!("SET @replica_uuid = '{uuid}', @slave_uuid = '{uuid}'")).await?;
    let status: Option<Row> = conn.query_first("SHOW BINARY LOG STATUS").await?;
    let status = status.context("the source writes no binlog")?;
    let (file, offset): (String, u64) = (status.get(0).unwrap_or_default(), status.get(1).unwrap_or(4));
    let request = BinlogStreamRequest::new(id).with_filename(file.as_bytes()).with_pos(offset);
    let mut stream = conn.get_binlog_stream(request).await.context("register under the extractor's server id")?;
    let _ = tokio::time::timeout(std::time::Duration::from_millis(300), stream.next()).await;
    let _ = tokio::time::timeout(std::time::Duration::from_secs(2), stream.close()).await;
    Ok(())
}

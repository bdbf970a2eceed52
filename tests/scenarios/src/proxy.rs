//! Stands between a client and a MySQL server and loses the answer to a `COMMIT`, which the server has carried out.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// How long the server gets to carry out a commit whose answer is thrown away.
const CARRIED_OUT: Duration = Duration::from_millis(100);

/// A proxy on a port of its own.
pub struct CommitEater {
    address: SocketAddr,
    /// Answers still to be lost.
    appetite: Arc<AtomicU32>,
    /// Answers lost.
    eaten: Arc<AtomicU32>,
    task: JoinHandle<()>,
}

impl CommitEater {
    /// Listens, and passes everything on to `server` (`host:port`).
    pub async fn start(server: String) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (appetite, eaten) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let counters = (Arc::clone(&appetite), Arc::clone(&eaten));
        #[allow(clippy::disallowed_methods, reason = "a test's own task, ended in `drop`")]
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(pass(client, server.clone(), counters.clone()));
            }
        });
        Ok(Self { address, appetite, eaten, task })
    }

    /// `host:port` to connect to.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Loses the answers to the next `times` commits, each with its connection.
    pub fn lose_answers(&self, times: u32) {
        self.appetite.fetch_add(times, Ordering::SeqCst);
    }

    /// How many answers were lost.
    pub fn lost(&self) -> u32 {
        self.eaten.load(Ordering::SeqCst)
    }
}

impl Drop for CommitEater {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(
    mut client: TcpStream,
    server: String,
    (appetite, eaten): (Arc<AtomicU32>, Arc<AtomicU32>),
) -> std::io::Result<()> {
    let mut server = TcpStream::connect(server).await?;
    let (mut from_client, mut from_server) = (vec![0; 65_536], vec![0; 65_536]);
    loop {
        tokio::select! {
            read = client.read(&mut from_client) => {
                let bytes = from_client.get(..read?).unwrap_or_default();
                if bytes.is_empty() {
                    return Ok(());
                }
                server.write_all(bytes).await?;
                // A whole command `COMMIT`: length and sequence number, then 3 for a query.
                let commits = bytes.ends_with(b"\x03COMMIT");
                let hungry = |n: u32| n.checked_sub(1);
                if commits && appetite.fetch_update(Ordering::SeqCst, Ordering::SeqCst, hungry).is_ok() {
                    eaten.fetch_add(1, Ordering::SeqCst);
                    drop(client);
                    tokio::time::sleep(CARRIED_OUT).await;
                    return Ok(());
                }
            }
            read = server.read(&mut from_server) => {
                let bytes = from_server.get(..read?).unwrap_or_default();
                if bytes.is_empty() {
                    return Ok(());
                }
                client.write_all(bytes).await?;
            }
        }
    }
}

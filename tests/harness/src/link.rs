//! Stands between clients and a server, and does to their connections what networks do.
//!
//! A [`Link`] listens on a port of its own and carries bytes both ways. [`Conditions`] say how: late, slowly, in small
//! slices, or not at all while the connections stay open. [`Link::reset`] breaks all connections at once, and
//! [`Link::lose_answers`] loses the answer to a `COMMIT` that the server has carried out.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use rand::Rng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// How long a server gets to carry out a commit whose answer is thrown away.
const CARRIED_OUT: Duration = Duration::from_millis(100);
/// Pieces of a connection that are under way in one direction.
const UNDER_WAY: usize = 64;
/// The most that one piece holds.
const PIECE: usize = 65_536;

/// How bytes travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// Each piece arrives so much later.
    pub latency: Duration,
    /// Up to so much later still, by chance; the order is kept.
    pub jitter: Duration,
    /// So many bytes a second in each direction; 0: as many as there are.
    pub bytes_per_second: u64,
    /// Pieces have at most so many bytes; 0: as they come.
    pub slice: usize,
    /// Nothing goes to the server; connections stay open.
    pub hold_requests: bool,
    /// Nothing comes back from the server; connections stay open.
    pub hold_answers: bool,
    /// New connections are closed at once.
    pub refuse: bool,
}

impl Conditions {
    /// Nothing goes either way, and nobody is told.
    #[must_use]
    pub fn black_hole() -> Self {
        Self { hold_requests: true, hold_answers: true, ..Self::default() }
    }
}

/// A port in front of a server.
#[derive(Debug)]
pub struct Link {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    server: Mutex<String>,
    conditions: watch::Sender<Conditions>,
    /// Raised to break all connections.
    breaks: watch::Sender<u64>,
    /// Answers to commits still to be lost.
    appetite: AtomicU32,
    eaten: AtomicU32,
    open: AtomicUsize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    ToServer,
    ToClient,
}

impl Link {
    /// Listens, and leads to `server` (`host:port`).
    ///
    /// # Errors
    /// When there is no port to listen on.
    pub async fn start(server: impl Into<String>) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("listen in front of a server")?;
        let address = listener.local_addr().context("the address of a link")?;
        let shared = Arc::new(Shared {
            server: Mutex::new(server.into()),
            conditions: watch::Sender::new(Conditions::default()),
            breaks: watch::Sender::new(0),
            appetite: AtomicU32::new(0),
            eaten: AtomicU32::new(0),
            open: AtomicUsize::new(0),
        });
        let own = Arc::clone(&shared);
        #[allow(clippy::disallowed_methods, reason = "the link's own task, ended in `drop`")]
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                if !own.conditions.borrow().refuse {
                    connections.spawn(connection(client, Arc::clone(&own)));
                }
            }
        });
        Ok(Self { address, shared, task })
    }

    /// `host:port` to connect to.
    #[must_use]
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// The port to connect to.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Leads new connections to this server.
    pub fn lead_to(&self, server: impl Into<String>) {
        *self.shared.server.lock().unwrap_or_else(PoisonError::into_inner) = server.into();
    }

    /// From now on bytes travel like this, on open connections too.
    pub fn set(&self, conditions: Conditions) {
        self.shared.conditions.send_replace(conditions);
    }

    /// Breaks all open connections (RST); how many there were.
    pub fn reset(&self) -> usize {
        let open = self.open();
        self.shared.breaks.send_modify(|n| *n += 1);
        open
    }

    /// Connections that are open now.
    #[must_use]
    pub fn open(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// Loses the answers to the next `times` commits, each with its connection.
    pub fn lose_answers(&self, times: u32) {
        self.shared.appetite.fetch_add(times, Ordering::SeqCst);
    }

    /// How many answers were lost.
    #[must_use]
    pub fn lost(&self) -> u32 {
        self.shared.eaten.load(Ordering::SeqCst)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn bites(&self, bytes: &[u8]) -> bool {
        // A whole command `COMMIT`: length and sequence number, then 3 for a query.
        let fewer = |n: u32| n.checked_sub(1);
        bytes.ends_with(b"\x03COMMIT") && self.appetite.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fewer).is_ok()
    }

    /// Returns when bytes may go this way.
    async fn flows(&self, way: Way) {
        let held = |c: &Conditions| if way == Way::ToServer { c.hold_requests } else { c.hold_answers };
        let mut conditions = self.conditions.subscribe();
        let _ = conditions.wait_for(|c| !held(c)).await;
    }
}

async fn connection(mut client: TcpStream, shared: Arc<Shared>) {
    let mut breaks = shared.breaks.subscribe();
    let address = shared.server.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let Ok(mut server) = TcpStream::connect(address).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    shared.open.fetch_add(1, Ordering::SeqCst);
    let muted = AtomicBool::new(false);
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let both = async {
        tokio::try_join!(
            carry(from_client, to_server, &shared, Way::ToServer, &muted),
            carry(from_server, to_client, &shared, Way::ToClient, &muted)
        )
    };
    let ended = tokio::select! {
        ended = both => ended.is_ok(),
        _ = breaks.changed() => false,
    };
    if !ended {
        let _ = (client.set_zero_linger(), server.set_zero_linger());
    }
    shared.open.fetch_sub(1, Ordering::SeqCst);
}

async fn carry<R, W>(mut from: R, mut to: W, shared: &Shared, way: Way, muted: &AtomicBool) -> std::io::Result<()>
where
    R: tokio::io::AsyncRead + Unpin,
    W: tokio::io::AsyncWrite + Unpin,
{
    let (sender, mut pieces) = mpsc::channel::<(Instant, Vec<u8>)>(UNDER_WAY);
    let reading = async move {
        let (mut buffer, mut last) = (vec![0; PIECE], Instant::now());
        loop {
            let read = from.read(&mut buffer).await?;
            let conditions = *shared.conditions.borrow();
            last = last.max(Instant::now() + conditions.latency + some_of(conditions.jitter));
            let slice = if conditions.slice == 0 { PIECE } else { conditions.slice };
            for piece in buffer.get(..read).unwrap_or_default().chunks(slice) {
                if sender.send((last, piece.to_vec())).await.is_err() {
                    return Ok(());
                }
            }
            if read == 0 {
                return Ok(());
            }
        }
    };
    let writing = async {
        while let Some((due, bytes)) = pieces.recv().await {
            tokio::time::sleep_until(due).await;
            shared.flows(way).await;
            if way == Way::ToServer && shared.bites(&bytes) {
                muted.store(true, Ordering::SeqCst);
                to.write_all(&bytes).await?;
                tokio::time::sleep(CARRIED_OUT).await;
                shared.eaten.fetch_add(1, Ordering::SeqCst);
                return Err(std::io::ErrorKind::ConnectionReset.into());
            }
            if way == Way::ToClient && muted.load(Ordering::SeqCst) {
                continue;
            }
            let rate = shared.conditions.borrow().bytes_per_second;
            if rate > 0 {
                tokio::time::sleep(Duration::from_secs_f64(bytes.len() as f64 / rate as f64)).await;
            }
            to.write_all(&bytes).await?;
        }
        to.shutdown().await
    };
    tokio::try_join!(reading, writing).map(drop)
}

fn some_of(jitter: Duration) -> Duration {
    if jitter.is_zero() { jitter } else { jitter.mul_f64(rand::rng().random::<f64>()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::disallowed_methods)]
    use super::*;

    /// A server that sends back what it gets.
    async fn echo() -> (Link, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let link = Link::start(listener.local_addr().unwrap().to_string()).await.unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        let client = TcpStream::connect(link.address()).await.unwrap();
        (link, client)
    }

    async fn say(client: &mut TcpStream, text: &[u8]) -> std::io::Result<Vec<u8>> {
        client.write_all(text).await?;
        let mut answer = vec![0; text.len()];
        client.read_exact(&mut answer).await?;
        Ok(answer)
    }

    #[tokio::test]
    async fn bytes_arrive_as_they_are_late_in_slices_and_slowly() {
        let (link, mut client) = echo().await;
        let text = vec![7; 1_000];
        for (conditions, least) in [
            (Conditions::default(), 0),
            (
                Conditions {
                    latency: Duration::from_millis(30),
                    jitter: Duration::from_millis(5),
                    ..Default::default()
                },
                60,
            ),
            (Conditions { slice: 3, ..Default::default() }, 0),
            (Conditions { bytes_per_second: 20_000, ..Default::default() }, 50),
        ] {
            link.set(conditions);
            let began = Instant::now();
            assert_eq!(say(&mut client, &text).await.unwrap(), text);
            assert!(began.elapsed() >= Duration::from_millis(least), "{conditions:?}");
        }
    }

    #[tokio::test]
    async fn what_falls_into_a_black_hole_comes_out_when_it_ends_and_a_reset_breaks_all() {
        let (link, mut client) = echo().await;
        link.set(Conditions::black_hole());
        client.write_all(b"x").await.unwrap();
        let mut answer = [0];
        assert!(tokio::time::timeout(Duration::from_millis(50), client.read(&mut answer)).await.is_err());
        link.set(Conditions::default());
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!((answer, link.reset()), (*b"x", 1));
        assert!(client.read(&mut answer).await.is_err());
    }

    #[tokio::test]
    async fn the_answer_to_a_commit_is_lost_once() {
        let (link, mut client) = echo().await;
        link.lose_answers(1);
        assert!(say(&mut client, b"\x07\x00\x00\x00\x03COMMIT").await.is_err());
        let mut client = TcpStream::connect(link.address()).await.unwrap();
        say(&mut client, b"\x07\x00\x00\x00\x03COMMIT").await.unwrap();
        assert_eq!(link.lost(), 1);
    }
}

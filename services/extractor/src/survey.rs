//! Asks a source's servers how they stand, all at once, and waits for one that can be read (ADR 0007).

use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use lutra_change::GtidSet;
use lutra_mysql::catalogue::{self, Follows};
use lutra_mysql::{ConnectOptions, Connection, ErrorKind};
use lutra_runtime::{Backoff, BackoffPolicy, CancellationToken};
use tokio::time::Instant;
use uuid::Uuid;

use crate::config::ExtractConfig;
use crate::error::ExtractError;
use crate::extract::chain;
use crate::failover::{Answer, Found, Lack, Silence, Verdict, Wanted, decide, lack, told};
use crate::start::Server;

/// How long a server of several may take to say how it stands, before another one is read.
const ANSWER: Duration = Duration::from_secs(3);
/// How long a verdict that halts must stand: a server's dump thread sends before the engine commits (P7), and of servers that
/// start together the right one may be the last.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks at servers of which none can be read.
const LOOK: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// What was published, for the choice of a server.
#[derive(Clone, Debug, Default)]
pub struct Published {
    /// At least this much.
    pub set: GtidSet,
    /// It is all.
    pub exact: bool,
    /// Without GTIDs: the server that the log was written from.
    pub server: Option<Uuid>,
    /// The server that was read last.
    pub last: Option<Uuid>,
}

impl Published {
    fn wanted(&self, config: &ExtractConfig) -> Wanted<'_> {
        let Self { set, exact, server, last } = self;
        Wanted { published: set, exact: *exact, server: *server, gtid: config.spec.gtid, last: *last }
    }

    /// Whether a server that was chosen holds, as it was asked then.
    pub fn held_by(&self, server: &Server, config: &ExtractConfig) -> bool {
        lack(&server.found, &self.wanted(config), config.servers.len() == 1).is_none()
    }
}

/// The best server of the list, waiting for one as long as it takes; `None` when stopped. `waits` is told why, again whenever
/// that changes.
///
/// # Errors
/// [`ExtractError::SourceBehindLog`], [`ExtractError::PurgedPastLog`], [`ExtractError::AnotherServer`] when the server that is
/// written will never do. [`ExtractError::Source`] when nobody lets us in, or the only one says something that does not pass.
pub async fn choose(
    config: &ExtractConfig,
    published: &Published,
    stop: &CancellationToken,
    mut waits: impl FnMut(&str),
) -> Result<Option<Server>, ExtractError> {
    let mut backoff = Backoff::new(BackoffPolicy::try_new(LOOK.0, LOOK.1, 2.0, 0.2).unwrap_or(BackoffPolicy::CONNECT));
    let wanted = published.wanted(config);
    let (mut why, mut halting_since) = (String::new(), None);
    loop {
        let mut survey = Survey::of(config, &wanted).await?;
        let verdict = decide(&survey.answers, &wanted);
        let told = told(&survey.addresses, &survey.answers, &wanted);
        match verdict {
            Verdict::Read { server, .. } => match survey.servers.get_mut(server).and_then(Option::take) {
                Some(server) => return Ok(Some(server)),
                None => halting_since = None,
            },
            Verdict::Wait => {
                survey.ensure_some_hope()?;
                halting_since = None;
            }
            Verdict::Halt(server, lack) => {
                let since = *halting_since.get_or_insert_with(Instant::now);
                let passes = matches!(lack, Lack::Published(_)) || survey.answers.iter().any(is_silent);
                if !passes || since.elapsed() >= PATIENCE {
                    return Err(survey.halt(server, lack, published, &told));
                }
            }
        }
        if told != why {
            waits(&told);
            why = told;
        }
        if backoff.wait(stop).await.is_err() {
            return Ok(None);
        }
    }
}

fn is_silent(answer: &Answer) -> bool {
    matches!(answer, Some(Err(_)))
}

/// One round of questions.
struct Survey {
    addresses: Vec<String>,
    answers: Vec<Answer>,
    servers: Vec<Option<Server>>,
    failures: Vec<Option<lutra_mysql::Error>>,
}

impl Survey {
    /// Asks all servers, and waits for all answers unless one makes the others needless.
    async fn of(config: &ExtractConfig, wanted: &Wanted<'_>) -> Result<Self, ExtractError> {
        let count = config.servers.len();
        if count == 0 {
            let reason = "it names no server".to_owned();
            return Err(ExtractError::Definition { source_name: config.source.clone(), reason });
        }
        let mut survey = Self {
            addresses: config.servers.iter().map(ConnectOptions::address).collect(),
            answers: vec![None; count],
            servers: (0..count).map(|_| None).collect(),
            failures: (0..count).map(|_| None).collect(),
        };
        let asks = config.servers.iter().enumerate();
        let mut asks: FuturesUnordered<_> =
            asks.map(|(n, options)| async move { (n, ask_in_time(options, count == 1).await) }).collect();
        while let Some((n, outcome)) = asks.next().await {
            survey.take(n, outcome);
            if matches!(decide(&survey.answers, wanted), Verdict::Read { final_: true, .. }) {
                break;
            }
        }
        Ok(survey)
    }

    fn take(&mut self, n: usize, outcome: Result<Server, lutra_mysql::Error>) {
        let (answer, server, failure) = match outcome {
            Ok(server) => (Ok(server.found.clone()), Some(server), None),
            Err(e) => (Err(Silence { reason: chain(&e) }), None, Some(e)),
        };
        let places = self.answers.get_mut(n).zip(self.servers.get_mut(n)).zip(self.failures.get_mut(n));
        if let Some(((answers, servers), failures)) = places {
            (*answers, *servers, *failures) = (Some(answer), server, failure);
        }
    }

    /// Nobody lets us in: that is for the task's own retries, and told as what it is. So is what a server that is named
    /// alone answers, unless it goes by itself.
    fn ensure_some_hope(&mut self) -> Result<(), ExtractError> {
        let stays: fn(ErrorKind) -> bool = if self.failures.len() == 1 { |kind| !passes(kind) } else { refuses };
        if !self.failures.iter().all(|failure| failure.as_ref().is_some_and(|e| stays(e.kind()))) {
            return Ok(());
        }
        let mut each = self.addresses.iter().zip(&mut self.failures);
        let failure = each.find_map(|(address, failure)| Some((address.clone(), failure.take()?)));
        failure.map_or(Ok(()), |(address, e)| Err(ExtractError::Source { address, source: Box::new(e) }))
    }

    fn halt(&self, server: usize, lack: Lack, published: &Published, told: &str) -> ExtractError {
        let address = self.addresses.get(server).cloned().unwrap_or_default();
        let found = self.servers.get(server).and_then(Option::as_ref).map(|s| &s.found);
        match lack {
            Lack::Published(phantom) => {
                let own = Box::new(found.map(|f| f.executed.minus(&published.set)).unwrap_or_default());
                ExtractError::SourceBehindLog { address, phantom, own, servers: told.to_owned() }
            }
            Lack::Binlog(purged) => ExtractError::PurgedPastLog { address, purged, servers: told.to_owned() },
            _ => ExtractError::AnotherServer {
                address,
                found: found.map(|f| f.uuid).unwrap_or_default().to_string(),
                expected: published.server.unwrap_or_default().to_string(),
            },
        }
    }
}

/// The server answers, and does not let us in.
fn refuses(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::AccessDenied | ErrorKind::Tls | ErrorKind::Internal)
}

/// The server is down, restarts, is too busy or cannot be reached: nobody need do anything here when that ends.
fn passes(kind: ErrorKind) -> bool {
    use ErrorKind::{ConnectionLost, Shutdown, Timeout, TooManyConnections};
    matches!(kind, ConnectionLost | Timeout | TooManyConnections | Shutdown)
}

/// One of several servers does not keep the others waiting.
async fn ask_in_time(options: &ConnectOptions, alone: bool) -> Result<Server, lutra_mysql::Error> {
    if alone {
        return ask(options).await;
    }
    let late = |_| lutra_mysql::Error::Timeout { operation: "asking the server how it stands", after: ANSWER };
    tokio::time::timeout(ANSWER, ask(options)).await.map_err(late)?
}

async fn ask(options: &ConnectOptions) -> Result<Server, lutra_mysql::Error> {
    let mut connection = Connection::connect(options).await?;
    connection.set_read_timeout(Server::QUESTION);
    let identity = catalogue::identity(&mut connection).await?;
    let mariadb = identity.flavour.is_mariadb();
    let gtid = mariadb || connection.query_text("SELECT @@GLOBAL.gtid_mode").await?.as_deref() == Some("ON");
    let binlog_state = if mariadb { Some(catalogue::mariadb_binlog_state(&mut connection).await?) } else { None };
    let follows: Option<Follows> = catalogue::follows(&mut connection).await?;
    let uuid = Uuid::parse_str(&identity.server_uuid).unwrap_or_default();
    let found = Found {
        uuid,
        gtid,
        executed: identity.gtid_executed.clone(),
        binlog_state,
        purged: identity.gtid_purged.clone(),
        read_only: identity.read_only,
        follows,
    };
    Ok(Server { options: options.clone(), connection, identity, uuid, found })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn asked(failures: Vec<Option<lutra_mysql::Error>>) -> Result<(), ExtractError> {
        let count = failures.len();
        let addresses = (0..count).map(|n| format!("db{n}:3306")).collect();
        let servers = (0..count).map(|_| None).collect();
        Survey { addresses, answers: vec![None; count], servers, failures }.ensure_some_hope()
    }

    fn refused() -> Option<lutra_mysql::Error> {
        let source = std::io::ErrorKind::ConnectionRefused.into();
        Some(lutra_mysql::Error::ConnectionLost { operation: "a login", source })
    }

    fn says(code: u16) -> Option<lutra_mysql::Error> {
        let (operation, state, message) = ("a login", "HY000".to_owned(), String::new());
        Some(lutra_mysql::Error::Server { operation, code, state, message })
    }

    #[test]
    fn a_server_alone_is_waited_for_while_it_is_away_and_not_when_it_refuses() {
        for away in [refused(), says(1040), says(1053)] {
            asked(vec![away]).unwrap();
        }
        for stays in [says(1045), says(1064)] {
            assert!(matches!(asked(vec![stays]), Err(ExtractError::Source { .. })));
        }
        asked(vec![None]).unwrap();
    }

    #[test]
    fn of_several_servers_one_that_may_come_back_is_enough() {
        asked(vec![says(1045), refused()]).unwrap();
        asked(vec![says(1064), says(1064)]).unwrap();
        assert!(asked(vec![says(1045), says(1045)]).is_err());
    }
}

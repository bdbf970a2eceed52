//! What the databases themselves say: reachable or not, fit or not.

use std::time::Duration;

use lutra_mysql::checks::{self, SourceCheckOptions, TargetCheckOptions};
use lutra_mysql::{Connection, DumpStart, catalogue, document};
use lutra_spec::{SourceSpec, SourceStart, TargetSpec};

use crate::error::{ManagerError, NamedCheck, chain};

/// How long one server may take to be reached from here.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Why a server was not reached.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreachable {
    #[error(transparent)]
    Document(#[from] document::Unresolved),
    #[error("it does not let us in")]
    Connect(#[source] lutra_mysql::Error),
    #[error("its document names no server")]
    Nowhere,
}

/// Connects to the first server of a document that answers.
pub(crate) async fn connect(how: &lutra_spec::Connection) -> Result<Connection, Unreachable> {
    let mut last = Unreachable::Nowhere;
    for mut options in document::servers(how, "lutra-manager")? {
        options.connect_timeout = CONNECT_TIMEOUT;
        options.read_timeout = Duration::from_secs(15);
        match Connection::connect(&options).await {
            Ok(connection) => return Ok(connection),
            Err(error) => last = Unreachable::Connect(error),
        }
    }
    Err(last)
}

/// A server's checks, or why it could not be asked.
pub(crate) enum Asked {
    /// All checks, met or not.
    Checks(Vec<NamedCheck>),
    /// It could not be asked from here; its workers may reach it all the same.
    Unreachable(String),
}

/// Checks a source. `begun`: its start is behind it and says nothing any more.
pub(crate) async fn source(name: &str, spec: &SourceSpec, begun: bool) -> Asked {
    let subject = format!("source {name}");
    let mut connection = match connect(&spec.connection()).await {
        Ok(connection) => connection,
        Err(error) => return Asked::Unreachable(format!("{subject} was not checked: {}", chain(&error))),
    };
    let start = match &spec.start {
        SourceStart::Gtid(set) if !begun => Some(DumpStart::Gtid(set.clone())),
        SourceStart::Position(position) if !begun => Some(DumpStart::Position(position.clone())),
        _ => None,
    };
    let options = SourceCheckOptions {
        gtid: spec.gtid,
        accept_weak_durability: spec.accept_weak_durability,
        // The extractor of a source that runs already holds its server id.
        server_id: if begun { None } else { spec.server_id },
        start,
    };
    answer(&subject, checks::source(&mut connection, &options).await)
}

/// Checks a target of which `databases` are written; none of them: nobody says which.
pub(crate) async fn target(name: &str, spec: &TargetSpec, databases: Vec<String>) -> Asked {
    let subject = format!("target {name}");
    let mut connection = match connect(&spec.connection()).await {
        Ok(connection) => connection,
        Err(error) => return Asked::Unreachable(format!("{subject} was not checked: {}", chain(&error))),
    };
    let options = TargetCheckOptions { databases, lower_case_table_names: None };
    answer(&subject, checks::target(&mut connection, &options).await)
}

fn answer(subject: &str, result: lutra_mysql::Result<Vec<checks::CheckResult>>) -> Asked {
    match result {
        Ok(results) => Asked::Checks(results.into_iter().map(|check| NamedCheck::of(subject, check)).collect()),
        Err(error) => Asked::Unreachable(format!("{subject} was not checked: {}", chain(&error))),
    }
}

/// Where the source stands now. Of several servers it is the one that takes writes and follows nobody, of several of those the
/// one that has executed what the others have: the first one that answers may be a replica that is behind. While one does not
/// answer and none of the others takes writes, nobody knows.
pub(crate) async fn executed(name: &str, spec: &SourceSpec) -> Result<catalogue::ServerIdentity, ManagerError> {
    let fault = |source: Box<dyn std::error::Error + Send + Sync>| ManagerError::Server {
        kind: "source",
        name: name.to_owned(),
        source,
    };
    let servers = document::servers(&spec.connection(), "lutra-manager").map_err(|e| fault(Box::new(e)))?;
    let (mut best, mut last) = (None::<Standing>, None);
    for answer in futures::future::join_all(servers.into_iter().map(stands)).await {
        match answer {
            Ok(found) if best.as_ref().is_none_or(|best| found.counts_more_than(best)) => best = Some(found),
            Ok(_) => {}
            Err(error) => last = Some(error),
        }
    }
    let nobody = |error: Option<lutra_mysql::Error>| error.map_or(Unreachable::Nowhere, Unreachable::Connect);
    match best {
        Some(best) if best.primary || last.is_none() => Ok(best.identity),
        _ => Err(fault(Box::new(nobody(last)))),
    }
}

/// How a server of a source stands.
struct Standing {
    /// It takes writes, and follows nobody.
    primary: bool,
    identity: catalogue::ServerIdentity,
}

impl Standing {
    fn counts_more_than(&self, other: &Self) -> bool {
        let (mine, theirs) = (&self.identity.gtid_executed, &other.identity.gtid_executed);
        (self.primary, theirs.is_subset(mine) && theirs != mine) > (other.primary, false)
    }
}

async fn stands(mut options: lutra_mysql::ConnectOptions) -> lutra_mysql::Result<Standing> {
    options.connect_timeout = CONNECT_TIMEOUT;
    options.read_timeout = Duration::from_secs(15);
    let mut connection = Connection::connect(&options).await?;
    let identity = catalogue::identity(&mut connection).await?;
    let follows = catalogue::follows(&mut connection).await?;
    let primary = !identity.read_only && matches!(follows, None | Some(catalogue::Follows::Nobody));
    Ok(Standing { primary, identity })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn standing(primary: bool, executed: &str) -> Standing {
        let identity = catalogue::ServerIdentity {
            server_uuid: String::new(),
            server_id: 1,
            version: "9.7.0".to_owned(),
            flavour: lutra_mysql::Flavour::MySql,
            gtid_executed: executed.parse().unwrap(),
            gtid_purged: lutra_change::GtidSet::new(),
            lower_case_table_names: 0,
            read_only: !primary,
        };
        Standing { primary, identity }
    }

    #[test]
    fn the_primary_says_where_a_source_stands_and_of_two_the_one_that_has_more() {
        let set = |last: u32| format!("3e11fa47-71ca-11e1-9e33-c80aa9429562:1-{last}");
        let (behind, ahead) = (standing(false, &set(5)), standing(true, &set(9)));
        assert!(ahead.counts_more_than(&behind) && !behind.counts_more_than(&ahead));
        let came_back = standing(true, &set(7));
        assert!(ahead.counts_more_than(&came_back) && !came_back.counts_more_than(&ahead));
        assert!(!ahead.counts_more_than(&standing(true, &set(9))), "of equals the first one counts");
        assert!(standing(false, &set(9)).counts_more_than(&standing(false, &set(8))));
    }
}

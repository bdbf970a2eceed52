//! What a source and a target must be: named checks, each with the statement that mends it, and the least grants.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::binlog::DumpStart;
use crate::catalogue;
use crate::connection::Connection;
use crate::dialect::Flavour;
use crate::error::{ErrorKind, Result};
use crate::grants;
pub use crate::grants::{definer_grants, source_grants, target_grants};

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckResult {
    /// Name, as in `ensure_row_format`.
    pub name: &'static str,
    /// Whether the server is as required.
    pub ok: bool,
    /// What was found.
    pub found: String,
    /// What is required.
    pub required: String,
    /// The statement, or the step, that mends it.
    pub mend: String,
}

impl CheckResult {
    pub(crate) fn new(
        name: &'static str,
        ok: bool,
        found: impl Into<String>,
        required: &str,
        mend: impl Into<String>,
    ) -> Self {
        Self { name, ok, found: found.into(), required: required.to_owned(), mend: mend.into() }
    }
}

impl std::fmt::Display for CheckResult {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.ok {
            return write!(f, "{}: ok ({})", self.name, self.found);
        }
        write!(f, "{}: found {}, required {}; mend it: {}", self.name, self.found, self.required, self.mend)
    }
}

/// What a source is to be checked for.
#[derive(Clone, Debug)]
pub struct SourceCheckOptions {
    /// Whether places are GTID sets (else file and position).
    pub gtid: bool,
    /// Take a source that can lose acknowledged transactions in a crash.
    pub accept_weak_durability: bool,
    /// The server id that the dump will use.
    pub server_id: Option<u32>,
    /// Where the dump will start, where that is known.
    pub start: Option<DumpStart>,
}

/// Checks a source. Every check is made, whatever the others find.
///
/// # Errors
/// Only when the server cannot be asked.
pub async fn source(connection: &mut Connection, options: &SourceCheckOptions) -> Result<Vec<CheckResult>> {
    let variables = catalogue::variables(connection).await?;
    let mut results = settings(&variables, options);
    results.push(grants::of_source(connection, flavour_of(&variables)).await?);
    if let Some(server_id) = options.server_id {
        results.push(server_id_is_free(connection, server_id, &variables).await?);
    }
    if let Some(start) = &options.start {
        results.push(binlog_is_there(connection, start).await?);
    }
    Ok(results)
}

type Variables = BTreeMap<String, String>;

fn variable<'a>(variables: &'a Variables, name: &str) -> &'a str {
    variables.get(name).map_or("", String::as_str)
}

/// One global variable that must have a value. A server without the variable has the only value it can have.
fn setting(variables: &Variables, check: &'static str, name: &str, required: &str, mend: &str) -> CheckResult {
    match variables.get(name) {
        None => CheckResult::new(check, true, format!("no variable {name}: always {required}"), required, mend),
        Some(found) => {
            let ok = found.eq_ignore_ascii_case(required);
            CheckResult::new(check, ok, format!("{name} = {found}"), &format!("{name} = {required}"), mend)
        }
    }
}

/// The statement that sets a global variable for good. MariaDB forgets at its next start what only a statement said.
fn set_for_good(flavour: Flavour, name: &str, value: &str) -> String {
    match flavour {
        Flavour::MySql => format!("SET PERSIST {name} = {value}"),
        Flavour::MariaDb => format!("SET GLOBAL {name} = {value}, and write it into the server's settings file"),
    }
}

fn settings(variables: &Variables, options: &SourceCheckOptions) -> Vec<CheckResult> {
    let flavour = flavour_of(variables);
    let fixed = |check, name, value: &str, quoted: &str| {
        setting(variables, check, name, value, &set_for_good(flavour, name, quoted))
    };
    let mut results = vec![
        setting(variables, "ensure_binlog", "log_bin", "ON", "start the server with --log-bin"),
        fixed("ensure_row_format", "binlog_format", "ROW", "'ROW'"),
        row_metadata(variables),
    ];
    match flavour {
        Flavour::MySql => {}
        Flavour::MariaDb => results.push(replicated_is_logged(variables)),
    }
    match (options.gtid, flavour) {
        (true, Flavour::MySql) => {
            const MEND: &str = "SET PERSIST enforce_gtid_consistency = ON, then gtid_mode = OFF_PERMISSIVE, ON_PERMISSIVE, ON; \
                                or write `gtid: false` into the source to follow file and position";
            results.push(setting(variables, "ensure_gtid_mode", "gtid_mode", "ON", MEND));
        }
        // Without it a domain's numbers may go back, and a position does not say what was executed.
        (true, Flavour::MariaDb) => results.push(fixed("ensure_gtid_strict_mode", "gtid_strict_mode", "ON", "ON")),
        (false, _) => {}
    }
    results.push(durability(variables, options.accept_weak_durability));
    results
}

/// A MariaDB server that replicates writes what it gets into its own binlog only when told to.
fn replicated_is_logged(variables: &Variables) -> CheckResult {
    let (logged, position) = (variable(variables, "log_slave_updates"), variable(variables, "gtid_slave_pos"));
    let ok = position.is_empty() || logged != "OFF";
    let found = format!("log_slave_updates = {logged}, gtid_slave_pos = '{position}'");
    const MEND: &str = "start the server with --log-slave-updates; or read the server that it replicates from";
    CheckResult::new("ensure_replicated_is_logged", ok, found, "log_slave_updates = ON where it replicates", MEND)
}

/// With less than FULL, table maps do not say what tables look like: the log must, and whoever writes it has to ask.
fn row_metadata(variables: &Variables) -> CheckResult {
    const NAME: &str = "binlog_row_metadata";
    let mend = set_for_good(flavour_of(variables), NAME, "'FULL'");
    let found = match variables.get(NAME) {
        Some(found) if found.eq_ignore_ascii_case("FULL") => format!("{NAME} = {found}"),
        found => {
            let found = found.map_or_else(|| format!("no variable {NAME}"), |found| format!("{NAME} = {found}"));
            format!(
                "{found}; definitions are kept on the log, which takes SELECT on the captured tables. Better: {mend}"
            )
        }
    };
    CheckResult::new("ensure_row_metadata", true, found, "any; FULL is best", mend)
}

fn flavour_of(variables: &Variables) -> Flavour {
    Flavour::of_version(variable(variables, "version"))
}

/// P7: a source that loses acknowledged transactions in a crash is another history afterwards.
fn durability(variables: &Variables, accepted: bool) -> CheckResult {
    let (sync, flush) = (variable(variables, "sync_binlog"), variable(variables, "innodb_flush_log_at_trx_commit"));
    let ok = (sync == "1" && flush == "1") || accepted;
    let found = format!("sync_binlog = {sync}, innodb_flush_log_at_trx_commit = {flush}");
    let set = |name| set_for_good(flavour_of(variables), name, "1");
    let mend = format!(
        "{}; {}; or write `accept_weak_durability: true` into the source",
        set("sync_binlog"),
        set("innodb_flush_log_at_trx_commit")
    );
    CheckResult::new("ensure_durability", ok, found, "sync_binlog = 1, innodb_flush_log_at_trx_commit = 1", mend)
}

async fn server_id_is_free(connection: &mut Connection, server_id: u32, variables: &Variables) -> Result<CheckResult> {
    const NAME: &str = "ensure_server_id";
    const MEND: &str = "write another `server_id` into the source, or stop the replica that has it";
    let required = format!("server id {server_id} is no other replica's");
    if variable(variables, "server_id") == server_id.to_string() {
        return Ok(CheckResult::new(NAME, false, "it is the server's own", &required, MEND));
    }
    let replicas = match flavour_of(variables) {
        Flavour::MySql => "SHOW REPLICAS",
        // It takes more than a source's account needs; where two have one id, the server ends the older one's dump.
        Flavour::MariaDb
            if !grants::Privileges::of(connection).await?.everywhere(&["REPLICATION MASTER ADMIN"]).is_empty() =>
        {
            return Ok(CheckResult::new(NAME, true, "not the server's own; replicas are not visible", &required, MEND));
        }
        Flavour::MariaDb => "SHOW SLAVE HOSTS",
    };
    let rows = match connection.query(replicas).await {
        Ok(rows) => rows,
        // Told by `ensure_grants`.
        Err(e) if e.kind() == ErrorKind::AccessDenied => Vec::new(),
        Err(e) => return Err(e),
    };
    // Our own dump of a moment ago may still be listed: it says that it is Lutra's. The server ends it when ours begins.
    let taken = rows.iter().find(|row| row.u64(0) == Some(u64::from(server_id)) && row.text(1) != Some("lutra"));
    let found = taken.map_or_else(|| "free".to_owned(), |row| format!("taken by the replica at {:?}", row.string(1)));
    Ok(CheckResult::new(NAME, taken.is_none(), found, &required, MEND))
}

async fn binlog_is_there(connection: &mut Connection, start: &DumpStart) -> Result<CheckResult> {
    const NAME: &str = "ensure_binlog_not_purged";
    const MEND: &str = "the changes in between are gone from this server: start anew from `earliest` with a fresh copy of the \
                        target, or restore the purged files; keep them longer with SET PERSIST binlog_expire_logs_seconds";
    match start {
        DumpStart::Gtid(set) => {
            let purged = catalogue::identity(connection).await?.gtid_purged;
            let lost = purged.minus(set);
            let found = if lost.is_empty() { "all there".to_owned() } else { format!("purged: {lost}") };
            Ok(CheckResult::new(NAME, lost.is_empty(), found, "everything behind the start is in the binlog", MEND))
        }
        DumpStart::Position(position) => {
            let files = catalogue::binlog_files(connection).await?;
            let file = files.iter().find(|f| f.file == position.file);
            let ok = file.is_some_and(|f| position.offset <= f.offset);
            let found = match (file, files.first()) {
                (Some(f), _) => format!("{} with {} bytes", f.file, f.offset),
                (None, Some(first)) => format!("no {}; the oldest is {}", position.file, first.file),
                (None, None) => "no binlog files".to_owned(),
            };
            Ok(CheckResult::new(NAME, ok, found, &format!("{position} is in the binlog"), MEND))
        }
    }
}

/// What a target is to be checked for.
#[derive(Clone, Debug)]
pub struct TargetCheckOptions {
    /// The databases that are written; none where that is not known.
    pub databases: Vec<String>,
    /// `lower_case_table_names` of the source, where known.
    pub lower_case_table_names: Option<u8>,
}

/// Checks a target. Every check is made, whatever the others find.
///
/// # Errors
/// Only when the server cannot be asked.
pub async fn target(connection: &mut Connection, options: &TargetCheckOptions) -> Result<Vec<CheckResult>> {
    let variables = catalogue::variables(connection).await?;
    let read_only = ["read_only", "super_read_only"].into_iter().find(|name| variable(&variables, name) == "ON");
    let mut results = vec![CheckResult::new(
        "ensure_writable",
        read_only.is_none(),
        read_only.map_or_else(|| "writable".to_owned(), |name| format!("{name} = ON")),
        "read_only = OFF, super_read_only = OFF",
        format!("{}; or name the primary in `servers`", set_for_good(flavour_of(&variables), "read_only", "OFF")),
    )];
    let packet: u64 = variable(&variables, "max_allowed_packet").parse().unwrap_or(0);
    results.push(CheckResult::new(
        "ensure_packet_size",
        packet >= 16 << 20,
        format!("max_allowed_packet = {packet}"),
        "max_allowed_packet >= 16777216",
        set_for_good(flavour_of(&variables), "max_allowed_packet", "67108864"),
    ));
    results.push(grants::of_target(connection, &options.databases, flavour_of(&variables)).await?);
    let is_super = grants::Privileges::of(connection).await?.everywhere(&["SUPER"]).is_empty();
    results.push(function_creators(&variables, is_super));
    if let Some(source) = options.lower_case_table_names {
        let here = variable(&variables, "lower_case_table_names").to_owned();
        let ok = here == source.to_string() || source != 0;
        const MEND: &str =
            "names that differ only in case cannot be told apart there: initialise the target with the source's value";
        results.push(CheckResult::new(
            "ensure_name_case",
            ok,
            here,
            &format!("lower_case_table_names = {source}"),
            MEND,
        ));
    }
    Ok(results)
}

/// A server with a binlog asks whoever makes functions and triggers for SUPER (error 1419), unless told not to. Pipelines
/// without them need nothing: it is said, and is no fault.
fn function_creators(variables: &Variables, is_super: bool) -> CheckResult {
    const NAME: &str = "log_bin_trust_function_creators";
    let mend = set_for_good(flavour_of(variables), NAME, "ON");
    let found = match (variable(variables, "log_bin"), variable(variables, NAME)) {
        ("OFF", _) => "no binlog: functions and triggers can be made".to_owned(),
        (_, trusted) if trusted != "OFF" => format!("{NAME} = {trusted}"),
        (_, trusted) if is_super => format!("{NAME} = {trusted}, and the account has SUPER"),
        (_, trusted) => format!(
            "{NAME} = {trusted}; functions and triggers of the source are refused with error 1419. If some come: {mend}"
        ),
    };
    CheckResult::new("ensure_function_creators", true, found, "any; ON where functions or triggers come", mend)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> SourceCheckOptions {
        SourceCheckOptions { gtid: true, accept_weak_durability: false, server_id: None, start: None }
    }

    fn variables(pairs: &[(&str, &str)]) -> Variables {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn a_server_without_binlog_format_always_writes_rows() {
        let found = settings(&variables(&[("log_bin", "ON")]), &options());
        assert!(found.iter().any(|r| r.name == "ensure_row_format" && r.ok));
    }

    #[test]
    fn each_fault_names_the_statement_that_mends_it() {
        let server = variables(&[("binlog_row_metadata", "MINIMAL"), ("gtid_mode", "OFF"), ("sync_binlog", "0")]);
        let faults: Vec<_> = settings(&server, &options()).into_iter().filter(|r| !r.ok).collect();
        let names: Vec<_> = faults.iter().map(|r| r.name).collect();
        assert_eq!(names, ["ensure_gtid_mode", "ensure_durability"]);
        assert!(faults.iter().all(|r| !r.mend.is_empty()));
    }

    #[test]
    fn less_than_full_row_metadata_is_taken_and_full_is_recommended() {
        let found =
            |pairs| settings(&variables(pairs), &options()).into_iter().find(|r| r.name == "ensure_row_metadata");
        let minimal = found(&[("binlog_row_metadata", "MINIMAL")]).unwrap_or_else(|| row_metadata(&Variables::new()));
        assert!(minimal.ok && minimal.found.contains("SET PERSIST binlog_row_metadata = 'FULL'"), "{minimal}");
        let full = found(&[("binlog_row_metadata", "FULL")]).unwrap_or_else(|| row_metadata(&Variables::new()));
        assert!(full.ok && !full.found.contains("Better"), "{full}");
    }

    #[test]
    fn who_may_not_make_functions_is_told_what_mends_it() {
        let found = |pairs, is_super| function_creators(&variables(pairs), is_super).to_string();
        let off = [("log_bin", "ON"), ("log_bin_trust_function_creators", "OFF")];
        assert!(found(&off, false).contains("1419"));
        assert!(found(&off, false).contains("SET PERSIST log_bin_trust_function_creators = ON"));
        assert!(!found(&off, true).contains("1419"));
        assert!(!found(&[("log_bin", "ON"), ("log_bin_trust_function_creators", "ON")], false).contains("1419"));
        assert!(!found(&[("log_bin", "OFF"), ("log_bin_trust_function_creators", "OFF")], false).contains("1419"));
    }

    #[test]
    fn mariadb_is_asked_for_what_it_has() {
        let server = variables(&[
            ("version", "10.11.19-MariaDB-log"),
            ("log_bin", "ON"),
            ("gtid_strict_mode", "OFF"),
            ("gtid_slave_pos", "0-1-7"),
            ("log_slave_updates", "OFF"),
            ("sync_binlog", "1"),
            ("innodb_flush_log_at_trx_commit", "1"),
        ]);
        let faults: Vec<_> = settings(&server, &options()).into_iter().filter(|r| !r.ok).collect();
        assert_eq!(
            faults.iter().map(|r| r.name).collect::<Vec<_>>(),
            ["ensure_replicated_is_logged", "ensure_gtid_strict_mode"]
        );
        assert!(faults.iter().all(|r| !r.mend.contains("PERSIST")));
    }
}

//! What is decided about statements that wait or failed: rows of `lutra.ddl` in the target, written by the loader, decided
//! by people through the manager. What was set aside is in `lutra.dead_letter`.

use lutra_change::{Number, TableName};
use lutra_mysql::Error;
use lutra_mysql::sql::quote_text;
use lutra_spec::{DdlPolicy, PipelineSpec, TablePattern};
use lutra_wire::record::Ddl;

use crate::error::Conflict;
use crate::slot::Owner;
use crate::target::TargetConnection;

/// Statements that make these tables.
pub const CREATE: [&str; 2] = [
    "CREATE TABLE IF NOT EXISTS `lutra`.`ddl` (\
     task VARCHAR(80) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, \
     sequence BIGINT UNSIGNED NOT NULL, sub BIGINT UNSIGNED NOT NULL, \
     state VARCHAR(16) CHARACTER SET ascii NOT NULL COMMENT 'held, parked, failed, stopped, settled', \
     reason TEXT CHARACTER SET utf8mb4 NULL, tables_named TEXT CHARACTER SET utf8mb4 NULL, \
     default_database VARCHAR(64) CHARACTER SET utf8mb4 NULL, statement LONGBLOB NOT NULL, \
     decision VARCHAR(16) CHARACTER SET ascii NULL COMMENT 'approve, skip, replace, or by policy', replacement LONGBLOB NULL, \
     noted_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, \
     PRIMARY KEY (task, sequence, sub)) ENGINE=InnoDB",
    "CREATE TABLE IF NOT EXISTS `lutra`.`dead_letter` (\
     task VARCHAR(80) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, \
     sequence BIGINT UNSIGNED NOT NULL, sub BIGINT UNSIGNED NOT NULL, \
     kind VARCHAR(16) CHARACTER SET ascii NOT NULL, reason TEXT CHARACTER SET utf8mb4 NULL, \
     tables_named TEXT CHARACTER SET utf8mb4 NULL, body LONGBLOB NOT NULL, \
     set_aside_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, \
     PRIMARY KEY (task, sequence, sub)) ENGINE=InnoDB",
];

/// What shall become of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// It is run.
    Approve,
    /// It is not run.
    Skip,
    /// This is run in its place.
    Replace(Vec<u8>),
    /// It is not run, and set aside.
    DeadLetter,
    /// It is not run, and its tables are stopped.
    StopTable,
    /// It is not run now: it waits, and its tables with it.
    Wait,
    /// These are run in its place, so that nothing is lost.
    Lenient(Vec<String>),
}

/// The decision that a policy makes where a statement failed.
pub(crate) fn of_policy(word: &str) -> Option<Decision> {
    parse(word, "")
}

/// The policies of a pipeline, by tables of the target.
#[derive(Clone, Debug, Default)]
pub struct Policies {
    default: DdlPolicy,
    /// What a route's tables are called in the target; none: it could not be told.
    routes: Vec<(Option<TablePattern>, DdlPolicy)>,
}

impl Policies {
    /// Those that a pipeline's specification says.
    pub fn of(spec: &PipelineSpec) -> Self {
        let routes = spec.tables.iter().map(|route| {
            let target = match &route.to {
                None => Some(route.pattern.clone()),
                Some(template) => globbed(&template.to_string()).parse().ok(),
            };
            (target, route.ddl.unwrap_or(spec.ddl))
        });
        Self { default: spec.ddl, routes: routes.collect() }
    }

    /// The policy of a statement on these tables. Where several routes can lead to a table, the strictest counts.
    pub fn policy(&self, tables: &[TableName]) -> DdlPolicy {
        let leads = |pattern: &Option<TablePattern>| match pattern {
            Some(pattern) => tables.iter().any(|t| pattern.matches_table(t)),
            None => true,
        };
        let found = self.routes.iter().filter(|(pattern, _)| leads(pattern)).map(|(_, policy)| *policy);
        found.max_by_key(|policy| policy.strictness()).unwrap_or(self.default)
    }
}

/// A template with a wildcard in place of each capture.
fn globbed(template: &str) -> String {
    let mut out = String::new();
    let mut chars = template.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '$' {
            out.push(c);
        } else if chars.peek() == Some(&'$') {
            chars.next();
            out.push('$');
        } else {
            let braced = chars.next_if_eq(&'{').is_some();
            while chars.next_if(char::is_ascii_digit).is_some() {}
            if braced {
                chars.next_if_eq(&'}');
            }
            if !out.ends_with('*') {
                out.push('*');
            }
        }
    }
    out
}

fn condition(owner: &Owner, number: Number) -> String {
    format!("task = {} AND sequence = {} AND sub = {}", quote_text(&owner.task), number.sequence, number.sub)
}

/// What was decided about the statement of that unit.
pub(crate) async fn find<C: TargetConnection>(
    connection: &mut C,
    owner: &Owner,
    number: Number,
) -> Result<Option<Decision>, Error> {
    let sql = format!(
        "SELECT CONCAT(decision, ' ', HEX(COALESCE(replacement, ''))) FROM `lutra`.`ddl` WHERE {} AND state <> 'settled'",
        condition(owner, number)
    );
    let found = connection.ask(&sql).await?;
    Ok(found.as_deref().and_then(|text| text.split_once(' ')).and_then(|(word, hex)| parse(word, hex)))
}

fn parse(word: &str, hex: &str) -> Option<Decision> {
    match word {
        "approve" => Some(Decision::Approve),
        "skip" => Some(Decision::Skip),
        "dead-letter" => Some(Decision::DeadLetter),
        "stop-table" => Some(Decision::StopTable),
        "wait" => Some(Decision::Wait),
        "replace" => unhex(hex).map(Decision::Replace),
        "lenient" => serde_json::from_slice(&unhex(hex)?).ok().map(Decision::Lenient),
        _ => None,
    }
}

fn unhex(hex: &str) -> Option<Vec<u8>> {
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    hex.as_bytes().chunks(2).map(byte).collect()
}

fn literal(bytes: &[u8]) -> String {
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    if hex.is_empty() { "''".to_owned() } else { format!("0x{hex}") }
}

fn names(tables: &[TableName]) -> String {
    quote_text(&tables.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
}

/// Notes a statement that waits (`held`) or failed, with a decision where the policy has made it.
pub(crate) fn note(
    owner: &Owner,
    number: Number,
    ddl: &Ddl,
    state: &str,
    reason: &str,
    decision: Option<&str>,
) -> String {
    let decision = decision.map_or_else(|| "NULL".to_owned(), quote_text);
    // One that could not be rewritten is shown as the source has it.
    let statement = ddl.unfit_reason().map_or_else(|| ddl.statement.clone(), |(_, statement)| statement);
    format!(
        "INSERT INTO `lutra`.`ddl` (task, sequence, sub, state, reason, tables_named, default_database, statement, decision) \
         VALUES ({}, {}, {}, '{state}', {reason}, {}, {}, {}, {decision}) \
         ON DUPLICATE KEY UPDATE state = '{state}', reason = {reason}, decision = {decision}, replacement = NULL",
        quote_text(&owner.task),
        number.sequence,
        number.sub,
        names(&ddl.tables),
        quote_text(&ddl.database),
        literal(&statement),
        reason = quote_text(reason),
    )
}

/// Why a statement waits or failed.
pub(crate) async fn reason<C: TargetConnection>(
    connection: &mut C,
    owner: &Owner,
    number: Number,
) -> Result<String, Error> {
    let sql = format!("SELECT reason FROM `lutra`.`ddl` WHERE {}", condition(owner, number));
    Ok(connection.ask(&sql).await?.unwrap_or_default())
}

/// Whether it is noted that everything waits for that statement.
pub(crate) async fn is_held<C: TargetConnection>(
    connection: &mut C,
    owner: &Owner,
    number: Number,
) -> Result<bool, Error> {
    let sql = format!(
        "SELECT COUNT(*) FROM `lutra`.`ddl` WHERE {} AND state = 'held' AND decision IS NULL",
        condition(owner, number)
    );
    Ok(connection.ask(&sql).await?.as_deref() == Some("1"))
}

/// Writes down what is run in place of a statement.
pub(crate) fn lenient(owner: &Owner, number: Number, statements: &[String]) -> String {
    let text = serde_json::to_vec(statements).unwrap_or_default();
    format!(
        "UPDATE `lutra`.`ddl` SET decision = 'lenient', replacement = {} WHERE {}",
        literal(&text),
        condition(owner, number)
    )
}

/// Opens the note of a statement again: a person may decide about it.
pub(crate) fn open(owner: &Owner, number: Number, state: &str) -> String {
    format!(
        "UPDATE `lutra`.`ddl` SET state = '{state}', decision = NULL, replacement = NULL WHERE {}",
        condition(owner, number)
    )
}

/// Closes the note of a statement that is done with.
pub(crate) fn settle(owner: &Owner, number: Number) -> String {
    format!("UPDATE `lutra`.`ddl` SET state = 'settled' WHERE {}", condition(owner, number))
}

/// Sets the change of a row aside that did not fit: the statement that would have made it. Several of one unit stand in
/// one letter.
pub(crate) fn row_aside(task: &str, conflict: &Conflict, statement: &[u8]) -> String {
    let tables = format!("{} (key columns {})", conflict.table, conflict.key.join(", "));
    format!(
        "INSERT INTO `lutra`.`dead_letter` (task, sequence, sub, kind, reason, tables_named, body) VALUES ({}, {}, {}, 'row', {}, {}, {}) \
         ON DUPLICATE KEY UPDATE reason = CONCAT(reason, '\n', VALUES(reason)), tables_named = CONCAT(tables_named, '\n', \
         VALUES(tables_named)), body = CONCAT(body, '\n', VALUES(body))",
        quote_text(task),
        conflict.number.sequence,
        conflict.number.sub,
        quote_text(&format!("{}: {}", conflict.verb, conflict.what)),
        quote_text(&tables),
        literal(statement)
    )
}

/// Sets the statement of a note aside.
pub(crate) fn set_aside(owner: &Owner, number: Number) -> String {
    format!(
        "INSERT INTO `lutra`.`dead_letter` (task, sequence, sub, kind, reason, tables_named, body) \
         SELECT task, sequence, sub, 'ddl', reason, tables_named, statement FROM `lutra`.`ddl` WHERE {}",
        condition(owner, number)
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn decisions_are_read_as_they_are_written() {
        assert_eq!(parse("replace", "414200"), Some(Decision::Replace(b"AB\0".to_vec())));
        assert_eq!((parse("skip", ""), parse("replace", "4x"), parse("?", "")), (Some(Decision::Skip), None, None));
        assert_eq!(literal(b"a'\xff"), "0x6127ff");
    }

    #[test]
    fn the_strictest_policy_of_what_leads_to_a_table_counts() {
        assert_eq!(globbed("crm.t_$1_${2}x$$"), "crm.t_*_*x$");
        let text = "kind: pipeline\nname: p\nspec:\n  source: s\n  target: t\n  ddl: dead-letter\n  tables:\n  - {match: 'a.*', to: 'b.x_$1', ddl: hold}\n  - {match: 'c.*'}\n";
        let lutra_spec::Spec::Pipeline(spec) = lutra_spec::parse(text).unwrap().remove(0).document.spec else {
            panic!()
        };
        let policies = Policies::of(&spec);
        assert_eq!(policies.policy(&[TableName::new("b", "x_1")]), DdlPolicy::Hold);
        assert_eq!(policies.policy(&[TableName::new("c", "t")]), DdlPolicy::DeadLetter);
        assert_eq!(policies.policy(&[TableName::new("c", "t"), TableName::new("b", "x_2")]), DdlPolicy::Hold);
        assert_eq!(policies.policy(&[]), DdlPolicy::DeadLetter);
    }
}

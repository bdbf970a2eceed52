//! The least privileges of the two accounts: as statements, and held against what an account has.

use crate::checks::CheckResult;
use crate::connection::Connection;
use crate::dialect::Flavour;
use crate::error::Result;
use crate::sql::quote_text;

const NAME: &str = "ensure_grants";

/// What rows and DDL of tables need in the databases that are written, and in Lutra's own.
const TABLES: [&str; 9] = ["SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "ALTER", "DROP", "INDEX", "REFERENCES"];
/// What the source's views, routines, events and triggers need besides.
const OBJECTS: [&str; 6] = ["CREATE VIEW", "SHOW VIEW", "CREATE ROUTINE", "ALTER ROUTINE", "EVENT", "TRIGGER"];
/// Where the loader keeps its own tables.
const OWN: &str = "lutra";

/// The exact least statements for the account that reads a source.
pub fn source_grants(user: &str, flavour: Flavour) -> Vec<String> {
    vec![grant(&source_privileges(flavour), "*.*", &anywhere(user))]
}

/// The exact least statements for the account that writes a target; `databases` empty = any.
pub fn target_grants(user: &str, databases: &[&str], flavour: Flavour) -> Vec<String> {
    let to = anywhere(user);
    let privileges: Vec<&str> = TABLES.into_iter().chain(OBJECTS).collect();
    let mut grants = Vec::new();
    if databases.is_empty() {
        grants.push(grant(&privileges, "*.*", &to));
    } else {
        grants.extend(databases.iter().chain(&[OWN]).map(|database| grant(&privileges, &scope(database), &to)));
    }
    grants.push(grant(target_privileges(flavour), "*.*", &to));
    grants
}

/// What the account of a target needs only where views, routines, events or triggers come whose definers are other
/// accounts: statements, each with its reason. Without them such a statement is refused, and the refusal names the privilege.
pub fn definer_grants(user: &str, flavour: Flavour) -> Vec<(String, &'static str)> {
    let to = anywhere(user);
    let optional: &[(&[&str], &str)] = match flavour {
        Flavour::MySql => &[
            (
                &["SET_ANY_DEFINER", "ALLOW_NONEXISTENT_DEFINER"],
                "views, routines, events and triggers keep definers that are other accounts; MySQL 8.2 and later",
            ),
            (&["SET_USER_ID"], "the same on MySQL 8.0 and 8.1"),
            (&["SYSTEM_USER"], "where these definers are system users, as root is; MySQL 8.0.16 and later"),
        ],
        Flavour::MariaDb => {
            &[(&["SET USER"], "views, routines, events and triggers keep definers that are other accounts")]
        }
    };
    optional.iter().map(|(privileges, reason)| (grant(privileges, "*.*", &to), *reason)).collect()
}

/// `BINLOG MONITOR` is what `REPLICATION CLIENT` has been called since MariaDB 10.5.
fn source_privileges(flavour: Flavour) -> [&'static str; 2] {
    match flavour {
        Flavour::MySql => ["REPLICATION SLAVE", "REPLICATION CLIENT"],
        Flavour::MariaDb => ["REPLICATION SLAVE", "BINLOG MONITOR"],
    }
}

/// What makes DDL repeatable (P6): GTIDs of its own on MySQL; the ids of tables on MariaDB.
fn target_privileges(flavour: Flavour) -> &'static [&'static str] {
    match flavour {
        Flavour::MySql => &["REPLICATION_APPLIER", "SESSION_VARIABLES_ADMIN"],
        Flavour::MariaDb => &["PROCESS"],
    }
}

fn grant(privileges: &[&str], scope: &str, account: &str) -> String {
    format!("GRANT {} ON {scope} TO {account}", privileges.join(", "))
}

/// A database in a grant, where `_` and `%` are wildcards.
fn scope(database: &str) -> String {
    format!("`{}`.*", database.replace('`', "``").replace('_', "\\_").replace('%', "\\%"))
}

fn anywhere(user: &str) -> String {
    format!("{}@'%'", quote_text(user))
}

/// The account that the server took us for, as grants name it.
async fn account(connection: &mut Connection) -> Result<String> {
    let row = connection.query_first("SELECT CURRENT_USER()").await?;
    let text = row.map(|row| row.string(0)).unwrap_or_default();
    Ok(match text.rsplit_once('@') {
        Some((user, host)) => format!("{}@{}", quote_text(user), quote_text(host)),
        None => anywhere(&text),
    })
}

/// What an account may do, active roles included: privileges by the scope that the grant names.
#[derive(Debug, Default)]
pub(crate) struct Privileges {
    grants: Vec<(String, Vec<String>)>,
}

impl Privileges {
    pub(crate) async fn of(connection: &mut Connection) -> Result<Self> {
        let rows = connection.query("SHOW GRANTS").await?;
        Ok(Self::read(rows.iter().map(|row| row.string(0))))
    }

    fn read(lines: impl Iterator<Item = String>) -> Self {
        let mut grants = Vec::new();
        for line in lines {
            let split = line.strip_prefix("GRANT ").and_then(|g| g.split_once(" ON ")).and_then(|(list, rest)| {
                let (scope, _) = rest.rsplit_once(" TO ")?;
                Some((list, scope))
            });
            let Some((list, scope)) = split.filter(|(_, scope)| scope.ends_with(".*")) else { continue };
            grants.push((scope.to_owned(), list.split(',').map(|p| p.trim().to_ascii_uppercase()).collect()));
        }
        Self { grants }
    }

    /// Those of `wanted` that are not held on everything.
    pub(crate) fn everywhere<'a>(&self, wanted: &[&'a str]) -> Vec<&'a str> {
        self.missing(wanted, |scope| scope == "*.*")
    }

    /// Those of `wanted` that are not held on a database.
    fn on<'a>(&self, database: &str, wanted: &[&'a str]) -> Vec<&'a str> {
        self.missing(wanted, |scope| scope == "*.*" || matches(scope, database))
    }

    /// Those of `wanted` that are held on no database at all but Lutra's own.
    fn anywhere<'a>(&self, wanted: &[&'a str]) -> Vec<&'a str> {
        self.missing(wanted, |scope| scope != scope_of_own())
    }

    fn missing<'a>(&self, wanted: &[&'a str], here: impl Fn(&str) -> bool) -> Vec<&'a str> {
        let lists: Vec<&Vec<String>> = self.grants.iter().filter(|(scope, _)| here(scope)).map(|(_, l)| l).collect();
        let held = |privilege: &str| {
            lists.iter().any(|list| list.iter().any(|p| p == privilege || p.starts_with("ALL PRIVILEGES")))
        };
        wanted.iter().copied().filter(|privilege| !held(privilege)).collect()
    }
}

fn scope_of_own() -> String {
    scope(OWN)
}

/// Whether the scope of a grant, `` `my\_shop`.* `` or `` `shop%`.* ``, has the database in it.
fn matches(scope: &str, database: &str) -> bool {
    let Some(pattern) = scope.strip_prefix('`').and_then(|s| s.strip_suffix("`.*")) else { return false };
    like(&pattern.replace("``", "`").chars().collect::<Vec<_>>(), &database.chars().collect::<Vec<_>>())
}

/// SQL's LIKE.
fn like(pattern: &[char], text: &[char]) -> bool {
    match (pattern, text) {
        ([], []) => true,
        (['%', rest @ ..], _) => like(rest, text) || matches!(text, [_, more @ ..] if like(pattern, more)),
        (['\\', exact, rest @ ..], [first, more @ ..]) => exact == first && like(rest, more),
        (['_', rest @ ..], [_, more @ ..]) => like(rest, more),
        ([exact, rest @ ..], [first, more @ ..]) => exact == first && like(rest, more),
        _ => false,
    }
}

pub(crate) async fn of_source(connection: &mut Connection, flavour: Flavour) -> Result<CheckResult> {
    let wanted = source_privileges(flavour);
    let missing = Privileges::of(connection).await?.everywhere(&wanted);
    let mend = grant(if missing.is_empty() { &wanted } else { &missing }, "*.*", &account(connection).await?);
    let required = format!("{} on *.*", wanted.join(", "));
    Ok(CheckResult::new(NAME, missing.is_empty(), told(&missing, "*.*"), &required, mend))
}

pub(crate) async fn of_target(
    connection: &mut Connection,
    databases: &[String],
    flavour: Flavour,
) -> Result<CheckResult> {
    let privileges = Privileges::of(connection).await?;
    let account = account(connection).await?;
    Ok(judge_target(&privileges, databases, flavour, &account))
}

fn judge_target(privileges: &Privileges, databases: &[String], flavour: Flavour, account: &str) -> CheckResult {
    let global = target_privileges(flavour);
    let mut lacking: Vec<(String, Vec<&str>)> = vec![("*.*".to_owned(), privileges.everywhere(global))];
    for database in databases.iter().map(String::as_str).chain([OWN]) {
        lacking.push((scope(database), privileges.on(database, &TABLES)));
    }
    if databases.is_empty() {
        // Which databases are written is not known: what is granted nowhere is surely missing.
        lacking.push(("*.*".to_owned(), privileges.anywhere(&TABLES)));
    }
    lacking.retain(|(_, missing)| !missing.is_empty());
    let found: Vec<String> = lacking.iter().map(|(scope, missing)| told(missing, scope)).collect();
    let mend: Vec<String> = lacking.iter().map(|(scope, missing)| grant(missing, scope, account)).collect();
    let required = format!("{} on *.*; {} on what is written and on `{OWN}`.*", global.join(", "), TABLES.join(", "));
    let found = if found.is_empty() { "all".to_owned() } else { found.join("; ") };
    CheckResult::new(NAME, lacking.is_empty(), found, &required, mend.join("; "))
}

fn told(missing: &[&str], scope: &str) -> String {
    if missing.is_empty() { "all".to_owned() } else { format!("not {} on {scope}", missing.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn privileges(lines: &[&str]) -> Privileges {
        Privileges::read(lines.iter().map(|line| (*line).to_owned()))
    }

    #[test]
    fn grants_escape_the_wildcards_of_a_database_name() {
        assert!(target_grants("lutra", &["my_shop"], Flavour::MySql).iter().any(|g| g.contains("`my\\_shop`.*")));
        assert_eq!(
            source_grants("lutra", Flavour::MariaDb),
            ["GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO 'lutra'@'%'"]
        );
    }

    #[test]
    fn definers_are_optional_and_named_as_each_server_knows_them() {
        let required = target_grants("l", &[], Flavour::MySql).join(" ");
        assert!(!required.contains("DEFINER") && !required.contains("SYSTEM_USER"), "{required}");
        let optional = definer_grants("l", Flavour::MySql);
        assert_eq!(optional[1], ("GRANT SET_USER_ID ON *.* TO 'l'@'%'".to_owned(), "the same on MySQL 8.0 and 8.1"));
        assert_eq!(definer_grants("l", Flavour::MariaDb).len(), 1);
    }

    #[test]
    fn every_missing_privilege_is_named_with_the_statement_that_gives_it() {
        let have = privileges(&[
            "GRANT USAGE ON *.* TO `l`@`%`",
            "GRANT REPLICATION_APPLIER ON *.* TO `l`@`%`",
            "GRANT SELECT, INSERT, UPDATE, CREATE, ALTER, DROP, INDEX, REFERENCES ON `my\\_shop`.* TO `l`@`%`",
            "GRANT ALL PRIVILEGES ON `lutra`.* TO `l`@`%`",
        ]);
        let check = judge_target(&have, &["my_shop".to_owned()], Flavour::MySql, "'l'@'%'");
        assert!(!check.ok);
        assert_eq!(
            check.mend,
            "GRANT SESSION_VARIABLES_ADMIN ON *.* TO 'l'@'%'; GRANT DELETE ON `my\\_shop`.* TO 'l'@'%'"
        );
        let check = judge_target(&have, &["myxshop".to_owned()], Flavour::MySql, "'l'@'%'");
        assert!(check.found.contains("not SELECT, INSERT"), "{}", check.found);
    }

    #[test]
    fn what_the_printed_statements_give_is_enough() {
        for (databases, flavour) in
            [(vec![], Flavour::MySql), (vec!["a_b", "c"], Flavour::MySql), (vec!["c"], Flavour::MariaDb)]
        {
            let printed = target_grants("l", &databases, flavour);
            let have = privileges(&printed.iter().map(String::as_str).collect::<Vec<_>>());
            let databases: Vec<String> = databases.into_iter().map(str::to_owned).collect();
            let check = judge_target(&have, &databases, flavour, "'l'@'%'");
            assert!(check.ok, "{}", check.found);
        }
        let have = privileges(&[
            "GRANT ALL PRIVILEGES ON *.* TO `root`@`%` WITH GRANT OPTION",
            "GRANT PROCESS ON *.* TO `root`@`%`",
        ]);
        assert!(judge_target(&have, &["a".to_owned()], Flavour::MySql, "x").ok);
    }

    #[test]
    fn a_grant_on_a_pattern_of_databases_counts() {
        assert!(matches("`shop%`.*", "shop_1") && matches("`sh_p`.*", "shop") && matches("`my\\_shop`.*", "my_shop"));
        assert!(!matches("`my\\_shop`.*", "myxshop") && !matches("`shop`.`t`", "shop") && !matches("*.*", "shop"));
    }
}

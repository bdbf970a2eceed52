//! Users and small questions to a MySQL server.

use anyhow::{Context, Result, anyhow};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder};

/// Connects over TCP. (The driver would quietly change to the server's socket file on loopback.)
///
/// # Errors
/// When the address is malformed or the server does not let us in.
pub async fn connect(url: &str) -> Result<Conn> {
    let options = Opts::from_url(url).context("read the address of a MySQL server")?;
    let place = format!("{}:{}", options.ip_or_hostname(), options.tcp_port());
    let builder = OptsBuilder::from_opts(options).prefer_socket(false);
    Conn::new(builder).await.with_context(|| format!("connect to MySQL at {place}"))
}

/// Whether the server answers a query.
///
/// # Errors
/// When it does not.
pub async fn ping(url: &str) -> Result<()> {
    let mut connection = connect(url).await?;
    let one: Option<u8> = connection.query_first("SELECT 1").await.context("ask MySQL for 1")?;
    one.ok_or_else(|| anyhow!("ask MySQL for 1: no row"))?;
    connection.disconnect().await.context("close a connection to MySQL")
}

/// The server's version; MariaDB's says so.
///
/// # Errors
/// When the server does not answer.
pub async fn version(url: &str) -> Result<String> {
    let mut connection = connect(url).await?;
    let version: Option<String> = connection.query_first("SELECT VERSION()").await.context("ask for the version")?;
    connection.disconnect().await.context("close a connection to MySQL")?;
    version.ok_or_else(|| anyhow!("ask for the version: no row"))
}

/// Runs statements one after another on one connection.
///
/// # Errors
/// When one of them fails: the error names it.
pub async fn execute(url: &str, statements: &[&str]) -> Result<()> {
    let mut connection = connect(url).await?;
    for statement in statements {
        connection.query_drop(*statement).await.with_context(|| format!("run the statement {statement:.200}"))?;
    }
    connection.disconnect().await.context("close a connection to MySQL")
}

/// Makes the user `name` with this password and exactly these grants (`"SELECT ON *.*"`), leaving no trace in the binlog;
/// a user that is there already is replaced. `url` must let in somebody who may do so. Gives the user's own address.
///
/// # Errors
/// When a statement fails.
pub async fn create_user(url: &str, name: &str, password: &str, grants: &[&str]) -> Result<String> {
    let user = format!("'{}'@'%'", escaped(name));
    let mut statements = vec![
        "SET SESSION sql_log_bin=0".to_owned(),
        format!("DROP USER IF EXISTS {user}"),
        format!("CREATE USER {user} IDENTIFIED BY '{}'", escaped(password)),
    ];
    statements.extend(grants.iter().map(|grant| format!("GRANT {grant} TO {user}")));
    let mut connection = connect(url).await?;
    for (number, statement) in statements.iter().enumerate() {
        let what = || {
            format!(
                "create the user {name}: statement {} ({})",
                number + 1,
                statement.split(" BY ").next().unwrap_or("")
            )
        };
        connection.query_drop(statement).await.with_context(what)?;
    }
    connection.disconnect().await.context("close a connection to MySQL")?;
    let options = Opts::from_url(url).context("read the address of a MySQL server")?;
    let place = format!("{}:{}", options.ip_or_hostname(), options.tcp_port());
    Ok(format!("mysql://{}:{}@{place}", percent_encoded(name), percent_encoded(password)))
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\'', "\\'")
}

fn percent_encoded(text: &str) -> String {
    let keep = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if keep(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// A name as an identifier in a statement.
#[must_use]
pub fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_passwords_survive_their_quoting() {
        assert_eq!(quoted("a`b"), "`a``b`");
        assert_eq!(escaped("it's \\"), "it\\'s \\\\");
        assert_eq!(percent_encoded("a b@ü"), "a%20b%40%C3%BC");
    }
}

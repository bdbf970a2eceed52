//! How to reach a server.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use mysql_async::{ClientIdentity, Opts, OptsBuilder, SslOpts};

/// Largest packet either side may send: an event or a statement of a 1 GiB row. A smaller limit kills the dump stream
/// at the first larger event.
pub const MAX_ALLOWED_PACKET: usize = 1 << 30;

/// A password. Prints as `[redacted]`.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// Wraps the secret.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Whether and how far TLS is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsMode {
    /// Never.
    Disabled,
    /// Where the server offers it; the certificate is not checked.
    #[default]
    Preferred,
    /// Always; the certificate is not checked.
    Required,
    /// Always; the certificate must come from the given authority.
    VerifyCa,
    /// Always; the certificate must come from the given authority and bear the host's name.
    VerifyIdentity,
}

/// TLS settings.
#[derive(Clone, Debug, Default)]
pub struct TlsOptions {
    /// Mode.
    pub mode: TlsMode,
    /// File with the authorities' certificates (PEM), read for each connection; none = the public ones.
    pub ca: Option<PathBuf>,
    /// Files with the client's certificate chain and private key (PEM).
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// How to reach and use a server.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Account.
    pub user: String,
    /// Its password.
    pub password: Option<Password>,
    /// TLS.
    pub tls: TlsOptions,
    /// Limit of TCP connect, TLS and login together.
    pub connect_timeout: Duration,
    /// Limit of one statement, or of the silence on a dump stream.
    pub read_timeout: Duration,
    /// Shown in the server's `session_connect_attrs` as `program_name`.
    pub program: String,
    /// `CLIENT_FOUND_ROWS`: counts are of matched rows, not of changed ones (P4).
    pub found_rows: bool,
    /// Statements that run at once after login.
    pub init: Vec<String>,
}

impl ConnectOptions {
    /// The account `user` at `host:port`, with default time-outs (10 s, 60 s), TLS preferred.
    pub fn new(host: impl Into<String>, port: u16, user: impl Into<String>) -> Self {
        Self {
            host: host.into(),
            port,
            user: user.into(),
            password: None,
            tls: TlsOptions::default(),
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(60),
            program: "lutra".to_owned(),
            found_rows: false,
            init: Vec::new(),
        }
    }

    /// With that password.
    #[must_use]
    pub fn with_password(mut self, password: Option<Password>) -> Self {
        self.password = password;
        self
    }

    /// With counts of matched rows.
    #[must_use]
    pub fn with_found_rows(mut self) -> Self {
        self.found_rows = true;
        self
    }

    /// From `mysql://user[:password]@host[:port][/…]`, as development stacks hand addresses out. `None` where the text is none.
    pub fn from_url(url: &str) -> Option<Self> {
        let opts = Opts::from_url(url).ok()?;
        let user = opts.user().unwrap_or("root").to_owned();
        let password = opts.pass().filter(|p| !p.is_empty()).map(Password::new);
        Some(Self::new(opts.ip_or_hostname(), opts.tcp_port(), user).with_password(password))
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// For the driver; `tls` says whether to ask for TLS in this try (mode `Preferred` falls back to none), `authorities`
    /// what the file of that name holds now.
    pub(crate) fn driver(&self, tls: bool, authorities: Option<&[u8]>) -> Opts {
        OptsBuilder::default()
            .ip_or_hostname(self.host.clone())
            .tcp_port(self.port)
            .user(Some(self.user.clone()))
            .pass(self.password.as_ref().map(|p| p.0.clone()))
            .tcp_nodelay(true)
            .tcp_keepalive(Some(Duration::from_secs(30)))
            // On by default, and then a loopback TCP connection silently becomes one over the server's unix socket.
            .prefer_socket(Some(false))
            .max_allowed_packet(Some(MAX_ALLOWED_PACKET))
            // The driver asks the server for it otherwise: a round trip for a number that only its pool uses.
            .wait_timeout(Some(28_800))
            .client_found_rows(self.found_rows)
            .stmt_cache_size(Some(256))
            .init(self.init.clone())
            .connect_attribute("program_name", self.program.clone())
            .ssl_opts(tls.then(|| self.ssl(authorities)))
            .into()
    }

    fn ssl(&self, authorities: Option<&[u8]>) -> SslOpts {
        let mode = self.tls.mode;
        let checked = matches!(mode, TlsMode::VerifyCa | TlsMode::VerifyIdentity);
        let mut ssl = SslOpts::default()
            .with_danger_accept_invalid_certs(!checked)
            .with_danger_skip_domain_validation(mode != TlsMode::VerifyIdentity);
        if let Some(authorities) = authorities {
            ssl = ssl.with_root_certs(vec![authorities.to_vec().into()]).with_disable_built_in_roots(true);
        }
        if let Some((chain, key)) = &self.tls.identity {
            ssl = ssl.with_client_identity(Some(ClientIdentity::new(chain.clone().into(), key.clone().into())));
        }
        ssl
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_password_is_never_printed() {
        let options = ConnectOptions::from_url("mysql://app:s3cret@127.0.0.1:3307/").unwrap();
        assert_eq!((options.host.as_str(), options.port, options.user.as_str()), ("127.0.0.1", 3307, "app"));
        assert!(!format!("{options:?}").contains("s3cret"));
    }
}

//! What a document says of a server, as options to connect to it.

use crate::options::{ConnectOptions, Password, TlsMode, TlsOptions};

/// Why a document does not lead to a server from here.
#[derive(Debug, thiserror::Error)]
pub enum Unresolved {
    /// Its password.
    #[error("its password is not known here")]
    Secret(#[source] lutra_spec::SecretError),
    /// Its address.
    #[error("its address is not known here")]
    Address(#[source] lutra_spec::AddressError),
}

impl From<lutra_spec::TlsMode> for TlsMode {
    fn from(mode: lutra_spec::TlsMode) -> Self {
        match mode {
            lutra_spec::TlsMode::Disabled => Self::Disabled,
            lutra_spec::TlsMode::Preferred => Self::Preferred,
            lutra_spec::TlsMode::Required => Self::Required,
            lutra_spec::TlsMode::VerifyCa => Self::VerifyCa,
            lutra_spec::TlsMode::VerifyIdentity => Self::VerifyIdentity,
        }
    }
}

impl From<&lutra_spec::Tls> for TlsOptions {
    fn from(tls: &lutra_spec::Tls) -> Self {
        Self { mode: tls.mode.into(), ca: tls.ca.as_ref().map(Into::into), identity: None }
    }
}

/// How each of a document's servers is reached, in its order; reads secrets and addresses of this machine, now. `program`
/// is what the server shows of the connection.
///
/// # Errors
/// When a variable or file that the document names is not there.
pub fn servers(how: &lutra_spec::Connection, program: &str) -> Result<Vec<ConnectOptions>, Unresolved> {
    let password = how.resolve_password().map_err(Unresolved::Secret)?;
    let password = Some(password.expose()).filter(|text| !text.is_empty()).map(Password::new);
    let servers = how.resolve_servers().map_err(Unresolved::Address)?;
    let options = servers.into_iter().map(|server| {
        let mut options = ConnectOptions::new(server.host, server.port, &how.user).with_password(password.clone());
        options.program = program.to_owned();
        options.tls = (&how.tls).into();
        options
    });
    Ok(options.collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use lutra_spec::{Spec, parse};

    use super::*;

    fn source(more: &str) -> lutra_spec::Connection {
        let text = format!("kind: target\nname: t\nspec: {{servers: [\"a:1\", b], user: u, {more}}}\n");
        match parse(&text).unwrap().remove(0).document.spec {
            Spec::Target(target) => target.connection(),
            _ => panic!("not a target"),
        }
    }

    #[test]
    fn every_server_is_reached_as_the_document_says() {
        let found = servers(&source("tls: {mode: verify-ca, ca: /ca.pem}"), "lutra-test").unwrap();
        let shown: Vec<String> = found.iter().map(ConnectOptions::address).collect();
        assert_eq!(shown, ["a:1", "b:3306"]);
        assert!(found.iter().all(|o| o.tls.mode == TlsMode::VerifyCa && o.tls.ca.is_some() && o.password.is_none()));
        for mode in lutra_spec::TlsMode::ALL {
            assert_eq!(format!("{:?}", TlsMode::from(mode)), format!("{mode:?}"));
        }
    }

    #[test]
    fn a_secret_that_is_not_here_is_told_by_its_name() {
        let error = servers(&source("password: \"${env:LUTRA_TEST_NOT_SET}\""), "x").unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains("LUTRA_TEST_NOT_SET"), "{cause}");
    }
}

//! What can go wrong, and by what callers decide.

use std::time::Duration;

/// What this crate's functions return.
pub type Result<T> = std::result::Result<T, Error>;

/// A failed operation on a server.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server could not be reached, or refused the login.
    #[error("connecting to {address} as {user:?} failed")]
    Connect {
        /// `host:port`.
        address: String,
        /// Account.
        user: String,
        /// Why.
        source: Box<Error>,
    },
    /// The server answered with an error.
    #[error("{operation}: the server answered {code} ({state}): {message}")]
    Server {
        /// What was done.
        operation: &'static str,
        /// The server's error number.
        code: u16,
        /// SQLSTATE.
        state: String,
        /// The server's text, quoted values taken out.
        message: String,
    },
    /// The connection broke; the outcome of what was under way is unknown.
    #[error("{operation}: the connection is lost")]
    ConnectionLost {
        /// What was done.
        operation: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// No answer in time; the connection is given up.
    #[error("{operation}: no answer within {after:?}")]
    Timeout {
        /// What was done.
        operation: &'static str,
        /// The limit.
        after: Duration,
    },
    /// TLS could not be set up: the two sides do not agree, or the certificate is not accepted.
    #[error("TLS could not be set up: {reason}")]
    Tls {
        /// Why.
        reason: String,
    },
    /// The server offers no TLS and the options ask for it.
    #[error("the server offers no TLS; enable it there, or set the mode to `preferred` or `disabled`")]
    NoTls,
    /// The driver or the server did what neither may do.
    #[error("{operation}: {reason}")]
    Unexpected {
        /// What was done.
        operation: &'static str,
        /// What was seen.
        reason: String,
    },
    /// The driver panicked; its connection is given up.
    #[error("{operation}: the driver failed on the server's bytes: {reason}")]
    Driver {
        /// What was done.
        operation: &'static str,
        /// The panic's text.
        reason: String,
    },
}

/// A batch of statements that failed at one of them.
#[derive(Debug, thiserror::Error)]
#[error("statement {} of the batch failed", .done.len() + 1)]
pub struct BatchError {
    /// Outcomes of the statements before the failed one.
    pub done: Vec<crate::connection::Outcome>,
    /// Why the next one failed. What follows it was not run.
    #[source]
    pub error: Error,
}

/// What an error means to a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// This transaction was chosen to break a deadlock; it is rolled back.
    Deadlock,
    /// A lock was not given in time; only the statement is rolled back.
    LockWaitTimeout,
    /// The connection is gone (network, server stopped, killed): what was under way has an unknown outcome.
    ConnectionLost,
    /// No answer in time. To be treated as a lost connection.
    Timeout,
    /// The server does not take writes (`read_only`, `super_read_only`, locked instance).
    ReadOnly,
    /// Disk, table space or temporary space is full.
    DiskFull,
    /// A unique key has that value already.
    DuplicateKey,
    /// A foreign key forbids it.
    ForeignKey,
    /// A CHECK constraint forbids it.
    CheckConstraint,
    /// The value does not fit the column (too long, out of range, malformed, NULL in NOT NULL).
    BadValue,
    /// No such table.
    NoSuchTable,
    /// No such database.
    NoSuchDatabase,
    /// No such column or key.
    NoSuchColumn,
    /// The table, database, column or index is there already.
    AlreadyExists,
    /// The definition changed under the statement; run it again.
    DefinitionChanged,
    /// The account may not do that.
    AccessDenied,
    /// Too many connections.
    TooManyConnections,
    /// The server is starting or stopping.
    Shutdown,
    /// The statement was killed or hit a time limit of the server.
    Interrupted,
    /// The binlog that was asked for is not there any more, or holds what the server cannot send.
    BinlogUnavailable,
    /// The statement or row is larger than the server takes.
    TooLarge,
    /// The statement is malformed.
    Syntax,
    /// TLS is not agreed on, or the server's certificate is not accepted.
    Tls,
    /// The driver, or a bug.
    Internal,
    /// Anything else.
    Other,
}

impl Error {
    /// The server's error number, where the server answered.
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Server { code, .. } => Some(*code),
            Self::Connect { source, .. } => source.code(),
            _ => None,
        }
    }

    /// What the error means.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Connect { source, .. } => source.kind(),
            Self::Server { code, .. } => kind_of(*code),
            Self::ConnectionLost { .. } => ErrorKind::ConnectionLost,
            Self::Timeout { .. } => ErrorKind::Timeout,
            Self::Tls { .. } | Self::NoTls => ErrorKind::Tls,
            Self::Unexpected { .. } | Self::Driver { .. } => ErrorKind::Internal,
        }
    }

    /// Whether the connection cannot be used any more.
    pub fn is_connection_gone(&self) -> bool {
        match self {
            Self::Server { .. } => matches!(self.kind(), ErrorKind::ConnectionLost | ErrorKind::Shutdown),
            _ => true,
        }
    }

    pub(crate) fn from_driver(operation: &'static str, error: mysql_async::Error) -> Self {
        use mysql_async::{DriverError, Error as Foreign, IoError};
        match error {
            Foreign::Server(e) => {
                let message = redact(e.code, &e.message);
                Self::Server { operation, code: e.code, state: e.state, message }
            }
            Foreign::Io(IoError::Io(source)) => match refusal(&source) {
                Some(reason) => Self::Tls { reason },
                None => Self::ConnectionLost { operation, source },
            },
            Foreign::Io(IoError::Tls(e)) => Self::Tls { reason: e.to_string() },
            Foreign::Driver(DriverError::ConnectionClosed | DriverError::PoolDisconnected) => {
                Self::ConnectionLost { operation, source: std::io::ErrorKind::ConnectionAborted.into() }
            }
            Foreign::Driver(DriverError::NoClientSslFlagFromServer) => Self::NoTls,
            // Its text may hold a packet, that is row values: only the kind is told.
            Foreign::Driver(DriverError::UnexpectedPacket { payload }) => Self::Unexpected {
                operation,
                reason: format!("a packet of {} bytes does not belong here", payload.len()),
            },
            Foreign::Driver(DriverError::FromRow { .. } | DriverError::FromValue { .. }) => {
                Self::Unexpected { operation, reason: "a value has another type than expected".to_owned() }
            }
            Foreign::Driver(e) => Self::Unexpected { operation, reason: e.to_string() },
            Foreign::Other(e) => Self::Unexpected { operation, reason: e.to_string() },
            // Built from parts, never from a URL, so that no text of it can hold a password.
            Foreign::Url(_) => Self::Unexpected { operation, reason: "the connect options are malformed".to_owned() },
        }
    }
}

/// What ended a handshake that a further one would not mend by itself; none for what looks like a broken connection.
fn refusal(error: &std::io::Error) -> Option<String> {
    use rustls::AlertDescription as Alert;
    use rustls::Error as Tls;
    let found = error.get_ref()?.downcast_ref::<Tls>()?;
    let refused = match found {
        Tls::InvalidCertificate(_) | Tls::NoCertificatesPresented | Tls::PeerIncompatible(_) => true,
        Tls::AlertReceived(alert) => matches!(
            alert,
            Alert::AccessDenied
                | Alert::BadCertificate
                | Alert::CertificateExpired
                | Alert::CertificateRequired
                | Alert::CertificateRevoked
                | Alert::CertificateUnknown
                | Alert::HandshakeFailure
                | Alert::InsufficientSecurity
                | Alert::ProtocolVersion
                | Alert::UnknownCA
                | Alert::UnsupportedCertificate
        ),
        _ => false,
    };
    refused.then(|| found.to_string())
}

/// Server texts that quote a value or a piece of the statement: the quoted text is taken out, for it may be a row's.
fn redact(code: u16, message: &str) -> String {
    const QUOTES_A_VALUE: [u16; 10] = [1062, 1064, 1292, 1366, 1411, 1525, 1526, 3140, 3156, 3854];
    if !QUOTES_A_VALUE.contains(&code) {
        return message.to_owned();
    }
    // A value may hold quotes itself; the last quoted word of 1062 is the key's name, of 1366 the column's.
    let (first, key) = match code {
        1062 => (message.find('\''), message.rfind(" for key ")),
        1292 | 1366 => (message.find('\''), message.rfind(" for column ")),
        _ => (message.find('\''), None),
    };
    match (first, key) {
        (Some(first), Some(key)) if first < key => format!("{}[redacted]{}", &message[..first], &message[key..]),
        (Some(first), None) => format!("{}[redacted]", &message[..first]),
        _ => message.to_owned(),
    }
}

fn kind_of(code: u16) -> ErrorKind {
    match code {
        1213 | 1614 => ErrorKind::Deadlock,
        1205 | 3572 => ErrorKind::LockWaitTimeout,
        1158..=1161 | 1152 | 1184 | 1927 | 2006 | 2013 | 2055 | 3169 | 4031 => ErrorKind::ConnectionLost,
        1290 | 1792 | 1836 | 3707 | 1209 | 1223 => ErrorKind::ReadOnly,
        1021 | 1114 | 1041 | 1037 | 3675 | 1020 | 1026 => ErrorKind::DiskFull,
        1022 | 1062 | 1586 | 1859 => ErrorKind::DuplicateKey,
        1216 | 1217 | 1451 | 1452 => ErrorKind::ForeignKey,
        3819 | 4025 => ErrorKind::CheckConstraint,
        1048 | 1263 | 1264 | 1265 | 1292 | 1364 | 1366 | 1367 | 1406 | 1416 | 1690 | 3140 | 3156 => ErrorKind::BadValue,
        1051 | 1109 | 1146 => ErrorKind::NoSuchTable,
        1008 | 1049 => ErrorKind::NoSuchDatabase,
        1054 | 1072 | 1091 | 1176 => ErrorKind::NoSuchColumn,
        1007 | 1050 | 1060 | 1061 | 1304 | 1359 => ErrorKind::AlreadyExists,
        1412 | 1615 => ErrorKind::DefinitionChanged,
        1044 | 1045 | 1095 | 1142 | 1143 | 1227 | 1698 | 3118 | 3530 | 1370 => ErrorKind::AccessDenied,
        1040 | 1203 | 1226 => ErrorKind::TooManyConnections,
        1053 | 1079 | 3032 | 1047 => ErrorKind::Shutdown,
        1317 | 3024 | 1028 => ErrorKind::Interrupted,
        1236 | 1220 | 1373 | 1789 => ErrorKind::BinlogUnavailable,
        1105 | 1118 | 1153 | 1301 => ErrorKind::TooLarge,
        1064 | 1149 => ErrorKind::Syntax,
        _ => ErrorKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_do_not_show_in_the_text_of_an_error() {
        assert_eq!(
            redact(1062, "Duplicate entry 'o'brien for key x' for key 'person.name'"),
            "Duplicate entry [redacted] for key 'person.name'"
        );
        assert_eq!(redact(1064, "You have an error near 'secret' at line 1"), "You have an error near [redacted]");
        assert_eq!(redact(1146, "Table 'a.b' doesn't exist"), "Table 'a.b' doesn't exist");
    }

    #[test]
    fn a_certificate_that_is_not_accepted_is_no_lost_connection() {
        let of = |error: rustls::Error| {
            let io = std::io::Error::new(std::io::ErrorKind::InvalidData, error);
            Error::from_driver("a login", mysql_async::Error::Io(mysql_async::IoError::Io(io)))
        };
        let unknown = of(rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer));
        assert_eq!(unknown.kind(), ErrorKind::Tls);
        assert!(unknown.to_string().contains("certificate"), "{unknown}");
        assert_eq!(of(rustls::Error::AlertReceived(rustls::AlertDescription::UnknownCA)).kind(), ErrorKind::Tls);
        for broken in
            [rustls::Error::DecryptError, rustls::Error::AlertReceived(rustls::AlertDescription::InternalError)]
        {
            assert_eq!(of(broken).kind(), ErrorKind::ConnectionLost);
        }
    }

    #[test]
    fn kinds_follow_the_servers_numbers() {
        let of =
            |code| Error::Server { operation: "a test", code, state: String::new(), message: String::new() }.kind();
        assert_eq!(of(1213), ErrorKind::Deadlock);
        assert_eq!(of(1205), ErrorKind::LockWaitTimeout);
        assert_eq!(of(1290), ErrorKind::ReadOnly);
        assert_eq!(of(1062), ErrorKind::DuplicateKey);
        assert_eq!(of(9999), ErrorKind::Other);
    }
}

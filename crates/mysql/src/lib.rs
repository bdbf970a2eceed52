//! MySQL for Lutra: connections, the dump stream, server checks, the catalogue, SQL text.
//!
//! The only user of `mysql_async`. Nothing of that crate shows in these interfaces.
//!
//! | module | what for |
//! |---|---|
//! | [`connection`] | [`Connection`]: statements as text, batches of several statements in one round trip, queries |
//! | [`binlog`] | [`BinlogSource`]: raw event bytes of a dump stream, in batches |
//! | [`checks`] | what a source and a target must be, each with the statement that mends it |
//! | [`grants`] | the least privileges, as statements and as a check |
//! | [`document`] | how a specification says that a server is reached |
//! | [`catalogue`] | what a server says of itself and of its tables |
//! | [`scan`] | rows of a table by the binary protocol |
//! | [`table_schema`] | a table's row schema from the catalogue |
//! | [`sql`] | identifiers and literals as text |
//! | [`dialect`] | what MySQL and MariaDB say differently; session settings as text |
//! | [`translate`] | a statement of one family for a server of the other |
//! | [`error`] | [`Error`] and its [`ErrorKind`], by which callers decide |

pub mod binlog;
pub mod catalogue;
pub mod checks;
pub mod connection;
pub mod dialect;
pub mod document;
pub mod error;
pub mod grants;
pub mod json;
pub mod options;
pub mod scan;
pub mod sql;
pub mod table_schema;
pub mod translate;

pub use binlog::{BinlogSource, BinlogStream, DumpRequest, DumpStart, EventBatch};
pub use connection::{Connection, Outcome, Param, Row};
pub use dialect::Flavour;
pub use error::{BatchError, Error, ErrorKind, Result};
pub use options::{ConnectOptions, Password, TlsMode, TlsOptions};
pub use scan::Cell;

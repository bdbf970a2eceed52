//! What tables look like, where table maps do not say so (`binlog_row_metadata` other than FULL).
//!
//! A positioned store, kept on the source's log: a base from the catalogue, then every statement that changes a table. Every
//! table map is held against it, and a table whose definition cannot be shown to be that of the stream's place halts by name.
//! The decision is told in `docs/adr/0006-definitions-on-the-log.md`.
//!
//! | room | takes -> gives |
//! |---|---|
//! | [`create`], [`alter`] | a statement -> a [`Definition`], or the reason why it is not understood |
//! | [`store`] | definitions -> records on `<source>.schemas`, named by the units of the log, and back |
//! | [`scan`] | the binlog ahead of the stream -> which tables are changed there |
//! | [`ask`] | the catalogue, and what lies ahead -> a definition that is true where the stream stands |
//! | [`follow`] | events that need a definition -> the same with one |

pub mod alter;
pub mod ask;
pub mod charsets;
mod column;
pub mod create;
pub mod follow;
mod reader;
pub mod scan;
pub mod store;
mod table;

#[cfg(test)]
mod tests;

pub use ask::{Defined, Definer, Reach};
pub use reader::{Session, Unclear};
pub use store::{Change, Entry, Store};
pub use table::Definition;

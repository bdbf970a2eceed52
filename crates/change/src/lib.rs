//! The vocabulary of Lutra: ids, positions, GTID sets, values, schemas.
//!
//! Pure: no I/O, no async. One word has one meaning here and everywhere else:
//!
//! | module | words |
//! |---|---|
//! | [`id`] | [`LogId`], [`TaskId`], [`TableName`] |
//! | [`place`] | [`Number`], [`Epoch`], [`Cursor`], [`BinlogPosition`], [`OpenXa`] |
//! | [`gtid`] | [`Gtid`], [`GtidSet`] with its algebra |
//! | [`schema`] | [`TableSchema`], [`ColumnType`] |
//! | [`value`] | [`Value`]: one borrowed column value, lossless for every MySQL type |
//! | [`json`] | [`JsonScalar`]: types inside a JSON document that its text does not tell |
//! | [`row`] | [`Operation`], [`RowFlags`], [`ColumnSet`], [`SessionContext`] |
//! | [`sql_lexer`] | the tokens of a MySQL statement |
//! | [`sql_statement`] | what a statement does, and the names in it: [`DdlKind`], [`Statement`] |

pub mod gtid;
pub mod id;
pub mod json;
pub mod place;
pub mod row;
pub mod schema;
pub mod sql_lexer;
pub mod sql_statement;
pub mod value;

pub use gtid::{Gtid, GtidSet};
pub use id::{LogId, TableName, TaskId, TaskKind};
pub use json::JsonScalar;
pub use place::{BinlogPosition, Cursor, Epoch, Number, OpenXa};
pub use row::{ColumnSet, Operation, RowFlags, SessionContext};
pub use schema::{Column, ColumnType, KeyPart, TableSchema};
pub use sql_statement::{DdlKind, Statement};
pub use value::Value;

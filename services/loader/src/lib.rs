//! Loader: an ordered log becomes committed transactions of a target database, exactly once.
//!
//! The rooms, in the order of the data:
//!
//! | room | takes -> gives |
//! |---|---|
//! | [`intake`] | log records -> whole units ([`mod@unit`]) |
//! | [`scheduler`] | units -> batches that may run side by side |
//! | [`planner`] | batch -> statements; pure, on top of [`rows`], [`image`], [`mapping`] |
//! | [`writer`] | statements -> committed target transaction; slot row and rows in one |
//!
//! Beside them: [`blocked`] keeps tables that changes do not reach for now, [`copying`] knows the tables whose rows are being copied, [`define`] makes them; [`target`] is the seam to the database, [`slot`] the checkpoint that lives in it, [`ddl`] what can not
//! share its transaction, [`load`] one attempt from taking the target on, [`service`] the wiring.
//!
//! # Rights that the target's account needs
//!
//! ```sql
//! GRANT CREATE, SELECT, INSERT, UPDATE, DELETE ON lutra.* TO …;      -- the slot rows; CREATE only for the first start
//! GRANT SELECT, INSERT, UPDATE, DELETE ON <each mapped database>.* TO …;
//! GRANT CREATE, ALTER, DROP, INDEX, REFERENCES ON <each mapped database>.* TO …;   -- for DDL
//! GRANT REPLICATION_APPLIER ON *.* TO …;                             -- DDL made repeatable by GTID (P6)
//! GRANT SESSION_VARIABLES_ADMIN ON *.* TO …;                         -- optional: DDL with the source's sql_require_primary_key
//! GRANT PROCESS ON *.* TO …;                                         -- without REPLICATION_APPLIER: to tell tables from their successors
//! GRANT TRIGGER ON <each mapped database>.* TO …;                    -- to see triggers: those without Lutra's guard are refused
//! GRANT CREATE VIEW, SHOW VIEW, CREATE ROUTINE, ALTER ROUTINE, EVENT ON <each mapped database>.* TO …;   -- for these objects
//! GRANT SET_ANY_DEFINER, ALLOW_NONEXISTENT_DEFINER, SYSTEM_USER ON *.* TO …;   -- optional: objects whose definers are other accounts
//! ```

pub mod blocked;
pub mod catalogue;
pub mod config;
pub mod copying;
pub mod crash;
pub mod ddl;
pub mod decisions;
pub mod define;
pub mod error;
pub mod events;
pub mod http;
pub mod image;
pub mod intake;
pub mod json_update;
mod lenient;
pub mod load;
pub mod mapping;
pub mod maps;
pub mod planner;
pub mod progress;
pub mod rows;
mod runbook;
pub mod scheduler;
pub mod service;
pub mod slot;
pub mod target;
pub mod unit;
pub mod writer;

use lutra_runtime::Context;

/// Runs the loader until it shall end.
///
/// # Errors
/// What ended it before its time.
pub async fn run(context: Context, args: config::LoaderArgs) -> anyhow::Result<()> {
    service::serve(context, args).await
}

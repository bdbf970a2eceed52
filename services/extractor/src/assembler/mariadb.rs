//! What MariaDB writes otherwise: its GTID events, which begin a transaction, the list of GTIDs at a file's start, and what
//! its sessions have.

use lutra_binlog::{AlterPhase, EventHeader, GtidEvent, GtidList, MariaDbGtidEvent, QueryEvent, XaPhase};
use lutra_change::{Gtid, GtidSet, SessionContext};
use lutra_mysql::dialect::carried_sql_mode;

use super::Assembler;
use crate::error::AssembleError;

impl Assembler {
    /// A transaction begins. The event stands for `BEGIN` too, unless one statement follows.
    pub(super) fn begin_mariadb(
        &mut self,
        header: &EventHeader,
        event: &MariaDbGtidEvent<'_>,
    ) -> Result<(), AssembleError> {
        let gtid = Gtid::MariaDb(event.gtid);
        self.begin(header, &GtidEvent { gtid: Some(gtid), ..GtidEvent::default() })?;
        let decision = matches!(event.xa, Some((XaPhase::Complete, _)));
        if !event.standalone && !decision {
            self.begin_group(&SessionContext::default())?;
        }
        if let Some((XaPhase::Prepare, xid)) = &event.xa {
            self.xa_begin(xid.to_string(), false)?;
        }
        self.opened()?.transactional = event.transactional;
        // An ALTER TABLE that is logged in two takes effect with the second statement.
        self.opened()?.without_effect = matches!(event.alter, Some(AlterPhase::Start | AlterPhase::Rollback(_)));
        Ok(())
    }

    /// P7: whatever the files before this one hold has come by. (A list that the sender made says what it passed over.)
    pub(super) fn check_list(&self, header: &EventHeader, list: &GtidList) -> Result<(), AssembleError> {
        if header.is_artificial() || list.ignored || list.until_reached {
            return Ok(());
        }
        let mut set = GtidSet::new();
        list.gtids.iter().for_each(|g| set.insert(&Gtid::MariaDb(*g)));
        self.check_previous(&set)
    }

    /// The session of a captured definition, as it is carried.
    pub(super) fn carried_context(&self, query: &QueryEvent<'_>) -> SessionContext {
        let mut context = query.context.clone();
        if self.mariadb {
            context.sql_mode = Some(carried_sql_mode(context.sql_mode.unwrap_or(0)));
        }
        context
    }

    /// What of a MariaDB session changes what a definition means and is not carried.
    pub(super) fn check_session(&self, query: &QueryEvent<'_>) -> Result<(), AssembleError> {
        const MSSQL: u64 = 1 << 10;
        let session = &query.mariadb;
        let setting = if session.if_exists {
            "sql_if_exists = ON"
        } else if !session.character_set_collations.is_empty() {
            "character_set_collations"
        } else if self.mariadb && query.context.sql_mode.unwrap_or(0) & MSSQL != 0 {
            "sql_mode = MSSQL"
        } else {
            return Ok(());
        };
        Err(AssembleError::ForeignSession { setting })
    }
}

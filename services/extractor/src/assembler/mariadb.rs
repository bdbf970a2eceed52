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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use lutra_binlog::{Decoder, EventData, Inflater, file};
    use lutra_change::{BinlogPosition, Number};
    use lutra_wire::record::BodyKind;

    use super::super::{Output, Resume, UnitPart};
    use super::*;

    const FIRST: &[u8] = include_bytes!("../../../../crates/binlog/tests/fixtures/mariadb.1.binlog");
    const SECOND: &[u8] = include_bytes!("../../../../crates/binlog/tests/fixtures/mariadb.2.binlog");

    fn assembler(tables: &[&str]) -> Assembler {
        let spec = serde_json::json!({ "servers": ["localhost"], "user": "lutra", "tables": tables });
        let resume = Resume {
            number: Number::ORIGIN,
            position: BinlogPosition::new("mbin.000001", 4),
            gtid_set: GtidSet::new(),
            known: None,
            half: None,
            open_xa: Vec::new(),
        };
        Assembler::new(Arc::new(serde_json::from_value(spec).unwrap()), resume)
    }

    fn read(assembler: &mut Assembler, bytes: &[u8]) -> Result<Vec<UnitPart>, AssembleError> {
        let (mut decoder, mut inflater, mut parts) = (Decoder::new(), Inflater::new(1 << 30), Vec::new());
        for event in file::events(bytes)? {
            let event = decoder.decode(event?.bytes)?;
            match &event.data {
                EventData::Compressed(packed) => {
                    let inner = decoder.decode_inner(&event.header, inflater.inflate(packed)?)?;
                    assembler.event(&event.header, &inner.data)?;
                }
                data => assembler.event(&event.header, data)?,
            }
            parts.extend(std::iter::from_fn(|| assembler.take()).filter_map(|output| match output {
                Output::Part(part) => Some(*part),
                _ => None,
            }));
        }
        Ok(parts)
    }

    #[test]
    fn a_file_of_mariadb_becomes_units_at_positions_of_its_domain() {
        let mut assembler = assembler(&["maria.types", "maria.squeezed"]);
        let parts = read(&mut assembler, FIRST).unwrap();
        let kind = |kind| parts.iter().filter(|p| p.body.kind() == kind).count();
        assert!(kind(BodyKind::Ddl) >= 2 && kind(BodyKind::Changes) >= 4, "{parts:?}");
        assert!(parts.is_sorted_by(|a, b| a.number < b.number));
        let last = parts.last().and_then(|p| p.place.as_ref()?.gtid.clone()).unwrap();
        let (_, set) = assembler.unit_end();
        // What was passed over since does not belong to it.
        assert_eq!(set.to_string(), last.to_string());
        assert!(set.is_subset(assembler.gtid_set()) && set != *assembler.gtid_set());
    }

    #[test]
    fn a_file_behind_transactions_that_never_came_is_another_history() {
        let fault = read(&mut assembler(&["maria.*"]), SECOND).unwrap_err();
        assert!(matches!(fault, AssembleError::PreviousGtids { .. }), "{fault}");
    }
}

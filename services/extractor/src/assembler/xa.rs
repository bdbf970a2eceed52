//! XA transactions (P11): rows at `XA PREPARE` become a prepare unit, what is decided over them a decision unit.
//!
//! Which ones are open is part of where the source stands: every unit's place says it. `XA COMMIT … ONE PHASE` is an ordinary
//! transaction, unless parts of it are in the log before that is known: then it is a prepare, and a decision right behind.

use lutra_binlog::{QueryEvent, XaPrepare};
use lutra_change::OpenXa;
use lutra_wire::record::{PartEnd, RawBody, XaDecision};

use super::Assembler;
use crate::error::AssembleError;

impl Assembler {
    /// `XA START`: the rows of an XA transaction follow.
    pub(super) fn xa_start(&mut self, query: &QueryEvent<'_>) -> Result<(), AssembleError> {
        let xid = xid_of(query.statement);
        let from_inside = self.open.is_none() && !self.spec.gtid;
        if from_inside {
            self.begin_half(query);
        } else {
            self.begin_group(&query.context)?;
        }
        self.xa_begin(xid, from_inside)
    }

    /// The open transaction is the XA transaction `xid`. `from_inside`: the stream begins with it, its beginning is in the
    /// log.
    pub(super) fn xa_begin(&mut self, xid: String, from_inside: bool) -> Result<(), AssembleError> {
        if self.tail.is_none()
            && let Some(known) = self.open_xa.iter().find(|open| open.xid == xid)
        {
            let last = known.number == Some(self.number);
            let committed_at = self.opened()?.committed_at;
            if !(last && (from_inside || self.half == Some(committed_at))) {
                return Err(AssembleError::XaTaken { xid });
            }
            self.half = None;
            self.opened()?.second_half = true;
        }
        self.opened()?.xid = xid;
        Ok(())
    }

    /// The event that ends the rows of an XA transaction: prepared, or committed in one phase.
    pub(super) fn xa_end(&mut self, event: &XaPrepare<'_>) -> Result<(), AssembleError> {
        if self.opened()?.xid.is_empty() {
            self.xa_begin(xid_text(event), false)?;
        }
        if event.one_phase { self.xa_commit_one_phase() } else { self.xa_prepare() }
    }

    /// The rows so far are a prepare unit; without captured rows there is none, and that is remembered.
    pub(super) fn xa_prepare(&mut self) -> Result<(), AssembleError> {
        if self.tail.is_none() {
            self.xa_opened()?;
        }
        self.commit()
    }

    fn xa_opened(&mut self) -> Result<(), AssembleError> {
        let next = self.number.next_sequence();
        let open = self.opened()?;
        let number = (open.rows > 0).then_some(next);
        let xid = open.xid.clone();
        self.open_xa.push(OpenXa { xid, number, place: None, decided: false });
        Ok(())
    }

    fn xa_commit_one_phase(&mut self) -> Result<(), AssembleError> {
        self.windows.void_all("an XA transaction was decided");
        let looking_again = self.tail.is_some();
        let open = self.opened()?;
        if open.second_half {
            let xid = open.xid.clone();
            return self.xa_decide(&xid, true);
        }
        if looking_again || open.parts == 0 {
            open.xid.clear();
            return self.commit();
        }
        let (xid, gtid, inside) = (open.xid.clone(), open.gtid.take(), open.inside);
        self.xa_opened()?;
        self.give_part(PartEnd::Commit);
        self.go_on_inside(inside, gtid.clone());
        self.opened()?.gtid = gtid;
        self.xa_decide(&xid, true)
    }

    /// `XA COMMIT` or `XA ROLLBACK` as a statement.
    pub(super) fn xa_decision(&mut self, statement: &[u8], commit: bool) -> Result<(), AssembleError> {
        if self.opened()?.group {
            return match commit {
                true => self.xa_commit_one_phase(),
                false => self.rolled_back("XA ROLLBACK"),
            };
        }
        if self.tail.is_some() {
            return self.commit();
        }
        self.xa_decide(&xid_of(statement), commit)
    }

    /// Decides over a prepared transaction.
    fn xa_decide(&mut self, xid: &str, commit: bool) -> Result<(), AssembleError> {
        let Some(known) = self.open_xa.iter_mut().find(|open| open.xid == xid) else {
            // Prepared before the log began: what it changes is not known.
            return if commit { Err(AssembleError::XaUnknown { xid: xid.to_owned() }) } else { self.uncaptured(None) };
        };
        known.decided = true;
        self.windows.void_all("an XA transaction was decided");
        if known.number.is_none() {
            self.open_xa.retain(|open| open.xid != xid);
            return self.uncaptured(None);
        }
        let open = self.opened()?;
        let (gtid, committed_at) = (open.gtid.clone(), open.committed_at);
        self.open = None;
        self.note_executed(gtid.as_ref());
        let xid_bytes = bytes::Bytes::copy_from_slice(xid.as_bytes());
        self.give_unit(RawBody::xa_decision(&XaDecision { xid: xid_bytes, commit }), gtid, committed_at);
        self.open_xa.retain(|open| open.xid != xid);
        Ok(())
    }
}

/// The XID behind the two words of an XA statement, as the server writes it.
fn xid_of(statement: &[u8]) -> String {
    let text = String::from_utf8_lossy(statement);
    let mut words = text.split_ascii_whitespace().skip(2);
    words.next().unwrap_or_default().to_owned()
}

/// The same of the event.
fn xid_text(event: &XaPrepare<'_>) -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    format!("X'{}',X'{}',{}", hex(event.gtrid), hex(event.bqual), event.format_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_xid_of_a_statement_is_that_of_the_event() {
        let event = XaPrepare { one_phase: false, format_id: 1, gtrid: b"a\xff", bqual: b"" };
        assert_eq!(xid_text(&event), "X'61ff',X'',1");
        for statement in
            [&b"XA COMMIT X'61ff',X'',1"[..], b"XA  COMMIT X'61ff',X'',1 ONE PHASE", b"XA START X'61ff',X'',1"]
        {
            assert_eq!(xid_of(statement), xid_text(&event));
        }
    }
}

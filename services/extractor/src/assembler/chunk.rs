//! Units of a table's copy: between transactions, with the next `sub` number (P12).

use lutra_wire::record::{PartEnd, RawBody, UnitTotals};

use super::{Assembler, UnitPart};
use crate::snapshot::window::Windows;

impl Assembler {
    /// Whether a unit of a copy may stand here: nothing is open, and what the log has was looked at again (P7).
    pub fn is_between_units(&self) -> bool {
        self.open.is_none() && self.tail.is_none() && self.half.is_none()
    }

    /// Whether what the log has is being looked at again: what is read then takes no number.
    pub fn looks_again(&self) -> bool {
        self.tail.is_some() || self.half.is_some()
    }

    /// What the copies must know of the stream.
    pub fn windows(&mut self) -> &mut Windows {
        &mut self.windows
    }

    /// A part of a chunk. The last one takes the number and says where the source stands.
    pub fn chunk_part(
        &mut self,
        part: u32,
        end: PartEnd,
        body: RawBody,
        rows: usize,
        totals: Option<UnitTotals>,
    ) -> UnitPart {
        let (previous, number) = (self.number, self.number.next_sub());
        let place = (end == PartEnd::Commit).then(|| {
            self.number = number;
            self.unit_place(None)
        });
        UnitPart {
            number,
            previous,
            part,
            end,
            body,
            rows,
            place,
            committed_at: 0,
            read_at: self.now,
            origins: Vec::new(),
            totals,
        }
    }
}

//! True positions in binlog files beyond 4 GiB.

use crate::error::DecodeError;
use crate::flavor::Flavor;
use crate::header::{EventHeader, event_type};

/// A step that would pass 3 GiB forward is taken for a step back: no event is larger than 1 GiB.
const STEP_LIMIT: u64 = 3 << 30;

/// Follows the byte position in one binlog file, whose events give it modulo 2^32 only.
///
/// Feed it every event of the stream in order; a [rotate](Self::rotate) begins another file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PositionTracker {
    position: u64,
    flavor: Flavor,
}

impl PositionTracker {
    /// A tracker that stands at that byte.
    pub fn new(position: u64) -> Self {
        Self { position, flavor: Flavor::MySql }
    }

    /// Where the next event begins.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Says who wrote the file, as its format description tells: MariaDB's events may come without their position and
    /// are then taken to follow one another.
    pub fn set_flavor(&mut self, flavor: Flavor) {
        self.flavor = flavor;
    }

    /// Another file begins at that byte (4, or where the stream was asked to start).
    pub fn rotate(&mut self, position: u64) {
        self.position = position;
    }

    /// Steps over an event and says where the next one begins.
    ///
    /// Events that are not in the file do not move it. The server may leave out events (those of transactions that the
    /// reader has), so a step may be longer than the event; it is an error when it goes back.
    pub fn advance(&mut self, header: &EventHeader) -> Result<u64, DecodeError> {
        use event_type as t;
        if header.is_artificial() || matches!(header.event_type, t::HEARTBEAT | t::HEARTBEAT_V2) {
            return Ok(self.position);
        }
        if header.log_pos == 0 {
            // From the sender come: a rotate, a format description, and what says that the file is encrypted.
            let sent = matches!(header.event_type, t::ROTATE | t::FORMAT_DESCRIPTION | t::MARIADB_START_ENCRYPTION);
            if self.flavor == Flavor::MariaDb && !sent {
                self.position += u64::from(header.event_size);
            }
            return Ok(self.position);
        }
        let step = u64::from(header.log_pos.wrapping_sub(self.position as u32));
        if step >= STEP_LIMIT {
            return Err(DecodeError::PositionStepsBack { from: self.position, log_pos: header.log_pos });
        }
        self.position += step;
        Ok(self.position)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn event(log_pos: u32) -> EventHeader {
        EventHeader { timestamp: 0, event_type: event_type::XID, server_id: 1, event_size: 31, log_pos, flags: 0 }
    }

    #[test]
    fn positions_go_on_past_four_gib() {
        let mut tracker = PositionTracker::new(4);
        for true_position in [126, 3 << 30, (4 << 30) - 5, (4 << 30) + 40, (6 << 30) + 1, (9u64 << 30) - 3] {
            assert_eq!(tracker.advance(&event((true_position % (1 << 32)) as u32)).unwrap(), true_position);
        }
    }

    #[test]
    fn events_outside_the_file_do_not_move_it_and_steps_back_are_refused() {
        let mut tracker = PositionTracker::new(1_000);
        assert_eq!(tracker.advance(&event(0)).unwrap(), 1_000);
        assert_eq!(tracker.advance(&EventHeader { flags: 0x20, ..event(77) }).unwrap(), 1_000);
        assert!(tracker.advance(&event(900)).is_err());
        tracker.rotate(4);
        assert_eq!(tracker.advance(&event(900)).unwrap(), 900);
    }

    #[test]
    fn events_of_mariadb_without_a_position_follow_one_another() {
        let mut tracker = PositionTracker::new(1_000);
        tracker.set_flavor(Flavor::MariaDb);
        assert_eq!(tracker.advance(&event(0)).unwrap(), 1_031);
        assert_eq!(tracker.advance(&event(1_062)).unwrap(), 1_062);
        for sent in [event_type::ROTATE, event_type::FORMAT_DESCRIPTION] {
            assert_eq!(tracker.advance(&EventHeader { event_type: sent, ..event(0) }).unwrap(), 1_062);
        }
    }
}

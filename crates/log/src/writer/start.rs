//! A start without its transport: from the first record read to the own `EpochStart` read back.

use bytes::Bytes;
use lutra_change::{Cursor, Epoch, Number};
use lutra_wire::record::{BodyKind, EpochStart, Header, PartEnd, RawBody};

use super::core::WriterCore;
use super::{Tail, WriterOptions, attempt_over, halted};
use crate::bookmark::Bookmark;
use crate::chain::{Chain, Verdict, Void};
use crate::codec;
use crate::error::{AttemptEnd, Halt, LogError};
use crate::history::History;
use crate::rules::Rules;
use crate::transport::{Delivery, StoredRecord, Ticket, TransportError};

/// Bookmarks to try, the latest first.
pub(crate) fn candidates(options: &WriterOptions, only_proven: bool) -> Vec<&Bookmark> {
    let fits = |b: &&Bookmark| b.cursor.log_id == options.log_id && (b.proven || !only_proven);
    let mut bookmarks: Vec<_> = options.bookmarks.iter().filter(fits).collect();
    bookmarks.sort_by_key(|b| std::cmp::Reverse(b.cursor.next_offset));
    bookmarks
}

/// What is known of the own `EpochStart`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Own {
    /// Not acknowledged yet.
    InFlight,
    /// Acknowledged, without or with its offset.
    Acknowledged(Option<i64>),
    /// Read back.
    Found(i64),
}

/// A start under way.
#[derive(Debug)]
pub(crate) struct StartCore {
    topic: String,
    epoch: Epoch,
    history: History,
    position: i64,
    own: Own,
    own_log_seen: bool,
    /// Reading began at a place beyond doubt.
    proven: bool,
    /// What was read contradicts the bookmark that reading began at.
    in_doubt: bool,
    rules: Rules,
}

impl StartCore {
    pub(crate) fn new(topic: &str, options: &WriterOptions, epoch: Epoch) -> Self {
        Self {
            topic: topic.to_owned(),
            epoch,
            history: History::new(Chain::new(options.log_id, Epoch::ZERO, Number::ZERO)),
            position: 0,
            own: Own::InFlight,
            own_log_seen: false,
            proven: true,
            in_doubt: false,
            rules: Rules::default(),
        }
    }

    #[cfg(test)]
    pub(crate) fn with_rules(mut self, rules: Rules) -> Self {
        self.rules = rules;
        self.history = self.history.with_rules(rules);
        self
    }

    /// Begins reading at the bookmark that the log still holds, or at offset 0. Says where that is.
    pub(crate) fn begin_at(&mut self, held: Option<Bookmark>, (first, end): (i64, i64)) -> Result<i64, LogError> {
        match held {
            Some(bookmark) => {
                self.history = History::at_bookmark(&bookmark).with_rules(self.rules);
                self.position = bookmark.cursor.next_offset;
                self.own_log_seen = self.position > 0;
                self.proven = bookmark.proven;
            }
            None if first > 0 => return Err(halted(&self.topic, Halt::HeadLost { needed: 0, first })),
            None => {
                let chain = Chain::new(self.history.chain().log_id(), Epoch::ZERO, Number::ZERO);
                self.history = History::new(chain).with_rules(self.rules);
                self.position = 0;
                self.proven = true;
            }
        }
        self.in_doubt = false;
        tracing::debug!(topic = self.topic, epoch = %self.epoch, from = self.position, to = end, "reading back");
        Ok(self.position)
    }

    /// The record that begins the attempt.
    pub(crate) fn epoch_start(&self, options: &WriterOptions) -> Bytes {
        let header = Header {
            log_id: options.log_id,
            epoch: self.epoch,
            // Not known yet, and not asked for by anybody.
            number: Number::ZERO,
            previous: Number::ZERO,
            part: 1,
            end: PartEnd::Commit,
            source: None,
            committed_at: 0,
            read_at: 0,
            input: None,
            origins: Vec::new(),
            totals: None,
        };
        let start = EpochStart { cluster: options.cluster.clone(), rules_version: options.rules_version };
        codec::encode(&header, &RawBody::epoch_start(&start))
    }

    /// Takes in the report on the own `EpochStart`.
    pub(crate) fn delivered(&mut self, delivery: Delivery, ours: Ticket) -> Result<(), LogError> {
        match delivery {
            Delivery::Acknowledged { ticket, offset } if ticket == ours => {
                self.own = Own::Acknowledged(offset);
                if self.rules.no_read_back {
                    self.history.start_without_reading_back(self.epoch);
                    self.own = Own::Found(offset.unwrap_or(self.position));
                }
                Ok(())
            }
            Delivery::Acknowledged { .. } => Err(attempt_over(&self.topic, AttemptEnd::Ended)),
            Delivery::Failed { error, .. } => Err(self.undelivered(error)),
        }
    }

    pub(crate) fn undelivered(&self, source: TransportError) -> LogError {
        attempt_over(&self.topic, AttemptEnd::DeliveryFailed { number: Number::ZERO, part: 1, source })
    }

    /// Where reading stands.
    pub(crate) fn position(&self) -> i64 {
        self.position
    }

    /// Whether reading must begin again at a [proven](Bookmark::only_proven) bookmark, since the one chosen may count units
    /// that are not in the log.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.in_doubt
    }

    /// Whether the own `EpochStart` was read back.
    pub(crate) fn is_done(&self) -> bool {
        matches!(self.own, Own::Found(_))
    }

    /// The log ends before the own `EpochStart`.
    pub(crate) fn lost(&self) -> LogError {
        let offset = if let Own::Acknowledged(Some(offset)) = self.own { offset } else { self.position };
        attempt_over(&self.topic, AttemptEnd::StartLost { offset })
    }

    /// Takes in the next record, up to the own `EpochStart`: matched by epoch, and by offset where that is known.
    pub(crate) fn read(&mut self, stored: &StoredRecord) -> Result<(), LogError> {
        let offset = stored.offset;
        let record = codec::decode(offset, &stored.value).map_err(|found| halted(&self.topic, found))?;
        let (kind, header) = (record.body.kind(), &record.header);
        self.check_log(offset, header)?;
        let ours = kind == BodyKind::EpochStart
            && header.epoch == self.epoch
            && header.log_id == self.history.chain().log_id();
        let due = matches!(self.own, Own::Acknowledged(Some(at)) if offset >= at);
        if due && (!ours || self.own != Own::Acknowledged(Some(offset))) {
            return Err(self.lost());
        }
        if self.rules.resume_at_last_record
            && header.end == PartEnd::Commit
            && kind != BodyKind::EpochStart
            && header.epoch == self.history.chain().in_force()
        {
            self.history.believe_whatever_comes(header.previous);
        }
        let verdict = self.history.feed(offset, kind, header);
        let doubtful = matches!(verdict, Err(_) | Ok(Verdict::Gap { .. } | Verdict::Void(Void::UnknownEpoch)));
        if doubtful && !self.proven {
            self.in_doubt = true;
            return Ok(());
        }
        let verdict = verdict.map_err(|found| halted(&self.topic, found))?;
        self.position = offset + 1;
        let by = self.history.chain().in_force();
        if by > self.epoch {
            return Err(LogError::Fenced { topic: self.topic.clone(), mine: self.epoch, by });
        }
        if !ours {
            return Ok(());
        }
        if !matches!(verdict, Verdict::InForce { .. }) || (!due && self.own != Own::Acknowledged(None)) {
            return Err(attempt_over(&self.topic, AttemptEnd::EpochReused { offset, epoch: self.epoch }));
        }
        self.own = Own::Found(offset);
        Ok(())
    }

    /// P8: the first record of a log says which log it is.
    fn check_log(&mut self, offset: i64, header: &Header) -> Result<(), LogError> {
        let expected = self.history.chain().log_id();
        if header.log_id == expected {
            self.own_log_seen = true;
        } else if !self.own_log_seen {
            return Err(halted(&self.topic, Halt::ForeignLog { offset, expected, found: header.log_id }));
        }
        Ok(())
    }

    /// The end of the valid chain, and the writer that goes on there.
    pub(crate) fn finish(self, begun: bool) -> Result<(WriterCore, Tail), LogError> {
        let Own::Found(offset) = self.own else { return Err(self.lost()) };
        let log_id = self.history.chain().log_id();
        let number = self.history.chain().last();
        if begun && number == Number::ZERO {
            return Err(halted(&self.topic, Halt::EmptyLog { log_id }));
        }
        let tail = Tail {
            number,
            cursor: Cursor { log_id, next_offset: offset + 1, epoch: self.epoch, number },
            source: self.history.source(),
            input: self.history.input(),
            last_unit: self.history.last_unit().cloned(),
            empty: number == Number::ZERO,
        };
        Ok((WriterCore::new(&self.topic, self.history, offset, self.proven, self.rules), tail))
    }
}

//! How reading or writing a log ends: try again under a new epoch, stop, or wait for a person.

use std::error::Error;

use lutra_change::{Epoch, Gtid, GtidSet, LogId, Number};

use crate::transport::TransportError;

/// Why reading or writing a log ended.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// This attempt is over; the task starts again under its next epoch and reads back what really happened (P2).
    #[error("topic {topic}: the attempt is over")]
    Attempt {
        /// The topic.
        topic: String,
        /// Why.
        #[source]
        reason: AttemptEnd,
    },
    /// A later start of the task is in force: stop, write nothing more.
    #[error("topic {topic}: epoch {mine} is fenced by epoch {by}; another start of this task has taken over")]
    Fenced {
        /// The topic.
        topic: String,
        /// The epoch that is over.
        mine: Epoch,
        /// The epoch in force.
        by: Epoch,
    },
    /// Going on could lose or double changes: a person must look.
    #[error("topic {topic}: reading must not go on")]
    Halt {
        /// The topic.
        topic: String,
        /// What was found.
        #[source]
        found: Box<Halt>,
    },
    /// The broker could not be reached or refused; nothing is known to be wrong with the log.
    #[error("the log's broker failed")]
    Transport(#[from] TransportError),
}

/// Why an attempt is over although nobody else took the task.
#[derive(Debug, thiserror::Error)]
pub enum AttemptEnd {
    /// A record may or may not have been appended.
    #[error("record {number} part {part} was not acknowledged")]
    DeliveryFailed {
        /// Its unit.
        number: Number,
        /// Its part.
        part: u32,
        /// Why.
        source: TransportError,
    },
    /// The log lost records that it had acknowledged.
    #[error("the log lost acknowledged records: offset {acknowledged} came after offset {last}")]
    TailLost {
        /// The offset acknowledged last.
        acknowledged: i64,
        /// The highest offset acknowledged before.
        last: i64,
    },
    /// The own `EpochStart` is not where the broker said.
    #[error("the EpochStart of this attempt is not at offset {offset}, where it was acknowledged")]
    StartLost {
        /// The acknowledged offset.
        offset: i64,
    },
    /// Records with this attempt's epoch that this attempt did not write.
    #[error("offset {offset} holds a record of epoch {epoch} that this attempt did not append")]
    EpochReused {
        /// Where.
        offset: i64,
        /// The epoch.
        epoch: Epoch,
    },
    /// The writer was used after it ended, or its producer is gone.
    #[error("the writer has already ended")]
    Ended,
}

/// What makes reading or writing stop until a person has looked.
#[derive(Debug, thiserror::Error)]
pub enum Halt {
    /// P8: the log is not the task's log.
    #[error(
        "offset {offset} belongs to log {found}, expected log {expected}: the topic was made anew or is another task's; \
         `lutra adopt … --from-target` starts a new log from what the target has"
    )]
    ForeignLog {
        /// Where.
        offset: i64,
        /// The task's log.
        expected: LogId,
        /// The log found.
        found: LogId,
    },
    /// P8: a task that has begun finds no records.
    #[error(
        "log {log_id} is empty although its task has begun: the topic was made anew or emptied; \
         `lutra adopt … --from-target` starts a new log from what the target has"
    )]
    EmptyLog {
        /// The task's log.
        log_id: LogId,
    },
    /// P8: the log no longer reaches back to where reading has to begin.
    #[error(
        "reading must begin at offset {needed}, but the log now begins at {first}: retention removed unread records; \
         `lutra adopt … --from-target` starts a new log from what the target has"
    )]
    HeadLost {
        /// Where reading has to begin.
        needed: i64,
        /// The first offset held.
        first: i64,
    },
    /// P3: an accepted unit whose GTID was applied before.
    #[error(
        "unit {number} at offset {offset} is new, but its GTID {gtid} is in the applied set {applied}: \
         the log lost its tail and the source has another order since; \
         compare the target with the source, then `lutra adopt … --from-target`"
    )]
    GtidAppliedTwice {
        /// Where.
        offset: i64,
        /// The unit.
        number: Number,
        /// Its GTID.
        gtid: Gtid,
        /// The GTIDs applied so far.
        applied: GtidSet,
    },
    /// P3: a covered unit whose GTID was never applied.
    #[error(
        "unit {number} at offset {offset} is covered by unit {last}, but its GTID {gtid} is not in the applied set {applied}: \
         the log lost its tail and the source has another order since; \
         compare the target with the source, then `lutra adopt … --from-target`"
    )]
    GtidNeverApplied {
        /// Where.
        offset: i64,
        /// The unit.
        number: Number,
        /// The last unit applied.
        last: Number,
        /// Its GTID.
        gtid: Gtid,
        /// The GTIDs applied so far.
        applied: GtidSet,
    },
    /// P3: an accepted unit whose source does not know what was applied.
    #[error(
        "unit {number} at offset {offset} is new, but {missing} of the applied set {applied} is not in its source's set: \
         the log lost its tail and the source has another order since; \
         compare the target with the source, then `lutra adopt … --from-target`"
    )]
    GtidForgotten {
        /// Where.
        offset: i64,
        /// The unit.
        number: Number,
        /// What was applied and is unknown there.
        missing: GtidSet,
        /// The GTIDs applied so far.
        applied: GtidSet,
    },
    /// P3: the restart that a gap asked for did not close it.
    #[error(
        "unit {found} at offset {offset} does not follow unit {expected}, also after the writer's restart: \
         what lies between is lost; `lutra adopt … --from-target` starts a new log from what the target has"
    )]
    GapPersists {
        /// Where.
        offset: i64,
        /// The last unit accepted.
        expected: Number,
        /// What the record claims to follow.
        found: Number,
    },
    /// A record that this version cannot read.
    #[error("the record at offset {offset} cannot be decoded; was it written by a later version, or not by Lutra?")]
    BadRecord {
        /// Where.
        offset: i64,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A fault in the service: the record would break the chain.
    #[error("record {number} part {part} (previous {previous}) must not be appended behind unit {last}: {reason}")]
    BreaksChain {
        /// Its unit.
        number: Number,
        /// What it claims to follow.
        previous: Number,
        /// Its part.
        part: u32,
        /// The last unit appended.
        last: Number,
        /// Which rule it breaks.
        reason: &'static str,
    },
}

//! A place in a source's log: looked up by reading the log, from the nearest place that its writer published (P2).

use std::time::Duration;

use lutra_change::{Gtid, LogId, Number};
use lutra_coordination::LogRef;
use lutra_kafka::KafkaLog;
use lutra_log::{
    Bookmark, Delivered, LogError, LogPart, LogReader, ReadFrom, ReadTransport, ReaderStart, SourcePlace,
    TransportFactory,
};
use lutra_wire::record::PartEnd;

use super::point::{Chosen, Point, place_of, time_text};
use crate::error::ManagerError;
use crate::manager::Manager;

/// For so long nothing comes: the rest of the log holds no units.
const SILENCE: Duration = Duration::from_secs(2);
/// How long a search may take: a little less than whoever asked waits.
const LONGEST: Duration = Duration::from_secs(45);

/// A place behind a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stop {
    number: Number,
    /// Zero for a log's origin, of which no time is known.
    committed_at: i64,
    place: SourcePlace,
}

impl Stop {
    fn of_bookmark(bookmark: &Bookmark) -> Option<Self> {
        let committed_at = bookmark.last_unit.as_ref().map_or(0, |unit| unit.committed_at);
        Some(Self { number: bookmark.cursor.number, committed_at, place: bookmark.source.clone()? })
    }

    fn of_unit<R: ReadTransport>(part: &LogPart, reader: &LogReader<R>) -> Option<Self> {
        let source = part.header.source.as_ref()?;
        let place = SourcePlace {
            server_uuid: source.server_uuid,
            position: source.position.clone(),
            gtid_set: reader.gtid_set().clone(),
            open_xa: Vec::new(),
            definitions: None,
        };
        Some(Self { number: part.header.number, committed_at: part.header.committed_at, place })
    }

    /// As people are told of it.
    fn text(&self) -> String {
        let at = if self.committed_at > 0 { format!(" of {}", time_text(self.committed_at)) } else { String::new() };
        let gtids = &self.place.gtid_set;
        let gtids = if gtids.is_empty() { String::new() } else { format!(", GTIDs {gtids}") };
        format!("unit {}{at} ({}{gtids})", self.number, self.place.position)
    }

    /// Whether the place that is looked for is here or behind.
    fn is_before(&self, wanted: &Point) -> bool {
        match wanted {
            Point::Number(number) => self.number <= *number,
            Point::Time(time) => self.committed_at > 0 && self.committed_at < *time,
            Point::Gtid(set) => self.place.gtid_set.is_subset(set),
            Point::Position(position) => place_of(&self.place.position) <= place_of(position),
        }
    }
}

/// What a unit says of the place that is looked for.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// It is farther on.
    Further,
    /// It is behind this unit.
    Here,
    /// It is before this unit.
    Before,
    /// The log has no such place.
    Nowhere(String),
}

fn step(wanted: &Point, unit: &Stop, gtid: Option<&Gtid>) -> Step {
    match wanted {
        Point::Number(number) if unit.number == *number => Step::Here,
        Point::Number(number) if unit.number < *number => Step::Further,
        Point::Number(_) => Step::Before,
        Point::Time(time) if unit.committed_at < *time => Step::Further,
        Point::Time(_) => Step::Before,
        Point::Gtid(set) => {
            let reached = &unit.place.gtid_set;
            let more = reached.minus(set);
            if !set.is_subset(reached) {
                Step::Further
            } else if more.is_empty() {
                Step::Here
            } else if gtid.is_none_or(|gtid| !set.contains(gtid)) {
                // What of the set the unit before had not was empty, and travels with this one.
                Step::Before
            } else {
                Step::Nowhere(format!(
                    "the log reaches it only together with {more}; name a set that the source passed through"
                ))
            }
        }
        Point::Position(position) => match place_of(&unit.place.position).cmp(&place_of(position)) {
            std::cmp::Ordering::Less => Step::Further,
            std::cmp::Ordering::Equal => Step::Here,
            std::cmp::Ordering::Greater => {
                Step::Nowhere(format!("no unit of it ends there; {} does behind it", unit.text()))
            }
        },
    }
}

/// Looks a place up in the log of a source.
///
/// # Errors
/// [`ManagerError::Conflict`] with what the log holds, when it is not there; Kafka's.
pub(super) async fn find(
    manager: &Manager,
    source: &str,
    log: &LogRef,
    wanted: &Point,
) -> Result<Chosen, ManagerError> {
    let marks = manager.store().bookmarks(&log.writer).await?;
    let marks: Vec<Bookmark> = marks.into_iter().filter_map(|value| serde_json::from_value(value).ok()).collect();
    let topic = KafkaLog::new(manager.inner.kafka.config(), &log.topic);
    let searched = tokio::time::timeout(LONGEST, search(source, &topic, log.log_id, marks, wanted)).await;
    let slow = || {
        ManagerError::Timeout(format!(
            "the log of source {source} is too long to be searched; name a GTID set or FILE:POSITION instead"
        ))
    };
    let stop = searched.map_err(|_| slow())??;
    Ok(Chosen {
        set: stop.place.gtid_set,
        position: Some(stop.place.position),
        server: stop.place.server_uuid,
        number: Some(stop.number),
        committed_at: Some(stop.committed_at),
    })
}

/// Reads from the nearest published place before the one that is looked for.
async fn search<F: TransportFactory>(
    source: &str,
    log: &F,
    log_id: LogId,
    mut marks: Vec<Bookmark>,
    wanted: &Point,
) -> Result<Stop, ManagerError> {
    let unreadable = |error: LogError| ManagerError::Log { source_name: source.to_owned(), source: Box::new(error) };
    let nowhere = |why: &str| {
        ManagerError::Conflict(format!(
            "the log of source {source} does not hold {}: {why}. A GTID set or FILE:POSITION may be named instead",
            told(wanted)
        ))
    };
    let mut transport = log.reader().await.map_err(|e| unreadable(e.into()))?;
    let (first, _) = transport.bounds().await.map_err(|e| unreadable(e.into()))?;
    marks.retain(|mark| mark.cursor.log_id == log_id && mark.cursor.next_offset >= first);
    marks.sort_by_key(|mark| mark.cursor.next_offset);
    let nearest = marks.iter().rev().find(|m| Stop::of_bookmark(m).is_some_and(|stop| stop.is_before(wanted)));
    let oldest = marks.iter().find_map(Stop::of_bookmark);
    let from = match (nearest, first) {
        (Some(mark), _) => ReadFrom::Bookmark(mark.clone()),
        (None, 0) => ReadFrom::Beginning,
        (None, _) => {
            let held = oldest.map_or_else(|| "nothing that is known".to_owned(), |stop| stop.text());
            return Err(nowhere(&format!("it holds what lies behind {held}")));
        }
    };
    let before = nearest.and_then(Stop::of_bookmark);
    if let Some(stop) = before.as_ref().filter(|stop| step(wanted, stop, None) == Step::Here) {
        return Ok(stop.clone());
    }
    let mut reader = LogReader::open(transport, ReaderStart::new(log_id, from)).await.map_err(unreadable)?;
    let end = reader.end_offset().await.map_err(unreadable)?;
    let mut walk = Walk::behind(before);
    while reader.cursor().next_offset < end {
        let Ok(delivered) = tokio::time::timeout(SILENCE, reader.next()).await else { break };
        if let Some(found) = walk.take(delivered.map_err(unreadable)?, &reader, wanted) {
            return found.map_err(|why| nowhere(&why));
        }
    }
    walk.end(wanted).map_err(|why| nowhere(&why))
}

/// A way through the log.
struct Walk {
    /// Behind the last complete unit.
    before: Option<Stop>,
    /// That is the log's origin: what was committed before it is not known from the log.
    at_origin: bool,
    /// The newest time that the log says something of.
    heard_at: i64,
}

impl Walk {
    fn behind(before: Option<Stop>) -> Self {
        Self { before, at_origin: false, heard_at: 0 }
    }

    fn take<R: ReadTransport>(
        &mut self,
        delivered: Delivered,
        reader: &LogReader<R>,
        wanted: &Point,
    ) -> Option<Result<Stop, String>> {
        match delivered {
            Delivered::Part(part) if part.header.end == PartEnd::Commit => {
                let unit = Stop::of_unit(&part, reader)?;
                self.heard_at = self.heard_at.max(unit.committed_at);
                let gtid = part.header.source.as_ref().and_then(|source| source.gtid.as_ref());
                match step(wanted, &unit, gtid) {
                    Step::Further => {
                        self.at_origin = self.before.is_none();
                        // Chunks, and places without changes, bear no time of their own.
                        let known = self.before.as_ref().map_or(0, |stop| stop.committed_at);
                        self.before = Some(Stop { committed_at: unit.committed_at.max(known), ..unit });
                        None
                    }
                    Step::Here => Some(Ok(unit)),
                    Step::Before => Some(self.before_it(&unit, wanted)),
                    Step::Nowhere(why) => Some(Err(why)),
                }
            }
            Delivered::Heartbeat { header, heartbeat, .. } => {
                self.heard_at = self.heard_at.max(header.committed_at).max(heartbeat.at);
                None
            }
            Delivered::Gap { expected, found, .. } => {
                Some(Err(format!("it has a gap between units {expected} and {found}")))
            }
            Delivered::Part(_) | Delivered::EpochStart { .. } | Delivered::Discarded => None,
        }
    }

    /// The place before a unit. Of the time before the log began nothing is known.
    fn before_it(&mut self, unit: &Stop, wanted: &Point) -> Result<Stop, String> {
        let is_too_early = self.at_origin && matches!(wanted, Point::Time(_));
        match self.before.take().filter(|_| !is_too_early) {
            Some(stop) => Ok(stop),
            None => Err(format!("it begins with {}", unit.text())),
        }
    }

    /// The log ends before the place.
    fn end(self, wanted: &Point) -> Result<Stop, String> {
        match self.before {
            // Nothing was committed between the last unit and a time of which the log knows.
            Some(last) if matches!(wanted, Point::Time(time) if *time <= self.heard_at && last.committed_at > 0) => {
                Ok(last)
            }
            Some(last) => {
                let heard = match wanted {
                    Point::Time(_) if self.heard_at > 0 => format!(", and was at {} then", time_text(self.heard_at)),
                    _ => String::new(),
                };
                Err(format!("it ends with {}{heard}", last.text()))
            }
            None => Err("it holds no unit".to_owned()),
        }
    }
}

/// The place as it was asked for.
fn told(wanted: &Point) -> String {
    match wanted {
        Point::Number(number) => format!("unit {number}"),
        Point::Time(time) => format!("the time {}", time_text(*time)),
        Point::Gtid(set) => format!("the place behind {set}"),
        Point::Position(position) => format!("position {position}"),
    }
}

/// The newest number that a source's log is known to have.
pub(super) async fn newest(manager: &Manager, log: &LogRef) -> Result<Number, ManagerError> {
    let marks = manager.store().bookmarks(&log.writer).await?.into_iter();
    let marks = marks.filter_map(|value| serde_json::from_value::<Bookmark>(value).ok());
    let own = marks.filter(|mark| mark.cursor.log_id == log.log_id);
    Ok(own.map(|mark| mark.cursor.number).max().unwrap_or(Number::ZERO))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use lutra_change::{BinlogPosition, Epoch, GtidSet};
    use lutra_log::memory::MemoryLog;
    use lutra_log::{HeaderDraft, LogWriter, SourceDraft, WriterOptions};
    use lutra_wire::record::{Heartbeat, RawBody};
    use uuid::Uuid;

    use super::*;

    const SECOND: i64 = 1_000_000;

    fn gtid(number: u64) -> Gtid {
        Gtid::new(Uuid::from_u128(1), number)
    }

    fn set(numbers: &str) -> GtidSet {
        format!("{}:{numbers}", Uuid::from_u128(1)).parse().unwrap()
    }

    /// Units 5 to 9 behind the origin (4, 1): unit n has GTID n and is committed at second n; GTID 7 was empty and has no unit.
    async fn log() -> (MemoryLog, LogId) {
        let (log, log_id) = (MemoryLog::new(), LogId::random());
        let options = WriterOptions {
            log_id,
            cluster: "c".to_owned(),
            rules_version: 0,
            begun: false,
            bookmarks: Vec::new(),
            max_in_flight_bytes: 1 << 20,
        };
        let (mut writer, _) = LogWriter::start(&log, options, Epoch::new(1, 1)).await.unwrap();
        let mut applied = set("1-4");
        let mut previous = Number::ZERO;
        for n in [4, 5, 6, 8, 9] {
            let number = if n == 4 { Number::new(4, 1) } else { Number::new(n, 0) };
            if n == 8 {
                applied.insert(&gtid(7));
            }
            applied.insert(&gtid(n));
            let source = SourceDraft {
                server_uuid: Uuid::from_u128(1),
                position: BinlogPosition::new("b.000001", n * 100),
                gtid: (n > 4).then(|| gtid(n)),
                gtid_set: &applied,
                added: None,
                open_xa: Vec::new(),
                definitions: None,
            };
            let draft = HeaderDraft {
                number,
                previous,
                part: 1,
                end: PartEnd::Commit,
                source: Some(source),
                committed_at: if n == 4 { 0 } else { i64::try_from(n).unwrap() * SECOND },
                read_at: 0,
                input: None,
                origins: Vec::new(),
                totals: None,
            };
            writer.append(draft, &RawBody::heartbeat(&Heartbeat { at: 0, clock_offset: 0 }), None).await.unwrap();
            previous = number;
        }
        writer.flush().await.unwrap();
        (log, log_id)
    }

    async fn found(wanted: Point) -> Result<(Number, GtidSet), String> {
        let (log, log_id) = log().await;
        let found = search("s", &log, log_id, Vec::new(), &wanted).await;
        found.map(|stop| (stop.number, stop.place.gtid_set)).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn numbers_times_sets_and_positions_name_places_of_a_log() {
        let six = Ok((Number::new(6, 0), set("1-6")));
        assert_eq!(found(Point::Number(Number::new(6, 0))).await, six);
        assert_eq!(found(Point::Number(Number::new(7, 0))).await, six, "what lies between belongs to the next unit");
        assert_eq!(found(Point::Time(7 * SECOND)).await, six);
        assert_eq!(found(Point::Time(6 * SECOND)).await, Ok((Number::new(5, 0), set("1-5"))));
        assert_eq!(found(Point::Time(9 * SECOND)).await, Ok((Number::new(8, 0), set("1-8"))));
        assert_eq!(found(Point::Gtid(set("1-6"))).await, six);
        assert_eq!(found(Point::Gtid(set("1-7"))).await, six, "GTID 7 changed nothing");
        assert_eq!(found(Point::Gtid(set("1-4"))).await, Ok((Number::new(4, 1), set("1-4"))));
        assert_eq!(found(Point::Position(BinlogPosition::new("b.000001", 600))).await, six);
    }

    #[tokio::test]
    async fn what_the_log_does_not_hold_is_said_with_what_it_holds() {
        let cases = [
            (Point::Number(Number::new(3, 0)), "unit 3: it begins with unit 4.1"),
            (Point::Number(Number::new(20, 0)), "it ends with unit 9 of 1970-01-01T00:00:09Z"),
            (Point::Time(3 * SECOND), "it begins with unit 5"),
            (Point::Time(10 * SECOND), "it ends with unit 9"),
            (Point::Gtid(set("1-3")), "it begins with unit 4.1"),
            (Point::Gtid(set("1-12")), "it ends with unit 9"),
            (Point::Gtid(set("1-5:8")), "only together with"),
            (Point::Position(BinlogPosition::new("b.000001", 650)), "no unit of it ends there; unit 8"),
        ];
        for (wanted, words) in cases {
            let error = found(wanted.clone()).await.unwrap_err();
            assert!(error.contains(words) && error.contains("may be named instead"), "{wanted:?}: {error}");
        }
    }

    #[tokio::test]
    async fn the_nearest_published_place_is_where_reading_begins() {
        let mark = |offset, number: u64, at: i64| Bookmark {
            cursor: lutra_change::Cursor {
                log_id: LogId::random(),
                next_offset: offset,
                epoch: Epoch::new(1, 1),
                number: Number::new(number, 0),
            },
            source: Some(SourcePlace {
                server_uuid: Uuid::nil(),
                position: BinlogPosition::new("b.000001", number * 100),
                gtid_set: set(&format!("1-{number}")),
                open_xa: Vec::new(),
                definitions: None,
            }),
            input: None,
            last_unit: Some(lutra_log::LastUnit {
                gtid: None,
                committed_at: at,
                server_uuid: Uuid::nil(),
                position: BinlogPosition::default(),
                totals: None,
            }),
            proven: true,
        };
        let stop = Stop::of_bookmark(&mark(3, 6, 6 * SECOND)).unwrap();
        for (wanted, before) in [
            (Point::Number(Number::new(6, 0)), true),
            (Point::Number(Number::new(5, 0)), false),
            (Point::Time(6 * SECOND), false),
            (Point::Time(6 * SECOND + 1), true),
            (Point::Gtid(set("1-6")), true),
            (Point::Gtid(set("1-5")), false),
            (Point::Position(BinlogPosition::new("b.000001", 599)), false),
        ] {
            assert_eq!(stop.is_before(&wanted), before, "{wanted:?}");
        }
    }
}

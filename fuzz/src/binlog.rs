//! The binlog: files, events, rows, compressed transactions, JSON.

use std::sync::OnceLock;

use lutra_binlog::{
    Cell, DecodeError, Decoder, Event, EventData, Flavor, Inflater, JsonUpdate, PositionTracker, RowDecoder, Scratch,
    TableCache, event_type, file,
};

const MYSQL: &[u8] = include_bytes!("../../crates/binlog/tests/fixtures/changes.2.binlog");
const MARIADB: &[u8] = include_bytes!("../../crates/binlog/tests/fixtures/mariadb.2.binlog");
/// Files with tables of every type.
const TABLES: [&[u8]; 3] = [
    include_bytes!("../../crates/binlog/tests/fixtures/types.1.binlog"),
    include_bytes!("../../crates/binlog/tests/fixtures/partial.1.binlog"),
    include_bytes!("../../crates/binlog/tests/fixtures/mariadb.1.binlog"),
];
/// Inner events larger than this are refused.
const INFLATE_LIMIT: usize = 1 << 20;

/// What a stream's reader keeps, and the whole way of an event's bytes.
struct Walk {
    decoder: Decoder,
    tables: TableCache,
    scratch: Scratch,
    tracker: PositionTracker,
    inflater: Inflater,
}

impl Walk {
    fn new(decoder: Decoder) -> Self {
        Self {
            decoder,
            tables: TableCache::with_capacity(8),
            scratch: Scratch::new(),
            tracker: PositionTracker::new(4),
            inflater: Inflater::new(INFLATE_LIMIT),
        }
    }

    /// A reader that has seen the format description of a server without checksums.
    fn begun(flavor: Flavor) -> Self {
        let mut decoder = Decoder::new();
        let image = if flavor == Flavor::MySql { MYSQL } else { MARIADB };
        let first = file::events(image).ok().and_then(|mut events| events.next()).and_then(Result::ok);
        if let Some(first) = first {
            let decoded = decoder.decode(first.bytes);
            assert!(decoded.is_ok() && decoder.flavor() == flavor);
        }
        let mut walk = Self::new(decoder);
        walk.tracker.set_flavor(flavor);
        walk
    }

    fn event(&mut self, bytes: &[u8]) {
        let event = match self.decoder.decode(bytes) {
            Ok(event) => event,
            Err(error) => {
                // An error says where.
                assert!(!error.to_string().is_empty());
                return;
            }
        };
        let _ = self.tracker.advance(&event.header);
        let mut inflater = std::mem::replace(&mut self.inflater, Inflater::new(0));
        match &event.data {
            EventData::TransactionPayload(payload) => {
                if let Ok(mut inner) = inflater.read(payload) {
                    while let Ok(Some(bytes)) = inner.next_event() {
                        if let Ok(event) = self.decoder.decode_inner(&event.header, bytes) {
                            data(&mut self.tables, &mut self.scratch, &event);
                        }
                    }
                }
            }
            EventData::Compressed(compressed) => {
                if let Ok(bytes) = inflater.inflate(compressed)
                    && let Ok(event) = self.decoder.decode_inner(&event.header, bytes)
                {
                    data(&mut self.tables, &mut self.scratch, &event);
                }
            }
            _ => data(&mut self.tables, &mut self.scratch, &event),
        }
        self.inflater = inflater;
    }
}

fn data(tables: &mut TableCache, scratch: &mut Scratch, event: &Event<'_>) {
    match &event.data {
        EventData::TableMap(map) => {
            let _ = RowDecoder::plan_bare(map);
            let _ = tables.observe(map);
        }
        EventData::Rows(event) => {
            let Ok(table) = tables.get(event) else { return };
            let Ok(mut rows) = table.rows(event, scratch) else { return };
            let mut text = Vec::new();
            while rows.next_image().is_some() {
                let shown = rows.decode_cells(|_, cell| {
                    if let Cell::JsonUpdate(update) = cell {
                        let _ = update.write(&mut text);
                    }
                    Ok::<_, DecodeError>(())
                });
                if shown.is_err() {
                    break;
                }
            }
        }
        _ => {}
    }
}

/// An event with that body.
fn event_of(kind: u8, body: &[u8]) -> Vec<u8> {
    let size = u32::try_from(19 + body.len()).unwrap_or_default();
    let mut event = vec![0; 4];
    event.push(kind);
    event.extend_from_slice(&[1, 0, 0, 0]);
    event.extend_from_slice(&size.to_le_bytes());
    event.extend_from_slice(&[100, 0, 0, 0, 0, 0]);
    event.extend_from_slice(body);
    event
}

/// A whole file.
pub fn file(input: &[u8]) {
    let Ok(events) = file::events(input) else { return };
    let mut walk = Walk::new(Decoder::new());
    for event in events.flatten() {
        walk.event(event.bytes);
    }
}

/// Events without checksums: whose (a byte), then for each a byte of type, two of length, and the body.
pub fn event(input: &[u8]) {
    let Some((&whose, mut rest)) = input.split_first() else { return };
    let mut walk = Walk::begun(if whose & 1 == 0 { Flavor::MySql } else { Flavor::MariaDb });
    while let Some((&[kind, low, high], tail)) = rest.split_first_chunk::<3>() {
        let length = usize::from(u16::from_le_bytes([low, high])).min(tail.len());
        let (body, tail) = tail.split_at(length);
        walk.event(&event_of(kind, body));
        rest = tail;
    }
}

/// The bodies of the table maps of each recorded file, with whose they are.
fn maps() -> &'static [(Flavor, Vec<u8>)] {
    static MAPS: OnceLock<Vec<(Flavor, Vec<u8>)>> = OnceLock::new();
    MAPS.get_or_init(|| {
        let mut maps = Vec::new();
        for (index, image) in TABLES.iter().enumerate() {
            let flavor = if index == 2 { Flavor::MariaDb } else { Flavor::MySql };
            for event in file::events(image).into_iter().flatten().flatten() {
                if event.bytes.get(4) == Some(&event_type::TABLE_MAP)
                    && let Some(body) = event.bytes.get(19..event.bytes.len() - 4)
                    && !maps.iter().any(|(_, known): &(_, Vec<u8>)| known.get(6..) == body.get(6..))
                {
                    maps.push((flavor, body.to_vec()));
                }
            }
        }
        maps
    })
}

/// Rows of the recorded tables: a byte chooses the table, one the kind of event, the rest is its body behind the table
/// id.
pub fn rows(input: &[u8]) {
    use event_type as t;
    const KINDS: [u8; 7] = [
        t::WRITE_ROWS,
        t::UPDATE_ROWS,
        t::DELETE_ROWS,
        t::PARTIAL_UPDATE_ROWS,
        t::WRITE_ROWS_V1,
        t::UPDATE_ROWS_V1,
        t::DELETE_ROWS_V1,
    ];
    let Some((&[table, kind], rest)) = input.split_first_chunk::<2>() else { return };
    let maps = maps();
    let Some((flavor, map)) = maps.get(usize::from(table) % maps.len().max(1)) else { return };
    let kind = KINDS.get(usize::from(kind) % KINDS.len()).copied().unwrap_or(t::WRITE_ROWS);
    let mut walk = Walk::begun(*flavor);
    walk.event(&event_of(t::TABLE_MAP, map));
    let mut body = map.get(..6).unwrap_or_default().to_vec();
    body.extend_from_slice(rest);
    walk.event(&event_of(kind, &body));
}

/// The bytes of a compressed transaction: by the first byte taken as they are or as zstd.
pub fn payload(input: &[u8]) {
    let Some((&how, rest)) = input.split_first() else { return };
    let mut body = if how & 1 == 0 { vec![2, 3, 252, 255, 0, 0] } else { vec![2, 1, 0, 0] };
    body.extend_from_slice(rest);
    Walk::begun(Flavor::MySql).event(&event_of(event_type::TRANSACTION_PAYLOAD, &body));
}

/// A stored JSON document of as many bytes as the first two say, and changes of it.
pub fn json(input: &[u8]) {
    let Some((&length, rest)) = input.split_first_chunk::<2>() else { return };
    let (document, changes) = rest.split_at(usize::from(u16::from_le_bytes(length)).min(rest.len()));
    let update = JsonUpdate::new(changes);
    let (mut out, mut unchanged) = (Vec::new(), Vec::new());
    let applied = update.apply(document, &mut out);
    // A document that nothing changes is printed as it is, and members are no more than their bytes account for: escapes
    // make six of one.
    if JsonUpdate::new(&[]).apply(document, &mut unchanged).is_ok() {
        assert!(unchanged.len() <= 64 + document.len() * 32);
    }
    if applied.is_ok() {
        assert!(out.len() <= 64 + (document.len() + changes.len()) * 32);
    }
    let _ = update.write(&mut out);
    for change in update.changes().flatten() {
        let _ = change.write_value(&mut out);
    }
}

//! The whole way of an event's bytes, for the fuzz targets.
#![allow(dead_code)]

use lutra_binlog::{DecodeError, Decoder, Event, EventData, Inflater, Scratch, TableCache};

/// What a stream's reader keeps.
pub struct Walk {
    decoder: Decoder,
    tables: TableCache,
    scratch: Scratch,
}

impl Walk {
    pub fn new(decoder: Decoder) -> Self {
        Self { decoder, tables: TableCache::with_capacity(8), scratch: Scratch::new() }
    }

    pub fn event(&mut self, bytes: &[u8]) {
        let Ok(event) = self.decoder.decode(bytes) else { return };
        let decoder = self.decoder.clone();
        if let EventData::TransactionPayload(payload) = &event.data {
            let mut inflater = Inflater::new(1 << 20);
            let Ok(mut inner) = inflater.read(payload) else { return };
            while let Ok(Some(bytes)) = inner.next_event() {
                if let Ok(event) = decoder.decode_inner(&event.header, bytes) {
                    self.data(&event);
                }
            }
        }
        self.data(&event);
    }

    fn data(&mut self, event: &Event<'_>) {
        match &event.data {
            EventData::TableMap(map) => drop(self.tables.observe(map).err().map(|e| e.to_string())),
            EventData::Rows(event) => {
                let Ok(table) = self.tables.get(event) else { return };
                let Ok(mut rows) = table.rows(event, &mut self.scratch) else { return };
                while rows.next_image().is_some() {
                    if rows.decode_image(|_, _| Ok::<_, DecodeError>(())).is_err() {
                        break;
                    }
                }
            }
            _ => {}
        }
    }
}

/// An event with that body.
pub fn event(kind: u8, body: &[u8]) -> Vec<u8> {
    let size = u32::try_from(19 + body.len()).unwrap_or_default();
    let mut event = vec![0; 4];
    event.push(kind);
    event.extend_from_slice(&[1, 0, 0, 0]);
    event.extend_from_slice(&size.to_le_bytes());
    event.extend_from_slice(&[100, 0, 0, 0, 0, 0]);
    event.extend_from_slice(body);
    event
}

/// A decoder that has seen the format description of a server without checksums.
pub fn decoder_without_checksums() -> Decoder {
    let file = include_bytes!("../tests/fixtures/changes.2.binlog");
    let mut decoder = Decoder::new();
    if let Some(first) = lutra_binlog::file::events(file).ok().and_then(|mut events| events.next()).and_then(Result::ok) {
        let _ = decoder.decode(first.bytes);
    }
    decoder
}

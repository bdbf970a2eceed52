//! How fast one core decodes a binlog file that lies in memory: `decode_speed FILE [ROUNDS]`.
#![allow(clippy::print_stdout)]

use std::hint::black_box;
use std::time::Instant;

use lutra_binlog::{DecodeError, Decoder, Event, EventData, Inflater, Scratch, TableCache};

#[derive(Default)]
struct Counts {
    events: u64,
    rows: u64,
    bytes: u64,
}

struct State {
    tables: TableCache,
    scratch: Scratch,
    counts: Counts,
}

impl State {
    fn event(&mut self, event: &Event<'_>) -> Result<(), DecodeError> {
        self.counts.events += 1;
        match &event.data {
            EventData::TableMap(map) => {
                self.tables.observe(map)?;
            }
            EventData::Rows(event) => {
                let table = self.tables.get(event)?;
                let mut rows = table.rows(event, &mut self.scratch)?;
                while rows.next_image().is_some() {
                    self.counts.rows += 1;
                    rows.decode_image(|column, value| {
                        black_box((column, value));
                        Ok::<_, DecodeError>(())
                    })?;
                }
            }
            other => {
                black_box(other);
            }
        }
        Ok(())
    }
}

fn decode(file: &[u8]) -> Result<Counts, DecodeError> {
    let mut state = State { tables: TableCache::new(), scratch: Scratch::new(), counts: Counts::default() };
    let (mut decoder, mut inflater) = (Decoder::new(), Inflater::new(1 << 30));
    for bytes in lutra_binlog::file::events(file)? {
        let event = decoder.decode(bytes?.bytes)?;
        state.event(&event)?;
        if let EventData::TransactionPayload(payload) = &event.data {
            let mut inner = inflater.read(payload)?;
            while let Some(bytes) = inner.next_event()? {
                state.event(&decoder.decode_inner(&event.header, bytes)?)?;
                state.counts.bytes += bytes.len() as u64;
            }
        } else {
            state.counts.bytes += u64::from(event.header.event_size);
        }
    }
    Ok(state.counts)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: decode_speed FILE [ROUNDS]")?;
    let rounds: u32 = arguments.next().map_or(Ok(5), |r| r.parse())?;
    let file = std::fs::read(path)?;
    for _ in 0..rounds {
        let start = Instant::now();
        let counts = decode(&file)?;
        let seconds = start.elapsed().as_secs_f64();
        println!(
            "{:.0} MiB/s, {:.2} M events/s, {:.2} M images/s ({} events, {} images, {} MiB of events)",
            counts.bytes as f64 / seconds / f64::from(1 << 20),
            counts.events as f64 / seconds / 1e6,
            counts.rows as f64 / seconds / 1e6,
            counts.events,
            counts.rows,
            counts.bytes >> 20,
        );
    }
    Ok(())
}

//! Events as servers write them that no test runs on, put together byte by byte from their documented layout.
#![allow(clippy::unwrap_used)]

mod common;

use common::text;
use lutra_binlog::{DecodeError, Decoder, EventData, RowDecoder, Scratch};

/// Sizes of the fixed parts of events, by type from 1, as a 5.7 server writes them.
const MYSQL_5_7: [u8; 38] = [
    56, 13, 0, 8, 0, 18, 0, 4, 4, 4, 4, 18, 0, 0, 95, 0, 4, 26, 8, 0, 0, 0, 8, 8, 8, 2, 0, 0, 0, 10, 10, 10, 42, 42, 0,
    18, 52, 0,
];
const MYSQL_5_6: [u8; 35] = [
    56, 13, 0, 8, 0, 18, 0, 4, 4, 4, 4, 18, 0, 0, 92, 0, 4, 26, 8, 0, 0, 0, 8, 8, 8, 2, 0, 0, 0, 10, 10, 10, 25, 25, 0,
];

/// As MariaDB 11 and 12 write them: those of MySQL, nothing for a long while, then its own from 160 on.
fn mariadb_layout() -> Vec<u8> {
    let mut layout = vec![0; 171];
    layout[..33].copy_from_slice(&[
        56, 13, 0, 8, 0, 18, 0, 4, 4, 4, 4, 18, 0, 0, 228, 0, 4, 26, 8, 0, 0, 0, 8, 8, 8, 2, 0, 0, 0, 10, 10, 10, 0,
    ]);
    layout[38..41].copy_from_slice(&[10, 10, 10]);
    layout[160..171].copy_from_slice(&[4, 19, 4, 0, 13, 8, 8, 8, 10, 10, 10]);
    layout
}

/// A file in the making.
struct File {
    bytes: Vec<u8>,
    checksums: bool,
}

impl File {
    fn new(version: &str, layout: &[u8], checksums: bool) -> Self {
        let mut file = Self { bytes: b"\xfebin".to_vec(), checksums };
        let mut body = vec![4, 0];
        body.extend(version.as_bytes());
        body.resize(52, 0);
        body.extend([0; 4]);
        body.push(19);
        body.extend(layout);
        body.push(u8::from(checksums));
        // The format description has a checksum whatever the file has.
        file.checksums = true;
        file.event(15, 0, &body);
        file.checksums = checksums;
        file
    }

    fn event(&mut self, kind: u8, flags: u16, body: &[u8]) {
        self.event_at(kind, flags, body, None);
    }

    /// With another end position than its own: 0 where the server says none.
    fn event_at(&mut self, kind: u8, flags: u16, body: &[u8], end: Option<u32>) {
        let size = 19 + body.len() + if self.checksums { 4 } else { 0 };
        let end = end.unwrap_or(u32::try_from(self.bytes.len() + size).unwrap());
        let mut event = Vec::new();
        event.extend(1_700_000_000_u32.to_le_bytes());
        event.push(kind);
        event.extend(7_u32.to_le_bytes());
        event.extend(u32::try_from(size).unwrap().to_le_bytes());
        event.extend(end.to_le_bytes());
        event.extend(flags.to_le_bytes());
        event.extend(body);
        if self.checksums {
            let sum = crc32fast::hash(&event);
            event.extend(sum.to_le_bytes());
        }
        self.bytes.extend(event);
    }

    fn query(&mut self, status: &[u8], text: &str) {
        let mut body = vec![9, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0];
        body.extend(u16::try_from(status.len()).unwrap().to_le_bytes());
        body.extend(status);
        body.extend(b"d\0");
        body.extend(text.as_bytes());
        self.event(2, 8, &body);
    }
}

/// What a file says, one line per event that says something.
fn told(file: &[u8]) -> Vec<String> {
    let (mut decoder, mut scratch, mut lines) = (Decoder::new(), Scratch::new(), Vec::new());
    let mut table = None;
    for event in lutra_binlog::file::events(file).unwrap() {
        let event = decoder.decode(event.unwrap().bytes).unwrap();
        lines.push(match &event.data {
            EventData::Query(query) => String::from_utf8_lossy(query.statement).into_owned(),
            EventData::Gtid(gtid) => {
                format!("gtid {}", gtid.gtid.as_ref().map_or("none".to_owned(), ToString::to_string))
            }
            EventData::Xid(xid) => format!("xid {xid}"),
            EventData::Ignorable => "nothing".to_owned(),
            EventData::TableMap(map) => {
                table = Some(RowDecoder::plan_bare(map).unwrap());
                continue;
            }
            EventData::Rows(rows) => {
                let table = table.as_ref().unwrap();
                let mut images = table.rows(rows, &mut scratch).unwrap();
                let mut values = Vec::new();
                while images.next_image().is_some() {
                    images
                        .decode_image(|_, value| {
                            values.push(text(value));
                            Ok::<_, DecodeError>(())
                        })
                        .unwrap();
                }
                format!("{}: {}", table.schema().name, values.join(","))
            }
            _ => continue,
        });
    }
    lines
}

const SID: [u8; 16] = [0x11; 16];

/// Table 215, `d.t`: INT, VARCHAR(20), and a column each of the times of old servers (TIMESTAMP, TIME, DATETIME) and of new
/// ones with three digits of a second.
fn old_and_new_times() -> Vec<u8> {
    let mut map = vec![215, 0, 0, 0, 0, 0, 1, 0, 1, b'd', 0, 1, b't', 0];
    let types = [3, 15, 7, 11, 12, 17, 19, 18];
    map.push(u8::try_from(types.len()).unwrap());
    map.extend(types);
    map.extend([5, 20, 0, 3, 3, 3]);
    map.push(0xff);
    map
}

fn a_row_of_times() -> Vec<u8> {
    let mut row = vec![215, 0, 0, 0, 0, 0, 1, 0, 2, 0, 8, 0xff, 0x00];
    row.extend(5_i32.to_le_bytes());
    row.extend(b"\x02ab");
    // Seconds; hhmmss in three bytes; yyyymmddhhmmss in eight.
    row.extend(1_000_000_000_u32.to_le_bytes());
    row.extend(&123_456_u32.to_le_bytes()[..3]);
    row.extend(20_240_229_010_203_u64.to_le_bytes());
    // The new ones, big-endian: seconds, and 123 milliseconds in two bytes of ten-thousandths.
    row.extend(1_000_000_000_u32.to_be_bytes());
    row.extend(1_230_u16.to_be_bytes());
    let time = 0x0080_0000_u32 | 12 << 12 | 34 << 6 | 56;
    row.extend(&time.to_be_bytes()[1..]);
    row.extend(1_230_u16.to_be_bytes());
    let (day, clock) = (((2024_u64 * 13 + 2) << 5 | 29) << 17, 1_u64 << 12 | 2 << 6 | 3);
    row.extend(&(0x80_0000_0000 | day | clock).to_be_bytes()[3..]);
    row.extend(1_230_u16.to_be_bytes());
    row
}

#[test]
fn a_file_of_mysql_5_7_is_read_with_times_of_either_kind() {
    for (version, layout, checksums) in
        [("5.7.44-log", &MYSQL_5_7[..], true), ("5.7.20", &MYSQL_5_7, false), ("5.6.51-log", &MYSQL_5_6, true)]
    {
        let mut file = File::new(version, layout, checksums);
        // No GTIDs before; then one, with the logical clock that came with 5.7.
        file.event(35, 0x80, &[0; 8]);
        let mut gtid = vec![1];
        gtid.extend(SID);
        gtid.extend(3_u64.to_le_bytes());
        if layout.len() > 35 {
            gtid.push(2);
            gtid.extend(2_u64.to_le_bytes());
            gtid.extend(3_u64.to_le_bytes());
        }
        file.event(33, 0, &gtid);
        // sql_mode, catalogue, character sets: the status variables of these servers.
        let status =
            [&[0, 0, 0, 0, 0, 1, 0, 0, 0, 0x40, 0, 0, 0, 0][..], b"\x06\x03std", &[4, 33, 0, 33, 0, 8, 0]].concat();
        file.query(&status, "BEGIN");
        file.event(19, 0, &old_and_new_times());
        file.event(30, 0, &a_row_of_times());
        file.event(16, 0, &9_u64.to_le_bytes());
        let told = told(&file.bytes);
        assert_eq!(
            told[..2],
            ["gtid 11111111-1111-1111-1111-111111111111:3".to_owned(), "BEGIN".to_owned()],
            "{version}"
        );
        let row = "5,6162,1000000000000000,12:34:56,2024-02-29 01:02:03,1000000000123000,12:34:56.123,2024-02-29 01:02:03.123";
        assert_eq!(told[2..], [format!("d.t: {row}"), "xid 9".to_owned()], "{version}");
    }
}

#[test]
fn a_file_of_mariadb_11_or_12_is_read_with_positions_that_are_not_told() {
    for version in ["11.8.5-MariaDB-log", "12.3.1-MariaDB"] {
        let mut file = File::new(version, &mariadb_layout(), true);
        // The GTID list: 0-7-41. A checkpoint.
        file.event(163, 0, &[&1_u32.to_le_bytes()[..], &[0; 4], &7_u32.to_le_bytes(), &41_u64.to_le_bytes()].concat());
        file.event(161, 0, &[&13_u32.to_le_bytes()[..], b"binlog.000001"].concat());
        // 0-7-42, transactional. From 11.4 on events inside a transaction may bear no end position.
        file.event(162, 8, &[&42_u64.to_le_bytes()[..], &[0; 4], &[0x0c], &[0; 6]].concat());
        file.event_at(160, 0, b"INSERT INTO t VALUES (1)", Some(0));
        let mut map = vec![215, 0, 0, 0, 0, 0, 1, 0, 1, b'd', 0, 1, b't', 0, 2, 3, 252, 1, 3, 0x03];
        // FULL metadata: no signs for numbers but one, the columns' names.
        map.extend([1, 1, 0, 4, 4, 1, b'a', 1, b'b']);
        file.event_at(19, 0, &map, Some(0));
        let rows = vec![215, 0, 0, 0, 0, 0, 1, 0, 2, 0x03, 0x00, 1, 0, 0, 0, 2, 0, 0, b'x', b'y'];
        // Version 1 of the rows event, as MariaDB writes it.
        file.event_at(23, 0, &rows, Some(0));
        file.event(16, 0, &9_u64.to_le_bytes());
        let told = told(&file.bytes);
        assert!(
            told.iter().any(|line| line.starts_with("d.t: 1,")) && told.last().unwrap() == "xid 9",
            "{version}: {told:?}"
        );
    }
}

#[test]
fn what_amazon_adds_to_a_log_is_passed_over() {
    // Aurora pads its files with events of types of its own, marked as ignorable.
    let mut file = File::new("5.7.12-log", &MYSQL_5_7, true);
    for kind in [100, 101] {
        file.event(kind, 0x80, &[0; 200]);
    }
    // RDS writes the beat of its heart as a statement.
    file.query(
        &[],
        "INSERT INTO mysql.rds_heartbeat2(id, value) values (1,1700000000000) ON DUPLICATE KEY UPDATE value = 1700000000000",
    );
    let told = told(&file.bytes);
    assert_eq!(told.len(), 3);
    assert_eq!(told[..2], ["nothing", "nothing"]);
    // Without the mark such a type is refused, not guessed at.
    let mut file = File::new("5.7.12-log", &MYSQL_5_7, true);
    file.event(100, 0, &[0; 200]);
    let mut decoder = Decoder::new();
    let ended: Result<Vec<()>, _> = lutra_binlog::file::events(&file.bytes)
        .unwrap()
        .map(|event| decoder.decode(event.unwrap().bytes).map(drop))
        .collect();
    assert!(ended.unwrap_err().to_string().contains("type 100"));
}

//! The hand-written codec against `apache-avro`, both ways, over random records, tables and rows.
#![allow(clippy::unwrap_used)]

use apache_avro::Schema;
use apache_avro::rabin::Rabin;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value as Avro;
use apache_avro::writer::datum::GenericDatumWriter;
use bytes::Bytes;
use lutra_change::*;
use lutra_wire::codec::{LOG_RECORD_FINGERPRINT, LOG_RECORD_SCHEMA};
use lutra_wire::*;
use proptest::prelude::*;
use uuid::Uuid;

fn schema() -> Schema {
    Schema::parse_str(LOG_RECORD_SCHEMA).unwrap()
}

#[test]
fn the_fingerprint_is_that_of_the_schema_file() {
    let fingerprint = schema().fingerprint::<Rabin>().bytes;
    assert_eq!(
        u64::from_le_bytes(fingerprint.try_into().unwrap()),
        LOG_RECORD_FINGERPRINT,
        "schemas/log_record.avsc was changed: freeze the old one"
    );
}

fn read(schema: &Schema, datum: &[u8]) -> Avro {
    let mut rest = datum;
    let value = GenericDatumReader::builder(schema).build().unwrap().read_value(&mut rest).unwrap();
    assert!(rest.is_empty(), "{} bytes left", rest.len());
    value
}

fn write(schema: &Schema, value: Avro) -> Vec<u8> {
    GenericDatumWriter::builder(schema).build().unwrap().write_value_to_vec(value).unwrap()
}

fn numbers() -> impl Strategy<Value = Number> {
    (0u64..1 << 40, 0u64..300).prop_map(|(a, b)| Number::new(a, b))
}

fn epochs() -> impl Strategy<Value = Epoch> {
    (0u64..1 << 50, 0u32..1 << 20).prop_map(|(a, b)| Epoch::new(a, b))
}

fn uuids() -> impl Strategy<Value = Uuid> {
    any::<u128>().prop_map(Uuid::from_u128)
}

fn sources() -> impl Strategy<Value = SourceState> {
    let open = (
        "X'[0-9a-f]{0,9}',X'',1",
        prop::option::of(numbers()),
        prop::option::of((uuids(), any::<i64>(), epochs(), numbers())),
        any::<bool>(),
    )
        .prop_map(|(xid, number, place, decided)| OpenXa {
            xid,
            number,
            place: place.map(|(u, next_offset, epoch, number)| Cursor { log_id: LogId(u), next_offset, epoch, number }),
            decided,
        });
    let gtids = prop::option::of((uuids(), 1u64..1 << 40));
    let open = prop::collection::vec(open, 0..3);
    let definitions = prop::option::of(any::<[u8; 16]>().prop_map(Fingerprint));
    (uuids(), "[a-z.0-9]{0,20}", 0u64..1 << 45, gtids, any::<bool>(), 1u64..1000, open, definitions).prop_map(
        |(server_uuid, file, offset, gtid, whole, n, open_xa, definitions)| {
            let mut set = GtidSet::new();
            set.insert(&Gtid::new(server_uuid, n));
            SourceState {
                server_uuid,
                position: BinlogPosition::new(file, offset),
                gtid: gtid.map(|(u, n)| Gtid::new(u, n)),
                gtid_set: if whole { GtidState::Whole(set) } else { GtidState::Added(set) },
                open_xa,
                definitions,
            }
        },
    )
}

fn headers() -> impl Strategy<Value = Header> {
    let ends = prop_oneof![Just(PartEnd::More), Just(PartEnd::Commit), Just(PartEnd::Abort)];
    let cursors = (uuids(), any::<i64>(), epochs(), numbers()).prop_map(|(u, next_offset, epoch, number)| Cursor {
        log_id: LogId(u),
        next_offset,
        epoch,
        number,
    });
    let totals = (0u64..1 << 40, 0u64..1 << 60, any::<u32>()).prop_map(|(rows, bytes, crc32c)| UnitTotals {
        rows,
        bytes,
        crc32c,
    });
    (
        (uuids(), epochs(), numbers(), numbers(), 0u32..1 << 31, ends),
        (prop::option::of(sources()), any::<i64>(), any::<i64>()),
        (prop::option::of(cursors), prop::collection::vec("[a-z]{1,8}", 0..3), prop::option::of(totals)),
    )
        .prop_map(
            |((u, epoch, number, previous, part, end), (source, committed_at, read_at), (input, origins, totals))| {
                Header {
                    log_id: LogId(u),
                    epoch,
                    number,
                    previous,
                    part,
                    end,
                    source,
                    committed_at,
                    read_at,
                    input,
                    origins,
                    totals,
                }
            },
        )
}

fn contexts() -> impl Strategy<Value = SessionContext> {
    (
        prop::option::of(any::<u64>()),
        prop::option::of(any::<u16>()),
        prop::option::of("[A-Z/]{0,9}"),
        any::<bool>(),
        prop::option::of(any::<bool>()),
        prop::option::of(any::<(u16, u16)>()),
    )
        .prop_map(|(sql_mode, id, time_zone, flag, switch, auto_increment)| SessionContext {
            sql_mode,
            character_set_client: id,
            collation_database: id,
            time_zone,
            no_foreign_key_checks: flag,
            sql_auto_is_null: !flag,
            explicit_defaults_for_timestamp: switch,
            auto_increment,
            timestamp_micros: sql_mode.map(|m| m as i64),
            ..SessionContext::default()
        })
}

fn rows() -> impl Strategy<Value = RowChange> {
    let images = || prop::option::of(prop::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from));
    let columns = || {
        prop::option::of(prop::collection::vec(0usize..100, 0..5).prop_map(|c| c.into_iter().collect::<ColumnSet>()))
    };
    let operations =
        prop_oneof![Just(Operation::Insert), Just(Operation::Update), Just(Operation::Delete), Just(Operation::Read)];
    (0u32..2, operations, any::<u16>(), images(), images(), columns(), columns()).prop_map(
        |(table, operation, flags, before, after, before_columns, after_columns)| RowChange {
            table,
            operation,
            flags: RowFlags(flags),
            before,
            after,
            before_columns,
            after_columns,
        },
    )
}

fn changes() -> impl Strategy<Value = Changes> {
    (prop::option::of(contexts()), any::<[u8; 16]>(), prop::collection::vec(rows(), 0..5)).prop_map(
        |(context, f, rows)| Changes {
            context,
            tables: vec![
                TableRef { fingerprint: Fingerprint(f), name: TableName::new("shop", "a") },
                TableRef { fingerprint: Fingerprint(f), name: TableName::new("sh\u{2603}p", "b`") },
            ],
            rows,
        },
    )
}

fn ddls() -> impl Strategy<Value = Ddl> {
    let kinds = prop_oneof![
        Just(DdlKind::CreateDatabase),
        Just(DdlKind::TruncateTable),
        Just(DdlKind::Other),
        Just(DdlKind::RenameTable)
    ];
    (prop::collection::vec(any::<u8>(), 0..60), kinds, 0usize..3, contexts()).prop_map(
        |(text, kind, tables, context)| Ddl {
            statement: text.into(),
            database: "shop".into(),
            kind,
            tables: (0..tables).map(|n| TableName::new("d", n.to_string())).collect(),
            context,
        },
    )
}

fn bodies() -> impl Strategy<Value = (RawBody, String)> {
    let shown = |b: RawBody| {
        let text = format!("{:?}", b.decode().unwrap());
        (b, text)
    };
    prop_oneof![
        changes().prop_map(move |c| (RawBody::changes(&c), format!("{:?}", Body::Changes(c)))),
        ddls().prop_map(|d| (RawBody::ddl(&d), format!("{:?}", Body::Ddl(d)))),
        (any::<i64>(), any::<i64>())
            .prop_map(move |(at, clock_offset)| shown(RawBody::heartbeat(&Heartbeat { at, clock_offset }))),
        ("[a-z]{0,9}", 0u64..1 << 40).prop_map(move |(cluster, rules_version)| shown(RawBody::epoch_start(
            &EpochStart { cluster, rules_version }
        ))),
        (uuids(), changes()).prop_map(move |(id, changes)| shown(RawBody::chunk(&Chunk {
            id,
            addressee: "p".into(),
            step: Bytes::from_static(b"{}"),
            changes
        }))),
        (any::<[u8; 5]>(), changes()).prop_map(move |(x, changes)| shown(RawBody::xa_prepare(&XaPrepare {
            xid: Bytes::copy_from_slice(&x),
            changes
        }))),
        (changes(), 1usize..50).prop_map(move |(c, size)| shown(RawBody::changes(&c).fragments(size).next().unwrap())),
        (any::<[u8; 5]>(), any::<bool>()).prop_map(move |(x, commit)| shown(RawBody::xa_decision(&XaDecision {
            xid: Bytes::copy_from_slice(&x),
            commit
        }))),
    ]
}

proptest! {
    #[test]
    fn records_survive_and_the_oracle_agrees(header in headers(), (body, shown) in bodies()) {
        let mut bytes = Vec::new();
        encode_record(&header, &body, &mut bytes);
        let record = Record::decode(&Bytes::from(bytes.clone())).unwrap();
        prop_assert_eq!(&record.header, &header);
        prop_assert_eq!(format!("{:?}", record.body.decode().unwrap()), shown);
        // the oracle reads what we wrote, and writes what we read
        let schema = schema();
        let value = read(&schema, &bytes[10..]);
        let again = write(&schema, value);
        prop_assert_eq!(&again, &bytes[10..]);
        let mut theirs = bytes[..10].to_vec();
        theirs.extend_from_slice(&again);
        let record = Record::decode(&Bytes::from(theirs)).unwrap();
        prop_assert_eq!(record.header, header);
        prop_assert_eq!(format!("{:?}", record.body.decode().unwrap()), format!("{:?}", body.decode().unwrap()));
    }

    #[test]
    fn broken_records_are_errors_and_never_panics(header in headers(), (body, _) in bodies(), cut in any::<prop::sample::Index>(), flip in any::<(prop::sample::Index, u8)>()) {
        let mut bytes = Vec::new();
        encode_record(&header, &body, &mut bytes);
        let look = |b: Vec<u8>| Record::decode(&Bytes::from(b)).and_then(|r| { let _ = r.body.tables(); r.body.decode() }).is_err();
        prop_assert!(look(bytes[..cut.index(bytes.len())].to_vec()));
        let at = flip.0.index(bytes.len());
        bytes[at] ^= flip.1;
        let _ = look(bytes);
    }
}

/// One random column type with a random value of it.
fn cells() -> impl Strategy<Value = (ColumnType, Cell)> {
    use ColumnType as T;
    let text =
        |t: T, s: &'static str| prop::string::string_regex(s).unwrap().prop_map(move |v| (t.clone(), Cell::Text(v)));
    prop_oneof![
        any::<i64>().prop_map(|n| (T::BigInt { unsigned: false }, Cell::Int(n))),
        any::<i32>().prop_map(|n| (T::Int { unsigned: false }, Cell::Int(n.into()))),
        any::<u32>().prop_map(|n| (T::Int { unsigned: true }, Cell::UInt(n.into()))),
        prop_oneof![any::<u64>(), Just(u64::MAX), Just(0), Just(127), Just(128), Just(1 << 63)]
            .prop_map(|n| (T::BigInt { unsigned: true }, Cell::UInt(n))),
        (1901i64..2155).prop_map(|n| (T::Year, Cell::Int(n))),
        any::<u32>().prop_map(|x| (T::Float, Cell::Float(f32::from_bits(x)))),
        any::<u64>().prop_map(|x| (T::Double, Cell::Double(f64::from_bits(x)))),
        text(T::Decimal { precision: 65, scale: 30 }, "-?[0-9]{1,35}\\.[0-9]{30}"),
        text(T::Date, "[0-9]{4}-[0-9]{2}-[0-9]{2}"),
        text(T::Time { fsp: 6 }, "-?[0-9]{2,3}:[0-9]{2}:[0-9]{2}\\.[0-9]{6}"),
        text(T::DateTime { fsp: 0 }, "[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}"),
        text(T::Json, "\\{\"[a-z\u{e9}]*\": [0-9]+\\}"),
        any::<i64>().prop_map(|n| (T::Timestamp { fsp: 6 }, Cell::Timestamp(n))),
        any::<u16>().prop_map(|n| (T::Enum { labels: vec!["a".into(), "b,c".into()], collation: 255 }, Cell::Enum(n))),
        (1usize..=64, any::<u64>()).prop_map(|(n, s)| {
            let labels = (0..n).map(|i| i.to_string()).collect();
            (T::Set { labels, collation: 8 }, Cell::Set(if n == 64 { s } else { s & ((1 << n) - 1) }))
        }),
        prop::collection::vec(any::<u8>(), 0..50)
            .prop_map(|b| (T::VarChar { bytes: 200, collation: 28 }, Cell::Bytes(b))),
        prop::collection::vec(any::<u8>(), 8).prop_map(|b| (T::Bit { length: 64 }, Cell::Bit(b))),
        Just((T::Geometry { kind: 1 }, Cell::Null)),
    ]
}

#[derive(Clone, Debug)]
enum Cell {
    Null,
    Int(i64),
    UInt(u64),
    Float(f32),
    Double(f64),
    Text(String),
    Timestamp(i64),
    Enum(u16),
    Set(u64),
    Bytes(Vec<u8>),
    Bit(Vec<u8>),
}

fn value<'a>(column: &ColumnType, cell: &'a Cell) -> Value<'a> {
    match (column, cell) {
        (_, Cell::Null) => Value::Null,
        (_, Cell::Int(n)) => Value::Int(*n),
        (_, Cell::UInt(n)) => Value::UInt(*n),
        (_, Cell::Float(x)) => Value::Float(*x),
        (_, Cell::Double(x)) => Value::Double(*x),
        (ColumnType::Decimal { .. }, Cell::Text(t)) => Value::Decimal(t),
        (ColumnType::Date, Cell::Text(t)) => Value::Date(t),
        (ColumnType::Time { .. }, Cell::Text(t)) => Value::Time(t),
        (ColumnType::DateTime { .. }, Cell::Text(t)) => Value::DateTime(t),
        (_, Cell::Text(t)) => Value::Json(t),
        (_, Cell::Timestamp(n)) => Value::Timestamp(*n),
        (_, Cell::Enum(n)) => Value::Enum(*n),
        (_, Cell::Set(n)) => Value::Set(*n),
        (_, Cell::Bytes(b)) => Value::Bytes(b),
        (_, Cell::Bit(b)) => Value::Bit(b),
    }
}

fn tables() -> impl Strategy<Value = (TableSchema, Vec<Cell>)> {
    prop::collection::vec((cells(), any::<bool>(), any::<bool>(), "[a-z0-9 \u{fc}.`]{1,6}"), 1..12).prop_map(
        |columns| {
            let (columns, cells): (Vec<_>, Vec<_>) = columns
                .into_iter()
                .enumerate()
                .map(|(i, ((column_type, cell), nullable, null, name))| {
                    (
                        Column { name: format!("{name}{i}"), column_type, nullable, invisible: null },
                        if null { Cell::Null } else { cell },
                    )
                })
                .unzip();
            let primary_key = vec![KeyPart { column: 0, prefix: (cells.len() > 3).then_some(7) }];
            (TableSchema { name: TableName::new("d`b", "t.1"), columns, primary_key }, cells)
        },
    )
}

fn same(a: &Value<'_>, b: &Value<'_>) -> bool {
    match (a, b) {
        (Value::Float(x), Value::Float(y)) => x.to_bits() == y.to_bits(),
        (Value::Double(x), Value::Double(y)) => x.to_bits() == y.to_bits(),
        _ => a == b,
    }
}

proptest! {
    #[test]
    fn rows_survive_and_the_oracle_agrees((table, cells) in tables()) {
        let schema = RowSchema::from_table(&table).unwrap();
        prop_assert_eq!(&*RowSchema::parse(schema.json()).unwrap().table().clone(), &table);
        let (encoder, decoder) = (RowEncoder::new(&schema), RowDecoder::new(&schema));
        let mut datum = Vec::new();
        let values: Vec<Value<'_>> = table.columns.iter().zip(&cells).map(|(c, cell)| value(&c.column_type, cell)).collect();
        for (i, v) in values.iter().enumerate() {
            encoder.write(i, *v, &mut datum).unwrap();
        }
        let mut read_back = Vec::new();
        decoder.decode_into(&datum, &mut read_back).unwrap();
        prop_assert!(values.iter().zip(&read_back).all(|(a, b)| same(a, b)), "{values:?} {read_back:?}");
        let avro = Schema::parse_str(schema.json()).unwrap();
        let theirs = read(&avro, &datum);
        let again = write(&avro, theirs);
        prop_assert_eq!(&again, &datum);
        let mut their_values = Vec::new();
        decoder.decode_into(&again, &mut their_values).unwrap();
        prop_assert!(values.iter().zip(&their_values).all(|(a, b)| same(a, b)), "{values:?} {their_values:?}");
        let mut slices = Vec::new();
        decoder.slices(&datum, &mut slices).unwrap();
        prop_assert_eq!(slices.concat(), datum);
    }

    #[test]
    fn broken_rows_are_errors_and_never_panics((table, cells) in tables(), cut in any::<prop::sample::Index>(), noise in prop::collection::vec(any::<u8>(), 0..60)) {
        let schema = RowSchema::from_table(&table).unwrap();
        let (encoder, decoder) = (RowEncoder::new(&schema), RowDecoder::new(&schema));
        let mut datum = Vec::new();
        for (i, (c, cell)) in table.columns.iter().zip(&cells).enumerate() {
            encoder.write(i, value(&c.column_type, cell), &mut datum).unwrap();
        }
        prop_assert!(decoder.decode(&datum[..cut.index(datum.len())], |_, _| ()).is_err());
        let _ = decoder.decode(&noise, |_, _| ());
    }
}

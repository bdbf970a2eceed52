//! How fast a backlog in memory goes into a real server, Kafka left out:
//! `LUTRA_TARGET_URL=mysql://… cargo test --release -p lutra-loader --test drain -- --ignored --nocapture`.
//! `LUTRA_DRAIN="transactions,rows per table,connections,batch rows"` changes the size.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

mod common;

use std::fmt::Write as _;
use std::time::Instant;

use common::{Change, LoadSettings, Source, Table, forget, fresh, int, rows, start, typed};
use lutra_change::{ColumnType, RowFlags, Value};

const TABLES: usize = 8;

struct Row {
    k: i64,
    c: String,
}

/// A small generator: the same workload each time.
struct Lots(u64);

impl Lots {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((self.0 >> 33) % u64::try_from(n).unwrap()).unwrap()
    }

    fn text(&mut self) -> String {
        let mut text = String::new();
        for _ in 0..10 {
            let _ = write!(text, "{:011}-", self.below(1 << 30));
        }
        text.truncate(119);
        text
    }
}

const PAD: &[u8] = b"67847967377-48000963322-62604785301-91415491898-96926520291";

fn image<'a>(id: usize, row: &'a Row) -> Option<Vec<Value<'a>>> {
    Some(vec![
        Value::Int(i64::try_from(id).unwrap()),
        Value::Int(row.k),
        Value::Bytes(row.c.as_bytes()),
        Value::Bytes(PAD),
    ])
}

/// Workload W1: two inserts, six updates (three of the indexed column), two deletes.
async fn transaction(source: &mut Source, tables: &[Table], state: &mut [Vec<Row>], lots: &mut Lots) {
    let mut changed: Vec<(usize, usize, Option<Row>, Option<Row>)> = Vec::new();
    for n in 0..6 {
        let (t, id) = (lots.below(TABLES), lots.below(state[0].len()));
        let old = &state[t][id];
        let new = if n % 2 == 0 { Row { k: old.k + 1, c: old.c.clone() } } else { Row { k: old.k, c: lots.text() } };
        changed.push((
            t,
            id,
            Some(std::mem::replace(&mut state[t][id], Row { k: new.k, c: new.c.clone() })),
            Some(new),
        ));
    }
    for _ in 0..2 {
        let (t, id) = (lots.below(TABLES), lots.below(state[0].len()));
        let new = Row { k: i64::try_from(lots.below(state[0].len())).unwrap(), c: lots.text() };
        let old = std::mem::replace(&mut state[t][id], Row { k: new.k, c: new.c.clone() });
        changed.push((t, id, Some(old), None));
        changed.push((t, id, None, Some(new)));
    }
    let changes: Vec<Change<'_>> = changed
        .iter()
        .map(|(t, id, old, new)| {
            (&tables[*t], old.as_ref().and_then(|r| image(*id, r)), new.as_ref().and_then(|r| image(*id, r)))
        })
        .collect();
    source.transaction(&changes).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn drain() {
    let size = std::env::var("LUTRA_DRAIN").unwrap_or_else(|_| "20000,20000,4,1000".to_owned());
    let size: Vec<usize> = size.split(',').map(|n| n.parse().unwrap()).collect();
    let (transactions, per_table) = (size[0], size[1]);
    let mut c = fresh("ld_drain").await;
    forget(&mut c, "ld-drain").await;
    let mut source = Source::new().await;
    source.set_flags(RowFlags::SQL_FOREIGN_KEY);
    let char_of = |bytes| ColumnType::Char { bytes, collation: 255 };
    let (mut tables, mut state, mut lots) = (Vec::new(), Vec::new(), Lots(7));
    for n in 0..TABLES {
        c.execute(format!(
            "CREATE TABLE sbtest{n} (id INT NOT NULL PRIMARY KEY, k INT NOT NULL, c CHAR(120) NOT NULL, pad CHAR(60) NOT NULL, KEY (k))"
        ))
        .await
        .unwrap();
        let columns = vec![int("id"), int("k"), typed("c", char_of(480)), typed("pad", char_of(240))];
        tables.push(source.table("ld_drain", &format!("sbtest{n}"), columns, &[0]));
        state.push((0..per_table).map(|k| Row { k: i64::try_from(k).unwrap(), c: lots.text() }).collect::<Vec<_>>());
        for first in (0..per_table).step_by(500) {
            let ids: Vec<usize> = (first..(first + 500).min(per_table)).collect();
            let changes: Vec<Change<'_>> = ids.iter().map(|&id| (&tables[n], None, image(id, &state[n][id]))).collect();
            source.transaction(&changes).await;
        }
    }
    source.flush().await;
    let mut settings = LoadSettings::new("ld-drain", 1);
    (settings.connections, settings.rows) = (u16::try_from(size[2]).unwrap(), size[3]);
    let mut load = start(&source, settings).await;
    load.reach(&source.gtid_set.clone()).await;
    load.stop().await;

    for _ in 0..transactions {
        transaction(&mut source, &tables, &mut state, &mut lots).await;
    }
    source.flush().await;
    let mut settings = LoadSettings::new("ld-drain", 2);
    (settings.connections, settings.rows) = (u16::try_from(size[2]).unwrap(), size[3]);
    let begun = Instant::now();
    let mut load = start(&source, settings).await;
    load.reach(&source.gtid_set.clone()).await;
    let took = begun.elapsed().as_secs_f64();
    let progress = load.progress.borrow().clone();
    load.stop().await;
    #[allow(clippy::cast_precision_loss)]
    let rate = progress.rows_applied as f64 / took;
    println!(
        "{size:?}: {} rows in {took:.2} s = {rate:.0} rows/s; {} batches, {} reruns",
        progress.rows_applied, progress.batches_committed, progress.reruns
    );
    for (n, table) in state.iter().enumerate() {
        let expected: i64 = table.iter().map(|r| r.k).sum();
        let sum = rows(&mut c, &format!("SELECT COUNT(*), SUM(k), SUM(CRC32(c)) FROM sbtest{n}")).await;
        assert!(sum[0].starts_with(&format!("{per_table},{expected},")), "{sum:?}");
    }
}

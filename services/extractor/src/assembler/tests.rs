#![allow(clippy::unwrap_used)]
//! On binlog files that a real server wrote (see the binlog crate's fixtures).

use std::sync::Arc;

use lutra_binlog::{Decoder, EventData, Inflater, file};
use lutra_change::{BinlogPosition, GtidSet, Number};
use lutra_spec::SourceSpec;
use lutra_wire::record::{Body, BodyKind, PartEnd, UnitTotals};

use super::{Assembler, Known, Output, Resume, TailCheck, UnitPart};
use crate::error::AssembleError;

const CHANGES: &[u8] = include_bytes!("../../../../crates/binlog/tests/fixtures/changes.1.binlog");

fn spec(tables: &[&str], exclude: &[&str], part_bytes: u64) -> Arc<SourceSpec> {
    let spec = serde_json::json!({
        "servers": ["localhost"], "user": "lutra", "tables": tables, "exclude": exclude, "part_bytes": part_bytes,
    });
    Arc::new(serde_json::from_value(spec).unwrap())
}

fn origin() -> Resume {
    Resume {
        number: Number::ORIGIN,
        position: BinlogPosition::new("binlog.000001", 4),
        gtid_set: GtidSet::new(),
        known: None,
        half: None,
        open_xa: Vec::new(),
    }
}

/// Reads the file from the transaction after those of `resume`; all parts, and how it ended.
fn assemble(spec: Arc<SourceSpec>, resume: Resume) -> (Vec<UnitPart>, Assembler, Result<(), AssembleError>) {
    let (parts, assembler, _, outcome) = assemble_checked(spec, resume);
    (parts, assembler, outcome)
}

type Assembled = (Vec<UnitPart>, Assembler, Option<TailCheck>, Result<(), AssembleError>);

fn assemble_checked(spec: Arc<SourceSpec>, resume: Resume) -> Assembled {
    let executed = resume.gtid_set.clone();
    let mut assembler = Assembler::new(spec, resume);
    let mut parts = Vec::new();
    let mut tail = None;
    let outcome = run(&mut assembler, &executed, &mut parts, &mut tail);
    (parts, assembler, tail, outcome)
}

fn run(
    assembler: &mut Assembler,
    executed: &GtidSet,
    parts: &mut Vec<UnitPart>,
    tail: &mut Option<TailCheck>,
) -> Result<(), AssembleError> {
    let (mut decoder, mut inflater, mut skipping) = (Decoder::new(), Inflater::new(1 << 30), false);
    for event in file::events(CHANGES)? {
        let event = event?;
        let event = decoder.decode(event.bytes)?;
        // As the server does for a replica that asks by GTID.
        if let EventData::Gtid(gtid) = &event.data {
            skipping = gtid.gtid.as_ref().is_some_and(|g| executed.contains(g));
        }
        if skipping {
            continue;
        }
        if let EventData::TransactionPayload(payload) = &event.data {
            assembler.step_over(&event.header)?;
            let mut inner = inflater.read(payload)?;
            while let Some(bytes) = inner.next_event()? {
                assembler.inner_event(&decoder.decode_inner(&event.header, bytes)?.data)?;
            }
        } else {
            assembler.event(&event.header, &event.data)?;
        }
        while let Some(output) = assembler.take() {
            if let Output::Part(part) = output {
                parts.push(*part);
            }
        }
        *tail = tail.take().or_else(|| assembler.tail_check());
    }
    Ok(())
}

fn units(parts: &[UnitPart]) -> Vec<&UnitPart> {
    parts.iter().filter(|p| p.end == PartEnd::Commit).collect()
}

const CARRIED: (&[&str], &[&str]) = (&["changes.*"], &["changes.keyless"]);

#[test]
fn units_follow_one_another_without_a_gap() {
    let (parts, assembler, _) = assemble(spec(CARRIED.0, CARRIED.1, 1 << 19), origin());
    let units = units(&parts);
    assert!(units.len() > 20, "{}", units.len());
    let mut last = Number::ORIGIN;
    let mut executed = GtidSet::new();
    for unit in units {
        assert_eq!((unit.previous, unit.number), (last, last.next_sequence()));
        last = unit.number;
        let place = unit.place.as_ref().unwrap();
        executed.union_with(&place.added);
        assert!(place.gtid.as_ref().is_none_or(|g| executed.contains(g)));
    }
    assert_eq!(assembler.number(), last);
    assert!(executed.is_subset(assembler.gtid_set()));
}

#[test]
fn parts_are_cut_between_rows_and_add_up_to_the_same_unit() {
    let (whole, _, _) = assemble(spec(CARRIED.0, CARRIED.1, 1 << 19), origin());
    let (cut, _, _) = assemble(spec(CARRIED.0, CARRIED.1, 1), origin());
    let totals = |parts: &[UnitPart]| units(parts).iter().map(|u| (u.number, u.totals)).collect::<Vec<_>>();
    assert_eq!(totals(&whole), totals(&cut));
    assert!(cut.len() > whole.len());
    assert!(cut.iter().filter(|p| p.body.kind() == BodyKind::Changes).all(|p| p.rows == 1));
    for pair in cut.windows(2) {
        let follows = if pair[0].end == PartEnd::More { pair[0].part + 1 } else { 1 };
        assert_eq!(pair[1].part, follows);
    }
}

#[test]
fn the_tail_is_recognised_and_another_history_is_not() {
    let all = spec(CARRIED.0, CARRIED.1, 1 << 19);
    let (parts, _, _) = assemble(Arc::clone(&all), origin());
    let units = units(&parts);
    let last = units.iter().rposition(|u| u.totals.is_some()).unwrap();
    let mut before = GtidSet::new();
    for unit in &units[..last] {
        before.union_with(&unit.place.as_ref().unwrap().added);
    }
    let unit = units[last];
    let place = unit.place.as_ref().unwrap();
    // What was passed over between the two is executed as well.
    let mut passed = place.added.clone();
    let mut own = GtidSet::new();
    own.insert(place.gtid.as_ref().unwrap());
    passed = passed.minus(&own);
    before.union_with(&passed);
    let known = Known {
        gtid: place.gtid.clone().unwrap(),
        committed_at: unit.committed_at,
        position: Some(place.position.clone()),
        totals: unit.totals,
    };
    let look = |known: Known| {
        let resume = Resume { number: unit.number, gtid_set: before.clone(), known: Some(known), ..origin() };
        let (parts, _, tail, _) = assemble_checked(Arc::clone(&all), resume);
        (parts.first().map(|p| p.number), tail.unwrap().difference())
    };
    let (next, difference) = look(known.clone());
    assert_eq!(difference, None);
    assert_eq!(next, units.get(last + 1).map(|u| u.number));
    let later = Known { committed_at: known.committed_at + 1, ..known.clone() };
    assert!(look(later).1.unwrap().contains("committed at"));
    let elsewhere = Known { position: Some(BinlogPosition::new("binlog.000001", 5)), ..known.clone() };
    assert!(look(elsewhere).1.unwrap().contains("it ends at"));
    let totals = UnitTotals { crc32c: 1, ..known.totals.unwrap() };
    assert!(look(Known { totals: Some(totals), ..known }).1.unwrap().contains("checksum"));
}

/// A replica that was promoted has a transaction of its own, from before it got the log's last one.
#[test]
fn what_another_server_has_before_the_tail_is_read_and_the_tail_is_recognised_behind_it() {
    let all = spec(CARRIED.0, CARRIED.1, 1 << 19);
    let (parts, _, _) = assemble(Arc::clone(&all), origin());
    let units = units(&parts);
    let rows = |until: usize| units[..until].iter().rposition(|u| u.totals.is_some()).unwrap();
    let last = rows(units.len() - 1);
    let gtid = |at: usize| units[at].place.as_ref().unwrap().gtid.clone().unwrap();
    // Not the rows of a CREATE TABLE … SELECT, whose statement has no GTID.
    let whole = |at: &usize| units[*at].totals.is_some() && units[at - 1].place.as_ref().unwrap().gtid.is_some();
    let errant = (1..last).rev().find(whole).unwrap();
    let mut before = GtidSet::new();
    units[..=last].iter().flat_map(|u| &u.place).for_each(|place| before.union_with(&place.added));
    let mut absent = GtidSet::new();
    absent.insert(&gtid(errant));
    absent.insert(&gtid(last));
    let known = Known { gtid: gtid(last), committed_at: units[last].committed_at, position: None, totals: None };
    let look = |known: Known| {
        let gtid_set = before.minus(&absent);
        let resume = Resume { number: units[last].number, gtid_set, known: Some(known), ..origin() };
        let (parts, assembler, tail, _) = assemble_checked(Arc::clone(&all), resume);
        let executed = assembler.gtid_set().clone();
        (parts, executed, tail.map(|check| check.difference()))
    };

    let (read, executed, difference) = look(known.clone());
    assert_eq!(difference, Some(None));
    let read = self::units(&read);
    let place = read[0].place.as_ref().unwrap();
    assert_eq!((read[0].number, place.gtid.clone()), (units[last].number.next_sequence(), Some(gtid(errant))));
    assert!(!place.added.contains(&gtid(last)), "it is in the log already");
    // Behind both all goes on as before, one number later.
    assert_eq!((read[1].totals, read[1].committed_at), (units[last + 1].totals, units[last + 1].committed_at));
    assert_eq!(read[1].previous, read[0].number);
    assert!(
        read.iter().flat_map(|u| &u.place).all(|place| place.gtid != Some(gtid(last))),
        "it is not given out again"
    );
    assert!(absent.is_subset(&executed));

    // A binlog that ends without it is noticed by who knows where it ends.
    let gtid_set = before.minus(&absent);
    let elsewhere: lutra_change::Gtid = "3e11fa47-71ca-11e1-9e33-c80aa9429562:1".parse().unwrap();
    let nowhere = Known { gtid: elsewhere.clone(), ..known.clone() };
    let resume = Resume { number: units[last].number, gtid_set, known: Some(nowhere), ..origin() };
    let (_, assembler, tail, _) = assemble_checked(Arc::clone(&all), resume);
    assert!(tail.is_none() && assembler.missing_tail() == Some(&elsewhere));

    let later = Known { committed_at: known.committed_at + 1, ..known.clone() };
    assert!(look(later).2.flatten().unwrap().contains("committed at"));
    // The server that the log was read from sends it first, or it is another one.
    let same = Known { position: units[last].place.as_ref().map(|place| place.position.clone()), ..known };
    assert!(look(same).2.flatten().unwrap().contains("in its place"));
}

#[test]
fn a_table_made_from_a_select_is_two_units_and_goes_on_between_them() {
    let all = spec(CARRIED.0, CARRIED.1, 1 << 19);
    let (parts, _, _) = assemble(Arc::clone(&all), origin());
    let at = parts
        .iter()
        .position(|p| matches!(p.body.decode(), Ok(Body::Ddl(d)) if d.tables.iter().any(|t| t.table == "selected")));
    let (ddl, rows) = (&parts[at.unwrap()], &parts[at.unwrap() + 1]);
    assert!(ddl.place.as_ref().unwrap().gtid.is_none() && rows.place.as_ref().unwrap().gtid.is_some());
    assert_eq!((rows.number, rows.committed_at), (ddl.number.next_sequence(), ddl.committed_at));

    let mut executed = GtidSet::new();
    parts[..=at.unwrap()].iter().flat_map(|p| &p.place).for_each(|p| executed.union_with(&p.added));
    let resume = Resume { number: ddl.number, gtid_set: executed.clone(), half: Some(ddl.committed_at), ..origin() };
    let (again, _, _) = assemble(Arc::clone(&all), resume.clone());
    assert_eq!((again[0].number, again[0].totals), (rows.number, rows.totals));
    let (_, _, outcome) = assemble(all, Resume { half: Some(1), ..resume });
    assert!(matches!(outcome, Err(AssembleError::NotContinuous { .. })));
}

#[test]
fn a_prepared_xa_transaction_and_the_decision_over_it_are_units() {
    let all = spec(&["changes.*"], &[], 1 << 19);
    let (parts, _, _) = assemble(Arc::clone(&all), origin());
    let units = units(&parts);
    let open = |at: usize| units[at].place.as_ref().unwrap().open_xa.clone();
    let at = units.iter().position(|u| u.body.kind() == BodyKind::XaPrepare).unwrap();
    let kinds: Vec<_> = units[at..at + 3].iter().map(|u| u.body.kind()).collect();
    // The last is committed in one phase.
    assert_eq!(kinds, [BodyKind::XaPrepare, BodyKind::XaDecision, BodyKind::Changes]);
    assert_eq!((open(at).len(), open(at)[0].number, open(at)[0].decided), (1, Some(units[at].number), false));
    assert!(open(at + 1)[0].decided && open(at + 2).is_empty());

    let mut executed = GtidSet::new();
    units[..=at].iter().flat_map(|u| &u.place).for_each(|p| executed.union_with(&p.added));
    let resume = Resume { number: units[at].number, gtid_set: executed, open_xa: open(at), ..origin() };
    let (again, _, _) = assemble(Arc::clone(&all), resume.clone());
    assert_eq!((again[0].number, again[0].body.kind()), (units[at + 1].number, BodyKind::XaDecision));
    let (_, _, outcome) = assemble(all, Resume { open_xa: Vec::new(), ..resume });
    assert!(matches!(outcome, Err(AssembleError::XaUnknown { .. })), "{outcome:?}");
}

#[test]
fn a_prepared_xa_transaction_without_captured_rows_makes_no_unit() {
    let (parts, assembler, outcome) = assemble(spec(CARRIED.0, CARRIED.1, 1 << 19), origin());
    assert!(!matches!(outcome, Err(AssembleError::XaUnknown { .. })), "{outcome:?}");
    assert!(parts.iter().all(|p| !matches!(p.body.kind(), BodyKind::XaPrepare | BodyKind::XaDecision)));
    assert!(assembler.open_xa.is_empty());
}

#[test]
fn what_is_passed_over_widens_the_next_interval_or_moves_a_heartbeat() {
    let (parts, mut assembler, _) = assemble(spec(&["changes.child"], &[], 1 << 19), origin());
    let first = &parts[0].place.as_ref().unwrap().added;
    assert!(first.len() == 1 || parts[0].number.sequence == 1);
    let all = parts.iter().flat_map(|p| &p.place).fold(GtidSet::new(), |mut set, place| {
        set.union_with(&place.added);
        set
    });
    assert!(all.len() > 2 * parts.len() as u64, "transactions of other tables are in the intervals");
    assembler.set_now(1);
    let heartbeat = assembler.heartbeat(0);
    if assembler.is_inside_unit() || heartbeat.place.is_none() {
        return;
    }
    assert_eq!(heartbeat.number, heartbeat.previous.next_sub());
    assert!(assembler.heartbeat(0).place.is_none(), "the next one rests");
}

#[test]
fn a_file_behind_unknown_transactions_is_refused() {
    let mut assembler = Assembler::new(spec(&["*.*"], &[], 1), origin());
    let missing: GtidSet = "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-3".parse().unwrap();
    let nowhere =
        lutra_binlog::EventHeader { timestamp: 0, event_type: 35, server_id: 0, event_size: 0, log_pos: 0, flags: 0 };
    let outcome = assembler.event(&nowhere, &EventData::PreviousGtids(missing.clone()));
    assert!(matches!(outcome, Err(AssembleError::PreviousGtids { missing: m }) if m == missing));
}

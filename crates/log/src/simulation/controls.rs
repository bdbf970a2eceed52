//! The rules hold; and without any one of them the oracle sees what breaks.

use super::{Outcome, Scope, run};
use crate::rules::Rules;

fn seeds(quick: u64) -> u64 {
    std::env::var("LUTRA_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(quick)
}

/// Every seed must hold.
fn holds(scope: Scope, quick: u64) {
    let mut sum = Outcome::default();
    for seed in 0..seeds(quick) {
        match run(seed, scope) {
            Ok(outcome) => {
                sum.records += outcome.records;
                sum.halted_readers += outcome.halted_readers;
                sum.gaps += outcome.gaps;
                sum.restarts += outcome.restarts;
            }
            Err(violation) => panic!("seed {seed} of {scope:?}: {}", violation.0),
        }
    }
    println!("{sum:?}");
}

/// Some seed must fail, and the same seed hold with the rule on.
fn breaks(name: &str, scope: Scope, at_most: u64) {
    let found = (0..at_most).find_map(|seed| run(seed, scope).err().map(|v| (seed, v.0)));
    match found {
        Some((seed, violation)) => {
            println!("without {name}: seed {seed}: {violation}");
            let held = run(seed, Scope { rules: Rules::ALL, shared_epochs: false, ..scope });
            assert!(held.is_ok(), "seed {seed} breaks with the rule on as well: {held:?}");
        }
        None => panic!("without {name} nothing broke in {at_most} schedules: the oracle is blind or the rule idle"),
    }
}

const WHOLE: Scope = Scope {
    rules: Rules::ALL,
    shared_epochs: false,
    fail_over: false,
    tail_loss: false,
    lost_replies: true,
    large_sets: false,
    xa: false,
};
const FAIL_OVER: Scope = Scope { fail_over: true, ..WHOLE };
const TAIL_LOSS: Scope = Scope { tail_loss: true, ..WHOLE };
const BOTH: Scope = Scope { fail_over: true, tail_loss: true, ..WHOLE };

#[test]
fn readers_apply_every_transaction_once_in_order_and_untorn() {
    holds(WHOLE, 3_000);
}

#[test]
fn readers_see_one_history_when_the_source_fails_over_to_another_order() {
    holds(FAIL_OVER, 3_000);
}

#[test]
fn a_lost_tail_is_written_again() {
    holds(TAIL_LOSS, 3_000);
}

#[test]
fn a_lost_tail_in_another_order_halts_rather_than_loses_or_doubles() {
    holds(BOTH, 3_000);
}

#[test]
fn large_gtid_sets_are_followed_by_what_is_added() {
    holds(Scope { large_sets: true, ..BOTH }, 500);
}

#[test]
fn the_decision_over_an_xa_transaction_says_where_its_prepare_is() {
    holds(Scope { xa: true, ..WHOLE }, 2_000);
    holds(Scope { xa: true, ..BOTH }, 2_000);
}

#[test]
fn a_start_that_does_not_learn_which_xa_transactions_are_open_loses_one() {
    let rules = Rules { open_xa_forgotten: true, ..Rules::ALL };
    breaks("open XA transactions in every place", Scope { rules, xa: true, ..WHOLE }, 20_000);
}

#[test]
fn without_reading_back_a_late_record_doubles_or_hides_a_transaction() {
    breaks("read-back", Scope { rules: Rules { no_read_back: true, ..Rules::ALL }, ..FAIL_OVER }, 20_000);
}

#[test]
fn without_the_epoch_check_late_records_of_an_old_owner_count() {
    breaks("epoch check", Scope { rules: Rules { no_epoch_check: true, ..Rules::ALL }, ..FAIL_OVER }, 20_000);
}

#[test]
fn without_the_interval_chain_a_lost_tail_is_skipped_unseen() {
    breaks("interval chain", Scope { rules: Rules { no_interval_chain: true, ..Rules::ALL }, ..TAIL_LOSS }, 20_000);
}

#[test]
fn with_the_last_instead_of_the_highest_start_in_force_an_old_owner_comes_back() {
    breaks("highest start", Scope { rules: Rules { any_start_in_force: true, ..Rules::ALL }, ..WHOLE }, 20_000);
}

#[test]
fn without_the_gtid_check_a_lost_tail_in_another_order_doubles_or_loses() {
    breaks("GTID check", Scope { rules: Rules { no_gtid_check: true, ..Rules::ALL }, ..BOTH }, 20_000);
}

#[test]
fn with_the_gtid_check_only_when_applying_a_transaction_is_lost() {
    let rules = Rules { gtid_check_only_when_applying: true, ..Rules::ALL };
    breaks("GTID check of covered units", Scope { rules, ..BOTH }, 50_000);
}

#[test]
fn without_part_one_replacing_a_unit_is_torn() {
    breaks(
        "part 1 replaces",
        Scope { rules: Rules { part_one_does_not_replace: true, ..Rules::ALL }, ..WHOLE },
        20_000,
    );
}

#[test]
fn with_one_epoch_for_two_starts_their_parts_mix() {
    breaks("own epochs", Scope { shared_epochs: true, ..FAIL_OVER }, 20_000);
}

#[test]
fn with_cursors_without_epoch_two_histories_are_read() {
    breaks(
        "epoch in the cursor",
        Scope { rules: Rules { cursor_without_epoch: true, ..Rules::ALL }, ..FAIL_OVER },
        50_000,
    );
}

#[test]
fn behind_the_last_record_instead_of_the_valid_chain_readers_are_wedged() {
    breaks(
        "end of the valid chain",
        Scope { rules: Rules { resume_at_last_record: true, ..Rules::ALL }, ..TAIL_LOSS },
        20_000,
    );
}

#[test]
fn with_gaps_for_ever_readers_are_wedged() {
    breaks(
        "a gap ends at the next start",
        Scope { rules: Rules { gap_is_for_ever: true, ..Rules::ALL }, ..TAIL_LOSS },
        20_000,
    );
}

/// One schedule, for a closer look: `LUTRA_SEED=31 cargo test -p lutra-log one_schedule -- --ignored --nocapture`.
#[test]
#[ignore = "a tool"]
fn one_schedule() {
    let seed = std::env::var("LUTRA_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(0);
    for scope in [WHOLE, FAIL_OVER, TAIL_LOSS, BOTH] {
        println!("{:?}", run(seed, scope));
    }
}

//! At a rest, when the writers have stopped and the target has everything: both sides are held against each other.

use anyhow::{Context, Result};
use lutra_harness::mysql::connect;
use lutra_harness::oracle::{Difference, Report};
use mysql_async::prelude::Queryable;

use super::audit::Auditor;
use crate::findings::{Findings, Invariant};
use crate::rig::{LIMIT, Rig};

/// Waits for the target and looks at everything. `bank`: the database of the ledger, where it is.
///
/// # Errors
/// When the target does not catch up, or a server cannot be read.
pub async fn look(rig: &Rig, bank: Option<&str>, auditor: &mut Auditor, findings: &Findings) -> Result<()> {
    rig.world.caught_up(LIMIT).await.context("wait until the target has everything")?;
    look_at(rig, bank, auditor, findings).await
}

/// The same, where the target has everything already.
///
/// # Errors
/// When a server cannot be read.
pub async fn look_at(rig: &Rig, bank: Option<&str>, auditor: &mut Auditor, findings: &Findings) -> Result<()> {
    auditor.read_on(findings).await?;
    compare(rig, findings).await?;
    if let Some(bank) = bank {
        ledger(rig, bank, findings).await?;
    }
    Ok(())
}

/// Holds all rows and definitions of source and target against each other.
///
/// # Errors
/// When a server cannot be read.
pub async fn compare(rig: &Rig, findings: &Findings) -> Result<()> {
    let report = rig.world.compare().await?;
    let (definitions, rows): (Vec<&Difference>, Vec<&Difference>) =
        report.differences.iter().partition(|d| matches!(d, Difference::Definition { .. }));
    findings.look(Invariant::DefinitionsEqual, words(&definitions));
    let uncounted = report.count > report.differences.len() as u64 && rows.is_empty() && definitions.is_empty();
    findings.look(Invariant::Equal, words(&rows).or_else(|| uncounted.then(|| total(&report))));
    Ok(())
}

fn words(differences: &[&Difference]) -> Option<String> {
    let some: Vec<String> = differences.iter().take(5).map(ToString::to_string).collect();
    (!some.is_empty()).then(|| some.join("; "))
}

fn total(report: &Report) -> String {
    format!("{} differences", report.count)
}

/// Holds the ledgers against each other, line by line: what is lost, and what is doubled.
async fn ledger(rig: &Rig, bank: &str, findings: &Findings) -> Result<()> {
    let (source, target) = (lines(&rig.world.source_url, bank).await?, lines(&rig.world.target_url, bank).await?);
    let [lost, doubled] = against(&source, &target);
    findings.look(Invariant::NothingLost, (lost > 0).then(|| format!("{lost} of {} transfers lost", source.len())));
    let wrong = (doubled > 0).then(|| format!("{doubled} ledger lines of the target are not the source's, or twice"));
    findings.look(Invariant::NothingDoubled, wrong);
    Ok(())
}

async fn lines(url: &str, bank: &str) -> Result<Vec<u64>> {
    let mut conn = connect(url).await?;
    let lines = conn.query(format!("SELECT transfer FROM `{bank}`.ledger ORDER BY 1")).await;
    let lines = lines.with_context(|| format!("read the ledger of {bank}"))?;
    conn.disconnect().await?;
    Ok(lines)
}

/// How many of the source's lines the target lacks, and how many it has too many. Both are sorted.
fn against(source: &[u64], target: &[u64]) -> [u64; 2] {
    let (mut lost, mut many) = (0, 0);
    let (mut left, mut right) = (source.iter().peekable(), target.iter().peekable());
    loop {
        match (left.peek(), right.peek()) {
            (None, None) => return [lost, many],
            (Some(a), Some(b)) if a == b => {
                left.next();
                right.next();
            }
            (Some(a), Some(b)) if a > b => {
                many += 1;
                right.next();
            }
            (None, Some(_)) => {
                many += 1;
                right.next();
            }
            (Some(_), _) => {
                lost += 1;
                left.next();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_and_doubled_lines_are_told_apart() {
        assert_eq!(against(&[1, 2, 3], &[1, 2, 3]), [0, 0]);
        assert_eq!(against(&[1, 2, 3], &[1, 3]), [1, 0]);
        assert_eq!(against(&[1, 2, 3], &[1, 2, 2, 3]), [0, 1]);
        assert_eq!(against(&[1, 2], &[2, 9, 9]), [1, 2]);
        assert_eq!(against(&[], &[4]), [0, 1]);
    }
}

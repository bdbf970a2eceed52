//! What was decided about held and stopped tables is carried out: the statement, then what was parked behind it, in order.
//!
//! Nothing else is under way meanwhile. Each step removes its item in its own transaction, behind the slot row's fence, so
//! that a start that follows goes on with the next one.

use std::time::Duration;

use lutra_change::Number;
use lutra_runtime::{Backoff, BackoffPolicy};

use super::Scheduler;
use super::batch::{Planned, plan_written};
use crate::blocked::replay::{ITEMS, Parcel, ParkedItem};
use crate::blocked::sql;
use crate::ddl::{DdlEnd, ParkedJob};
use crate::error::LoadError;
use crate::events::{GroupSettled, OneByOne};
use crate::planner::Effort;
use crate::rows::{Maps, Written};
use crate::slot::Place;
use crate::target::Target;
use crate::unit::Segment;
use crate::writer::{Fault, Job, Outcome};

impl<T: Target> Scheduler<T> {
    /// Asks the target whether something was decided, if it is time to.
    pub(super) async fn ask_for_decisions(&mut self) -> Result<(), LoadError> {
        if self.blocked.is_due() && !self.stop.is_cancelled() {
            let ready = self.maps.target().ready(self.blocked.task()).await?;
            self.blocked.answered(ready);
        }
        Ok(())
    }

    /// Carries out what was decided. Nothing is under way.
    pub(super) async fn settle_groups(&mut self) -> Result<(), LoadError> {
        while !self.stop.is_cancelled()
            && let Some(ready) = self.blocked.next_ready(self.place.number)
        {
            self.settle_group(ready.group).await?;
        }
        Ok(())
    }

    async fn settle_group(&mut self, group: Number) -> Result<(), LoadError> {
        while !self.stop.is_cancelled() {
            let items = self.maps.target().parked(self.blocked.task(), group, ITEMS).await?;
            let Some(first) = items.first() else {
                self.pass(vec![sql::lift_group(self.blocked.task(), group)]).await?;
                self.maps.forget();
                GroupSettled { group, tables: self.blocked.of_group(group) }.emit();
                self.blocked.lifted(group);
                self.tally.applied_alone(&self.place, 0);
                return Ok(());
            };
            match first.decode()? {
                Parcel::Ddl(ddl) => {
                    let policy = self.options.policies.policy(&ddl.tables);
                    let done = vec![sql::applied(self.blocked.task(), group, first.number, first.ordinal)];
                    let waits_as = self.blocked.waits_as(group);
                    let job = ParkedJob { ddl: *ddl, number: first.number, policy, waits_as, done };
                    let outcome = self.alone(Job::Parked(Box::new(job))).await?;
                    self.maps.forget();
                    match outcome {
                        Outcome::Ddl(DdlEnd::Waits(reason) | DdlEnd::Stopped(reason)) => {
                            self.blocked.waits(group, &reason);
                            return Ok(());
                        }
                        outcome => self.settle(outcome)?,
                    }
                    self.blocked.replayed(group, 0, u64::try_from(first.body.len()).unwrap_or(u64::MAX));
                }
                Parcel::Rows(_) => self.replay_rows(group, &items).await?,
            }
        }
        Ok(())
    }

    /// The row changes that follow one another, in one transaction.
    async fn replay_rows(&mut self, group: Number, items: &[ParkedItem]) -> Result<(), LoadError> {
        let (mut segments, mut done, mut maps) = (Vec::new(), Vec::new(), Maps::default());
        let origins = items.first().map(|i| i.origins.clone()).unwrap_or_default();
        let (mut rows, mut bytes, mut last) = (0, 0, group);
        for item in items {
            if item.origins != origins || bytes >= self.options.policy.bytes {
                break;
            }
            let Parcel::Rows(changes) = item.decode()? else { break };
            let segment = self.row_tables.segment(item.number, changes).await?;
            self.maps.add(&segment, item.number, None, &mut maps).await?;
            segments.push((segment, item.number));
            done.push(sql::applied(self.blocked.task(), group, item.number, item.ordinal));
            (rows, bytes, last) = (rows + item.rows, bytes + item.body.len(), item.number);
        }
        let mut planned = self.plan_parked(&segments, &maps, &done, Effort::Sets)?;
        let place = Place { number: last, ..Place::default() };
        let policy = BackoffPolicy::try_new(Duration::from_millis(20), Duration::from_secs(5), 2.0, 0.5);
        let mut backoff = Backoff::new(policy.unwrap_or(BackoffPolicy::CONNECT));
        loop {
            let mark = format!("parked {last}/{}", done.len());
            let job = Job::Replay { planned: planned.clone(), origins: origins.clone(), mark };
            let fault = match self.alone(job).await? {
                Outcome::Failed(fault) => fault,
                _ => break,
            };
            match fault {
                Fault::Over(error) => return Err(error),
                Fault::Locked(error) => {
                    self.tally.retrying(&error.to_string());
                    if backoff.wait(&self.stop).await.is_err() {
                        return Ok(());
                    }
                }
                fault if planned.effort == Effort::Sets => {
                    OneByOne { fault: &fault, planned: &planned, place: &place }.emit();
                    planned = self.plan_parked(&segments, &maps, &done, Effort::RowByRow)?;
                }
                fault => {
                    if let Some(error) = self.set_row_aside(fault, &mut planned, &place) {
                        return Err(error);
                    }
                }
            }
        }
        self.blocked.replayed(group, rows, u64::try_from(bytes).unwrap_or(u64::MAX));
        self.tally.applied_alone(&self.place, rows);
        Ok(())
    }

    fn plan_parked(
        &self,
        segments: &[(Segment, Number)],
        maps: &Maps,
        done: &[String],
        effort: Effort,
    ) -> Result<Box<Planned>, LoadError> {
        let mut written = Written::default();
        for (segment, number) in segments {
            written.add(segment, maps, *number)?;
        }
        let mut planned = plan_written(&written, self.options.policy.compare_image, effort);
        done.iter().for_each(|statement| planned.add_statement(statement));
        Ok(Box::new(planned))
    }
}

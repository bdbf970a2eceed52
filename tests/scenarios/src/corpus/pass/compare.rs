//! Source against target, and where they differ the source's native replica.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail};
use lutra_harness::oracle::{Comparison, Difference, Report};

use super::{BATCH, PREFIX, Pass, Routing};
use crate::corpus::definitions::Thing;

impl Pass {
    /// Compares what there is by name, and the definitions of what the statement names or made; `whole`: of everything.
    pub(super) async fn compare(&mut self, what: &str, text: &str, whole: bool) -> Result<()> {
        let (here, there) = tokio::try_join!(self.source.list(), self.target.list())?;
        let mut differ: BTreeMap<Thing, [String; 2]> = BTreeMap::new();
        for thing in there.difference(&here) {
            differ.insert(thing.clone(), ["not there".to_owned(), self.target.show(thing).await?]);
        }
        for thing in &here {
            if !there.contains(thing) {
                differ.insert(thing.clone(), [self.source.show(thing).await?, "not there".to_owned()]);
            } else if whole || !self.known.contains(thing) || thing.is_named_in(text) {
                self.compared += 1;
                let (source, target) = tokio::try_join!(self.source.show(thing), self.target.show(thing))?;
                if source != target {
                    differ.insert(thing.clone(), [source, target]);
                }
            }
        }
        self.known = here;
        if differ.is_empty() {
            return Ok(());
        }
        let mut faults = Vec::new();
        for (thing, [here, there]) in &differ {
            let mut told = format!("{thing} differs\n  source: {here}\n  target: {there}");
            if let Some(yardstick) = &mut self.yardstick {
                let replica = yardstick.show(thing).await?;
                if yardstick.excuses(&replica, there) {
                    yardstick.tell(&format!("{what}\n{told}"));
                    continue;
                }
                told = format!("{told}\n  replica: {replica}");
            }
            faults.push(told);
        }
        if !faults.is_empty() {
            self.fault(format!("{what}\n{}", faults.join("\n")));
        }
        for thing in differ.keys() {
            self.remove(thing).await?;
        }
        Ok(())
    }

    /// Takes what differs away from both sides, so that the pass can go on.
    async fn remove(&mut self, thing: &Thing) -> Result<()> {
        if thing.kind == "DATABASE" && !thing.database.ends_with("_c") {
            bail!("{thing} differs, and everything is in it:\n{}", self.faults.join("\n\n"));
        }
        self.source.remove(thing).await?;
        self.target.remove(thing).await?;
        if let Some(yardstick) = &mut self.yardstick {
            yardstick.remove(thing).await?;
        }
        self.generator.forget(&thing.name);
        self.known.remove(thing);
        Ok(())
    }

    /// Compares all rows.
    pub(super) async fn compare_rows(&mut self, what: &str) -> Result<()> {
        let report = self.comparison(&self.world.source_url).run().await?;
        self.rows += report.source_rows;
        if report.is_equal() {
            return Ok(());
        }
        let tables = self.tables_of(&report);
        let faulty = match &self.yardstick {
            // What the replica has as the target does is no fault.
            Some(yardstick) => self.tables_of(&self.comparison(&yardstick.url).run().await?),
            None => tables.clone(),
        };
        let text = format!("between the {BATCH} statements up to {what}\n{report}");
        if !tables.is_disjoint(&faulty) {
            self.fault(text);
        } else if let Some(yardstick) = &mut self.yardstick {
            yardstick.tell(&text);
        }
        let wrong = self.known.iter().filter(|t| tables.contains(&format!("{}.{}", t.database, t.name))).cloned();
        for thing in wrong.collect::<Vec<_>>() {
            self.remove(&thing).await?;
        }
        Ok(())
    }

    /// All rows of a server with the names of the source against those of the target.
    fn comparison(&self, url: &str) -> Comparison {
        let databases: BTreeSet<String> = self.known.iter().map(|t| t.database.clone()).collect();
        let names: Vec<&str> = databases.iter().map(String::as_str).collect();
        let mut comparison = Comparison::new(url, &self.world.target_url).databases(&names);
        if self.plan.routing != Routing::Same {
            for database in &databases {
                comparison = comparison.database(database, &database.replace(&self.prefix, &self.routed));
            }
        }
        if self.plan.routing == Routing::Tables {
            for thing in self.known.iter().filter(|t| matches!(t.kind, "TABLE" | "SEQUENCE")) {
                let database = thing.database.replace(&self.prefix, &self.routed);
                comparison = comparison.table(
                    &format!("{}.{}", thing.database, thing.name),
                    &format!("{database}.{PREFIX}{}", thing.name),
                );
            }
        }
        comparison
    }

    /// The tables that differ, by the names of the source.
    fn tables_of(&self, report: &Report) -> BTreeSet<String> {
        let table = |difference: &Difference| match difference {
            Difference::MissingTable { target: table, .. }
            | Difference::ExtraTable { target: table }
            | Difference::MissingColumns { table, .. }
            | Difference::Definition { table, .. }
            | Difference::MissingRow { table, .. }
            | Difference::ExtraRow { table, .. }
            | Difference::Values { table, .. }
            | Difference::TooMany { table } => table.replace(&self.routed, &self.prefix).replace(PREFIX, ""),
        };
        report.differences.iter().map(table).collect()
    }
}

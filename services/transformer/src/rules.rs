//! From body to body: routing, column mapping, operation filter. Untouched tables pass as bytes.

use std::collections::HashMap;
use std::sync::Arc;

use lutra_change::Number;
use lutra_kafka::SchemaTopic;
use lutra_rules::{DdlRoute, RuleFault, Rules, TableDecision, TablePlan};
use lutra_wire::record::{Body, BodyKind, Changes, Ddl, RawBody, RowChange, UnitTotals};
use lutra_wire::{ChangesBuilder, Fingerprint, UnitDigest};

use crate::error::TransformError;

mod chunks;

/// What was decided for one version of a table's schema.
#[derive(Clone, Debug)]
enum Plan {
    Pass,
    Drop,
    Map(Arc<TablePlan>),
}

/// The rules of a pipeline at work.
pub(crate) struct RuleRoom {
    rules: Rules,
    plans: HashMap<Fingerprint, Plan>,
    input_schemas: SchemaTopic,
    output_schemas: SchemaTopic,
    builder: ChangesBuilder,
    /// Of what is left of the open unit.
    digest: UnitDigest,
    /// Of the open unit as it was read, when it has several parts.
    read: UnitDigest,
    rewritten: bool,
    before: Vec<u8>,
    after: Vec<u8>,
    /// Whose chunks are ours (P12).
    pipeline: String,
}

impl RuleRoom {
    pub(crate) fn new(rules: Rules, input_schemas: SchemaTopic, output_schemas: SchemaTopic) -> Self {
        Self {
            rules,
            plans: HashMap::new(),
            input_schemas,
            output_schemas,
            builder: ChangesBuilder::new(),
            digest: UnitDigest::new(),
            read: UnitDigest::new(),
            rewritten: false,
            before: Vec::new(),
            after: Vec::new(),
            pipeline: String::new(),
        }
    }

    /// Carries the chunks that are for that pipeline.
    pub(crate) fn of_pipeline(mut self, pipeline: &str) -> Self {
        pipeline.clone_into(&mut self.pipeline);
        self
    }

    /// A unit begins.
    pub(crate) fn begin_unit(&mut self) {
        self.digest = UnitDigest::new();
        self.read = UnitDigest::new();
        self.rewritten = false;
    }

    /// Holds a unit of several parts to the totals that its commit part tells. The chain alone cannot see a unit whose
    /// middle was lost with the log's tail and refilled by the same writer.
    pub(crate) fn check_whole(&self, number: Number, told: Option<UnitTotals>) -> Result<(), TransformError> {
        let read = self.read.totals();
        match told {
            Some(told) if told != read => Err(TransformError::Torn { number, told, read }),
            _ => Ok(()),
        }
    }

    /// Totals of the unit: the input's, unless something was taken out or rewritten.
    pub(crate) fn totals(&self, input: Option<UnitTotals>) -> Option<UnitTotals> {
        if self.rewritten { Some(self.digest.totals()) } else { input }
    }

    /// The body for the pipeline's log; none where nothing is left. `whole` says that the unit has this part alone.
    pub(crate) async fn apply(
        &mut self,
        number: Number,
        body: &RawBody,
        whole: bool,
    ) -> Result<Option<RawBody>, TransformError> {
        match body.kind() {
            BodyKind::Changes => self.changes(number, body, whole).await,
            BodyKind::Ddl => self.ddl(number, body),
            BodyKind::Heartbeat => Ok(Some(body.clone())),
            BodyKind::Chunk => self.chunk(number, body).await,
            BodyKind::XaPrepare => self.prepared(number, body).await,
            BodyKind::XaDecision | BodyKind::Fragment | BodyKind::EpochStart => Ok(None),
        }
    }

    async fn changes(
        &mut self,
        number: Number,
        body: &RawBody,
        whole: bool,
    ) -> Result<Option<RawBody>, TransformError> {
        let unreadable = |source| TransformError::Body { number, source };
        let plans = self.plans_of(number, body).await?;
        let untouched = plans.iter().all(|p| matches!(p, Plan::Pass));
        if untouched && whole {
            return Ok(Some(body.clone()));
        }
        let Body::Changes(changes) = body.decode().map_err(unreadable)? else { return Ok(None) };
        changes.rows.iter().for_each(|r| self.read.update(r.before.as_deref(), r.after.as_deref()));
        if untouched {
            // Parts before or after this one may be rewritten: the unit's digest needs these rows too.
            changes.rows.iter().for_each(|r| self.digest.update(r.before.as_deref(), r.after.as_deref()));
            return Ok((!changes.rows.is_empty()).then(|| body.clone()));
        }
        self.rewritten = true;
        self.rewrite(number, &changes, &plans)
    }

    /// What was prepared becomes changes of the transaction that the decision makes.
    async fn prepared(&mut self, number: Number, body: &RawBody) -> Result<Option<RawBody>, TransformError> {
        let plans = self.plans_of(number, body).await?;
        let body = body.decode().map_err(|source| TransformError::Body { number, source })?;
        let Body::XaPrepare(prepare) = body else { return Ok(None) };
        prepare.changes.rows.iter().for_each(|r| self.read.update(r.before.as_deref(), r.after.as_deref()));
        self.rewritten = true;
        self.rewrite(number, &prepare.changes, &plans)
    }

    async fn plans_of(&mut self, number: Number, body: &RawBody) -> Result<Vec<Plan>, TransformError> {
        let tables = body.tables().map_err(|source| TransformError::Body { number, source })?;
        let mut plans = Vec::with_capacity(tables.len());
        for table in &tables {
            plans.push(self.plan(number, table.fingerprint, &table.name).await?);
        }
        Ok(plans)
    }

    fn rewrite(
        &mut self,
        number: Number,
        changes: &Changes,
        plans: &[Plan],
    ) -> Result<Option<RawBody>, TransformError> {
        self.rewrite_rows(number, changes, plans)?;
        Ok((!self.builder.is_empty()).then(|| self.builder.finish()))
    }

    /// What the rules leave of the rows, into the builder.
    fn rewrite_rows(&mut self, number: Number, changes: &Changes, plans: &[Plan]) -> Result<(), TransformError> {
        self.builder.clear();
        if let Some(context) = &changes.context {
            self.builder.set_context(context.clone());
        }
        for row in &changes.rows {
            let (Some(table), Some(plan)) = (changes.tables.get(row.table as usize), plans.get(row.table as usize))
            else {
                continue;
            };
            match plan {
                Plan::Drop => {}
                Plan::Pass => {
                    let index = self.builder.table(table.fingerprint, &table.name);
                    self.digest.update(row.before.as_deref(), row.after.as_deref());
                    let columns = (row.before_columns.as_ref(), row.after_columns.as_ref());
                    self.builder.push(
                        row.operation,
                        row.flags,
                        index,
                        row.before.as_deref(),
                        row.after.as_deref(),
                        columns.0,
                        columns.1,
                    );
                }
                Plan::Map(plan) => self.map_row(number, row, plan)?,
            }
        }
        Ok(())
    }

    fn map_row(&mut self, number: Number, row: &RowChange, plan: &TablePlan) -> Result<(), TransformError> {
        if !plan.carries(row.operation) {
            return Ok(());
        }
        let target = plan.target();
        let index = self.builder.table(target.fingerprint(), &target.table().name);
        let before = image(plan, row.before.as_deref(), &mut self.before)
            .map_err(|source| TransformError::Row { number, source })?;
        let after = image(plan, row.after.as_deref(), &mut self.after)
            .map_err(|source| TransformError::Row { number, source })?;
        self.digest.update(before, after);
        let before_columns = row.before_columns.as_ref().map(|c| plan.columns(c));
        let after_columns = row.after_columns.as_ref().map(|c| plan.columns(c));
        self.builder.push(
            row.operation,
            row.flags,
            index,
            before,
            after,
            before_columns.as_ref(),
            after_columns.as_ref(),
        );
        Ok(())
    }

    async fn plan(
        &mut self,
        number: Number,
        fingerprint: Fingerprint,
        name: &lutra_change::TableName,
    ) -> Result<Plan, TransformError> {
        if let Some(plan) = self.plans.get(&fingerprint) {
            return Ok(plan.clone());
        }
        let unfit = |source| TransformError::Unfit { number, source };
        let decision = self.rules.table(name).map_err(unfit)?;
        let plan = match decision {
            TableDecision::Drop => Plan::Drop,
            TableDecision::Pass => {
                let schema = self.input_schemas.get(fingerprint).await?;
                self.output_schemas.ensure(&schema).await?;
                Plan::Pass
            }
            TableDecision::Map(_) => {
                let schema = self.input_schemas.get(fingerprint).await?;
                let plan = self.rules.plan(&schema).map_err(unfit)?;
                self.output_schemas.ensure(plan.target()).await?;
                Plan::Map(Arc::new(plan))
            }
        };
        self.plans.insert(fingerprint, plan.clone());
        Ok(plan)
    }

    fn ddl(&self, number: Number, body: &RawBody) -> Result<Option<RawBody>, TransformError> {
        let Body::Ddl(ddl) = body.decode().map_err(|source| TransformError::Body { number, source })? else {
            return Ok(None);
        };
        match self.rules.route_ddl(&ddl) {
            Ok(DdlRoute::Pass) => Ok(Some(body.clone())),
            Ok(DdlRoute::Rewritten(ddl)) => Ok(Some(RawBody::ddl(&ddl))),
            Ok(DdlRoute::Left(reason)) => {
                crate::events::DdlLeftOut { number, kind: ddl.kind, reason: &reason }.emit();
                Ok(None)
            }
            Err(fault) => {
                crate::events::DdlNotRewritten { number, kind: ddl.kind, fault: &fault }.emit();
                Ok(Some(RawBody::ddl(&self.unfit(ddl, &fault))))
            }
        }
    }

    /// A statement that cannot be rewritten, under the names that its tables bear in the target: the policy of those says
    /// there what becomes of it.
    fn unfit(&self, ddl: Ddl, fault: &RuleFault) -> Ddl {
        let mut tables = Vec::new();
        for table in &ddl.tables {
            match self.rules.table(table) {
                Ok(TableDecision::Pass) => tables.push(table.clone()),
                Ok(TableDecision::Map(mapping)) => tables.push(mapping.to),
                Ok(TableDecision::Drop) | Err(_) => {}
            }
        }
        Ddl { tables, ..ddl }.unfit(&fault.to_string())
    }
}

fn image<'a>(
    plan: &TablePlan,
    image: Option<&'a [u8]>,
    out: &'a mut Vec<u8>,
) -> Result<Option<&'a [u8]>, lutra_rules::ApplyError> {
    let Some(image) = image else { return Ok(None) };
    if plan.passes_bytes() {
        return Ok(Some(image));
    }
    out.clear();
    plan.apply(image, out)?;
    Ok(Some(out))
}

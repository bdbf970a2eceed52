//! Chunks of a full load (P12): those of other pipelines are left out, ours pass the same rules as the stream.

use lutra_change::{Number, TableName};
use lutra_rules::{DdlRoute, TableDecision};
use lutra_wire::record::{Body, Chunk, RawBody};
use lutra_wire::{ChunkStep, CopiedTable, Definition, DefinitionKind};

use super::RuleRoom;
use crate::error::TransformError;

impl RuleRoom {
    /// The chunk for the pipeline's log. One of ours is carried also when nothing is left of its rows: it may be the
    /// last one of its table.
    pub(super) async fn chunk(&mut self, number: Number, body: &RawBody) -> Result<Option<RawBody>, TransformError> {
        let plans_of = body.tables().map_err(|source| TransformError::Body { number, source })?;
        let decoded = body.decode().map_err(|source| TransformError::Body { number, source })?;
        let Body::Chunk(chunk) = decoded else { return Ok(None) };
        chunk.changes.rows.iter().for_each(|r| self.read.update(r.before.as_deref(), r.after.as_deref()));
        if chunk.addressee != self.pipeline {
            return Ok(None);
        }
        let Some(step) = self.step(number, &chunk)? else { return Ok(None) };
        let mut plans = Vec::with_capacity(plans_of.len());
        for table in &plans_of {
            plans.push(self.plan(number, table.fingerprint, &table.name).await?);
        }
        self.rewritten = true;
        self.rewrite_rows(number, &chunk.changes, &plans)?;
        Ok(Some(self.builder.finish_chunk(chunk.id, &chunk.addressee, &step.to_bytes())))
    }

    /// The step under the target's names; none for a table that the rules leave out.
    fn step(&self, number: Number, chunk: &Chunk) -> Result<Option<ChunkStep>, TransformError> {
        let step = ChunkStep::parse(&chunk.step).map_err(|source| TransformError::Step { number, source })?;
        Ok(match step {
            ChunkStep::Define { tables, statements } => {
                let mut kept = Vec::new();
                for table in &tables {
                    kept.extend(self.target_of(number, table)?);
                }
                let mut routed = Vec::new();
                for statement in &statements {
                    routed.extend(self.definition(number, statement)?);
                }
                Some(ChunkStep::Define { tables: kept, statements: routed })
            }
            ChunkStep::Rows { table, previous, last } => {
                self.target_of(number, &table)?.map(|table| ChunkStep::Rows { table, previous, last })
            }
        })
    }

    fn target_of(&self, number: Number, table: &CopiedTable) -> Result<Option<CopiedTable>, TransformError> {
        let name: TableName = table.name();
        let decision = self.rules.table(&name).map_err(|source| TransformError::Unfit { number, source })?;
        Ok(match decision {
            TableDecision::Drop => None,
            TableDecision::Pass => Some(table.clone()),
            TableDecision::Map(mapping) => Some(table.renamed(&mapping.to)),
        })
    }

    fn definition(&self, number: Number, statement: &Definition) -> Result<Option<Definition>, TransformError> {
        let ddl = statement.to_ddl();
        let route = match self.rules.route_ddl(&ddl) {
            // No row depends on what lives beside the tables: a person may make it by hand.
            Err(fault) if statement.kind == DefinitionKind::Other => {
                tracing::error!(%number, %fault, "something beside the tables is not made in the target");
                return Ok(None);
            }
            route => route.map_err(|source| TransformError::Unfit { number, source })?,
        };
        Ok(match route {
            DdlRoute::Pass => Some(statement.clone()),
            DdlRoute::Rewritten(ddl) => Some(statement.rewritten(&ddl)),
            DdlRoute::Left(reason) => {
                crate::events::DdlLeftOut { number, kind: ddl.kind, reason: &reason }.emit();
                None
            }
        })
    }
}

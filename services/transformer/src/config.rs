//! What a transformer, and one transformation, is told.

use clap::Parser;
use lutra_coordination::{Adoption, LogRef, TaskDefinition};
use lutra_runtime::{CommonArgs, ServiceArgs};
use lutra_spec::PipelineSpec;

use crate::error::TransformError;

/// Lutra's transformer: reads the logs of sources, applies the rules of pipelines, and writes the pipelines' logs.
#[derive(Clone, Debug, Parser)]
#[command(name = "lutra-transformer", version)]
pub struct TransformerArgs {
    /// What all services share.
    #[command(flatten)]
    pub common: CommonArgs,

    /// Pipelines that this worker transforms at the same time, at most
    #[arg(long, env = "LUTRA_CAPACITY", value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub capacity: u32,
}

impl ServiceArgs for TransformerArgs {
    const SERVICE: &'static str = "transformer";

    fn common(&self) -> &CommonArgs {
        &self.common
    }
}

/// What one transformation is told.
#[derive(Clone, Debug)]
pub struct TransformConfig {
    /// Name of the pipeline.
    pub pipeline: String,
    /// Its specification.
    pub spec: PipelineSpec,
    /// Version of its rules (P14).
    pub rules_version: u64,
    /// The source's log.
    pub input: LogRef,
    /// The pipeline's log.
    pub output: LogRef,
    /// Where an adopted log continues.
    pub adopt: Option<Adoption>,
    /// Cluster id.
    pub cluster: String,
    /// The task has begun before (P2).
    pub begun: bool,
}

impl TransformConfig {
    /// From a task's definition.
    ///
    /// # Errors
    /// [`TransformError::Definition`] naming what it lacks.
    pub fn resolve(definition: &TaskDefinition) -> Result<Self, TransformError> {
        let lacks = |what| TransformError::Definition { what };
        let pipeline = definition.pipeline.clone().ok_or(lacks("pipeline"))?;
        Ok(Self {
            pipeline: pipeline.name,
            spec: pipeline.spec,
            rules_version: definition.spec_version,
            input: definition.input.clone().ok_or(lacks("input log"))?,
            output: definition.log.clone().ok_or(lacks("log"))?,
            adopt: definition.adopt.clone(),
            cluster: definition.cluster.to_string(),
            begun: definition.begun,
        })
    }
}

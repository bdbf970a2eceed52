//! Wiring: the worker's agent runs extractions.

use lutra_coordination::{Coordination, TaskContext, TaskEnd, TaskFailure, TaskRunner, WorkerAgent, WorkerInfo};
use lutra_kafka::{KafkaAdmin, KafkaConfig, KafkaError, KafkaLog, LogTopic, SchemaTopic};
use lutra_runtime::{CommonArgs, Context, ServiceArgs, Violations};

use crate::config::ExtractConfig;
use crate::disposition::{Next, judge};
use crate::error::ExtractError;
use crate::extract::{End, Extraction};
use crate::runbook;
use crate::status::Board;

/// Lutra extractor: follows MySQL and MariaDB servers, and writes their changes into ordered logs on Kafka.
#[derive(Debug, clap::Parser)]
#[command(name = "lutra-extractor", version)]
pub struct Args {
    /// What all services share.
    #[command(flatten)]
    pub common: CommonArgs,
    /// Sources that this worker follows at the same time, at most
    #[arg(long, env = "LUTRA_CAPACITY", value_name = "N", default_value_t = 64)]
    pub capacity: u32,
}

impl ServiceArgs for Args {
    const SERVICE: &'static str = "extractor";

    fn common(&self) -> &CommonArgs {
        &self.common
    }

    fn check(&self, violations: &mut Violations) {
        if self.capacity == 0 {
            violations.add("capacity", "0", "must be at least 1");
        }
    }
}

/// The service's life: register, run what is assigned, drain, give back.
///
/// # Errors
/// When the worker's identity is taken, the HTTP endpoint cannot be bound, or the coordination refuses the worker.
pub async fn run(context: Context, args: Args) -> Result<(), anyhow::Error> {
    let board = Board::default();
    let identity = context.worker_identity()?;
    let address = context.advertised(context.serve(board.router()).await?);
    let kafka = KafkaConfig { brokers: args.common.kafka.clone(), properties: args.common.kafka_property_map() };
    let extractor = Extractor { kafka, board, traced: args.common.otlp_endpoint.is_some() };
    tracing::info!(worker = identity.id(), %address, zookeeper = args.common.zookeeper, kafka = args.common.kafka, "extractor is up");

    let Some(coordination) = Coordination::open(&context).await? else { return Ok(()) };
    let info = WorkerInfo::new(Args::SERVICE, &identity, address, args.capacity);
    WorkerAgent::new(coordination, info, extractor).run(context.shutdown.clone()).await?;
    Ok(())
}

/// Runs `extract/<source>` tasks.
#[derive(Debug)]
pub struct Extractor {
    kafka: KafkaConfig,
    board: Board,
    traced: bool,
}

impl TaskRunner for Extractor {
    async fn run(&self, task: TaskContext) -> Result<TaskEnd, TaskFailure> {
        let off = self.board.guard(&task.id);
        let outcome = Box::pin(self.extract(task)).await;
        drop(off);
        match outcome {
            Ok(End::Drained) => Ok(TaskEnd::Drained),
            Ok(End::Fenced) => Ok(TaskEnd::Fenced),
            Err(error) => {
                let (disposition, hint) = match judge(&error) {
                    Next::Fenced => return Ok(TaskEnd::Fenced),
                    Next::Fail(disposition, hint) => (disposition, hint),
                    Next::Attempt => (
                        lutra_coordination::Disposition::Retry,
                        "it is tried again by itself; look at the server or broker named",
                    ),
                };
                Err(TaskFailure::new(&error, disposition, hint).with_runbook(runbook::page(&error)))
            }
        }
    }
}

impl Extractor {
    async fn extract(&self, task: TaskContext) -> Result<End, ExtractError> {
        let config = ExtractConfig::resolve(&task.definition)?;
        let broker = |source| ExtractError::Broker { topic: config.log.topic.clone(), source: Box::new(source) };
        let schemas = SchemaTopic::open(&self.kafka, &config.log.schemas_topic);
        let ((), schemas) = tokio::try_join!(self.ensure_topics(&config), schemas).map_err(broker)?;
        let log = KafkaLog::new(&self.kafka, &config.log.topic);
        let extraction = Extraction {
            log: &log,
            schemas: &schemas,
            control: &task.handle,
            board: self.board.clone(),
            stop: task.stop.clone(),
            traced: self.traced,
            config,
        };
        Box::pin(extraction.run()).await
    }

    /// P8: the manager makes topics; a writer only looks whether they are fit.
    async fn ensure_topics(&self, config: &ExtractConfig) -> Result<(), KafkaError> {
        let admin = KafkaAdmin::connect(&self.kafka).await?;
        admin.ensure_log_topic(&config.log.topic, &LogTopic::default()).await
    }
}

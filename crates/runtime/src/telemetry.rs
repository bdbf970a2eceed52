//! Logs, traces, metrics: what is set up once, before anything can happen.

use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::WithExportConfig;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::arguments::{CommonArgs, LogFormat};
use crate::events;

/// Buckets of every histogram, in seconds: from 100 us to a minute.
const SECONDS: [f64; 18] = [
    0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
];

/// How long the last spans may take to get out. A shutdown without a collector blocks for as long as it is let.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(3);

/// Telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TelemetryError {
    #[error("set up the exporter of traces to {endpoint}")]
    Exporter {
        endpoint: String,
        #[source]
        source: opentelemetry_otlp::ExporterBuildError,
    },
    #[error("install the log subscriber")]
    Subscriber(#[source] tracing_subscriber::util::TryInitError),
    #[error("install the metrics recorder")]
    Recorder(#[source] metrics_exporter_prometheus::BuildError),
}

/// What must be flushed at the end.
#[derive(Debug)]
pub(crate) struct Telemetry {
    pub(crate) metrics: PrometheusHandle,
    tracer: Option<SdkTracerProvider>,
}

impl Telemetry {
    /// Sets up logs, metrics and, when an endpoint is configured, traces. Called inside the runtime's context: the
    /// exporter's client belongs to it.
    pub(crate) fn install(service: &'static str, args: &CommonArgs) -> Result<Self, TelemetryError> {
        let tracer =
            args.otlp_endpoint.as_deref().map(|url| tracer(service, url, args.otlp_sample_ratio)).transpose()?;
        let traces =
            tracer.as_ref().map(|provider| tracing_opentelemetry::layer().with_tracer(provider.tracer("lutra")));
        // Checked at boot; a filter that does not parse never gets here.
        let filter = EnvFilter::try_new(&args.log_level).unwrap_or_else(|_| EnvFilter::new("info"));
        let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
        let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colours);
        let logs = match args.log_format {
            LogFormat::Text => lines.with_target(true).boxed(),
            LogFormat::Json => lines.json().flatten_event(true).boxed(),
        };
        tracing_subscriber::registry()
            .with(logs.with_filter(filter))
            .with(traces.with_filter(tracing_subscriber::filter::LevelFilter::INFO))
            .try_init()
            .map_err(TelemetryError::Subscriber)?;
        let metrics = PrometheusBuilder::new()
            .set_buckets(&SECONDS)
            .and_then(PrometheusBuilder::install_recorder)
            .map_err(TelemetryError::Recorder)?;
        events::describe();
        events::build_info(service, env!("CARGO_PKG_VERSION"));
        Ok(Self { metrics, tracer })
    }

    /// Sends what is left, for a bounded time.
    pub(crate) fn shutdown(self) {
        if let Some(tracer) = self.tracer
            && let Err(error) = tracer.shutdown_with_timeout(FLUSH_TIMEOUT)
        {
            tracing::warn!(%error, "the last traces were not delivered");
        }
    }
}

fn tracer(service: &'static str, endpoint: &str, ratio: f64) -> Result<SdkTracerProvider, TelemetryError> {
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .build()
        .map_err(|source| TelemetryError::Exporter { endpoint: endpoint.to_owned(), source })?;
    let resource = Resource::builder()
        .with_service_name(format!("lutra-{service}"))
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(ratio))))
        .with_resource(resource)
        .build())
}

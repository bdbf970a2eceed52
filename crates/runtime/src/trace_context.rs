//! W3C trace context in record headers: one trace from the binlog to the commit.

use std::collections::HashMap;

use opentelemetry::propagation::TextMapPropagator;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// Header names that carry the context.
pub const HEADERS: [&str; 2] = ["traceparent", "tracestate"];

/// The trace context of `span` as headers; empty when no traces are made.
pub fn inject(span: &Span) -> HashMap<String, String> {
    let mut headers = HashMap::new();
    TraceContextPropagator::new().inject_context(&span.context(), &mut headers);
    // The propagator writes an empty tracestate where there is none.
    headers.retain(|_, value| !value.is_empty());
    headers
}

/// Makes `span` a child of the span whose context stands in `headers`, if there is one.
pub fn set_parent(span: &Span, headers: &HashMap<String, String>) {
    if !headers.contains_key(HEADERS[0]) {
        return;
    }
    let context = TraceContextPropagator::new().extract(headers);
    if let Err(error) = span.set_parent(context) {
        tracing::debug!(%error, "the trace context of a record was not taken over");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use opentelemetry::trace::TracerProvider;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[test]
    fn a_context_goes_into_headers_and_back_into_a_span() {
        let provider = SdkTracerProvider::builder().build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || {
            let headers = inject(&tracing::info_span!("writer"));
            let parent = headers.get("traceparent").unwrap();
            assert!(!headers.contains_key("tracestate"));
            let child = tracing::info_span!("reader");
            set_parent(&child, &headers);
            let continued = inject(&child);
            let trace = |text: &str| text.split('-').nth(1).unwrap().to_owned();
            assert_eq!(trace(parent), trace(continued.get("traceparent").unwrap()));
        });
    }

    #[test]
    fn without_traces_there_are_no_headers() {
        assert!(inject(&Span::none()).is_empty());
        set_parent(&Span::none(), &HashMap::new());
    }
}

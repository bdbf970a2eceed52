//! Boot, configuration, telemetry, supervisor, retry, shutdown, health endpoint.

//! [`SchemaTopic`]: row schemas by fingerprint in a compacted topic, each written before its first use.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use lutra_log::{ReadTransport as _, TransportError};
use lutra_wire::schema::{Fingerprint, RowSchema};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::util::Timeout;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::config::KafkaConfig;
use crate::consumer::KafkaReader;
use crate::error::{KafkaError, failed};

/// How long a schema may take to appear. It is acknowledged before the first record that names it, so what is waited for
/// is our own reading alone.
const PATIENCE: Duration = Duration::from_secs(20);

/// The row schemas of one log. Clones share what was read.
#[derive(Clone)]
pub struct SchemaTopic {
    inner: Arc<Inner>,
}

struct Inner {
    topic: String,
    known: RwLock<HashMap<Fingerprint, Arc<RowSchema>>>,
    /// Reads forward on a miss. One at a time: the others find what it has read.
    reader: Mutex<KafkaReader>,
    producer: FutureProducer,
}

impl SchemaTopic {
    /// The schemas in that topic; reads nothing yet.
    ///
    /// # Errors
    /// [`KafkaError::Client`], [`KafkaError::Transport`].
    pub async fn open(config: &KafkaConfig, topic: &str) -> Result<Self, KafkaError> {
        let made = config.schema_producer().create();
        let producer = made.map_err(|source| KafkaError::Client { brokers: config.brokers.clone(), source })?;
        let mut reader = KafkaReader::new(config, topic)?.at_first_held();
        // A client that was never asked anything finds the partition's leader only a second after it is told to read.
        // Whether brokers answer is the first read's to tell.
        let _ = reader.bounds().await;
        let reader = Mutex::new(reader);
        let known = RwLock::default();
        Ok(Self { inner: Arc::new(Inner { topic: topic.to_owned(), known, reader, producer }) })
    }

    /// The schema with that fingerprint; reads the topic forward as far as needed.
    ///
    /// # Errors
    /// [`KafkaError::NoSchema`] when it does not appear in time, [`KafkaError::BadSchema`], [`KafkaError::Transport`].
    pub async fn get(&self, fingerprint: Fingerprint) -> Result<Arc<RowSchema>, KafkaError> {
        if let Some(schema) = self.known(fingerprint) {
            return Ok(schema);
        }
        let deadline = Instant::now() + PATIENCE;
        let mut reader = self.inner.reader.lock().await;
        loop {
            if let Some(schema) = self.known(fingerprint) {
                return Ok(schema);
            }
            match tokio::time::timeout_at(deadline, reader.next_with_key()).await {
                Ok(next) => self.learn(&next?.1)?,
                Err(_) => {
                    return Err(KafkaError::NoSchema {
                        topic: self.inner.topic.clone(),
                        fingerprint,
                        waited_ms: PATIENCE.as_millis() as u64,
                    });
                }
            }
        }
    }

    /// Writes the schema unless it is known to be there; returns once it is acknowledged.
    ///
    /// # Errors
    /// [`KafkaError::Transport`].
    pub async fn ensure(&self, schema: &RowSchema) -> Result<(), KafkaError> {
        let fingerprint = schema.fingerprint();
        if self.known(fingerprint).is_some() {
            return Ok(());
        }
        let record = FutureRecord::to(&self.inner.topic).partition(0).key(&fingerprint.0[..]).payload(schema.json());
        let sent = self.inner.producer.send(record, Timeout::Never).await;
        sent.map_err(|(error, _)| -> TransportError { failed(&self.inner.topic, "write a row schema", error) })?;
        self.remember(fingerprint, Arc::new(schema.clone()));
        Ok(())
    }

    fn known(&self, fingerprint: Fingerprint) -> Option<Arc<RowSchema>> {
        self.inner.known.read().unwrap_or_else(PoisonError::into_inner).get(&fingerprint).cloned()
    }

    fn remember(&self, fingerprint: Fingerprint, schema: Arc<RowSchema>) {
        self.inner.known.write().unwrap_or_else(PoisonError::into_inner).entry(fingerprint).or_insert(schema);
    }

    fn learn(&self, stored: &lutra_log::StoredRecord) -> Result<(), KafkaError> {
        if stored.value.is_empty() {
            return Ok(());
        }
        let bad = |source: Box<dyn std::error::Error + Send + Sync>| KafkaError::BadSchema {
            topic: self.inner.topic.clone(),
            offset: stored.offset,
            source,
        };
        let json = std::str::from_utf8(&stored.value).map_err(|e| bad(e.into()))?;
        let schema = RowSchema::parse(json).map_err(|e| bad(Box::new(e)))?;
        self.remember(schema.fingerprint(), Arc::new(schema));
        Ok(())
    }
}

impl std::fmt::Debug for SchemaTopic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SchemaTopic").field("topic", &self.inner.topic).finish_non_exhaustive()
    }
}

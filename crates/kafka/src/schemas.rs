//! [`SchemaTopic`]: row schemas by fingerprint in a compacted topic, each written before its first use. Beside them, in a
//! source's topic: what its tables look like, where table maps do not say so.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use lutra_log::{ReadTransport as _, TransportError};
use lutra_wire::schema::{Fingerprint, RowSchema};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::util::Timeout;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::closing::Closing;
use crate::config::KafkaConfig;
use crate::consumer::KafkaReader;
use crate::error::{KafkaError, failed};
use crate::quiet::Quiet;

/// How long a schema may take to appear. It is acknowledged before the first record that names it, so what is waited for
/// is our own reading alone.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the key of a record with definitions begins with; its name follows. (Row schemas have their name alone as key.)
const DEFINITIONS: &[u8] = b"definitions/";

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
    producer: Closing<FutureProducer<Quiet>>,
    config: KafkaConfig,
}

impl SchemaTopic {
    /// The schemas in that topic; reads nothing yet.
    ///
    /// # Errors
    /// [`KafkaError::Client`], [`KafkaError::Transport`].
    pub async fn open(config: &KafkaConfig, topic: &str) -> Result<Self, KafkaError> {
        let made = config.schema_producer().create_with_context(Quiet);
        let producer: FutureProducer<Quiet> =
            made.map_err(|source| KafkaError::Client { brokers: config.brokers.clone(), source })?;
        let producer = Closing::new(producer);
        let mut reader = KafkaReader::new(config, topic)?.at_first_held();
        // A client that was never asked anything finds the partition's leader only a second after it is told to read.
        // Whether brokers answer is the first read's to tell.
        let _ = reader.bounds().await;
        let reader = Mutex::new(reader);
        let known = RwLock::default();
        let config = config.clone();
        Ok(Self { inner: Arc::new(Inner { topic: topic.to_owned(), known, reader, producer, config }) })
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
                Ok(next) => {
                    let (key, stored) = next?;
                    if !key.is_some_and(|key| key.starts_with(DEFINITIONS)) {
                        self.learn(&stored)?;
                    }
                }
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

    /// Writes definitions under their name; returns once they are acknowledged.
    ///
    /// # Errors
    /// [`KafkaError::Transport`].
    pub async fn write_definitions(&self, name: Fingerprint, text: &str) -> Result<(), KafkaError> {
        let key = [DEFINITIONS, &name.0].concat();
        let record = FutureRecord::to(&self.inner.topic).partition(0).key(&key).payload(text);
        let sent = self.inner.producer.send(record, Timeout::Never).await;
        sent.map_err(|(error, _)| -> TransportError { failed(&self.inner.topic, "write definitions", error) })?;
        Ok(())
    }

    /// All definitions, those of that name among them.
    ///
    /// # Errors
    /// [`KafkaError::NoSchema`] when they do not appear in time, [`KafkaError::Transport`].
    pub async fn read_definitions(&self, name: Fingerprint) -> Result<HashMap<Fingerprint, String>, KafkaError> {
        let mut reader = KafkaReader::new(&self.inner.config, &self.inner.topic)?.at_first_held();
        let (_, end) = reader.bounds().await?;
        let (mut found, mut next_offset) = (HashMap::new(), 0);
        while next_offset < end || !found.contains_key(&name) {
            let next = tokio::time::timeout(PATIENCE, reader.next_with_key()).await;
            let (key, stored) = next.map_err(|_| KafkaError::NoSchema {
                topic: self.inner.topic.clone(),
                fingerprint: name,
                waited_ms: PATIENCE.as_millis() as u64,
            })??;
            next_offset = stored.offset + 1;
            let key = key.as_deref().and_then(|key| key.strip_prefix(DEFINITIONS));
            if let Some(name) = key.and_then(|key| <[u8; 16]>::try_from(key).ok()) {
                found.insert(Fingerprint(name), String::from_utf8_lossy(&stored.value).into_owned());
            }
        }
        Ok(found)
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

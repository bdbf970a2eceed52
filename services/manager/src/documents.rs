//! The documents in ZooKeeper, read into types.

use std::collections::BTreeMap;

use lutra_coordination::{Store, Version};
use lutra_spec::{Document, Kind, PipelineSpec, SourceSpec, Spec, TargetSpec};

use crate::error::ManagerError;

/// A document and the version of its node.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredDocument {
    /// The document.
    pub document: Document,
    /// For the next write.
    pub version: Version,
}

/// All documents of the cluster.
#[derive(Clone, Debug, Default)]
pub struct Documents {
    /// By name: names are unique over all kinds.
    pub all: BTreeMap<String, StoredDocument>,
}

impl Documents {
    /// Reads them all.
    pub async fn read(store: &Store) -> Result<Self, ManagerError> {
        let mut all = BTreeMap::new();
        for kind in Kind::ALL {
            for (name, stored) in store.documents(kind).await? {
                let document = serde_json::from_value(stored.value).map_err(|source| ManagerError::Stored {
                    kind: kind.as_str(),
                    name: name.clone(),
                    source,
                })?;
                all.insert(name, StoredDocument { document, version: stored.version });
            }
        }
        Ok(Self { all })
    }

    /// The plain documents.
    pub fn plain(&self) -> Vec<Document> {
        self.all.values().map(|d| d.document.clone()).collect()
    }

    /// The source of that name.
    pub fn source(&self, name: &str) -> Option<&SourceSpec> {
        match &self.all.get(name)?.document.spec {
            Spec::Source(source) => Some(source),
            _ => None,
        }
    }

    /// The target of that name.
    pub fn target(&self, name: &str) -> Option<&TargetSpec> {
        match &self.all.get(name)?.document.spec {
            Spec::Target(target) => Some(target),
            _ => None,
        }
    }

    /// The pipeline of that name.
    pub fn pipeline(&self, name: &str) -> Option<&PipelineSpec> {
        match &self.all.get(name)?.document.spec {
            Spec::Pipeline(pipeline) => Some(pipeline),
            _ => None,
        }
    }

    /// The source of that name, or the error that there is none.
    pub fn need_source(&self, name: &str) -> Result<&SourceSpec, ManagerError> {
        self.source(name).ok_or_else(|| ManagerError::NotFound { what: "source", name: name.to_owned() })
    }

    /// The pipeline of that name, or the error that there is none.
    pub fn need_pipeline(&self, name: &str) -> Result<&PipelineSpec, ManagerError> {
        self.pipeline(name).ok_or_else(|| ManagerError::NotFound { what: "pipeline", name: name.to_owned() })
    }

    /// The names of all documents of a kind.
    pub fn names(&self, kind: Kind) -> impl Iterator<Item = &str> {
        self.all.iter().filter(move |(_, d)| d.document.kind() == kind).map(|(name, _)| name.as_str())
    }

    /// The pipelines that name a source or target.
    pub fn users_of(&self, name: &str) -> Vec<&str> {
        let uses = |spec: &PipelineSpec| spec.source.as_str() == name || spec.target.as_str() == name;
        self.names(Kind::Pipeline).filter(|p| self.pipeline(p).is_some_and(uses)).collect()
    }
}

//! Documents to the task definitions that there should be. Pure: what exists is kept, log ids above all.

use std::collections::BTreeMap;

use lutra_change::{LogId, TaskId, TaskKind};
use lutra_coordination::{LogRef, Named, TaskDefinition};
use lutra_spec::{Kind, PipelineSpec, SourceSpec, TargetSpec};
use uuid::Uuid;

use crate::documents::Documents;

/// The tasks that there should be, by id, given those that are.
pub fn desired_tasks(
    documents: &Documents,
    existing: &BTreeMap<TaskId, TaskDefinition>,
    cluster: Uuid,
) -> BTreeMap<TaskId, TaskDefinition> {
    let mut tasks = BTreeMap::new();
    for name in documents.names(Kind::Source) {
        if let Some(source) = documents.source(name) {
            let id = TaskId::new(TaskKind::Extract, name);
            let definition = extract(&id, source, existing.get(&id), cluster);
            tasks.insert(id, definition);
        }
    }
    for name in documents.names(Kind::Pipeline) {
        let Some(pipeline) = documents.pipeline(name) else { continue };
        let (Some(source), Some(target)) = (documents.source(&pipeline.source), documents.target(&pipeline.target))
        else {
            continue;
        };
        let input = tasks.get(&TaskId::new(TaskKind::Extract, pipeline.source.as_str())).and_then(|t| t.log.clone());
        let parts = Parts { name, pipeline, source, target, cluster };
        let transform = TaskId::new(TaskKind::Transform, name);
        let definition = parts.transform(&transform, input, existing.get(&transform));
        let log = definition.log.clone();
        tasks.insert(transform, definition);
        let load = TaskId::new(TaskKind::Load, name);
        tasks.insert(load.clone(), parts.load(log, existing.get(&load)));
    }
    tasks
}

fn extract(id: &TaskId, source: &SourceSpec, existing: Option<&TaskDefinition>, cluster: Uuid) -> TaskDefinition {
    let mut task = existing.cloned().unwrap_or_else(|| TaskDefinition::new(cluster));
    task.source = Some(Named::new(&id.name, source.clone()));
    task.log.get_or_insert_with(|| new_log(id));
    versioned(task, existing)
}

struct Parts<'a> {
    name: &'a str,
    pipeline: &'a PipelineSpec,
    source: &'a SourceSpec,
    target: &'a TargetSpec,
    cluster: Uuid,
}

impl Parts<'_> {
    fn transform(&self, id: &TaskId, input: Option<LogRef>, existing: Option<&TaskDefinition>) -> TaskDefinition {
        let mut task = self.common(existing);
        task.input = input;
        task.log.get_or_insert_with(|| new_log(id));
        versioned(task, existing)
    }

    fn load(&self, input: Option<LogRef>, existing: Option<&TaskDefinition>) -> TaskDefinition {
        let mut task = self.common(existing);
        task.input = input;
        task.target = Some(Named::new(self.pipeline.target.as_str(), self.target.clone()));
        versioned(task, existing)
    }

    fn common(&self, existing: Option<&TaskDefinition>) -> TaskDefinition {
        let mut task = existing.cloned().unwrap_or_else(|| TaskDefinition::new(self.cluster));
        task.source = Some(Named::new(self.pipeline.source.as_str(), self.source.clone()));
        task.pipeline = Some(Named::new(self.name, self.pipeline.clone()));
        task
    }
}

/// Raises the version where anything that a run depends on has changed.
fn versioned(mut task: TaskDefinition, existing: Option<&TaskDefinition>) -> TaskDefinition {
    if let Some(existing) = existing
        && matters(existing, &task)
    {
        task.spec_version = existing.spec_version + 1;
    }
    task
}

/// Whether a run of one definition may not go on under the other.
fn matters(old: &TaskDefinition, new: &TaskDefinition) -> bool {
    let load = new.target.is_some();
    let transform = new.pipeline.is_some() && !load;
    if transform {
        // A transformer depends on the rules; how the databases are reached is nothing to it.
        let rules = |t: &TaskDefinition| t.pipeline.as_ref().map(|p| (p.spec.tables.clone(), p.spec.ddl));
        return rules(old) != rules(new);
    }
    if load {
        let how = |t: &TaskDefinition| t.pipeline.as_ref().map(|p| p.spec.load.clone());
        return how(old) != how(new) || old.target != new.target;
    }
    old.source != new.source
}

/// A log that is not there yet. Its topics are named after source or pipeline, so that people find them.
pub fn new_log(writer: &TaskId) -> LogRef {
    LogRef {
        topic: format!("{}.log", writer.name),
        log_id: LogId::random(),
        schemas_topic: format!("{}.schemas", writer.name),
        writer: writer.clone(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::documents::StoredDocument;
    use lutra_coordination::{DesiredState, Version};

    const TEXT: &str = "kind: source\nname: s\nspec: {servers: [a], user: u, tables: ['*.*']}\n---\nkind: target\nname: t\nspec: {servers: [b], user: u}\n---\nkind: pipeline\nname: p\nspec: {source: s, target: t}\n";

    fn documents(text: &str) -> Documents {
        let all = lutra_spec::parse(text).unwrap().into_iter();
        let all =
            all.map(|d| (d.document.name.to_string(), StoredDocument { document: d.document, version: Version(0) }));
        Documents { all: all.collect() }
    }

    #[test]
    fn a_source_and_a_pipeline_make_three_tasks_joined_by_their_logs() {
        let tasks = desired_tasks(&documents(TEXT), &BTreeMap::new(), Uuid::nil());
        let ids: Vec<String> = tasks.keys().map(ToString::to_string).collect();
        assert_eq!(ids, ["extract/s", "transform/p", "load/p"]);
        let get = |text: &str| &tasks[&text.parse::<TaskId>().unwrap()];
        assert_eq!(get("transform/p").input, get("extract/s").log);
        assert_eq!(get("load/p").input, get("transform/p").log);
        assert!(get("load/p").target.is_some() && get("load/p").log.is_none());
    }

    #[test]
    fn what_exists_is_kept_and_only_real_changes_raise_the_version() {
        let mut existing = desired_tasks(&documents(TEXT), &BTreeMap::new(), Uuid::nil());
        for task in existing.values_mut() {
            task.desired = DesiredState::Paused;
        }
        assert_eq!(desired_tasks(&documents(TEXT), &existing, Uuid::nil()), existing);
        let changed = TEXT.replace("source: s, target: t", "source: s, target: t, load: {connections: 8}");
        let tasks = desired_tasks(&documents(&changed), &existing, Uuid::nil());
        let version = |text: &str| tasks[&text.parse::<TaskId>().unwrap()].spec_version;
        assert_eq!((version("extract/s"), version("transform/p"), version("load/p")), (1, 1, 2));
        assert!(tasks.values().all(|t| t.desired == DesiredState::Paused));
        assert!(tasks.iter().all(|(id, t)| t.log == existing[id].log));
    }
}

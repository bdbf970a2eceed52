//! What becomes of a task that is paused, changed, restarted, that fails or panics; on a real ZooKeeper.
#![allow(clippy::unwrap_used)]

mod support;

use lutra_coordination::{
    Coordination, DesiredState, Disposition, Leadership, ObservedState, TaskDefinition, TaskEnd, TaskFailure,
};
use serde_json::json;
use support::{Act, Agent, Cluster, ScriptedRunner, definition, load, until, until_state, worker, zookeeper};

/// One task assigned to one worker.
struct Stage {
    manager: Coordination,
    lead: Leadership,
    runner: ScriptedRunner,
    _agent: Agent,
}

impl Stage {
    async fn set(test: &str, script: impl IntoIterator<Item = Act>) -> Option<Self> {
        let cluster = Cluster::new(test, zookeeper()?);
        let (manager, own) = (cluster.connect().await, cluster.connect().await);
        let (lead, runner, info) = (cluster.lead(&manager).await, ScriptedRunner::new(script), worker("a"));
        lead.create_task(&load(), &definition()).await.unwrap();
        lead.assign(&load(), &info.key()).await.unwrap();
        let agent = Agent::start(&own, info, runner.clone());
        Some(Self { manager, lead, runner, _agent: agent })
    }

    async fn change(&self, change: impl FnOnce(&mut TaskDefinition)) {
        let mut stored = self.manager.store().task(&load()).await.unwrap().unwrap();
        change(&mut stored.value);
        self.lead.update_task(&load(), &stored.value, stored.version).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pause_drains_and_resume_starts_the_next_attempt() {
    let Some(stage) = Stage::set("pause", []).await else { return };
    until_state(&stage.manager, &load(), ObservedState::Running).await;
    stage.change(|definition| definition.desired = DesiredState::Paused).await;
    until_state(&stage.manager, &load(), ObservedState::Paused).await;
    assert!(stage.runner.runs.borrow()[0].ended);
    stage.change(|definition| definition.desired = DesiredState::Running).await;
    until_state(&stage.manager, &load(), ObservedState::Running).await;
    let runs = stage.runner.runs.borrow().clone();
    assert_eq!(runs[1].epoch, runs[0].epoch.next_attempt());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_specification_runs_in_the_next_epoch() {
    let Some(stage) = Stage::set("newspec", []).await else { return };
    stage.runner.until("the first run", |runs| runs.len() == 1).await;
    stage.change(|definition| definition.spec_version = 2).await;
    let runs = stage.runner.until("the second run", |runs| runs.len() == 2).await;
    assert!(runs[0].ended && runs[1].epoch == runs[0].epoch.next_attempt());
    assert_eq!(stage.runner.context().definition.spec_version, 2);
    stage.change(|definition| definition.epoch_floor = 1_000_000).await;
    let runs = stage.runner.until("the third run", |runs| runs.len() == 3).await;
    assert_eq!(runs[2].epoch.term, runs[0].epoch.term + 1_000_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_request_is_done_once_and_consumed() {
    let Some(stage) = Stage::set("again", []).await else { return };
    stage.runner.until("the first run", |runs| runs.len() == 1).await;
    let store = stage.manager.store();
    store.request_restart(&load(), "a test", json!({ "gap_at": 12 })).await.unwrap();
    stage.runner.until("the second run", |runs| runs.len() == 2).await;
    until("the request is consumed", || async {
        let request = store.restart_request(&load()).await.unwrap();
        request.map_or(Ok(()), Err)
    })
    .await;
    until_state(&stage.manager, &load(), ObservedState::Running).await;
    assert_eq!(stage.runner.runs.borrow().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_is_told_and_tried_again_and_forgotten_when_it_works() {
    let failure = TaskFailure::message("target is read-only", Disposition::Retry, "make it writable");
    let Some(stage) = Stage::set("fail", [Act::Fail(failure)]).await else { return };
    until_state(&stage.manager, &load(), ObservedState::Failed).await;
    let store = stage.manager.store();
    until("the report", || async {
        match store.failure(&load()).await.unwrap() {
            Some(report) if report.hint == "make it writable" && report.retry_at > report.failed_at => Ok(()),
            seen => Err(seen),
        }
    })
    .await;
    until_state(&stage.manager, &load(), ObservedState::Running).await;
    until("the report is gone", || async { store.failure(&load()).await.unwrap().map_or(Ok(()), Err) }).await;
    let runs = stage.runner.runs.borrow().clone();
    assert_eq!(runs[1].epoch, runs[0].epoch.next_attempt());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_halted_task_waits_for_a_person() {
    let failure = || TaskFailure::message("gap", Disposition::Halt, "adopt");
    let Some(stage) = Stage::set("halt", [Act::Fail(failure()), Act::Fail(failure())]).await else { return };
    until_state(&stage.manager, &load(), ObservedState::Failed).await;
    stage.manager.store().request_restart(&load(), "a person", json!(null)).await.unwrap();
    stage.runner.until("a restart tries again", |runs| runs.len() == 2).await;
    until_state(&stage.manager, &load(), ObservedState::Failed).await;
    stage.change(|definition| definition.spec_version += 1).await;
    until_state(&stage.manager, &load(), ObservedState::Running).await;
    assert_eq!(stage.runner.runs.borrow().len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_is_the_failure_of_that_task_alone() {
    let Some(stage) = Stage::set("panic", [Act::Panic]).await else { return };
    until_state(&stage.manager, &load(), ObservedState::Failed).await;
    let report = stage.manager.store().failure(&load()).await.unwrap().unwrap();
    assert!(report.message.contains("scripted panic"), "{report:?}");
    until_state(&stage.manager, &load(), ObservedState::Running).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fenced_run_is_taken_anew_with_a_higher_term() {
    let Some(stage) = Stage::set("fenced", [Act::End(TaskEnd::Fenced)]).await else { return };
    let runs = stage.runner.until("the second run", |runs| runs.len() == 2).await;
    assert!(runs[1].epoch.term > runs[0].epoch.term, "{runs:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_completed_task_is_not_run_again_until_it_is_changed() {
    let Some(stage) = Stage::set("complete", [Act::End(TaskEnd::Completed)]).await else { return };
    until_state(&stage.manager, &load(), ObservedState::Completed).await;
    stage.change(|definition| definition.spec_version += 1).await;
    until_state(&stage.manager, &load(), ObservedState::Running).await;
    assert_eq!(stage.runner.runs.borrow().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn begun_belongs_to_the_log_it_was_said_of() {
    let Some(stage) = Stage::set("begun", []).await else { return };
    stage.runner.until("the first run", |runs| runs.len() == 1).await;
    stage.runner.context().handle.mark_begun();
    let store = stage.manager.store();
    let begun = async || store.task(&load()).await.unwrap().unwrap().value.begun;
    until("begun", || async { if begun().await { Ok(()) } else { Err(()) } }).await;
    stage.change(|definition| definition.log = support::definition().log).await;
    assert!(!begun().await, "a new log has not begun");
    stage.runner.until("the second run", |runs| runs.len() == 2).await;
    assert!(!stage.runner.context().definition.begun);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bookmarks_are_kept_in_order_and_bounded() {
    let Some(stage) = Stage::set("bookmarks", []).await else { return };
    stage.runner.until("the first run", |runs| runs.len() == 1).await;
    let handle = stage.runner.context().handle;
    for number in 0..40 {
        handle.publish_bookmark(json!({ "number": number }));
        until("the bookmark", || async {
            let newest = handle.bookmarks().await.unwrap().pop();
            if newest == Some(json!({ "number": number })) { Ok(()) } else { Err(newest) }
        })
        .await;
    }
    let bookmarks = handle.bookmarks_of(&load()).await.unwrap();
    assert_eq!(bookmarks.len(), 32);
    assert_eq!(bookmarks.first(), Some(&json!({ "number": 8 })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_withdrawn_task_is_drained_and_a_deleted_one_leaves_nothing() {
    let Some(stage) = Stage::set("withdraw", []).await else { return };
    until_state(&stage.manager, &load(), ObservedState::Running).await;
    stage.runner.context().handle.publish_bookmark(json!(1));
    stage.lead.unassign(&load()).await.unwrap();
    stage.lead.unassign(&load()).await.unwrap();
    until_state(&stage.manager, &load(), ObservedState::Pending).await;
    assert!(stage.runner.runs.borrow()[0].ended);
    stage.lead.delete_task(&load()).await.unwrap();
    stage.lead.delete_task(&load()).await.unwrap();
    assert!(stage.manager.store().tasks().await.unwrap().is_empty());
}

/// Writes bytes into a node as a newer version would.
async fn write_raw(cluster: &Coordination, path: &str, change: impl FnOnce(&mut serde_json::Value)) {
    let client = zookeeper_client::Client::connector().connect(&cluster.config().hosts).await.unwrap();
    let (bytes, stat) = client.get_data(path).await.unwrap();
    let mut value = serde_json::from_slice(&bytes).unwrap();
    change(&mut value);
    client.set_data(path, &serde_json::to_vec(&value).unwrap(), Some(stat.version)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_definition_that_is_not_understood_is_not_run_in_part_and_named() {
    let Some(stage) = Stage::set("foreign", []).await else { return };
    until_state(&stage.manager, &load(), ObservedState::Running).await;
    let path = stage.manager.tree().task(&load());
    write_raw(&stage.manager, &path, |value| value["from_the_future"] = json!(1)).await;
    until("the failure is told", || async {
        let failure = stage.manager.store().failure(&load()).await.unwrap();
        let told = failure.as_ref().is_some_and(|f| f.halted && f.chain.iter().any(|c| c.contains("from_the_future")));
        if told { Ok(()) } else { Err(failure) }
    })
    .await;
    assert!(stage.runner.runs.borrow()[0].ended);
    write_raw(&stage.manager, &path, |value| {
        value.as_object_mut().unwrap().remove("from_the_future");
    })
    .await;
    until_state(&stage.manager, &load(), ObservedState::Running).await;
    assert_eq!(stage.manager.store().failure(&load()).await.unwrap(), None);
}

//! A connection that is lost and made anew inside its session, or stands still: nothing that changes goes unseen; on a
//! real ZooKeeper.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use lutra_change::{TaskId, TaskKind};
use lutra_coordination::{
    Change, Coordination, DesiredState, Leadership, LoadRequest, ObservedState, Wish, WorkerInfo,
};
use serde_json::json;
use support::{
    Agent, Cluster, Held, Link, PATIENCE, ScriptedRunner, definition, load, until, until_state, worker, zookeeper,
};
use uuid::Uuid;

/// One worker behind a link, which runs one task.
struct Stage {
    link: Link,
    own: Coordination,
    manager: Coordination,
    lead: Leadership,
    info: WorkerInfo,
    runner: ScriptedRunner,
    _agent: Agent,
}

impl Stage {
    async fn set(test: &str, session: Duration) -> Option<Self> {
        let cluster = Cluster::new(test, zookeeper()?);
        let link = Link::open(&cluster.hosts).await;
        let manager = cluster.connect().await;
        let lead = cluster.lead(&manager).await;
        let own = cluster.connect_by(&link.address, session).await;
        let (info, runner) = (worker("a"), ScriptedRunner::new([]));
        let agent = Agent::start(&own, info.clone(), runner.clone());
        lead.create_task(&load(), &definition()).await.unwrap();
        lead.assign(&load(), &info.key()).await.unwrap();
        until_state(&manager, &load(), ObservedState::Running).await;
        Some(Self { link, own, manager, lead, info, runner, _agent: agent })
    }

    /// Gives the worker a new task and waits until it runs.
    async fn assign(&self, name: &str) -> TaskId {
        let task = TaskId::new(TaskKind::Load, name);
        self.lead.create_task(&task, &definition()).await.unwrap();
        self.lead.assign(&task, &self.info.key()).await.unwrap();
        task
    }

    /// Breaks the connection, and waits until the worker has read what was written meanwhile by a new one.
    async fn reconnect(&self) {
        let owner = || async { self.manager.store().running().await.unwrap()[&load()].owner };
        let before = owner().await;
        self.link.cut();
        let meanwhile = self.assign("meanwhile").await;
        self.link.mend();
        until_state(&self.manager, &meanwhile, ObservedState::Running).await;
        assert_eq!(before, owner().await, "the session has lived on");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn assignments_that_follow_a_reconnect_are_seen() {
    let Some(stage) = Stage::set("reassign", Duration::from_secs(8)).await else { return };
    stage.reconnect().await;
    let after = stage.assign("after").await;
    until_state(&stage.manager, &after, ObservedState::Running).await;
    stage.lead.unassign(&after).await.unwrap();
    until("it is given back", || async {
        let running = stage.manager.store().running().await.unwrap();
        if running.contains_key(&after) { Err(running) } else { Ok(()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn definitions_and_restarts_that_follow_a_reconnect_are_seen() {
    let Some(stage) = Stage::set("redefine", Duration::from_secs(8)).await else { return };
    stage.reconnect().await;
    let runs = stage.runner.runs.borrow().len();
    stage.manager.store().request_restart(&load(), "a person", json!("after a reconnect")).await.unwrap();
    stage.runner.until("a run that was asked for", |all| all.len() == runs + 1).await;
    let mut stored = stage.manager.store().task(&load()).await.unwrap().unwrap();
    stored.value.desired = DesiredState::Paused;
    stage.lead.update_task(&load(), &stored.value, stored.version).await.unwrap();
    until_state(&stage.manager, &load(), ObservedState::Paused).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn managers_and_copies_hear_of_what_follows_a_reconnect() {
    let Some(stage) = Stage::set("rehear", Duration::from_secs(8)).await else { return };
    let (mut changes, mut loads) = (stage.own.store().changes(), stage.runner.context().handle.load_requests());
    assert_eq!(changes.next().await, Change::Resync);
    loads.next().await;
    stage.reconnect().await;
    let in_time = async {
        while changes.next().await != Change::Resync {}
        loads.next().await;
        let pipeline = serde_json::from_value(json!({ "source": "shop", "target": "shop" })).unwrap();
        let request =
            LoadRequest { id: Uuid::new_v4(), pipeline, wish: Wish::Run, tables: Default::default(), again: false };
        stage.manager.store().put_load_request(&load(), "shop", &request, None).await.unwrap();
        loads.next().await;
        while changes.next().await != Change::Task(load()) {}
    };
    tokio::time::timeout(PATIENCE, in_time).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn assignments_behind_a_stall_are_seen() {
    let Some(stage) = Stage::set("stall", Duration::from_secs(2)).await else { return };
    stage.lead.unassign(&load()).await.unwrap();
    let (requests, answers) = (Held { requests: true, answers: false }, Held { requests: false, answers: true });
    let both = Held { requests: true, answers: true };
    // A silent connection is given up after 0.8 s, the session ends after 2 s at the server: stalls around both.
    for (held, millis) in [(both, 500), (both, 900), (requests, 900), (answers, 900), (answers, 1_300), (both, 1_900)] {
        let given_back = async || {
            let running = stage.manager.store().running().await.unwrap();
            if running.is_empty() { Ok(()) } else { Err(running) }
        };
        until("it is given back", given_back).await;
        stage.link.hold(held);
        tokio::time::sleep(Duration::from_millis(millis)).await;
        stage.link.hold(Held::default());
        stage.lead.assign(&load(), &stage.info.key()).await.unwrap();
        until_state(&stage.manager, &load(), ObservedState::Running).await;
        stage.lead.unassign(&load()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_without_zookeeper_goes_by_the_bookmarks_that_are_known() {
    let Some(stage) = Stage::set("bookmarks", Duration::from_secs(8)).await else { return };
    let (handle, upstream) = (stage.runner.context().handle, TaskId::new(TaskKind::Transform, "shop"));
    assert!(handle.bookmarks().await.unwrap().is_empty());
    assert!(handle.bookmarks_of(&upstream).await.unwrap().is_empty());
    stage.link.cut();
    handle.publish_bookmark(json!({ "offset": 7 }));
    let known = async { (handle.bookmarks().await.unwrap(), handle.bookmarks_of(&upstream).await.unwrap()) };
    // The session time-out is 8 s.
    let known = tokio::time::timeout(Duration::from_secs(4), known).await.unwrap();
    assert_eq!(known, (vec![json!({ "offset": 7 })], Vec::new()));
}

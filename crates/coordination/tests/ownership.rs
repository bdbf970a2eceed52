//! Who runs a task, on a real ZooKeeper: taking, lost sessions, take-over, restart of a worker (P2, P9).
#![allow(clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant};

use lutra_change::{TaskId, TaskKind};
use lutra_coordination::{CoordinationError, DesiredState, ObservedState};
use support::{Act, Agent, Cluster, Link, ScriptedRunner, definition, load, until, until_state, worker, zookeeper};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_is_taken_run_and_given_back() {
    let Some(hosts) = zookeeper() else { return };
    let cluster = Cluster::new("take", hosts);
    let (manager, own) = (cluster.connect().await, cluster.connect().await);
    let (lead, runner, info) = (cluster.lead(&manager).await, ScriptedRunner::new([]), worker("a"));
    lead.create_task(&load(), &definition()).await.unwrap();
    let agent = Agent::start(&own, info.clone(), runner.clone());
    lead.assign(&load(), &info.key()).await.unwrap();
    until_state(&manager, &load(), ObservedState::Running).await;
    let running = manager.store().running().await.unwrap().remove(&load()).unwrap();
    let run = runner.runs.borrow().first().cloned().unwrap();
    assert_eq!(u64::try_from(running.czxid).unwrap(), run.epoch.term);
    assert_eq!((running.value.epoch, running.value.worker), (run.epoch, info.key()));
    agent.stop().await;
    assert!(runner.runs.borrow().iter().all(|run| run.ended));
    assert!(manager.store().running().await.unwrap().is_empty());
    assert!(manager.store().workers().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_worker_takes_over_when_a_session_dies() {
    let Some(hosts) = zookeeper() else { return };
    let cluster = Cluster::new("takeover", hosts);
    let link = Link::open(&cluster.hosts).await;
    let manager = cluster.connect().await;
    let lead = cluster.lead(&manager).await;
    let (first, second) = (cluster.connect_by(&link.address, Duration::from_secs(2)).await, cluster.connect().await);
    let (a, b) = (worker("a"), worker("b"));
    let (runner_a, runner_b) = (ScriptedRunner::new([]), ScriptedRunner::new([]));
    let _agent_a = Agent::start(&first, a.clone(), runner_a.clone());
    let _agent_b = Agent::start(&second, b.clone(), runner_b.clone());
    lead.create_task(&load(), &definition()).await.unwrap();
    lead.assign(&load(), &a.key()).await.unwrap();
    until_state(&manager, &load(), ObservedState::Running).await;

    let cut_at = Instant::now();
    link.cut();
    until("worker a is gone", || async {
        let workers = manager.store().workers().await.unwrap();
        if workers.contains_key(&a.key()) { Err(workers) } else { Ok(()) }
    })
    .await;
    lead.assign(&load(), &b.key()).await.unwrap();
    let run_b = runner_b.until("b runs", |runs| !runs.is_empty()).await[0].clone();
    assert!(cut_at.elapsed() < Duration::from_secs(10), "take-over took {:?}", cut_at.elapsed());
    let run_a = runner_a.runs.borrow()[0].clone();
    assert!(run_b.epoch > run_a.epoch, "{run_b:?} must be above {run_a:?}");
    assert!(!run_a.ended, "a worker that is cut off goes on");

    link.mend();
    runner_a.until("a stops when it sees the other", |runs| runs.iter().all(|run| run.ended)).await;
    assert_eq!((runner_a.runs.borrow().len(), runner_b.runs.borrow().len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_session_does_not_interrupt_a_task_that_nobody_took() {
    let Some(hosts) = zookeeper() else { return };
    let cluster = Cluster::new("lost", hosts);
    let link = Link::open(&cluster.hosts).await;
    let manager = cluster.connect().await;
    let lead = cluster.lead(&manager).await;
    let own = cluster.connect_by(&link.address, Duration::from_secs(2)).await;
    let (info, runner) = (worker("a"), ScriptedRunner::new([]));
    let _agent = Agent::start(&own, info.clone(), runner.clone());
    lead.create_task(&load(), &definition()).await.unwrap();
    lead.assign(&load(), &info.key()).await.unwrap();
    until_state(&manager, &load(), ObservedState::Running).await;
    let before = manager.store().running().await.unwrap().remove(&load()).unwrap();

    link.cut();
    until("the node is gone", || async {
        let running = manager.store().running().await.unwrap();
        if running.is_empty() { Ok(()) } else { Err(running) }
    })
    .await;
    // Said while there is no session: written with the next one.
    runner.context().handle.publish_bookmark(serde_json::json!({ "offset": 7 }));
    link.mend();
    until_state(&manager, &load(), ObservedState::Running).await;
    let after = manager.store().running().await.unwrap().remove(&load()).unwrap();
    assert!(after.czxid > before.czxid && after.owner != before.owner);
    let runs = runner.runs.borrow().clone();
    assert_eq!((runs.len(), runs[0].ended), (1, false), "the run goes on under its old epoch");
    // Others may see the node before its maker has the answer.
    until("the new node is the term of the next start", || async {
        let next = runner.context().handle.next_attempt();
        if next.term == u64::try_from(after.czxid).unwrap() { Ok(()) } else { Err(next) }
    })
    .await;
    assert!(runner.context().handle.next_attempt() > runs[0].epoch);
    until("the bookmark", || async {
        let bookmarks = manager.store().bookmarks(&load()).await.unwrap();
        if bookmarks.len() == 1 { Ok(()) } else { Err(bookmarks) }
    })
    .await;
    until("the registration", || async {
        let workers = manager.store().workers().await.unwrap();
        if workers.contains_key(&info.key()) { Ok(()) } else { Err(workers) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_worker_takes_its_tasks_anew_at_once() {
    let Some(hosts) = zookeeper() else { return };
    let cluster = Cluster::new("restart", hosts);
    let link = Link::open(&cluster.hosts).await;
    let manager = cluster.connect().await;
    let lead = cluster.lead(&manager).await;
    let timeout = Duration::from_secs(9);
    let old = cluster.connect_by(&link.address, timeout).await;
    let (info, runner) = (worker("a"), ScriptedRunner::new([]));
    let agent = Agent::start(&old, info.clone(), runner.clone());
    lead.create_task(&load(), &definition()).await.unwrap();
    lead.assign(&load(), &info.key()).await.unwrap();
    runner.until("the first run", |runs| runs.len() == 1).await;

    // As SIGKILL does: the process is gone, its session still stands at the server.
    link.cut();
    drop(agent);
    drop(old);
    let restarted_at = Instant::now();
    let new = cluster.connect_by(&cluster.hosts, timeout).await;
    let _agent = Agent::start(&new, info.clone(), runner.clone());
    let runs = runner.until("the second run", |runs| runs.len() == 2).await;
    assert!(restarted_at.elapsed() < Duration::from_secs(3), "took {:?}", restarted_at.elapsed());
    assert!(runs[1].epoch.term > runs[0].epoch.term);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_worker_id_from_elsewhere_is_refused() {
    let Some(hosts) = zookeeper() else { return };
    let cluster = Cluster::new("samename", hosts);
    let (first, second) = (cluster.connect().await, cluster.connect().await);
    let _agent = Agent::start(&first, worker("a"), ScriptedRunner::new([]));
    until("registration", || async {
        let workers = first.store().workers().await.unwrap();
        if workers.is_empty() { Err(()) } else { Ok(()) }
    })
    .await;
    let mut other = Agent::start(&second, worker("a"), ScriptedRunner::new([]));
    assert!(matches!(other.join().await, Err(CoordinationError::WorkerIdTaken { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_moved_task_starts_elsewhere_when_it_is_drained_here() {
    let Some(hosts) = zookeeper() else { return };
    let cluster = Cluster::new("move", hosts);
    let (manager, own) = (cluster.connect().await, cluster.connect().await);
    let lead = cluster.lead(&manager).await;
    let (a, b) = (worker("a"), worker("b"));
    // The first run does not hear the stop: it is cut off after the drain time.
    let (runner_a, runner_b) = (ScriptedRunner::new([Act::Deaf]), ScriptedRunner::new([]));
    let second = cluster.connect().await;
    let _agents = (Agent::start(&own, a.clone(), runner_a.clone()), Agent::start(&second, b.clone(), runner_b.clone()));
    lead.create_task(&load(), &definition()).await.unwrap();
    lead.assign(&load(), &a.key()).await.unwrap();
    runner_a.until("a runs", |runs| runs.len() == 1).await;
    lead.assign(&load(), &b.key()).await.unwrap();
    let run_b = runner_b.until("b runs", |runs| runs.len() == 1).await[0].clone();
    let run_a = runner_a.runs.borrow()[0].clone();
    assert!(run_a.ended, "b may start only when a has ended");
    assert!(run_b.epoch > run_a.epoch);
    assert_eq!(manager.store().assignments().await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_drains_stays_registered_until_others_have_its_tasks() {
    let Some(hosts) = zookeeper() else { return };
    let cluster = Cluster::new("handover", hosts);
    let (manager, own, second) = (cluster.connect().await, cluster.connect().await, cluster.connect().await);
    let lead = cluster.lead(&manager).await;
    let (a, b) = (worker("a"), worker("b"));
    let (runner_a, runner_b) = (ScriptedRunner::new([]), ScriptedRunner::new([]));
    let agent = Agent::start(&own, a.clone(), runner_a.clone());
    let _other = Agent::start(&second, b.clone(), runner_b.clone());
    lead.create_task(&load(), &definition()).await.unwrap();
    lead.assign(&load(), &a.key()).await.unwrap();
    until_state(&manager, &load(), ObservedState::Running).await;
    let stopping = async {
        agent.stop().await;
        Instant::now()
    };
    let managing = async {
        until("the task to be given back", || async {
            let running = manager.store().running().await.unwrap();
            if running.contains_key(&load()) { Err(()) } else { Ok(()) }
        })
        .await;
        // A manager that is busy sees it all the same.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let workers = manager.store().workers().await.unwrap();
        assert!(workers.values().any(|w| w.info.id == "a" && w.info.draining), "{workers:?}");
        lead.assign(&load(), &b.key()).await.unwrap();
        Instant::now()
    };
    let (stopped_at, assigned_at) = tokio::join!(stopping, managing);
    assert!(stopped_at - assigned_at < Duration::from_millis(600), "took {:?}", stopped_at - assigned_at);
    runner_b.until("b runs", |runs| runs.len() == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changed_during_a_short_cut_is_seen_when_the_link_is_back() {
    let Some(hosts) = zookeeper() else { return };
    let cluster = Cluster::new("shortcut", hosts);
    let link = Link::open(&cluster.hosts).await;
    let manager = cluster.connect().await;
    let lead = cluster.lead(&manager).await;
    let own = cluster.connect_by(&link.address, Duration::from_secs(8)).await;
    let (info, runner) = (worker("a"), ScriptedRunner::new([]));
    let _agent = Agent::start(&own, info.clone(), runner.clone());
    let second = TaskId::new(TaskKind::Load, "second");
    lead.create_task(&load(), &definition()).await.unwrap();
    lead.create_task(&second, &definition()).await.unwrap();
    lead.assign(&load(), &info.key()).await.unwrap();
    until_state(&manager, &load(), ObservedState::Running).await;
    let before = manager.store().running().await.unwrap().remove(&load()).unwrap();

    link.cut();
    let mut stored = manager.store().task(&load()).await.unwrap().unwrap();
    stored.value.desired = DesiredState::Paused;
    lead.update_task(&load(), &stored.value, stored.version).await.unwrap();
    lead.assign(&second, &info.key()).await.unwrap();
    link.mend();
    until_state(&manager, &load(), ObservedState::Paused).await;
    until_state(&manager, &second, ObservedState::Running).await;
    let after = manager.store().running().await.unwrap().remove(&load()).unwrap();
    assert_eq!(before.owner, after.owner, "the session has lived on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_is_withdrawn_while_it_is_taken_is_left_to_others() {
    let Some(hosts) = zookeeper() else { return };
    let cluster = Cluster::new("withdrawn", hosts);
    let (manager, own) = (cluster.connect().await, cluster.connect().await);
    let (lead, runner, info) = (cluster.lead(&manager).await, ScriptedRunner::new([]), worker("a"));
    lead.create_task(&load(), &definition()).await.unwrap();
    let agent = Agent::start(&own, info.clone(), runner.clone());
    // At every moment of the taking once: some milliseconds, in which requests are under way.
    for step in 0..120u64 {
        lead.assign(&load(), &info.key()).await.unwrap();
        tokio::time::sleep(Duration::from_micros(step * 50)).await;
        lead.unassign(&load()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(30)).await;
        until(&format!("given back, withdrawn at step {step}"), || async {
            let running = manager.store().running().await.unwrap();
            if running.is_empty() { Ok(()) } else { Err(running) }
        })
        .await;
    }
    agent.stop().await;
}

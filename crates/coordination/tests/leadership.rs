//! Election, fenced writes, documents and changes, on a real ZooKeeper.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use lutra_coordination::{Change, CoordinationError, LeaderElection};
use lutra_spec::Kind;
use serde_json::json;
use support::{Cluster, Link, PATIENCE, definition, load, until, worker, zookeeper};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_manager_leads_when_the_first_one_goes() {
    let Some(hosts) = zookeeper() else { return };
    let cluster = Cluster::new("failover", hosts);
    let (one, two) = (cluster.connect().await, cluster.connect().await);
    let first = LeaderElection::new(one.clone(), "127.0.0.1:1").campaign().await.unwrap();
    let election = LeaderElection::new(two.clone(), "127.0.0.1:2");
    let mut campaign = Box::pin(election.campaign());
    assert!(tokio::time::timeout(Duration::from_millis(300), &mut campaign).await.is_err(), "one leads at a time");
    assert_eq!(two.store().leader_address().await.unwrap().as_deref(), Some("127.0.0.1:1"));
    drop(first);
    let second = tokio::time::timeout(PATIENCE, campaign).await.unwrap().unwrap();
    assert_eq!(one.store().leader_address().await.unwrap().as_deref(), Some("127.0.0.1:2"));
    drop(second);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_does_not_know_of_its_end_writes_nothing() {
    let Some(hosts) = zookeeper() else { return };
    let cluster = Cluster::new("fence", hosts);
    let link = Link::open(&cluster.hosts).await;
    let one = cluster.connect_by(&link.address, Duration::from_secs(2)).await;
    let two = cluster.connect().await;
    let first = cluster.lead(&one).await;
    first.create_task(&load(), &definition()).await.unwrap();
    first.assign(&load(), &worker("a").key()).await.unwrap();
    link.cut();
    let second = cluster.lead(&two).await;
    second.assign(&load(), &worker("b").key()).await.unwrap();
    link.mend();
    tokio::time::timeout(PATIENCE, first.lost()).await.unwrap();
    assert!(first.assign(&load(), &worker("a").key()).await.is_err());
    let assignments = two.store().assignments().await.unwrap();
    assert_eq!(assignments.iter().map(|a| a.worker.id.as_str()).collect::<Vec<_>>(), ["b"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_lock_node_fences_the_leader_inside_its_session() {
    let Some(hosts) = zookeeper() else { return };
    let cluster = Cluster::new("lock", hosts);
    let one = cluster.connect().await;
    let lead = cluster.lead(&one).await;
    lead.create_task(&load(), &definition()).await.unwrap();
    let operator = zookeeper_client::Client::connect(&cluster.hosts).await.unwrap();
    let directory = one.tree().leader();
    for lock in operator.list_children(&directory).await.unwrap() {
        operator.delete(&format!("{directory}/{lock}"), None).await.unwrap();
    }
    let key = worker("a").key();
    assert!(matches!(lead.assign(&load(), &key).await, Err(CoordinationError::LeadershipLost)));
    assert!(matches!(
        lead.update_task(&load(), &definition(), lutra_coordination::Version(0)).await,
        Err(CoordinationError::LeadershipLost)
    ));
    assert!(one.store().assignments().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn definitions_are_changed_only_from_what_was_read() {
    let Some(hosts) = zookeeper() else { return };
    let cluster = Cluster::new("versions", hosts);
    let one = cluster.connect().await;
    let lead = cluster.lead(&one).await;
    lead.create_task(&load(), &definition()).await.unwrap();
    assert!(matches!(lead.create_task(&load(), &definition()).await, Err(CoordinationError::Exists { .. })));
    let read = one.store().task(&load()).await.unwrap().unwrap();
    lead.update_task(&load(), &read.value, read.version).await.unwrap();
    assert!(matches!(
        lead.update_task(&load(), &read.value, read.version).await,
        Err(CoordinationError::Changed { .. })
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_are_kept_by_kind_and_name() {
    let Some(hosts) = zookeeper() else { return };
    let cluster = Cluster::new("documents", hosts);
    let store = cluster.connect().await.store();
    let document = json!({ "kind": "source", "name": "shop", "spec": { "servers": ["h:1"] } });
    store.put_document(Kind::Source, "shop", &document, None).await.unwrap();
    let again = store.put_document(Kind::Source, "shop", &document, None).await;
    assert!(matches!(again, Err(CoordinationError::Exists { .. })));
    let read = store.document(Kind::Source, "shop").await.unwrap().unwrap();
    assert_eq!(read.value, document);
    store.put_document(Kind::Source, "shop", &document, Some(read.version)).await.unwrap();
    let stale = store.put_document(Kind::Source, "shop", &document, Some(read.version)).await;
    assert!(matches!(stale, Err(CoordinationError::Changed { .. })));
    assert_eq!(store.documents(Kind::Source).await.unwrap().len(), 1);
    assert!(store.documents(Kind::Pipeline).await.unwrap().is_empty());
    assert!(store.delete_document(Kind::Source, "shop", None).await.unwrap());
    assert!(!store.delete_document(Kind::Source, "shop", None).await.unwrap());
    assert_eq!(store.cluster_id().await.unwrap(), store.cluster_id().await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_wake_a_manager_and_a_lost_session_resynchronises_it() {
    let Some(hosts) = zookeeper() else { return };
    let cluster = Cluster::new("changes", hosts);
    let link = Link::open(&cluster.hosts).await;
    let own = cluster.connect_by(&link.address, Duration::from_secs(2)).await;
    let other = cluster.connect().await;
    let mut changes = own.store().changes();
    let lead = cluster.lead(&other).await;
    assert_eq!(changes.next().await, Change::Resync);
    lead.create_task(&load(), &definition()).await.unwrap();
    lead.assign(&load(), &worker("a").key()).await.unwrap();
    let seen = [changes.next().await, changes.next().await];
    assert_eq!(seen, [Change::Task(load()), Change::Assignments]);
    link.cut();
    until("the session is lost", || async { if own.is_connected() { Err(()) } else { Ok(()) } }).await;
    link.mend();
    loop {
        let change = tokio::time::timeout(PATIENCE, changes.next()).await.unwrap();
        if change == Change::Resync {
            break;
        }
    }
}

//! Real managers on real ZooKeeper and Kafka:
//! `LUTRA_ZOOKEEPER=… LUTRA_KAFKA=… cargo test -p lutra-manager -- --ignored`.
#![allow(clippy::unwrap_used, missing_docs)]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use lutra_change::TaskId;
use lutra_coordination::{Coordination, CoordinationConfig, DesiredState, Store, TaskDefinition};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use uuid::Uuid;

/// A manager as a process of its own; killed when dropped.
struct Manager {
    child: Child,
    url: String,
    http: reqwest::Client,
}

impl Manager {
    fn start(cluster: &str, more: &[&str]) -> Self {
        let data = std::env::temp_dir().join(format!("lutra-manager-{}", Uuid::new_v4()));
        // It goes with the test, however that ends.
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", env!("CARGO_BIN_EXE_lutra-manager")])
            .args(["--cluster", cluster, "--log-format", "json", "--data-dir"])
            .arg(&data)
            .args(more)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let url = address(&mut child);
        Self { child, url, http: reqwest::Client::builder().no_proxy().build().unwrap() }
    }

    async fn call(&self, method: Method, path: &str, body: &str) -> (StatusCode, Value) {
        let request = self.http.request(method, format!("{}{path}", self.url)).body(body.to_owned());
        let answer = request.send().await.unwrap();
        (answer.status(), answer.json().await.unwrap_or_default())
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads the log until it says where the manager listens; the rest is read away by a thread.
fn address(child: &mut Child) -> String {
    let (found, address) = std::sync::mpsc::channel();
    let streams: [Box<dyn std::io::Read + Send>; 2] =
        [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
    for stream in streams {
        let found = found.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                let value: Value = serde_json::from_str(&line).unwrap_or_default();
                let fields = value.get("fields").cloned().unwrap_or(value);
                if fields["message"] == "manager is up" {
                    let _ = found.send(fields["address"].as_str().unwrap_or_default().to_owned());
                }
            }
        });
    }
    format!("http://{}", address.recv_timeout(Duration::from_secs(30)).expect("the manager says where it listens"))
}

/// Waits for a state and reports the last one seen.
async fn until<T: std::fmt::Debug, F: Future<Output = T>>(mut look: impl FnMut() -> F, fits: impl Fn(&T) -> bool) -> T {
    let mut last = None;
    for _ in 0..200 {
        let seen = look().await;
        if fits(&seen) {
            return seen;
        }
        last = Some(seen);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("not reached; last seen: {last:?}");
}

async fn store(cluster: &str) -> Store {
    let hosts = std::env::var("LUTRA_ZOOKEEPER").unwrap();
    Coordination::connect(CoordinationConfig::new(hosts, cluster)).await.unwrap().store()
}

async fn task(store: &Store, id: &str) -> Option<TaskDefinition> {
    store.task(&id.parse::<TaskId>().unwrap()).await.unwrap().map(|t| t.value)
}

/// Names that no other run has: topics are named after sources and pipelines.
fn names() -> (String, String) {
    let id = Uuid::new_v4().simple().to_string()[..8].to_owned();
    let text = format!(
        "kind: source\nname: s-{id}\nspec: {{servers: [\"127.0.0.1:1\"], user: u, tables: [\"a.*\"]}}\n---\nkind: target\nname: t-{id}\nspec: {{servers: [\"127.0.0.1:1\"], user: u}}\n---\nkind: pipeline\nname: p-{id}\nspec: {{source: s-{id}, target: t-{id}}}\n"
    );
    (id, text)
}

#[tokio::test]
#[ignore = "needs the stack"]
async fn documents_become_tasks_with_topics_and_go_with_them() {
    let (id, text) = names();
    let cluster = format!("control-{id}");
    let manager = Manager::start(&cluster, &[]);
    let store = store(&cluster).await;
    let (status, answer) = until(|| manager.call(Method::POST, "/v1/documents", &text), |(s, _)| *s != 503).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    // Each once, and that the rules could not be held against their tables.
    assert_eq!(answer["warnings"].as_array().unwrap().len(), 3, "servers that are not there are told: {answer}");

    let load = task(&store, &format!("load/p-{id}")).await.unwrap();
    let transform = task(&store, &format!("transform/p-{id}")).await.unwrap();
    assert_eq!(load.input, transform.log);
    let (_, log) = manager.call(Method::GET, &format!("/v1/logs/s-{id}"), "").await;
    assert_eq!(log["topic"], format!("s-{id}.log"));

    let (status, _) = manager.call(Method::POST, &format!("/v1/pipelines/p-{id}/stop"), "").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(task(&store, &format!("load/p-{id}")).await.unwrap().desired, DesiredState::Stopped);
    assert_eq!(manager.call(Method::POST, &format!("/v1/pipelines/p-{id}/resume"), "").await.0, StatusCode::CONFLICT);

    let changed = text.replace(&format!("target: t-{id}}}"), &format!("target: t-{id}, load: {{connections: 8}}}}"));
    let (_, answer) = manager.call(Method::POST, "/v1/documents?skip_checks=true", &changed).await;
    assert_eq!(answer["changes"][2]["differences"][0]["path"], "spec.load.connections", "{answer}");
    assert_eq!(task(&store, &format!("load/p-{id}")).await.unwrap().spec_version, 2);

    assert_eq!(manager.call(Method::DELETE, &format!("/v1/documents/source/s-{id}"), "").await.0, StatusCode::CONFLICT);
    for path in [format!("pipeline/p-{id}"), format!("source/s-{id}"), format!("target/t-{id}")] {
        assert_eq!(manager.call(Method::DELETE, &format!("/v1/documents/{path}"), "").await.0, StatusCode::OK);
    }
    until(|| store.tasks(), |tasks| tasks.as_ref().is_ok_and(|t| t.is_empty())).await.unwrap();
}

#[tokio::test]
#[ignore = "needs the stack"]
async fn a_second_manager_passes_writes_on_and_takes_over_when_the_first_is_killed() {
    let (id, text) = names();
    let cluster = format!("control-{id}");
    let first = Manager::start(&cluster, &[]);
    let store = store(&cluster).await;
    let leader = first.url.trim_start_matches("http://").to_owned();
    until(|| store.leader_address(), |found| found.as_ref().is_ok_and(|f| f.as_deref() == Some(leader.as_str())))
        .await
        .unwrap();

    let second = Manager::start(&cluster, &[]);
    let (status, answer) = second.call(Method::POST, "/v1/documents?skip_checks=true", &text).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert!(task(&store, &format!("extract/s-{id}")).await.is_some());

    drop(first);
    let path = format!("/v1/pipelines/p-{id}/pause");
    let (status, answer) = until(|| second.call(Method::POST, &path, ""), |(s, _)| s.is_success()).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(task(&store, &format!("load/p-{id}")).await.unwrap().desired, DesiredState::Paused);
}

#[tokio::test]
#[ignore = "needs the stack"]
async fn everything_that_is_wrong_is_told_at_once_and_nothing_is_written() {
    let (id, text) = names();
    let cluster = format!("control-{id}");
    let manager = Manager::start(&cluster, &[]);
    let wrong = text.replace("user: u", "usr: u");
    let (status, answer) = until(|| manager.call(Method::POST, "/v1/documents", &wrong), |(s, _)| *s != 503).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(answer["error"]["code"], "violations");
    assert_eq!(answer["error"]["details"].as_array().unwrap().len(), 4, "{answer}");

    let rules = text.replace(
        &format!("target: t-{id}}}"),
        &format!("target: t-{id}, tables: [{{match: \"*.*\"}}, {{match: a.b}}]}}"),
    );
    let (_, answer) = manager.call(Method::POST, "/v1/documents", &rules).await;
    assert_eq!(answer["error"]["code"], "rules", "{answer}");
    assert_eq!(manager.call(Method::GET, "/v1/documents", "").await.1, serde_json::json!([]));
}

#[tokio::test]
#[ignore = "needs the stack"]
async fn a_manager_with_a_token_answers_nobody_without_it() {
    let (id, _) = names();
    let file = std::env::temp_dir().join(format!("lutra-manager-token-{id}"));
    std::fs::write(&file, "a-token-of-enough-characters").unwrap();
    let manager = Manager::start(&format!("control-{id}"), &["--token-file", file.to_str().unwrap()]);
    assert_eq!(manager.call(Method::GET, "/v1/status", "").await.0, StatusCode::UNAUTHORIZED);
    let with = manager.http.get(format!("{}/v1/status", manager.url)).bearer_auth("a-token-of-enough-characters");
    assert_eq!(with.send().await.unwrap().status(), StatusCode::OK);
    std::fs::remove_file(&file).unwrap();
}

//! The way to the manager.

use std::time::Duration;

use lutra_coordination::{Coordination, CoordinationConfig};
use reqwest::Method;
use serde_json::Value;

use crate::arguments::Reach;
use crate::error::CliError;

/// How long ZooKeeper may take to say who leads.
const LOOKUP: Duration = Duration::from_secs(5);
/// How long a read may take: a look at everything asks all workers, and the doctor all servers.
const READ: Duration = Duration::from_secs(25);
/// How long an ordinary call may take: an apply asks servers and makes topics.
const CALL: Duration = Duration::from_secs(60);

/// A manager.
#[derive(Clone, Debug)]
pub struct Client {
    url: String,
    token: Option<String>,
    http: reqwest::Client,
}

impl Client {
    /// Finds the manager.
    pub async fn find(reach: &Reach) -> Result<Self, CliError> {
        let url = match (&reach.manager, &reach.zookeeper) {
            (Some(url), _) => base(url),
            (None, Some(hosts)) => look_up(hosts, &reach.cluster).await?,
            (None, None) => return Err(CliError::NoManager),
        };
        let token = match &reach.token_file {
            None => None,
            Some(path) => {
                let text =
                    std::fs::read_to_string(path).map_err(|source| CliError::Read { path: path.clone(), source })?;
                Some(text.trim().to_owned())
            }
        };
        // A proxy of the environment is meant for the world outside, not for a manager.
        let built = reqwest::Client::builder().no_proxy().connect_timeout(Duration::from_secs(5)).build();
        let http = built.map_err(|source| CliError::Unreachable { url: url.clone(), source })?;
        Ok(Self { url, token, http })
    }

    /// A read.
    pub async fn get(&self, path: &str) -> Result<Value, CliError> {
        self.call(Method::GET, path, &[], None, READ).await
    }

    /// A write, with what it is about in its query.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<String>,
    ) -> Result<Value, CliError> {
        self.call(method, path, query, body, CALL).await
    }

    /// A call that may take longer.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<String>,
        timeout: Duration,
    ) -> Result<Value, CliError> {
        let fault = |source| CliError::Unreachable { url: self.url.clone(), source };
        let mut request = self.http.request(method, format!("{}{path}", self.url)).query(query).timeout(timeout);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/yaml").body(body);
        }
        let answer = request.send().await.map_err(fault)?;
        let status = answer.status();
        let text = answer.text().await.map_err(fault)?;
        let value: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        if status.is_success() {
            return Ok(value);
        }
        let error = value.get("error").cloned().unwrap_or_default();
        let word = |key: &str| error.get(key).and_then(Value::as_str).map(str::to_owned);
        Err(CliError::Manager {
            status: status.as_u16(),
            code: word("code").unwrap_or_else(|| "unknown".to_owned()),
            message: word("message").unwrap_or_else(|| format!("the manager at {} answered {status}", self.url)),
            details: error.get("details").and_then(Value::as_array).cloned().unwrap_or_default(),
        })
    }
}

fn base(url: &str) -> String {
    let url = url.trim_end_matches('/');
    if url.contains("://") { url.to_owned() } else { format!("http://{url}") }
}

async fn look_up(hosts: &str, cluster: &str) -> Result<String, CliError> {
    let silent = || CliError::NoZooKeeper { hosts: hosts.to_owned() };
    let look = async {
        let coordination = Coordination::connect(CoordinationConfig::new(hosts, cluster)).await?;
        let address = coordination.store().leader_address().await;
        coordination.close().await;
        address
    };
    let address = tokio::time::timeout(LOOKUP, look).await.map_err(|_| silent())?.map_err(CliError::Lookup)?;
    let address = address.ok_or_else(|| CliError::NoLeader { cluster: cluster.to_owned() })?;
    Ok(format!("http://{address}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_alone_is_taken_for_http() {
        assert_eq!(base("127.0.0.1:8700"), "http://127.0.0.1:8700");
        assert_eq!(base("https://lutra.example.org/"), "https://lutra.example.org");
    }
}

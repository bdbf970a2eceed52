//! compose.yaml and deploy/ start the same system as the harness does: what can be compared is compared.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use lutra_harness::install::{BUILD_PACKAGES, KAFKA_VERSION, ZOOKEEPER_VERSION};
use lutra_harness::services::{PACKAGES, Service};
use lutra_harness::stack::{KAFKA_HEAP, KAFKA_SETTINGS, MYSQL_SETTINGS, ZOOKEEPER_HEAP, ZOOKEEPER_SETTINGS};
use lutra_mysql::Flavour;
use lutra_mysql::checks::{source_grants, target_grants};
use saphyr::{LoadableYamlNode, Scalar, Yaml};
use serde_json::{Map, Value};

/// The release that the scenarios run on; Debian sid follows its patches.
const MYSQL_IMAGE: &str = "mysql:9.7";
/// The user that examples/shop.yaml names.
const USER: &str = "lutra";
const SERVERS: [&str; 4] = ["source", "target", "kafka", "zookeeper"];
/// Of a broker's settings, those that say where it is.
const KAFKA_PLACES: [&str; 4] =
    ["KAFKA_LISTENERS", "KAFKA_ADVERTISED_LISTENERS", "KAFKA_CONTROLLER_QUORUM_VOTERS", "KAFKA_LOG_DIRS"];

/// Fails with everything that differs.
pub(crate) fn check(repository: &Path) -> Result<()> {
    let read = |name: &str| fs::read_to_string(repository.join(name)).with_context(|| format!("read {name}"));
    let mut faults = Faults::default();
    let compose = parse(&read("compose.yaml")?)?;
    faults.compose(&compose, &read("examples/shop.yaml")?, &read("crates/runtime/src/arguments.rs")?);
    faults.dockerfile(&read("deploy/Dockerfile")?);
    faults.grants(
        "deploy/mysql/source-account.sh",
        &read("deploy/mysql/source-account.sh")?,
        &source_grants(USER, Flavour::MySql),
    );
    faults.grants(
        "deploy/mysql/target-account.sh",
        &read("deploy/mysql/target-account.sh")?,
        &target_grants(USER, &[], Flavour::MySql),
    );
    if !faults.0.is_empty() {
        bail!("compose.yaml and deploy/ are not what the harness runs:\n  {}", faults.0.join("\n  "));
    }
    Ok(())
}

/// All that differs, in words.
#[derive(Debug, Default)]
struct Faults(Vec<String>);

impl Faults {
    #[allow(clippy::needless_pass_by_value, reason = "the wanted value is mostly built for the call")]
    fn expect<T: PartialEq + std::fmt::Debug>(&mut self, what: &str, found: T, wanted: T) {
        if found != wanted {
            self.0.push(format!("{what}: found {found:?}, wanted {wanted:?}"));
        }
    }

    fn compose(&mut self, compose: &Value, example: &str, arguments: &str) {
        let services = compose["services"].as_object().cloned().unwrap_or_default();
        let wanted = SERVERS.into_iter().map(str::to_owned).chain(Service::ALL.map(|service| service.to_string()));
        self.expect("services", services.keys().cloned().collect::<BTreeSet<_>>(), wanted.collect());
        for (name, service) in &services {
            self.published_ports(name, service);
            if service["healthcheck"]["test"].as_array().is_none() {
                self.0.push(format!("{name}: no health check"));
            }
        }
        let server = |name: &str| services.get(name).cloned().unwrap_or_default();
        self.mysql("source", &server("source"));
        self.mysql("target", &server("target"));
        self.kafka(&server("kafka"));
        self.zookeeper(&server("zookeeper"));
        for service in Service::ALL {
            self.service(service, &server(&service.to_string()), example, arguments);
        }
        let manager = server("manager");
        let token =
            manager["environment"]["LUTRA_TOKEN_FILE"].as_str().and_then(|file| file.strip_prefix("/run/secrets/"));
        let given = strings(&manager["secrets"]);
        if token.is_none_or(|token| !given.iter().any(|name| name == token) || compose["secrets"][token].is_null()) {
            self.0.push("manager: it binds more than loopback and is given no token file".to_owned());
        }
    }

    /// Every port is published on loopback only.
    fn published_ports(&mut self, name: &str, service: &Value) {
        for port in strings(&service["ports"]).iter().filter(|port| !port.starts_with("127.0.0.1:")) {
            self.0.push(format!("{name}: the port {port} is not published on loopback alone"));
        }
    }

    fn mysql(&mut self, name: &str, server: &Value) {
        self.expect(&format!("{name}: image"), text(&server["image"]), MYSQL_IMAGE.to_owned());
        let command = strings(&server["command"]);
        let given = command.iter().filter_map(|word| word.strip_prefix("--")?.split_once('='));
        let mut given: BTreeMap<String, &str> = given.map(|(name, value)| (name.replace('-', "_"), value)).collect();
        if given.remove("server_id").is_none() {
            self.0.push(format!("{name}: no server id of its own"));
        }
        let wanted = MYSQL_SETTINGS.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        self.expect(&format!("{name}: settings"), given, wanted);
        self.asks(name, server, &["--host=127.0.0.1", "SELECT 1"]);
        let script = format!("./deploy/mysql/{name}-account.sh:/docker-entrypoint-initdb.d/account.sh:ro");
        if !strings(&server["volumes"]).contains(&script) {
            self.0.push(format!("{name}: the account is not made by {script}"));
        }
    }

    fn kafka(&mut self, server: &Value) {
        self.expect("kafka: image", text(&server["image"]), format!("apache/kafka:{KAFKA_VERSION}"));
        let mut given = environment(server);
        self.expect("kafka: heap", given.remove("KAFKA_HEAP_OPTS").unwrap_or_default(), KAFKA_HEAP.to_owned());
        let volumes = strings(&server["volumes"]);
        let data = given.get("KAFKA_LOG_DIRS").cloned().unwrap_or_default();
        if !volumes.iter().any(|volume| volume.split_once(':').is_some_and(|(_, place)| place == data)) {
            self.0.push(format!("kafka: its data folder {data:?} is on no volume"));
        }
        KAFKA_PLACES.iter().for_each(|name| drop(given.remove(*name)));
        let variable = |name: &str| format!("KAFKA_{}", name.to_uppercase().replace('.', "_"));
        let wanted = KAFKA_SETTINGS.iter().map(|(name, value)| (variable(name), (*value).to_owned())).collect();
        self.expect("kafka: settings", given, wanted);
        self.asks("kafka", server, &["127.0.0.1:9092"]);
    }

    fn zookeeper(&mut self, server: &Value) {
        self.expect("zookeeper: image", text(&server["image"]), format!("zookeeper:{ZOOKEEPER_VERSION}"));
        let mut given = environment(server);
        self.expect("zookeeper: heap", given.remove("JVMFLAGS").unwrap_or_default(), ZOOKEEPER_HEAP.to_owned());
        let variable = |name: &str| match name {
            "tickTime" => "ZOO_TICK_TIME".to_owned(),
            "admin.enableServer" => "ZOO_ADMINSERVER_ENABLED".to_owned(),
            "4lw.commands.whitelist" => "ZOO_4LW_COMMANDS_WHITELIST".to_owned(),
            other => format!("(the image knows no {other})"),
        };
        let wanted = ZOOKEEPER_SETTINGS.iter().map(|(name, value)| (variable(name), (*value).to_owned())).collect();
        self.expect("zookeeper: settings", given, wanted);
        self.asks("zookeeper", server, &["srvr", "Mode:"]);
    }

    fn service(&mut self, service: Service, container: &Value, example: &str, arguments: &str) {
        let build = &container["build"];
        self.expect(&format!("{service}: program"), text(&build["args"]["BINARY"]), service.program().to_owned());
        self.expect(
            &format!("{service}: build"),
            [text(&build["context"]), text(&build["dockerfile"])],
            [".".to_owned(), "deploy/Dockerfile".to_owned()],
        );
        let command = strings(&container["command"]);
        let options: BTreeMap<&str, &str> =
            command.chunks(2).filter_map(|pair| Some((pair.first()?.as_str(), pair.get(1)?.as_str()))).collect();
        for option in options.keys() {
            let field = format!("pub {}:", option.trim_start_matches("--").replace('-', "_"));
            if !arguments.contains(&field) {
                self.0.push(format!("{service}: services have no option {option}"));
            }
        }
        let port = options.get("--bind").and_then(|bind| bind.rsplit(':').next()).unwrap_or_default();
        self.expect(&format!("{service}: port"), port, EXPOSED);
        self.expect(
            &format!("{service}: --advertise"),
            options.get("--advertise").copied().unwrap_or_default().to_owned(),
            format!("{service}:{port}"),
        );
        let url = format!("http://127.0.0.1:{port}/health/ready");
        self.asks(&service.to_string(), container, &[&url]);
        let given = environment(container);
        let places = ["LUTRA_ZOOKEEPER", "LUTRA_KAFKA"].into_iter().chain(references(example));
        for name in places.filter(|name| !given.contains_key(*name)) {
            self.0.push(format!("{service}: {name} is not in its environment"));
        }
        for server in SERVERS.iter().filter(|name| container["depends_on"][**name]["condition"] != "service_healthy") {
            self.0.push(format!("{service}: it does not wait for {server}"));
        }
    }

    /// The health check holds these words.
    fn asks(&mut self, name: &str, container: &Value, words: &[&str]) {
        let test = strings(&container["healthcheck"]["test"]).join(" ");
        if let Some(word) = words.iter().find(|word| !test.contains(**word)) {
            self.0.push(format!("{name}: its health check does not ask for {word:?}"));
        }
    }

    fn dockerfile(&mut self, text: &str) {
        let line = |start: &str| text.lines().find(|line| line.contains(start)).unwrap_or_default();
        let build: BTreeSet<&str> = line("RUN cargo build").split_whitespace().collect();
        let lacking =
            PACKAGES.iter().chain(&["--locked", "--release", "--bins"]).filter(|word| !build.contains(**word));
        self.0.extend(lacking.map(|word| format!("deploy/Dockerfile: cargo build without {word}")));
        let installed: BTreeSet<&str> = line("RUN apt-get").split_whitespace().collect();
        let lacking = BUILD_PACKAGES.iter().filter(|package| !installed.contains(**package));
        self.0.extend(lacking.map(|package| format!("deploy/Dockerfile: the build stage does not install {package}")));
        self.expect("deploy/Dockerfile: port", line("EXPOSE"), &format!("EXPOSE {EXPOSED}"));
    }

    fn grants(&mut self, file: &str, script: &str, grants: &[String]) {
        let given: Vec<&str> = script.lines().filter(|line| line.starts_with("GRANT")).collect();
        let wanted: Vec<String> = grants.iter().map(|grant| format!("{grant};")).collect();
        self.expect(file, given, wanted.iter().map(String::as_str).collect());
    }
}

/// The port of every service in its container.
const EXPOSED: &str = "7070";

/// The variables that documents refer to.
fn references(documents: &str) -> impl Iterator<Item = &str> {
    let lines = documents.lines().map(|line| line.split('#').next().unwrap_or_default());
    lines.flat_map(|line| line.split("${env:").skip(1)).filter_map(|rest| rest.split('}').next())
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(text).collect()
}

fn environment(service: &Value) -> BTreeMap<String, String> {
    service["environment"].as_object().into_iter().flatten().map(|(name, value)| (name.clone(), text(value))).collect()
}

fn parse(yaml: &str) -> Result<Value> {
    let documents = Yaml::load_from_str(yaml).context("understand compose.yaml")?;
    documents.first().map(plain).context("understand compose.yaml: it is empty")
}

/// YAML as JSON: merge keys merged, and every scalar a string, since that is what a container gets.
fn plain(node: &Yaml<'_>) -> Value {
    match node {
        Yaml::Sequence(items) => items.iter().map(plain).collect(),
        Yaml::Mapping(entries) => {
            let entries: Vec<(String, Value)> =
                entries.iter().map(|(key, value)| (scalar(key), plain(value))).collect();
            let mut merged = Map::new();
            for (key, value) in &entries {
                if let ("<<", Value::Object(inherited)) = (key.as_str(), value) {
                    merged.extend(inherited.clone());
                }
            }
            merged.extend(entries.into_iter().filter(|(key, _)| key != "<<"));
            Value::Object(merged)
        }
        other => Value::String(scalar(other)),
    }
}

fn scalar(node: &Yaml<'_>) -> String {
    match node {
        Yaml::Value(Scalar::String(text)) => text.to_string(),
        Yaml::Value(Scalar::Integer(number)) => number.to_string(),
        Yaml::Value(Scalar::FloatingPoint(number)) => number.to_string(),
        Yaml::Value(Scalar::Boolean(value)) => value.to_string(),
        Yaml::Representation(text, ..) => text.to_string(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn repository() -> std::path::PathBuf {
        lutra_harness::home::repository()
    }

    #[test]
    fn compose_and_the_harness_agree() {
        check(&repository()).unwrap();
    }

    #[test]
    fn anchors_are_merged_and_own_keys_win() {
        let value = parse("x: &x { a: 1, b: { c: 2 } }\ny:\n  <<: *x\n  a: off\n").unwrap();
        assert_eq!(value["y"], serde_json::json!({"a": "off", "b": {"c": "2"}}));
    }

    #[test]
    fn each_difference_is_told() {
        let text = fs::read_to_string(repository().join("compose.yaml")).unwrap();
        for (from, to, word) in [
            ("--gtid-mode=ON", "--gtid-mode=OFF", "gtid_mode"),
            ("127.0.0.1:7070:7070", "7070:7070", "loopback"),
            ("ZOO_TICK_TIME: 500", "ZOO_TICK_TIME: 2000", "ZOO_TICK_TIME"),
            ("loader:7070", "manager:7070", "loader: --advertise"),
            ("KAFKA_LOG_DIRS: /var", "KAFKA_LOG_DIRS: /tmp", "on no volume"),
            ("/health/ready", "/health/live", "health check"),
            ("--advertise\", \"manager", "--advertized\", \"manager", "no option"),
            ("LUTRA_TOKEN_FILE", "LUTRA_TOKEN", "token"),
        ] {
            assert!(text.contains(from), "{from}");
            let mut faults = Faults::default();
            let arguments = fs::read_to_string(repository().join("crates/runtime/src/arguments.rs")).unwrap();
            faults.compose(&parse(&text.replace(from, to)).unwrap(), "", &arguments);
            assert!(faults.0.iter().any(|fault| fault.contains(word)), "{from} -> {to}: {:?}", faults.0);
        }
    }

    #[test]
    fn references_in_comments_do_not_count() {
        let found: Vec<&str> = references("a: ${env:A}  # or ${env:B}\nb: [\"${env:C}\"]").collect();
        assert_eq!(found, ["A", "C"]);
    }
}

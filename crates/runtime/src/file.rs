//! The configuration file: TOML whose keys are the long names of the options.
//!
//! Its values become the options' defaults, so that the command line and the environment win over it, and every option
//! of every service can stand in it without further code.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Command;

use crate::arguments::Violations;

/// Finds `--config FILE` among the raw arguments, or `LUTRA_CONFIG`.
pub(crate) fn find(arguments: &[OsString]) -> Option<PathBuf> {
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let Some(text) = argument.to_str() else { continue };
        match text.strip_prefix("--config") {
            Some("") => return arguments.next().map(PathBuf::from),
            Some(rest) if rest.starts_with('=') => return Some(PathBuf::from(rest.trim_start_matches('='))),
            _ if text == "--" => break,
            _ => {}
        }
    }
    std::env::var_os("LUTRA_CONFIG").map(PathBuf::from)
}

/// Reads `path` and makes its values the defaults of `command`; what does not fit goes to `violations`.
pub(crate) fn apply(path: &Path, command: Command, violations: &mut Violations) -> Command {
    let shown = path.display().to_string();
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            violations.add("config", shown, format!("cannot be read: {error}"));
            return command;
        }
    };
    match text.parse::<toml::Table>() {
        Ok(table) => apply_table(&table, &shown, command, violations),
        Err(error) => {
            violations.add("config", shown, format!("is not TOML: {error}"));
            command
        }
    }
}

fn apply_table(table: &toml::Table, shown: &str, mut command: Command, violations: &mut Violations) -> Command {
    for (key, value) in table {
        let known =
            command.get_arguments().find(|argument| argument.get_long() == Some(key)).map(|a| a.get_id().clone());
        let Some(id) = known.filter(|_| key != "config") else {
            violations.add("config", shown, format!("unknown key {key:?}; known are the long names of the options"));
            continue;
        };
        let Some(values) = texts(value) else {
            violations.add("config", shown, format!("{key}: must be a string, number, boolean, or a list of them"));
            continue;
        };
        command = command.mut_arg(id, |argument| argument.required(false).default_values(values));
    }
    command
}

fn texts(value: &toml::Value) -> Option<Vec<String>> {
    match value {
        toml::Value::String(text) => Some(vec![text.clone()]),
        toml::Value::Integer(number) => Some(vec![number.to_string()]),
        toml::Value::Float(number) => Some(vec![number.to_string()]),
        toml::Value::Boolean(truth) => Some(vec![truth.to_string()]),
        toml::Value::Array(items) => items.iter().map(scalar).collect(),
        toml::Value::Datetime(_) | toml::Value::Table(_) => None,
    }
}

fn scalar(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::Array(_) => None,
        other => texts(other)?.pop(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::{CommandFactory, FromArgMatches, Parser};

    use super::*;
    use crate::arguments::CommonArgs;

    #[derive(Debug, Parser)]
    struct Service {
        #[command(flatten)]
        common: CommonArgs,
    }

    fn parse(file: &str, arguments: &[&str]) -> (Option<Service>, Violations) {
        let mut violations = Violations::default();
        let table = file.parse().unwrap();
        // The environment wins over the file, and that of a test run names real servers.
        let bare = Service::command().mut_args(|argument| argument.env(clap::builder::Resettable::Reset));
        let command = apply_table(&table, "lutra.toml", bare, &mut violations);
        let matches = command.try_get_matches_from(std::iter::once(&"service").chain(arguments));
        (matches.ok().map(|matches| Service::from_arg_matches(&matches).unwrap()), violations)
    }

    #[test]
    fn the_file_fills_what_the_command_line_leaves_open() {
        let file = "zookeeper = \"z:2181\"\nkafka = \"k:9092\"\ncluster = \"blue\"\nshutdown-seconds = 7\n\
                    kafka-property = [\"a=b\", \"c=d\"]";
        let (service, violations) = parse(file, &["--cluster", "green"]);
        let common = service.unwrap().common;
        assert!(violations.is_empty());
        assert_eq!(
            (common.zookeeper.as_str(), common.cluster.as_str(), common.shutdown_seconds),
            ("z:2181", "green", 7)
        );
        assert_eq!(common.kafka_property_map().into_values().collect::<Vec<_>>(), ["b", "d"]);
    }

    #[test]
    fn unknown_keys_and_odd_values_are_all_told() {
        let (_, violations) = parse("zoo = 1\nconfig = \"x\"\ncluster = { a = 1 }", &[]);
        assert_eq!(violations.iter().count(), 3);
    }

    #[test]
    fn the_file_is_found_in_both_spellings() {
        let find = |arguments: &[&str]| find(&arguments.iter().map(OsString::from).collect::<Vec<_>>());
        assert_eq!(find(&["--config", "a.toml"]), Some(PathBuf::from("a.toml")));
        assert_eq!(find(&["--x", "--config=b.toml"]), Some(PathBuf::from("b.toml")));
        assert_eq!(find(&["--", "--config=b.toml"]), None);
    }
}

//! Apache Kafka and ZooKeeper from Maven Central: a list of artifacts gives a folder of jars.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::toolchain::Toolchain;
use super::{Progress, run};

/// The version of Apache Kafka that the harness runs.
pub const KAFKA_VERSION: &str = "4.3.1";
/// The version of Apache ZooKeeper that the harness runs.
pub const ZOOKEEPER_VERSION: &str = "3.9.5";

/// A server that comes as jars.
#[derive(Debug, Clone, Copy)]
pub(super) struct JarSet {
    /// Its name; with the version the name of its folder.
    pub(super) name: &'static str,
    /// Its version.
    pub(super) version: &'static str,
    /// `group:artifact:version` of what its class path starts from.
    pub(super) artifacts: &'static [&'static str],
}

/// Apache Kafka. The logging binding is ours to choose.
pub(super) const KAFKA: JarSet = JarSet {
    name: "kafka",
    version: KAFKA_VERSION,
    artifacts: &[
        "org.apache.kafka:kafka_2.13:4.3.1",
        "org.apache.kafka:kafka-tools:4.3.1",
        "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4",
    ],
};

/// Apache ZooKeeper. Snappy and metrics are declared `provided`, and are needed at run time.
pub(super) const ZOOKEEPER: JarSet = JarSet {
    name: "zookeeper",
    version: ZOOKEEPER_VERSION,
    artifacts: &[
        "org.apache.zookeeper:zookeeper:3.9.5",
        "org.xerial.snappy:snappy-java:1.1.10.7",
        "io.dropwizard.metrics:metrics-core:4.1.12.1",
        "org.slf4j:slf4j-simple:2.0.13",
    ],
};

/// Pinned, so that every Maven does the same.
const COPY_DEPENDENCIES: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies";

/// Copies the jars of `set` into `jars`, which comes into being whole or not at all.
pub(super) fn install(
    set: &JarSet,
    cache: &Path,
    jars: &Path,
    tools: &Toolchain,
    progress: Progress<'_>,
) -> Result<()> {
    progress(&format!("downloading {} {} with Maven", set.name, set.version));
    let parent = jars.parent().context("a folder for the jars")?;
    fs::create_dir_all(parent).with_context(|| format!("make {}", parent.display()))?;
    let fresh = tempfile::Builder::new().prefix("jars-").tempdir_in(parent).context("make a folder for the jars")?;
    let project = fresh.path().join("pom.xml");
    fs::write(&project, pom(set)).context("write the list of artifacts")?;
    let mut command = Command::new(tools.maven());
    command.envs(tools.java_env()).args(["-q", "-B"]).arg(COPY_DEPENDENCIES);
    command.arg(format!("-Dmaven.repo.local={}", cache.join("maven-repository").display()));
    command.arg("-f").arg(&project).args(tools.maven_properties());
    command.arg("-DincludeScope=runtime").arg(format!("-DoutputDirectory={}", fresh.path().display()));
    run(&mut command, &format!("get {} {} with Maven", set.name, set.version))?;
    if jars.exists() {
        fs::remove_dir_all(jars).with_context(|| format!("remove the old {}", jars.display()))?;
    }
    fs::rename(fresh.keep(), jars).with_context(|| format!("move the jars to {}", jars.display()))
}

fn pom(set: &JarSet) -> String {
    let mut dependencies = String::new();
    for artifact in set.artifacts {
        let mut parts = artifact.splitn(3, ':');
        let mut next = || parts.next().unwrap_or_default();
        dependencies += &format!(
            "<dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version></dependency>\n",
            next(),
            next(),
            next()
        );
    }
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion>\n\
         <groupId>lutra</groupId><artifactId>{}</artifactId><version>{}</version><packaging>pom</packaging>\n\
         <dependencies>\n{dependencies}</dependencies></project>\n",
        set.name, set.version
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_artifact_stands_in_the_project_file_with_group_name_and_version() {
        let text = pom(&ZOOKEEPER);
        assert_eq!(text.matches("<dependency>").count(), ZOOKEEPER.artifacts.len());
        assert!(text.contains("<artifactId>snappy-java</artifactId><version>1.1.10.7</version>"));
    }

    #[test]
    fn the_servers_artifacts_carry_the_stated_versions() {
        assert!(KAFKA.artifacts.iter().any(|a| a.ends_with(&format!("kafka_2.13:{KAFKA_VERSION}"))));
        assert!(ZOOKEEPER.artifacts.iter().any(|a| a.ends_with(&format!("zookeeper:{ZOOKEEPER_VERSION}"))));
    }
}

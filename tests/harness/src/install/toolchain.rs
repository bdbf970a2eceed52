//! A Java runtime, Maven and the build needs of the Kafka client: the machine's own, or unpacked ones.

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow};

use super::apt::{PackageSet, Suite};
use super::truststore;

/// A Java runtime. Its own libraries are enough for a server without a screen.
pub(super) const JAVA: PackageSet = PackageSet {
    name: "java",
    suite: Suite::Own,
    packages: &["default-jre-headless"],
    keep: |name| name.starts_with("openjdk-") || name == "zlib1g",
};

/// Maven and the Java libraries that it is made of.
pub(super) const MAVEN: PackageSet = PackageSet {
    name: "maven",
    suite: Suite::Own,
    packages: &["maven"],
    keep: |name| name == "maven" || (name.starts_with("lib") && name.ends_with("-java")),
};

/// What building the Kafka client takes beside a C compiler.
pub(super) const BUILD: PackageSet = PackageSet {
    name: "build",
    suite: Suite::Own,
    packages: &["make", "pkg-config", "libssl-dev", "zlib1g-dev"],
    keep: |name| {
        name == "make"
            || name.starts_with("pkg")
            || name.starts_with("libpkgconf")
            || name.starts_with("libssl")
            || name.starts_with("zlib1g")
    },
};

/// Where the tools are.
#[derive(Debug, Clone)]
pub struct Toolchain {
    java: Option<PathBuf>,
    maven: Option<PathBuf>,
    build: Option<PathBuf>,
    truststore: Option<PathBuf>,
}

/// What the machine has of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Present {
    /// A Java runtime of at least version 17.
    pub(super) java: bool,
    /// Maven.
    pub(super) maven: bool,
    /// make, pkg-config, and the headers and libraries of OpenSSL and zlib.
    pub(super) build: bool,
}

impl Present {
    /// Asks the machine; for Maven only where it is needed, since that takes a second.
    #[must_use]
    pub(super) fn ask(maven_needed: bool) -> Self {
        let java = java_major().is_some_and(|major| major >= 17);
        Self {
            java,
            maven: maven_needed && java && answers(Command::new("mvn").arg("-v")),
            build: answers(Command::new("make").arg("--version"))
                && answers(Command::new("pkg-config").args(["--exists", "libssl", "libcrypto", "zlib"]))
                && links_openssl(),
        }
    }
}

impl Toolchain {
    /// The tools, the machine's own first, then those unpacked under `dist`.
    pub(super) fn locate(present: Present, dist: &Path) -> Result<Self> {
        let unpacked = |set: &PackageSet| Some(dist.join(set.name)).filter(|tree| tree.is_dir());
        let java = if present.java { None } else { unpacked(&JAVA) };
        let truststore = match &java {
            Some(_) => Some(truststore::ensure(dist)?),
            None => None,
        };
        let maven = if present.maven { None } else { unpacked(&MAVEN) };
        let build = if present.build { None } else { unpacked(&BUILD) };
        if let Some(tree) = &build {
            point_pkg_config_into(tree)?;
        }
        Ok(Self { java, maven, build, truststore })
    }

    /// The Java program.
    #[must_use]
    pub fn java(&self) -> PathBuf {
        match self.java_home() {
            Some(home) => home.join("bin/java"),
            None => own_java(),
        }
    }

    /// The Maven program.
    #[must_use]
    pub fn maven(&self) -> PathBuf {
        self.maven.as_ref().map_or_else(|| "mvn".into(), |tree| tree.join("usr/share/maven/bin/mvn"))
    }

    fn java_home(&self) -> Option<PathBuf> {
        let homes = fs::read_dir(self.java.as_ref()?.join("usr/lib/jvm")).ok()?;
        homes.filter_map(|entry| Some(entry.ok()?.path())).find(|home| {
            let link = fs::symlink_metadata(home).is_ok_and(|kind| kind.is_symlink());
            !link && home.join("bin/java").is_file()
        })
    }

    /// What a Java child needs in its environment.
    #[must_use]
    pub fn java_env(&self) -> Vec<(String, String)> {
        let mut env = Vec::new();
        if let (Some(tree), Some(home)) = (&self.java, self.java_home()) {
            env.push(("JAVA_HOME".to_owned(), home.display().to_string()));
            env.push(prepended("LD_LIBRARY_PATH", &library_folders(tree)));
            env.push(prepended("PATH", &[home.join("bin")]));
        }
        if let Some(tree) = &self.maven {
            env.push(("M2_HOME".to_owned(), tree.join("usr/share/maven").display().to_string()));
        }
        env
    }

    /// An unpacked runtime has no list of trusted certificates of its own.
    #[must_use]
    pub fn maven_properties(&self) -> Vec<String> {
        let store = self.truststore.iter();
        store.map(|path| format!("-Djavax.net.ssl.trustStore={}", path.display())).collect()
    }

    /// What cargo and its children need in their environment; empty where the machine has everything.
    #[must_use]
    pub fn cargo_env(&self) -> Vec<(String, String)> {
        let Some(tree) = &self.build else { return Vec::new() };
        let libraries = library_folders(tree);
        let headers: Vec<PathBuf> = std::iter::once(tree.join("usr/include"))
            .chain(multiarch().map(|triplet| tree.join("usr/include").join(triplet)))
            .collect();
        let metadata: Vec<PathBuf> = libraries.iter().map(|folder| folder.join("pkgconfig")).collect();
        vec![
            prepended("PATH", &[tree.join("usr/bin")]),
            prepended("CPATH", &headers),
            prepended("LIBRARY_PATH", &libraries),
            prepended("LD_LIBRARY_PATH", &libraries),
            prepended("PKG_CONFIG_PATH", &metadata),
        ]
    }
}

/// The unpacked metadata says `prefix=/usr`: it is pointed at the tree instead. (A system root would be put before the
/// machine's own libraries too.)
fn point_pkg_config_into(tree: &Path) -> Result<()> {
    for folder in library_folders(tree) {
        let Ok(entries) = fs::read_dir(folder.join("pkgconfig")) else { continue };
        for entry in entries {
            let path = entry?.path();
            let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
            let mended = text.replace("prefix=/usr\n", &format!("prefix={}/usr\n", tree.display()));
            if mended != text {
                let whole = path.with_extension("pc.new");
                fs::write(&whole, mended).with_context(|| format!("write {}", whole.display()))?;
                fs::rename(&whole, &path).with_context(|| format!("replace {}", path.display()))?;
            }
        }
    }
    Ok(())
}

/// The folders of a tree that hold shared libraries.
#[must_use]
pub(super) fn library_folders(tree: &Path) -> Vec<PathBuf> {
    let folders = multiarch().flat_map(|triplet| [tree.join("usr/lib").join(triplet), tree.join("lib").join(triplet)]);
    folders.filter(|folder| folder.is_dir()).collect()
}

/// Debian's name for the machine's architecture.
fn multiarch() -> impl Iterator<Item = &'static str> {
    let triplet = match std::env::consts::ARCH {
        "x86_64" => Some("x86_64-linux-gnu"),
        "aarch64" => Some("aarch64-linux-gnu"),
        _ => None,
    };
    triplet.into_iter()
}

fn prepended(variable: &str, folders: &[PathBuf]) -> (String, String) {
    let before = std::env::var_os(variable).filter(|value| !value.is_empty());
    let old: Vec<PathBuf> = before.iter().flat_map(std::env::split_paths).collect();
    let all = std::env::join_paths(folders.iter().chain(&old)).unwrap_or_else(|_| OsString::new());
    (variable.to_owned(), all.to_string_lossy().into_owned())
}

fn own_java() -> PathBuf {
    match std::env::var_os("JAVA_HOME") {
        Some(home) if Path::new(&home).join("bin/java").is_file() => Path::new(&home).join("bin/java"),
        _ => "java".into(),
    }
}

fn answers(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
}

fn java_major() -> Option<u32> {
    let output = Command::new(own_java()).arg("-version").stdin(Stdio::null()).output().ok()?;
    parse_java_major(&String::from_utf8_lossy(&output.stderr))
}

/// `openjdk version "17.0.15" 2025-04-15` is 17; `"1.8.0_292"` is 8.
fn parse_java_major(text: &str) -> Option<u32> {
    let version = text.split('"').nth(1)?;
    let mut numbers = version.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    match numbers.next()?.ok()? {
        1 => numbers.next()?.ok(),
        major => Some(major),
    }
}

/// Headers and libraries are where the compiler finds them.
fn links_openssl() -> bool {
    let compile = || -> Result<bool> {
        let folder = tempfile::tempdir().context("make a folder")?;
        let mut compiler = Command::new("cc");
        compiler.args(["-x", "c", "-", "-lssl", "-lcrypto", "-lz", "-o"]).arg(folder.path().join("out"));
        compiler.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = compiler.spawn().context("start the C compiler")?;
        let mut input = child.stdin.take().ok_or_else(|| anyhow!("no pipe to the C compiler"))?;
        input.write_all(
            b"#include <openssl/ssl.h>\n#include <zlib.h>\n\
              int main(void) { return OPENSSL_init_ssl(0, 0) == 1 && zlibVersion() ? 0 : 1; }\n",
        )?;
        drop(input);
        Ok(child.wait()?.success())
    };
    compile().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_version_of_java_is_read_old_and_new() {
        assert_eq!(parse_java_major("openjdk version \"17.0.15\" 2025-04-15"), Some(17));
        assert_eq!(parse_java_major("java version \"1.8.0_292\""), Some(8));
        assert_eq!(parse_java_major("openjdk version \"21-ea\" 2023-09-19"), Some(21));
        assert_eq!(parse_java_major("command not found"), None);
    }

    #[test]
    fn unpacked_metadata_points_into_the_tree() {
        let tree = tempfile::tempdir().unwrap();
        let folder = tree.path().join("usr/lib").join(multiarch().next().unwrap()).join("pkgconfig");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("zlib.pc"), "prefix=/usr\nexec_prefix=${prefix}\n").unwrap();
        point_pkg_config_into(tree.path()).unwrap();
        point_pkg_config_into(tree.path()).unwrap();
        let text = fs::read_to_string(folder.join("zlib.pc")).unwrap();
        assert_eq!(text, format!("prefix={}/usr\nexec_prefix=${{prefix}}\n", tree.path().display()));
    }

    #[test]
    fn a_machine_that_has_everything_needs_no_variables() {
        let tools = Toolchain { java: None, maven: None, build: None, truststore: None };
        assert!(tools.cargo_env().is_empty() && tools.java_env().is_empty());
    }
}

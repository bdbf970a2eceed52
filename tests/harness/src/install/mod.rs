//! Downloads and unpacks what the machine lacks, without root, into the home folder.

mod apt;
mod maven;
mod toolchain;
mod truststore;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, bail};

use crate::home::Home;
use crate::stack::Flavour;
use apt::{PackageSet, Suite};
use maven::{KAFKA, ZOOKEEPER};
pub use maven::{KAFKA_VERSION, ZOOKEEPER_VERSION};
pub use toolchain::Toolchain;
use toolchain::{BUILD, JAVA, MAVEN, Present};

/// Where progress is told, a line at a time.
pub type Progress<'a> = &'a dyn Fn(&str);

/// MySQL. Debian's stable suites have none. Perl is there for scripts that the harness does not use.
const MYSQL: PackageSet = PackageSet {
    name: "mysql",
    suite: Suite::Sid,
    packages: &["mysql-server-core", "mysql-client-core"],
    keep: |name| !name.starts_with("perl") && !name.starts_with("libperl") && !name.starts_with("libgdbm"),
};

/// MariaDB, of the machine's own suite.
const MARIADB: PackageSet = PackageSet {
    name: "mariadb",
    suite: Suite::Own,
    packages: &["mariadb-server-core", "mariadb-client-core"],
    keep: MYSQL.keep,
};

/// The model checker.
const SPIN: PackageSet =
    PackageSet { name: "spin", suite: Suite::Own, packages: &["spin"], keep: |name| name == "spin" };

/// Moves the wall clock of a process that it is loaded into.
const FAKETIME: PackageSet =
    PackageSet { name: "faketime", suite: Suite::Own, packages: &["libfaketime"], keep: |name| name == "libfaketime" };

/// The Debian packages that building takes beside a C compiler.
pub const BUILD_PACKAGES: &[&str] = BUILD.packages;

/// Something the machine lacks and that would be downloaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// What it is.
    pub what: String,
    /// Where it comes from.
    pub from: &'static str,
    /// About how much is downloaded.
    pub mib: u32,
}

/// Programs that are ready to run.
#[derive(Debug, Clone)]
pub struct Installation {
    home: Home,
    tools: Toolchain,
}

/// What is missing, by part.
#[derive(Debug, Clone, Copy)]
struct Missing {
    present: Present,
    java: bool,
    maven: bool,
    build: bool,
    mysql: bool,
    kafka: bool,
    zookeeper: bool,
}

impl Missing {
    fn find(home: &Home) -> Self {
        let dist = home.dist();
        let lacks = |name: &str| !dist.join(name).is_dir();
        let kafka = lacks(&folder_of(&KAFKA));
        let zookeeper = lacks(&folder_of(&ZOOKEEPER));
        let present = Present::ask(kafka || zookeeper);
        Self {
            present,
            java: !present.java && lacks(JAVA.name),
            maven: (kafka || zookeeper) && !present.maven && lacks(MAVEN.name),
            build: !present.build && lacks(BUILD.name),
            mysql: lacks(MYSQL.name),
            kafka,
            zookeeper,
        }
    }
}

fn folder_of(set: &maven::JarSet) -> String {
    format!("{}-{}", set.name, set.version)
}

impl Installation {
    /// What [`Installation::ensure`] would download now.
    #[must_use]
    pub fn missing(home: &Home) -> Vec<Need> {
        let missing = Missing::find(home);
        let need = |wanted: bool, what: &str, from, mib| wanted.then(|| Need { what: what.to_owned(), from, mib });
        [
            need(missing.java, "a Java runtime", "Debian", 55),
            need(missing.maven, "Maven", "Debian", 10),
            need(missing.build, "make, pkg-config, headers of OpenSSL and zlib", "Debian", 6),
            need(missing.mysql, "MySQL server and client", "Debian sid", 65),
            need(missing.kafka, &format!("Apache Kafka {KAFKA_VERSION}"), "Maven Central", 70),
            need(missing.zookeeper, &format!("Apache ZooKeeper {ZOOKEEPER_VERSION}"), "Maven Central", 15),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// The tools that cargo needs, without the servers; `None` when a download would be needed first.
    ///
    /// # Errors
    /// When what was unpacked cannot be used.
    pub fn build_tools(home: &Home) -> Result<Option<Toolchain>> {
        let present = Present::ask(false);
        if !present.build && !home.dist().join(BUILD.name).is_dir() {
            return Ok(None);
        }
        Toolchain::locate(present, &home.dist()).map(Some)
    }

    /// Downloads and unpacks what is missing. Runs side by side wait for each other.
    ///
    /// # Errors
    /// When a download or unpacking fails; what came whole stays, and the next call goes on from there.
    pub fn ensure(home: &Home, progress: Progress<'_>) -> Result<Self> {
        let _lock = home.lock("install")?;
        let (cache, dist) = (home.cache(), home.dist());
        for folder in [&cache, &dist] {
            fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        }
        let missing = Missing::find(home);
        for (wanted, set) in
            [(missing.java, &JAVA), (missing.maven, &MAVEN), (missing.build, &BUILD), (missing.mysql, &MYSQL)]
        {
            if wanted {
                apt::install(set, &cache, &dist.join(set.name), progress)?;
            }
        }
        let tools = Toolchain::locate(missing.present, &dist)?;
        for (wanted, set) in [(missing.kafka, &KAFKA), (missing.zookeeper, &ZOOKEEPER)] {
            if wanted {
                maven::install(set, &cache, &dist.join(folder_of(set)), &tools, progress)?;
            }
        }
        Ok(Self { home: home.clone(), tools })
    }

    /// The folder it lies in.
    #[must_use]
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// Java, Maven and build tools.
    #[must_use]
    pub fn tools(&self) -> &Toolchain {
        &self.tools
    }

    /// The class path of Kafka.
    #[must_use]
    pub fn kafka_classpath(&self) -> String {
        self.home.dist().join(folder_of(&KAFKA)).join("*").display().to_string()
    }

    /// The class path of ZooKeeper.
    #[must_use]
    pub fn zookeeper_classpath(&self) -> String {
        self.home.dist().join(folder_of(&ZOOKEEPER)).join("*").display().to_string()
    }

    /// Downloads and unpacks MariaDB where it is missing: only stacks that have such a server need it.
    ///
    /// # Errors
    /// When a download or unpacking fails.
    pub fn ensure_mariadb(&self, progress: Progress<'_>) -> Result<()> {
        let _lock = self.home.lock("install")?;
        let tree = self.server_tree(Flavour::MariaDb);
        if tree.is_dir() { Ok(()) } else { apt::install(&MARIADB, &self.home.cache(), &tree, progress) }
    }

    /// The unpacked tree of MySQL or MariaDB.
    #[must_use]
    pub fn server_tree(&self, flavour: Flavour) -> PathBuf {
        self.home.dist().join(match flavour {
            Flavour::MySql => MYSQL.name,
            Flavour::MariaDb => MARIADB.name,
        })
    }

    /// How a program of MySQL (`mysqld`, `mysql`, `mysqldump`, `mysqlbinlog`) or MariaDB (`mariadbd`, `mariadb-dump`, …)
    /// is run: its tree has a C library of its own, so it goes through that library's loader. Program and first arguments.
    ///
    /// # Errors
    /// When the tree lacks the loader.
    pub fn server_program(&self, flavour: Flavour, name: &str) -> Result<(PathBuf, Vec<String>)> {
        let tree = self.server_tree(flavour);
        let libraries = toolchain::library_folders(&tree);
        let loader = libraries
            .iter()
            .flat_map(|folder| fs::read_dir(folder).into_iter().flatten())
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("ld-linux")))
            .ok_or_else(|| anyhow!("find the loader under {}", tree.display()))?;
        let place = if name.ends_with('d') { "usr/sbin" } else { "usr/bin" };
        let program = tree.join(place).join(name);
        let libraries: Vec<String> = libraries.iter().map(|folder| folder.display().to_string()).collect();
        let args = ["--library-path".to_owned(), libraries.join(":"), program.display().to_string()];
        Ok((loader, args.to_vec()))
    }
}

/// The model checker spin, downloaded and unpacked where it is missing; it runs with the machine's C compiler.
///
/// # Errors
/// When a download or unpacking fails.
pub fn ensure_spin(home: &Home, progress: Progress<'_>) -> Result<PathBuf> {
    let _lock = home.lock("install")?;
    let tree = home.dist().join(SPIN.name);
    if !tree.is_dir() {
        apt::install(&SPIN, &home.cache(), &tree, progress)?;
    }
    Ok(tree.join("usr/bin/spin"))
}

/// The library that moves a process's clock, downloaded and unpacked where it is missing.
///
/// # Errors
/// When a download or unpacking fails, or the package has another form than it had.
pub fn ensure_faketime(home: &Home, progress: Progress<'_>) -> Result<PathBuf> {
    let _lock = home.lock("install")?;
    let tree = home.dist().join(FAKETIME.name);
    if !tree.is_dir() {
        apt::install(&FAKETIME, &home.cache(), &tree, progress)?;
    }
    let folders = toolchain::library_folders(&tree);
    let library = folders.iter().map(|folder| folder.join("faketime/libfaketimeMT.so.1")).find(|path| path.is_file());
    library.ok_or_else(|| anyhow!("find libfaketimeMT.so.1 under {}", tree.display()))
}

/// Runs a command to its end and gives its standard output.
fn run(command: &mut Command, what: &str) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("{what}: start {program}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
    let lines: Vec<&str> = said.lines().collect();
    let last = lines.get(lines.len().saturating_sub(15)..).unwrap_or_default().join("\n  ");
    bail!("{what}: {program} {}:\n  {last}", crate::process::describe(Some(output.status)))
}

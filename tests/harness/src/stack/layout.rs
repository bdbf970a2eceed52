//! Folders, settings and command lines of the servers.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use rand::Rng;
use rand::distr::Alphanumeric;

use super::{Flavour, KAFKA_NAME, Life, MySqlSpec, Stack, StackSpec, ZOOKEEPER_NAME, cluster, ports};
use crate::install::Installation;
use crate::process::{Guard, Launch, describe, tail};
use crate::server::{Kind, Server};

/// Makes each server's folder and settings; nothing runs yet.
pub(super) fn servers(
    installation: &Installation,
    spec: &StackSpec,
    folder: &Path,
    used: &[u16],
) -> Result<BTreeMap<String, Server>> {
    let guard = match spec.life {
        Life::Test => Guard::WithStarter,
        Life::Kept => Guard::Kept,
    };
    let mut taken = used.to_vec();
    let mut servers = BTreeMap::new();
    let mut add = |name: &str, kind, port, (program, args, env): CommandLine| {
        let launch = launch(name, folder, guard, program, args, env);
        let old = servers.insert(name.to_owned(), Server::new(name, kind, port, launch));
        if old.is_some() { bail!("lay out the stack: two servers are called {name}") } else { Ok(()) }
    };
    for (number, mysql) in spec.mysql.iter().enumerate() {
        let port = ports::pick(&mut taken)?;
        let own = make(&folder.join(&mysql.name))?;
        fs::write(own.join("my.cnf"), my_cnf(installation, mysql, number + 1, port, &own)).context("write my.cnf")?;
        let (program, mut args) = installation.server_program(mysql.flavour, daemon(mysql.flavour))?;
        args.push(format!("--defaults-file={}", own.join("my.cnf").display()));
        let (program, args) = match mysql.disk_mib {
            Some(size) => on_own_disk(size, &own.join("data"), &program, args),
            None => (program, args),
        };
        add(&mysql.name, Kind::MySql, port, (program, args, Vec::new()))?;
    }
    if spec.kafka {
        let brokers = cluster::brokers(spec, &mut taken)?;
        for (broker, name) in brokers.iter().zip(cluster::names(KAFKA_NAME, spec.brokers)) {
            let own = make(&folder.join(&name))?;
            fs::write(own.join("server.properties"), cluster::kafka_properties(broker, &brokers, &own))
                .context("write server.properties")?;
            fs::write(own.join("log4j2.properties"), KAFKA_LOGGING).context("write log4j2.properties")?;
            add(&name, Kind::Kafka, broker.port, kafka_command(installation, &own))?;
        }
    }
    if spec.zookeeper {
        let members = cluster::members(spec, &mut taken)?;
        for (member, name) in members.iter().zip(cluster::names(ZOOKEEPER_NAME, spec.zookeepers)) {
            let own = make(&folder.join(&name))?;
            fs::write(own.join("zoo.cfg"), cluster::zoo_cfg(member, &members, &own)).context("write zoo.cfg")?;
            fs::write(make(&own.join("data"))?.join("myid"), member.id.to_string()).context("write myid")?;
            add(&name, Kind::ZooKeeper, member.port, zookeeper_command(installation, &own))?;
        }
    }
    Ok(servers)
}

fn daemon(flavour: Flavour) -> &'static str {
    match flavour {
        Flavour::MySql => "mysqld",
        Flavour::MariaDb => "mariadbd",
    }
}

/// The same command in a mount namespace of its own, where the data folder is a small disk in memory. No root is needed:
/// the namespace has its own. Each program replaces the one before, so that the process stays the one that was started.
fn on_own_disk(size: u32, data: &Path, program: &Path, args: Vec<String>) -> (PathBuf, Vec<String>) {
    let script = format!(
        "set -e; cp -a '{data}' '{data}.first'; mount -t tmpfs -o size={size}m,mode=0700 tmpfs '{data}'; cp -a '{data}.first/.' '{data}'; \
         rm -r '{data}.first'; exec \"$@\"",
        data = data.display()
    );
    let mut all = ["--user", "--map-root-user", "--mount", "sh", "-c", &script, "sh"].map(str::to_owned).to_vec();
    all.push(program.display().to_string());
    all.extend(args);
    (PathBuf::from("/usr/bin/unshare"), all)
}

/// What Lutra and its users rely on in a MySQL server; everything else is a matter of place and size.
pub const MYSQL_SETTINGS: &[(&str, &str)] = &[
    ("gtid_mode", "ON"),
    ("enforce_gtid_consistency", "ON"),
    ("binlog_row_metadata", "FULL"),
    ("max_allowed_packet", "1G"),
];

/// The same for MariaDB.
pub const MARIADB_SETTINGS: &[(&str, &str)] = &[
    ("gtid_strict_mode", "ON"),
    // Else whoever makes functions and triggers needs SUPER.
    ("log_bin_trust_function_creators", "ON"),
    ("binlog_format", "ROW"),
    ("binlog_row_metadata", "FULL"),
    ("max_allowed_packet", "1G"),
];

/// The same for Kafka with one broker.
pub const KAFKA_SETTINGS: &[(&str, &str)] = &[
    ("process.roles", "broker,controller"),
    ("node.id", "1"),
    ("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT"),
    ("controller.listener.names", "CONTROLLER"),
    ("inter.broker.listener.name", "PLAINTEXT"),
    ("auto.create.topics.enable", "false"),
    ("offsets.topic.replication.factor", "1"),
    ("transaction.state.log.replication.factor", "1"),
    ("transaction.state.log.min.isr", "1"),
    ("min.insync.replicas", "1"),
];

/// The same for ZooKeeper.
pub const ZOOKEEPER_SETTINGS: &[(&str, &str)] =
    &[("tickTime", "500"), ("admin.enableServer", "false"), ("4lw.commands.whitelist", "ruok,srvr,stat,mntr")];

/// Options of the Java machine.
pub const KAFKA_HEAP: &str = "-Xmx512m";
/// Options of the Java machine.
pub const ZOOKEEPER_HEAP: &str = "-Xmx64m";
/// A stack seldom lives for more than minutes: half of what a broker used in its first one went into its optimising compiler.
const SHORT_LIFE: [&str; 2] = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"];

/// Keeps a Java machine's scratch files in the server's own folder: the native libraries that it unpacks, which a killed one
/// leaves behind, and its performance counters, which it would have nowhere but in the machine's own place for such files.
pub(super) fn java_scratch(own: &Path) -> [String; 2] {
    [format!("-Djava.io.tmpdir={}", own.display()), "-XX:-UsePerfData".to_owned()]
}

pub(super) fn lines_of(settings: &[(&str, &str)]) -> String {
    settings.iter().map(|(name, value)| format!("{name}={value}\n")).collect()
}

type CommandLine = (PathBuf, Vec<String>, Vec<(String, String)>);

/// How a server of the stack in `folder` is started.
pub(super) fn launch(
    name: &str,
    folder: &Path,
    guard: Guard,
    program: PathBuf,
    args: Vec<String>,
    env: Vec<(String, String)>,
) -> Launch {
    let dir = folder.join(name);
    Launch { name: name.to_owned(), program, args, env, log: dir.join(format!("{name}.log")), dir, guard }
}

fn make(folder: &Path) -> Result<PathBuf> {
    fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    Ok(folder.to_path_buf())
}

fn my_cnf(installation: &Installation, spec: &MySqlSpec, server_id: usize, port: u16, own: &Path) -> String {
    let mut lines = server_base(installation, spec.flavour, own);
    lines += &format!(
        "port={port}\nserver-id={server_id}\nbind-address=127.0.0.1\nlog-bin=binlog\ninnodb_buffer_pool_size=256M\n\
         performance_schema=OFF\nmax_connections=200\n"
    );
    lines += &lines_of(match spec.flavour {
        Flavour::MySql => MYSQL_SETTINGS,
        Flavour::MariaDb => MARIADB_SETTINGS,
    });
    lines += match spec.flavour {
        // Else whoever makes functions and triggers needs SUPER.
        Flavour::MySql => "log_bin_trust_function_creators=ON\n",
        // Debian's own default.
        Flavour::MariaDb => "character-set-server=utf8mb4\n",
    };
    if spec.relaxed {
        // Written to the kernel at each commit: the end of the process loses nothing, that of the machine may.
        lines += "sync_binlog=0\ninnodb_flush_log_at_trx_commit=2\n";
    } else {
        lines += "sync_binlog=1\ninnodb_flush_log_at_trx_commit=1\n";
    }
    if spec.replica {
        // What a killed replica had received and not executed is fetched again.
        lines += match spec.flavour {
            Flavour::MySql => "log_replica_updates=ON\n",
            Flavour::MariaDb => "log_slave_updates=ON\n",
        };
        lines += "relay_log=relay\nrelay_log_recovery=ON\n";
    }
    spec.settings.iter().for_each(|line| lines += &format!("{line}\n"));
    lines
}

/// What a server needs to find its own tree and folder. It logs to standard error, which is its log file.
fn server_base(installation: &Installation, flavour: Flavour, own: &Path) -> String {
    let (tree, own) = (installation.server_tree(flavour), own.display());
    let tree = tree.display();
    let user = if nix::unistd::geteuid().is_root() { "user=root\n" } else { "" };
    let mysql_only = match flavour {
        Flavour::MySql => "mysqlx=OFF\n",
        Flavour::MariaDb => "",
    };
    // The path of a socket file may have 107 bytes, a deep folder is longer: it is named from the data folder.
    format!(
        "[mysqld]\n{user}basedir={tree}/usr\nlc-messages-dir={tree}/usr/share/mysql\n\
         character-sets-dir={tree}/usr/share/mysql/charsets\nplugin-dir={tree}/usr/lib/mysql/plugin\n\
         datadir={own}/data\ntmpdir={own}\nsocket=mysql.sock\npid-file={own}/mysqld.pid\nsecure_file_priv=\n\
         {mysql_only}skip-name-resolve\n"
    )
}

/// A data folder is made once and copied for each server: that saves seconds per server.
pub(super) fn prepare_mysql(installation: &Installation, stack: &Stack, spec: &StackSpec) -> Result<()> {
    if spec.mysql.is_empty() {
        return Ok(());
    }
    for server in &spec.mysql {
        let template = template(installation, server.flavour)?;
        let data = stack.folder.join(&server.name).join("data");
        let mut copy = Command::new("cp");
        copy.args(["-a", "--reflink=auto", "--sparse=auto"]).arg(&template).arg(&data).stdin(Stdio::null());
        let status = copy.status().context("copy a MySQL data folder")?;
        if !status.success() {
            bail!("copy a MySQL data folder to {}: cp {}", data.display(), describe(Some(status)));
        }
    }
    Ok(())
}

fn template(installation: &Installation, flavour: Flavour) -> Result<PathBuf> {
    let home = installation.home();
    let name = match flavour {
        Flavour::MySql => "mysql-data",
        Flavour::MariaDb => "mariadb-data",
    };
    let place = home.dist().join(name);
    let _lock = home.lock(name)?;
    let data = place.join("data");
    if data.join("complete").is_file() {
        return Ok(data);
    }
    if place.exists() {
        fs::remove_dir_all(&place).with_context(|| format!("remove {}", place.display()))?;
    }
    make(&place)?;
    let settings = place.join("my.cnf");
    fs::write(&settings, server_base(installation, flavour, &place)).context("write my.cnf")?;
    let (program, args) = installation.server_program(flavour, daemon(flavour))?;
    let mut command = Command::new(program);
    command.args(args).arg(format!("--defaults-file={}", settings.display()));
    match flavour {
        Flavour::MySql => initialize_mysql(&mut command, &place)?,
        Flavour::MariaDb => initialize_mariadb(&mut command, &installation.server_tree(flavour), &place)?,
    }
    fs::write(data.join("complete"), "").context("mark the data folder complete")?;
    Ok(data)
}

fn initialize_mysql(command: &mut Command, place: &Path) -> Result<()> {
    let first = place.join("first.sql");
    fs::write(&first, "CREATE USER root@'127.0.0.1';\nGRANT ALL ON *.* TO root@'127.0.0.1' WITH GRANT OPTION;\n")
        .context("write first.sql")?;
    command.arg("--initialize-insecure").arg(format!("--init-file={}", first.display())).stdin(Stdio::null());
    run_logged(command, &place.join("initialize.log"), "initialise a MySQL data folder")?;
    // Each server makes an identity of its own.
    let _ = fs::remove_file(place.join("data/auto.cnf"));
    Ok(())
}

/// The system tables, as MariaDB's own script makes them, and a root without a password.
fn initialize_mariadb(command: &mut Command, tree: &Path, place: &Path) -> Result<()> {
    const SCRIPTS: [&str; 4] = [
        "mysql_system_tables.sql",
        "mysql_performance_tables.sql",
        "mysql_system_tables_data.sql",
        "mysql_sys_schema.sql",
    ];
    let mut text = String::from(
        "CREATE DATABASE mysql;\nUSE mysql;\nSET @auth_root_socket = NULL, @skip_auth_anonymous = 1, @current_hostname = 'localhost';\n",
    );
    for script in SCRIPTS {
        let path = tree.join("usr/share/mysql").join(script);
        text += &fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    }
    text += "USE mysql;\nREPLACE INTO global_priv VALUES ('127.0.0.1', 'root', \
             '{\"access\":18446744073709551615,\"plugin\":\"mysql_native_password\",\"authentication_string\":\"\"}');\n";
    let first = place.join("first.sql");
    fs::write(&first, text).context("write first.sql")?;
    make(&place.join("data"))?;
    command
        .arg("--bootstrap")
        .arg("--innodb-log-file-size=48M")
        .stdin(fs::File::open(&first).context("open first.sql")?);
    run_logged(command, &place.join("initialize.log"), "initialise a MariaDB data folder")
}

fn run_logged(command: &mut Command, log: &Path, what: &str) -> Result<()> {
    let out = fs::File::create(log).with_context(|| format!("open {}", log.display()))?;
    let both = out.try_clone().context("share the log")?;
    let status = command.stdout(out).stderr(both).status().with_context(|| what.to_owned())?;
    if !status.success() {
        bail!("{what}: it {}; its log ends with\n{}", describe(Some(status)), tail(log, 20));
    }
    Ok(())
}

const KAFKA_LOGGING: &str = "status=error\nappender.out.type=Console\nappender.out.name=out\n\
    appender.out.layout.type=PatternLayout\nappender.out.layout.pattern=%d %p %m (%c)%n\n\
    rootLogger.level=info\nrootLogger.appenderRef.out.ref=out\n";

fn kafka_java(installation: &Installation, own: &Path) -> Vec<String> {
    let [scratch, counters] = java_scratch(own);
    vec![
        KAFKA_HEAP.to_owned(),
        SHORT_LIFE[0].to_owned(),
        SHORT_LIFE[1].to_owned(),
        scratch,
        counters,
        format!("-Dlog4j2.configurationFile={}", own.join("log4j2.properties").display()),
        "-cp".to_owned(),
        installation.kafka_classpath(),
    ]
}

fn kafka_command(installation: &Installation, own: &Path) -> CommandLine {
    let mut args = kafka_java(installation, own);
    args.extend(["kafka.Kafka".to_owned(), own.join("server.properties").display().to_string()]);
    (installation.tools().java(), args, installation.tools().java_env())
}

/// Formats the brokers' data folders.
pub(super) fn prepare_kafka(installation: &Installation, stack: &Stack) -> Result<()> {
    // 21 characters and an `A`: base64 of sixteen bytes.
    let id: String = rand::rng().sample_iter(Alphanumeric).take(21).map(char::from).chain(['A']).collect();
    let brokers = stack.all(Kind::Kafka);
    for broker in &brokers {
        let own = broker.folder();
        let mut command = Command::new(installation.tools().java());
        command.args(kafka_java(installation, own)).envs(installation.tools().java_env());
        command.args(["kafka.tools.StorageTool", "format"]);
        if brokers.len() == 1 {
            command.arg("--standalone");
        }
        command.args(["-t", &id, "-c"]).arg(own.join("server.properties")).stdin(Stdio::null());
        run_logged(&mut command, &own.join("format.log"), "format Kafka's data folder")?;
    }
    Ok(())
}

fn zookeeper_command(installation: &Installation, own: &Path) -> CommandLine {
    let [scratch, counters] = java_scratch(own);
    let args = [
        ZOOKEEPER_HEAP,
        SHORT_LIFE[0],
        SHORT_LIFE[1],
        &scratch,
        &counters,
        "-Dorg.slf4j.simpleLogger.showDateTime=true",
        "-cp",
        &installation.zookeeper_classpath(),
        "org.apache.zookeeper.server.quorum.QuorumPeerMain",
        &own.join("zoo.cfg").display().to_string(),
    ];
    (installation.tools().java(), args.map(str::to_owned).to_vec(), installation.tools().java_env())
}

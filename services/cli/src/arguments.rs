//! The commands and their options.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

/// Follow databases into other databases, exactly once.
///
/// You describe what you want in YAML: a *source* (a MySQL or MariaDB server that is read), a *target* (one that is written), and a
/// *pipeline* that joins the two. `lutra apply -f FILE` hands it over; the services do the rest.
///
/// Exit codes: 0 ok, 1 it failed, 2 your input is not valid, 3 something around it is not as it must be.
#[derive(Clone, Debug, Parser)]
#[command(name = "lutra", version, propagate_version = true, max_term_width = 110)]
pub struct Arguments {
    /// Where the manager is.
    #[command(flatten)]
    pub reach: Reach,

    /// Print JSON, for programs
    #[arg(long, global = true)]
    pub json: bool,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// How the manager is found.
#[derive(Clone, Debug, Default, Args)]
pub struct Reach {
    /// Address of a manager, such as http://127.0.0.1:8700
    #[arg(long, global = true, env = "LUTRA_MANAGER", value_name = "URL", help_heading = "Manager")]
    pub manager: Option<String>,

    /// ZooKeeper servers, to look the manager up where --manager is not given
    #[arg(long, global = true, env = "LUTRA_ZOOKEEPER", value_name = "HOST:PORT", help_heading = "Manager")]
    pub zookeeper: Option<String>,

    /// Name of the Lutra cluster in that ZooKeeper
    #[arg(
        long,
        global = true,
        env = "LUTRA_CLUSTER",
        value_name = "NAME",
        default_value = "default",
        help_heading = "Manager"
    )]
    pub cluster: String,

    /// File with the manager's token, where it asks for one
    #[arg(long, global = true, env = "LUTRA_TOKEN_FILE", value_name = "FILE", help_heading = "Manager")]
    pub token_file: Option<PathBuf>,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Check specification files, without a manager
    ///
    /// Reports everything that is wrong at once, with line and column.
    Validate(Files),
    /// Hand specification files over, and show what changes
    ///
    /// All documents are checked first, against one another and against the servers they name. If anything is wrong,
    /// nothing is changed.
    Apply(ApplyArguments),
    /// Delete a source, target or pipeline
    ///
    /// Its tasks are drained and its logs are deleted; what is in the target's tables stays there.
    Delete(DeleteArguments),
    /// Print what was applied, as YAML
    Get(GetArguments),
    /// Show how everything does: states, lags, positions, workers
    Status(StatusArguments),
    /// Start a pipeline that was stopped, and try at once what failed of it and of its source
    Start(PipelineArgument),
    /// Stop a pipeline: it finishes what it holds and gives its workers back; its source goes on
    Stop(PipelineArgument),
    /// Pause a pipeline: it finishes what it holds and keeps its workers
    Pause(PipelineArgument),
    /// Go on with a pipeline that was paused
    Resume(PipelineArgument),
    /// Wait until the target has everything that the source had committed when you called
    Wait(WaitArguments),
    /// Compare the tables of a pipeline at its source and its target, down to the rows that differ
    ///
    /// The servers compute checksums over slices of each table; no table is held in memory. Exit codes: 0 equal, 1
    /// different, 3 something around it is not as it must be. Both accounts need SELECT on what is compared.
    Compare(CompareArguments),
    /// Steer full loads: pause, resume, cancel, restart
    #[command(subcommand)]
    Load(LoadCommand),
    /// DDL that waits for a person, or failed in the target
    #[command(subcommand)]
    Ddl(DdlCommand),
    /// Read ordered logs
    #[command(subcommand)]
    Log(LogCommand),
    /// Print a binlog: files, or what a server sends
    ///
    /// One line per event, and one per row image; with --json one object per event and per row. Row counts per table
    /// come last. Rows of a server whose binlog_row_metadata is MINIMAL have columns @1, @2 and so on.
    Binlog(BinlogArguments),
    /// Begin a new log where one cannot go on, behind what the target has
    ///
    /// For the day on which a topic was deleted, lost its tail, or was overtaken by its retention. The old topic stays as it
    /// is.
    Adopt(AdoptArguments),
    /// Begin a new log at a chosen place
    ///
    /// Of a source, with its pipelines: where its binlog cannot be followed, or its history is another one. Of a pipeline: at
    /// a place in its source's log. A target that has nothing behind the place goes on there; what lies between is named, and
    /// passed over. One that is past it is refused, unless its tables are loaded again. The old topics stay as they are.
    Rewind(RewindArguments),
    /// Look at everything a run stands on, and say what mends it
    Doctor(DoctorArguments),
    /// Print completions for a shell
    ///
    /// For bash, for example: lutra completions bash > ~/.local/share/bash-completion/completions/lutra
    Completions {
        /// Which shell
        shell: Shell,
    },
}

/// Specification files.
#[derive(Clone, Debug, Args)]
pub struct Files {
    /// A YAML file with one or more documents; - reads standard input; may be repeated
    #[arg(short = 'f', long = "file", value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
}

/// What to apply.
#[derive(Clone, Debug, Args)]
pub struct ApplyArguments {
    /// The files.
    #[command(flatten)]
    pub files: Files,
    /// Show what would change, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask the servers whether they are fit
    #[arg(long)]
    pub skip_checks: bool,
}

/// Kinds of documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KindArgument {
    /// Servers that are read
    #[value(alias = "sources")]
    Source,
    /// Servers that are written
    #[value(alias = "targets")]
    Target,
    /// What joins the two
    #[value(alias = "pipelines")]
    Pipeline,
}

impl KindArgument {
    /// The word in documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Target => "target",
            Self::Pipeline => "pipeline",
        }
    }
}

/// What to delete.
#[derive(Clone, Debug, Args)]
pub struct DeleteArguments {
    /// What it is
    pub kind: KindArgument,
    /// Its name
    pub name: String,
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// What to print.
#[derive(Clone, Debug, Args)]
pub struct GetArguments {
    /// Only this kind
    pub kind: Option<KindArgument>,
    /// Only the one of this name
    #[arg(requires = "kind")]
    pub name: Option<String>,
}

/// What to show.
#[derive(Clone, Debug, Args)]
pub struct StatusArguments {
    /// Only this pipeline
    pub pipeline: Option<String>,
    /// Show it again and again, until Ctrl-C
    #[arg(short, long)]
    pub watch: bool,
    /// Seconds between two looks of --watch
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub every: u64,
}

/// A pipeline.
#[derive(Clone, Debug, Args)]
pub struct PipelineArgument {
    /// The pipeline
    pub pipeline: String,
}

/// What to wait for.
#[derive(Clone, Debug, Args)]
pub struct WaitArguments {
    /// The pipeline
    pub pipeline: String,
    /// How long at most: 60s, 5m, 1500ms
    #[arg(long, value_name = "TIME", default_value = "60s")]
    pub timeout: String,
}

/// What to compare.
#[derive(Clone, Debug, Args)]
pub struct CompareArguments {
    /// The pipeline
    pub pipeline: String,
    /// Only these tables, by their names in the source: shop.orders, "shop.*"
    #[arg(long, value_name = "PATTERN", value_delimiter = ',')]
    pub tables: Vec<String>,
    /// While writes go on, or when nothing writes
    #[arg(long, value_name = "MOMENT", default_value = "sync")]
    pub at: Moment,
    /// How many differences of a table are described; all are counted
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub limit: usize,
    /// Account for both servers in place of those of the documents; its password is read from LUTRA_COMPARE_PASSWORD
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
}

/// When rows are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Moment {
    /// Writes go on: rows that differ are looked at again, each time when the target has reached the source
    Sync,
    /// Nothing writes, and the target has everything: what differs, differs
    Quiesce,
}

/// What to do with a full load.
#[derive(Clone, Debug, Subcommand)]
pub enum LoadCommand {
    /// Rest: what is copied stays, changes go on being followed
    Pause(LoadArguments),
    /// Go on
    Resume(LoadArguments),
    /// End it where it is: rows that are not copied stay out of the target
    Cancel(LoadArguments),
    /// Make a table anew in the target and copy it from its beginning
    Restart(LoadArguments),
}

/// Of which load.
#[derive(Clone, Debug, Args)]
pub struct LoadArguments {
    /// The table at the source, DATABASE.TABLE; all tables where none is said
    pub table: Option<String>,
    /// The pipeline, where several have a full load
    #[arg(long)]
    pub pipeline: Option<String>,
}

/// What to do with DDL that waits.
#[derive(Clone, Debug, Subcommand)]
pub enum DdlCommand {
    /// Show the statements that are held by policy, or failed in the target
    List(PipelineArgument),
    /// Run a statement: one that is held, or one that failed and whose cause is mended
    Approve(DdlArgument),
    /// Go on without a statement
    Skip(DdlArgument),
    /// Run another statement in its place
    Replace(ReplaceArguments),
}

/// Which statement.
#[derive(Clone, Debug, Args)]
pub struct DdlArgument {
    /// The pipeline
    pub pipeline: String,
    /// Number of the statement's unit, as `lutra ddl list` shows it
    pub unit: String,
}

/// What to run instead.
#[derive(Clone, Debug, Args)]
pub struct ReplaceArguments {
    /// Which statement.
    #[command(flatten)]
    pub about: DdlArgument,
    /// The statement to run, in the default database and sql_mode of the one that it replaces
    #[arg(value_name = "SQL")]
    pub statement: String,
}

/// What to do with logs.
#[derive(Clone, Debug, Subcommand)]
pub enum LogCommand {
    /// Print the records of a source's or pipeline's log
    Tail(TailArguments),
}

/// Which records to print.
#[derive(Clone, Debug, Args)]
pub struct TailArguments {
    /// The source or pipeline whose log is read
    #[arg(value_name = "SOURCE|PIPELINE")]
    pub name: String,
    /// Where to begin: beginning, end, or an offset [default: the last --last records]
    #[arg(long, value_name = "PLACE")]
    pub from: Option<String>,
    /// How many of the newest records to print
    #[arg(long, value_name = "N", default_value_t = 20, conflicts_with = "from")]
    pub last: u32,
    /// Go on as records come, until Ctrl-C
    #[arg(long)]
    pub follow: bool,
    /// Print heartbeats too
    #[arg(long)]
    pub heartbeats: bool,
    /// Kafka brokers [default: those that the manager uses]
    #[arg(long, env = "LUTRA_KAFKA", value_name = "HOST:PORT")]
    pub kafka: Option<String>,
    /// A property for the Kafka client (TLS, SASL); may be repeated
    #[arg(long = "kafka-property", env = "LUTRA_KAFKA_PROPERTY", value_name = "KEY=VALUE", value_delimiter = ';')]
    pub kafka_properties: Vec<String>,
}

/// Which binlog to print.
#[derive(Clone, Debug, Args)]
pub struct BinlogArguments {
    /// Binlog files, in their order
    #[arg(value_name = "FILE", required_unless_present = "from", conflicts_with = "from")]
    pub files: Vec<PathBuf>,
    /// Print only counts: of events, and of rows per table
    #[arg(long)]
    pub summary: bool,
    /// Read from this server: mysql://USER:PASSWORD@HOST:PORT. The user needs REPLICATION SLAVE
    #[arg(long, value_name = "URL")]
    pub from: Option<String>,
    /// Where the server shall begin: FILE, FILE:POSITION, or a set of GTIDs that are not wanted [default: its oldest file]
    #[arg(long, value_name = "PLACE", requires = "from")]
    pub start: Option<String>,
    /// Go on as events come, until Ctrl-C
    #[arg(long, requires = "from")]
    pub follow: bool,
}

/// What to adopt.
#[derive(Clone, Debug, Args)]
pub struct AdoptArguments {
    /// The source or pipeline whose log was lost
    #[arg(value_name = "SOURCE|PIPELINE")]
    pub name: String,
    /// Go on behind what the target has
    #[arg(long, required = true)]
    pub from_target: bool,
    /// Show where the new log would go on, and do nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Which log begins anew, and where.
#[derive(Clone, Debug, Args)]
pub struct RewindArguments {
    /// The source or pipeline
    #[arg(value_name = "SOURCE|PIPELINE")]
    pub name: String,
    /// The place: a GTID set, FILE:POSITION, the number of a unit in the source's log, or a time like 2026-01-31T12:00:00Z
    /// (behind the last unit committed before it)
    #[arg(long, value_name = "PLACE")]
    pub to: String,
    /// Where a target is past the place: drop its pipeline's tables there, make them as they are at the source, and copy them
    #[arg(long)]
    pub reload: bool,
    /// Show which logs would begin where, what would be dropped and copied, and what passed over; do nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// How to look.
#[derive(Clone, Debug, Args)]
pub struct DoctorArguments {
    /// Print the exact least GRANT statements for the accounts of sources and targets
    #[arg(long)]
    pub grants: bool,
    /// With --grants: take sources and targets from this file instead of from the manager
    #[arg(short = 'f', long = "file", value_name = "FILE", requires = "grants")]
    pub files: Vec<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn options_may_stand_behind_the_command() {
        let parsed = Arguments::try_parse_from(["lutra", "status", "--manager", "http://x", "--json"]);
        assert!(parsed.is_ok_and(|a| a.json && a.reach.manager.is_some()));
    }
}

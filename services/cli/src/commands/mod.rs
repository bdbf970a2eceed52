//! One module per command.

mod adopt;
mod binlog;
mod compare;
mod ddl;
mod doctor;
mod documents;
mod keys;
mod load;
mod pipeline;
mod rewind;
mod status;
mod tail;
mod validate;

use clap::CommandFactory;

use crate::arguments::{Arguments, Command, LogCommand};
use crate::client::Client;
use crate::error::CliError;
use crate::output::Output;

/// Runs a command.
pub async fn run(arguments: Arguments, output: &Output) -> Result<(), CliError> {
    let reach = &arguments.reach;
    match arguments.command {
        Command::Validate(files) => validate::run(&files, output),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "lutra", &mut script);
            output.text(String::from_utf8_lossy(&script).trim_end());
            Ok(())
        }
        Command::Doctor(doctor) => doctor::run(reach, &doctor, output).await,
        Command::Apply(apply) => documents::apply(&Client::find(reach).await?, &apply, output).await,
        Command::Delete(delete) => documents::delete(&Client::find(reach).await?, &delete, output).await,
        Command::Get(get) => documents::get(&Client::find(reach).await?, &get, output).await,
        Command::Status(status) => status::run(&Client::find(reach).await?, &status, output).await,
        Command::Start(p) => pipeline::command(&Client::find(reach).await?, &p.pipeline, "start", output).await,
        Command::Stop(p) => pipeline::command(&Client::find(reach).await?, &p.pipeline, "stop", output).await,
        Command::Pause(p) => pipeline::command(&Client::find(reach).await?, &p.pipeline, "pause", output).await,
        Command::Resume(p) => pipeline::command(&Client::find(reach).await?, &p.pipeline, "resume", output).await,
        Command::Wait(wait) => pipeline::wait(&Client::find(reach).await?, &wait, output).await,
        Command::Compare(compare) => compare::run(&Client::find(reach).await?, &compare, output).await,
        Command::Load(load) => load::run(&Client::find(reach).await?, &load, output).await,
        Command::Ddl(ddl) => ddl::run(&Client::find(reach).await?, &ddl, output).await,
        Command::Log(LogCommand::Tail(tail)) => tail::run(&Client::find(reach).await?, &tail, output).await,
        Command::Binlog(binlog) => binlog::run(&binlog, output).await,
        Command::Adopt(adopt) => adopt::run(&Client::find(reach).await?, &adopt, output).await,
        Command::Rewind(rewind) => rewind::run(&Client::find(reach).await?, &rewind, output).await,
    }
}

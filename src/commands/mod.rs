//! The commands, one file each.

mod config;
mod consume;
mod group;
mod produce;
mod segment;
mod serve;
mod topic;

use std::io::IsTerminal;

use clap::{Args, Parser, Subcommand};
use log_client::Client;
use tracing_subscriber::EnvFilter;

use crate::error::{CliError, Result};
use crate::output::Style;

/// A partitioned append-only commit log: the broker, and the tools around it.
#[derive(Debug, Parser)]
#[command(name = "cairn", version, propagate_version = true)]
#[command(after_help = "\
Exit codes:
  0  done
  1  failed; the reason is on standard error
  2  the arguments make no sense

Environment:
  CAIRN_BROKER  where the broker is, for commands that talk to one
  CAIRN_LOG     what is logged on standard error, as in info or log_server=debug
  CAIRN_*       settings of the broker: see `cairn config print`

A first tour:
  cairn serve &
  cairn topic create events --partitions 8
  printf 'one\\ntwo\\n' | cairn produce events
  cairn consume events")]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::ServeArgs),
    Topic(topic::TopicArgs),
    Produce(produce::ProduceArgs),
    Consume(consume::ConsumeArgs),
    Group(group::GroupArgs),
    Segment(segment::SegmentArgs),
    Config(config::ConfigArgs),
}

impl Cli {
    pub(crate) fn run(self) -> Result<()> {
        match self.command {
            Command::Serve(args) => {
                start_logging("info");
                block_on(serve::run(args))
            }
            Command::Topic(args) => client_command(topic::run(args)),
            Command::Produce(args) => client_command(produce::run(args)),
            Command::Consume(args) => client_command(consume::run(args)),
            Command::Group(args) => client_command(group::run(args)),
            Command::Segment(args) => segment::run(args),
            Command::Config(args) => config::run(args),
        }
    }
}

/// What was typed says what is wanted; a client logs only what goes wrong besides.
fn client_command(command: impl Future<Output = Result<()>>) -> Result<()> {
    start_logging("warn");
    block_on(command)
}

fn block_on(command: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::new(format!("cannot start the async runtime: {error}")))?;
    let result = runtime.block_on(command);
    // A thread may still sit in a read of standard input that never returns.
    runtime.shutdown_background();
    result
}

/// The variable that says what is logged.
const LOG_VARIABLE: &str = "CAIRN_LOG";

/// The variable that says where the broker is.
const BROKER_VARIABLE: &str = "CAIRN_BROKER";

/// Logs to standard error, as [`LOG_VARIABLE`] says.
fn start_logging(default: &str) {
    let filter = EnvFilter::try_from_env(LOG_VARIABLE).unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
}

/// Where the broker is.
#[derive(Debug, Args)]
struct BrokerArgs {
    /// The broker's gRPC address
    #[arg(
        long,
        global = true,
        value_name = "HOST:PORT",
        env = BROKER_VARIABLE,
        default_value = "127.0.0.1:9094"
    )]
    broker: String,
}

impl BrokerArgs {
    fn client(&self) -> Result<Client> {
        Ok(Client::new(&self.broker)?)
    }
}

/// What commands of several verbs take, before the verb or behind it.
#[derive(Debug, Args)]
struct CommonArgs {
    #[command(flatten)]
    broker: BrokerArgs,
    /// Print JSON instead of text
    #[arg(long, global = true)]
    json: bool,
}

impl CommonArgs {
    fn style(&self) -> Style {
        if self.json { Style::Json } else { Style::Text }
    }
}

/// Parses `NAME=VALUE`.
fn name_and_value(text: &str) -> std::result::Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("{text:?} is not of the form name=value")),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_value_may_hold_an_equals_sign_or_nothing() {
        assert_eq!(name_and_value("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert_eq!(name_and_value("a="), Ok(("a".into(), String::new())));
        assert!(name_and_value("a").is_err() && name_and_value("=b").is_err());
    }
}

//! `cairn serve`: the broker.

use clap::Args;
use log_server::{Server, Settings, config::Entry, shutdown::Signals};
use tokio::sync::oneshot;

use super::config::SettingsArgs;
use crate::{
    error::{CliError, Result},
    output,
    stop::told_again,
};

/// Run a broker
#[derive(Debug, Args)]
#[command(after_help = "\
Settings: flags go over CAIRN_* variables, these over the file, the file over the defaults.
SIGTERM and SIGINT stop it cleanly; a second one, later, does not wait for the end of that.

Examples:
  cairn serve
  cairn serve --data /var/lib/cairn --kafka 127.0.0.1:9092
  cairn serve --config cairn.toml --set num.partitions=8")]
pub(super) struct ServeArgs {
    #[command(flatten)]
    settings: SettingsArgs,
}

pub(super) async fn run(args: ServeArgs) -> Result<()> {
    let settings = args.settings.load()?;
    log_server::descriptors::raise_limit();
    let mut signals = Signals::listen()
        .map_err(|error| CliError::new(format!("cannot listen to signals: {error}")))?;
    let server = tokio::select! {
        started = Server::start(settings.config().clone()) => started.map_err(CliError::from_error)?,
        () = signals.next() => return Err(CliError::new("stopped before it was ready")),
    };
    match announce(&settings, &server) {
        // A broker serves whether anybody reads where it listens or not.
        Err(CliError::OutputClosed) => {}
        announced => announced?,
    }
    serve_until_told(server, signals).await
}

/// The first signal is a clean stop, the second the end of everybody's patience.
async fn serve_until_told(server: Server, mut signals: Signals) -> Result<()> {
    let (stop, told) = oneshot::channel();
    let twice = async {
        signals.next().await;
        let _ = stop.send(());
        told_again(&mut signals).await;
    };
    tokio::select! {
        ended = server.run_until(async { drop(told.await) }) => ended.map_err(CliError::from_error),
        () = twice => Err(CliError::new(
            "stopped by a second signal before every log was closed: the next start will recover",
        )),
    }
}

/// Says where it listens, where its data lies, and what an acknowledgement means.
fn announce(settings: &Settings, server: &Server) -> Result<()> {
    let (grpc, http) = (server.grpc_address(), server.http_address());
    let kafka = server.kafka_addresses();
    let data_dir = &settings.config().data_dir;
    let data_dir = std::path::absolute(data_dir).unwrap_or_else(|_| data_dir.clone());
    output::line(&format!("cairn {} is ready", env!("CARGO_PKG_VERSION")))?;
    for (name, address) in kafka {
        let name = if kafka.len() > 1 { format!(" ({name})") } else { String::new() };
        output::line(&format!("  kafka       {address}{name}"))?;
    }
    output::line(&format!("  grpc        {grpc}"))?;
    output::line(&format!("  http        http://{http} (/healthz, /readyz, /metrics)"))?;
    output::line(&format!("  data        {}", data_dir.display()))?;
    output::line(&format!("  durability  {}", durability(settings)))?;
    let addresses = kafka.iter().map(|(_, address)| *address).chain([grpc, http]);
    for address in addresses.filter(|address| !address.ip().is_loopback()) {
        output::note(&format!(
            "WARNING: {address} is not a loopback address and nothing is authenticated: \
             whoever reaches it can read, write and delete everything"
        ));
    }
    Ok(())
}

/// What acks=all means on topics that do not say otherwise.
fn durability(settings: &Settings) -> &'static str {
    let synced = |entry: Entry<'_>| {
        entry.setting.name == "log.flush.interval.messages" && entry.value == "1"
    };
    if settings.entries().any(synced) {
        "acks=all is answered when synced: acknowledged records survive power loss"
    } else {
        "acks=all is answered from the page cache (log.flush.interval.messages): acknowledged \
         records survive a crash of the broker, power loss may take the last of them"
    }
}

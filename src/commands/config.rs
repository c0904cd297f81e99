//! `cairn config`, and the flags that set the broker's settings.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use log_server::Settings;
use serde_json::{Value, json};

use super::{BROKER_VARIABLE, LOG_VARIABLE, name_and_value};
use crate::{
    error::{CliError, Result},
    output::{self, Style, StyleArgs},
};

/// Show the broker's settings
#[derive(Debug, Args)]
pub(super) struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print every setting, its value, and where the value comes from
    #[command(after_help = "\
Flags go over CAIRN_* variables, these over the file, the file over the defaults.
Takes the flags of `cairn serve`, and prints what it would run with.

Examples:
  cairn config print
  cairn config print --config cairn.toml --json
  CAIRN_NUM_PARTITIONS=8 cairn config print")]
    Print {
        #[command(flatten)]
        settings: SettingsArgs,
        #[command(flatten)]
        style: StyleArgs,
    },
}

/// The settings of a broker, as `serve` and `config print` take them.
#[derive(Debug, Args)]
pub(super) struct SettingsArgs {
    /// The folder that everything is kept in (setting data.dir)
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    /// Where the Kafka door listens (setting kafka.listeners)
    #[arg(long, value_name = "IP:PORT")]
    kafka: Option<String>,
    /// By which host and port Kafka clients find this broker (setting kafka.advertised.listeners)
    #[arg(long, value_name = "HOST:PORT")]
    advertised: Option<String>,
    /// Where the gRPC door listens (setting grpc.listen)
    #[arg(long, value_name = "IP:PORT")]
    grpc: Option<String>,
    /// Where health and metrics are served (setting http.listen)
    #[arg(long, value_name = "IP:PORT")]
    http: Option<String>,
    /// A TOML file with settings
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Any setting, as `cairn config print` names it; may be repeated
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = name_and_value)]
    set: Vec<(String, String)>,
}

impl SettingsArgs {
    /// The settings that hold with these flags.
    pub(super) fn load(&self) -> Result<Settings> {
        let named = [
            ("data.dir", &self.data),
            ("kafka.listeners", &self.kafka),
            ("kafka.advertised.listeners", &self.advertised),
            ("grpc.listen", &self.grpc),
            ("http.listen", &self.http),
        ];
        let named = named.into_iter().filter_map(|(name, value)| Some((name, value.clone()?)));
        let set = self.set.iter().map(|(name, value)| (name.as_str(), value.clone()));
        let flags: Vec<_> = named.chain(set).collect();
        Settings::load(&flags, server_variables()?.into_iter(), self.config.as_deref())
            .map_err(|error| CliError::usage(error.to_string()))
    }
}

/// The environment without the variables that are about this program, not the broker. A setting
/// that is no Unicode is refused: passed over, it would silently not hold.
fn server_variables() -> Result<Vec<(String, String)>> {
    let in_kubernetes = std::env::var_os(KUBERNETES_VARIABLE).is_some();
    std::env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value))
        .filter(|(name, _)| name.starts_with(VARIABLES))
        .filter(|(name, _)| name != BROKER_VARIABLE && name != LOG_VARIABLE)
        .filter(|(name, _)| !(in_kubernetes && is_of_kubernetes(name)))
        .map(|(name, value)| match value.into_string() {
            Ok(value) => Ok((name, value)),
            Err(value) => Err(CliError::usage(format!("{name} is {value:?}: must be UTF-8"))),
        })
        .collect()
}

/// What the names of variables begin with that are about Cairn.
const VARIABLES: &str = "CAIRN_";

/// Kubernetes tells every pod of a namespace about its services: of one that is named `cairn`, by
/// this variable and others. Nobody set them, so none of them is a setting with a mistake in it.
const KUBERNETES_VARIABLE: &str = "CAIRN_SERVICE_HOST";

fn is_of_kubernetes(name: &str) -> bool {
    name.starts_with("CAIRN_SERVICE_") || name.starts_with("CAIRN_PORT")
}

pub(super) fn run(args: ConfigArgs) -> Result<()> {
    let ConfigCommand::Print { settings, style } = args.command;
    let settings = settings.load()?;
    match style.style() {
        Style::Json => output::json(&to_json(&settings)),
        Style::Text => {
            let rows: Vec<_> = settings
                .entries()
                .map(|entry| {
                    let (name, value) = (entry.setting.name.to_owned(), entry.value.to_owned());
                    vec![name, value, entry.setting.unit.to_owned(), entry.source.to_string()]
                })
                .collect();
            output::table(&["setting", "value", "unit", "source"], &rows)
        }
    }
}

fn to_json(settings: &Settings) -> Value {
    settings
        .entries()
        .map(|entry| {
            json!({
                "name": entry.setting.name,
                "value": entry.value,
                "unit": entry.setting.unit,
                "source": entry.source.to_string(),
                "default": entry.setting.default,
                "documentation": entry.setting.doc,
            })
        })
        .collect()
}

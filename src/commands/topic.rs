//! `cairn topic`: topics and their configs.

use std::collections::BTreeMap;

use clap::{Args, Subcommand, value_parser};
use log_client::{
    Admin, ConfigEntry, ConfigSource, ErrorCode, NewTopic, PartitionDescription, RequestError,
    TopicDescription, TopicOwner, TopicSummary, Validation,
};
use serde_json::{Value, json};

use super::{CommonArgs, name_and_value};
use crate::{
    error::{CliError, Result},
    output::{self, Style},
    unit::{counted, show_bytes},
};

/// Create, list, describe and delete topics, and change their configs
#[derive(Debug, Args)]
pub(super) struct TopicArgs {
    #[command(subcommand)]
    command: TopicCommand,
    #[command(flatten)]
    common: CommonArgs,
}

#[derive(Debug, Subcommand)]
enum TopicCommand {
    /// Create a topic
    #[command(after_help = "\
Examples:
  cairn topic create events --partitions 8
  cairn topic create audit --config retention.ms=-1 --config flush.messages=1")]
    Create {
        /// Its name: 1 to 249 of a-z A-Z 0-9 . _ -
        name: String,
        /// How many partitions; the broker's num.partitions if not given
        #[arg(long, short, value_name = "COUNT", value_parser = value_parser!(u32).range(1..))]
        partitions: Option<u32>,
        /// A config of the topic; may be repeated
        #[arg(long = "config", value_name = "NAME=VALUE", value_parser = name_and_value)]
        configs: Vec<(String, String)>,
        /// Succeed if there is a topic of that name already
        #[arg(long)]
        if_not_exists: bool,
    },
    /// List topics
    #[command(after_help = "\
Examples:
  cairn topic list
  cairn topic list --json")]
    List {
        /// Also those that the broker made for itself
        #[arg(long)]
        internal: bool,
    },
    /// Show a topic, its partitions and what was set on it
    #[command(after_help = "\
Examples:
  cairn topic describe events")]
    Describe {
        /// The topic
        name: String,
    },
    /// Delete topics and everything in them
    #[command(after_help = "\
Examples:
  cairn topic delete events
  cairn topic delete events audit")]
    Delete {
        /// The topics
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// Show or change a topic's configs
    #[command(subcommand)]
    Config(TopicConfigCommand),
}

#[derive(Debug, Subcommand)]
enum TopicConfigCommand {
    /// Show configs; all of them if none is named
    #[command(after_help = "\
Examples:
  cairn topic config get events
  cairn topic config get events retention.ms")]
    Get {
        /// The topic
        topic: String,
        /// Which configs
        #[arg(value_name = "NAME")]
        names: Vec<String>,
    },
    /// Set configs, all or none
    #[command(after_help = "\
Examples:
  cairn topic config set events retention.ms=3600000 segment.bytes=1048576")]
    Set {
        /// The topic
        topic: String,
        /// Configs and their new values
        #[arg(required = true, value_name = "NAME=VALUE", value_parser = name_and_value)]
        configs: Vec<(String, String)>,
    },
    /// Take configs back to their defaults
    #[command(after_help = "\
Examples:
  cairn topic config unset events retention.ms")]
    Unset {
        /// The topic
        topic: String,
        /// Which configs
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
}

pub(super) async fn run(args: TopicArgs) -> Result<()> {
    let admin = args.common.broker.client()?.admin();
    let style = args.common.style();
    match args.command {
        TopicCommand::Create { name, partitions, configs, if_not_exists } => {
            let exists = if if_not_exists { IfExists::Fine } else { IfExists::Fail };
            create(&admin, new_topic(&name, partitions, configs), exists, &name, style).await
        }
        TopicCommand::List { internal: false } => list(&admin.list_topics().await?, style),
        TopicCommand::List { internal: true } => list(&admin.list_all_topics().await?, style),
        TopicCommand::Describe { name } => describe(&admin.describe_topic(&name).await?, style),
        TopicCommand::Delete { names } => delete(&admin, &names, style).await,
        TopicCommand::Config(command) => config(&admin, command, style).await,
    }
}

/// What to make of a topic that exists already.
#[derive(Clone, Copy, PartialEq, Eq)]
enum IfExists {
    Fail,
    Fine,
}

fn new_topic(name: &str, partitions: Option<u32>, configs: Vec<(String, String)>) -> NewTopic {
    let mut topic = NewTopic::new(name);
    if let Some(partitions) = partitions {
        topic = topic.partitions(partitions);
    }
    configs.into_iter().fold(topic, |topic, (name, value)| topic.config(name, value))
}

async fn create(
    admin: &Admin,
    topic: NewTopic,
    exists: IfExists,
    name: &str,
    style: Style,
) -> Result<()> {
    let (topic, verb) = match admin.create_topic(topic).await {
        Err(error) if exists == IfExists::Fine && already_exists(&error) => {
            (admin.describe_topic(name).await?.topic, "found")
        }
        created => (created?, "created"),
    };
    match style {
        Style::Json => output::json(&summary_json(&topic)),
        Style::Text => {
            let partitions = counted(topic.partitions.into(), "partition");
            output::line(&format!("{verb} {} with {partitions}", topic.name))
        }
    }
}

fn already_exists(error: &RequestError) -> bool {
    error.refusal().is_some_and(|refusal| refusal.code() == ErrorCode::TopicAlreadyExists)
}

fn list(topics: &[TopicSummary], style: Style) -> Result<()> {
    match style {
        Style::Json => output::json(&topics.iter().map(summary_json).collect()),
        Style::Text if topics.is_empty() => {
            output::note("no topics yet: `cairn topic create NAME` makes one");
            Ok(())
        }
        Style::Text => {
            let row = |topic: &TopicSummary| vec![topic.name.clone(), topic.partitions.to_string()];
            output::table(&["topic", "partitions"], &topics.iter().map(row).collect::<Vec<_>>())
        }
    }
}

fn describe(description: &TopicDescription, style: Style) -> Result<()> {
    if style == Style::Json {
        return output::json(&description_json(description));
    }
    let TopicDescription { topic, partitions, configs } = description;
    output::line(&format!("topic   {}\nid      {}", topic.name, topic.id))?;
    for (name, value) in configs {
        output::line(&format!("config  {name}={value}"))?;
    }
    output::line("")?;
    let rows: Vec<_> = partitions.iter().map(partition_row).collect();
    let head = ["partition", "log start", "high watermark", "log end", "size", "segments", "state"];
    output::table(&head, &rows)?;
    let findings = partitions.iter().flat_map(|partition| &partition.findings);
    findings.map(|finding| format!("found: {finding}")).try_for_each(|line| output::line(&line))
}

fn partition_row(partition: &PartitionDescription) -> Vec<String> {
    vec![
        partition.partition.to_string(),
        partition.log_start_offset.to_string(),
        partition.high_watermark.to_string(),
        partition.log_end_offset.to_string(),
        show_bytes(partition.size_bytes),
        partition.segments.to_string(),
        state(partition),
    ]
}

fn state(partition: &PartitionDescription) -> String {
    match &partition.failure {
        Some(failure) => failure.clone(),
        None if partition.findings.is_empty() => "ok".to_owned(),
        None => "DAMAGED".to_owned(),
    }
}

fn summary_json(topic: &TopicSummary) -> Value {
    json!({
        "name": topic.name,
        "id": topic.id.to_string(),
        "partition_count": topic.partitions,
        "internal": topic.owner == TopicOwner::Broker,
    })
}

fn description_json(description: &TopicDescription) -> Value {
    let mut object = summary_json(&description.topic);
    object["configs"] = json!(description.configs);
    object["partitions"] = description.partitions.iter().map(partition_json).collect();
    object
}

fn partition_json(partition: &PartitionDescription) -> Value {
    json!({
        "partition": partition.partition,
        "leader_epoch": partition.leader_epoch.get(),
        "log_start_offset": partition.log_start_offset.get(),
        "last_stable_offset": partition.last_stable_offset.get(),
        "high_watermark": partition.high_watermark.get(),
        "log_end_offset": partition.log_end_offset.get(),
        "durable_offset": partition.durable_offset.get(),
        "size_bytes": partition.size_bytes,
        "segments": partition.segments,
        "failure": partition.failure,
        "findings": partition.findings,
    })
}

/// Goes on after a failure, so that one name that is wrong does not keep the others. Every failure
/// is told; the last one ends the command.
async fn delete(admin: &Admin, names: &[String], style: Style) -> Result<()> {
    let mut deleted = Vec::new();
    let mut failure = None;
    for name in names {
        match admin.delete_topic(name).await {
            Ok(()) => deleted.push(name),
            Err(error) => {
                if let Some(earlier) = failure.replace(error) {
                    output::note(&format!("error: {earlier}"));
                }
            }
        }
    }
    match style {
        Style::Json => output::json(&json!({ "deleted": deleted }))?,
        Style::Text => {
            deleted.iter().try_for_each(|name| output::line(&format!("deleted {name}")))?;
        }
    }
    failure.map_or(Ok(()), |error| Err(error.into()))
}

async fn config(admin: &Admin, command: TopicConfigCommand, style: Style) -> Result<()> {
    match command {
        TopicConfigCommand::Get { topic, names } => {
            show_configs(&select(admin.describe_configs(&topic).await?, &names)?, style)
        }
        TopicConfigCommand::Set { topic, configs } => {
            let names: Vec<_> = configs.iter().map(|(name, _)| name.clone()).collect();
            let set: BTreeMap<_, _> = configs.into_iter().collect();
            admin.alter_configs(&topic, set, Vec::new(), Validation::Apply).await?;
            show_configs(&select(admin.describe_configs(&topic).await?, &names)?, style)
        }
        TopicConfigCommand::Unset { topic, names } => {
            let (unset, none) = (names.clone(), BTreeMap::new());
            admin.alter_configs(&topic, none, unset, Validation::Apply).await?;
            show_configs(&select(admin.describe_configs(&topic).await?, &names)?, style)
        }
    }
}

/// The entries with these names; all if there are none.
fn select(entries: Vec<ConfigEntry>, names: &[String]) -> Result<Vec<ConfigEntry>> {
    let known = |name: &String| entries.iter().any(|entry| entry.name == *name);
    if let Some(unknown) = names.iter().find(|name| !known(name)) {
        return Err(CliError::new(format!("topics have no config {unknown}"))
            .hint("`cairn topic config get TOPIC` lists them"));
    }
    let wanted = |entry: &ConfigEntry| names.is_empty() || names.contains(&entry.name);
    Ok(entries.into_iter().filter(wanted).collect())
}

fn show_configs(entries: &[ConfigEntry], style: Style) -> Result<()> {
    match style {
        Style::Json => output::json(&entries.iter().map(config_json).collect()),
        Style::Text => {
            let row = |entry: &ConfigEntry| {
                let note = entry.note.clone().unwrap_or_default();
                vec![entry.name.clone(), entry.value.clone(), source(entry).to_owned(), note]
            };
            let rows: Vec<_> = entries.iter().map(row).collect();
            output::table(&["config", "value", "source", "note"], &rows)
        }
    }
}

fn source(entry: &ConfigEntry) -> &'static str {
    match entry.source {
        ConfigSource::Topic => "topic",
        ConfigSource::Default => "default",
    }
}

fn config_json(entry: &ConfigEntry) -> Value {
    json!({
        "name": entry.name,
        "value": entry.value,
        "source": source(entry),
        "documentation": entry.documentation,
        "note": entry.note,
    })
}

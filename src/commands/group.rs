//! `cairn group`: who reads, how far they have come, and how far they are behind.

use std::collections::HashMap;

use clap::{Args, Subcommand};
use log_client::{
    Admin, BrokerError, Client, DeletedGroupOffset, GroupDescription, GroupMember, GroupOffset,
    GroupPartition, GroupSummary, OffsetSpec, PartitionOffset, TopicPartitions, types::Offset,
};
use serde_json::{Value, json};

use super::CommonArgs;
use crate::{
    error::{CliError, Result, hint_for_refusal},
    output::{self, Style},
    position::Position,
    unit::show_duration,
};

/// List, describe and delete groups, and change what they have committed
#[derive(Debug, Args)]
pub(super) struct GroupArgs {
    #[command(subcommand)]
    command: GroupCommand,
    #[command(flatten)]
    common: CommonArgs,
}

#[derive(Debug, Subcommand)]
enum GroupCommand {
    /// List groups
    #[command(after_help = "\
Examples:
  cairn group list
  cairn group list --json")]
    List,
    /// Show a group's members, what they read, and how far behind they are
    #[command(after_help = "\
Lag counts the records that may be read and were not; behind is the age of the oldest of them.

Examples:
  cairn group describe billing
  cairn group describe billing --json | jq .lag")]
    Describe { group: String },
    /// Delete groups without members, and what they have committed
    #[command(after_help = "\
Examples:
  cairn group delete billing
  cairn group delete billing audit")]
    Delete {
        #[arg(required = true)]
        groups: Vec<String>,
    },
    /// Show, move or delete what a group has committed
    #[command(subcommand)]
    Offsets(OffsetsCommand),
}

#[derive(Debug, Subcommand)]
enum OffsetsCommand {
    /// Show committed offsets; those of every topic if none is named
    #[command(after_help = "\
Examples:
  cairn group offsets get billing
  cairn group offsets get billing events")]
    Get { group: String, topic: Option<String> },
    /// Let a group without members go on somewhere else in a topic
    #[command(after_help = "\
PLACE is earliest, latest, an offset, a time or how long ago.

Examples:
  cairn group offsets set billing events --to earliest
  cairn group offsets set billing events --to 2h
  cairn group offsets set billing events --to 4711 --partition 3")]
    Set {
        group: String,
        topic: String,
        /// Where it is to go on
        #[arg(long, value_name = "PLACE")]
        to: Position,
        /// Only this partition; may be repeated
        #[arg(long = "partition", short, value_name = "NUMBER")]
        partitions: Vec<u32>,
    },
    /// Forget what a group has committed in a topic that no member of it reads
    #[command(after_help = "\
Examples:
  cairn group offsets delete billing events
  cairn group offsets delete billing events --partition 3")]
    Delete {
        group: String,
        topic: String,
        /// Only this partition; may be repeated
        #[arg(long = "partition", short, value_name = "NUMBER")]
        partitions: Vec<u32>,
    },
}

pub(super) async fn run(args: GroupArgs) -> Result<()> {
    let client = args.common.broker.client()?;
    let admin = client.admin();
    let style = args.common.style();
    match args.command {
        GroupCommand::List => list(&admin.list_groups().await?, style),
        GroupCommand::Describe { group } => describe(&admin.describe_group(&group).await?, style),
        GroupCommand::Delete { groups } => delete(&admin, &groups, style).await,
        GroupCommand::Offsets(OffsetsCommand::Get { group, topic }) => {
            get(&admin.describe_group(&group).await?, topic.as_deref(), style)
        }
        GroupCommand::Offsets(OffsetsCommand::Set { group, topic, to, partitions }) => {
            let offsets = places(&admin, &topic, &partitions, to).await?;
            set(&client, &group, &topic, &offsets, style).await
        }
        GroupCommand::Offsets(OffsetsCommand::Delete { group, topic, partitions }) => {
            let deleted = admin.delete_group_offsets(&group, &topic, &partitions).await?;
            show_deleted(&deleted, style)
        }
    }
}

fn list(groups: &[GroupSummary], style: Style) -> Result<()> {
    match style {
        Style::Json => output::json(&groups.iter().map(summary_json).collect()),
        Style::Text if groups.is_empty() => {
            output::note("no groups yet: a consumer that names one makes it");
            Ok(())
        }
        Style::Text => {
            let row = |group: &GroupSummary| {
                let members = group.protocol_type.as_deref().map_or_else(absent, printable);
                let (kind, state) = (group.kind.name().into(), group.state.name().into());
                vec![printable(&group.id), kind, state, members]
            };
            let head = ["group", "kind", "state", "protocol type"];
            output::table(&head, &groups.iter().map(row).collect::<Vec<_>>())
        }
    }
}

fn describe(description: &GroupDescription, style: Style) -> Result<()> {
    if style == Style::Json {
        return output::json(&description_json(description));
    }
    let GroupDescription { group, assignor, epoch, members, partitions } = description;
    let mut facts = vec![
        ("group", printable(&group.id)),
        ("kind", group.kind.name().to_owned()),
        ("state", group.state.name().to_owned()),
    ];
    facts.extend(assignor.as_deref().map(|assignor| ("assignor", printable(assignor))));
    facts.extend(epoch.map(|epoch| ("epoch", epoch.to_string())));
    facts.push(("lag", total_text(partitions)));
    for (name, value) in facts {
        output::line(&format!("{name:<9} {value}"))?;
    }
    if !partitions.is_empty() {
        output::line("")?;
        let head = ["topic", "partition", "committed", "log end", "lag", "behind", "member"];
        let row = |one| partition_row(description, one);
        output::table(&head, &partitions.iter().map(row).collect::<Vec<_>>())?;
    }
    if !members.is_empty() {
        output::line("")?;
        let head = ["member", "client", "host", "instance", "partitions"];
        output::table(&head, &members.iter().map(member_row).collect::<Vec<_>>())?;
    }
    warn(partitions);
    Ok(())
}

/// The lag of a whole group in a line, and what it does not count.
fn total_text(partitions: &[GroupPartition]) -> String {
    let Some(lag) = total_lag(partitions) else {
        return "unknown: nothing is committed".to_owned();
    };
    let behind = oldest(partitions).map(|oldest| format!(", behind {}", show_duration(oldest)));
    let unknown = match partitions.iter().filter(|one| one.lag.is_none()).count() {
        0 => String::new(),
        count => format!(", and whatever is in {count} partitions without a commit"),
    };
    format!("{lag}{}{unknown}", behind.unwrap_or_default())
}

/// `None` if nothing is committed.
fn total_lag(partitions: &[GroupPartition]) -> Option<u64> {
    partitions.iter().filter_map(|one| one.lag).reduce(u64::saturating_add)
}

/// The age of the oldest record that may be read and was not.
fn oldest(partitions: &[GroupPartition]) -> Option<std::time::Duration> {
    partitions.iter().filter_map(|one| one.lag_time).max()
}

fn partition_row(group: &GroupDescription, partition: &GroupPartition) -> Vec<String> {
    let owner = group.owner_of(&partition.topic, partition.partition);
    vec![
        printable(&partition.topic),
        partition.partition.to_string(),
        or_absent(partition.committed_offset),
        partition.log_end_offset.to_string(),
        or_absent(partition.lag),
        partition.lag_time.map_or_else(absent, show_duration),
        owner.map_or_else(absent, |member| printable(&member.member_id)),
    ]
}

fn member_row(member: &GroupMember) -> Vec<String> {
    let count: usize = member.assignment.iter().map(|topic| topic.partitions.len()).sum();
    vec![
        printable(&member.member_id),
        printable(&member.client_id),
        printable(&member.client_host),
        member.instance_id.as_deref().map_or_else(absent, printable),
        count.to_string(),
    ]
}

/// Says which of the numbers are not known, and why.
fn warn(partitions: &[GroupPartition]) {
    for GroupPartition { topic, partition, failure, .. } in partitions {
        if let Some(failure) = failure {
            output::note(&format!("warning: {topic}-{partition}: {}", printable(failure)));
        }
    }
}

/// Goes on after a failure, so that one group that is in use does not keep the others.
async fn delete(admin: &Admin, groups: &[String], style: Style) -> Result<()> {
    let mut deleted = Vec::new();
    let mut failure = None;
    for group in groups {
        match admin.delete_group(group).await {
            Ok(()) => deleted.push(group),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    match style {
        Style::Json => output::json(&json!({ "deleted": deleted }))?,
        Style::Text => {
            deleted.iter().try_for_each(|group| output::line(&format!("deleted {group}")))?;
        }
    }
    failure.map_or(Ok(()), |error| Err(error.into()))
}

fn get(description: &GroupDescription, topic: Option<&str>, style: Style) -> Result<()> {
    let wanted = |one: &&GroupPartition| {
        one.committed_offset.is_some() && topic.is_none_or(|topic| one.topic == topic)
    };
    let committed: Vec<_> = description.partitions.iter().filter(wanted).collect();
    match style {
        Style::Json => output::json(&committed.iter().map(|one| partition_json(one)).collect()),
        Style::Text if committed.is_empty() => {
            output::note("nothing is committed");
            Ok(())
        }
        Style::Text => {
            let head = ["topic", "partition", "committed", "lag", "behind", "metadata"];
            let row = |one: &&GroupPartition| {
                vec![
                    printable(&one.topic),
                    one.partition.to_string(),
                    or_absent(one.committed_offset),
                    or_absent(one.lag),
                    one.lag_time.map_or_else(absent, show_duration),
                    printable(&one.metadata),
                ]
            };
            output::table(&head, &committed.iter().map(row).collect::<Vec<_>>())
        }
    }
}

/// What a place means in each of these partitions; in all of the topic if none is named.
async fn places(
    admin: &Admin,
    topic: &str,
    partitions: &[u32],
    to: Position,
) -> Result<Vec<GroupOffset>> {
    let ends = admin.list_offsets(topic, partitions, OffsetSpec::HighWatermark).await?;
    let found = match (to.lookup(), to) {
        (Some(spec), _) => admin.list_offsets(topic, partitions, spec).await?,
        (None, Position::Offset(offset)) => {
            let starts = admin.list_offsets(topic, partitions, OffsetSpec::LogStart).await?;
            within(topic, &starts, &ends, offset)?
        }
        (None, _) => ends.clone(),
    };
    // No record is as young as the time asked for: what comes next will be.
    let place = |(found, end): (PartitionOffset, &PartitionOffset)| {
        let offset = found.offset.or(end.offset)?;
        Some(GroupOffset::new(topic, found.partition, offset))
    };
    Ok(found.into_iter().zip(&ends).filter_map(place).collect())
}

/// The same offset in each of these partitions, if all of them have it. Elsewhere a group would
/// lose its place at the next start.
fn within(
    topic: &str,
    starts: &[PartitionOffset],
    ends: &[PartitionOffset],
    offset: Offset,
) -> Result<Vec<PartitionOffset>> {
    let here = |(start, end): (&PartitionOffset, &PartitionOffset)| {
        let (from, to) = (start.offset.unwrap_or(Offset::ZERO), end.offset.unwrap_or(offset));
        if (from..=to).contains(&offset) {
            return Ok(PartitionOffset { offset: Some(offset), ..*start });
        }
        let partition = start.partition;
        Err(CliError::new(format!(
            "offset {offset} is outside {topic}-{partition}, which holds {from} to {to}"
        ))
        .hint("name the partitions that have it with --partition"))
    };
    starts.iter().zip(ends).map(here).collect()
}

async fn set(
    client: &Client,
    group: &str,
    topic: &str,
    offsets: &[GroupOffset],
    style: Style,
) -> Result<()> {
    let before = client.committed_offsets(group, &[topic]).await?;
    let before: HashMap<u32, Offset> =
        before.into_iter().map(|offset| (offset.partition, offset.offset)).collect();
    client.commit_offsets(group, offsets).await?;
    match style {
        Style::Json => {
            let moved = |offset: &GroupOffset| {
                json!({
                    "topic": *offset.topic,
                    "partition": offset.partition,
                    "committed_offset": offset.offset.get(),
                    "before": before.get(&offset.partition).map(|before| before.get()),
                })
            };
            output::json(&offsets.iter().map(moved).collect())
        }
        Style::Text => {
            let row = |offset: &GroupOffset| {
                let before = or_absent(before.get(&offset.partition));
                vec![offset.partition.to_string(), before, offset.offset.to_string()]
            };
            let head = ["partition", "before", "committed"];
            output::table(&head, &offsets.iter().map(row).collect::<Vec<_>>())
        }
    }
}

/// Those that were deleted are told, also if others were not.
fn show_deleted(results: &[DeletedGroupOffset], style: Style) -> Result<()> {
    let deleted = || results.iter().filter(|result| result.outcome.is_ok());
    match style {
        Style::Json => {
            let object = |one: &DeletedGroupOffset| json!({ "topic": one.topic, "partition": one.partition });
            output::json(&json!({ "deleted": deleted().map(object).collect::<Value>() }))?;
        }
        Style::Text if results.is_empty() => output::note("nothing is committed"),
        Style::Text => {
            deleted().try_for_each(|DeletedGroupOffset { topic, partition, .. }| {
                output::line(&format!("deleted {topic}-{partition}"))
            })?
        }
    }
    let refused = |result: &DeletedGroupOffset| {
        let error: &BrokerError = result.outcome.as_ref().err()?;
        let message = format!("{}-{}: {error}", result.topic, result.partition);
        let failure = CliError::new(message);
        Some(match hint_for_refusal(error) {
            Some(hint) => failure.hint(hint),
            None => failure,
        })
    };
    results.iter().find_map(refused).map_or(Ok(()), Err)
}

fn absent() -> String {
    "-".to_owned()
}

fn or_absent(value: Option<impl ToString>) -> String {
    value.map_or_else(absent, |value| value.to_string())
}

/// What others have chosen freely, without what a terminal would obey.
fn printable(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { '\u{fffd}' } else { char }).collect()
}

fn summary_json(group: &GroupSummary) -> Value {
    json!({
        "group": group.id,
        "kind": group.kind.name(),
        "state": group.state.name(),
        "protocol_type": group.protocol_type,
    })
}

fn description_json(description: &GroupDescription) -> Value {
    let GroupDescription { group, assignor, epoch, members, partitions } = description;
    let mut object = summary_json(group);
    object["assignor"] = json!(assignor);
    object["epoch"] = json!(epoch);
    object["lag"] = json!(total_lag(partitions));
    object["lag_ms"] = json!(oldest(partitions).map(|age| age.as_millis() as u64));
    object["members"] = members.iter().map(member_json).collect();
    let with_owner = |one: &GroupPartition| {
        let mut object = partition_json(one);
        let owner = description.owner_of(&one.topic, one.partition);
        object["member_id"] = json!(owner.map(|member| &member.member_id));
        object
    };
    object["partitions"] = partitions.iter().map(with_owner).collect();
    object
}

fn member_json(member: &GroupMember) -> Value {
    json!({
        "member_id": member.member_id,
        "instance_id": member.instance_id,
        "client_id": member.client_id,
        "client_host": member.client_host,
        "epoch": member.epoch,
        "subscribed_topics": member.subscribed_topics,
        "assignment": member.assignment.iter().map(topic_json).collect::<Value>(),
        "target": member.target.iter().map(topic_json).collect::<Value>(),
    })
}

fn topic_json(assigned: &TopicPartitions) -> Value {
    json!({ "topic": assigned.topic, "partitions": assigned.partitions })
}

fn partition_json(partition: &GroupPartition) -> Value {
    json!({
        "topic": partition.topic,
        "partition": partition.partition,
        "committed_offset": partition.committed_offset.map(Offset::get),
        "metadata": partition.metadata,
        "log_start_offset": partition.log_start_offset.get(),
        "high_watermark": partition.high_watermark.get(),
        "log_end_offset": partition.log_end_offset.get(),
        "lag": partition.lag,
        "lag_ms": partition.lag_time.map(|age| age.as_millis() as u64),
        "failure": partition.failure,
    })
}

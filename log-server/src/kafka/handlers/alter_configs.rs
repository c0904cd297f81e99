//! AlterConfigs, key 33, versions 0 to 2 (KIP-133).
//!
//! Sets what is given on a topic, and takes everything else back to its default: each topic by
//! itself, all of it or nothing. [`IncrementalAlterConfigs`](super::incremental_alter_configs) is
//! what newer clients use. The broker's own settings come from its start and are only read.

use log_proto::kafka::messages::alter_configs::{
    AlterConfigsRequest, AlterConfigsResource, AlterConfigsResourceResponse, AlterConfigsResponse,
};
use log_proto::kafka::{ErrorCode, Str};

use super::config_entries::{BROKER, TOPIC};
use super::repeats::Repeats;
use crate::broker::Mode;
use crate::kafka::Context;
use crate::kafka::error::{Refusal, number, text};
use crate::topic_config::{ConfigChange, TopicConfigs};
use crate::topics::{TopicName, TopicNameError};

pub(in crate::kafka) async fn handle(
    context: &Context,
    _: i16,
    request: &AlterConfigsRequest,
) -> AlterConfigsResponse {
    let mode = super::mode(request.validate_only);
    let key =
        |resource: &AlterConfigsResource| (resource.resource_type, resource.resource_name.clone());
    let mut repeats = Repeats::count(request.resources.iter().map(key));
    let mut responses = Vec::with_capacity(request.resources.len());
    for resource in &request.resources {
        let Some(checked) = repeats.check(&key(resource)) else { continue };
        let outcome = match checked {
            Ok(()) => alter(context, resource, mode).await,
            Err(refusal) => Err(refusal),
        };
        responses.push(AlterConfigsResourceResponse {
            error_code: number(&outcome),
            error_message: text(&outcome),
            resource_type: resource.resource_type,
            resource_name: resource.resource_name.clone(),
        });
    }
    AlterConfigsResponse { responses, ..Default::default() }
}

async fn alter(
    context: &Context,
    resource: &AlterConfigsResource,
    mode: Mode,
) -> Result<(), Refusal> {
    let topic = topic_to_alter(resource.resource_type, &resource.resource_name)?;
    let mut configs = TopicConfigs::default();
    let mut repeats = Repeats::count(resource.configs.iter().map(|config| &config.name));
    for config in &resource.configs {
        let Some(checked) = repeats.check(&&config.name) else { continue };
        checked?;
        let value = value_to_set(&config.name, config.value.as_ref())?;
        let set = configs.set(config.name.as_str(), value);
        set.map_err(|error| Refusal::new(ErrorCode::InvalidConfig, error.to_string()))?;
    }
    let change = ConfigChange::Replace(configs);
    Ok(context.broker.alter_configs(&context.principal, topic, change, mode).await?)
}

/// The topic that a resource stands for; no other resource can be altered.
pub(super) fn topic_to_alter(resource_type: i8, name: &Str) -> Result<&str, Refusal> {
    let message = match resource_type {
        TOPIC if name.is_empty() => "the topic has no name: give it one".to_owned(),
        TOPIC => return sound_name(name.as_str()),
        BROKER => "the broker's settings are read when it starts: set them there".to_owned(),
        other => format!("resource type {other} has no configs here: only topics ({TOPIC}) do"),
    };
    Err(Refusal::new(ErrorCode::InvalidRequest, message))
}

fn sound_name(name: &str) -> Result<&str, Refusal> {
    let refused =
        |error: TopicNameError| Refusal::new(ErrorCode::InvalidTopicException, error.to_string());
    TopicName::new(name).map(|_| name).map_err(refused)
}

/// The value of a config that is to have one.
pub(super) fn value_to_set<'a>(name: &Str, value: Option<&'a Str>) -> Result<&'a str, Refusal> {
    value.map(Str::as_str).ok_or_else(|| {
        let message = format!("the value of {name} is null: give it one");
        Refusal::new(ErrorCode::InvalidRequest, message)
    })
}

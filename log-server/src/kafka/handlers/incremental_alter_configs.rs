//! IncrementalAlterConfigs, key 44, versions 0 and 1 (KIP-339).
//!
//! Changes single configs of a topic and leaves the others: set (0), back to the default (1), add
//! to a list (2), take from a list (3). Each topic by itself, all of its changes or none. The
//! broker's own settings come from its start and are only read.

use log_proto::kafka::ErrorCode;
use log_proto::kafka::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterConfigsResourceResponse, AlterableConfig,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};

use super::alter_configs::{topic_to_alter, value_to_set};
use super::repeats::Repeats;
use crate::broker::Mode;
use crate::kafka::Context;
use crate::kafka::error::{Refusal, number, text};
use crate::topic_config::{ConfigChange, ConfigEdit};

pub(in crate::kafka) async fn handle(
    context: &Context,
    _: i16,
    request: &IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
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
    IncrementalAlterConfigsResponse { responses, ..Default::default() }
}

async fn alter(
    context: &Context,
    resource: &AlterConfigsResource,
    mode: Mode,
) -> Result<(), Refusal> {
    let topic = topic_to_alter(resource.resource_type, &resource.resource_name)?;
    let mut repeats = Repeats::count(resource.configs.iter().map(|config| &config.name));
    let mut edits = Vec::with_capacity(resource.configs.len());
    for config in &resource.configs {
        if let Some(checked) = repeats.check(&&config.name) {
            checked?;
            edits.push(edit(config)?);
        }
    }
    let change = ConfigChange::Edit(edits);
    Ok(context.broker.alter_configs(&context.principal, topic, change, mode).await?)
}

fn edit(config: &AlterableConfig) -> Result<ConfigEdit, Refusal> {
    let name = config.name.to_string();
    let value = || value_to_set(&config.name, config.value.as_ref()).map(str::to_owned);
    match config.config_operation {
        0 => Ok(ConfigEdit::Set(name, value()?)),
        1 => Ok(ConfigEdit::Unset(name)),
        2 => Ok(ConfigEdit::Append(name, value()?)),
        3 => Ok(ConfigEdit::Subtract(name, value()?)),
        other => {
            let message = format!("operation {other} on {name} is unknown: 0 to 3 are taken");
            Err(Refusal::new(ErrorCode::InvalidRequest, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::handlers::config_entries::{BROKER, TOPIC};
    use crate::kafka::handlers::testing::{Rig, code};
    use crate::kafka::handlers::{alter_configs, describe_configs};
    use log_proto::kafka::messages::alter_configs::{
        AlterConfigsRequest, AlterConfigsResource as Replacement, AlterableConfig as Replaced,
    };
    use log_proto::kafka::messages::describe_configs::{
        DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResponse,
    };

    fn config(name: &str, operation: i8, value: Option<&str>) -> AlterableConfig {
        let (name, value) = (name.into(), value.map(Into::into));
        AlterableConfig { name, config_operation: operation, value }
    }

    async fn alter(rig: &Rig, configs: Vec<AlterableConfig>) -> ErrorCode {
        let resource =
            AlterConfigsResource { resource_type: TOPIC, resource_name: "t".into(), configs };
        let resources = vec![resource];
        let request = IncrementalAlterConfigsRequest { resources, ..Default::default() };
        let response = handle(&rig.context, 1, &request).await;
        code(response.responses[0].error_code)
    }

    async fn describe(rig: &Rig, resource_type: i8, name: &str) -> DescribeConfigsResponse {
        let resource = DescribeConfigsResource {
            resource_type,
            resource_name: name.into(),
            configuration_keys: None,
        };
        let resources = vec![resource];
        let request = DescribeConfigsRequest { resources, ..Default::default() };
        describe_configs::handle(&rig.context, 4, &request).await
    }

    /// What the topic itself sets.
    async fn set(rig: &Rig) -> Vec<(String, String)> {
        let described = describe(rig, TOPIC, "t").await;
        let configs = described.results[0].configs.iter().filter(|one| one.config_source == 1);
        let value = |value: &Option<log_proto::kafka::Str>| value.clone().unwrap_or_default();
        configs.map(|one| (one.name.to_string(), value(&one.value).to_string())).collect()
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[tokio::test]
    async fn single_configs_change_and_the_others_stay() {
        let rig = Rig::with_topic().await;
        let first = vec![
            config("retention.ms", 0, Some("7")),
            config("cleanup.policy", 2, Some("compact")),
        ];
        assert_eq!(alter(&rig, first).await, ErrorCode::None);
        let both = pair("cleanup.policy", "delete,compact");
        assert_eq!(set(&rig).await, [both, pair("retention.ms", "7")]);
        let second = vec![
            config("retention.ms", 1, None),
            config("cleanup.policy", 3, Some("delete")),
            config("segment.ms", 0, Some("9")),
        ];
        assert_eq!(alter(&rig, second).await, ErrorCode::None);
        assert_eq!(set(&rig).await, [pair("cleanup.policy", "compact"), pair("segment.ms", "9")]);
    }

    #[tokio::test]
    async fn a_mistake_changes_nothing() {
        let rig = Rig::with_topic().await;
        let good = || config("retention.ms", 0, Some("7"));
        let cases = [
            (config("retention", 0, Some("7")), ErrorCode::InvalidConfig),
            (config("segment.ms", 0, Some("x")), ErrorCode::InvalidConfig),
            (config("segment.ms", 2, Some("1")), ErrorCode::InvalidConfig),
            (config("segment.ms", 0, None), ErrorCode::InvalidRequest),
            (config("segment.ms", 4, Some("1")), ErrorCode::InvalidRequest),
            (good(), ErrorCode::InvalidRequest),
        ];
        for (bad, expected) in cases {
            let text = format!("{bad:?}");
            assert_eq!(alter(&rig, vec![good(), bad]).await, expected, "{text}");
        }
        assert_eq!(set(&rig).await, []);
    }

    #[tokio::test]
    async fn a_full_replacement_takes_back_the_rest_and_a_question_nothing() {
        let rig = Rig::with_topic().await;
        alter(&rig, vec![config("retention.ms", 0, Some("7"))]).await;
        let replaced = Replaced { name: "segment.ms".into(), value: Some("9".into()) };
        let resource = Replacement {
            resource_type: TOPIC,
            resource_name: "t".into(),
            configs: vec![replaced],
        };
        let mut request = AlterConfigsRequest { resources: vec![resource], validate_only: true };
        alter_configs::handle(&rig.context, 2, &request).await;
        assert_eq!(set(&rig).await, [pair("retention.ms", "7")]);
        request.validate_only = false;
        alter_configs::handle(&rig.context, 2, &request).await;
        assert_eq!(set(&rig).await, [pair("segment.ms", "9")]);
    }

    #[tokio::test]
    async fn the_brokers_settings_are_read_and_not_changed() {
        let rig = Rig::with_topic().await;
        let described = describe(&rig, BROKER, "1").await;
        let settings = &described.results[0].configs;
        assert!(settings.iter().all(|setting| setting.read_only));
        assert!(settings.iter().any(|setting| setting.name == "num.partitions"));
        for (resource_type, name, expected) in [
            (BROKER, "2", ErrorCode::InvalidRequest),
            (BROKER, "x", ErrorCode::InvalidRequest),
            (TOPIC, "u", ErrorCode::UnknownTopicOrPartition),
            (TOPIC, "a/b", ErrorCode::InvalidTopicException),
            (8, "1", ErrorCode::InvalidRequest),
        ] {
            let described = describe(&rig, resource_type, name).await;
            assert_eq!(code(described.results[0].error_code), expected, "{name}");
        }
        let resource = AlterConfigsResource {
            resource_type: BROKER,
            resource_name: "1".into(),
            configs: vec![config("num.partitions", 0, Some("2"))],
        };
        let resources = vec![resource];
        let request = IncrementalAlterConfigsRequest { resources, ..Default::default() };
        let response = handle(&rig.context, 1, &request).await;
        assert_eq!(code(response.responses[0].error_code), ErrorCode::InvalidRequest);
    }
}

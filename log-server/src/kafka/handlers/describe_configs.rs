//! DescribeConfigs, key 32, versions 1 to 4 (KIP-133, KIP-226, KIP-524, KIP-569).
//!
//! What is set on a topic, by whom, and what it means; or with what the broker was started, under
//! the names of its settings, which are its own where Kafka has no such thing. A list of names
//! picks from them, and none or an empty one means all; names that do not exist are left out. What
//! is asked for twice is answered once, lest a small request have a large answer.
//!
//! Left out: loggers, client metrics, groups.

use log_proto::kafka::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult,
    DescribeConfigsResponse, DescribeConfigsResult, DescribeConfigsSynonym,
};
use log_proto::kafka::{ErrorCode, Str};

use super::config_entries::{BROKER, ConfigSource, Detail, TOPIC, of_topic};
use super::repeats::once;
use crate::config::{SETTINGS, ServerConfig, Setting};
use crate::kafka::error::{Refusal, number, text};
use crate::kafka::{Context, NODE_ID};
use crate::topics::TopicName;

type Entries = Vec<DescribeConfigsResourceResult>;

pub(in crate::kafka) async fn handle(
    context: &Context,
    _: i16,
    request: &DescribeConfigsRequest,
) -> DescribeConfigsResponse {
    let detail =
        Detail { synonyms: request.include_synonyms, documentation: request.include_documentation };
    let resources = once(&request.resources, |one| (one.resource_type, &one.resource_name));
    let results = resources.map(|resource| {
        let described = describe(context, resource, detail);
        DescribeConfigsResult {
            error_code: number(&described),
            // That nothing is wrong is an empty text, and not null, in Kafka's answers.
            error_message: text(&described).or(Some(Str::default())),
            resource_type: resource.resource_type,
            resource_name: resource.resource_name.clone(),
            configs: described.unwrap_or_default(),
        }
    });
    DescribeConfigsResponse { results: results.collect(), ..Default::default() }
}

fn describe(
    context: &Context,
    resource: &DescribeConfigsResource,
    detail: Detail,
) -> Result<Entries, Refusal> {
    let wanted = |name: &str| match resource.configuration_keys.as_deref() {
        None | Some([]) => true,
        Some(names) => names.iter().any(|wanted| *wanted == name),
    };
    let name = resource.resource_name.as_str();
    match resource.resource_type {
        TOPIC => topic(context, name, detail, wanted),
        BROKER => broker(context.broker.config(), name, detail, wanted),
        other => {
            let message = format!(
                "resource type {other} has no configs here: topics ({TOPIC}) and the broker \
                 ({BROKER}) do"
            );
            Err(Refusal::new(ErrorCode::InvalidRequest, message))
        }
    }
}

fn topic(
    context: &Context,
    name: &str,
    detail: Detail,
    wanted: impl Fn(&str) -> bool,
) -> Result<Entries, Refusal> {
    TopicName::new(name)
        .map_err(|error| Refusal::new(ErrorCode::InvalidTopicException, error.to_string()))?;
    let topic = context.broker.topics().get(name)?;
    let set = topic.configs.load();
    Ok(of_topic(&set, &context.broker.config().topic_defaults, detail, wanted))
}

/// An empty name asks for what is set for all brokers at once, which is nothing.
fn broker(
    config: &ServerConfig,
    name: &str,
    detail: Detail,
    wanted: impl Fn(&str) -> bool,
) -> Result<Entries, Refusal> {
    if name.is_empty() {
        return Ok(Vec::new());
    }
    // Not parsed: a number can be written in any number of ways, each of them a resource.
    if name != NODE_ID.to_string() {
        let message = format!("there is no broker {name:?}: ask for {NODE_ID}");
        return Err(Refusal::new(ErrorCode::InvalidRequest, message));
    }
    let settings = SETTINGS.iter().filter(|setting| wanted(setting.name));
    Ok(settings.map(|setting| entry(setting, config, detail)).collect())
}

fn entry(
    setting: &Setting,
    config: &ServerConfig,
    detail: Detail,
) -> DescribeConfigsResourceResult {
    let given = config.given.get(setting.name).map(|value| (value.as_str(), ConfigSource::Broker));
    let by_default = (setting.default, ConfigSource::Default);
    let (value, source) = given.unwrap_or(by_default);
    let synonym = |(value, source): (&str, ConfigSource)| DescribeConfigsSynonym {
        name: Str::from_static(setting.name),
        value: Some(value.into()),
        source: source as i8,
    };
    let synonyms = given.into_iter().chain([by_default]).map(synonym);
    DescribeConfigsResourceResult {
        name: Str::from_static(setting.name),
        value: Some(value.into()),
        read_only: true,
        config_source: source as i8,
        synonyms: if detail.synonyms { synonyms.collect() } else { Vec::new() },
        config_type: if setting.unit.is_empty() { TEXT } else { LONG },
        documentation: detail.documentation.then(|| Str::from_static(setting.doc)),
        ..Default::default()
    }
}

/// What a setting looks like, by its number in Kafka's ConfigDef.Type. One with a unit counts it.
const TEXT: i8 = 2;
const LONG: i8 = 5;

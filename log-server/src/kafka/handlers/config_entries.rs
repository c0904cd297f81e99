//! Configs as Kafka's clients see them: values with where they come from.

use log_proto::kafka::Str;
use log_proto::kafka::messages::describe_configs::{
    DescribeConfigsResourceResult, DescribeConfigsSynonym,
};

use crate::topic_config::{ConfigKind, TOPIC_CONFIGS, TopicConfig, TopicConfigs};

/// The kinds of resources that have configs, by their numbers in Kafka's ConfigResource.
pub(super) const TOPIC: i8 = 2;
pub(super) const BROKER: i8 = 4;

/// Where a value comes from, by its number in Kafka's ConfigSource.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ConfigSource {
    /// The topic sets it.
    Topic = 1,
    /// The broker was started with it.
    Broker = 4,
    /// Nobody sets it.
    Default = 5,
}

/// What is told of a config besides its value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Detail {
    pub(super) synonyms: bool,
    pub(super) documentation: bool,
}

/// Every config of a topic that `wanted` takes.
pub(super) fn of_topic(
    set: &TopicConfigs,
    defaults: &TopicConfigs,
    detail: Detail,
    wanted: impl Fn(&str) -> bool,
) -> Vec<DescribeConfigsResourceResult> {
    let configs = TOPIC_CONFIGS.iter().filter(|config| wanted(config.name));
    configs.map(|config| entry(config, set, defaults, detail)).collect()
}

fn entry(
    config: &TopicConfig,
    set: &TopicConfigs,
    defaults: &TopicConfigs,
    detail: Detail,
) -> DescribeConfigsResourceResult {
    let value = set.effective(config, defaults);
    let documentation = || match (config.note)(value) {
        Some(note) => format!("{} Note: {note}.", config.doc).into(),
        None => Str::from_static(config.doc),
    };
    DescribeConfigsResourceResult {
        name: Str::from_static(config.name),
        value: Some(value.into()),
        config_source: source(config, set, defaults) as i8,
        synonyms: if detail.synonyms { synonyms(config, set, defaults) } else { Vec::new() },
        config_type: kind(config.kind),
        documentation: detail.documentation.then(documentation),
        ..Default::default()
    }
}

/// Where the value in force comes from. A setting that the broker was started with at its default
/// passes for the default.
pub(super) fn source(
    config: &TopicConfig,
    set: &TopicConfigs,
    defaults: &TopicConfigs,
) -> ConfigSource {
    match () {
        () if set.sets(config) => ConfigSource::Topic,
        () if defaults.effective(config, defaults) != config.default => ConfigSource::Broker,
        () => ConfigSource::Default,
    }
}

/// Every place that gives the config a value, the one in force first. The broker has its own names
/// for some.
fn synonyms(
    config: &TopicConfig,
    set: &TopicConfigs,
    defaults: &TopicConfigs,
) -> Vec<DescribeConfigsSynonym> {
    let name = config.broker_setting.unwrap_or(config.name);
    let of_topic = (config.name, set.effective(config, defaults), ConfigSource::Topic);
    let of_broker = (name, defaults.effective(config, defaults), ConfigSource::Broker);
    let by_default = (name, config.default, ConfigSource::Default);
    let places = match source(config, set, defaults) {
        ConfigSource::Topic if of_broker.1 == config.default => vec![of_topic, by_default],
        ConfigSource::Topic => vec![of_topic, of_broker, by_default],
        ConfigSource::Broker => vec![of_broker, by_default],
        ConfigSource::Default => vec![by_default],
    };
    let synonym = |(name, value, source): (&'static str, &str, ConfigSource)| {
        let name = Str::from_static(name);
        DescribeConfigsSynonym { name, value: Some(value.into()), source: source as i8 }
    };
    places.into_iter().map(synonym).collect()
}

/// Its number in Kafka's ConfigDef.Type.
fn kind(kind: ConfigKind) -> i8 {
    match kind {
        ConfigKind::Boolean => 1,
        ConfigKind::Text => 2,
        ConfigKind::Int => 3,
        ConfigKind::Long => 5,
        ConfigKind::Double => 6,
        ConfigKind::List => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Detail = Detail { synonyms: true, documentation: true };

    fn retention(set: &[(&str, &str)], defaults: &[(&str, &str)]) -> DescribeConfigsResourceResult {
        let set = TopicConfigs::parse(set.iter().copied()).expect("known configs");
        let defaults = TopicConfigs::parse(defaults.iter().copied()).expect("known configs");
        of_topic(&set, &defaults, ALL, |name| name == "retention.ms").remove(0)
    }

    fn places(entry: &DescribeConfigsResourceResult) -> Vec<(&str, &str, i8)> {
        let mut places = Vec::new();
        for DescribeConfigsSynonym { name, value, source } in &entry.synonyms {
            places.push((name.as_str(), value.as_ref().map_or("null", Str::as_str), *source));
        }
        places
    }

    /// Goal: `kafka-configs --describe` names whoever set a value, as with Kafka.
    #[test]
    fn the_value_in_force_stands_first() {
        let by_default = ("log.retention.ms", "604800000", 5);
        let entry = retention(&[], &[]);
        assert_eq!((entry.config_source, places(&entry)), (5, vec![by_default]));
        let of_broker = ("log.retention.ms", "7", 4);
        let entry = retention(&[], &[("retention.ms", "7")]);
        assert_eq!((entry.config_source, places(&entry)), (4, vec![of_broker, by_default]));
        let entry = retention(&[("retention.ms", "8")], &[("retention.ms", "7")]);
        let of_topic = ("retention.ms", "8", 1);
        assert_eq!(places(&entry), vec![of_topic, of_broker, by_default]);
        assert_eq!((entry.config_source, entry.config_type), (1, 5));
    }
}

//! The settings of topics and of the broker: told, set, put back.

use log_proto::kafka::ApiKey;
use log_proto::kafka::messages::alter_configs::{
    AlterConfigsRequest, AlterConfigsResource, AlterableConfig,
};
use log_proto::kafka::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource,
};
use log_proto::kafka::messages::incremental_alter_configs::{
    AlterConfigsResource as IncrementalResource, AlterableConfig as Change,
    IncrementalAlterConfigsRequest,
};

use crate::run::Run;

/// The kinds of resources, by their numbers in the protocol.
const TOPIC: i8 = 2;
const BROKER: i8 = 4;

/// What is done to a config, by its number in the protocol.
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

pub(crate) fn play(run: &mut Run) {
    run.create("told", 1, &[("retention.ms", "86400000"), ("cleanup.policy", "compact,delete")]);
    run.rounds(ApiKey::DescribeConfigs, describe_configs);
    run.rounds(ApiKey::AlterConfigs, alter_configs);
    run.rounds(ApiKey::IncrementalAlterConfigs, incremental_alter_configs);
    run.rounds(ApiKey::IncrementalAlterConfigs, alter_lists);
}

fn describe_configs(run: &mut Run, version: i16) {
    let of =
        |resource_type, name: &str, keys: Option<&[&str]>| describing(resource_type, name, keys);
    let keys: &[&str] = &["retention.ms", "max.message.bytes", "cleanup.policy"];
    run.ask("three of a topic", version, &of(TOPIC, "told", Some(keys)));
    let synonyms = DescribeConfigsRequest {
        include_synonyms: true,
        ..of(TOPIC, "told", Some(&["retention.ms", "cleanup.policy"]))
    };
    run.ask("two of a topic, with synonyms", version, &synonyms);
    run.ask("one that is unknown", version, &of(TOPIC, "told", Some(&["no.such.thing"])));
    run.ask("none of a topic", version, &of(TOPIC, "told", Some(&[])));
    run.ask("all of a topic", version, &of(TOPIC, "told", None));
    if version >= 3 {
        let documented = DescribeConfigsRequest {
            include_documentation: true,
            ..of(TOPIC, "told", Some(&["retention.ms"]))
        };
        run.ask("one of a topic, with its documentation", version, &documented);
    }
    run.ask("of a topic that is not there", version, &of(TOPIC, "missing", None));
    run.ask("of a name that no topic can have", version, &of(TOPIC, "a b", None));
    run.ask("of a topic without a name", version, &of(TOPIC, "", None));
    let one: Option<&[&str]> = Some(&["message.max.bytes"]);
    run.ask("one of the broker", version, &of(BROKER, "1", one));
    run.ask("of another broker", version, &of(BROKER, "2", one));
    run.ask("of a broker with a bad name", version, &of(BROKER, "x", one));
    run.ask("of all brokers", version, &of(BROKER, "", one));
    for resource_type in [0, 1, 3, 99] {
        let request = of(resource_type, "told", None);
        run.ask(&format!("of a resource of type {resource_type}"), version, &request);
    }
    let mut twice = of(TOPIC, "told", Some(&["retention.ms"]));
    twice.resources.push(twice.resources[0].clone());
    run.ask("of one topic twice", version, &twice);
    run.ask("of nothing", version, &DescribeConfigsRequest::default());
}

fn describing(resource_type: i8, name: &str, keys: Option<&[&str]>) -> DescribeConfigsRequest {
    let resource = DescribeConfigsResource {
        resource_type,
        resource_name: name.into(),
        configuration_keys: keys.map(|keys| keys.iter().map(|key| (*key).into()).collect()),
    };
    DescribeConfigsRequest { resources: vec![resource], ..Default::default() }
}

/// Waits until a topic's config is told as what it was set to.
fn wait_for(run: &mut Run, topic: &str, key: &str, value: &str) {
    run.until(4, &describing(TOPIC, topic, Some(&[key])), |response| {
        let configs = &response.results[0].configs;
        configs
            .first()
            .is_some_and(|config| config.value.as_ref().is_some_and(|told| *told == *value))
    });
}

fn alter_configs(run: &mut Run, version: i16) {
    let name = run.named("altered");
    run.create(&name, 1, &[("retention.ms", "5000")]);
    let set = |name: &str, configs: &[(&str, Option<&str>)]| altering(TOPIC, name, configs);
    run.ask("one", version, &set(&name, &[("segment.bytes", Some("2000000"))]));
    wait_for(run, &name, "segment.bytes", "2000000");
    let keys: &[&str] = &["retention.ms", "segment.bytes"];
    run.ask("what is not named is put back", 4, &describing(TOPIC, &name, Some(keys)));
    let only = AlterConfigsRequest {
        validate_only: true,
        ..set(&name, &[("segment.bytes", Some("3000000"))])
    };
    run.ask("one, to be validated only", version, &only);
    run.ask("an unknown one", version, &set(&name, &[("no.such.thing", Some("1"))]));
    run.ask("an empty name", version, &set(&name, &[("", Some("1"))]));
    run.ask("a bad value", version, &set(&name, &[("retention.ms", Some("soon"))]));
    run.ask("no value", version, &set(&name, &[("retention.ms", None)]));
    let twice = [("retention.ms", Some("1")), ("retention.ms", Some("2"))];
    run.ask("one twice", version, &set(&name, &twice));
    run.ask("of a topic that is not there", version, &set("missing", &[]));
    run.ask("of a name that no topic can have", version, &set("a b", &[]));
    run.ask("of a topic without a name", version, &set("", &[]));
    for resource_type in [0, 1, 99] {
        let request = altering(resource_type, "told", &[]);
        run.ask(&format!("of a resource of type {resource_type}"), version, &request);
    }
    run.ask("of a broker with a bad name", version, &altering(BROKER, "x", &[]));
    // One topic twice is left out: Kafka does not answer at all.
    run.ask("none", version, &set(&name, &[]));
    wait_for(run, &name, "segment.bytes", "1073741824");
}

fn altering(
    resource_type: i8,
    name: &str,
    configs: &[(&str, Option<&str>)],
) -> AlterConfigsRequest {
    let config = |(name, value): &(&str, Option<&str>)| AlterableConfig {
        name: (*name).into(),
        value: value.map(Into::into),
    };
    let configs = configs.iter().map(config).collect();
    let resource = AlterConfigsResource { resource_type, resource_name: name.into(), configs };
    AlterConfigsRequest { resources: vec![resource], validate_only: false }
}

fn incremental_alter_configs(run: &mut Run, version: i16) {
    let name = run.named("changed");
    run.create(&name, 1, &[("retention.ms", "5000")]);
    let change = |changes: &[(&str, i8, Option<&str>)]| changing(TOPIC, &name, changes);
    run.ask("set one", version, &change(&[("segment.bytes", SET, Some("2000000"))]));
    wait_for(run, &name, "segment.bytes", "2000000");
    let keys: &[&str] = &["retention.ms", "segment.bytes"];
    run.ask("what is not named stays", 4, &describing(TOPIC, &name, Some(keys)));
    run.ask("put one back", version, &change(&[("segment.bytes", DELETE, None)]));
    wait_for(run, &name, "segment.bytes", "1073741824");
    run.ask("put one back that was not set", version, &change(&[("flush.ms", DELETE, None)]));
    run.ask("put an unknown one back", version, &change(&[("no.such.thing", DELETE, None)]));
    run.ask("set an unknown one", version, &change(&[("no.such.thing", SET, Some("1"))]));
    run.ask("set an empty name", version, &change(&[("", SET, Some("1"))]));
    run.ask("set a bad value", version, &change(&[("retention.ms", SET, Some("soon"))]));
    run.ask("set no value", version, &change(&[("retention.ms", SET, None)]));
    run.ask("an unknown operation", version, &change(&[("retention.ms", 9, Some("1"))]));
    run.ask("append to a number", version, &change(&[("retention.ms", APPEND, Some("1"))]));
    run.ask("subtract from a number", version, &change(&[("retention.ms", SUBTRACT, Some("1"))]));
    let twice = [("retention.ms", SET, Some("1")), ("retention.ms", DELETE, None)];
    run.ask("change one twice", version, &change(&twice));
    let mixed = [("retention.ms", SET, Some("7000")), ("flush.ms", SET, Some("soon"))];
    run.ask("one good, one bad", version, &change(&mixed));
    run.ask("which changes nothing", 4, &describing(TOPIC, &name, Some(&["retention.ms"])));
    let only = IncrementalAlterConfigsRequest {
        validate_only: true,
        ..change(&[("retention.ms", SET, Some("9000"))])
    };
    run.ask("set one, to be validated only", version, &only);
    let elsewhere = |resource_type, name: &str| {
        changing(resource_type, name, &[("retention.ms", SET, Some("1"))])
    };
    run.ask("of a topic that is not there", version, &elsewhere(TOPIC, "missing"));
    run.ask("of a name that no topic can have", version, &elsewhere(TOPIC, "a b"));
    run.ask("of a topic without a name", version, &elsewhere(TOPIC, ""));
    run.ask("of a broker with a bad name", version, &elsewhere(BROKER, "x"));
    for resource_type in [0, 1, 99] {
        let request = elsewhere(resource_type, "told");
        run.ask(&format!("of a resource of type {resource_type}"), version, &request);
    }
    let mut resource = change(&[]);
    resource.resources.push(resource.resources[0].clone());
    run.ask("of one topic twice", version, &resource);
    run.ask("nothing", version, &change(&[]));
}

fn alter_lists(run: &mut Run, version: i16) {
    let name = run.named("listed");
    run.create(&name, 1, &[]);
    let policy = |operation, value: &str| {
        changing(TOPIC, &name, &[("cleanup.policy", operation, Some(value))])
    };
    run.ask("append to a list", version, &policy(APPEND, "compact"));
    wait_for(run, &name, "cleanup.policy", "delete,compact");
    run.ask("append what is there", version, &policy(APPEND, "compact"));
    run.ask("append what cannot be", version, &policy(APPEND, "shred"));
    run.ask("subtract from a list", version, &policy(SUBTRACT, "delete"));
    wait_for(run, &name, "cleanup.policy", "compact");
    run.ask("subtract what is not there", version, &policy(SUBTRACT, "delete"));
    run.ask("set an empty list", version, &policy(SET, ""));
}

fn changing(
    resource_type: i8,
    name: &str,
    changes: &[(&str, i8, Option<&str>)],
) -> IncrementalAlterConfigsRequest {
    let change = |(name, config_operation, value): &(&str, i8, Option<&str>)| Change {
        name: (*name).into(),
        config_operation: *config_operation,
        value: value.map(Into::into),
    };
    let configs = changes.iter().map(change).collect();
    let resource = IncrementalResource { resource_type, resource_name: name.into(), configs };
    IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false }
}

//! The Admin service: topics, their configs, and what lies in their partitions. What it says of
//! groups is in [`super::groups`].

use std::collections::HashMap;
use std::sync::Arc;

use log_core::FlushPolicy;
use log_proto::types::{Offset, TimestampMs};
use log_proto::v1;
use log_proto::v1::admin_server::Admin;
use log_proto::v1::list_offsets_request::Position;
use tonic::{Request, Response, Status};

use super::convert;
use super::error::Refusal;
use crate::broker::{Broker, Mode, OffsetQuery};
use crate::error::{AlterConfigsError, CreateTopicError};
use crate::partition::Partition;
use crate::topic_config::{ConfigChange, TOPIC_CONFIGS, TopicConfig, TopicConfigs};
use crate::topics::{PartitionState, Topic, TopicKind};

/// Findings of a partition that are told, so that a disk full of damage fits into an answer.
const FINDINGS_MAX: usize = 100;

/// The Admin service upon a broker.
#[derive(Clone)]
pub(crate) struct AdminService {
    pub(super) broker: Broker,
}

impl AdminService {
    pub(crate) fn new(broker: Broker) -> Self {
        Self { broker }
    }

    fn topic(&self, name: &str) -> Result<Arc<Topic>, Refusal> {
        Ok(self.broker.topics().get(name)?)
    }

    async fn offset_of(
        &self,
        topic: &Topic,
        number: u32,
        query: OffsetQuery,
    ) -> Result<v1::PartitionOffset, Refusal> {
        let partition = topic.partition(number)?;
        let (offset, timestamp) = self.broker.find_offset(partition, query).await?;
        Ok(v1::PartitionOffset {
            partition: convert::number(number),
            offset: offset.map(Offset::get),
            timestamp_ms: timestamp.map(TimestampMs::get),
        })
    }

    fn describe_config(&self, topic: &Topic, config: &TopicConfig) -> v1::ConfigEntry {
        let set = topic.configs.load();
        let value = set.effective(config, &self.broker.config().topic_defaults);
        v1::ConfigEntry {
            name: config.name.to_owned(),
            value: value.to_owned(),
            is_default: !set.sets(config),
            documentation: config.doc.to_owned(),
            note: (config.note)(value).unwrap_or_default().to_owned(),
        }
    }
}

fn parse_configs(configs: &HashMap<String, String>) -> Result<TopicConfigs, CreateTopicError> {
    let pairs = configs.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    Ok(TopicConfigs::parse(pairs)?)
}

fn mode(validate_only: bool) -> Mode {
    match validate_only {
        true => Mode::Validate,
        false => Mode::Apply,
    }
}

fn query(position: Option<Position>) -> Result<OffsetQuery, Refusal> {
    let kind = match position {
        Some(Position::TimestampMs(stamp)) => {
            return Ok(OffsetQuery::Timestamp(TimestampMs::new(stamp)));
        }
        Some(Position::Kind(kind)) => kind,
        None => v1::OffsetKind::LogStart.into(),
    };
    match v1::OffsetKind::try_from(kind) {
        Ok(v1::OffsetKind::LogStart) => Ok(OffsetQuery::LogStart),
        Ok(v1::OffsetKind::HighWatermark) => Ok(OffsetQuery::HighWatermark),
        Ok(v1::OffsetKind::LastStable) => Ok(OffsetQuery::LastStable),
        Ok(v1::OffsetKind::LogEnd) => Ok(OffsetQuery::LogEnd),
        Ok(v1::OffsetKind::MaxTimestamp) => Ok(OffsetQuery::MaxTimestamp),
        Err(_) => Err(Refusal::invalid_request(format!(
            "kind {kind} is none of LOG_START, HIGH_WATERMARK, LAST_STABLE, LOG_END, MAX_TIMESTAMP"
        ))),
    }
}

fn partitions_asked(topic: &Topic, asked: &[i32]) -> Result<Vec<u32>, Refusal> {
    let count = topic.partitions.len();
    if asked.is_empty() {
        return Ok((0..).take(count).collect());
    }
    if asked.len() > count {
        return Err(Refusal::invalid_request(format!(
            "{} partitions are asked for, but topic {} has {count}",
            asked.len(),
            topic.name
        )));
    }
    asked.iter().map(|number| convert::partition(topic.name.as_str(), *number)).collect()
}

fn describe_topic(topic: &Topic) -> v1::Topic {
    v1::Topic {
        name: topic.name.to_string(),
        id: topic.id.0.as_bytes().to_vec().into(),
        partitions: topic.partitions.len() as u32,
        internal: topic.kind == TopicKind::Internal,
    }
}

fn describe_partition((number, state): (usize, &PartitionState)) -> v1::PartitionDescription {
    let partition = i32::try_from(number).unwrap_or(i32::MAX);
    match state {
        PartitionState::Serving(serving) => describe_serving(partition, serving),
        PartitionState::Failed(reason) => v1::PartitionDescription {
            partition,
            failure: reason.clone(),
            ..v1::PartitionDescription::default()
        },
    }
}

fn describe_serving(partition: i32, serving: &Partition) -> v1::PartitionDescription {
    let description = serving.log().describe();
    let offsets = description.offsets;
    v1::PartitionDescription {
        partition,
        leader_epoch: serving.leader_epoch().get(),
        log_start_offset: offsets.log_start.get(),
        last_stable_offset: offsets.last_stable.get(),
        high_watermark: offsets.high_watermark.get(),
        log_end_offset: offsets.log_end.get(),
        durable_offset: offsets.durable.get(),
        size_bytes: description.size_bytes,
        segments: u32::try_from(description.segments).unwrap_or(u32::MAX),
        failure: description.failure.map(|failure| failure.to_string()).unwrap_or_default(),
        findings: serving.findings().into_iter().take(FINDINGS_MAX).collect(),
    }
}

#[tonic::async_trait]
impl Admin for AdminService {
    async fn create_topic(
        &self,
        request: Request<v1::CreateTopicRequest>,
    ) -> Result<Response<v1::CreateTopicResponse>, Status> {
        let principal = super::principal_of(&request);
        let request = request.into_inner();
        let configs = parse_configs(&request.configs).map_err(Refusal::from)?;
        let partitions = (request.partitions > 0).then_some(request.partitions);
        let mode = mode(request.validate_only);
        let created =
            self.broker.create_topic(&principal, &request.name, partitions, configs, mode).await;
        let created = created.map_err(Refusal::from)?;
        let topic = v1::Topic {
            name: created.name.to_string(),
            id: created.id.map(|id| id.0.as_bytes().to_vec()).unwrap_or_default().into(),
            partitions: created.partitions,
            internal: false,
        };
        Ok(Response::new(v1::CreateTopicResponse { topic: Some(topic) }))
    }

    async fn list_topics(
        &self,
        request: Request<v1::ListTopicsRequest>,
    ) -> Result<Response<v1::ListTopicsResponse>, Status> {
        let include_internal = request.into_inner().include_internal;
        let listed = |topic: &Arc<Topic>| include_internal || topic.kind == TopicKind::User;
        let topics = self.broker.topics().all();
        let topics = topics.iter().filter(|topic| listed(topic)).map(|topic| describe_topic(topic));
        Ok(Response::new(v1::ListTopicsResponse { topics: topics.collect() }))
    }

    async fn describe_topic(
        &self,
        request: Request<v1::DescribeTopicRequest>,
    ) -> Result<Response<v1::DescribeTopicResponse>, Status> {
        let topic = self.topic(&request.into_inner().name)?;
        let configs = topic.configs.load();
        let set = configs.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        Ok(Response::new(v1::DescribeTopicResponse {
            topic: Some(describe_topic(&topic)),
            partitions: topic.partitions.iter().enumerate().map(describe_partition).collect(),
            configs: set.collect(),
        }))
    }

    async fn delete_topic(
        &self,
        request: Request<v1::DeleteTopicRequest>,
    ) -> Result<Response<v1::DeleteTopicResponse>, Status> {
        let principal = super::principal_of(&request);
        let deleted = self.broker.delete_topic(&principal, &request.into_inner().name).await;
        deleted.map_err(Refusal::from)?;
        Ok(Response::new(v1::DeleteTopicResponse {}))
    }

    async fn describe_configs(
        &self,
        request: Request<v1::DescribeConfigsRequest>,
    ) -> Result<Response<v1::DescribeConfigsResponse>, Status> {
        let topic = self.topic(&request.into_inner().topic)?;
        let entries = TOPIC_CONFIGS.iter().map(|config| self.describe_config(&topic, config));
        Ok(Response::new(v1::DescribeConfigsResponse { entries: entries.collect() }))
    }

    async fn alter_configs(
        &self,
        request: Request<v1::AlterConfigsRequest>,
    ) -> Result<Response<v1::AlterConfigsResponse>, Status> {
        let principal = super::principal_of(&request);
        let v1::AlterConfigsRequest { topic, set, unset, validate_only } = request.into_inner();
        if let Some(both) = unset.iter().find(|name| set.contains_key(*name)) {
            let message = format!("{both} is to be set and unset at once: choose one");
            return Err(Refusal::invalid_request(message).into());
        }
        let pairs = set.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let set = TopicConfigs::parse(pairs).map_err(AlterConfigsError::from);
        let set = set.map_err(Refusal::from)?;
        let mode = mode(validate_only);
        let change = ConfigChange::edit(set, unset);
        let altered = self.broker.alter_configs(&principal, &topic, change, mode).await;
        altered.map_err(Refusal::from)?;
        Ok(Response::new(v1::AlterConfigsResponse {}))
    }

    async fn list_offsets(
        &self,
        request: Request<v1::ListOffsetsRequest>,
    ) -> Result<Response<v1::ListOffsetsResponse>, Status> {
        let v1::ListOffsetsRequest { topic, partitions, position } = request.into_inner();
        let topic = self.topic(&topic)?;
        let query = query(position)?;
        let mut offsets = Vec::new();
        for number in partitions_asked(&topic, &partitions)? {
            offsets.push(self.offset_of(&topic, number, query).await?);
        }
        Ok(Response::new(v1::ListOffsetsResponse { offsets }))
    }

    async fn describe_broker(
        &self,
        _: Request<v1::DescribeBrokerRequest>,
    ) -> Result<Response<v1::DescribeBrokerResponse>, Status> {
        let durability = match self.broker.default_flush() {
            FlushPolicy::EveryAppend => v1::Durability::Synced,
            FlushPolicy::Lazy { .. } => v1::Durability::Appended,
        };
        let topics = self.broker.topics().all();
        let user = topics.iter().filter(|topic| topic.kind == TopicKind::User);
        Ok(Response::new(v1::DescribeBrokerResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            data_dir: self.broker.data_dir().path().display().to_string(),
            default_durability: durability.into(),
            topics: user.clone().count() as u64,
            partitions: user.map(|topic| topic.partitions.len() as u64).sum(),
        }))
    }

    async fn list_groups(
        &self,
        request: Request<v1::ListGroupsRequest>,
    ) -> Result<Response<v1::ListGroupsResponse>, Status> {
        let groups = self.groups(&super::principal_of(&request)).await?;
        Ok(Response::new(v1::ListGroupsResponse { groups }))
    }

    async fn describe_group(
        &self,
        request: Request<v1::DescribeGroupRequest>,
    ) -> Result<Response<v1::DescribeGroupResponse>, Status> {
        let principal = super::principal_of(&request);
        Ok(Response::new(self.group(&principal, &request.into_inner().group).await?))
    }

    async fn delete_group(
        &self,
        request: Request<v1::DeleteGroupRequest>,
    ) -> Result<Response<v1::DeleteGroupResponse>, Status> {
        let principal = super::principal_of(&request);
        self.forget_group(&principal, &request.into_inner().group).await?;
        Ok(Response::new(v1::DeleteGroupResponse {}))
    }

    async fn delete_group_offsets(
        &self,
        request: Request<v1::DeleteGroupOffsetsRequest>,
    ) -> Result<Response<v1::DeleteGroupOffsetsResponse>, Status> {
        let principal = super::principal_of(&request);
        let results = self.delete_offsets(&principal, request.into_inner()).await?;
        Ok(Response::new(v1::DeleteGroupOffsetsResponse { results }))
    }
}

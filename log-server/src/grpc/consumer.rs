//! The Consumer service: checks where a call begins, or makes it a member of a group, then leaves
//! it to its [`Pump`]; and the offsets that groups commit.
//!
//! The rule: a Consume call is accepted as a whole or refused as a whole. Only behind the start
//! can one partition end while the others go on.

use std::collections::HashSet;

use log_core::Isolation;
use log_proto::types::{LeaderEpoch, TimestampMs};
use log_proto::v1;
use log_proto::v1::consume_request::Request as Asked;
use log_proto::v1::consumer_server::Consumer;
use log_proto::v1::partition_start::Position;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::Requests;
use super::convert;
use super::delivery::Delivery;
use super::error::{Refusal, explained, stopping};
use super::join::member;
use super::pump::{Pump, Reader};
use crate::broker::{Broker, Edge, GroupId, GroupOffset, StartPosition};
use crate::error::FetchOffsetsError;
use crate::limits;
use crate::principal::Principal;

/// Responses that wait for the connection to take them: enough to keep it busy while the next is
/// read, and no more, because each may have a megabyte.
const RESPONSES_WAITING_MAX: usize = 2;

/// The smallest response that a caller may aim for: below it, headers are most of what is sent.
const RESPONSE_BYTES_MIN: usize = 1024;

/// What a call is answered with.
pub(super) type Responses = ReceiverStream<Result<v1::ConsumeResponse, Status>>;

/// The Consumer service upon a broker.
#[derive(Clone)]
pub(crate) struct ConsumerService {
    broker: Broker,
}

impl ConsumerService {
    pub(crate) fn new(broker: Broker) -> Self {
        Self { broker }
    }

    /// Accepts a call and begins to answer it, or refuses it.
    pub(super) async fn open(
        &self,
        request: Request<Requests<v1::ConsumeRequest>>,
    ) -> Result<Responses, Status> {
        let principal = super::principal_of(&request);
        let client_host = super::host_of(&request);
        let mut requests = request.into_inner();
        let first = requests.next().await.transpose().map_err(explained)?;
        self.broker.check_serving().map_err(|_| stopping())?;
        match first.and_then(|request| request.request) {
            Some(Asked::Start(start)) => Ok(self.read(&principal, &start, requests).await?),
            Some(Asked::Join(join)) => {
                Ok(self.join((&principal, client_host), join, requests).await?)
            }
            _ => {
                let message = "the first request must be a start or a join";
                Err(Refusal::invalid_request(message).into())
            }
        }
    }

    async fn read(
        &self,
        principal: &Principal,
        start: &v1::Start,
        requests: Requests<v1::ConsumeRequest>,
    ) -> Result<Responses, Refusal> {
        let terms = (start.isolation, start.delivery, start.response_bytes_max);
        let (pump, responses) = self.pump(terms, requests)?;
        let readers = self.readers(start).await?;
        tracing::debug!(%principal, partitions = readers.len(), "consume begins");
        tokio::spawn(pump.run(readers, start.credit_bytes));
        Ok(responses)
    }

    async fn join(
        &self,
        (principal, client_host): (&Principal, String),
        join: v1::Join,
        requests: Requests<v1::ConsumeRequest>,
    ) -> Result<Responses, Refusal> {
        let terms = (join.isolation, join.delivery, join.response_bytes_max);
        let (pump, responses) = self.pump(terms, requests)?;
        let credit_bytes = join.credit_bytes;
        let member = member(join, pump.isolation, client_host)?;
        let session = self.broker.join_as_member(principal, member).await?;
        tokio::spawn(pump.run_as_member(session, credit_bytes));
        Ok(responses)
    }

    fn pump(
        &self,
        (isolation_code, delivery_code, asked): (i32, i32, u32),
        requests: Requests<v1::ConsumeRequest>,
    ) -> Result<(Pump, Responses), Refusal> {
        let (responses, stream) = mpsc::channel(RESPONSES_WAITING_MAX);
        let pump = Pump {
            broker: self.broker.clone(),
            isolation: isolation(isolation_code)?,
            delivery: delivery(delivery_code)?,
            response_bytes_max: response_bytes(asked, self.broker.config().response_bytes_max),
            requests,
            responses,
        };
        Ok((pump, ReceiverStream::new(stream)))
    }

    async fn readers(&self, start: &v1::Start) -> Result<Vec<Reader>, Refusal> {
        let count = start.partitions.len();
        if count == 0 || count > limits::CONSUME_PARTITIONS_MAX {
            return Err(Refusal::invalid_request(format!(
                "start names {count} partitions: name 1 to {}",
                limits::CONSUME_PARTITIONS_MAX
            )));
        }
        let isolation = isolation(start.isolation)?;
        let mut seen = HashSet::with_capacity(count);
        let mut readers = Vec::with_capacity(count);
        for partition in &start.partitions {
            if !seen.insert((&partition.topic, partition.partition)) {
                return Err(Refusal::invalid_request(format!(
                    "start names partition {} of topic {:?} twice",
                    partition.partition, partition.topic
                )));
            }
            readers.push(self.open_one(partition, isolation).await?);
        }
        Ok(readers)
    }

    async fn open_one(
        &self,
        start: &v1::PartitionStart,
        isolation: Isolation,
    ) -> Result<Reader, Refusal> {
        let number = convert::partition(&start.topic, start.partition)?;
        let (topic, partition) = self.broker.partition(&start.topic, number)?;
        let position = position(start)?;
        let next = self.broker.start_offset(&topic, &partition, position, isolation).await?;
        Ok(Reader::new(topic, partition, next))
    }
}

fn isolation(code: i32) -> Result<Isolation, Refusal> {
    match v1::Isolation::try_from(code) {
        Ok(v1::Isolation::ReadUncommitted) => Ok(Isolation::HighWatermark),
        Ok(v1::Isolation::ReadCommitted) => Ok(Isolation::LastStable),
        Err(_) => Err(Refusal::invalid_request(format!(
            "isolation {code} is none of READ_UNCOMMITTED, READ_COMMITTED"
        ))),
    }
}

fn delivery(code: i32) -> Result<Delivery, Refusal> {
    match v1::Delivery::try_from(code) {
        Ok(v1::Delivery::Records) => Ok(Delivery::Records),
        Ok(v1::Delivery::Batches) => Ok(Delivery::Batches),
        Err(_) => {
            Err(Refusal::invalid_request(format!("delivery {code} is none of RECORDS, BATCHES")))
        }
    }
}

pub(super) fn edge(code: i32) -> Result<Edge, Refusal> {
    match v1::Edge::try_from(code) {
        Ok(v1::Edge::Earliest) => Ok(Edge::Earliest),
        Ok(v1::Edge::Latest) => Ok(Edge::Latest),
        Err(_) => Err(Refusal::invalid_request(format!("edge {code} is none of EARLIEST, LATEST"))),
    }
}

fn position(start: &v1::PartitionStart) -> Result<StartPosition, Refusal> {
    match &start.position {
        Some(Position::Offset(offset)) => Ok(StartPosition::Offset(*offset)),
        Some(Position::TimestampMs(stamp)) => {
            Ok(StartPosition::Timestamp(TimestampMs::new(*stamp)))
        }
        Some(Position::Edge(code)) => Ok(StartPosition::Edge(edge(*code)?)),
        Some(Position::Group(group)) => {
            let group = GroupId::new(group).map_err(FetchOffsetsError::from)?;
            Ok(StartPosition::Group { group, otherwise: edge(start.edge_without_commit)? })
        }
        None => Err(Refusal::invalid_request(format!(
            "partition {} of topic {:?} has no position: give an offset, a timestamp, an edge or \
             a group",
            start.partition, start.topic
        ))),
    }
}

#[tonic::async_trait]
impl Consumer for ConsumerService {
    type ConsumeStream = Responses;

    async fn consume(
        &self,
        request: Request<Streaming<v1::ConsumeRequest>>,
    ) -> Result<Response<Self::ConsumeStream>, Status> {
        let requests = request.map(|requests| Box::pin(requests) as Requests<_>);
        self.open(requests).await.map(Response::new)
    }

    async fn commit_offsets(
        &self,
        request: Request<v1::CommitOffsetsRequest>,
    ) -> Result<Response<v1::CommitOffsetsResponse>, Status> {
        let principal = super::principal_of(&request);
        let v1::CommitOffsetsRequest { group, offsets } = request.into_inner();
        let offsets: Result<Vec<_>, _> = offsets.into_iter().map(convert::group_offset).collect();
        let committed = self.broker.commit_offsets(&principal, &group, offsets?).await;
        committed.map_err(Refusal::from)?;
        Ok(Response::new(v1::CommitOffsetsResponse {}))
    }

    async fn fetch_offsets(
        &self,
        request: Request<v1::FetchOffsetsRequest>,
    ) -> Result<Response<v1::FetchOffsetsResponse>, Status> {
        let principal = super::principal_of(&request);
        let v1::FetchOffsetsRequest { group, topics } = request.into_inner();
        let offsets = self.fetch(&principal, &group).await?;
        let asked: HashSet<String> = topics.into_iter().collect();
        let wanted = |offset: &GroupOffset| asked.is_empty() || asked.contains(&offset.topic);
        let offsets = offsets.into_iter().filter(wanted).map(to_message).collect();
        Ok(Response::new(v1::FetchOffsetsResponse { offsets }))
    }
}

impl ConsumerService {
    async fn fetch(&self, principal: &Principal, group: &str) -> Result<Vec<GroupOffset>, Refusal> {
        Ok(self.broker.fetch_offsets(principal, group).await?)
    }
}

fn response_bytes(asked: u32, max: usize) -> usize {
    match asked as usize {
        0 => max,
        asked => asked.clamp(RESPONSE_BYTES_MIN.min(max), max),
    }
}

fn to_message(offset: GroupOffset) -> v1::GroupOffset {
    v1::GroupOffset {
        topic: offset.topic,
        partition: convert::number(offset.partition),
        offset: offset.offset.get(),
        leader_epoch: offset.leader_epoch.map(LeaderEpoch::get),
        metadata: offset.metadata,
    }
}

//! One scenario, played to one broker.
//!
//! The rule: a scenario sees what its broker answers only to go on from it (a member id, an epoch)
//! and judges nothing. What is asked under a step's name is kept; what only prepares the ground is
//! asked quietly, because how long a cluster takes to agree with itself is nobody's contract.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use log_proto::kafka::messages::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use log_proto::kafka::messages::find_coordinator::FindCoordinatorRequest;
use log_proto::kafka::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use log_proto::kafka::messages::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponseTopic,
};
use log_proto::kafka::messages::offset_fetch::OffsetFetchRequest;
use log_proto::kafka::{ApiKey, Request, Uuid};

use crate::answers::{Answers, Names};
use crate::wire::{Connection, Outcome, decoded};

/// A broker that has not come round by then never will.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long to leave a broker in peace that was asked and was not ready.
const PAUSE: Duration = Duration::from_millis(20);

/// What stands for the answer of a broker that has hung up.
const CLOSED: &str = "the connection is closed";

/// What stands for the answer of a broker that says nothing.
const SILENCE: &str = "nothing comes";

/// A scenario on its way.
pub(crate) struct Run {
    address: String,
    connections: BTreeMap<u8, Connection>,
    names: Names,
    answers: Answers,
    round: Option<i16>,
}

impl Run {
    pub(crate) fn on(address: &str) -> Self {
        Self {
            address: address.to_owned(),
            connections: BTreeMap::new(),
            names: Names::default(),
            answers: Answers::default(),
            round: None,
        }
    }

    /// What was answered.
    pub(crate) fn finish(self) -> Answers {
        self.answers
    }

    /// Begins a round: what follows is kept under this version, and [`Run::named`] by its own names.
    pub(crate) fn round(&mut self, version: i16) {
        self.round = Some(version);
        self.names.begin();
        self.names.learn(&suffix(version), "");
    }

    /// A round for each version of an API.
    pub(crate) fn rounds(&mut self, api: ApiKey, mut play: impl FnMut(&mut Self, i16)) {
        let versions = api.versions();
        for version in versions.first..=versions.last {
            self.round(version);
            play(self, version);
        }
        self.round = None;
    }

    /// A name that no other round uses. Answers are kept as if it were the plain name.
    pub(crate) fn named(&self, name: &str) -> String {
        format!("{name}{}", suffix(self.round.expect("within a round")))
    }

    /// Asks, and keeps what comes. A response of defaults stands for a broker that hangs up.
    pub(crate) fn ask<R: Request>(&mut self, step: &str, version: i16, request: &R) -> R::Response {
        self.send(0, version, request);
        self.receive::<R>(0, step, version)
    }

    /// Asks on one of several connections, without waiting.
    pub(crate) fn send<R: Request>(&mut self, connection: u8, version: i16, request: &R) {
        self.connection(connection).send(version, request);
    }

    /// Keeps the answer to what was sent.
    pub(crate) fn receive<R: Request>(
        &mut self,
        connection: u8,
        step: &str,
        version: i16,
    ) -> R::Response {
        let outcome = self.connection(connection).receive();
        self.keep::<R>(step, version, outcome)
    }

    /// Sends bytes that no codec of ours would write, and keeps what comes.
    pub(crate) fn raw<R: Request>(&mut self, step: &str, version: i16, bytes: &[u8]) {
        let connection = self.connection(0);
        connection.send_raw(bytes);
        let outcome = connection.receive();
        self.keep::<R>(step, version, outcome);
    }

    /// The same where the codec does not read what comes.
    pub(crate) fn raw_bytes(&mut self, step: &str, api: ApiKey, round: i16, bytes: &[u8]) {
        let connection = self.connection(0);
        connection.send_raw(bytes);
        let outcome = match connection.receive() {
            Outcome::Answer(frame) => format!("{frame:02x?}"),
            Outcome::Closed => CLOSED.to_owned(),
            Outcome::Silence => SILENCE.to_owned(),
        };
        self.answers.keep(step, api.name(), round, vec![("outcome".to_owned(), outcome)]);
    }

    fn keep<R: Request>(&mut self, step: &str, version: i16, outcome: Outcome) -> R::Response {
        let round = self.round.unwrap_or(version);
        let (response, values) = match outcome {
            Outcome::Answer(frame) => {
                let response = decoded::<R>(version, frame);
                let values = self.names.values(&response);
                (response, values)
            }
            Outcome::Closed => defaults(CLOSED),
            Outcome::Silence => defaults(SILENCE),
        };
        self.answers.keep(step, R::API_KEY.name(), round, values);
        response
    }

    /// Asks, and keeps nothing.
    pub(crate) fn quietly<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        let answer = self.connection(0).ask(version, request);
        answer.unwrap_or_else(|| panic!("{} {version} is answered", R::API_KEY))
    }

    /// Asks quietly until the answer is as it should be.
    pub(crate) fn until<R: Request>(
        &mut self,
        version: i16,
        request: &R,
        is_so: impl Fn(&R::Response) -> bool,
    ) -> R::Response {
        let begun = Instant::now();
        loop {
            let response = self.quietly(version, request);
            if is_so(&response) {
                return response;
            }
            assert!(begun.elapsed() < PATIENCE, "{} stays at {response:?}", R::API_KEY);
            std::thread::sleep(PAUSE);
        }
    }

    /// Creates a topic, waits until it can be used, and returns its id.
    pub(crate) fn create(&mut self, name: &str, partitions: i32, configs: &[(&str, &str)]) -> Uuid {
        let configs = configs.iter().map(|(name, value)| CreatableTopicConfig {
            name: (*name).into(),
            value: Some((*value).into()),
        });
        let topic = CreatableTopic {
            name: name.into(),
            num_partitions: partitions,
            replication_factor: 1,
            configs: configs.collect(),
            ..Default::default()
        };
        let request =
            CreateTopicsRequest { topics: vec![topic], timeout_ms: 30_000, ..Default::default() };
        let response = self.quietly(7, &request);
        assert_eq!(response.topics[0].error_code, 0, "{response:?}");
        let id = response.topics[0].topic_id;
        self.wait_for_topic(name, |topic| {
            let is_led = topic.partitions.iter().all(|partition| partition.leader_id == 1);
            topic.topic_id == id && topic.partitions.len() == partitions as usize && is_led
        });
        self.names.values(&response);
        self.wait_for_leader(name, partitions);
        id
    }

    /// Kafka's metadata knows of a leader before the leader knows.
    fn wait_for_leader(&mut self, name: &str, partitions: i32) {
        let end = |partition_index| ListOffsetsPartition {
            partition_index,
            current_leader_epoch: -1,
            timestamp: -1,
        };
        let partitions = (0..partitions).map(end).collect();
        let topics = vec![ListOffsetsTopic { name: name.into(), partitions }];
        let request = ListOffsetsRequest { replica_id: -1, topics, ..Default::default() };
        self.until(7, &request, |response| {
            response.topics[0].partitions.iter().all(|partition| partition.error_code == 0)
        });
    }

    /// Waits until metadata shows a topic as it should be.
    pub(crate) fn wait_for_topic(
        &mut self,
        name: &str,
        is_so: impl Fn(&MetadataResponseTopic) -> bool,
    ) {
        let topic = MetadataRequestTopic { name: Some(name.into()), ..Default::default() };
        let request = MetadataRequest {
            topics: Some(vec![topic]),
            allow_auto_topic_creation: false,
            ..Default::default()
        };
        self.until(12, &request, |response| is_so(&response.topics[0]));
    }

    /// Waits until groups are coordinated: Kafka creates a topic for that first.
    pub(crate) fn wait_for_groups(&mut self) {
        let coordinator = FindCoordinatorRequest { key: "first".into(), ..Default::default() };
        self.until(3, &coordinator, |response| response.error_code == 0);
        let offsets = OffsetFetchRequest { group_id: "first".into(), ..Default::default() };
        self.until(5, &offsets, |response| response.error_code == 0);
    }

    fn connection(&mut self, number: u8) -> &mut Connection {
        let Self { address, connections, .. } = self;
        connections.entry(number).or_insert_with(|| Connection::to(address))
    }
}

/// What goes on and what is kept where there is no answer.
fn defaults<T: Default>(outcome: &str) -> (T, Vec<(String, String)>) {
    (T::default(), vec![("outcome".to_owned(), outcome.to_owned())])
}

fn suffix(version: i16) -> String {
    format!("-v{version:02}")
}

/// What a struct of a request leaves out.
pub(crate) fn defaulted<T: Default>() -> T {
    T::default()
}

/// Bytes with one place overwritten.
pub(crate) fn patched(bytes: &[u8], at: usize, with: &[u8]) -> Bytes {
    let mut bytes = bytes.to_vec();
    bytes[at..][..with.len()].copy_from_slice(with);
    bytes.into()
}

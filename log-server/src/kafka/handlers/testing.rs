//! A broker to try handlers on, without a socket.

use log_proto::kafka::messages::create_topics::{CreatableTopic, CreateTopicsRequest};
use log_proto::kafka::{ErrorCode, Message, Writer};

use super::create_topics;
use crate::broker::Scratch;
use crate::config::ServerConfig;
use crate::kafka::fetch_sessions::FetchSessions;
use crate::kafka::{Advertised, Context};
use crate::principal::Principal;

/// A broker in a folder of its own, and what a client of it would come with.
pub(in crate::kafka) struct Rig {
    pub(in crate::kafka) context: Context,
    _scratch: Scratch,
}

impl Rig {
    pub(in crate::kafka) async fn start() -> Self {
        let scratch = Scratch::start(ServerConfig::default()).await;
        let context = Context {
            broker: scratch.broker.clone(),
            principal: Principal::Anonymous,
            advertised: Advertised { host: "cairn.example".into(), port: 9092 },
            fetch_sessions: FetchSessions::new(),
            client_host: "10.0.0.1".into(),
            client_id: Some("tester".into()),
        };
        Self { context, _scratch: scratch }
    }

    /// One with topic `t` of two partitions.
    pub(super) async fn with_topic() -> Self {
        let rig = Self::start().await;
        rig.create("t").await;
        rig
    }

    pub(super) async fn create(&self, name: &'static str) {
        let topic = CreatableTopic { num_partitions: 2, ..new_topic(name) };
        let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
        let response = create_topics::handle(&self.context, 7, &request).await;
        assert_eq!(code(response.topics[0].error_code), ErrorCode::None);
    }
}

/// A topic of which the broker decides everything.
pub(super) fn new_topic(name: &str) -> CreatableTopic {
    CreatableTopic {
        name: name.into(),
        num_partitions: -1,
        replication_factor: -1,
        ..Default::default()
    }
}

pub(super) fn code(number: i16) -> ErrorCode {
    ErrorCode::from_number(number).expect("a code of Kafka's")
}

/// That the response can be said in this version: no null and no value that it lacks.
pub(super) fn assert_encodes<M: Message>(version: i16, message: &M) {
    let encoded = message.encode(version, &mut Writer::new());
    assert!(encoded.is_ok(), "{} version {version}: {encoded:?}", M::SHAPE.name);
}

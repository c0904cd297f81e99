//! A member that is assigned by the broker (KIP-848): it says what it has, and is told what it is
//! to have.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use log_proto::kafka::ErrorCode;
use log_proto::kafka::Uuid;
use log_proto::kafka::messages::consumer_group_heartbeat::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, TopicPartitions,
};
use log_proto::kafka::messages::metadata::{MetadataRequest, MetadataRequestTopic};

use crate::reading::{Identity, Reading, code, committed};
use crate::support::kafka::Client;
use crate::{GROUP, HEARTBEAT_INTERVAL, JOIN_PATIENCE, Member, Order, REBALANCE_TIMEOUT, TOPIC};

/// `group.consumer.session.timeout.ms`: the broker's to say.
pub(crate) const SESSION_TIMEOUT: Duration = Duration::from_secs(45);

/// The epochs by which a member comes and goes.
const JOINING: i32 = 0;
const LEAVING: i32 = -1;

pub(crate) fn run(member: Member<'_>) {
    let client = Client::at(member.address, JOIN_PATIENCE);
    let who = Identity { member: format!("member-{}", member.number), generation: JOINING };
    let mut consumer =
        Consumer { member, client, who, topic: Uuid::ZERO, reading: Reading::default() };
    consumer.find_topic();
    consumer.live();
}

struct Consumer<'a> {
    member: Member<'a>,
    client: Client,
    who: Identity,
    topic: Uuid,
    reading: Reading,
}

impl Consumer<'_> {
    fn find_topic(&mut self) {
        let asked = MetadataRequestTopic { name: Some(TOPIC.into()), ..Default::default() };
        let request = MetadataRequest { topics: Some(vec![asked]), ..Default::default() };
        self.topic = self.client.ask(12, &request).topics[0].topic_id;
    }

    fn live(&mut self) {
        loop {
            self.beat();
            let beaten = Instant::now();
            while beaten.elapsed() < HEARTBEAT_INTERVAL {
                match self.member.orders.read() {
                    Order::Stay => self.reading.read(&mut self.client, self.member.ledger),
                    Order::Stall => {
                        self.member
                            .ledger
                            .lock()
                            .expect("no assertion failed")
                            .gone(&self.who.member);
                        self.member.orders.stall(SESSION_TIMEOUT);
                        break;
                    }
                    order => return self.end(order),
                }
            }
            // What is refused is read again by whoever has the partition now.
            self.reading.commit(&mut self.client, &self.who, self.member.ledger);
        }
    }

    fn end(&mut self, order: Order) {
        self.member.ledger.lock().expect("no assertion failed").gone(&self.who.member);
        if order == Order::Leave {
            self.reading.commit(&mut self.client, &self.who, self.member.ledger);
            self.who.generation = LEAVING;
            self.ask();
        }
    }

    fn ask(&mut self) -> ConsumerGroupHeartbeatResponse {
        let partitions = self.reading.partitions();
        let owned = match partitions.is_empty() {
            true => Vec::new(),
            false => vec![TopicPartitions { topic_id: self.topic, partitions }],
        };
        let timeout = i32::try_from(REBALANCE_TIMEOUT.as_millis()).expect("some seconds");
        let request = ConsumerGroupHeartbeatRequest {
            group_id: GROUP.into(),
            member_id: self.who.member.as_str().into(),
            member_epoch: self.who.generation,
            rebalance_timeout_ms: timeout,
            subscribed_topic_names: Some(vec![TOPIC.into()]),
            topic_partitions: Some(owned),
            ..Default::default()
        };
        self.client.ask(1, &request)
    }

    /// Says that it is there and what it has, until that is what it is to have.
    fn beat(&mut self) {
        loop {
            let told = self.ask();
            match code(told.error_code) {
                ErrorCode::None => {}
                ErrorCode::FencedMemberEpoch | ErrorCode::UnknownMemberId => {
                    self.forgotten();
                    continue;
                }
                other => panic!("member {} is told {other:?}", self.member.number),
            }
            self.who.generation = told.member_epoch;
            let mut changed = false;
            if let Some(assignment) = told.assignment {
                let topics = assignment.topic_partitions.into_iter();
                changed = self.reconcile(topics.flat_map(|topic| topic.partitions).collect());
            }
            let partitions = self.reading.partitions();
            let mut ledger = self.member.ledger.lock().expect("no assertion failed");
            ledger.owns(&self.who.member, self.who.generation, &partitions);
            if !changed {
                return;
            }
        }
    }

    fn forgotten(&mut self) {
        let mut ledger = self.member.ledger.lock().expect("no assertion failed");
        ledger.gone(&self.who.member);
        ledger.fenced += 1;
        self.who.generation = JOINING;
        self.reading = Reading::default();
    }

    /// Gives up what is not its own any more, after a last commit, and takes up what is new.
    fn reconcile(&mut self, assigned: Vec<i32>) -> bool {
        if assigned == self.reading.partitions() {
            return false;
        }
        self.reading.commit(&mut self.client, &self.who, self.member.ledger);
        let mut positions: BTreeMap<i32, i64> = std::mem::take(&mut self.reading.positions);
        positions.retain(|partition, _| assigned.contains(partition));
        let new: Vec<i32> =
            assigned.into_iter().filter(|number| !positions.contains_key(number)).collect();
        if !new.is_empty() {
            // Refused, it is not a member at this epoch: what it was given is not its own.
            let found = committed(&mut self.client, &new, Some(&self.who));
            positions.extend(found.unwrap_or_default());
        }
        self.reading.positions = positions;
        true
    }
}

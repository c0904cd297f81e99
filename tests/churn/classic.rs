//! A member that joins, and assigns when it leads (KIP-394 for its id, eager rebalances).

use std::time::{Duration, Instant};

use bytes::Bytes;
use log_proto::kafka::messages::consumer_protocol_assignment::{
    ConsumerProtocolAssignment, TopicPartition,
};
use log_proto::kafka::messages::consumer_protocol_subscription::ConsumerProtocolSubscription;
use log_proto::kafka::messages::heartbeat::HeartbeatRequest;
use log_proto::kafka::messages::join_group::{
    JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse, JoinGroupResponseMember,
};
use log_proto::kafka::messages::leave_group::{LeaveGroupRequest, MemberIdentity};
use log_proto::kafka::messages::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment};
use log_proto::kafka::{ErrorCode, decode_assignment, encode_embedded};

use crate::reading::{Identity, Reading, code, committed};
use crate::support::kafka::Client;
use crate::{
    GROUP, HEARTBEAT_INTERVAL, JOIN_PATIENCE, Member, Order, PARTITIONS, REBALANCE_TIMEOUT, TOPIC,
};

/// The shortest that brokers allow.
pub(crate) const SESSION_TIMEOUT: Duration = Duration::from_secs(6);

const PROTOCOL: &str = "range";

/// Why a generation ends for a member.
enum Next {
    /// Another begins.
    Rejoin,
    /// The group does not know it any more.
    Forgotten,
    End(Order),
}

pub(crate) fn run(member: Member<'_>) {
    let mut client = Client::at(member.address, JOIN_PATIENCE);
    let mut id = String::new();
    loop {
        let Some(joined) = join(&member, &mut client, &mut id) else { continue };
        let next = serve(&member, &mut client, &joined);
        member.ledger.lock().expect("no assertion failed").gone(&joined.who.member);
        match next {
            Next::Rejoin => {}
            Next::Forgotten => {
                member.ledger.lock().expect("no assertion failed").fenced += 1;
                id.clear();
            }
            Next::End(Order::Leave) => return leave(&mut client, &id),
            Next::End(_) => return,
        }
    }
}

/// A generation's identity and partitions.
struct Joined {
    who: Identity,
    partitions: Vec<i32>,
}

/// Joins and is assigned; `None` where it has to begin again.
fn join(member: &Member<'_>, client: &mut Client, id: &mut String) -> Option<Joined> {
    let subscription =
        ConsumerProtocolSubscription { topics: vec![TOPIC.into()], ..Default::default() };
    let protocol = JoinGroupRequestProtocol {
        name: PROTOCOL.into(),
        metadata: encode_embedded(1, &subscription).expect("a topic"),
    };
    let millis = |time: Duration| i32::try_from(time.as_millis()).expect("some seconds");
    let joined = client.ask(
        9,
        &JoinGroupRequest {
            group_id: GROUP.into(),
            session_timeout_ms: millis(SESSION_TIMEOUT),
            rebalance_timeout_ms: millis(REBALANCE_TIMEOUT),
            member_id: id.as_str().into(),
            protocol_type: "consumer".into(),
            protocols: vec![protocol],
            ..Default::default()
        },
    );
    match code(joined.error_code) {
        ErrorCode::None | ErrorCode::MemberIdRequired => *id = joined.member_id.to_string(),
        ErrorCode::UnknownMemberId => id.clear(),
        ErrorCode::RebalanceInProgress => {}
        other => panic!("member {} cannot join: {other:?}", member.number),
    }
    if joined.error_code != 0 {
        return None;
    }
    let who = Identity { member: id.clone(), generation: joined.generation_id };
    match sync(client, &who, &joined) {
        Ok(partitions) => Some(Joined { who, partitions }),
        Err(ErrorCode::UnknownMemberId) => {
            id.clear();
            None
        }
        Err(ErrorCode::RebalanceInProgress | ErrorCode::IllegalGeneration) => None,
        Err(other) => panic!("member {} is not assigned: {other:?}", member.number),
    }
}

fn sync(
    client: &mut Client,
    who: &Identity,
    joined: &JoinGroupResponse,
) -> Result<Vec<i32>, ErrorCode> {
    let synced = client.ask(
        5,
        &SyncGroupRequest {
            group_id: GROUP.into(),
            generation_id: who.generation,
            member_id: who.member.as_str().into(),
            protocol_type: Some("consumer".into()),
            protocol_name: Some(PROTOCOL.into()),
            assignments: assign(&joined.members),
            ..Default::default()
        },
    );
    match code(synced.error_code) {
        ErrorCode::None => {
            let assignment = decode_assignment(synced.assignment).expect("the leader's");
            Ok(assignment.assigned_partitions.into_iter().flat_map(|one| one.partitions).collect())
        }
        refused => Err(refused),
    }
}

/// All partitions in turn, by the leader; nobody else knows the members.
fn assign(members: &[JoinGroupResponseMember]) -> Vec<SyncGroupRequestAssignment> {
    let assignment = |(place, member): (usize, &JoinGroupResponseMember)| {
        let partitions = (0..PARTITIONS).skip(place).step_by(members.len()).collect();
        let topic = TopicPartition { topic: TOPIC.into(), partitions };
        let assignment =
            ConsumerProtocolAssignment { assigned_partitions: vec![topic], user_data: None };
        let assignment: Bytes = encode_embedded(1, &assignment).expect("some partitions");
        SyncGroupRequestAssignment { member_id: member.member_id.clone(), assignment }
    };
    members.iter().enumerate().map(assignment).collect()
}

fn serve(member: &Member<'_>, client: &mut Client, joined: &Joined) -> Next {
    let who = &joined.who;
    let owns = || {
        let mut ledger = member.ledger.lock().expect("no assertion failed");
        ledger.owns(&who.member, who.generation, &joined.partitions);
    };
    owns();
    let positions = committed(client, &joined.partitions, None).expect("nobody to be fenced");
    let mut reading = Reading { positions: positions.into_iter().collect() };
    let mut beaten = Instant::now();
    loop {
        match member.orders.read() {
            Order::Stay => {}
            Order::Stall => {
                member.ledger.lock().expect("no assertion failed").gone(&who.member);
                member.orders.stall(SESSION_TIMEOUT);
                reading.commit(client, who, member.ledger);
                beaten = Instant::now() - HEARTBEAT_INTERVAL;
            }
            order => return Next::End(order),
        }
        reading.read(client, member.ledger);
        if beaten.elapsed() < HEARTBEAT_INTERVAL {
            continue;
        }
        beaten = Instant::now();
        match heartbeat(client, who) {
            ErrorCode::None => owns(),
            ErrorCode::RebalanceInProgress => {
                reading.commit(client, who, member.ledger);
                return Next::Rejoin;
            }
            ErrorCode::IllegalGeneration => return Next::Rejoin,
            ErrorCode::UnknownMemberId => return Next::Forgotten,
            other => panic!("member {} is told {other:?}", member.number),
        }
        // What is refused is read again by whoever has the partition now.
        reading.commit(client, who, member.ledger);
    }
}

fn heartbeat(client: &mut Client, who: &Identity) -> ErrorCode {
    let request = HeartbeatRequest {
        group_id: GROUP.into(),
        generation_id: who.generation,
        member_id: who.member.as_str().into(),
        ..Default::default()
    };
    code(client.ask(4, &request).error_code)
}

fn leave(client: &mut Client, id: &str) {
    let member = MemberIdentity { member_id: id.into(), ..Default::default() };
    let members = vec![member];
    let request = LeaveGroupRequest { group_id: GROUP.into(), members, ..Default::default() };
    client.ask(5, &request);
}

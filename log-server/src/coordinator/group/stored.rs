//! What is remembered of a classic group over a restart, and nothing that is not.
//!
//! The rule: written when a generation has its assignment, when its last member has gone, and when
//! a static member has come back under another id. Who has joined since, who waits and when
//! sessions end is forgotten: after a restart the members of the last written generation go on,
//! with full sessions, as if only their connections had been cut.

use std::time::Duration;

use bytes::Bytes;
use log_proto::types::TimestampMs;

use super::id::{GenerationId, GroupId, GroupInstanceId, MemberId};
use super::record::{Change, ClassicGroupStored, GroupRecord, MemberStored, ProtocolStored};
use super::request::Protocol;
use crate::coordinator::NotUnderstood;

/// A classic group on the disk.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct StoredGroup {
    pub(super) generation: GenerationId,
    pub(super) protocol_type: Option<String>,
    pub(super) protocol: Option<String>,
    pub(super) leader: Option<MemberId>,
    /// Since when it has been empty, if it has no members.
    pub(super) state_since: TimestampMs,
    pub(super) members: Vec<StoredMember>,
}

/// One of its members.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct StoredMember {
    pub(super) id: MemberId,
    pub(super) instance: Option<GroupInstanceId>,
    pub(super) client_id: String,
    pub(super) client_host: String,
    pub(super) rebalance_timeout: Duration,
    pub(super) session_timeout: Duration,
    pub(super) protocols: Vec<Protocol>,
    pub(super) assignment: Bytes,
}

impl StoredGroup {
    pub(super) fn to_record(&self, group: &GroupId) -> GroupRecord {
        Change::ClassicGroup(ClassicGroupStored {
            group: group.as_str().to_owned(),
            generation: self.generation.get(),
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.as_ref().map(|leader| leader.as_str().to_owned()),
            state_since_ms: self.state_since.get(),
            members: self.members.iter().map(StoredMember::to_record).collect(),
        })
        .into()
    }

    pub(super) fn parse(record: ClassicGroupStored) -> Result<Self, NotUnderstood> {
        let members: Result<Vec<_>, _> =
            record.members.into_iter().map(StoredMember::parse).collect();
        Ok(Self {
            generation: GenerationId::new(record.generation)
                .ok_or(NotUnderstood { what: "a negative generation" })?,
            protocol_type: record.protocol_type,
            protocol: record.protocol,
            leader: record.leader.as_deref().and_then(MemberId::new),
            state_since: TimestampMs::new(record.state_since_ms),
            members: members?,
        })
    }
}

impl StoredMember {
    fn to_record(&self) -> MemberStored {
        let protocols = self.protocols.iter();
        MemberStored {
            member: self.id.as_str().to_owned(),
            instance: self.instance.as_ref().map(|instance| instance.as_str().to_owned()),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            rebalance_timeout_ms: millis(self.rebalance_timeout),
            session_timeout_ms: millis(self.session_timeout),
            protocols: protocols.map(protocol_to_record).collect(),
            assignment: self.assignment.clone(),
        }
    }

    fn parse(record: MemberStored) -> Result<Self, NotUnderstood> {
        let instance = record.instance.as_deref().map(GroupInstanceId::new).transpose();
        let protocols = record.protocols.into_iter();
        Ok(Self {
            id: MemberId::new(&record.member)
                .ok_or(NotUnderstood { what: "a member without an id" })?,
            instance: instance
                .map_err(|_| NotUnderstood { what: "a group instance id that is none" })?,
            client_id: record.client_id,
            client_host: record.client_host,
            rebalance_timeout: Duration::from_millis(record.rebalance_timeout_ms),
            session_timeout: Duration::from_millis(record.session_timeout_ms),
            protocols: protocols.map(protocol_of_record).collect(),
            assignment: record.assignment,
        })
    }
}

pub(super) fn protocol_to_record(protocol: &Protocol) -> ProtocolStored {
    let Protocol { name, metadata } = protocol;
    ProtocolStored { name: name.clone(), metadata: metadata.clone() }
}

pub(super) fn protocol_of_record(record: ProtocolStored) -> Protocol {
    let ProtocolStored { name, metadata } = record;
    Protocol { name, metadata }
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

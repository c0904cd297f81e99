//! How a group goes from one protocol to the other while its members go on (KIP-848).
//!
//! ```text
//!                    the first consumer of the new protocol joins
//!      classic group ──────────────────────────────────────────────► consumer group
//!                    ◄──────────────────────────────────────────────
//!                    the last one has left, and classic members stay
//! ```
//!
//! The rule: nobody loses what it has. Whoever is in the group stays in it under its id, at the same
//! number, as generation or as epoch, and hears at its next heartbeat that it should join anew.
//! Committed offsets are the group's, whatever its kind. A group with an assignor of its own stays
//! what it is: its members mean more by an assignment than partitions.

use super::super::classic::ClassicGroup;
use super::super::embedded;
use super::super::id::{GenerationId, MemberEpoch};
use super::super::stored::{StoredGroup, StoredMember};
use super::super::subscription::CONSUMER;
use super::super::turn::{Now, Turn};
use super::member::{ClassicSide, ConsumerMember};
use super::stored::StoredConsumerGroup;
use super::topics::FindTopic;
use super::{ConsumerGroup, Memory};

impl ConsumerGroup {
    /// The consumer group that a classic one may become. `None` if it must not.
    pub(in super::super) fn upgraded(
        classic: &ClassicGroup,
        now: Now,
        find: FindTopic<'_>,
    ) -> Option<Self> {
        if !classic.is_of_consumers() {
            return None;
        }
        let epoch = MemberEpoch::new(classic.generation().get()).unwrap_or_default();
        let (target_epoch, state_since) = (epoch, now.time);
        let mut stored =
            StoredConsumerGroup { epoch, target_epoch, state_since, ..Default::default() };
        for member in classic.members() {
            let upgraded = upgraded(member, classic.protocol(), epoch, find)?;
            stored.members.insert(member.id.clone(), upgraded);
        }
        let mut group = Self::restore(classic.id().clone(), stored, now, Default::default());
        group.memory = Memory::Behind;
        Some(group)
    }

    /// Whether it has members, and none of them speaks the consumer protocol.
    pub(in super::super) fn is_all_classic(&self) -> bool {
        !self.is_empty() && self.stored.members.values().all(|member| member.classic.is_some())
    }

    /// The classic group that it is then.
    pub(in super::super) fn downgraded(&self, turn: &mut Turn<'_>) -> ClassicGroup {
        let members = self.stored.members.values();
        let stored = StoredGroup {
            generation: GenerationId::new(self.stored.epoch.get()).unwrap_or_default(),
            protocol_type: Some(CONSUMER.to_owned()),
            protocol: None,
            leader: None,
            state_since: turn.now.time,
            members: members.filter_map(|member| self.downgraded_member(member)).collect(),
        };
        ClassicGroup::downgraded(self.id.clone(), &stored, turn)
    }

    fn downgraded_member(&self, member: &ConsumerMember) -> Option<StoredMember> {
        let side = member.classic.clone()?;
        Some(StoredMember {
            id: member.id.clone(),
            instance: member.instance.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            rebalance_timeout: member.rebalance_timeout,
            session_timeout: side.session_timeout,
            protocols: side.protocols,
            assignment: self.encoded(member),
        })
    }
}

fn upgraded(
    member: &StoredMember,
    protocol: Option<&str>,
    epoch: MemberEpoch,
    find: FindTopic<'_>,
) -> Option<ConsumerMember> {
    let chosen = member.protocols.iter().find(|offered| Some(&*offered.name) == protocol);
    let offered = chosen.or(member.protocols.first())?;
    let subscription = embedded::subscription(&offered.metadata)?;
    let assigned = embedded::by_id(&embedded::assignment(&member.assignment)?, find);
    Some(ConsumerMember {
        instance: member.instance.clone(),
        rack: subscription.rack,
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        rebalance_timeout: member.rebalance_timeout,
        subscribed: subscription.topics.into_iter().collect(),
        epoch,
        previous_epoch: epoch,
        target: assigned.clone(),
        assigned,
        classic: Some(ClassicSide {
            session_timeout: member.session_timeout,
            protocols: member.protocols.clone(),
        }),
        ..ConsumerMember::new(member.id.clone())
    })
}

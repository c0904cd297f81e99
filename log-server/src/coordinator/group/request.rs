//! What the members of groups ask, and what they are answered.
//!
//! The rule: these are the coordinator's own words. A door translates; it decides nothing. What a
//! protocol version makes optional is an enum or an `Option` here.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;

use super::id::{GenerationId, GroupId, GroupInstanceId, MemberEpoch, MemberId};
use super::subscription;
use crate::topic_pattern::TopicPattern;
use crate::topics::TopicId;

/// One way of sharing the work that a member can take part in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Protocol {
    /// Its name, such as `range`.
    pub name: String,
    /// What the leader needs to know of the member; for consumers, its subscription.
    pub metadata: Bytes,
}

impl Protocol {
    /// What it takes in memory, roughly.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.name.len() + self.metadata.len()
    }
}

/// What becomes of somebody who joins without a member id (KIP-394).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NewMember {
    /// It becomes a member at once. A client that never reads the answer leaves a dead member.
    Admit,
    /// It is given an id and must ask again with it (JoinGroup version 4 and later).
    RequireKnownId,
}

/// What a leader that comes back as the same static member is told (KIP-814).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LeaderReturn {
    /// That it leads, and that its assignment stands (JoinGroup version 9 and later).
    SkipsAssignment,
    /// That its predecessor leads, so that it does not assign.
    Follows,
}

/// Take me into the group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JoinGroup {
    /// Which group.
    pub group: GroupId,
    /// Who asks, if it has been told who it is.
    pub member: Option<MemberId>,
    /// Its name as a static member.
    pub instance: Option<GroupInstanceId>,
    /// What the client calls itself.
    pub client_id: String,
    /// Where it is.
    pub client_host: String,
    /// Without a heartbeat for so long, it is taken for dead.
    pub session_timeout: Duration,
    /// How long a rebalance waits for it.
    pub rebalance_timeout: Duration,
    /// What kind of group this is; `consumer` for consumers.
    pub protocol_type: String,
    /// What it can do, best first.
    pub protocols: Vec<Protocol>,
    /// Whether it must know its id.
    pub new_member: NewMember,
    /// What it understands as a returning leader.
    pub leader_return: LeaderReturn,
    /// Why it joins (KIP-800); for the log.
    pub reason: Option<String>,
}

impl JoinGroup {
    /// What it says of the member takes so much in memory, roughly.
    pub(super) fn bytes(&self) -> usize {
        let protocols: usize = self.protocols.iter().map(Protocol::bytes).sum();
        protocols + self.client_id.len() + self.client_host.len()
    }
}

/// A member of the new generation, as its leader sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JoinedMember {
    /// Who.
    pub member: MemberId,
    /// Its name as a static member.
    pub instance: Option<GroupInstanceId>,
    /// Its metadata of the chosen protocol.
    pub metadata: Bytes,
}

/// You are in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Joined {
    /// Who you are.
    pub member: MemberId,
    /// The generation that has begun.
    pub generation: GenerationId,
    /// What kind of group this is.
    pub protocol_type: Option<String>,
    /// The protocol that all of its members can.
    pub protocol: Option<String>,
    /// Who assigns; `None` where the server does.
    pub leader: Option<MemberId>,
    /// Everybody, for the leader; empty for the others.
    pub members: Vec<JoinedMember>,
    /// Whether the leader must leave the assignment as it is.
    pub skip_assignment: bool,
}

/// Give me my assignment; the leader's carries everybody's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SyncGroup {
    /// Which group.
    pub group: GroupId,
    /// Who asks.
    pub member: MemberId,
    /// Its name as a static member.
    pub instance: Option<GroupInstanceId>,
    /// The generation that it has joined.
    pub generation: GenerationId,
    /// What kind of group it believes this to be, if it says so (version 5 and later).
    pub protocol_type: Option<String>,
    /// The protocol that it believes to be chosen, if it says so (version 5 and later).
    pub protocol: Option<String>,
    /// What the leader has decided; empty from others.
    pub assignments: Vec<(MemberId, Bytes)>,
}

/// Your assignment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Synced {
    /// What kind of group this is.
    pub protocol_type: Option<String>,
    /// The protocol that is in use.
    pub protocol: Option<String>,
    /// What the leader wants the member to do; empty if it said nothing.
    pub assignment: Bytes,
}

/// I am alive.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Heartbeat {
    /// Which group.
    pub group: GroupId,
    /// Who.
    pub member: MemberId,
    /// Its name as a static member.
    pub instance: Option<GroupInstanceId>,
    /// The generation that it is in.
    pub generation: GenerationId,
}

/// These leave the group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeaveGroup {
    /// Which group.
    pub group: GroupId,
    /// Who.
    pub members: Vec<LeavingMember>,
}

/// One that leaves, or is made to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeavingMember {
    /// Its id; an administrator who knows only the instance gives none.
    pub member: Option<MemberId>,
    /// Its name as a static member.
    pub instance: Option<GroupInstanceId>,
    /// Why (KIP-800); for the log.
    pub reason: Option<String>,
}

/// Partitions, by topic.
pub type Assignment = BTreeMap<TopicId, BTreeSet<u32>>;

/// How the server shares out the work of a group.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Assignor {
    /// Evenly, and what need not move stays.
    Uniform,
    /// Each topic's partitions in runs, so that those of the same number in several topics go to
    /// the same member.
    Range,
}

impl Assignor {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Uniform, Self::Range];

    /// As clients call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Range => "range",
        }
    }

    /// The one that clients call so.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|assignor| assignor.name() == name)
    }
}

/// Where a member of a consumer group stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConsumerStep {
    /// It comes in, or begins anew; it owns nothing.
    Join,
    /// It is in.
    Continue {
        /// The epoch that it was last told.
        epoch: MemberEpoch,
    },
    /// It goes.
    Leave,
    /// It goes, and will be back as the same static member.
    LeaveForNow,
}

/// By which pattern a member wants to find topics from now on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PatternChange {
    /// By none.
    Clear,
    /// By this one.
    Set(TopicPattern),
}

impl PatternChange {
    /// The pattern from now on.
    pub fn pattern(&self) -> Option<&TopicPattern> {
        match self {
            Self::Clear => None,
            Self::Set(pattern) => Some(pattern),
        }
    }
}

/// A heartbeat of a member of a consumer group (KIP-848). What is `None` is as it was.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConsumerHeartbeat {
    /// Which group.
    pub group: GroupId,
    /// Who: an id that the client has made for itself.
    pub member: MemberId,
    /// Its name as a static member; in every heartbeat.
    pub instance: Option<GroupInstanceId>,
    /// Where it stands.
    pub step: ConsumerStep,
    /// What the client calls itself.
    pub client_id: String,
    /// Where it is.
    pub client_host: String,
    /// In which rack it is. Kept, and shown; nothing is decided by it.
    pub rack: Option<String>,
    /// How long it may take to give partitions up.
    pub rebalance_timeout: Option<Duration>,
    /// The topics that it wants to read, by name.
    pub subscribed: Option<Vec<String>>,
    /// The topics that it wants to read besides, as a pattern for their names.
    pub pattern: Option<PatternChange>,
    /// How it would like the work to be shared out.
    pub assignor: Option<Assignor>,
    /// What it owns.
    pub owned: Option<Assignment>,
}

impl ConsumerHeartbeat {
    /// What it says of the member takes so much in memory, roughly.
    pub(super) fn bytes(&self) -> usize {
        let topics = subscription::bytes(self.subscribed.iter().flatten());
        let pattern = self.pattern.as_ref().and_then(PatternChange::pattern);
        let pattern = pattern.map_or(0, |pattern| pattern.as_str().len());
        let rack = self.rack.as_ref().map_or(0, String::len);
        topics + pattern + rack + self.client_id.len() + self.client_host.len()
    }
}

/// Where a member of a consumer group is to go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HeartbeatAnswer {
    /// Who it is.
    pub member: MemberId,
    /// Its epoch from now on; `None` for one that has gone.
    pub epoch: Option<MemberEpoch>,
    /// When the next heartbeat is expected.
    pub heartbeat_interval: Duration,
    /// What it may own from now on, and no more; `None` if that is as it was.
    pub assignment: Option<Assignment>,
}

/// One consumer group in full.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConsumerGroupDescription {
    /// The group as in a list.
    pub listing: GroupListing,
    /// Raised by every change of the group.
    pub epoch: MemberEpoch,
    /// The one that its assignment was computed for.
    pub target_epoch: MemberEpoch,
    /// How its work is shared out.
    pub assignor: Assignor,
    /// The names of the topics that it reads.
    pub topics: BTreeMap<TopicId, String>,
    /// Its members.
    pub members: Vec<ConsumerMemberDescription>,
}

/// One member of a consumer group in full.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConsumerMemberDescription {
    /// Its id.
    pub member: MemberId,
    /// Its name as a static member.
    pub instance: Option<GroupInstanceId>,
    /// In which rack it is.
    pub rack: Option<String>,
    /// What the client calls itself.
    pub client_id: String,
    /// Where it is.
    pub client_host: String,
    /// The protocol that it speaks: the classic one while the group is on its way from one to the
    /// other.
    pub speaks: GroupKind,
    /// How far it has come.
    pub epoch: MemberEpoch,
    /// The topics that it wants to read.
    pub subscribed: Vec<String>,
    /// The pattern by which it wants to find more.
    pub pattern: Option<TopicPattern>,
    /// What it may own.
    pub assignment: Assignment,
    /// What it is to own in the end.
    pub target: Assignment,
}

/// Who commits offsets.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Committer {
    /// The member, if it is one.
    pub member: Option<MemberId>,
    /// Its name as a static member.
    pub instance: Option<GroupInstanceId>,
    /// The generation that it is in, or its epoch in a consumer group. `None` is an administrator, or a consumer that takes its
    /// partitions by itself: both may commit only while the group has no members.
    pub generation: Option<GenerationId>,
}

/// What a group is up to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum GroupState {
    /// It has no members, and perhaps offsets.
    Empty,
    /// Its members are asked to join anew.
    PreparingRebalance,
    /// The leader is to assign.
    CompletingRebalance,
    /// Everybody has an assignment.
    Stable,
    /// A consumer group that has changed, and whose new assignment is not computed yet.
    Assigning,
    /// A consumer group whose members are on their way to what they are to have.
    Reconciling,
}

impl GroupState {
    /// As Kafka's tools print it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
            Self::Assigning => "Assigning",
            Self::Reconciling => "Reconciling",
        }
    }
}

/// Who shares out the work of a group.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum GroupKind {
    /// One of its members.
    Classic,
    /// The server.
    Consumer,
}

impl GroupKind {
    /// As Kafka's tools print it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::Consumer => "consumer",
        }
    }
}

/// Which groups to list.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct GroupFilter {
    /// Only those in one of these states; all if empty.
    pub states: Vec<GroupState>,
    /// Only those of one of these kinds; all if empty.
    pub kinds: Vec<GroupKind>,
}

/// One group in a list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupListing {
    /// Its id.
    pub group: GroupId,
    /// What kind of members it has; `None` if it only ever had offsets.
    pub protocol_type: Option<String>,
    /// What it is up to.
    pub state: GroupState,
    /// Who shares out its work.
    pub kind: GroupKind,
}

/// One group in full.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupDescription {
    /// The group as in a list.
    pub listing: GroupListing,
    /// The protocol that is in use, while it is stable.
    pub protocol: Option<String>,
    /// Its members.
    pub members: Vec<MemberDescription>,
}

/// One member in full.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemberDescription {
    /// Its id.
    pub member: MemberId,
    /// Its name as a static member.
    pub instance: Option<GroupInstanceId>,
    /// What the client calls itself.
    pub client_id: String,
    /// Where it is.
    pub client_host: String,
    /// Its metadata of the protocol in use; empty unless the group is stable.
    pub metadata: Bytes,
    /// What it has been assigned; empty unless the group is stable.
    pub assignment: Bytes,
}

/// Whether a fetch of offsets may see those of a transaction that is still open (KIP-447).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Stability {
    /// It sees the last that is committed for sure.
    #[default]
    Any,
    /// It is refused for partitions with an open transaction.
    Require,
}

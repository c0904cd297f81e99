//! What an operator may want to change about groups. Names are Kafka's.

use std::ops::RangeInclusive;
use std::time::Duration;

/// The settings of the group coordinator.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupSettings {
    /// `group.min.session.timeout.ms` to `group.max.session.timeout.ms`: what members may ask for.
    pub session_timeout: RangeInclusive<Duration>,
    /// `group.initial.rebalance.delay.ms`: how long the first member of an empty group waits for
    /// others, so that a group that starts is not rebalanced once for each of them.
    pub initial_rebalance_delay: Duration,
    /// `group.max.size`: members of one group.
    pub size_max: usize,
    /// How long a new member's join may wait. It cannot send heartbeats while it waits, and a
    /// client that has given up asks again under another id. Kafka has the same, as a constant.
    pub new_member_join_timeout: Duration,
    /// `group.consumer.session.timeout.ms`: without a heartbeat for so long, a member of a consumer
    /// group is taken for dead.
    pub consumer_session_timeout: Duration,
    /// `group.consumer.heartbeat.interval.ms`: how often members are asked to send one.
    pub consumer_heartbeat_interval: Duration,
    /// `offsets.retention.minutes`: how long offsets outlive their group's last member, or, where
    /// there was none, their commit (KIP-211).
    pub offsets_retention: Duration,
    /// `offsets.retention.check.interval.ms`: how often that is looked after.
    pub offsets_retention_check_interval: Duration,
}

impl Default for GroupSettings {
    fn default() -> Self {
        Self {
            session_timeout: Duration::from_secs(6)..=Duration::from_secs(30 * 60),
            initial_rebalance_delay: Duration::from_secs(3),
            size_max: usize::MAX,
            new_member_join_timeout: Duration::from_secs(5 * 60),
            consumer_session_timeout: Duration::from_secs(45),
            consumer_heartbeat_interval: Duration::from_secs(5),
            offsets_retention: Duration::from_secs(7 * 24 * 60 * 60),
            offsets_retention_check_interval: Duration::from_secs(10 * 60),
        }
    }
}

//! What the members of a consumer group read: the names that they give, and those that their
//! patterns match.
//!
//! The rule: topics are looked at when they have changed since the group last looked, or when a
//! member comes, goes or subscribes anew; any other heartbeat only compares two numbers. Patterns
//! are matched elsewhere, because that takes time: a heartbeat that needs it is first answered with
//! the patterns that are [unresolved](ConsumerGroup::unresolved), and comes again with the names.
//!
//! The names that a pattern matches are not written to the log. The target is, with the topics that
//! it was computed for; the rest is found out again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::request::PatternChange;
use super::ConsumerGroup;
use super::member::ConsumerMember;
use crate::topic_pattern::TopicPattern;
use crate::topics::{TopicId, TopicName, TopicsVersion};

/// What a topic's name stands for at this moment.
pub(crate) type TopicShape = (TopicId, u32);

/// Finds topics by name.
pub(crate) type FindTopic<'a> = &'a (dyn Fn(&str) -> Option<TopicShape> + Sync);

/// The topics that patterns match.
pub(crate) type Matching = BTreeMap<TopicPattern, Arc<[TopicName]>>;

/// What is known of topics while one heartbeat is looked at.
pub(crate) struct TopicsView<'a> {
    /// What is found is at least as new as this.
    pub(crate) version: TopicsVersion,
    pub(crate) find: FindTopic<'a>,
    /// As far as it has been found out.
    pub(crate) matching: Matching,
}

/// The topics that one pattern matches, and when that was so.
#[derive(Clone, Debug)]
pub(super) struct Resolved {
    version: TopicsVersion,
    names: Arc<[TopicName]>,
}

impl ConsumerGroup {
    /// The patterns that must be resolved before a member can move on, which may change its own.
    pub(in super::super) fn unresolved(
        &self,
        change: Option<&PatternChange>,
        topics: &TopicsView<'_>,
    ) -> Vec<TopicPattern> {
        let asked = change.and_then(PatternChange::pattern).into_iter();
        let own = self.patterns().filter(|_| self.looked_at != Some(topics.version));
        let wanted: BTreeSet<&TopicPattern> = asked.chain(own).collect();
        let is_missing = |pattern: &&TopicPattern| {
            let resolved = self.resolved.get(*pattern);
            !topics.matching.contains_key(*pattern)
                && resolved.is_none_or(|resolved| resolved.version != topics.version)
        };
        wanted.into_iter().filter(is_missing).cloned().collect()
    }

    fn patterns(&self) -> impl Iterator<Item = &TopicPattern> {
        self.stored.members.values().filter_map(|member| member.pattern.as_ref())
    }

    /// Topics, or those who read them, have changed: whether that makes another target necessary.
    pub(super) fn look_at_topics(&mut self, topics: &TopicsView<'_>) -> bool {
        if self.looked_at == Some(topics.version) {
            return false;
        }
        self.resolve(topics);
        let members = self.stored.members.values();
        let names: BTreeSet<&str> = members.flat_map(|member| self.names_of(member)).collect();
        let found: BTreeMap<String, TopicShape> = names
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), (topics.find)(name)?)))
            .collect();
        self.looked_at = Some(topics.version);
        let changed = found != self.stored.topics;
        self.stored.topics = found;
        changed
    }

    /// Takes over what is known of the patterns that members have, and forgets all others.
    fn resolve(&mut self, topics: &TopicsView<'_>) {
        let used: BTreeSet<TopicPattern> = self.patterns().cloned().collect();
        self.resolved.retain(|pattern, _| used.contains(pattern));
        for pattern in used {
            if let Some(names) = topics.matching.get(&pattern) {
                let (version, names) = (topics.version, Arc::clone(names));
                self.resolved.insert(pattern, Resolved { version, names });
            }
        }
    }

    /// What a member wants to read, whether it is there or not.
    fn names_of<'a>(&'a self, member: &'a ConsumerMember) -> impl Iterator<Item = &'a str> {
        let resolved = member.pattern.as_ref().and_then(|pattern| self.resolved.get(pattern));
        let matched = resolved.into_iter().flat_map(|resolved| resolved.names.iter());
        let given = member.subscribed.iter().map(String::as_str);
        given.chain(matched.map(TopicName::as_str))
    }

    /// What a member wants to read and is there.
    pub(super) fn topics_of(&self, member: &ConsumerMember) -> BTreeSet<TopicId> {
        let found = self.names_of(member).filter_map(|name| self.stored.topics.get(name));
        found.map(|(id, _)| *id).collect()
    }

    /// What the members want to read, as far as that is known: after a restart it takes a heartbeat
    /// to know what patterns match beyond what they have matched before.
    pub(super) fn subscribed_names(&self) -> BTreeSet<String> {
        let given = self.stored.members.values().flat_map(|member| &member.subscribed);
        let matched = self.stored.topics.keys().filter(|_| self.patterns().next().is_some());
        given.chain(matched).cloned().collect()
    }

    /// What is remembered of patterns takes so much in memory, roughly.
    pub(super) fn resolved_bytes(&self) -> usize {
        let names = self.resolved.values().map(|resolved| resolved.names.len());
        names.sum::<usize>() * size_of::<TopicName>()
    }
}

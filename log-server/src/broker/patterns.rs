//! Which topics a pattern matches.
//!
//! The rule: it is found out away from the network's threads, one search at a time, and once for
//! all who ask while the topics stay the same; a thousand members of a group that all have the same
//! pattern cost one search when a topic is made. What is found is remembered for as long as somebody
//! uses it. The broker's own topics are matched by no pattern.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use super::Broker;
use crate::coordinator::group::consumer::Matching;
pub use crate::topic_pattern::{TopicPattern, TopicPatternError};
use crate::topics::{TopicKind, TopicName, Topics, TopicsVersion};

/// What patterns have been found to match.
#[derive(Default)]
pub(super) struct Patterns {
    /// Held through a search: whoever waits for it may find its own done.
    known: tokio::sync::Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// What it was found in.
    version: Option<TopicsVersion>,
    matching: BTreeMap<TopicPattern, Weak<[TopicName]>>,
}

impl Broker {
    /// Checks a pattern, which takes time if it is a large one.
    pub async fn topic_pattern(&self, pattern: &str) -> Result<TopicPattern, TopicPatternError> {
        let pattern = pattern.to_owned();
        self.blocking(move |_| TopicPattern::new(&pattern)).await
    }

    /// The topics that these match, as they are now.
    pub(super) async fn topics_matching(&self, patterns: Vec<TopicPattern>) -> Matching {
        let mut known = self.inner.patterns.known.lock().await;
        let version = self.inner.topics.version();
        known.forget_unless(version);
        let mut matching = Matching::new();
        let mut missing = Vec::new();
        for pattern in patterns {
            match known.matching.get(&pattern).and_then(Weak::upgrade) {
                Some(names) => drop(matching.insert(pattern, names)),
                None => missing.push(pattern),
            }
        }
        let found = self.blocking(move |broker| search(&broker.inner.topics, missing)).await;
        known
            .matching
            .extend(found.iter().map(|(one, names)| (one.clone(), Arc::downgrade(names))));
        matching.extend(found);
        matching
    }
}

impl Known {
    fn forget_unless(&mut self, version: TopicsVersion) {
        if self.version != Some(version) {
            *self = Self { version: Some(version), matching: BTreeMap::new() };
        }
        self.matching.retain(|_, names| names.strong_count() > 0);
    }
}

fn search(topics: &Topics, patterns: Vec<TopicPattern>) -> Matching {
    let all = topics.all();
    let names = all.iter().filter(|topic| topic.kind == TopicKind::User).map(|topic| &topic.name);
    let names: Vec<_> = names.collect();
    let search = |pattern: &TopicPattern| match pattern.matcher() {
        Ok(matcher) => {
            let matched = names.iter().filter(|name| matcher.matches(name.as_str()));
            matched.map(|name| TopicName::clone(name)).collect()
        }
        // Only a broker that takes more than this one can have written it down.
        Err(error) => {
            tracing::warn!(pattern = pattern.as_str(), %error, "a stored pattern matches nothing");
            Arc::default()
        }
    };
    patterns.into_iter().map(|pattern| (pattern.clone(), search(&pattern))).collect()
}

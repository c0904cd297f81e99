//! Topics by name: what they are called, which id they have, and the partitions that serve them.
//!
//! The rule: a name is checked once, when it becomes a [`TopicName`], and a topic *is* its
//! [`TopicId`]: one that is deleted and made again has the same name and another id, so nothing of
//! the old can pass for the new. Lookups take the `Arc` out of the map at once: no guard is ever
//! held across a wait or a second lookup.

mod partitions;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use dashmap::DashMap;
use uuid::Uuid;

use crate::error::{LookupError, shortened};
use crate::limits;
use crate::metrics::TopicMetrics;
use crate::partition::Partition;
use crate::topic_config::TopicConfigs;

pub use partitions::Partitions;

/// The name of a topic: 1 to 249 of `a-z A-Z 0-9 . _ -`, and neither `.` nor `..`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TopicName(Arc<str>);

/// Why something is not a topic's name.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TopicNameError {
    /// Nothing was given.
    #[error("a topic name is empty: give it 1 to {} characters", limits::TOPIC_NAME_BYTES_MAX)]
    Empty,
    /// Too long for the name of a folder.
    #[error("a topic name has {length} bytes: {} are the most", limits::TOPIC_NAME_BYTES_MAX)]
    TooLong {
        /// How long it is.
        length: usize,
    },
    /// A character that could mean something to a shell, a path or a metrics query.
    #[error(
        "topic name {name:?} has the character {character:?}: only a-z A-Z 0-9 . _ - are taken"
    )]
    BadCharacter {
        /// The name.
        name: String,
        /// Its first character that is not taken.
        character: char,
    },
    /// A name that every file system has already.
    #[error("topic name {name:?} means a folder: choose another")]
    Dots {
        /// `.` or `..`.
        name: String,
    },
}

impl TopicName {
    /// Checks the name.
    pub fn new(name: &str) -> Result<Self, TopicNameError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if name.is_empty() {
            return Err(TopicNameError::Empty);
        }
        if name.len() > limits::TOPIC_NAME_BYTES_MAX {
            return Err(TopicNameError::TooLong { length: name.len() });
        }
        if let Some(character) = name.chars().find(|c| !allowed(*c)) {
            return Err(TopicNameError::BadCharacter { name: name.to_owned(), character });
        }
        if matches!(name, "." | "..") {
            return Err(TopicNameError::Dots { name: name.to_owned() });
        }
        Ok(Self(name.into()))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of the folder of one partition.
    pub fn folder_of(&self, partition: u32) -> String {
        format!("{}-{partition}", self.0)
    }

    /// Topic and partition from the name of a folder. The last `-` divides: names may hold others.
    pub fn parse_folder(folder: &str) -> Option<(Self, u32)> {
        let (name, partition) = folder.rsplit_once('-')?;
        let canonical = partition == "0" || !partition.starts_with(['0', '+']);
        let partition = partition.parse().ok().filter(|_| canonical)?;
        Some((Self::new(name).ok()?, partition))
    }
}

impl std::borrow::Borrow<str> for TopicName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a topic is, whatever it is called.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TopicId(pub Uuid);

impl TopicId {
    /// The id in the 16 bytes that stand in records and messages.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        Uuid::from_slice(bytes).ok().map(Self)
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Whose topic it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TopicKind {
    /// Made by a user.
    User,
    /// A coordinator's log: it can be looked at, but only its coordinator writes it.
    Internal,
}

/// One partition as the broker has it.
#[derive(Clone, Debug)]
pub enum PartitionState {
    /// It serves.
    Serving(Arc<Partition>),
    /// Its log did not open; the reason. The others serve.
    Failed(String),
}

/// A topic and its partitions.
#[derive(Debug)]
pub struct Topic {
    /// Its name.
    pub name: TopicName,
    /// Its id.
    pub id: TopicId,
    /// Whose it is.
    pub kind: TopicKind,
    /// What is set on it; replaced as a whole.
    pub configs: ArcSwap<TopicConfigs>,
    /// By number.
    pub partitions: Partitions,
    /// What is counted of it, and forgotten with it.
    pub metrics: TopicMetrics,
}

impl Topic {
    /// The partition with this number, if it is there and serves.
    pub fn partition(&self, partition: u32) -> Result<&Arc<Partition>, LookupError> {
        match self.partitions.get(partition as usize) {
            Some(PartitionState::Serving(serving)) => Ok(serving),
            Some(PartitionState::Failed(reason)) => Err(LookupError::PartitionFailed {
                topic: self.name.clone(),
                partition,
                reason: reason.clone(),
            }),
            None => Err(LookupError::UnknownPartition {
                topic: self.name.clone(),
                partition: i64::from(partition),
                count: self.partitions.len(),
            }),
        }
    }

    /// The partitions that serve.
    pub fn serving(&self) -> impl Iterator<Item = &Arc<Partition>> {
        serving(self.partitions.iter())
    }
}

/// Those of the partitions that serve.
pub(crate) fn serving<'a>(
    partitions: impl IntoIterator<Item = &'a PartitionState>,
) -> impl Iterator<Item = &'a Arc<Partition>> {
    partitions.into_iter().filter_map(|state| match state {
        PartitionState::Serving(partition) => Some(partition),
        PartitionState::Failed(_) => None,
    })
}

/// How often topics have come, gone or grown since the start.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TopicsVersion(u64);

impl TopicsVersion {
    #[cfg(test)]
    pub(crate) const fn new(number: u64) -> Self {
        Self(number)
    }
}

/// Every topic that is served.
#[derive(Debug, Default)]
pub struct Topics {
    by_name: DashMap<TopicName, Arc<Topic>>,
    names: DashMap<TopicId, TopicName>,
    changes: AtomicU64,
}

impl Topics {
    /// The topic with this name.
    pub fn get(&self, name: &str) -> Result<Arc<Topic>, LookupError> {
        let found = self.by_name.get(name).map(|entry| Arc::clone(entry.value()));
        found.ok_or_else(|| {
            // Asked for a million times, a long name must not be kept as often.
            let start = name.chars().take(limits::TOPIC_NAME_BYTES_MAX + 1).collect();
            let name = shortened(start, limits::TOPIC_NAME_BYTES_MAX);
            LookupError::UnknownTopic { name }
        })
    }

    /// The topic with this id.
    pub fn get_by_id(&self, id: TopicId) -> Option<Arc<Topic>> {
        let name = self.names.get(&id).map(|entry| entry.value().clone())?;
        self.get(name.as_str()).ok().filter(|topic| topic.id == id)
    }

    /// Every topic, by name.
    pub fn all(&self) -> Vec<Arc<Topic>> {
        let mut topics: Vec<_> =
            self.by_name.iter().map(|entry| Arc::clone(entry.value())).collect();
        topics.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        topics
    }

    /// Starts to serve a topic.
    pub(crate) fn insert(&self, topic: Arc<Topic>) {
        self.names.insert(topic.id, topic.name.clone());
        self.by_name.insert(topic.name.clone(), topic);
        self.changed();
    }

    /// Stops to serve a topic.
    pub(crate) fn remove(&self, name: &TopicName) -> Option<Arc<Topic>> {
        let (_, topic) = self.by_name.remove(name)?;
        self.names.remove(&topic.id);
        self.changed();
        Some(topic)
    }

    /// What is looked up from now on is at least as new as this. Whoever finds the same version
    /// later need not look again.
    pub fn version(&self) -> TopicsVersion {
        TopicsVersion(self.changes.load(Ordering::Acquire))
    }

    /// To be called after a change, so that nobody takes what was before it for this version.
    pub(crate) fn changed(&self) {
        self.changes.fetch_add(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_the_data_folder_are_refused() {
        for bad in ["", ".", "..", "../x", "a/b", "a b", "ä", "a\0", &"x".repeat(250)] {
            assert!(TopicName::new(bad).is_err(), "{bad:?}");
        }
        for good in ["a", "...", "a-1", "Under_score.dot", &"x".repeat(249)] {
            assert!(TopicName::new(good).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn folder_names_are_read_back() {
        let topic = TopicName::new("a-1").unwrap();
        assert_eq!(topic.folder_of(12), "a-1-12");
        assert_eq!(TopicName::parse_folder("a-1-12"), Some((topic, 12)));
        for foreign in ["a", "a-", "-1", "a-01", "a-+1", "lost+found", "a-99999999999"] {
            assert_eq!(TopicName::parse_folder(foreign), None, "{foreign}");
        }
    }
}

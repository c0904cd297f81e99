//! What is written to: each topic wears out something else.

use std::sync::Arc;

use log_client::{Client, NewTopic, TopicDescription};

/// A topic of the run.
pub(crate) struct Topic {
    pub(crate) name: &'static str,
    pub(crate) partitions: u32,
    configs: &'static [(&'static str, &'static str)],
    /// How many of a hundred records go to it.
    pub(crate) percent: u64,
}

/// Which of [`TOPICS`].
pub(crate) type TopicNumber = usize;

/// In steady state together some 250 MB.
pub(crate) const TOPICS: [Topic; 4] = [
    // Rolls and deletions by size, synced.
    Topic {
        name: "by-size",
        partitions: 4,
        configs: &[("segment.bytes", "262144"), ("retention.bytes", "3145728")],
        percent: 35,
    },
    // Deletions by age, synced.
    Topic {
        name: "by-age",
        partitions: 4,
        configs: &[("segment.bytes", "2097152"), ("retention.ms", "45000")],
        percent: 30,
    },
    // Synced now and then: large segments, and rolls whose seals wait for a sync.
    Topic {
        name: "lazy",
        partitions: 2,
        configs: &[
            ("flush.messages", "100000"),
            ("flush.ms", "5000"),
            ("segment.bytes", "8388608"),
            ("retention.bytes", "50331648"),
        ],
        percent: 25,
    },
    // Many partitions with a little each: segments that are small, and end by their age too.
    Topic {
        name: "many",
        partitions: 48,
        configs: &[
            ("segment.bytes", "131072"),
            ("segment.ms", "20000"),
            ("retention.bytes", "1048576"),
        ],
        percent: 10,
    },
];

pub(crate) async fn create(client: &Client) {
    for topic in &TOPICS {
        let mut new = NewTopic::new(topic.name).partitions(topic.partitions);
        for (name, value) in topic.configs {
            new = new.config(*name, *value);
        }
        client.admin().create_topic(new).await.expect("a new topic");
    }
}

/// Asks until a broker answers: it may be away just now.
pub(crate) async fn describe(client: &Client, topic: TopicNumber) -> TopicDescription {
    loop {
        match client.admin().describe_topic(TOPICS[topic].name).await {
            Ok(description) => return description,
            Err(error) if error.is_retriable() => {
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
            Err(error) => panic!("{}: {error}", TOPICS[topic].name),
        }
    }
}

/// Names without an allocation for each record.
pub(crate) fn names() -> [Arc<str>; TOPICS.len()] {
    TOPICS.each_ref().map(|topic| topic.name.into())
}

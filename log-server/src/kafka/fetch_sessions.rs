//! What consumers have told about the partitions they fetch, so that they need not tell it again
//! (KIP-227).
//!
//! A session is the list of a consumer's partitions, in the order in which they get their turn.
//! Each request says what has changed; each answer leaves out what has not. Both sides count, so
//! that neither goes on from another list than its partner.
//!
//! The rule: a session is a saving, never a duty. A request that finds none, or another number than
//! expected, is refused with a code upon which clients send their whole list; where there is no
//! room for one more, they are served without. So sessions may be dropped at any time.

use std::collections::HashMap;
use std::sync::Arc;

use log_proto::kafka::messages::fetch::{FetchRequest, FetchTopic, ForgottenTopic};
use log_proto::kafka::{ErrorCode, Str, Uuid};
use log_proto::types::TimestampMs;
use parking_lot::Mutex;

use crate::limits::TOPIC_NAME_BYTES_MAX;

/// Sessions that are kept: Kafka's default of `max.incremental.fetch.session.cache.slots`.
const SESSIONS_MAX: usize = 1000;

/// Partitions of all sessions together. They live in memory.
const PARTITIONS_MAX: usize = 200_000;

/// A session that was not used for so long makes room for a new one, as with Kafka.
const EVICTABLE_AFTER_MS: i64 = 120_000;

/// The number of a request that opens a session.
const INITIAL_EPOCH: i32 = 0;
/// The number of a request that wants none.
const FINAL_EPOCH: i32 = -1;

/// One partition as its consumer wants it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Wanted {
    /// Empty in versions that name topics by id.
    pub(super) topic: Str,
    /// Zeros in versions that name topics by name.
    pub(super) topic_id: Uuid,
    pub(super) partition: i32,
    pub(super) current_leader_epoch: i32,
    pub(super) fetch_offset: i64,
    pub(super) bytes_max: i32,
}

/// What an answer said of a partition, and the next need not repeat.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Told {
    pub(super) high_watermark: i64,
    pub(super) log_start: i64,
}

type Key = (Str, Uuid, i32);

fn key(wanted: &Wanted) -> Key {
    (wanted.topic.clone(), wanted.topic_id, wanted.partition)
}

/// The list of one consumer.
#[derive(Debug)]
struct Session {
    /// What the next request must carry.
    epoch: i32,
    /// In the order of their turns.
    partitions: Vec<(Wanted, Option<Told>)>,
    used_at: TimestampMs,
}

/// What a request is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Plan {
    /// For the answer; 0 where there is no session.
    pub(super) session_id: i32,
    /// Everything that is wanted, in turn, with what its consumer knows.
    pub(super) partitions: Vec<(Wanted, Option<Told>)>,
    /// Whether partitions without news are left out of the answer.
    pub(super) only_news: bool,
}

/// All sessions.
#[derive(Debug, Default)]
pub(crate) struct FetchSessions(Mutex<Sessions>);

#[derive(Debug, Default)]
struct Sessions {
    by_id: HashMap<i32, Session>,
    partitions: usize,
    last_id: i32,
}

impl FetchSessions {
    pub(super) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// What this request is about, with the changes that it carries.
    pub(super) fn plan(&self, request: FetchRequest, now: TimestampMs) -> Result<Plan, ErrorCode> {
        let FetchRequest { session_id, session_epoch, topics, forgotten_topics_data, .. } = request;
        let mut sessions = self.0.lock();
        if session_epoch == INITIAL_EPOCH || session_epoch == FINAL_EPOCH {
            sessions.remove(session_id);
            let partitions = changed(Vec::new(), topics);
            let session_id = match session_epoch {
                INITIAL_EPOCH => sessions.open(&partitions, now),
                _ => 0,
            };
            return Ok(Plan { session_id, partitions, only_news: false });
        }
        let session =
            sessions.by_id.get_mut(&session_id).ok_or(ErrorCode::FetchSessionIdNotFound)?;
        if session.epoch != session_epoch {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        let before = session.partitions.len();
        session.change(topics, forgotten_topics_data);
        session.epoch = if session.epoch == i32::MAX { 1 } else { session.epoch + 1 };
        session.used_at = now;
        let partitions = session.partitions.clone();
        sessions.partitions = sessions.partitions + partitions.len() - before;
        if sessions.partitions > PARTITIONS_MAX || !can_be_kept(&partitions) {
            // It asks for all of them again, and is served without a session if there is no room.
            sessions.remove(session_id);
            return Err(ErrorCode::FetchSessionIdNotFound);
        }
        Ok(Plan { session_id, partitions, only_news: true })
    }

    /// Remembers what an answer says, and whose turn it was.
    pub(super) fn answered(&self, session_id: i32, told: Vec<(Wanted, Told, Turn)>) {
        let mut sessions = self.0.lock();
        let Some(session) = sessions.by_id.get_mut(&session_id) else { return };
        let mut told: HashMap<Key, (Told, Turn)> =
            told.into_iter().map(|(wanted, told, turn)| (key(&wanted), (told, turn))).collect();
        let mut waiting = Vec::with_capacity(session.partitions.len());
        let mut served = Vec::new();
        for (wanted, known) in session.partitions.drain(..) {
            match told.remove(&key(&wanted)) {
                Some((told, Turn::Taken)) => served.push((wanted, Some(told))),
                Some((told, Turn::Waits)) => waiting.push((wanted, Some(told))),
                None => waiting.push((wanted, known)),
            }
        }
        waiting.append(&mut served);
        session.partitions = waiting;
    }
}

/// Whether a partition had records in an answer. Those that had go to the end of the list, so that
/// one with much to read does not keep the others from their turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Turn {
    Taken,
    Waits,
}

impl Sessions {
    fn remove(&mut self, id: i32) {
        if let Some(session) = self.by_id.remove(&id) {
            self.partitions -= session.partitions.len();
        }
    }

    /// The number of a new session; 0 if there is no room for it.
    fn open(&mut self, partitions: &[(Wanted, Option<Told>)], now: TimestampMs) -> i32 {
        let has_room = |sessions: &Self| {
            sessions.by_id.len() < SESSIONS_MAX
                && sessions.partitions + partitions.len() <= PARTITIONS_MAX
        };
        if partitions.is_empty() || !can_be_kept(partitions) {
            return 0;
        }
        if !has_room(self) {
            self.evict(now);
        }
        if !has_room(self) {
            return 0;
        }
        let id = self.free_id();
        let session = Session { epoch: 1, partitions: partitions.to_vec(), used_at: now };
        self.partitions += partitions.len();
        self.by_id.insert(id, session);
        id
    }

    fn evict(&mut self, now: TimestampMs) {
        let left = &mut self.partitions;
        self.by_id.retain(|_, session| {
            let is_used = now.since(session.used_at) < EVICTABLE_AFTER_MS;
            *left -= if is_used { 0 } else { session.partitions.len() };
            is_used
        });
    }

    fn free_id(&mut self) -> i32 {
        loop {
            self.last_id = if self.last_id == i32::MAX { 1 } else { self.last_id + 1 };
            if !self.by_id.contains_key(&self.last_id) {
                return self.last_id;
            }
        }
    }
}

impl Session {
    fn change(&mut self, topics: Vec<FetchTopic>, forgotten: Vec<ForgottenTopic>) {
        if topics.is_empty() && forgotten.is_empty() {
            return;
        }
        self.partitions = changed(std::mem::take(&mut self.partitions), topics);
        if !forgotten.is_empty() {
            self.forget(forgotten);
        }
    }

    fn forget(&mut self, topics: Vec<ForgottenTopic>) {
        let forgotten: std::collections::HashSet<Key> = topics
            .into_iter()
            .flat_map(|topic| {
                let name = owned(&topic.topic);
                topic
                    .partitions
                    .into_iter()
                    .map(move |number| (name.clone(), topic.topic_id, number))
            })
            .collect();
        self.partitions.retain(|(wanted, _)| !forgotten.contains(&key(wanted)));
    }
}

/// The list with what a request says. What is named twice is one partition, as it was said last:
/// each may give as many records as the answer has room for.
fn changed(
    mut partitions: Vec<(Wanted, Option<Told>)>,
    topics: Vec<FetchTopic>,
) -> Vec<(Wanted, Option<Told>)> {
    let known = (0..).zip(&partitions);
    let mut places: HashMap<Key, usize> =
        known.map(|(place, (wanted, _))| (key(wanted), place)).collect();
    for wanted in wanted(topics) {
        let end = partitions.len();
        match *places.entry(key(&wanted)).or_insert(end) {
            place if place < end => partitions[place].0 = wanted,
            _ => partitions.push((wanted, None)),
        }
    }
    partitions
}

/// Names that no topic can have would be kept for nothing, and a hundred times as long.
fn can_be_kept(partitions: &[(Wanted, Option<Told>)]) -> bool {
    partitions.iter().all(|(wanted, _)| wanted.topic.len() <= TOPIC_NAME_BYTES_MAX)
}

fn wanted(topics: Vec<FetchTopic>) -> impl Iterator<Item = Wanted> {
    topics.into_iter().flat_map(|topic| {
        let name = owned(&topic.topic);
        topic.partitions.into_iter().map(move |partition| Wanted {
            topic: name.clone(),
            topic_id: topic.topic_id,
            partition: partition.partition,
            current_leader_epoch: partition.current_leader_epoch,
            fetch_offset: partition.fetch_offset,
            bytes_max: partition.partition_max_bytes,
        })
    })
}

/// A name that keeps no frame in memory.
fn owned(name: &Str) -> Str {
    name.as_str().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use log_proto::kafka::messages::fetch::FetchPartition;

    const NOW: TimestampMs = TimestampMs::new(1_000_000);

    fn topic(name: &str, partitions: &[(i32, i64)]) -> FetchTopic {
        let partition = |(partition, fetch_offset): &(i32, i64)| FetchPartition {
            partition: *partition,
            fetch_offset: *fetch_offset,
            partition_max_bytes: 1 << 20,
            ..Default::default()
        };
        let partitions = partitions.iter().map(partition).collect();
        FetchTopic { topic: name.into(), partitions, ..Default::default() }
    }

    fn request(session_id: i32, session_epoch: i32, topics: Vec<FetchTopic>) -> FetchRequest {
        FetchRequest { session_id, session_epoch, topics, ..Default::default() }
    }

    fn offsets(plan: &Plan) -> Vec<(i32, i64)> {
        let place = |(wanted, _): &(Wanted, _)| (wanted.partition, wanted.fetch_offset);
        plan.partitions.iter().map(place).collect()
    }

    fn told(plan: &Plan, served: i32) -> Vec<(Wanted, Told, Turn)> {
        let told = Told { high_watermark: 7, log_start: 0 };
        let turn = |wanted: &Wanted| {
            if wanted.partition == served { Turn::Taken } else { Turn::Waits }
        };
        let all = plan.partitions.iter();
        all.map(|(wanted, _)| (wanted.clone(), told, turn(wanted))).collect()
    }

    #[test]
    fn a_session_knows_what_was_said_before() {
        let sessions = FetchSessions::new();
        let first = request(0, 0, vec![topic("t", &[(0, 0), (1, 0), (2, 0)])]);
        let plan = sessions.plan(first, NOW).unwrap();
        assert!(plan.session_id > 0 && !plan.only_news);
        let next = request(plan.session_id, 1, vec![topic("t", &[(1, 5), (3, 9)])]);
        let plan = sessions.plan(next, NOW).unwrap();
        assert!(plan.only_news);
        assert_eq!(offsets(&plan), [(0, 0), (1, 5), (2, 0), (3, 9)]);
        let mut next = request(plan.session_id, 2, Vec::new());
        next.forgotten_topics_data = vec![ForgottenTopic {
            topic: "t".into(),
            partitions: vec![0, 3],
            ..Default::default()
        }];
        assert_eq!(offsets(&sessions.plan(next, NOW).unwrap()), [(1, 5), (2, 0)]);
    }

    #[test]
    fn who_was_served_comes_last_the_next_time() {
        let sessions = FetchSessions::new();
        let first = request(0, 0, vec![topic("t", &[(0, 0), (1, 0), (2, 0)])]);
        let plan = sessions.plan(first, NOW).unwrap();
        sessions.answered(plan.session_id, told(&plan, 0));
        let plan = sessions.plan(request(plan.session_id, 1, Vec::new()), NOW).unwrap();
        assert_eq!(offsets(&plan), [(1, 0), (2, 0), (0, 0)]);
        assert!(plan.partitions.iter().all(|(_, told)| told.is_some()));
    }

    #[test]
    fn another_number_than_the_next_is_refused() {
        let sessions = FetchSessions::new();
        let plan = sessions.plan(request(0, 0, vec![topic("t", &[(0, 0)])]), NOW).unwrap();
        let id = plan.session_id;
        let again = sessions.plan(request(id, 2, Vec::new()), NOW);
        assert_eq!(again, Err(ErrorCode::InvalidFetchSessionEpoch));
        let unknown = sessions.plan(request(id + 1, 1, Vec::new()), NOW);
        assert_eq!(unknown, Err(ErrorCode::FetchSessionIdNotFound));
        // A final request closes it.
        let last = sessions.plan(request(id, -1, vec![topic("t", &[(0, 0)])]), NOW).unwrap();
        assert_eq!(last.session_id, 0);
        let gone = sessions.plan(request(id, 1, Vec::new()), NOW);
        assert_eq!(gone, Err(ErrorCode::FetchSessionIdNotFound));
    }

    #[test]
    fn a_session_does_not_outgrow_the_room_for_all() {
        let sessions = FetchSessions::new();
        let plan = sessions.plan(request(0, 0, vec![topic("t", &[(0, 0)])]), NOW).unwrap();
        let more: Vec<_> = (1..=PARTITIONS_MAX as i32).map(|number| (number, 0)).collect();
        let grown = sessions.plan(request(plan.session_id, 1, vec![topic("t", &more)]), NOW);
        assert_eq!(grown, Err(ErrorCode::FetchSessionIdNotFound));
        let sessions = sessions.0.lock();
        assert_eq!((sessions.partitions, sessions.by_id.len()), (0, 0));
    }

    #[test]
    fn without_room_there_is_no_session_and_old_ones_make_room() {
        let sessions = FetchSessions::new();
        let open = |now| sessions.plan(request(0, 0, vec![topic("t", &[(0, 0)])]), now).unwrap();
        for _ in 0..SESSIONS_MAX {
            assert!(open(NOW).session_id > 0);
        }
        assert_eq!(open(NOW).session_id, 0);
        let later = TimestampMs::new(NOW.get() + EVICTABLE_AFTER_MS);
        assert!(open(later).session_id > 0);
        let sessions = sessions.0.lock();
        assert_eq!(sessions.partitions, sessions.by_id.len());
    }

    #[test]
    fn what_is_named_twice_is_one_partition_as_it_was_said_last() {
        let sessions = FetchSessions::new();
        for epoch in [INITIAL_EPOCH, FINAL_EPOCH] {
            let twice = vec![topic("t", &[(0, 1), (1, 7), (0, 2)]), topic("t", &[(0, 3)])];
            let plan = sessions.plan(request(0, epoch, twice), NOW).unwrap();
            assert_eq!(offsets(&plan), [(0, 3), (1, 7)]);
        }
    }

    #[test]
    fn names_that_no_topic_has_are_not_kept() {
        let sessions = FetchSessions::new();
        let long = "n".repeat(TOPIC_NAME_BYTES_MAX + 1);
        let plan = sessions.plan(request(0, 0, vec![topic(&long, &[(0, 0)])]), NOW).unwrap();
        assert_eq!((plan.session_id, plan.partitions.len()), (0, 1));
    }
}

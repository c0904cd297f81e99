//! Goal: a client that falls silent without a word, because its process was stopped or its machine
//! has died, costs the others some seconds and nothing else.
//!
//! What stops here is the real program, by SIGSTOP: its kernel goes on acknowledging what comes, so
//! that the connection looks sound to everybody who only asks TCP.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use log_client::{
    Client, ErrorCode, GroupDescription, GroupMember, GroupPartition, NewTopic, ProducerRecord,
    RequestError,
};
use log_proto::types::Offset;
use tokio::time::interval;

use crate::group_members::follow;
use crate::rig::{ended, wait_until};
use crate::support::{Broker, data_folder};
use crate::traces::anonymous_bytes;

/// How long a change may take. A peer is missed after half a minute; what is promised is that its
/// partitions go to others within the session of a member that has to send heartbeats.
const PATIENCE: Duration = Duration::from_secs(45);

/// How long to leave a broker in peace between two looks.
const PAUSE: Duration = Duration::from_millis(50);

const PARTITIONS: u32 = 4;

/// With this much for each number, what is sent to a stopped member fills its socket from end to
/// end, and no ping of the broker gets out any more.
const LARGE_BYTES: usize = 256 << 10;

/// `cairn consume --group`, and the numbers that it has written out. Killed when dropped.
struct Follower {
    /// `None` once its end was waited for.
    child: Option<Child>,
    id: u32,
    read: Arc<Mutex<Vec<u32>>>,
}

impl Follower {
    fn of(broker: &Broker, name: &str) -> Self {
        let (child, stdout) = follow(broker, name, name);
        let read = Arc::default();
        collect(stdout, Arc::clone(&read));
        Self { id: child.id(), child: Some(child), read }
    }

    fn numbers(&self) -> Vec<u32> {
        self.read.lock().expect("nobody panics with it").clone()
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.id.to_string()]).status();
        assert!(status.expect("kill(1) exists").success());
    }

    /// Returns once nothing of it runs any more.
    fn stop(&self) {
        self.signal("-STOP");
        wait_until("every thread has stopped", || {
            let tasks = fs::read_dir(format!("/proc/{}/task", self.id)).expect("it is there");
            tasks.flatten().all(|task| {
                let stat = fs::read_to_string(task.path().join("stat")).expect("it is there");
                stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" T"))
            })
        });
    }

    /// Ends it in good order. Returns what it has said.
    fn end(mut self) -> String {
        self.signal("-TERM");
        let output = ended(self.child.take().expect("ended once"));
        assert!(output.status.success(), "{}", output.status);
        String::from_utf8_lossy(&output.stderr).into_owned()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Keeps the number that each line begins with.
fn collect(lines: BufReader<ChildStdout>, read: Arc<Mutex<Vec<u32>>>) {
    std::thread::spawn(move || {
        for line in lines.lines().map_while(Result::ok) {
            let number = line.split_whitespace().next().expect("a number").parse();
            read.lock().expect("nobody panics with it").push(number.expect("a number"));
        }
    });
}

/// Writes these numbers with so many bytes behind each, each to the partition that its remainder
/// says.
async fn produce(client: &Client, numbers: std::ops::Range<u32>, bytes: usize) {
    let producer = client.producer().build().expect("sound settings");
    for number in numbers {
        let value = format!("{number} {}", "x".repeat(bytes));
        let record = ProducerRecord::new("busy").partition(number % PARTITIONS).value(value);
        drop(producer.send(record).await.expect("it takes records"));
    }
    producer.close().await.expect("all of them are stored");
}

/// A group as it is seen from outside.
struct Watched<'a> {
    client: &'a Client,
    name: &'static str,
    committed: BTreeMap<u32, Offset>,
}

impl<'a> Watched<'a> {
    fn of(client: &'a Client, name: &'static str) -> Self {
        Self { client, name, committed: BTreeMap::new() }
    }

    /// Waits until its members have so many partitions each, and nothing is left for them to read.
    /// Meanwhile no committed offset may go back.
    async fn until(&mut self, shares: &[usize]) {
        let begun = Instant::now();
        let mut looks = interval(PAUSE);
        loop {
            looks.tick().await;
            let group = match self.client.admin().describe_group(self.name).await {
                // Nobody has joined it yet.
                Err(RequestError::Refused(error)) if error.code() == ErrorCode::GroupIdNotFound => {
                    continue;
                }
                described => described.expect("a group"),
            };
            self.follow(&group);
            let has = |member: &GroupMember| {
                member.assignment.iter().map(|topic| topic.partitions.len()).sum::<usize>()
            };
            let is_read = |one: &GroupPartition| {
                one.committed_offset.unwrap_or(Offset::ZERO) == one.high_watermark
            };
            if group.partitions.iter().all(is_read)
                && group.members.iter().map(has).eq(shares.iter().copied())
            {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "not {shares:?} with no lag: {group:?}");
        }
    }

    fn follow(&mut self, group: &GroupDescription) {
        for partition in &group.partitions {
            let Some(offset) = partition.committed_offset else { continue };
            let before = self.committed.insert(partition.partition, offset);
            assert!(before.is_none_or(|before| before <= offset), "{before:?} was committed");
        }
    }
}

/// One is stopped with all that fits on its way to it, another one with nothing to be sent: their
/// partitions go to those who are left, who read everything. Told to go on, they find that they are
/// no members, join again, and take nothing back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_member_gives_way_to_the_others_and_comes_back() {
    let data = data_folder();
    let broker = Broker::start(data.path());
    let client = Client::new(&broker.grpc).expect("an address");
    for name in ["busy", "quiet"] {
        let topic = NewTopic::new(name).partitions(PARTITIONS);
        client.admin().create_topic(topic).await.expect("a new topic");
    }
    let [stopped, other] = [(); 2].map(|()| Follower::of(&broker, "busy"));
    let [silent, heir] = [(); 2].map(|()| Follower::of(&broker, "quiet"));
    let (mut busy, mut quiet) = (Watched::of(&client, "busy"), Watched::of(&client, "quiet"));
    busy.until(&[2, 2]).await;
    quiet.until(&[2, 2]).await;
    produce(&client, 0..40, 0).await;
    busy.until(&[2, 2]).await;
    let before = anonymous_bytes(broker.id());
    [&stopped, &silent].into_iter().for_each(Follower::stop);
    produce(&client, 40..160, LARGE_BYTES).await;
    busy.until(&[4]).await;
    quiet.until(&[4]).await;
    let read: BTreeSet<u32> = other.numbers().into_iter().collect();
    assert!((40..160).all(|number| read.contains(&number)), "{read:?}");
    let held = anonymous_bytes(broker.id()).saturating_sub(before);
    assert!(held < 32 << 20, "{held} bytes are held for members that are gone");
    [&stopped, &silent].into_iter().for_each(|follower| follower.signal("-CONT"));
    busy.until(&[2, 2]).await;
    quiet.until(&[2, 2]).await;
    produce(&client, 160..200, 0).await;
    busy.until(&[2, 2]).await;
    let mut read = [stopped.numbers(), other.numbers()].concat();
    read.retain(|number| *number >= 160);
    read.sort_unstable();
    assert_eq!(read, (160..200).collect::<Vec<_>>(), "each by one of the two");
    for follower in [stopped, silent] {
        let said = follower.end();
        assert!(said.contains("has lost"), "{said}");
    }
    drop([other, heir].map(Follower::end));
}

//! Goal: several consumers of one group read each record at least once and share the work, whoever
//! of them dies, and when the broker does.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Stdio};
use std::time::Duration;

use log_client::{
    AutoCommit, Client, CommitError, GroupConsumer, GroupEvent, NewTopic, ProducerRecord,
    WithoutCommit,
};
use serde_json::Value;
use tokio::time::timeout;

use crate::rig::{ended, good, run, typed, wait_until};
use crate::support::{Broker, Signal, data_folder};

/// How long the next thing may take, a restart of the broker included.
const PATIENCE: Duration = Duration::from_secs(30);

const PARTITIONS: u32 = 4;

/// A broker with a topic `t`.
async fn started(data: &std::path::Path) -> (Broker, Client) {
    let broker = Broker::start(data);
    let client = Client::new(&broker.grpc).expect("an address");
    let topic = NewTopic::new("t").partitions(PARTITIONS);
    client.admin().create_topic(topic).await.expect("a new topic");
    (broker, client)
}

/// Writes these numbers, each to the partition that its remainder says.
async fn produce(client: &Client, numbers: std::ops::Range<u32>) {
    let producer = client.producer().build().expect("sound settings");
    for number in numbers {
        let record = ProducerRecord::new("t").partition(number % PARTITIONS);
        let record = record.value(number.to_string());
        drop(producer.send(record).await.expect("it takes records"));
    }
    producer.close().await.expect("all of them are stored");
}

async fn number(consumer: &mut GroupConsumer) -> u32 {
    let record = timeout(PATIENCE, consumer.next()).await.expect("the records go on");
    let value = record.expect("a consumer goes on").expect("a record").value.expect("a value");
    std::str::from_utf8(&value).expect("text").parse().expect("a number")
}

async fn event(consumer: &mut GroupConsumer) -> GroupEvent {
    let event = timeout(PATIENCE, consumer.next_event()).await.expect("something happens");
    event.expect("a consumer goes on").expect("no error")
}

/// The broker dies between any two records: whoever reads on is still the same member, and misses
/// and repeats nothing, not even what it had not committed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_goes_on_after_the_brokers_death() {
    let data = data_folder();
    let (mut broker, client) = started(data.path()).await;
    let (grpc, http) = (broker.grpc.clone(), broker.http.clone());
    const COUNT: u32 = 400;
    produce(&client, 0..COUNT).await;
    let mut consumer = client
        .join_group("g")
        .topic("t")
        .auto_commit(AutoCommit::Off)
        .credit_bytes(500)
        .build()
        .expect("sound settings");
    let mut next: Vec<u32> = (0..PARTITIONS).collect();
    let mut member = None;
    for count in 0..COUNT {
        let number = number(&mut consumer).await;
        let expected = &mut next[(number % PARTITIONS) as usize];
        assert_eq!(number, *expected, "after {count} records");
        *expected += PARTITIONS;
        let known = consumer.member_id().expect("a member reads").to_owned();
        assert_eq!(*member.get_or_insert(known.clone()), known, "it is the same all along");
        if [COUNT / 4, COUNT / 2].contains(&count) {
            assert!(!broker.end(Signal::Kill), "a killed broker does not end well");
            broker = Broker::restart(data.path(), &grpc, &http);
        }
    }
    consumer.commit().await.expect("it is still a member");
    consumer.close().await.expect("it leaves");
    let committed = client.committed_offsets("g", &["t"]).await.expect("a group");
    let sum: i64 = committed.iter().map(|one| one.offset.get()).sum();
    assert_eq!(sum, i64::from(COUNT));
    let group = client.admin().describe_group("g").await.expect("a group");
    assert_eq!(group.members, [], "who has left is no member");
}

/// What a member has not committed when it dies comes to the other; what it has committed does not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dead_member_had_comes_to_the_other() {
    let data = data_folder();
    let (_broker, client) = started(data.path()).await;
    produce(&client, 0..40).await;
    let manual = || client.join_group("g").topic("t").auto_commit(AutoCommit::Off);
    let mut dying = manual().build().expect("sound settings");
    for _ in 0..20 {
        number(&mut dying).await;
    }
    let ticket = dying.commit_async();
    dying.commit().await.expect("it is a member");
    ticket.await.expect("it was sent before the other one");
    let committed = dying.positions();
    for _ in 0..20 {
        number(&mut dying).await;
    }
    drop(dying);
    let mut heir = manual().build().expect("sound settings");
    let mut expected: Vec<u32> = Vec::new();
    for position in &committed {
        let first = position.offset.get() as u32;
        expected.extend((first..10).map(|offset| offset * PARTITIONS + position.partition));
    }
    assert_eq!(expected.len(), 20);
    let mut read = Vec::new();
    for _ in 0..20 {
        read.push(number(&mut heir).await);
    }
    read.sort_unstable();
    expected.sort_unstable();
    assert_eq!(read, expected);
}

/// With commits of its own making, a member that gives a partition up repeats nothing of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handover_in_good_order_repeats_nothing() {
    let data = data_folder();
    let (_broker, client) = started(data.path()).await;
    produce(&client, 0..400).await;
    // So that it commits when it gives something up, and not before.
    let rarely = AutoCommit::Every(Duration::from_secs(3600));
    let build = || client.join_group("g").topic("t").auto_commit(rarely).credit_bytes(300).build();
    let mut one = build().expect("sound settings");
    let mut times = BTreeMap::<u32, u32>::new();
    for _ in 0..100 {
        *times.entry(number(&mut one).await).or_default() += 1;
    }
    let mut other = build().expect("sound settings");
    // Each reads while the other one waits for it, or is idle because it has everything.
    while times.len() < 400 {
        let number = tokio::select! {
            number = number(&mut one) => number,
            number = number(&mut other) => number,
        };
        *times.entry(number).or_default() += 1;
    }
    // The one may have read everything before the other was given anything.
    while other.assignment().is_empty() {
        let event = tokio::select! {
            event = event(&mut one) => event,
            event = event(&mut other) => event,
        };
        if let GroupEvent::Records(batch) = event {
            assert_eq!(batch.into_iter().count(), 0, "everything was read before");
        }
    }
    assert!(times.values().all(|times| *times == 1), "{times:?}");
    assert_eq!(one.assignment().len() + other.assignment().len(), 2, "both have some of it");
    one.close().await.expect("it commits and leaves");
    other.close().await.expect("it commits and leaves");
    let lag = client.admin().describe_group("g").await.expect("a group").partitions;
    assert!(lag.iter().all(|one| one.lag == Some(0)), "{lag:?}");
}

/// An application that takes longer than it said finds its partitions lost, and goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_takes_too_long_has_lost_its_partitions_and_joins_again() {
    let data = data_folder();
    let (_broker, client) = started(data.path()).await;
    produce(&client, 0..40).await;
    let slow = client.join_group("g").topic("t").auto_commit(AutoCommit::Off);
    let mut slow = slow.rebalance_timeout(Duration::from_millis(100)).build().expect("sound");
    number(&mut slow).await;
    let mut other = client.join_group("g").topic("t").build().expect("sound settings");
    // It is busy with its record, and the other one is given everything.
    for _ in 0..40 {
        number(&mut other).await;
    }
    let error = slow.commit().await.expect_err("it is no member any more");
    assert!(matches!(error, CommitError::Lost { .. }), "{error}");
    assert!(!error.is_retriable() && error.to_string().contains("group g"), "{error}");
    // From now on the other one is there to give something up.
    let other = tokio::spawn(async move { while other.next().await.is_some() {} });
    let mut lost = 0;
    let given = loop {
        match event(&mut slow).await {
            GroupEvent::Lost(partitions) => lost += partitions[0].partitions.len(),
            GroupEvent::Assigned(given) => break given.len(),
            // Said before it was too late, and not heard then.
            GroupEvent::Revoking(_) => {}
            GroupEvent::Records(_) | GroupEvent::CaughtUp { .. } => {}
        }
    };
    assert_eq!((lost, given), (PARTITIONS as usize, PARTITIONS as usize / 2));
    other.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_will_not_start_anywhere_says_what_to_do() {
    let data = data_folder();
    let (_broker, client) = started(data.path()).await;
    let picky = client.join_group("g").topic("t").without_commit(WithoutCommit::Refuse);
    let mut picky = picky.build().expect("sound settings");
    let error = timeout(PATIENCE, picky.next()).await.expect("an answer").expect("a word");
    let error = error.expect_err("nothing is committed").to_string();
    assert!(error.contains("t-") && error.contains("commit one"), "{error}");
}

/// `cairn consume` as a member of a group, and what it writes.
pub(crate) fn follow(broker: &Broker, topic: &str, group: &str) -> (Child, BufReader<ChildStdout>) {
    let words = ["consume", topic, "--group", group, "--follow", "--verbose"];
    let mut child = typed(broker, &words);
    let child = child.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.expect("the binary under test starts");
    let stdout = BufReader::new(child.stdout.take().expect("piped"));
    (child, stdout)
}

fn members(broker: &Broker) -> Vec<Value> {
    let shown = run(broker, &["group", "describe", "g", "--json"], b"");
    if !shown.status.success() {
        // Nobody has joined it yet.
        return Vec::new();
    }
    let shown: Value = serde_json::from_slice(&shown.stdout).expect("JSON");
    shown["members"].as_array().expect("a list").clone()
}

/// On a terminal each: two processes share, one is killed, the other takes everything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_share_a_group_until_one_is_killed() {
    let data = data_folder();
    let (broker, client) = started(data.path()).await;
    let (one, mut of_one) = follow(&broker, "t", "g");
    let (mut other, mut of_other) = follow(&broker, "t", "g");
    let partitions =
        |member: &Value| member["assignment"][0]["partitions"].as_array().map(Vec::len);
    wait_until("both have their share", || {
        let members = members(&broker);
        members.len() == 2 && members.iter().all(|one| partitions(one) == Some(2))
    });
    assert_eq!(members(&broker)[0]["client_id"], "cairn-consume");
    produce(&client, 0..4).await;
    let line = |lines: &mut BufReader<ChildStdout>| {
        let mut line = String::new();
        lines.read_line(&mut line).expect("it writes");
        line.trim_end().parse::<u32>().expect("a number")
    };
    let mut shown =
        [line(&mut of_one), line(&mut of_one), line(&mut of_other), line(&mut of_other)];
    shown.sort_unstable();
    assert_eq!(shown, [0, 1, 2, 3]);
    other.kill().expect("it runs");
    assert!(!ended(other).status.success());
    wait_until("the other one has everything", || {
        let members = members(&broker);
        members.len() == 1 && partitions(&members[0]) == Some(4)
    });
    produce(&client, 4..8).await;
    // What the dead one had written and not committed comes again.
    let mut shown = std::collections::BTreeSet::new();
    while !(4..8).all(|number| shown.contains(&number)) {
        shown.insert(line(&mut of_one));
    }
    let status = std::process::Command::new("kill").args(["-TERM", &one.id().to_string()]).status();
    assert!(status.expect("kill(1) exists").success());
    let output = ended(one);
    assert!(output.status.success(), "{}", output.status);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("cairn-consume-") && said.contains("reads t "), "{said}");
    assert!(members(&broker).is_empty(), "who ends has left");
    let rest = good(run(&broker, &["consume", "t", "--group", "g"], b""));
    assert!(rest.is_empty(), "what was seen was committed: {}", String::from_utf8_lossy(&rest));
}

/// Without --follow, everybody ends once all of it was read by somebody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_end_together_when_the_group_has_read_everything() {
    let data = data_folder();
    let (broker, client) = started(data.path()).await;
    produce(&client, 0..2000).await;
    let start = || {
        let mut child = typed(&broker, &["consume", "t", "--group", "g"]);
        child.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        child.spawn().expect("the binary under test starts")
    };
    // More of them than partitions.
    let children: Vec<_> = (0..6).map(|_| start()).collect();
    let mut shown = Vec::new();
    for child in children {
        let text = String::from_utf8(good(ended(child))).expect("text");
        shown.extend(text.lines().map(|line| line.parse::<u32>().expect("a number")));
    }
    shown.sort_unstable();
    assert_eq!(shown, (0..2000).collect::<Vec<_>>(), "each once: nobody has died");
    assert!(members(&broker).is_empty());
}

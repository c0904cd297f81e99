//! Hours of mixed load on the real broker, with restarts and kills, in a bounded memory.
//!
//! Producers write chains of records at a set rate; fast readers, slow ones and groups hold every
//! record that they read against its chain. Segments roll and are deleted all the while. The run
//! is divided into four cycles: a stormy third, in which the broker is stopped or killed every few
//! seconds, and a calm rest, in which one process must not grow.
//!
//! What must hold at the end: every acknowledged record was read once, at its offset, in order,
//! unchanged, unless retention had taken it; the broker never took more anonymous memory than it
//! may; and memory, descriptors, mappings and disk are flat, over the run and over the longest
//! life. `SOAK_SECONDS`, `SOAK_SEED`, `SOAK_BYTES_PER_SECOND` and `TESTED_CAIRN` make the long run;
//! flatness is judged in runs of ten minutes or more.
#![allow(clippy::print_stdout, reason = "a long run leaves its samples and its counts")]

#[path = "../support/mod.rs"]
mod support;

mod chain;
mod producing;
mod reading;
mod topics;
mod watching;

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use log_client::Client;
use producing::{Load, Meetings, Written};
use reading::{Ends, Reader, Tally};
use support::{Broker, Random, Signal, data_folder, serve, setting};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use topics::TOPICS;
use watching::{ANONYMOUS_KIB_MAX, Folder, Sample};

const CYCLES: u32 = 4;
/// Short runs have fewer cycles.
const CYCLE_SECONDS_MIN: u64 = 12;
/// Below this, warming up is most of the run.
const JUDGED: Duration = Duration::from_secs(600);
/// Between two looks at everything; at the memory it is a second.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(10);

/// How the broker lives, and how it ends.
#[derive(Clone, Copy, Debug)]
struct Life {
    seconds: u64,
    end: Signal,
}

/// All lives of a run but the last, which ends with the load.
fn plan(seconds: u64, random: &mut Random) -> Vec<Life> {
    let cycle = (seconds / u64::from(CYCLES)).max(CYCLE_SECONDS_MIN);
    let (mut lives, mut left) = (Vec::new(), seconds);
    while left > 0 {
        let calm_from = left.saturating_sub(cycle / 3);
        let calm_to = left.saturating_sub(cycle);
        while left > calm_from {
            let seconds = (1 + random.below((cycle / 60).clamp(2, 20))).min(left - calm_from);
            lives.push(Life { seconds, end: ending(random) });
            left -= seconds;
        }
        lives.push(Life { seconds: left - calm_to, end: ending(random) });
        left = calm_to;
    }
    lives
}

fn ending(random: &mut Random) -> Signal {
    if random.below(2) == 0 { Signal::Kill } else { Signal::Term }
}

/// A broker in the memory that it may take. The kernel's limit counts what could be written to,
/// the stacks of all threads in their full size among it, so that it holds for what is written to
/// as well.
fn launch(data: &Path, grpc: &str, http: &str) -> Broker {
    let unlimited = serve(data, grpc, http);
    let mut command = Command::new("prlimit");
    command.arg(format!("--data={}", ANONYMOUS_KIB_MAX << 10));
    command.arg(unlimited.get_program()).args(unlimited.get_args());
    command.env("CAIRN_LOG_RETENTION_CHECK_INTERVAL_MS", "2000").env("CAIRN_LOG", "warn");
    Broker::launch(command)
}

/// A port below those that the system gives to clients: one of them could have it while the broker
/// is away.
fn free_port(random: &mut Random) -> String {
    loop {
        let address = format!("127.0.0.1:{}", 20_000 + random.below(10_000));
        if std::net::TcpListener::bind(&address).is_ok() {
            return address;
        }
    }
}

/// What has happened to the broker, and what was seen of it.
struct Watch<'a> {
    data: &'a Path,
    begun: Instant,
    folder: Folder,
    samples: Vec<Sample>,
    anonymous_kib_max: u64,
    life: u32,
    life_begun: Instant,
    kills: u32,
    stops: u32,
    start_max: Duration,
    cpu: Duration,
    load: Arc<Load>,
    tally: Arc<Tally>,
}

impl<'a> Watch<'a> {
    fn new(data: &'a Path, load: &Arc<Load>, tally: &Arc<Tally>) -> Self {
        Self {
            data,
            begun: Instant::now(),
            folder: Folder::default(),
            samples: Vec::new(),
            anonymous_kib_max: 0,
            life: 0,
            life_begun: Instant::now(),
            kills: 0,
            stops: 0,
            start_max: Duration::ZERO,
            cpu: Duration::ZERO,
            load: Arc::clone(load),
            tally: Arc::clone(tally),
        }
    }

    fn launch(&mut self, grpc: &str, http: &str) -> Broker {
        let begun = Instant::now();
        let broker = launch(self.data, grpc, http);
        self.start_max = self.start_max.max(begun.elapsed());
        (self.life, self.life_begun) = (self.life + 1, Instant::now());
        broker
    }

    fn end(&mut self, broker: Broker, signal: Signal) {
        self.cpu += watching::cpu(broker.id());
        broker.signal(signal);
        let ended = broker.wait();
        assert!(!ended.said.contains("ERROR"), "{}", ended.said);
        match signal {
            Signal::Kill => self.kills += 1,
            Signal::Term | Signal::Int => {
                assert!(ended.status.success(), "{}: {}", ended.status, ended.said);
                self.stops += 1;
            }
        }
    }

    fn look_at_memory(&mut self, broker: &Broker) {
        let kib = watching::status(broker.id(), "RssAnon");
        self.anonymous_kib_max = self.anonymous_kib_max.max(kib);
        let most = ANONYMOUS_KIB_MAX;
        assert!(kib <= most, "{kib} KiB of anonymous memory in life {}, not {most}", self.life);
    }

    fn look(&mut self, broker: &Broker) {
        let (process, contents) = (broker.id(), self.folder.look(self.data));
        let sample = Sample {
            at: self.begun.elapsed(),
            age: self.life_begun.elapsed(),
            life: self.life,
            anonymous_kib: watching::status(process, "RssAnon"),
            data_kib: watching::status(process, "VmData"),
            resident_kib: watching::status(process, "VmRSS"),
            descriptors: watching::descriptors(process),
            maps: watching::maps(process),
            threads: watching::status(process, "Threads"),
            cpu: watching::cpu(process),
            disk_kib: contents.kib,
            files: contents.files,
            acknowledged: self.load.acknowledged.load(Ordering::Relaxed),
            read: self.tally.records.load(Ordering::Relaxed),
        };
        println!("{sample}");
        self.samples.push(sample);
    }

    /// One life, up to its end. Whoever works meanwhile must not end.
    async fn live(&mut self, broker: Broker, life: Life, workers: &mut Workers) {
        // By the clock: on a busy machine a look takes its time as well.
        let mut seconds = tokio::time::interval(Duration::from_secs(1));
        seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut look_at = SAMPLE_INTERVAL;
        while self.life_begun.elapsed() < Duration::from_secs(life.seconds) {
            seconds.tick().await;
            self.look_at_memory(&broker);
            self.folder.look(self.data);
            if self.life_begun.elapsed() >= look_at {
                self.look(&broker);
                look_at += SAMPLE_INTERVAL;
            }
            workers.assert_at_work();
        }
        self.end(broker, life.end);
    }

    /// Says what has happened, and asserts that it is enough of everything and not too much.
    fn judge(mut self, lasted: Duration) {
        let contents = self.folder.look(self.data);
        let (segments, deleted) = self.folder.seen_and_deleted(&contents);
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let partitions: u32 = TOPICS.iter().map(|topic| topic.partitions).sum();
        let faults = [
            ("kills", u64::from(self.kills)),
            ("clean stops", u64::from(self.stops)),
            ("rolls", segments.saturating_sub(partitions.into())),
            ("segments deleted", deleted),
            ("readers overtaken by retention", count(&self.tally.overtaken)),
            ("commits of groups", count(&self.tally.commits)),
            ("records acknowledged", count(&self.load.acknowledged)),
            ("records read", count(&self.tally.records)),
            ("bytes read", count(&self.tally.bytes)),
        ];
        println!("\nafter {lasted:?} of load:");
        for (what, count) in faults {
            println!("  {what}: {count}");
        }
        let missed = count(&self.load.meetings.missed);
        println!("  records that the fast readers missed for retention: {missed}");
        println!("  longest start: {:?}; processor time: {:?}", self.start_max, self.cpu);
        let most = self.anonymous_kib_max;
        println!("  anonymous memory: at most {most} KiB of {ANONYMOUS_KIB_MAX} KiB");
        for (what, count) in faults {
            // A short run on a busy machine may see none of what its load brings about.
            let may_be_none = lasted < JUDGED && LOAD_BRINGS.contains(&what);
            assert!(count > 0 || may_be_none, "no {what}: this run has shown nothing");
        }
        if lasted >= JUDGED {
            self.judge_flatness();
        }
        println!("verdict: every chain is whole");
    }

    fn judge_flatness(&self) {
        let over_all = watching::flatness(&self.samples);
        let in_one_life = watching::flatness(&self.longest_life());
        for (name, (said, flat)) in [("run", over_all), ("longest life", in_one_life)] {
            println!("second and last quarter of the {name}, medians:\n{said}");
            assert!(flat, "not flat over the {name}");
        }
    }

    fn longest_life(&self) -> Vec<Sample> {
        let oldest = self.samples.iter().max_by_key(|sample| sample.age).expect("samples");
        self.samples.iter().filter(|sample| sample.life == oldest.life).copied().collect()
    }
}

/// Everybody who has something to do with the broker.
struct Workers {
    producers: JoinSet<Written>,
    /// Those that read every record.
    along: JoinSet<Reader>,
    others: JoinSet<Reader>,
    ending: watch::Sender<Option<Ends>>,
}

impl Workers {
    async fn start(load: &Arc<Load>, tally: &Arc<Tally>, seed: u64) -> Self {
        let (ending, end) = watch::channel(None);
        let (mut along, mut others) = (JoinSet::new(), JoinSet::new());
        let client = Client::new(&load.address).expect("an address");
        for topic in 0..TOPICS.len() {
            let reader = || Reader::new(client.clone(), topic, tally);
            let random = |kind: u64| Random::new((seed + 1) * 1000 + kind * 100 + topic as u64);
            along.spawn(reader().await.read_along(Arc::clone(load), end.clone()));
            others.spawn(reader().await.dawdle(random(1), end.clone()));
            others.spawn(reader().await.commit_now_and_then(random(2), end.clone()));
        }
        let producers = producing::all(load, seed).collect();
        Self { producers, along, others, ending }
    }

    fn assert_at_work(&mut self) {
        let producers = self.producers.try_join_next().map(|ended| ended.map(drop));
        let along = self.along.try_join_next().map(|ended| ended.map(drop));
        let others = self.others.try_join_next().map(|ended| ended.map(drop));
        if let Some(ended) = producers.or(along).or(others) {
            ended.expect("no assertion failed");
            panic!("a worker has ended by itself");
        }
    }

    /// Ends the load, and waits until all of it was read along. Returns what was written, and
    /// where each partition ends.
    async fn finish(self, load: &Load) -> (Written, Ends) {
        load.stop.store(true, Ordering::Relaxed);
        let written: Written = self.producers.join_all().await.into_iter().flatten().collect();
        let client = Client::new(&load.address).expect("an address");
        let mut ends = HashMap::new();
        for topic in 0..TOPICS.len() {
            for partition in topics::describe(&client, topic).await.partitions {
                ends.insert((topic, partition.partition), partition.log_end_offset.get());
            }
        }
        let ends = Arc::new(ends);
        self.ending.send_replace(Some(Arc::clone(&ends)));
        for reader in self.along.join_all().await {
            reader.assert_complete(&written);
        }
        assert_eq!(load.meetings.unmet(), 0, "acknowledged and not read, or the other way round");
        self.others.join_all().await;
        (written, ends)
    }
}

const LOAD_BRINGS: [&str; 3] = ["rolls", "segments deleted", "readers overtaken by retention"];
/// Everything that retention has left is read once more by somebody who has read nothing.
async fn read_again(load: &Load, tally: &Arc<Tally>, written: &Written, ends: &Ends) {
    let client = Client::new(&load.address).expect("an address");
    for topic in 0..TOPICS.len() {
        let reader = Reader::new(client.clone(), topic, tally).await;
        reader.read_all(ends).await.assert_complete(written);
    }
}

fn commit() -> String {
    let git = Command::new("git").args(["rev-parse", "--short", "HEAD"]).output();
    git.map_or_else(|_| "unknown".into(), |git| String::from_utf8_lossy(&git.stdout).trim().into())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hours_of_mixed_load_leave_every_chain_whole_and_every_curve_flat() {
    let seconds = setting("SOAK_SECONDS", 15);
    let seed = setting("SOAK_SEED", 0x50a4);
    let bytes_per_second = setting("SOAK_BYTES_PER_SECOND", 4_000_000);
    println!("commit {}, seed {seed}, {seconds} s, {bytes_per_second} bytes/s", commit());
    let mut random = Random::new(seed);
    let data = data_folder();
    let (grpc, http) = (free_port(&mut random), free_port(&mut random));
    let load = Arc::new(Load {
        address: grpc.clone(),
        bytes_per_second,
        stop: AtomicBool::new(false),
        acknowledged: AtomicU64::new(0),
        meetings: Meetings::default(),
    });
    let tally = Arc::new(Tally::default());
    let mut watch = Watch::new(data.path(), &load, &tally);
    let mut broker = watch.launch(&grpc, &http);
    topics::create(&Client::new(&grpc).expect("an address")).await;
    let mut workers = Workers::start(&load, &tally, seed).await;
    println!("{}", watching::TABLE_HEAD);
    for life in plan(seconds, &mut random) {
        watch.live(broker, life, &mut workers).await;
        broker = watch.launch(&grpc, &http);
    }
    let lasted = watch.begun.elapsed();
    let (written, ends) = workers.finish(&load).await;
    watch.end(broker, Signal::Term);
    let broker = watch.launch(&grpc, &http);
    read_again(&load, &tally, &written, &ends).await;
    watch.look(&broker);
    watch.end(broker, Signal::Term);
    watch.judge(lasted);
}

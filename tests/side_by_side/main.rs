//! Cairn beside Apache Kafka: the same requests to both, valid and invalid, over every API and every
//! version; the answers are equal field by field, but for the exceptions that are listed with their
//! reasons in [`exceptions`].
//!
//! Kafka's answers lie in `recorded/`, as text. Without Kafka, Cairn is compared with them. With
//! `KAFKA_JARS=folder` each scenario is also played to a Kafka of those jars, and what it answers
//! must be what is recorded; `KAFKA_RECORD=1` records it anew instead.
//! `tests/side_by_side/with-kafka` fetches the jars and does either.
#![allow(clippy::print_stdout, reason = "a comparison says how much it has compared")]

#[path = "../support/mod.rs"]
mod support;

mod answers;
mod exceptions;
mod kafka;
mod recording;
mod run;
mod scenarios;
mod tree;
mod wire;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use answers::{Answers, Step};
use exceptions::{EXCEPTIONS, Exception};
use kafka::Kafka;
use run::Run;
use support::{Broker, data_folder};

/// What both brokers wait for more members of a new group.
const REBALANCE_DELAY_MS: &str = "100";

macro_rules! scenarios {
    ($($name:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                check(stringify!($name), scenarios::$name::play);
            }
        )*

        /// Every scenario, by name.
        const SCENARIOS: &[&str] = &[$(stringify!($name)),*];
    };
}

scenarios!(
    classic_groups,
    cluster,
    configs,
    consumer_groups,
    fetching,
    malformed,
    offsets,
    places,
    producing,
    topics,
);

/// Plays a scenario to Cairn, to Kafka where it is at hand, and compares.
fn check(name: &str, play: fn(&mut Run)) {
    let recording = recorded(name);
    if let Some(jars) = kafka::jars() {
        hear_kafka(&jars, &recording, play);
    }
    let kafka = read(&recording);
    let differences = differences(&kafka, &ask_cairn(play));
    let meant = Meant::of(name);
    let other: Vec<_> = differences.iter().filter(|one| !meant.covers(one)).collect();
    let others = told(&other);
    let count = others.len();
    assert!(others.is_empty(), "{count} answers differ from Kafka's:\n{}", others.join("\n"));
    meant.assert_used();
    println!("{name}: {}", extent(&kafka));
    meant.print();
}

/// How much was asked and compared.
fn extent(answers: &Answers) -> String {
    let steps = answers.steps.values();
    let values: usize = steps.clone().flat_map(|values| values.values()).map(BTreeMap::len).sum();
    let answered: usize = steps.map(|values| recording::rounds(values).len()).sum();
    format!("{} steps, {answered} answers, {values} values", answers.steps.len())
}

/// The exceptions of a scenario, and how many values each of their fields has covered.
struct Meant {
    exceptions: Vec<&'static Exception>,
    used: RefCell<BTreeMap<(usize, usize), usize>>,
}

impl Meant {
    fn of(scenario: &str) -> Self {
        let is_here = |exception: &&Exception| ["*", scenario].contains(&exception.scenario);
        let exceptions = EXCEPTIONS.iter().filter(is_here);
        Self { exceptions: exceptions.collect(), used: RefCell::default() }
    }

    fn covers(&self, difference: &Difference) -> bool {
        let Difference { step, path, round, cairn, .. } = difference;
        let place = (step.api.as_str(), step.name.as_str(), path.as_str());
        let mut exceptions = self.exceptions.iter().enumerate();
        let found = exceptions.find_map(|(number, exception)| {
            Some((number, exception.field(place, *round, cairn.as_deref())?))
        });
        let Some(place) = found else { return false };
        *self.used.borrow_mut().entry(place).or_default() += 1;
        true
    }

    fn print(&self) {
        let used = self.used.borrow();
        for (number, Exception { api, step, reason, .. }) in self.exceptions.iter().enumerate() {
            let fields = used.iter().filter(|((exception, _), _)| *exception == number);
            let values: usize = fields.map(|(_, values)| values).sum();
            if values > 0 {
                println!("  {values} values of {api}, {step}: {reason}");
            }
        }
    }

    /// An exception that covers nothing any more is a promise that nobody keeps.
    fn assert_used(&self) {
        let exceptions = self.exceptions.iter().enumerate();
        for (number, exception) in exceptions.filter(|(_, one)| one.scenario != "*") {
            for (field, (path, _)) in exception.fields.iter().enumerate() {
                let Exception { api, step, reason, .. } = exception;
                let is_used = self.used.borrow().contains_key(&(number, field));
                assert!(is_used, "{api}, {step}, {path} needs no exception any more: {reason}");
            }
        }
    }
}

/// Kafka is asked by one scenario at a time: it is not small.
static ALONE: Mutex<()> = Mutex::new(());

fn hear_kafka(jars: &Path, recording: &Path, play: fn(&mut Run)) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let title = format!("What Apache Kafka {} answers.", kafka::version(jars));
    let kafka = Kafka::start(jars, data_folder());
    let mut run = Run::on(&kafka.address);
    play(&mut run);
    let heard = run.finish();
    let text = recording::written(&heard, &title);
    if std::env::var_os("KAFKA_RECORD").is_some() {
        std::fs::write(recording, text).expect("a folder of ours");
        return;
    }
    let mut changed = told(&differences(&read(recording), &heard).iter().collect::<Vec<_>>());
    changed.iter_mut().for_each(|line| *line = line.replace("Cairn", "now"));
    assert!(changed.is_empty(), "Kafka itself answers otherwise:\n{}", changed.join("\n"));
}

fn ask_cairn(play: fn(&mut Run)) -> Answers {
    let data = data_folder();
    let delay = format!("group.initial.rebalance.delay.ms={REBALANCE_DELAY_MS}");
    let broker = Broker::start_with(data.path(), &["--set", &delay]);
    let mut run = Run::on(&broker.kafka);
    play(&mut run);
    run.finish()
}

fn recorded(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/side_by_side/recorded");
    folder.join(format!("{name}.txt"))
}

fn read(recording: &Path) -> Answers {
    let text = std::fs::read_to_string(recording);
    recording::read(&text.unwrap_or_else(|error| panic!("{}: {error}", recording.display())))
}

/// A value that two brokers disagree about, or that one of them does not have.
struct Difference {
    step: Step,
    path: String,
    round: i16,
    kafka: Option<String>,
    cairn: Option<String>,
}

fn differences(kafka: &Answers, cairn: &Answers) -> Vec<Difference> {
    let steps: BTreeSet<&Step> = kafka.steps.keys().chain(cairn.steps.keys()).collect();
    let places = steps.into_iter().flat_map(|step| {
        let sides = [kafka, cairn].map(|side| side.steps.get(step));
        let values = sides.into_iter().flatten().flatten();
        let places = values.flat_map(|(path, rounds)| rounds.keys().map(move |at| (path, *at)));
        places.collect::<BTreeSet<_>>().into_iter().map(move |place| (step, place))
    });
    let differences = places.filter_map(|(step, (path, round))| {
        let value = |side: &Answers| side.steps.get(step)?.get(path)?.get(&round).cloned();
        let (kafka, cairn) = (value(kafka), value(cairn));
        let (step, path) = (step.clone(), path.clone());
        (kafka != cairn).then_some(Difference { step, path, round, kafka, cairn })
    });
    differences.collect()
}

/// A line for each place where all rounds differ in the same way. A list item that one of them does
/// not have is told once, not field by field.
fn told(differences: &[&Difference]) -> Vec<String> {
    let mut lines: BTreeMap<_, BTreeSet<i16>> = BTreeMap::new();
    for Difference { step, path, round, kafka, cairn } in differences {
        let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
        let item = path.rfind(']').filter(|_| kafka.is_none() || cairn.is_none());
        let line = match item {
            Some(end) if cairn.is_none() => format!("{}: Kafka alone has it", &path[..=end]),
            Some(end) => format!("{}: Cairn alone has it", &path[..=end]),
            None => format!("{path}: Kafka {}, Cairn {}", shown(kafka), shown(cairn)),
        };
        lines.entry((step, line)).or_default().insert(*round);
    }
    let lines = lines.into_iter().map(|((step, line), rounds)| {
        format!("  {} [{}] {}: {line}", step.api, recording::ranges(&rounds), step.name)
    });
    lines.collect()
}

/// A recording without its scenario would say nothing.
#[test]
fn no_recording_is_left_over() {
    let folder = recorded("x");
    let folder = folder.parent().expect("a folder").read_dir().expect("it is there");
    for entry in folder.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let scenario = name.trim_end_matches(".txt");
        assert!(SCENARIOS.contains(&scenario), "{name} records no scenario");
    }
}

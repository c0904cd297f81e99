//! Answers as text that people read and diffs compare, and back.
//!
//! ```text
//! == a topic that is not there (Metadata)
//! topics[missing].error_code  UNKNOWN_TOPIC_OR_PARTITION
//! [0-9] cluster_id            null
//! ```
//!
//! A value that is the same in all rounds of its step stands once, without the rounds.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crate::answers::{Answers, Step, Values};

/// The text of a recording.
pub(crate) fn written(answers: &Answers, title: &str) -> String {
    let mut text = format!("{title}\n");
    for (step, values) in &answers.steps {
        let all = rounds(values);
        writeln!(text, "\n== {} ({}) [{}]", step.name, step.api, ranges(&all)).expect("memory");
        for (path, by_round) in values {
            for (value, rounds) in by_value(by_round) {
                let prefix = match rounds == all {
                    true => String::new(),
                    false => format!("[{}] ", ranges(&rounds)),
                };
                writeln!(text, "{prefix}{path}  {value}").expect("memory");
            }
        }
    }
    text
}

/// The recording that a text holds.
pub(crate) fn read(text: &str) -> Answers {
    let mut answers = Answers::default();
    let mut blocks = text.split("\n== ");
    blocks.next();
    for (number, block) in blocks.enumerate() {
        let (head, lines) = block.split_once('\n').expect("a step has values");
        let (name, rest) = head.rsplit_once(" (").expect("a step names its API");
        let (api, all) = rest.split_once(") [").expect("a step names its rounds");
        let all = numbers(all.trim_end_matches(']'));
        let step = Step { number, name: name.to_owned(), api: api.to_owned() };
        let values: &mut Values = answers.steps.entry(step).or_default();
        for line in lines.lines().filter(|line| !line.is_empty()) {
            let (rounds, line) = match line.strip_prefix('[').and_then(|l| l.split_once("] ")) {
                Some((rounds, line)) => (numbers(rounds), line),
                None => (all.clone(), line),
            };
            let (path, value) = line.split_once("  ").expect("a path and a value");
            let by_round = values.entry(path.to_owned()).or_default();
            by_round.extend(rounds.iter().map(|round| (*round, value.to_owned())));
        }
    }
    answers
}

/// The rounds in which a step was answered.
pub(crate) fn rounds(values: &Values) -> BTreeSet<i16> {
    values.values().flat_map(|by_round| by_round.keys().copied()).collect()
}

fn by_value(by_round: &BTreeMap<i16, String>) -> BTreeMap<&str, BTreeSet<i16>> {
    let mut values: BTreeMap<&str, BTreeSet<i16>> = BTreeMap::new();
    for (round, value) in by_round {
        values.entry(value).or_default().insert(*round);
    }
    values
}

/// `0-3,5` for 0, 1, 2, 3 and 5.
pub(crate) fn ranges(rounds: &BTreeSet<i16>) -> String {
    let mut ranges: Vec<(i16, i16)> = Vec::new();
    for round in rounds {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == *round => *last = *round,
            _ => ranges.push((*round, *round)),
        }
    }
    let shown = ranges.iter().map(|(first, last)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    });
    shown.collect::<Vec<_>>().join(",")
}

fn numbers(ranges: &str) -> BTreeSet<i16> {
    let number = |text: &str| text.parse::<i16>().expect("a round is a number");
    let range = |range: &str| match range.split_once('-') {
        Some((first, last)) => number(first)..=number(last),
        None => number(range)..=number(range),
    };
    ranges.split(',').flat_map(range).collect()
}

#[test]
fn what_is_written_is_read_again() {
    let mut answers = Answers::default();
    let value = |text: &str| vec![("a.b[c d]".to_owned(), text.to_owned())];
    for round in [0, 1, 2, 5] {
        answers.keep("one", "Fetch", round, value(if round == 2 { "\"x  y\"" } else { "null" }));
    }
    answers.keep("two (of them)", "Fetch", 3, value("[]"));
    assert_eq!(read(&written(&answers, "A title.")), answers);
    assert!(written(&answers, "").contains("\n[0-1,5] a.b[c d]  null\n"));
}

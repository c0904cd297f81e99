//! What a broker has answered, as values that can be compared: one for each step, round and path.
//!
//! The rule: what is the same in two sound brokers is kept as it came. What cannot be (an id that
//! is drawn at random, a time, a port) gets a name, and [`PLACEHOLDERS`] says why. List items go by
//! what they are called rather than by their place: Kafka lists in the order of its hash tables.

use std::collections::BTreeMap;

use bytes::Bytes;
use log_proto::kafka::ErrorCode;
use log_proto::record::{BatchHeader, batches};

use crate::tree::Tree;

/// What answers are kept by: a step of a scenario, which API it asks, and the round it is in, which
/// is the version of the API that the scenario is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Step {
    pub(crate) number: usize,
    pub(crate) name: String,
    pub(crate) api: String,
}

/// The values of one step: by path, then by round.
pub(crate) type Values = BTreeMap<String, BTreeMap<i16, String>>;

/// All answers of a scenario.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Answers {
    pub(crate) steps: BTreeMap<Step, Values>,
}

impl Answers {
    /// Keeps the values of one answer.
    pub(crate) fn keep(
        &mut self,
        name: &str,
        api: &str,
        round: i16,
        values: Vec<(String, String)>,
    ) {
        let kept = self.steps.keys().find(|step| step.name == name && step.api == api).cloned();
        let step = kept.unwrap_or_else(|| {
            let number = self.steps.len();
            Step { number, name: name.to_owned(), api: api.to_owned() }
        });
        let step = self.steps.entry(step).or_default();
        for (path, value) in values {
            let before = step.entry(path.clone()).or_default().insert(round, value);
            assert!(before.is_none(), "{name} has {path} of round {round} already");
        }
    }
}

/// Fields whose value differs from run to run: what is kept in their place, and why.
const PLACEHOLDERS: &[(&str, &str, &str)] = &[
    ("cluster_id", "<cluster>", "each installation draws its own"),
    ("port", "<port>", "whichever was free"),
    ("log_append_time_ms", "<time>", "the broker's clock"),
    ("error_message", "<text>", "each broker has its own words; clients go by the code"),
    ("batch_index_error_message", "<text>", "the same"),
    ("documentation", "<text>", "the same"),
    ("log_dir", "<folder>", "wherever the data lies"),
    ("total_bytes", "<bytes>", "the machine's disk"),
    ("usable_bytes", "<bytes>", "the machine's disk"),
    ("topic_id", "<id>", "drawn at random; where the topic's name is known it stands here"),
    ("producer_id", "<producer>", "each broker counts its own; named in the order of their coming"),
    ("session_id", "<session>", "drawn at random"),
    ("member_id", "<member>", "drawn at random where the broker draws it"),
    ("leader", "<member>", "a member's id"),
    ("finalized_features_epoch", "<epoch>", "how often a controller has written anything"),
];

/// Fields that hold one and the same kind of random value, whose values are told apart by number.
fn series(field: &str) -> Option<&'static str> {
    match field {
        "producer_id" => Some("producer"),
        "session_id" => Some("session"),
        "member_id" | "leader" => Some("member"),
        _ => None,
    }
}

/// What a field says where it says nothing.
const NOTHING: &[&str] = &["null", "-1", "0", "\"\"", "AAAAAAAAAAAAAAAAAAAAAA"];

/// Fields that say what a list item is, the best first.
const NAMES: &[&str] = &[
    "name",
    "topic",
    "topic_name",
    "topic_id",
    "partition_index",
    "partition",
    "index",
    "api_key",
    "group_id",
    "key",
    "resource_name",
    "member_id",
    "broker_id",
    "node_id",
    "log_dir",
    "producer_id",
];

/// Gives what is random a name of its own, the same for each broker that is asked the same.
#[derive(Default)]
pub(crate) struct Names {
    /// Texts to replace wherever they stand, in the order in which they were learned.
    known: Vec<(String, String)>,
    /// Values of numbered fields, by field.
    numbered: BTreeMap<&'static str, Vec<String>>,
}

impl Names {
    /// Counts what is random from 1 again.
    pub(crate) fn begin(&mut self) {
        self.numbered.clear();
    }

    /// From now on `text` is called `name`.
    pub(crate) fn learn(&mut self, text: &str, name: &str) {
        if !text.is_empty() && !self.known.iter().any(|(known, _)| known == text) {
            self.known.push((text.to_owned(), name.to_owned()));
        }
    }

    /// The paths and values of a message.
    pub(crate) fn values(&mut self, message: &impl std::fmt::Debug) -> Vec<(String, String)> {
        let tree = Tree::of(message);
        self.learn_topics(&tree);
        let mut values = Vec::new();
        self.flatten("", "", &tree, &mut values);
        values
    }

    /// An answer that tells a topic's id along with its name.
    fn learn_topics(&mut self, tree: &Tree) {
        match tree {
            Tree::Leaf(_) => {}
            Tree::List(items) => items.iter().for_each(|item| self.learn_topics(item)),
            Tree::Fields(fields) => {
                let name = tree.leaf("name").or(tree.leaf("topic_name"));
                if let (Some(name), Some(id)) = (name, tree.leaf("topic_id"))
                    && !NOTHING.contains(&id)
                    && !NOTHING.contains(&name)
                {
                    let name = format!("<id of {}>", self.text(name.trim_matches('"')));
                    self.learn(id, &name);
                }
                fields.iter().for_each(|(_, field)| self.learn_topics(field));
            }
        }
    }

    fn flatten(&mut self, path: &str, field: &str, tree: &Tree, to: &mut Vec<(String, String)>) {
        match tree {
            Tree::Leaf(value) => to.push((path.to_owned(), self.value(field, value))),
            Tree::Fields(fields) => {
                for (name, tree) in fields {
                    let dot = if path.is_empty() { "" } else { "." };
                    self.flatten(&format!("{path}{dot}{name}"), name, tree, to);
                }
            }
            Tree::List(items) if items.iter().all(|item| matches!(item, Tree::Leaf(_))) => {
                let mut leaves: Vec<_> = items.iter().map(|item| self.item(field, item)).collect();
                leaves.sort_by_key(|leaf| (leaf.len(), leaf.clone()));
                to.push((path.to_owned(), format!("[{}]", leaves.join(", "))));
            }
            Tree::List(items) => {
                let mut times = BTreeMap::new();
                for item in items {
                    let name = self.name_of(item);
                    let nth: &mut usize = times.entry(name.clone()).or_default();
                    *nth += 1;
                    let again = if *nth > 1 { format!(" #{nth}") } else { String::new() };
                    self.flatten(&format!("{path}[{name}{again}]"), field, item, to);
                }
            }
        }
    }

    fn item(&mut self, field: &str, item: &Tree) -> String {
        let Tree::Leaf(value) = item else { unreachable!("asked for leaves alone") };
        self.value(field, value)
    }

    fn name_of(&mut self, item: &Tree) -> String {
        let said = NAMES.iter().find_map(|name| {
            let value = item.leaf(name).filter(|value| !matches!(*value, "null" | "\"\""))?;
            let is_id = *name == "topic_id" && NOTHING.contains(&value);
            (!is_id).then(|| (*name, value.to_owned()))
        });
        let value = said.map(|(name, value)| self.value(name, &value)).unwrap_or_default();
        // By whichever a topic is told, its name or its id, it is the same topic.
        let by_id = value.strip_prefix("<id of ").and_then(|name| name.strip_suffix('>'));
        by_id.unwrap_or(value.trim_matches('"')).to_owned()
    }

    fn value(&mut self, field: &str, value: &str) -> String {
        let text = self.text(value);
        let is_message = matches!(field, "error_message" | "batch_index_error_message");
        if text != value && !is_message {
            return text;
        }
        match PLACEHOLDERS.iter().find(|(name, ..)| *name == field) {
            _ if field == "error_code" => error_name(value),
            _ if field == "records" => records(value),
            Some(_) if NOTHING.contains(&value) => value.to_owned(),
            // What a client calls itself is no accident.
            Some(("member_id" | "leader", ..)) if !is_drawn(value) => value.to_owned(),
            Some((_, placeholder, _)) => match series(field) {
                Some(series) => self.number(series, value),
                None => (*placeholder).to_owned(),
            },
            None => value.to_owned(),
        }
    }

    /// The text with what is known by name.
    fn text(&self, text: &str) -> String {
        self.known.iter().fold(text.to_owned(), |text, (known, name)| text.replace(known, name))
    }

    fn number(&mut self, series: &'static str, value: &str) -> String {
        let seen = self.numbered.entry(series).or_default();
        let place = seen.iter().position(|known| known == value).unwrap_or_else(|| {
            seen.push(value.to_owned());
            seen.len() - 1
        });
        format!("<{series} {}>", place + 1)
    }
}

/// Whether a member's id, in quotes, ends with a random one, as hexadecimal digits or in base 64.
fn is_drawn(id: &str) -> bool {
    let id = id.trim_matches('"');
    let groups: Vec<usize> = id.rsplit('-').map(str::len).take(5).collect();
    id.len() == 22 || matches!(groups[..], [12, 4, 4, 4, 8, ..])
}

fn error_name(value: &str) -> String {
    let number: Option<i16> = value.parse().ok();
    match number.and_then(ErrorCode::from_number) {
        Some(code) => code.name().to_owned(),
        None => value.to_owned(),
    }
}

/// A fetched partition's batches: where they lie, what the broker has written into them, and a
/// checksum of all that is the producer's.
fn records(value: &str) -> String {
    if value == "null" {
        return value.to_owned();
    }
    let bytes = unescaped(value);
    let size = bytes.len();
    let shown: Vec<String> = batches(bytes)
        .map(|batch| match batch {
            Ok(batch) => shown(batch.header()),
            Err(error) => format!("damaged: {error}"),
        })
        .collect();
    format!("{size} bytes [{}]", shown.join(", "))
}

fn shown(header: &BatchHeader) -> String {
    let epoch = header.leader_epoch().map_or(-1, |epoch| i64::from(epoch.get()));
    // A batch stamped by the broker, or by a producer with an id, has no checksum that lasts.
    let is_lasting = header.producer().is_none()
        && header.timestamp_type() == log_proto::record::TimestampType::CreateTime;
    let crc = if is_lasting { format!(" crc {:08x}", header.crc()) } else { String::new() };
    format!(
        "{}..{} in epoch {epoch}, {:?}{}{crc}",
        header.base_offset(),
        header.last_offset(),
        header.compression(),
        if header.is_control() { ", control" } else { "" },
    )
}

/// The bytes that `b"…"` stands for.
fn unescaped(text: &str) -> Bytes {
    let inner = text.strip_prefix("b\"").and_then(|text| text.strip_suffix('"'));
    let mut chars = inner.expect("bytes are printed as such").bytes();
    let mut bytes = Vec::new();
    while let Some(byte) = chars.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        bytes.push(match chars.next().expect("an escape has a letter") {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'0' => 0,
            b'x' => {
                let digits = [chars.next(), chars.next()].map(|digit| digit.expect("two digits"));
                let digits = std::str::from_utf8(&digits).expect("ASCII").to_owned();
                u8::from_str_radix(&digits, 16).expect("hexadecimal")
            }
            other => other,
        });
    }
    bytes.into()
}

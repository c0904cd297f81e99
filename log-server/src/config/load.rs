//! Where values come from: flags over `CAIRN_*` over a TOML file over the defaults.
//!
//! The rule: whatever is not understood stops the start with its name and what was meant,
//! because a typo that is passed over is a setting that silently does not hold.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::ServerConfig;
use super::table::{SETTINGS, Setting};
use crate::kafka::{Listener, NoSuchListener};

/// Who set a value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// Nobody: it is the default.
    Default,
    /// The TOML file.
    File(PathBuf),
    /// This environment variable.
    Env(String),
    /// A flag on the command line.
    Flag,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Env(name) => write!(f, "env {name}"),
            Self::Flag => f.write_str("flag"),
        }
    }
}

/// Why the settings do not make a configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the config file {}: {source}", file.display())]
    Unreadable {
        /// Which file.
        file: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The file is no TOML.
    #[error("config file {} is not valid TOML: {reason}", file.display())]
    NotToml {
        /// Which file.
        file: PathBuf,
        /// What the parser said.
        reason: String,
    },
    /// No setting has this name.
    #[error("unknown setting {name} ({origin}): did you mean {nearest}?")]
    Unknown {
        /// The name that was given.
        name: String,
        /// Where.
        origin: Source,
        /// The name that exists and looks most like it.
        nearest: String,
    },
    /// The value is not one that the setting takes.
    #[error("{name} is {value:?} ({origin}), but must be {expected}")]
    BadValue {
        /// Which setting.
        name: &'static str,
        /// What was given.
        value: String,
        /// Where.
        origin: Source,
        /// What would do.
        expected: String,
    },
    /// Addresses are advertised for a listener that is not there (any more).
    #[error(
        "kafka.advertised.listeners is {advertised}, but {missing}: kafka.listeners is \
         {listeners}; set both together (an address without a name is that of PLAINTEXT)"
    )]
    NoSuchListener {
        /// What is advertised.
        advertised: Box<Given>,
        /// Which listeners there are.
        listeners: Box<Given>,
        /// The one that there is not.
        missing: NoSuchListener,
    },
    /// Two settings contradict each other.
    #[error("{smaller} must be at least {larger}: raise the one or lower the other")]
    Relation {
        /// The one that is too small.
        smaller: &'static str,
        /// The one that it must reach.
        larger: &'static str,
    },
}

/// A value, and who set it.
#[derive(Clone, Debug)]
pub struct Given {
    /// The value, as text.
    pub value: String,
    /// Who set it.
    pub origin: Source,
}

impl fmt::Display for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} ({})", self.value, self.origin)
    }
}

/// One setting as it stands.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// What can be said of it in general.
    pub setting: &'static Setting,
    /// Its value, as text.
    pub value: &'a str,
    /// Who set it.
    pub source: &'a Source,
}

/// Every setting with its value and where that came from.
#[derive(Clone, Debug)]
pub struct Settings {
    /// In the order of [`SETTINGS`].
    values: Vec<(String, Source)>,
    config: ServerConfig,
}

impl Settings {
    /// Lays `flags` (name and value) over the variables of `env` that begin with `CAIRN_` over
    /// `toml_file` over the defaults. A variable that is no setting of the broker is refused: who
    /// has other `CAIRN_*` variables takes them out of `env`.
    pub fn load(
        flags: &[(&str, String)],
        env: impl Iterator<Item = (String, String)>,
        toml_file: Option<&Path>,
    ) -> Result<Self, ConfigError> {
        let mut settings = Self::defaults();
        if let Some(file) = toml_file {
            for (name, value) in read_toml(file)? {
                settings.set(&name, value, Source::File(file.to_owned()))?;
            }
        }
        for (variable, value) in env.filter(|(name, _)| name.starts_with("CAIRN_")) {
            let name = name_of_variable(&variable)?;
            settings.set(name, value, Source::Env(variable))?;
        }
        for (name, value) in flags {
            settings.set(name, value.clone(), Source::Flag)?;
        }
        settings.advertise()?;
        settings.check_relations()?;
        Ok(settings)
    }

    /// The typed result.
    pub fn config(&self) -> &ServerConfig {
        &self.config
    }

    /// Every setting, in the order of the table.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        SETTINGS.iter().zip(&self.values).map(|(setting, (value, source))| Entry {
            setting,
            value,
            source,
        })
    }

    fn defaults() -> Self {
        let values =
            SETTINGS.iter().map(|setting| (setting.default.to_owned(), Source::Default)).collect();
        Self { values, config: ServerConfig::default() }
    }

    fn set(&mut self, name: &str, value: String, origin: Source) -> Result<(), ConfigError> {
        let Some(index) = SETTINGS.iter().position(|setting| setting.name == name) else {
            let nearest = nearest(name, SETTINGS.iter().map(|setting| setting.name.to_owned()));
            return Err(ConfigError::Unknown { name: name.to_owned(), origin, nearest });
        };
        let setting = &SETTINGS[index];
        if let Err(expected) = (setting.set)(&mut self.config, &value) {
            return Err(ConfigError::BadValue { name: setting.name, value, origin, expected });
        }
        self.config.given.insert(setting.name, value.clone());
        self.values[index] = (value, origin);
        Ok(())
    }

    /// Lays `kafka.advertised.listeners` on `kafka.listeners`. Both may come from any source, in any
    /// order, so that neither can be understood with the other before all are read.
    fn advertise(&mut self) -> Result<(), ConfigError> {
        let advertised = Box::new(self.given("kafka.advertised.listeners"));
        let listeners = Box::new(self.given("kafka.listeners"));
        let told = Listener::parse_advertised(&advertised.value).expect("parsed as it was set");
        Listener::advertise(&mut self.config.kafka_listeners, told)
            .map_err(|missing| ConfigError::NoSuchListener { advertised, listeners, missing })
    }

    fn given(&self, name: &'static str) -> Given {
        let index = SETTINGS.iter().position(|setting| setting.name == name);
        let (value, origin) = self.values[index.expect("the table has it")].clone();
        Given { value, origin }
    }

    /// What is to be held must fit into what holds it: a request that never can would wait for
    /// memory that itself has.
    fn check_relations(&self) -> Result<(), ConfigError> {
        let largest = [
            ("grpc.request.bytes.max", self.config.request_bytes_max),
            ("socket.request.max.bytes", self.config.socket_request_bytes_max),
        ];
        let memory = self.config.request_memory_bytes_max;
        match largest.into_iter().find(|(_, bytes)| *bytes > memory) {
            Some((larger, _)) => {
                Err(ConfigError::Relation { smaller: "request.memory.bytes.max", larger })
            }
            None => Ok(()),
        }
    }
}

fn name_of_variable(variable: &str) -> Result<&'static str, ConfigError> {
    if let Some(setting) = SETTINGS.iter().find(|setting| setting.env_name() == variable) {
        return Ok(setting.name);
    }
    Err(ConfigError::Unknown {
        name: variable.to_owned(),
        origin: Source::Env(variable.to_owned()),
        nearest: nearest(variable, SETTINGS.iter().map(Setting::env_name)),
    })
}

/// The file's values by dotted name: `[log] segment.bytes = 1` and `log.segment.bytes = 1` are the
/// same.
fn read_toml(file: &Path) -> Result<BTreeMap<String, String>, ConfigError> {
    let text = std::fs::read_to_string(file)
        .map_err(|source| ConfigError::Unreadable { file: file.to_owned(), source })?;
    let not_toml = |reason| ConfigError::NotToml { file: file.to_owned(), reason };
    let table: toml::Table =
        text.parse().map_err(|error: toml::de::Error| not_toml(error.to_string()))?;
    let mut values = BTreeMap::new();
    flatten("", table, &mut values).map_err(not_toml)?;
    Ok(values)
}

fn flatten(
    prefix: &str,
    table: toml::Table,
    out: &mut BTreeMap<String, String>,
) -> Result<(), String> {
    for (key, value) in table {
        let name = if prefix.is_empty() { key } else { format!("{prefix}.{key}") };
        let text = match value {
            toml::Value::Table(inner) if Setting::named(&name).is_none() => {
                flatten(&name, inner, out)?;
                continue;
            }
            toml::Value::String(text) => text,
            toml::Value::Integer(number) => number.to_string(),
            toml::Value::Boolean(value) => value.to_string(),
            _ => return Err(format!("{name} must be a string or a whole number")),
        };
        // Two keys to TOML may be one name here: `"a.b"`, and `b` in the table `a`.
        if out.insert(name.clone(), text).is_some() {
            return Err(format!("{name} is set twice"));
        }
    }
    Ok(())
}

/// The candidate that takes the fewest edits to reach.
fn nearest(name: &str, candidates: impl Iterator<Item = String>) -> String {
    candidates.min_by_key(|candidate| edit_distance(name, candidate)).unwrap_or_default()
}

/// How many characters must be added, removed or replaced (Levenshtein). Names beyond any that
/// exist are cut: they come from strangers, and the cost grows with their length.
fn edit_distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, from_char) in from.chars().take(256).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to_char) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(from_char != *to_char);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(
        flags: &[(&str, &str)],
        env: &[(&str, &str)],
        toml: &str,
    ) -> Result<Settings, ConfigError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), toml).unwrap();
        let flags: Vec<_> =
            flags.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Settings::load(&flags, env, Some(file.path()))
    }

    fn source(settings: &Settings, name: &str) -> (String, String) {
        let entry = settings.entries().find(|entry| entry.setting.name == name).unwrap();
        (entry.value.to_owned(), entry.source.to_string())
    }

    #[test]
    fn flags_win_over_the_environment_over_the_file_over_defaults() {
        let settings = load(
            &[("data.dir", "/flag")],
            &[("CAIRN_DATA_DIR", "/env"), ("CAIRN_NUM_PARTITIONS", "3"), ("HOME", "/root")],
            "num.partitions = 2\n[log.retention]\nms = -1\ncheck.interval.ms = 5000\n",
        )
        .unwrap();
        assert_eq!(source(&settings, "data.dir"), ("/flag".into(), "flag".into()));
        assert_eq!(
            source(&settings, "num.partitions"),
            ("3".into(), "env CAIRN_NUM_PARTITIONS".into())
        );
        assert!(source(&settings, "log.retention.ms").1.starts_with("file "));
        assert_eq!(source(&settings, "grpc.listen").1, "default");
        assert_eq!(settings.config().num_partitions, 3);
        assert_eq!(settings.config().retention_check_interval.as_secs(), 5);
    }

    #[test]
    fn unknown_names_are_refused_with_the_nearest_that_exists() {
        let file = load(&[], &[], "log.segment.byte = 5").unwrap_err().to_string();
        assert!(
            file.contains("log.segment.byte") && file.contains("did you mean log.segment.bytes")
        );
        let env = load(&[], &[("CAIRN_DATADIR", "x")], "").unwrap_err().to_string();
        assert!(env.contains("did you mean CAIRN_DATA_DIR?"), "{env}");
    }

    #[test]
    fn bad_values_say_what_was_expected() {
        for (name, value) in [
            ("grpc.listen", "nine"),
            ("num.partitions", "0"),
            ("log.segment.bytes", "-5"),
            ("log.flush.interval.messages", "0"),
            ("log.retention.ms", "-2"),
            ("committer.threads", "many"),
        ] {
            let error = load(&[(name, value)], &[], "").unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("must be"), "{error}");
        }
        assert!(matches!(load(&[], &[], "a = ["), Err(ConfigError::NotToml { .. })));
        assert!(matches!(load(&[], &[], "data.dir = [1]"), Err(ConfigError::NotToml { .. })));
        let twice = load(&[], &[], "\"num.partitions\" = 2\n[num]\npartitions = 3\n");
        let twice = twice.expect_err("which of the two is meant?").to_string();
        assert!(twice.contains("num.partitions is set twice"), "{twice}");
    }

    const LISTENERS: (&str, &str) = ("kafka.listeners", "IN://127.0.0.1:1,OUT://127.0.0.1:2");
    const ADVERTISED: (&str, &str) = ("kafka.advertised.listeners", "OUT://out.example:3");

    /// Where settings come from, and in which order there.
    type Sources<'a> = (&'a [(&'a str, &'a str)], &'a [(&'a str, &'a str)], &'a str);

    #[test]
    fn listeners_and_what_their_clients_are_told_come_in_any_order_from_anywhere() {
        let env = |(name, value): (&'static str, &'static str)| {
            (if name == LISTENERS.0 { "CAIRN_KAFKA_LISTENERS" } else { OUT_VARIABLE }, value)
        };
        let (listeners, advertised) = (env(LISTENERS), env(ADVERTISED));
        let line = |(name, value): (&str, &str)| format!("{name} = {value:?}\n");
        let (file_listeners, file_advertised) = (line(LISTENERS), line(ADVERTISED));
        let both = file_listeners.clone() + &file_advertised;
        let turned = file_advertised.clone() + &file_listeners;
        let cases: [Sources<'_>; 10] = [
            (&[], &[], &both),
            (&[], &[], &turned),
            (&[], &[listeners, advertised], ""),
            (&[], &[advertised, listeners], ""),
            (&[LISTENERS, ADVERTISED], &[], ""),
            (&[ADVERTISED, LISTENERS], &[], ""),
            (&[], &[advertised], &file_listeners),
            (&[], &[listeners], &file_advertised),
            (&[LISTENERS], &[advertised], ""),
            (&[LISTENERS], &[], &file_advertised),
        ];
        for (flags, env, file) in cases {
            let settings = load(flags, env, file).expect("both are there");
            let told: Vec<_> = settings.config().kafka_listeners.iter().map(told).collect();
            let expected = [("IN", None), ("OUT", Some("out.example:3".to_owned()))];
            assert_eq!(told, expected, "{flags:?} {env:?} {file:?}");
        }
    }

    const OUT_VARIABLE: &str = "CAIRN_KAFKA_ADVERTISED_LISTENERS";

    fn told(listener: &Listener) -> (&str, Option<String>) {
        (&listener.name, listener.advertised.as_ref().map(ToString::to_string))
    }

    #[test]
    fn a_flag_for_other_addresses_keeps_what_clients_are_told() {
        let file = "kafka.advertised.listeners = \"logs.example:9092\"";
        let settings = load(&[("kafka.listeners", "127.0.0.1:0")], &[], file).expect("one of each");
        let told = told(&settings.config().kafka_listeners[0]);
        assert_eq!(told, ("PLAINTEXT", Some("logs.example:9092".to_owned())));
    }

    #[test]
    fn what_is_told_for_a_listener_that_is_not_there_is_refused_with_both_origins() {
        let (_, advertised) = ADVERTISED;
        let cases: [Sources<'_>; 3] = [
            (&[("kafka.listeners", "127.0.0.1:1")], &[(OUT_VARIABLE, advertised)], ""),
            (&[ADVERTISED], &[("CAIRN_KAFKA_LISTENERS", "IN://127.0.0.1:1")], ""),
            (&[], &[(OUT_VARIABLE, advertised)], "kafka.listeners = \"IN://127.0.0.1:1\""),
        ];
        for (flags, env, file) in cases {
            let error = load(flags, env, file).expect_err("nobody is OUT").to_string();
            assert!(error.contains("no listener is named OUT"), "{error}");
            let origins: &[_] = if flags.is_empty() { &["env", "file"] } else { &["env", "flag"] };
            assert!(origins.iter().all(|origin| error.contains(&format!("({origin}"))), "{error}");
        }
    }

    #[test]
    fn the_request_memory_holds_the_largest_request_of_either_door() {
        let memory = ("request.memory.bytes.max", "50000000");
        for (settings, larger) in [
            (&[memory][..], "socket.request.max.bytes"),
            (&[("socket.request.max.bytes", "500000000")], "socket.request.max.bytes"),
            (&[memory, ("socket.request.max.bytes", "2048")], ""),
            (&[("grpc.request.bytes.max", "100663297")], "grpc.request.bytes.max"),
        ] {
            let error = load(settings, &[], "").err().map(|error| error.to_string());
            let refused = error.as_ref().is_some_and(|error| error.contains(larger));
            assert_eq!(refused, !larger.is_empty(), "{settings:?}: {error:?}");
        }
    }
}

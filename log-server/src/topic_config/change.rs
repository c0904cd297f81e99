//! How what is set on a topic changes.
//!
//! The rule: a change is described first and applied to what is set at the moment at which it is
//! written, so that two who change the same topic at the same time both get what they asked for.
//! Taking configs, changing them and putting them back would undo what somebody else has set
//! between.

use std::fmt;

use super::{ConfigKind, TopicConfig, TopicConfigError, TopicConfigs, find, list};

/// What is to become of what is set on a topic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ConfigChange {
    /// This is set, and nothing else.
    Replace(TopicConfigs),
    /// These, one after the other; what they do not name stays.
    Edit(Vec<ConfigEdit>),
}

/// One edit of one config, by name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ConfigEdit {
    /// It has this value.
    Set(String, String),
    /// It is back at its default.
    Unset(String),
    /// These are in the list, too.
    Append(String, String),
    /// These are not in the list any more.
    Subtract(String, String),
}

impl ConfigChange {
    /// Sets some and takes others back to their defaults.
    pub fn edit(set: TopicConfigs, unset: Vec<String>) -> Self {
        let unset = unset.into_iter().map(ConfigEdit::Unset);
        let set = set.iter().map(|(name, value)| ConfigEdit::Set(name.into(), value.into()));
        Self::Edit(unset.chain(set).collect())
    }

    /// What is set after it. `defaults` is what the broker sets for all topics: a list that the
    /// topic does not set is changed from there.
    pub fn apply(
        &self,
        set: &TopicConfigs,
        defaults: &TopicConfigs,
    ) -> Result<TopicConfigs, TopicConfigError> {
        let edits = match self {
            Self::Replace(configs) => return Ok(configs.clone()),
            Self::Edit(edits) => edits,
        };
        let mut configs = set.clone();
        for edit in edits {
            edit.apply(&mut configs, defaults)?;
        }
        Ok(configs)
    }
}

/// For the broker's log: `set retention.ms=5, unset segment.ms`.
impl fmt::Display for ConfigChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Replace(set) if set.iter().next().is_none() => f.write_str("nothing set"),
            Self::Replace(set) => {
                let set: Vec<_> =
                    set.iter().map(|(name, value)| format!("{name}={value}")).collect();
                write!(f, "only {}", set.join(", "))
            }
            Self::Edit(edits) => {
                let edits: Vec<_> = edits.iter().map(ConfigEdit::to_string).collect();
                f.write_str(&edits.join(", "))
            }
        }
    }
}

impl fmt::Display for ConfigEdit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Set(name, value) => write!(f, "set {name}={value}"),
            Self::Unset(name) => write!(f, "unset {name}"),
            Self::Append(name, added) => write!(f, "append {added} to {name}"),
            Self::Subtract(name, removed) => write!(f, "subtract {removed} from {name}"),
        }
    }
}

impl ConfigEdit {
    fn apply(
        &self,
        configs: &mut TopicConfigs,
        defaults: &TopicConfigs,
    ) -> Result<(), TopicConfigError> {
        match self {
            Self::Set(name, value) => configs.set(name, value),
            Self::Unset(name) => configs.unset(name),
            Self::Append(name, added) => {
                let config = find_list(name)?;
                let present = configs.effective(config, defaults);
                let missing = list(added).filter(|part| !list(present).any(|is| is == *part));
                let all: Vec<_> = list(present).chain(missing).collect();
                configs.set(name, &all.join(","))
            }
            Self::Subtract(name, removed) => {
                let config = find_list(name)?;
                let present = configs.effective(config, defaults);
                let stays = |part: &&str| !list(removed).any(|is| is == *part);
                let left: Vec<_> = list(present).filter(stays).collect();
                configs.set(name, &left.join(","))
            }
        }
    }
}

fn find_list(name: &str) -> Result<&'static TopicConfig, TopicConfigError> {
    let config = find(name)?;
    match config.kind {
        ConfigKind::List => Ok(config),
        _ => Err(TopicConfigError::NotAList { name: config.name }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edit(edit: ConfigEdit) -> Result<String, TopicConfigError> {
        let set = TopicConfigs::parse([("cleanup.policy", "delete"), ("segment.ms", "7")])?;
        let change = ConfigChange::Edit(vec![edit]);
        let changed = change.apply(&set, &TopicConfigs::default())?;
        Ok(format!("{:?}", changed.iter().collect::<Vec<_>>()))
    }

    #[test]
    fn lists_grow_and_shrink_and_are_never_empty() {
        let policy = || "cleanup.policy".to_owned();
        let both = edit(ConfigEdit::Append(policy(), "compact,delete".into())).unwrap();
        assert!(both.contains("delete,compact"), "{both}");
        let none = edit(ConfigEdit::Subtract(policy(), "delete".into())).unwrap_err();
        assert!(matches!(none, TopicConfigError::BadValue { .. }));
        let number = edit(ConfigEdit::Append("segment.ms".into(), "8".into())).unwrap_err();
        assert_eq!(number, TopicConfigError::NotAList { name: "segment.ms" });
    }

    #[test]
    fn a_change_is_said_in_words() {
        let set = TopicConfigs::parse([("retention.ms", "8"), ("segment.ms", "7")]).unwrap();
        let edit = ConfigChange::edit(set.clone(), vec!["flush.ms".into()]);
        assert_eq!(edit.to_string(), "unset flush.ms, set retention.ms=8, set segment.ms=7");
        let replace = ConfigChange::Replace(set);
        assert_eq!(replace.to_string(), "only retention.ms=8, segment.ms=7");
        assert_eq!(ConfigChange::Replace(TopicConfigs::default()).to_string(), "nothing set");
    }

    #[test]
    fn a_replacement_takes_back_what_it_does_not_name() {
        let set = TopicConfigs::parse([("segment.ms", "7")]).unwrap();
        let new = TopicConfigs::parse([("retention.ms", "8")]).unwrap();
        let replaced = ConfigChange::Replace(new.clone());
        assert_eq!(replaced.apply(&set, &TopicConfigs::default()), Ok(new));
    }
}

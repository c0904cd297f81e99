//! Patterns that find topics by their names: what consumers subscribe to instead of a list.
//!
//! The rule: a pattern is checked once, when it becomes a [`TopicPattern`], and is written in RE2's
//! syntax, because that is what clients know a Kafka broker to take. It matches whole names. Neither
//! checking nor matching takes longer than its bounds allow, whoever wrote it: [`re2`] reads it into
//! the language of the `regex` crate, whose engines need time in proportion to pattern and name.
//! Handing the pattern over as it stands would be simpler, and wrong where the two languages differ.

mod re2;

use std::sync::Arc;

use regex::bytes::{Regex, RegexBuilder};

use crate::limits;

/// A pattern for the names of topics, in RE2's syntax.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TopicPattern(Arc<str>);

/// Why something is no pattern for topics.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TopicPatternError {
    /// It is not RE2's syntax.
    #[error("bad regular expression at byte {position}: {what} (RE2 syntax)")]
    Syntax {
        /// Where reading ended.
        position: usize,
        /// What is wrong there.
        what: &'static str,
    },
    /// A part of it has no meaning here.
    #[error("bad regular expression: {reason}")]
    Meaning {
        /// What is wrong with it.
        reason: String,
    },
    /// Longer than is read.
    #[error(
        "a regular expression of {length} bytes is too long: {} are the most",
        limits::TOPIC_PATTERN_BYTES_MAX
    )]
    TooLong {
        /// How long it is.
        length: usize,
    },
    /// It stands for a program that is too large to be run on every topic's name.
    #[error(
        "the regular expression is too large once its repetitions are written out: make them fewer"
    )]
    TooLarge,
}

impl TopicPattern {
    /// Checks a pattern that is not empty: an empty one is none.
    pub fn new(pattern: &str) -> Result<Self, TopicPatternError> {
        let checked = Self(pattern.into());
        checked.matcher().map(|_| checked)
    }

    /// One that was checked when it was written down.
    pub(crate) fn stored(pattern: &str) -> Self {
        Self(pattern.into())
    }

    /// As it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What finds the names that it matches.
    pub(crate) fn matcher(&self) -> Result<TopicMatcher, TopicPatternError> {
        if self.0.len() > limits::TOPIC_PATTERN_BYTES_MAX {
            return Err(TopicPatternError::TooLong { length: self.0.len() });
        }
        let built = RegexBuilder::new(&format!(r"\A(?:{})\z", re2::read(&self.0)?))
            .unicode(false)
            .size_limit(limits::TOPIC_PATTERN_PROGRAM_BYTES_MAX)
            .dfa_size_limit(limits::TOPIC_PATTERN_PROGRAM_BYTES_MAX)
            .build();
        built.map(TopicMatcher).map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => TopicPatternError::TooLarge,
            other => TopicPatternError::Meaning { reason: one_line(&other) },
        })
    }
}

/// The last line of what is otherwise a drawing of the pattern.
fn one_line(error: &regex::Error) -> String {
    let text = error.to_string();
    text.lines().last().unwrap_or_default().trim().to_owned()
}

/// A pattern, ready to be matched.
pub(crate) struct TopicMatcher(Regex);

impl TopicMatcher {
    /// Whether the pattern stands for the whole name.
    pub(crate) fn matches(&self, name: &str) -> bool {
        self.0.is_match(name.as_bytes())
    }
}

#[cfg(test)]
mod tests;

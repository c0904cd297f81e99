//! The partitions that could not be read to their end.
//!
//! The rule: what one partition fails with is told when it happens, once, with a way to go on
//! behind it; the others are read, and the command fails at its end. To end at the first error
//! would make one damaged batch the end of a whole topic.

use std::{collections::BTreeSet, sync::Arc};

use log_client::{ConsumeError, ErrorCode};

use super::places::is_of_partition;
use crate::{
    error::{CliError, Result, hint_for},
    output,
    unit::counted,
};

/// Who reads, which decides how to go on behind damage.
pub(super) enum Reader {
    Alone,
    /// A member of this group.
    Member(String),
}

/// What is wrong, with the partition named once: some of what brokers say begins with its name.
fn message(error: &ConsumeError) -> String {
    match error {
        ConsumeError::Partition { topic, partition, error }
            if error.message().starts_with(&format!("{topic}-{partition}: ")) =>
        {
            error.message().to_owned()
        }
        _ => error.to_string(),
    }
}

pub(super) struct Unread {
    reader: Reader,
    topic: Arc<str>,
    /// How many were to be read.
    asked_for: usize,
    numbers: BTreeSet<u32>,
}

impl Unread {
    pub(super) fn new(reader: Reader, topic: Arc<str>, asked_for: usize) -> Self {
        Self { reader, topic, asked_for, numbers: BTreeSet::new() }
    }

    pub(super) fn contains(&self, number: u32) -> bool {
        self.numbers.contains(&number)
    }

    /// Tells an error of one partition, which is not read on. Any other is the end.
    pub(super) fn take(&mut self, error: &ConsumeError) -> Result<()> {
        match error {
            ConsumeError::Partition { error: refusal, .. } if !is_of_partition(refusal) => {
                Err(self.cannot_read(error))
            }
            ConsumeError::Partition { partition, .. } | ConsumeError::Corrupt { partition, .. } => {
                if self.numbers.insert(*partition) {
                    output::warn(&self.cannot_read(error));
                }
                Ok(())
            }
            ConsumeError::Topic { .. } | ConsumeError::Stream(_) => Err(self.cannot_read(error)),
        }
    }

    /// Whether everything was read that was asked for, as far as errors go.
    pub(super) fn verdict(&self) -> Result<()> {
        if self.numbers.is_empty() {
            return Ok(());
        }
        Err(CliError::new(format!(
            "{} of {} of {} could not be read to the end",
            self.numbers.len(),
            counted(self.asked_for as u64, "partition"),
            self.topic,
        )))
    }

    fn cannot_read(&self, error: &ConsumeError) -> CliError {
        let failed = CliError::new(message(error));
        match self.hint(error) {
            Some(hint) => failed.hint(hint),
            None => failed,
        }
    }

    fn hint(&self, error: &ConsumeError) -> Option<String> {
        match error {
            ConsumeError::Topic { error, .. } | ConsumeError::Stream(error) => hint_for(error),
            ConsumeError::Corrupt { partition, .. } => Some(format!(
                "{}; `cairn segment dump` shows where the next batch begins",
                self.hint_at_damage(*partition)
            )),
            ConsumeError::Partition { partition, error, .. }
                if error.code() == ErrorCode::CorruptLog =>
            {
                Some(format!(
                    "{}, at the offset that the error names, or at `latest` if it names none",
                    self.hint_at_damage(*partition)
                ))
            }
            ConsumeError::Partition { .. } => None,
        }
    }

    fn hint_at_damage(&self, partition: u32) -> String {
        let topic = &self.topic;
        match &self.reader {
            Reader::Alone => format!(
                "`cairn consume {topic} --partition {partition} --from OFFSET` reads on behind the damage"
            ),
            Reader::Member(group) => format!(
                "`cairn group offsets set {group} {topic} --partition {partition} --to OFFSET` has the \
                 group go on behind the damage"
            ),
        }
    }
}

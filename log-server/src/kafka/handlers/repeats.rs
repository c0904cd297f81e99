//! Requests that name the same thing more than once.
//!
//! Where something is to be done, which of the two is meant nobody can say: neither is done, and
//! both get one answer. Where something is only asked, it is answered once: a name that is repeated
//! a million times would have a small request ask for a large answer, or for much work.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use log_proto::kafka::ErrorCode;

use crate::kafka::error::Refusal;

/// How often each item of a request is named.
pub(super) struct Repeats<K>(HashMap<K, usize>);

impl<K: Eq + Hash> Repeats<K> {
    pub(super) fn count(keys: impl IntoIterator<Item = K>) -> Self {
        let mut times = HashMap::new();
        keys.into_iter().for_each(|key| *times.entry(key).or_default() += 1);
        Self(times)
    }

    /// Refuses an item that is named more than once, each time.
    pub(super) fn refuse(&self, key: &K) -> Result<(), Refusal> {
        match self.0.get(key) {
            Some(times) if *times > 1 => Err(twice()),
            _ => Ok(()),
        }
    }

    /// Whether the next item may be handled; `None` if it has been answered already.
    pub(super) fn check(&mut self, key: &K) -> Option<Result<(), Refusal>> {
        if self.0.remove(key)? == 1 {
            return Some(Ok(()));
        }
        Some(Err(twice()))
    }
}

fn twice() -> Refusal {
    let message = "the request names it more than once: name it once";
    Refusal::new(ErrorCode::InvalidRequest, message)
}

/// What is asked for, each once, in the order in which it was first named.
pub(super) fn once<T, K: Eq + Hash>(
    asked: impl IntoIterator<Item = T>,
    key: impl Fn(&T) -> K,
) -> impl Iterator<Item = T> {
    let mut seen = HashSet::new();
    asked.into_iter().filter(move |one| seen.insert(key(one)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_twice_is_refused_once() {
        let names = ["a", "b", "a"];
        let mut repeats = Repeats::count(names);
        let checked = names.map(|name| repeats.check(&name).map(|checked| checked.is_ok()));
        assert_eq!(checked, [Some(false), Some(true), None]);
    }
}

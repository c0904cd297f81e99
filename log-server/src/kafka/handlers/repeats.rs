//! Requests that name the same thing more than once.
//!
//! Which of the two is meant nobody can say, so neither is done, and both get one answer.

use std::collections::HashMap;
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

    /// Whether the next item may be handled; `None` if it has been answered already.
    pub(super) fn check(&mut self, key: &K) -> Option<Result<(), Refusal>> {
        if self.0.remove(key)? == 1 {
            return Some(Ok(()));
        }
        let message = "the request names it more than once: name it once";
        Some(Err(Refusal::new(ErrorCode::InvalidRequest, message)))
    }
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

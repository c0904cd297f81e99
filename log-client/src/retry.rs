//! When to try again.
//!
//! The rule: waits double from a few milliseconds to a second and are spread at random, so that a
//! broker that comes back is found quickly and is not met by all its clients at once. How long to
//! go on is the caller's decision, as a deadline; there is no count of attempts, because a count
//! says nothing about time.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use tokio::time::Instant;

use crate::error::RequestError;

/// Short enough that a restarted broker, ready in tens of milliseconds, is found at once.
const FIRST_WAIT: Duration = Duration::from_millis(20);

/// Long enough that a broker that stays away costs nothing; not longer, because every producer
/// waits this long after it is back.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// The growing waits between attempts.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Self { next: FIRST_WAIT }
    }

    /// Something succeeded: the next failure is a new one.
    pub(crate) fn reset(&mut self) {
        self.next = FIRST_WAIT;
    }

    /// How long to wait now: between half and all of the current step.
    pub(crate) fn next_wait(&mut self) -> Duration {
        let step = self.next;
        self.next = (step * 2).min(LONGEST_WAIT);
        step.mul_f64(0.5 + random_fraction() / 2.0)
    }
}

/// 0 to 1. The hasher's random keys are randomness enough to spread clients out.
fn random_fraction() -> f64 {
    f64::from(RandomState::new().hash_one(0) as u32) / f64::from(u32::MAX)
}

/// Repeats an idempotent request until it succeeds, fails for good, or `timeout` has passed; then
/// the last error stands.
pub(crate) async fn until<T, F>(
    timeout: Duration,
    mut attempt: impl FnMut() -> F,
) -> Result<T, RequestError>
where
    F: Future<Output = Result<T, RequestError>>,
{
    let deadline = Instant::now() + timeout;
    let mut backoff = Backoff::new();
    loop {
        let error = match attempt().await {
            Err(error) if error.is_retriable() => error,
            done => return done,
        };
        let wait = backoff.next_wait();
        if Instant::now() + wait >= deadline {
            return Err(error);
        }
        tokio::time::sleep(wait).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_longest_and_start_over() {
        let mut backoff = Backoff::new();
        assert!(backoff.next_wait() <= FIRST_WAIT);
        for _ in 0..20 {
            assert!(backoff.next_wait() <= LONGEST_WAIT);
        }
        assert!(backoff.next_wait() >= LONGEST_WAIT / 2);
        backoff.reset();
        assert!(backoff.next_wait() <= FIRST_WAIT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_final_error_is_not_repeated() {
        let mut attempts = 0;
        let result: Result<(), _> = until(Duration::from_secs(60), || {
            attempts += 1;
            async { Err(RequestError::BadAnswer { address: String::new(), detail: String::new() }) }
        })
        .await;
        assert!(result.is_err());
        assert_eq!(attempts, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_error_stands_once_time_is_up() {
        let start = Instant::now();
        let mut attempts = 0;
        let result: Result<(), _> = until(Duration::from_secs(10), || {
            attempts += 1;
            let reason = attempts.to_string();
            async { Err(RequestError::Unreachable { address: String::new(), reason }) }
        })
        .await;
        let RequestError::Unreachable { reason, .. } = result.unwrap_err() else {
            panic!("another error");
        };
        assert_eq!(reason, attempts.to_string());
        assert!(attempts > 5 && start.elapsed() <= Duration::from_secs(10));
    }
}

//! Lets time pass for groups: wakes up when the next deadline has come, and looks after offsets
//! that nobody uses any more.
//!
//! The rule: it only ever says what time it is; what that means is decided in the groups. It holds
//! the coordinator weakly, so that it ends with it. Looking through all groups' offsets takes its
//! time, and no deadline waits for it.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::service::{Inner, Shared};
use crate::error::CoordinatorError;
use crate::topics::TopicId;

/// How long the driver sleeps at most: a deadline may lie centuries away.
const NAP_MAX: Duration = Duration::from_secs(3600);

/// Keeps time until the coordinator is gone.
pub(super) async fn drive(
    inner: Weak<Inner>,
    topics: impl Fn(&BTreeSet<String>) -> Vec<TopicId> + Send + Sync + 'static,
) {
    let Some(check_interval) = inner.upgrade().map(|inner| inner.shared.check_interval()) else {
        return;
    };
    tokio::join!(keep_deadlines(&inner), keep_offsets(&inner, &topics, check_interval));
}

async fn keep_deadlines(inner: &Weak<Inner>) {
    loop {
        let Some((shared, nap)) = inner.upgrade().map(|inner| {
            let nap = inner.shared.nap();
            (Arc::clone(&inner.shared), nap)
        }) else {
            return;
        };
        let outcome = tokio::select! {
            () = tokio::time::sleep(nap) => tick(inner).await,
            () = shared.sooner.notified() => Ok(()),
        };
        if let Err(error) = outcome {
            tracing::warn!(%error, "groups are not looked after");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}

async fn keep_offsets(
    inner: &Weak<Inner>,
    topics: &(impl Fn(&BTreeSet<String>) -> Vec<TopicId> + Send + Sync + 'static),
    check_interval: Duration,
) {
    let mut expiry = tokio::time::interval(check_interval);
    expiry.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        expiry.tick().await;
        let Some(inner) = inner.upgrade() else { return };
        if let Err(error) = inner.expire_offsets(topics).await {
            tracing::warn!(%error, "unused offsets are not looked for");
        }
    }
}

async fn tick(inner: &Weak<Inner>) -> Result<(), CoordinatorError> {
    let Some(inner) = inner.upgrade() else { return Ok(()) };
    inner.tick().await
}

impl Shared {
    fn check_interval(&self) -> Duration {
        self.live.lock().membership.settings().offsets_retention_check_interval
    }

    /// How long nothing is due.
    fn nap(&self) -> Duration {
        let now = (self.clocks)();
        let next = self.live.lock().membership.next_deadline();
        next.map_or(NAP_MAX, |next| next.remaining(now.moment).min(NAP_MAX))
    }
}

//! What must happen without anybody asking: a look at every busy log each second, retention now
//! and then.
//!
//! Both run on threads that may block, and never twice at once: a slow disk makes them rarer
//! instead of many. That the look at the logs comes round is what `/healthz` calls being alive.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use log_core::{RetentionError, Retired};
use tokio::time::MissedTickBehavior;

use crate::broker::Broker;

const ROUND_INTERVAL: Duration = Duration::from_secs(1);

/// When housekeeping last came round.
#[derive(Clone, Debug)]
pub struct Heartbeat {
    started: Instant,
    /// Milliseconds after `started`.
    last: Arc<AtomicU64>,
}

impl Heartbeat {
    /// A heart that beats now.
    pub(crate) fn new() -> Self {
        Self { started: Instant::now(), last: Arc::default() }
    }

    fn beat(&self) {
        let now = self.started.elapsed().as_millis();
        self.last.store(u64::try_from(now).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How long ago it last beat.
    pub fn age(&self) -> Duration {
        let last = Duration::from_millis(self.last.load(Ordering::Relaxed));
        self.started.elapsed().saturating_sub(last)
    }
}

/// Looks after the logs until it is aborted.
pub(crate) async fn keep_house(broker: Broker, heartbeat: Heartbeat) {
    let mut rounds = tokio::time::interval(ROUND_INTERVAL);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        blocking(&broker, look_at_logs).await;
        heartbeat.beat();
    }
}

/// Deletes old segments until it is aborted.
pub(crate) async fn retire_segments(broker: Broker) {
    let mut rounds = tokio::time::interval(broker.config().retention_check_interval);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        blocking(&broker, apply_retention).await;
    }
}

async fn blocking(broker: &Broker, work: fn(&Broker)) {
    let broker = broker.clone();
    if let Err(fault) = tokio::task::spawn_blocking(move || work(&broker)).await {
        tracing::error!(%fault, "housekeeping failed");
    }
}

fn look_at_logs(broker: &Broker) {
    broker.data_dir().reserve().refill();
    broker.look_at_room();
    for topic in broker.topics().all() {
        topic.serving().for_each(|partition| partition.keep_house());
    }
}

fn apply_retention(broker: &Broker) {
    for topic in broker.topics().all() {
        for partition in topic.serving() {
            match partition.log().apply_retention() {
                Ok(Retired { segments, bytes, log_start }) if segments > 0 => {
                    tracing::info!(%partition, segments, bytes, %log_start, "old segments deleted");
                }
                Ok(_) | Err(RetentionError::Closed) => {}
                Err(error) => tracing::warn!(%partition, %error, "old segments not deleted"),
            }
        }
    }
}

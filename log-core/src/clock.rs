//! Time, passed in: tests own it.

use std::fmt::Debug;
use std::time::{SystemTime, UNIX_EPOCH};

use log_proto::types::TimestampMs;

/// Tells the time of day. Used for retention, log append time and ages, never for order.
pub trait Clock: Debug + Send + Sync + 'static {
    /// Milliseconds since 1970-01-01 UTC.
    fn now(&self) -> TimestampMs;
}

/// The machine's clock.
#[derive(Clone, Copy, Default, Debug)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> TimestampMs {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        TimestampMs::new(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

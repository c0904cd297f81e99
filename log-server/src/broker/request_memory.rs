//! What requests may take of memory until they are answered.
//!
//! The rule: a small request never waits for a large one. Whoever waits for memory waits in a
//! queue, so that a large request gets its turn at all; in the same queue a request of a few bytes
//! would stand behind one of many megabytes for as long as that takes to come. Small ones have a
//! part of their own.

use std::sync::Arc;

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

use crate::limits::SMALL_REQUEST_BYTES_MAX;

/// What small ones have, as a share of what large ones have, and beside it.
const SMALL_SHARE: usize = 16;

/// Memory for the requests of all connections. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct RequestMemory {
    small: Part,
    large: Part,
}

#[derive(Clone, Debug)]
struct Part {
    free: Arc<Semaphore>,
    bytes: usize,
}

impl Part {
    fn of(bytes: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(bytes)), bytes }
    }

    async fn take(&self, bytes: u32) -> Result<OwnedSemaphorePermit, AcquireError> {
        Arc::clone(&self.free).acquire_many_owned(bytes).await
    }

    fn used(&self) -> usize {
        self.bytes.saturating_sub(self.free.available_permits())
    }
}

impl RequestMemory {
    /// So many bytes for large requests, and some more for small ones.
    pub(crate) fn of(bytes: usize) -> Self {
        let small = (bytes / SMALL_SHARE).max(SMALL_REQUEST_BYTES_MAX);
        Self { small: Part::of(small), large: Part::of(bytes) }
    }

    /// Waits for what a whole request takes. Fails when there is no broker any more.
    pub(crate) async fn take(&self, bytes: u32) -> Result<OwnedSemaphorePermit, AcquireError> {
        match bytes as usize {
            0..=SMALL_REQUEST_BYTES_MAX => self.small.take(bytes).await,
            _ => self.large.take(bytes).await,
        }
    }

    /// Waits for what a part of a large request takes; such parts can be merged.
    pub(crate) async fn take_part(&self, bytes: u32) -> Result<OwnedSemaphorePermit, AcquireError> {
        self.large.take(bytes).await
    }

    /// How many bytes are taken.
    pub(crate) fn used(&self) -> usize {
        self.small.used() + self.large.used()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::task::Poll;

    use super::*;

    #[tokio::test]
    async fn the_small_do_not_wait_behind_the_large() {
        let memory = RequestMemory::of(1 << 20);
        let most = memory.take_part(1_000_000).await.unwrap();
        let mut waiting = pin!(memory.take(500_000));
        assert!(poll_fn(|context| Poll::Ready(waiting.as_mut().poll(context))).await.is_pending());
        let small = memory.take(1000).await.unwrap();
        assert_eq!(memory.used(), (1 << 20) + 1000, "all that is left is meant for who waits");
        drop((most, small));
        drop(waiting.await.unwrap());
        assert_eq!(memory.used(), 0);
    }

    #[tokio::test]
    async fn the_smallest_memory_holds_a_small_request() {
        let memory = RequestMemory::of(1);
        drop(memory.take(SMALL_REQUEST_BYTES_MAX as u32).await.unwrap());
    }
}

//! What has come of messages that are not whole yet, and how much all of them may take.
//!
//! The rule: what strangers leave unfinished is bounded, over all connections, and keeps nobody out
//! who sends whole requests: those are counted by their service, in a memory of their own. Small
//! ones come whole, and cost nothing here. Who rests in the middle of a message, or goes on byte by
//! byte, has its call ended, and whoever finds no memory for long gives way, because it may be held
//! by those who wait as well.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body::Frame;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep, timeout};
use tonic::Status;

use super::error::Refusal;
use log_proto::v1::ErrorCode;

/// How often it is looked at whether a message goes on.
const STRETCH: Duration = Duration::from_secs(30);

/// How much of it is to come in that time: 128 KiB a second.
const STRETCH_BYTES_MIN: usize = 30 * (128 << 10);

/// How long the rest of a message waits for request memory.
const MEMORY_WAIT_MAX: Duration = Duration::from_secs(30);

type Admitting = Pin<Box<dyn Future<Output = Result<OwnedSemaphorePermit, Status>> + Send>>;

/// The body of a request, counted.
pub(super) struct Halves {
    body: Body,
    room: Arc<Semaphore>,
    message: Unfinished,
    memory: Option<OwnedSemaphorePermit>,
    /// What has come and waits to be counted.
    waiting: Option<(Frame<Bytes>, Admitting)>,
    /// When it is looked at next whether the message goes on, and how much of it was here before.
    stretch: Option<(Pin<Box<Sleep>>, usize)>,
}

impl Halves {
    /// Counted in `room`, a permit for each byte.
    pub(super) fn of(body: Body, room: Arc<Semaphore>) -> Self {
        let message = Unfinished::default();
        Self { body, room, message, memory: None, waiting: None, stretch: None }
    }

    /// Counts what has come of the message that is not whole yet, if it is due.
    fn due(&mut self) -> Option<Admitting> {
        let counted = self.memory.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let due = match self.message.bytes.checked_sub(counted) {
            Some(due) => due,
            // Less than there was: the one that was counted is whole, and this is another.
            None => {
                (self.memory, self.stretch) = (None, None);
                self.message.bytes
            }
        };
        (due > 0).then(|| Box::pin(admit(Arc::clone(&self.room), due)) as Admitting)
    }

    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<Status> {
        if self.memory.is_none() {
            return Poll::Pending;
        }
        let here = self.message.bytes;
        loop {
            let (end, before) =
                self.stretch.get_or_insert_with(|| (Box::pin(sleep(STRETCH)), here));
            ready!(end.as_mut().poll(cx));
            if here.saturating_sub(*before) < STRETCH_BYTES_MIN {
                let message = format!(
                    "less than {STRETCH_BYTES_MIN} bytes of a message have come in {STRETCH:?}"
                );
                return Poll::Ready(Refusal::invalid_request(message).into());
            }
            self.stretch = None;
        }
    }
}

async fn admit(room: Arc<Semaphore>, bytes: usize) -> Result<OwnedSemaphorePermit, Status> {
    let permits = u32::try_from(bytes).unwrap_or(u32::MAX);
    match timeout(MEMORY_WAIT_MAX, room.acquire_many_owned(permits)).await {
        Ok(admitted) => Ok(admitted.expect("it is never closed")),
        Err(_) => {
            let message = format!(
                "no memory for the rest of the message for {MEMORY_WAIT_MAX:?}: send again, or \
                 raise request.memory.bytes.max"
            );
            Err(Refusal::new(ErrorCode::Throttled, message).into())
        }
    }
}

impl http_body::Body for Halves {
    type Data = Bytes;
    type Error = tonic::codegen::StdError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        if this.waiting.is_none() {
            let polled = Pin::new(&mut this.body).poll_frame(cx);
            if polled.is_pending() {
                return this.poll_stalled(cx).map(|status| Some(Err(status.into())));
            }
            let frame = match ready!(polled) {
                Some(Ok(frame)) => frame,
                other => return Poll::Ready(other.map(|end| end.map_err(Into::into))),
            };
            this.message.take(frame.data_ref().map_or(&[][..], |data| data));
            match this.due() {
                Some(admitting) => this.waiting = Some((frame, admitting)),
                None => return Poll::Ready(Some(Ok(frame))),
            }
        }
        let Some((_, admitting)) = &mut this.waiting else { return Poll::Pending };
        let admitted = ready!(admitting.as_mut().poll(cx));
        let frame = this.waiting.take().map(|(frame, _)| frame);
        match (admitted, &mut this.memory) {
            (Ok(more), Some(memory)) => memory.merge(more),
            (Ok(more), none) => *none = Some(more),
            (Err(status), _) => return Poll::Ready(Some(Err(status.into()))),
        }
        // The wait for memory was not the caller's.
        this.stretch = None;
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.waiting.is_none() && self.body.is_end_stream()
    }
}

/// The flag that says whether a message is compressed, and its length.
const PREFIX_BYTES: usize = 5;

/// The message that is coming in.
#[derive(Default)]
struct Unfinished {
    prefix: [u8; PREFIX_BYTES],
    prefix_bytes: usize,
    /// What is missing of it behind its prefix.
    missing: usize,
    /// What has come of it behind its prefix.
    bytes: usize,
}

impl Unfinished {
    fn take(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            let wanted = match self.missing {
                0 => PREFIX_BYTES - self.prefix_bytes,
                missing => missing,
            };
            let (part, rest) = data.split_at(wanted.min(data.len()));
            data = rest;
            if self.missing == 0 {
                self.begin(part);
            } else {
                self.missing -= part.len();
                self.bytes = if self.missing == 0 { 0 } else { self.bytes + part.len() };
            }
        }
    }

    fn begin(&mut self, part: &[u8]) {
        self.prefix[self.prefix_bytes..][..part.len()].copy_from_slice(part);
        self.prefix_bytes += part.len();
        if self.prefix_bytes == PREFIX_BYTES {
            let [_, length @ ..] = self.prefix;
            self.missing = u32::from_be_bytes(length) as usize;
            self.prefix_bytes = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::poll_fn;

    use http_body::Body as _;

    use super::*;

    const PIECE: usize = 64 << 10;

    /// Goal: what was counted of a message is free when it is whole, wherever the next one begins.
    #[tokio::test]
    async fn a_message_that_is_whole_gives_back_what_it_took() {
        let length = 5 * PIECE;
        let message = [&[0][..], &(length as u32).to_be_bytes(), &vec![7; length]].concat();
        let bytes = message.repeat(3);
        let mut begun_in_last = false;
        for piece in [PIECE - 1, PIECE, 2 * PIECE + 1, bytes.len()] {
            let pieces: Vec<_> = bytes.chunks(piece).map(Bytes::copy_from_slice).collect();
            let (count, pieces) = (pieces.len(), pieces.into_iter().map(Ok::<_, Infallible>));
            let body = Body::from_stream(futures_util::stream::iter(pieces));
            let room = Arc::new(Semaphore::new(2 * length));
            let mut halves = Halves::of(body, Arc::clone(&room));
            for number in 1..=count {
                let frame = poll_fn(|context| Pin::new(&mut halves).poll_frame(context)).await;
                frame.expect("there are more").expect("there is memory");
                let counted = 2 * length - room.available_permits();
                let here = (number * piece).min(bytes.len()) % message.len();
                assert!(counted <= here, "{counted} bytes are counted of {here}");
                assert!(here - counted <= PREFIX_BYTES, "{counted} of {here}");
                begun_in_last |= here > 0 && here < piece && number > 1;
            }
            assert_eq!(room.available_permits(), 2 * length);
        }
        assert!(begun_in_last, "some message begins where another ends");
    }

    /// Goal: wherever frames end, what counts is what has come of a message that is not whole.
    #[test]
    fn what_is_whole_does_not_count() {
        let message = |length: u8| [&[0, 0, 0, 0, length][..], &vec![7; length.into()]].concat();
        let (first, last) = ([message(3), message(0)].concat(), message(200));
        for cut in 0..last.len() {
            let mut unfinished = Unfinished::default();
            unfinished.take(&[&first, &last[..cut]].concat());
            assert_eq!(unfinished.bytes, cut.saturating_sub(PREFIX_BYTES), "after {cut} bytes");
            unfinished.take(&last[cut..]);
            assert_eq!((unfinished.bytes, unfinished.missing), (0, 0));
        }
    }
}

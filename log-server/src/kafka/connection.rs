//! One client: its frames in, its answers out.
//!
//! Requests are begun in the order in which they came, and answered in that order. Produce requests
//! overlap: the next is appended while the one before waits for the disk, as clients with several
//! requests in flight expect. Every other request waits until all before it are answered and sent,
//! so that a client that does not read costs the memory of one answer and no more.
//!
//! The rule: a stranger's length takes no memory. Bytes are taken in as they come, and what one
//! frame holds beyond its first 64 KiB counts against the broker's request memory. A client that
//! stops in the middle of a frame, or does not take its answers, is closed; so is one that goes on
//! byte by byte, since it would hold for hours what others wait for. And one connection's
//! unanswered requests are bounded: it does not get what is meant for all.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use log_proto::kafka::Rope;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, timeout, timeout_at};

use super::fetch_sessions::FetchSessions;
use super::router::{Turn, route};
use super::{Advertised, Context};
use crate::broker::Broker;
use crate::limits::{CONNECTION_IN_FLIGHT_BYTES_MAX, SMALL_REQUEST_BYTES_MAX};
use crate::principal::Principal;

/// The four bytes in front of each frame.
const LENGTH_BYTES: usize = 4;

/// What is read at a time, and what a frame may hold before it counts as request memory.
const READ_BYTES: usize = SMALL_REQUEST_BYTES_MAX;

/// Produce requests of one connection that may wait for the disk at the same time. Clients have
/// five in flight.
const OVERLAPPING_MAX: u32 = 32;

/// How long a client may rest in the middle of a frame, or leave an answer untaken.
const STALL_MAX: Duration = Duration::from_secs(30);

/// What a client is to send in a second when a frame takes longer than that.
const RATE_MIN: usize = 128 << 10;

/// What a client is to take of an answer in a second.
const ANSWER_RATE_MIN: usize = 256 << 10;

/// How long a client may take for an answer of so many bytes. No client library waits for one as
/// long as this leaves for it.
fn patience(answer_bytes: usize) -> Duration {
    STALL_MAX + Duration::from_secs((answer_bytes / ANSWER_RATE_MIN) as u64)
}

/// How fast a frame comes: it is looked at every [`STALL_MAX`], so that a client does not live on
/// what it has sent before.
#[derive(Clone, Copy, Debug)]
struct Pace {
    since: Instant,
    /// How much of it was here then.
    bytes: usize,
}

impl Pace {
    fn until(&self) -> Instant {
        self.since + STALL_MAX
    }

    /// What comes after it, with so many bytes here by now; `None` for a client that stalls.
    fn next(&self, bytes: usize) -> Option<Self> {
        let enough = bytes - self.bytes >= RATE_MIN * STALL_MAX.as_secs() as usize;
        enough.then(|| Self { since: Instant::now(), bytes })
    }
}

/// How long the rest of a large request waits for request memory. It may be held by requests that
/// are waiting for theirs; so somebody has to give up, and try again.
const MEMORY_WAIT_MAX: Duration = Duration::from_secs(10);

/// Who has connected.
pub(super) struct Client {
    pub(super) broker: Broker,
    pub(super) principal: Principal,
    pub(super) advertised: Advertised,
    pub(super) fetch_sessions: Arc<FetchSessions>,
    pub(super) peer: SocketAddr,
}

/// A request as it came.
pub(super) struct Frame {
    /// Without its length.
    pub(super) bytes: Bytes,
    /// What it takes of the broker's request memory, if it is large.
    pub(super) memory: Option<OwnedSemaphorePermit>,
}

/// What a request comes to.
pub(super) enum Handled {
    /// This, now.
    Answer(Rope),
    /// This, when it is there; the next request need not wait for it.
    Later(Pin<Box<dyn Future<Output = Option<Rope>> + Send>>),
    /// Nothing: the client does not expect an answer.
    Silence,
}

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
pub(super) enum Closed {
    #[error("the client has gone")]
    ByClient,
    #[error("the connection failed: {0}")]
    Failed(#[from] std::io::Error),
    #[error(
        "a frame of {declared} bytes: this is no Kafka client, or socket.request.max.bytes, which \
         is {max}, is too small"
    )]
    FrameLength { declared: i32, max: usize },
    #[error("no request for {0:?}")]
    Idle(Duration),
    #[error("a frame came too slowly: after {STALL_MAX:?} not whole, and less than {RATE_MIN} B/s")]
    Stalled,
    #[error("no request memory for {MEMORY_WAIT_MAX:?}: raise request.memory.bytes.max")]
    Memory,
    #[error("{0}")]
    Request(String),
}

/// Serves the client until one of the two has enough.
pub(super) async fn run(client: Client, stream: TcpStream) {
    let (reading, writing) = stream.into_split();
    let (answers, to_write) = mpsc::channel(OVERLAPPING_MAX as usize);
    let writer = tokio::spawn(write(writing, to_write));
    let peer = client.peer;
    match read(client, reading, answers).await {
        Ok(()) | Err(Closed::ByClient) => {}
        Err(closed @ (Closed::Idle(_) | Closed::Failed(_))) => {
            tracing::debug!(%peer, reason = %closed, "closed");
        }
        Err(closed) => tracing::info!(%peer, reason = %closed, "closed"),
    }
    // What was asked before is still answered.
    let _ = writer.await;
}

/// An answer on its way, with its shares of how many requests may overlap and of how many bytes.
struct Answer {
    handled: Handled,
    _turn: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
}

async fn read(
    client: Client,
    stream: OwnedReadHalf,
    answers: mpsc::Sender<Answer>,
) -> Result<(), Closed> {
    let turns = Arc::new(Semaphore::new(OVERLAPPING_MAX as usize));
    let in_flight = Arc::new(Semaphore::new(CONNECTION_IN_FLIGHT_BYTES_MAX));
    let mut stage = client.broker.stage();
    let mut frames = Frames::new(client.broker.clone(), stream);
    let mut context = Context {
        broker: client.broker,
        principal: client.principal,
        advertised: client.advertised,
        fetch_sessions: client.fetch_sessions,
        client_host: client.peer.ip().to_canonical().to_string().into(),
        client_id: None,
    };
    loop {
        let frame = tokio::select! {
            () = Broker::stopping(&mut stage) => return Ok(()),
            // The writer has given up on the client.
            () = answers.closed() => return Err(Closed::ByClient),
            frame = frames.next() => frame?,
        };
        let size = frame.bytes.len().min(CONNECTION_IN_FLIGHT_BYTES_MAX);
        let bytes = Arc::clone(&in_flight).acquire_many_owned(size as u32).await;
        let bytes = bytes.map_err(|_| Closed::ByClient)?;
        let routed = route(&mut context, frame)?;
        let share = match routed.turn {
            Turn::Overlaps => 1,
            Turn::Alone => OVERLAPPING_MAX,
        };
        let turn = Arc::clone(&turns).acquire_many_owned(share).await;
        let turn = turn.map_err(|_| Closed::ByClient)?;
        let handled = routed.handling.await?;
        let answer = Answer { handled, _turn: turn, _bytes: bytes };
        answers.send(answer).await.map_err(|_| Closed::ByClient)?;
    }
}

async fn write(mut stream: OwnedWriteHalf, mut answers: mpsc::Receiver<Answer>) {
    while let Some(answer) = answers.recv().await {
        let rope = match answer.handled {
            Handled::Answer(rope) => Some(rope),
            Handled::Later(coming) => coming.await,
            Handled::Silence => continue,
        };
        // An answer that cannot be made leaves the client waiting for it: better gone than silent.
        let Some(rope) = rope else { return };
        if send(&mut stream, rope).await.is_err() {
            return;
        }
    }
}

async fn send(stream: &mut OwnedWriteHalf, mut rope: Rope) -> std::io::Result<()> {
    let deadline = Instant::now() + patience(rope.remaining());
    while rope.has_remaining() {
        // As long as some of it goes out, the client is alive.
        let soon = deadline.min(Instant::now() + STALL_MAX);
        let written = timeout_at(soon, stream.write_buf(&mut rope)).await;
        if written.map_err(|_| std::io::ErrorKind::TimedOut)?? == 0 {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
    }
    Ok(())
}

/// Takes frames off a socket.
struct Frames {
    broker: Broker,
    stream: OwnedReadHalf,
    buffer: BytesMut,
    /// Of the frame that has come in part.
    pace: Option<Pace>,
    memory: Option<OwnedSemaphorePermit>,
}

impl Frames {
    fn new(broker: Broker, stream: OwnedReadHalf) -> Self {
        Self { broker, stream, buffer: BytesMut::new(), pace: None, memory: None }
    }

    /// The next frame. Dropped while it waits, it loses nothing.
    async fn next(&mut self) -> Result<Frame, Closed> {
        while self.buffer.len() < LENGTH_BYTES {
            let until = self.waits_until();
            self.more(until, READ_BYTES).await?;
        }
        let declared = (&self.buffer[..LENGTH_BYTES]).get_i32();
        let max = self.broker.config().socket_request_bytes_max;
        let length = usize::try_from(declared).ok().filter(|length| *length <= max);
        let end = LENGTH_BYTES + length.ok_or(Closed::FrameLength { declared, max })?;
        while self.buffer.len() < end {
            let asked_at = Instant::now();
            self.account().await?;
            let missing = end - self.buffer.len();
            let pace = self.pace();
            // What others held is not the client's delay.
            pace.since += asked_at.elapsed();
            let until = pace.until();
            self.more(until, missing.clamp(READ_BYTES, self.buffer.len().max(READ_BYTES))).await?;
        }
        self.pace = None;
        let mut bytes = self.buffer.split_to(end).freeze();
        bytes.advance(LENGTH_BYTES);
        Ok(Frame { bytes, memory: self.memory.take() })
    }

    /// A client may think about its next request, and may not stop in the middle of one.
    fn waits_until(&mut self) -> Instant {
        if self.buffer.is_empty() {
            return Instant::now() + self.broker.config().connections_idle_max;
        }
        self.pace().until()
    }

    fn pace(&mut self) -> &mut Pace {
        let bytes = self.buffer.len();
        self.pace.get_or_insert_with(|| Pace { since: Instant::now(), bytes })
    }

    /// Has the bytes of the frame that are here, and those that the next read may bring, count.
    async fn account(&mut self) -> Result<(), Closed> {
        let counted = self.memory.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let due = self.buffer.len().saturating_sub(counted);
        if due < READ_BYTES {
            return Ok(());
        }
        let more = timeout(MEMORY_WAIT_MAX, self.broker.admit_part(due)).await;
        let more = more.map_err(|_| Closed::Memory)?;
        let more = more.map_err(|error| Closed::Request(error.to_string()))?;
        match &mut self.memory {
            Some(memory) => memory.merge(more),
            None => self.memory = Some(more),
        }
        Ok(())
    }

    async fn more(&mut self, deadline: Instant, room: usize) -> Result<(), Closed> {
        self.buffer.reserve(room);
        match timeout_at(deadline, self.stream.read_buf(&mut self.buffer)).await {
            Ok(Ok(0)) => Err(Closed::ByClient),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.into()),
            Err(_) if self.buffer.is_empty() => {
                Err(Closed::Idle(self.broker.config().connections_idle_max))
            }
            Err(_) => {
                let here = self.buffer.len();
                self.pace = Some(self.pace().next(here).ok_or(Closed::Stalled)?);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::handlers::testing::Rig;
    use tokio::net::TcpListener;

    #[test]
    fn a_large_answer_may_take_its_time_and_no_more() {
        assert_eq!(patience(0), STALL_MAX);
        assert_eq!(patience(64 << 20), STALL_MAX + Duration::from_secs(256));
    }

    /// The frames of one client, and its end of the connection.
    async fn connected(rig: &Rig) -> (Frames, OwnedWriteHalf, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let client = TcpStream::connect(address).await.expect("it listens");
        let (accepted, _) = listener.accept().await.expect("somebody has come");
        let (reading, writing) = accepted.into_split();
        (Frames::new(rig.context.broker.clone(), reading), writing, client)
    }

    /// A frame of so many bytes, without the last `missing`.
    fn frame_but(bytes: i32, missing: usize) -> Vec<u8> {
        let mut frame = bytes.to_be_bytes().to_vec();
        frame.resize(LENGTH_BYTES + bytes as usize - missing, 7);
        frame
    }

    #[tokio::test]
    async fn a_client_that_stops_in_the_middle_of_a_frame_is_closed_and_its_memory_is_free() {
        let rig = Rig::start().await;
        for (frame, begins) in [(vec![0, 0], 2), (frame_but(1 << 20, 1), 1 << 20)] {
            let (mut frames, _writing, mut client) = connected(&rig).await;
            client.write_all(&frame).await.expect("it is open");
            // All of it has come before the clock runs ahead.
            while frames.buffer.len() < begins {
                let more = timeout(Duration::from_millis(10), frames.next()).await;
                assert!(more.is_err(), "it is not whole");
            }
            tokio::time::pause();
            let closed = frames.next().await.err().expect("it never comes");
            tokio::time::resume();
            assert!(matches!(closed, Closed::Stalled), "{closed}");
        }
    }

    #[tokio::test]
    async fn an_idle_client_is_closed_after_a_while() {
        let rig = Rig::start().await;
        let (mut frames, _writing, _client) = connected(&rig).await;
        tokio::time::pause();
        let begun = Instant::now();
        let closed = frames.next().await.err().expect("it never comes");
        assert!(matches!(closed, Closed::Idle(_)), "{closed}");
        assert!(begun.elapsed() >= rig.context.broker.config().connections_idle_max);
    }

    #[test]
    fn a_client_does_not_live_on_what_it_has_sent_before() {
        let pace = Pace { since: Instant::now(), bytes: 50 << 20 };
        assert!(pace.next(50 << 20).is_none());
        assert!(pace.next((50 << 20) + 1000).is_none());
        let next = pace.next(54 << 20).expect("fast enough");
        assert_eq!(next.bytes, 54 << 20);
        assert!(next.next(54 << 20).is_none());
    }
}

//! Who comes in: the connections of a door, and the descriptors that they take.
//!
//! Each connection takes a descriptor, and so does each log that is written or read. The rule:
//! strangers never get all of them. What clients have no place for is closed at once, because one
//! that waits in a queue without an answer looks to its user like a broker that hangs; and where
//! the system gives out no descriptor, the next client waits a moment, since asking again at once
//! would keep a processor busy with nothing. The crates that serve gRPC and HTTP take all that
//! come, and one of them asks again at once; so they are given connections that came in here. They
//! also wait for ever for a client's first word: one that says nothing for long loses its place.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};
use tonic::transport::server::Connected;

/// How long to wait when the process has no descriptor left for another connection.
const DESCRIPTORS_PAUSE: Duration = Duration::from_millis(100);

/// Places for clients.
#[derive(Clone, Debug)]
pub(crate) struct Admission(Arc<Semaphore>);

impl Admission {
    /// So many places.
    pub(crate) fn of(places: usize) -> Self {
        Self(Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS))))
    }

    /// The next client that there is a place for. May be dropped at any time.
    pub(crate) async fn accept(&self, listener: &TcpListener) -> Admitted {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => match Arc::clone(&self.0).try_acquire_owned() {
                    Ok(place) => return Admitted { stream, peer, place, silence: None },
                    Err(_) => tracing::warn!(%peer, "closed: too many clients are connected"),
                },
                Err(error) => recover(&error).await,
            }
        }
    }
}

/// An accept that failed: a client that left while it came, or the process is out of descriptors.
async fn recover(error: &io::Error) {
    tracing::debug!(%error, "cannot take a connection");
    tokio::time::sleep(DESCRIPTORS_PAUSE).await;
}

/// A connection, and its place for as long as it lives.
#[derive(Debug)]
pub(crate) struct Admitted {
    stream: TcpStream,
    peer: SocketAddr,
    place: OwnedSemaphorePermit,
    /// Bounded, if the door does not do so by itself.
    silence: Option<Silence>,
}

/// How long nothing has been heard.
#[derive(Debug)]
struct Silence {
    max: Duration,
    heard_at: Instant,
    /// Not moved with each word, which would cost more than the word.
    end: Pin<Box<Sleep>>,
}

impl Silence {
    fn poll_too_long(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.end.as_mut().poll(cx));
            let end = self.heard_at + self.max;
            if end <= Instant::now() {
                return Poll::Ready(());
            }
            self.end.as_mut().reset(end);
        }
    }
}

impl Admitted {
    /// The connection, who it is, and its place.
    pub(crate) fn into_parts(self) -> (TcpStream, SocketAddr, OwnedSemaphorePermit) {
        (self.stream, self.peer, self.place)
    }

    pub(crate) fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Small answers must not wait for more to go with them. Failing costs time, nothing else.
    pub(crate) fn without_delay(self) -> Self {
        let _ = self.stream.set_nodelay(true);
        self
    }

    /// Fails once nothing has come for so long.
    pub(crate) fn silent_for_at_most(self, max: Duration) -> Self {
        let end = Box::pin(tokio::time::sleep(max));
        Self { silence: Some(Silence { max, heard_at: Instant::now(), end }), ..self }
    }

    fn pinned(self: Pin<&mut Self>) -> Pin<&mut TcpStream> {
        Pin::new(&mut self.get_mut().stream)
    }

    /// A client that takes nothing is not read from either by whoever has more to say to it.
    fn unless_silent<T>(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        polled: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match &mut self.get_mut().silence {
            Some(silence) if polled.is_pending() => {
                silence.poll_too_long(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
            }
            _ => polled,
        }
    }
}

impl AsyncRead for Admitted {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut this = self;
        let polled = this.as_mut().pinned().poll_read(cx, buffer);
        if let Some(silence) = this.silence.as_mut().filter(|_| polled.is_ready()) {
            silence.heard_at = Instant::now();
        }
        this.unless_silent(cx, polled)
    }
}

impl AsyncWrite for Admitted {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut this = self;
        let polled = this.as_mut().pinned().poll_write(cx, bytes);
        this.unless_silent(cx, polled)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pinned().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pinned().poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut this = self;
        let polled = this.as_mut().pinned().poll_write_vectored(cx, parts);
        this.unless_silent(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

impl Connected for Admitted {
    type ConnectInfo = <TcpStream as Connected>::ConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.stream.connect_info()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn door() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        (listener, address)
    }

    #[tokio::test]
    async fn who_finds_no_place_is_closed_and_a_place_is_given_back() {
        let (listener, address) = door().await;
        let admission = Admission::of(1);
        let _first = TcpStream::connect(address).await.expect("it listens");
        let admitted = admission.accept(&listener).await;
        let mut second = TcpStream::connect(address).await.expect("it listens");
        let (closed, third) = tokio::join!(
            async {
                let closed = second.read(&mut [0]).await;
                drop(admitted);
                let third = TcpStream::connect(address).await.expect("it listens");
                (closed, third.local_addr().expect("it is connected"))
            },
            admission.accept(&listener),
        );
        assert_eq!(closed.0.expect("no reset"), 0);
        assert_eq!(third.peer(), closed.1);
    }

    #[tokio::test]
    async fn silence_ends_a_connection_and_words_prolong_it() {
        let (listener, address) = door().await;
        let mut client = TcpStream::connect(address).await.expect("it listens");
        let admitted = Admission::of(1).accept(&listener).await;
        let max = Duration::from_millis(50);
        let mut admitted = admitted.silent_for_at_most(max);
        let mut word = [0];
        let mut heard_at = Instant::now();
        for _ in 0..5 {
            client.write_all(b"x").await.expect("it is open");
            tokio::time::sleep(max / 2).await;
            heard_at = Instant::now();
            assert_eq!(admitted.read(&mut word).await.expect("it was heard"), 1);
        }
        let ended = admitted.read(&mut word).await.expect_err("nothing comes");
        assert_eq!(ended.kind(), io::ErrorKind::TimedOut);
        assert!(heard_at.elapsed() >= max);
    }

    #[tokio::test]
    async fn who_takes_nothing_and_says_nothing_is_not_written_to_for_ever() {
        let (listener, address) = door().await;
        let _client = TcpStream::connect(address).await.expect("it listens");
        let admitted = Admission::of(1).accept(&listener).await;
        let mut admitted = admitted.silent_for_at_most(Duration::from_millis(50));
        let all = vec![0; 64 << 20];
        let ended = admitted.write_all(&all).await.expect_err("more than any socket holds");
        assert_eq!(ended.kind(), io::ErrorKind::TimedOut);
    }
}

//! Who comes in: the connections of a door, and the descriptors that they take.
//!
//! Each connection takes a descriptor, and so does each log that is written or read. The rule:
//! strangers never get all of them. What clients have no place for is closed at once, because one
//! that waits in a queue without an answer looks to its user like a broker that hangs; and where
//! the system gives out no descriptor, the next client waits a moment, since asking again at once
//! would keep a processor busy with nothing. The crates that serve gRPC and HTTP take all that
//! come, and one of them asks again at once; so they are given connections that came in here.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
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
                    Ok(place) => return Admitted { stream, peer, place },
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

    fn pinned(self: Pin<&mut Self>) -> Pin<&mut TcpStream> {
        Pin::new(&mut self.get_mut().stream)
    }
}

impl AsyncRead for Admitted {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.pinned().poll_read(cx, buffer)
    }
}

impl AsyncWrite for Admitted {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.pinned().poll_write(cx, bytes)
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
        self.pinned().poll_write_vectored(cx, parts)
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

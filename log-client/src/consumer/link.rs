//! A Consume call that is made again when it breaks.
//!
//! The rule: what the next call begins with is asked for when it is made, so that it says where the
//! consumer is by then. The broker sends no more than it was given credit for, and credit comes
//! back as records are consumed: a slow application slows the broker down instead of filling this
//! process. Polling was rejected: it costs a round trip per response and latency at the end of the
//! log.

use std::{future::pending, pin::Pin, time::Duration};

use log_proto::{
    v1::{self, consume_request::Request as Asked},
    wire::Incoming,
};
use tokio::{
    sync::mpsc::{UnboundedSender, unbounded_channel},
    time::{Instant, sleep_until, timeout},
};
use tonic::Status;

use crate::{connection::Connection, error::RequestError, retry::Backoff};

/// How long a broker may take to accept a stream.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a broker may take to end one.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// Credit is given back in pieces of this fraction of all of it: often enough that the broker
/// never runs dry, seldom enough that it does not cost a message per response.
const CREDIT_FRACTION: u64 = 8;

/// How a link behaves.
#[derive(Clone, Copy, Debug)]
pub(super) struct LinkConfig {
    pub(super) credit_bytes: u64,
    pub(super) reconnect_timeout: Option<Duration>,
}

pub(super) struct Link {
    connection: Connection,
    config: LinkConfig,
    stream: Stream,
    /// The number of the current stream. Credit of an earlier one is void.
    generation: u64,
    /// Consumed, and not yet given back.
    owed: u64,
    backoff: Backoff,
    /// Since when nothing has arrived for want of a connection.
    away_since: Option<Instant>,
}

enum Stream {
    Down {
        retry_at: Instant,
    },
    Opening(Pin<Box<dyn Future<Output = Result<Box<Up>, RequestError>> + Send>>),
    Up(Box<Up>),
    /// Nothing will come any more.
    Ended,
}

struct Up {
    requests: UnboundedSender<v1::ConsumeRequest>,
    responses: Incoming<v1::ConsumeResponse>,
    /// What it has ended with, if somebody has met that who was not waiting for it.
    broken: Option<Status>,
}

impl Up {
    async fn message(&mut self) -> Result<Option<v1::ConsumeResponse>, Status> {
        match self.broken.take() {
            Some(status) => Err(status),
            None => self.responses.message().await,
        }
    }
}

/// Credit that an arrival used, to be given back once it is consumed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lent {
    generation: u64,
    bytes: u64,
}

impl Link {
    pub(super) fn new(connection: Connection, config: LinkConfig) -> Self {
        Self {
            connection,
            config,
            stream: Stream::Down { retry_at: Instant::now() },
            generation: 0,
            owed: 0,
            backoff: Backoff::new(),
            away_since: None,
        }
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(super) fn has_ended(&self) -> bool {
        matches!(self.stream, Stream::Ended)
    }

    /// Nothing is to come any more.
    pub(super) fn end(&mut self) {
        self.stream = Stream::Ended;
    }

    /// The next response, over as many calls as that takes; `first` is what a call begins with.
    /// An error is the end, unless [`Link::again`] makes a new beginning. May be dropped at any
    /// time without losing anything.
    pub(super) async fn response(
        &mut self,
        mut first: impl FnMut() -> Asked,
    ) -> Result<v1::ConsumeResponse, RequestError> {
        loop {
            match self.step(&mut first).await {
                Ok(None) => {}
                Ok(Some(response)) => {
                    self.away_since = None;
                    self.backoff.reset();
                    return Ok(response);
                }
                Err(error) => self.lost(error)?,
            }
        }
    }

    /// A response that is here already.
    pub(super) async fn response_at_hand(&mut self) -> Option<v1::ConsumeResponse> {
        let Stream::Up(up) = &mut self.stream else { return None };
        tokio::select! {
            biased;
            response = up.responses.message() => response.unwrap_or_else(|status| {
                up.broken = Some(status);
                None
            }),
            () = std::future::ready(()) => None,
        }
    }

    /// One step towards the next response.
    async fn step(
        &mut self,
        first: &mut impl FnMut() -> Asked,
    ) -> Result<Option<v1::ConsumeResponse>, RequestError> {
        match &mut self.stream {
            Stream::Down { retry_at } => {
                sleep_until(*retry_at).await;
                self.stream = Stream::Opening(Box::pin(self.opening(first())));
                Ok(None)
            }
            Stream::Opening(opening) => {
                self.stream = Stream::Up(opening.await?);
                Ok(None)
            }
            Stream::Up(up) => match up.message().await {
                Ok(Some(response)) => Ok(Some(response)),
                Ok(None) => Err(self.connection.ended()),
                Err(status) => Err(self.connection.failure(status)),
            },
            Stream::Ended => pending().await,
        }
    }

    /// The stream is gone. Takes it up again, unless that is hopeless.
    fn lost(&mut self, error: RequestError) -> Result<(), RequestError> {
        let now = Instant::now();
        let away_since = *self.away_since.get_or_insert(now);
        let too_long = self.config.reconnect_timeout.is_some_and(|max| now - away_since >= max);
        if !error.is_retriable() || too_long {
            self.stream = Stream::Ended;
            return Err(error);
        }
        match error.refusal() {
            Some(refusal) => tracing::warn!(%refusal, "the broker refuses for now: asking again"),
            None => tracing::debug!(%error, "consumer lost its stream"),
        }
        self.again();
        Ok(())
    }

    /// Makes another call after a while.
    pub(super) fn again(&mut self) {
        self.stream = Stream::Down { retry_at: Instant::now() + self.backoff.next_wait() };
    }

    fn opening(
        &mut self,
        first: Asked,
    ) -> impl Future<Output = Result<Box<Up>, RequestError>> + Send + use<> {
        self.generation += 1;
        self.owed = 0;
        let connection = self.connection.clone();
        async move {
            let (requests, sent) = unbounded_channel();
            let _ = requests.send(v1::ConsumeRequest { request: Some(first) });
            let opening = connection.stream("/cairn.v1.Consumer/Consume", sent);
            let responses = connection.answer(OPEN_TIMEOUT, opening).await?;
            Ok(Box::new(Up { requests, responses, broken: None }))
        }
    }

    /// Sends a request, if there is a stream. On one that just broke it goes nowhere.
    pub(super) fn send(&self, request: Asked) {
        if let Stream::Up(up) = &self.stream {
            let _ = up.requests.send(v1::ConsumeRequest { request: Some(request) });
        }
    }

    /// The credit that a response takes.
    pub(super) fn lend(&self, response: &v1::ConsumeResponse) -> Lent {
        Lent { generation: self.generation, bytes: response.payload_bytes }
    }

    /// Gives credit back.
    pub(super) fn give_back(&mut self, lent: Lent) {
        if lent.generation != self.generation || !matches!(self.stream, Stream::Up(_)) {
            return;
        }
        self.owed += lent.bytes;
        if self.owed * CREDIT_FRACTION >= self.config.credit_bytes {
            let credit = v1::Credit { bytes: std::mem::take(&mut self.owed) };
            // The next stream starts with all of it.
            self.send(Asked::Credit(credit));
        }
    }

    /// Ends the requests, and waits until the broker has ended its responses.
    pub(super) async fn close(&mut self) -> Result<(), RequestError> {
        let Stream::Up(up) = std::mem::replace(&mut self.stream, Stream::Ended) else {
            return Ok(());
        };
        let Up { requests, mut responses, .. } = *up;
        drop(requests);
        let ended = timeout(CLOSE_TIMEOUT, async {
            while responses.message().await?.is_some() {}
            Ok::<(), Status>(())
        });
        match ended.await {
            Ok(ended) => ended.map_err(|status| self.connection.failure(status)),
            Err(_) => Err(RequestError::TimedOut {
                address: self.connection.address().to_owned(),
                after: CLOSE_TIMEOUT,
            }),
        }
    }
}

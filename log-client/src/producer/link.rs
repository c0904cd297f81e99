//! The producer's stream to the broker, and its producer ids.
//!
//! The rule: nothing is handed to a stream before the broker has accepted it, so that a broker
//! that is away leaves no record in doubt; and once a stream breaks, it is replaced whole. The
//! channel behind a stream is unbounded, since what may be in it is bounded already: five batches
//! a partition, and the producer's buffer.

use std::{future::pending, pin::Pin, time::Duration};

use log_proto::{
    types::{Producer, ProducerEpoch, ProducerId},
    v1,
    wire::Incoming,
};
use tokio::{sync::mpsc::UnboundedSender, time::Instant};

use crate::{
    connection::Connection,
    error::{BrokerError, ErrorCode, RequestError},
    retry::Backoff,
};

/// How long a broker may take to accept a stream, or to hand out a producer id.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

type Opening<T> = Pin<Box<dyn Future<Output = Result<T, RequestError>> + Send>>;

pub(super) struct Link {
    connection: Connection,
    state: State,
    backoff: Backoff,
}

enum State {
    Down { retry_at: Instant },
    Opening(Opening<Box<Up>>),
    Up(Box<Up>),
}

struct Up {
    requests: UnboundedSender<v1::ProduceRequest>,
    answers: Incoming<v1::ProduceResponse>,
}

/// What happened on a link.
pub(super) enum Event {
    Opened,
    Answer(v1::ProduceResponse),
    /// It is down, and whatever it had not answered stays unanswered.
    Lost(RequestError),
}

impl Link {
    pub(super) fn new(connection: Connection) -> Self {
        let state = State::Down { retry_at: Instant::now() };
        Self { connection, state, backoff: Backoff::new() }
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(self.state, State::Up(_))
    }

    /// Begins to open a link that is down, if it is time. When it is not, says when it will be.
    pub(super) fn open(&mut self, now: Instant) -> Option<Instant> {
        match self.state {
            State::Down { retry_at } if retry_at <= now => {
                self.state = State::Opening(Box::pin(open_stream(self.connection.clone())));
                None
            }
            State::Down { retry_at } => Some(retry_at),
            State::Opening(_) | State::Up(_) => None,
        }
    }

    /// Hands a request to a link that is up. On one that just broke it goes nowhere, which the
    /// next event tells.
    pub(super) fn send(&self, request: v1::ProduceRequest) {
        if let State::Up(up) = &self.state {
            let _ = up.requests.send(request);
        }
    }

    /// Waits until something happens; for ever while it is down. May be dropped at any time
    /// without losing anything.
    pub(super) async fn event(&mut self) -> Event {
        let event = match &mut self.state {
            State::Down { .. } => pending().await,
            State::Opening(opening) => match opening.await {
                Ok(up) => {
                    self.state = State::Up(up);
                    return Event::Opened;
                }
                Err(error) => Event::Lost(error),
            },
            State::Up(up) => match up.answers.message().await {
                Ok(Some(answer)) => Event::Answer(answer),
                Ok(None) => Event::Lost(self.connection.ended()),
                Err(status) => Event::Lost(self.connection.failure(status)),
            },
        };
        match event {
            Event::Lost(_) => {
                self.state = State::Down { retry_at: Instant::now() + self.backoff.next_wait() };
            }
            Event::Opened | Event::Answer(_) => self.backoff.reset(),
        }
        event
    }
}

async fn open_stream(connection: Connection) -> Result<Box<Up>, RequestError> {
    let (requests, sent) = tokio::sync::mpsc::unbounded_channel();
    let opening = connection.stream("/cairn.v1.Producer/ProduceStream", sent);
    let answers = connection.answer(OPEN_TIMEOUT, opening).await?;
    Ok(Box::new(Up { requests, answers }))
}

/// The producer id that new lanes share, fetched when it is needed.
pub(super) struct ProducerIds {
    connection: Connection,
    current: Option<Producer>,
    fetch: Option<Opening<Producer>>,
    retry_at: Instant,
    backoff: Backoff,
}

impl ProducerIds {
    pub(super) fn new(connection: Connection) -> Self {
        let retry_at = Instant::now();
        Self { connection, current: None, fetch: None, retry_at, backoff: Backoff::new() }
    }

    pub(super) fn current(&self) -> Option<Producer> {
        self.current
    }

    /// `producer` lost its place with the broker: who needs an id from now on gets another.
    pub(super) fn retire(&mut self, producer: Producer) {
        if self.current == Some(producer) {
            self.current = None;
        }
    }

    /// Begins to fetch an id unless there is one. When it is too early to, says when it will not be.
    pub(super) fn fetch(&mut self, now: Instant) -> Option<Instant> {
        if self.current.is_some() || self.fetch.is_some() {
            return None;
        }
        if self.retry_at > now {
            return Some(self.retry_at);
        }
        self.fetch = Some(Box::pin(init_producer(self.connection.clone())));
        None
    }

    /// Waits for the fetch under way; for ever when there is none.
    pub(super) async fn fetched(&mut self) -> Result<(), RequestError> {
        let Some(fetch) = &mut self.fetch else {
            return pending().await;
        };
        let fetched = fetch.await;
        self.fetch = None;
        match fetched {
            Ok(producer) => {
                self.backoff.reset();
                self.current = Some(producer);
                Ok(())
            }
            Err(error) => {
                self.retry_at = Instant::now() + self.backoff.next_wait();
                Err(error)
            }
        }
    }
}

async fn init_producer(connection: Connection) -> Result<Producer, RequestError> {
    let mut client = connection.producer();
    let request = v1::InitProducerRequest {};
    let answer = connection.answer(OPEN_TIMEOUT, client.init_producer(request)).await?;
    let epoch = i16::try_from(answer.producer_epoch).ok().and_then(ProducerEpoch::new);
    match (ProducerId::new(answer.producer_id), epoch) {
        (Some(id), Some(epoch)) => Ok(Producer { id, epoch }),
        _ => Err(connection.bad_answer("a negative producer id or epoch")),
    }
}

/// The refusal that ended a stream, if it was one that trying again does not change.
pub(super) fn final_refusal(error: &RequestError) -> Option<&BrokerError> {
    error
        .refusal()
        .filter(|refusal| !refusal.is_retriable() && refusal.code() != ErrorCode::ShuttingDown)
}

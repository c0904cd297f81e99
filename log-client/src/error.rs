//! What can go wrong between this client and a broker.
//!
//! The rule: every error answers two questions, `is_retriable()` (the same call may succeed later,
//! unchanged) and `nothing_happened()` (it is certain that the call had no effect), because that
//! is what a caller acts on. Unary calls all fail in the same ways and share [`RequestError`];
//! sending, delivering and consuming have enums of their own, beside the operation. gRPC's status
//! codes do not come out of this crate: they say too little, the broker's own detail says it.

use std::{error::Error as StdError, time::Duration};

use log_proto::v1;
pub use log_proto::v1::ErrorCode;
use prost::Message;
use thiserror::Error;
use tonic::{Code, Status};

/// What the broker said when it refused something.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct BrokerError {
    code: ErrorCode,
    message: String,
    retriable: bool,
    nothing_happened: bool,
}

impl BrokerError {
    /// Why. [`ErrorCode::Unspecified`] from a broker that knows a reason that this client does not.
    pub fn code(&self) -> ErrorCode {
        self.code
    }

    /// What is wrong, where, and what to do about it.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The same request may succeed later, unchanged.
    pub fn is_retriable(&self) -> bool {
        self.retriable
    }

    /// It is certain that the request had no effect.
    pub fn nothing_happened(&self) -> bool {
        self.nothing_happened
    }
}

impl From<v1::Error> for BrokerError {
    fn from(error: v1::Error) -> Self {
        Self {
            code: error.code(),
            message: error.message,
            retriable: error.retriable,
            nothing_happened: error.nothing_happened,
        }
    }
}

/// Why a single request to the broker failed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RequestError {
    /// No connection could be made, so the request was never sent.
    #[error("no broker answers at {address}: {reason}")]
    Unreachable {
        /// Where the broker should be.
        address: String,
        /// What the connection attempt ended with.
        reason: String,
    },
    /// The connection broke between request and answer.
    #[error("lost the connection to the broker at {address}: {reason}")]
    ConnectionLost {
        /// Where the broker is.
        address: String,
        /// What the connection ended with.
        reason: String,
    },
    /// No answer came in time.
    #[error("the broker at {address} did not answer within {after:?}")]
    TimedOut {
        /// Where the broker is.
        address: String,
        /// How long it was given.
        after: Duration,
    },
    /// The broker answered that it will not.
    #[error(transparent)]
    Refused(#[from] BrokerError),
    /// The answer cannot be understood: the broker speaks another version, or is no broker.
    #[error("the answer of the broker at {address} makes no sense: {detail}")]
    BadAnswer {
        /// Where the broker is.
        address: String,
        /// What is wrong with the answer.
        detail: String,
    },
}

impl RequestError {
    /// The same request may succeed later, unchanged.
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::ConnectionLost { .. } | Self::TimedOut { .. } => true,
            Self::Refused(error) => error.is_retriable(),
            Self::BadAnswer { .. } => false,
        }
    }

    /// It is certain that the request had no effect.
    pub fn nothing_happened(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused(error) => error.nothing_happened(),
            Self::ConnectionLost { .. } | Self::TimedOut { .. } | Self::BadAnswer { .. } => false,
        }
    }

    /// What the broker said, if it was the broker that refused.
    pub fn refusal(&self) -> Option<&BrokerError> {
        match self {
            Self::Refused(error) => Some(error),
            _ => None,
        }
    }

    /// Reads what a failed call or a broken stream ended with.
    pub(crate) fn from_status(status: Status, address: &str) -> Self {
        if let Some(error) = broker_error(&status) {
            return Self::Refused(error);
        }
        let (address, reason) = (address.to_owned(), reason(&status));
        if never_connected(&status) {
            return Self::Unreachable { address, reason };
        }
        match status.code() {
            Code::Unavailable
            | Code::Unknown
            | Code::Internal
            | Code::Cancelled
            | Code::Aborted
            | Code::DeadlineExceeded => Self::ConnectionLost { address, reason },
            // No broker lacks a call of this contract: whoever answers is something else.
            Code::Unimplemented => Self::BadAnswer { address, detail: reason },
            _ => Self::Refused(plain_refusal(&status)),
        }
    }
}

/// A refusal by something that knows gRPC but not this contract: a proxy, or a limit of the
/// transport. Nothing is known about it that would make a retry wise.
fn plain_refusal(status: &Status) -> BrokerError {
    BrokerError {
        code: ErrorCode::Unspecified,
        message: status.message().to_owned(),
        retriable: false,
        nothing_happened: false,
    }
}

fn never_connected(status: &Status) -> bool {
    causes(status).any(|cause| cause.is::<tonic::ConnectError>())
}

/// The innermost cause says what happened; the outer ones say "transport error".
fn reason(status: &Status) -> String {
    match causes(status).last() {
        Some(cause) => cause.to_string(),
        None => status.message().to_owned(),
    }
}

fn causes(status: &Status) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    std::iter::successors(status.source(), |&cause| cause.source())
}

/// The machine-readable detail of a failed call, if the status carries one.
fn broker_error(status: &Status) -> Option<BrokerError> {
    let details = RpcStatus::decode(status.details()).ok()?.details;
    let detail = details.iter().find(|detail| detail.type_url.ends_with(ERROR_TYPE))?;
    Some(v1::Error::decode(detail.value.as_slice()).ok()?.into())
}

/// How an `Any` names the message that it holds, behind a host that nobody looks at.
const ERROR_TYPE: &str = "/cairn.v1.Error";

/// `google.rpc.Status`, as far as it is needed: too little to bring in its crate.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RpcStatus {
    #[prost(int32, tag = "1")]
    pub(crate) code: i32,
    #[prost(string, tag = "2")]
    pub(crate) message: String,
    #[prost(message, repeated, tag = "3")]
    pub(crate) details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Any {
    #[prost(string, tag = "1")]
    pub(crate) type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) value: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status_with(error: &v1::Error) -> Status {
        let detail = Any {
            type_url: "type.googleapis.com/cairn.v1.Error".into(),
            value: error.encode_to_vec(),
        };
        let details = RpcStatus { code: 5, message: String::new(), details: vec![detail] };
        Status::with_details(Code::NotFound, "no such topic", details.encode_to_vec().into())
    }

    #[test]
    fn the_brokers_detail_decides_over_the_status_code() {
        let sent = v1::Error {
            code: ErrorCode::DiskFull.into(),
            message: "disk is full".into(),
            retriable: true,
            nothing_happened: true,
        };
        let error = RequestError::from_status(status_with(&sent), "here:1");
        assert!(error.is_retriable() && error.nothing_happened());
        assert_eq!(error.refusal().map(BrokerError::code), Some(ErrorCode::DiskFull));
        assert_eq!(error.to_string(), "disk is full");
    }

    #[test]
    fn a_broken_connection_leaves_open_what_happened() {
        let error = RequestError::from_status(Status::unavailable("gone"), "here:1");
        assert!(error.is_retriable() && !error.nothing_happened());
    }

    #[test]
    fn a_refusal_without_detail_is_not_retried() {
        let error = RequestError::from_status(Status::unimplemented("what?"), "here:1");
        assert!(!error.is_retriable() && !error.nothing_happened());
    }
}

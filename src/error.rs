//! How a command fails: one line, a hint where there is one, and an exit code.
//!
//! The rule: the first line says what is wrong, the hint what to do about it. Exit codes are few,
//! so that scripts can rely on them: 0 done, 1 failed, 2 not understood.

use std::{io, net::SocketAddr};

use log_client::{BrokerError, ErrorCode, RequestError};

use crate::door;

/// Why a command ends.
#[derive(Debug)]
pub(crate) enum CliError {
    Failed {
        message: String,
        hint: Option<String>,
    },
    /// The arguments contradict each other or do not fit what they are about.
    Usage(String),
    /// Whoever read the output has seen enough.
    OutputClosed,
}

pub(crate) type Result<T> = std::result::Result<T, CliError>;

impl CliError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self::Failed { message: message.into(), hint: None }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::Usage(message.into())
    }

    pub(crate) fn hint(self, text: impl Into<String>) -> Self {
        match self {
            Self::Failed { message, .. } => Self::Failed { message, hint: Some(text.into()) },
            other => other,
        }
    }

    /// What failed, from an error that speaks for itself.
    pub(crate) fn from_error(error: impl std::error::Error) -> Self {
        Self::new(error.to_string())
    }
}

impl From<RequestError> for CliError {
    fn from(error: RequestError) -> Self {
        let hint = hint_for(&error);
        Self::Failed { message: error.to_string(), hint }
    }
}

/// What to do about a failed request, where the message does not say it.
pub(crate) fn hint_for(error: &RequestError) -> Option<String> {
    match error {
        RequestError::Unreachable { address, .. } => Some(hint_for_nobody_at(address)),
        RequestError::BadAnswer { .. } => {
            Some(format!("is this the gRPC port of a cairn broker? {GRPC_PORT}"))
        }
        RequestError::Refused(refusal) => hint_for_refusal(refusal).map(str::to_owned),
        RequestError::ConnectionLost { address, .. } => door::speaks_kafka(address)
            .then(|| format!("{address} is a port for Kafka's clients: {GRPC_PORT}")),
        RequestError::TimedOut { .. } => None,
    }
}

const GRPC_PORT: &str = "--broker wants the gRPC port, which is 9094 unless the broker's setting grpc.listen says \
     otherwise";

/// A broker takes an IP address, and only one of the machine that it runs on.
fn hint_for_nobody_at(address: &str) -> String {
    let here = address.parse::<SocketAddr>().is_ok_and(|address| address.ip().is_loopback());
    let start = match here {
        true => format!("start one with `cairn serve --grpc {address}`"),
        false => "see that `cairn serve` runs there".to_owned(),
    };
    format!("{start}, or say where it is with --broker")
}

/// What to do about what the broker refused, where its message does not say it.
pub(crate) fn hint_for_refusal(refusal: &BrokerError) -> Option<&'static str> {
    match refusal.code() {
        ErrorCode::UnknownTopicOrPartition => {
            Some("`cairn topic list` shows what there is, `cairn topic create` makes one")
        }
        ErrorCode::MessageTooLarge => {
            Some("`cairn topic config set TOPIC max.message.bytes=BYTES` lets larger ones in")
        }
        ErrorCode::GroupIdNotFound => Some("`cairn group list` shows what there is"),
        ErrorCode::NonEmptyGroup | ErrorCode::GroupSubscribedToTopic => {
            Some("`cairn group describe` shows its members and where they run")
        }
        _ => None,
    }
}

impl From<io::Error> for CliError {
    /// Of the standard output: errors of files are told apart where they happen.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::OutputClosed,
            _ => Self::new(format!("cannot write the output: {error}")),
        }
    }
}

impl From<log_client::AddressError> for CliError {
    fn from(error: log_client::AddressError) -> Self {
        Self::usage(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_hint_says_to_type_can_be_typed() {
        assert!(hint_for_nobody_at("127.0.0.1:1").contains("`cairn serve --grpc 127.0.0.1:1`"));
        for elsewhere in ["localhost:9094", "10.0.0.7:9094", "broker.example:9094"] {
            assert!(!hint_for_nobody_at(elsewhere).contains("--grpc"), "{elsewhere}");
        }
    }
}

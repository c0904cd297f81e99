//! How a command fails: one line, a hint where there is one, and an exit code.
//!
//! The rule: the first line says what is wrong, the hint what to do about it. Exit codes are few,
//! so that scripts can rely on them: 0 done, 1 failed, 2 not understood.

use std::io;

use log_client::{ErrorCode, RequestError};

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
        RequestError::Unreachable { address, .. } => Some(format!(
            "start one with `cairn serve --grpc {address}`, or say where it is with --broker"
        )),
        RequestError::BadAnswer { .. } => Some("is this the gRPC port of a cairn broker?".into()),
        RequestError::Refused(refusal) => match refusal.code() {
            ErrorCode::UnknownTopicOrPartition => Some(
                "`cairn topic list` shows what there is, `cairn topic create` makes one".into(),
            ),
            _ => None,
        },
        RequestError::ConnectionLost { .. } | RequestError::TimedOut { .. } => None,
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

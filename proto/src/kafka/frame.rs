//! Whole frames: a request taken apart, a response put together, and the same for clients.
//!
//! The rule: a frame that was received comes here without its four bytes of length, which
//! whoever reads the socket needs first; a frame to be sent has them. A header that can be read
//! is handed back even where its version is unknown, since the client waits for an answer.

use bytes::Bytes;
use thiserror::Error;

use super::{
    api_key::ApiKey,
    error::{DecodeError, EncodeError},
    header::{HeaderStart, RequestHeader, decode_response_header, encode_response_header},
    message::{Message, Request},
    reader::Reader,
    rope::Rope,
    writer::Writer,
};

/// A request whose header was read.
#[derive(Debug)]
pub struct RequestFrame {
    /// Who asks what, in which version.
    pub header: RequestHeader,
    /// What [`Message::decode`] reads the request from.
    pub body: Reader,
}

/// A frame that does not start like a request that can be served.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HeaderError {
    /// No header. The connection is of no further use.
    #[error("no request header: {0}")]
    Malformed(#[from] DecodeError),
    /// An API that the codec does not know, so that the rest of the header is unreadable too. The
    /// connection is of no further use.
    #[error("no API has the key {api_key}; the request asks for its version {version}")]
    UnknownApiKey {
        /// The key.
        api_key: i16,
        /// The version of the request.
        version: i16,
        /// The number of the request.
        correlation_id: i32,
    },
    /// A version that the codec does not know. For ApiVersions the answer is a response in
    /// version 0, with error 35 and the versions known; for all else, the end of the connection.
    #[error(
        "{} is served in versions {}, and the request is in version {}",
        header.api_key, header.api_key.versions(), header.version
    )]
    UnsupportedVersion {
        /// The header as it was read.
        header: RequestHeader,
    },
}

impl RequestFrame {
    /// Reads the header of a frame, without its length.
    ///
    /// # Errors
    ///
    /// There is no header, or its API or version is unknown.
    pub fn open(frame: Bytes) -> Result<Self, HeaderError> {
        Self::open_reader(Reader::new(frame))
    }

    /// Reads the header from a reader at the start of a frame.
    ///
    /// # Errors
    ///
    /// As [`RequestFrame::open`].
    pub fn open_reader(mut body: Reader) -> Result<Self, HeaderError> {
        let start = HeaderStart::decode(&mut body)?;
        let HeaderStart { api_key, version, correlation_id } = start;
        let Some(api_key) = ApiKey::from_number(api_key) else {
            return Err(HeaderError::UnknownApiKey { api_key, version, correlation_id });
        };
        let header = RequestHeader::decode_rest(api_key, &start, &mut body)?;
        match api_key.versions().contains(version) {
            true => Ok(Self { header, body }),
            false => Err(HeaderError::UnsupportedVersion { header }),
        }
    }
}

/// The frame that answers a request, with its length in front.
///
/// Where the request's version is unknown, set the header's version to that of the response.
///
/// # Errors
///
/// The response does not fit the version ([`Message::encode`]), or is longer than 2 GiB.
pub fn encode_response<R: Request>(
    request: &RequestHeader,
    response: &R::Response,
) -> Result<Rope, EncodeError> {
    debug_assert_eq!(request.api_key, R::API_KEY, "a response goes with its request");
    let mut writer = start_frame();
    encode_response_header(request, &mut writer);
    response.encode(request.version, &mut writer)?;
    end_frame(writer)
}

/// The frame of a request, with its length in front.
///
/// # Errors
///
/// The request does not fit the version ([`Message::encode`]), or is longer than 2 GiB.
pub fn encode_request<R: Request>(
    header: &RequestHeader,
    request: &R,
) -> Result<Rope, EncodeError> {
    debug_assert_eq!(header.api_key, R::API_KEY, "a header goes with its request");
    let mut writer = start_frame();
    header.encode(&mut writer);
    request.encode(header.version, &mut writer)?;
    end_frame(writer)
}

/// Reads the header of a frame, without its length, that answers a request of this version: the
/// correlation id, and what [`Message::decode`] reads the response from.
///
/// # Errors
///
/// There is no header.
pub fn open_response(
    api_key: ApiKey,
    version: i16,
    frame: Bytes,
) -> Result<(i32, Reader), DecodeError> {
    let mut body = Reader::new(frame);
    let correlation_id = decode_response_header(api_key, version, &mut body)?;
    Ok((correlation_id, body))
}

fn start_frame() -> Writer {
    let mut writer = Writer::new();
    writer.int32(0);
    writer
}

fn end_frame(mut writer: Writer) -> Result<Rope, EncodeError> {
    writer.fill_frame_length()?;
    Ok(writer.into_rope())
}

//! The Kafka protocol on the wire: its messages in every version, byte for byte.
//!
//! ```text
//! frame  = length i32 │ header │ message
//! header = api key i16 │ version i16 │ correlation id i32 │ client id │ tagged fields
//!          (of a response: correlation id i32 │ tagged fields)
//! ```
//!
//! - [`messages`]: a module for each API, generated from `kafka/*.table`; [`ApiKey`] lists them.
//! - [`RequestFrame`], [`encode_response`]: a frame of a client taken apart, and its answer.
//! - [`Reader`], [`Writer`]: what every message is read from and written to.
//! - [`Rope`]: bytes written, among which record batches lie untouched, as the slices they were.
//! - [`ErrorCode`]: what responses say in their fields `error_code`.
//!
//! The rule: no length is believed before it is compared with the bytes that are left, what is
//! decoded takes no more memory than the reader's budget, and null stands only where the protocol
//! allows it. What follows behind a message is ignored, as Kafka ignores it: librdkafka sends such
//! bytes.
//!
//! No crate that speaks this protocol keeps that rule and passes slices through, so the codec is
//! our own. Numbers and strings are plain here; the door turns them into the vocabulary of
//! [`types`](crate::types), since what -1 or an empty string means differs from field to field.
//!
//! # Examples
//!
//! A connection answers a request:
//!
//! ```
//! use bytes::Bytes;
//! use log_proto::kafka::{
//!     ApiKey, ErrorCode, HeaderError, Message, RequestFrame, RequestHeader, Rope,
//!     encode_response,
//!     messages::{
//!         api_versions::{ApiVersionsRequest, ApiVersionsResponse},
//!         heartbeat::{HeartbeatRequest, HeartbeatResponse},
//!     },
//! };
//!
//! /// What goes back to the client; an error ends the connection.
//! fn answer(frame: Bytes) -> Result<Rope, Box<dyn std::error::Error>> {
//!     let RequestFrame { header, mut body } = match RequestFrame::open(frame) {
//!         Ok(request) => request,
//!         Err(HeaderError::UnsupportedVersion { header })
//!             if header.api_key == ApiKey::ApiVersions =>
//!         {
//!             let oldest = RequestHeader { version: 0, ..header };
//!             let error_code = ErrorCode::UnsupportedVersion.number();
//!             let response = ApiVersionsResponse { error_code, ..Default::default() };
//!             return Ok(encode_response::<ApiVersionsRequest>(&oldest, &response)?);
//!         }
//!         Err(error) => return Err(error.into()),
//!     };
//!     match header.api_key {
//!         ApiKey::Heartbeat => {
//!             let request = HeartbeatRequest::decode(header.version, &mut body)?;
//!             assert_eq!(request.group_id, "readers");
//!             let response = HeartbeatResponse::default();
//!             Ok(encode_response::<HeartbeatRequest>(&header, &response)?)
//!         }
//!         other => Err(format!("{other} is not served").into()),
//!     }
//! }
//!
//! # use log_proto::kafka::encode_request;
//! # let request = HeartbeatRequest { group_id: "readers".into(), ..Default::default() };
//! # let header = RequestHeader {
//! #     api_key: ApiKey::Heartbeat, version: 4, correlation_id: 7, client_id: None,
//! # };
//! # let mut frame = encode_request(&header, &request).unwrap().into_bytes();
//! # let response = answer(frame.split_off(4)).unwrap();
//! # assert_eq!(response.into_bytes().len(), 4 + 4 + 1 + 4 + 2 + 1);
//! ```

mod api_key;
mod consumer_protocol;
mod error;
mod error_code;
mod frame;
mod header;
mod message;
pub mod messages;
mod reader;
mod rope;
mod str;
mod uuid;
mod writer;

pub use api_key::ApiKey;
pub use consumer_protocol::{decode_assignment, decode_subscription, encode_embedded};
pub use error::{DecodeError, DecodeReason, EncodeError, EncodeReason};
pub use error_code::ErrorCode;
pub use frame::{HeaderError, RequestFrame, encode_request, encode_response, open_response};
pub use header::RequestHeader;
pub use message::{Message, Request, RequestVisitor, Shape, Versions};
pub use reader::Reader;
pub use rope::Rope;
pub use str::Str;
pub use uuid::Uuid;
pub use writer::Writer;

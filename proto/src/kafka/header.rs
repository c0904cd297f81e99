//! The headers in front of requests and responses.
//!
//! The client id is laid out in the old style even where the header is flexible: a broker must be
//! able to read the header of a version that it does not know.

use super::{
    api_key::ApiKey,
    error::DecodeError,
    message::{Shape, Versions},
    reader::Reader,
    str::Str,
    writer::Writer,
};

const REQUEST_HEADER: Shape = Shape {
    name: "RequestHeader",
    versions: Versions { first: 1, last: 2 },
    flexible_from: Some(2),
};

const RESPONSE_HEADER: Shape = Shape {
    name: "ResponseHeader",
    versions: Versions { first: 0, last: 1 },
    flexible_from: Some(1),
};

/// The header of a request, version 1 or 2, as the API and its version ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHeader {
    /// The API that is asked.
    pub api_key: ApiKey,
    /// The version of the request, and of the response that it expects.
    pub version: i16,
    /// Comes back in the response.
    pub correlation_id: i32,
    /// What the client calls itself.
    pub client_id: Option<Str>,
}

/// The start of a header, which is the same in all versions.
pub(super) struct HeaderStart {
    pub(super) api_key: i16,
    pub(super) version: i16,
    pub(super) correlation_id: i32,
}

impl HeaderStart {
    pub(super) fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        reader.enter(&REQUEST_HEADER, 1)?;
        Ok(Self {
            api_key: reader.int16("api_key")?,
            version: reader.int16("version")?,
            correlation_id: reader.int32("correlation_id")?,
        })
    }
}

impl RequestHeader {
    /// Reads the rest of the header.
    pub(super) fn decode_rest(
        api_key: ApiKey,
        start: &HeaderStart,
        reader: &mut Reader,
    ) -> Result<Self, DecodeError> {
        let HeaderStart { version, correlation_id, .. } = *start;
        reader.enter(&REQUEST_HEADER, 1 + i16::from(api_key.is_flexible(version)))?;
        let client_id = reader.plain_string("client_id")?;
        reader.skip_tags()?;
        Ok(Self { api_key, version, correlation_id, client_id })
    }

    pub(super) fn encode(&self, writer: &mut Writer) {
        writer.enter(&REQUEST_HEADER, 1 + i16::from(self.api_key.is_flexible(self.version)));
        writer.int16(self.api_key.number());
        writer.int16(self.version);
        writer.int32(self.correlation_id);
        writer.plain_string("client_id", self.client_id.as_ref());
        writer.no_tags();
    }
}

/// Reads the header of the response to a request of this version: the correlation id.
pub(super) fn decode_response_header(
    api_key: ApiKey,
    version: i16,
    reader: &mut Reader,
) -> Result<i32, DecodeError> {
    reader.enter(&RESPONSE_HEADER, response_header_version(api_key, version))?;
    let correlation_id = reader.int32("correlation_id")?;
    reader.skip_tags()?;
    Ok(correlation_id)
}

/// Writes the header of the response to `request`.
pub(super) fn encode_response_header(request: &RequestHeader, writer: &mut Writer) {
    let version = response_header_version(request.api_key, request.version);
    writer.enter(&RESPONSE_HEADER, version);
    writer.int32(request.correlation_id);
    writer.no_tags();
}

fn response_header_version(api_key: ApiKey, version: i16) -> i16 {
    i16::from(api_key.has_flexible_response_header(version))
}

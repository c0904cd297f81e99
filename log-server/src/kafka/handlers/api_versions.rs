//! ApiVersions, key 18, versions 0 to 4 (KIP-35, KIP-511).
//!
//! Says what is served. The list is the router's and the ranges are the codec's, so that nothing
//! is advertised that does not work. Produce is advertised from version 0 on, although 0 to 2 are
//! refused: see [`ApiKey::advertised_versions`].
//!
//! Left out: features (there are none to negotiate).

use log_proto::kafka::messages::api_versions::{
    ApiVersion, ApiVersionsRequest, ApiVersionsResponse,
};
use log_proto::kafka::{ApiKey, ErrorCode, Str};

use crate::kafka::Context;
use crate::kafka::router::SERVED;

pub(in crate::kafka) async fn handle(
    _: &Context,
    version: i16,
    request: &ApiVersionsRequest,
) -> ApiVersionsResponse {
    let names = [&request.client_software_name, &request.client_software_version];
    let is_sound = version < 3 || names.iter().all(|name| is_software_name(name));
    response(if is_sound { ErrorCode::None } else { ErrorCode::InvalidRequest })
}

/// A client of an unknown version is told the known ones of this API, from which it picks its next.
pub(in crate::kafka) fn response(error: ErrorCode) -> ApiVersionsResponse {
    let api_keys: &[ApiKey] = match error {
        ErrorCode::None => SERVED,
        ErrorCode::UnsupportedVersion => &[ApiKey::ApiVersions],
        _ => &[],
    };
    let api_keys = api_keys.iter().map(|key| advertised(*key)).collect();
    ApiVersionsResponse { error_code: error.number(), api_keys, ..Default::default() }
}

fn advertised(key: ApiKey) -> ApiVersion {
    let versions = key.advertised_versions();
    ApiVersion { api_key: key.number(), min_version: versions.first, max_version: versions.last }
}

/// KIP-511: letters, digits, `-` and `.`, with a letter or digit at both ends.
fn is_software_name(name: &Str) -> bool {
    let bytes = name.as_bytes();
    let is_inner = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    let ends = [bytes.first(), bytes.last()];
    bytes.iter().all(is_inner) && ends.iter().all(|end| end.is_some_and(u8::is_ascii_alphanumeric))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_software_are_as_kip_511_has_them() {
        for good in ["librdkafka", "apache-kafka-java", "2.16.0", "a"] {
            assert!(is_software_name(&good.into()), "{good}");
        }
        for bad in ["", "-a", "a-", "a b", "a/b", "é"] {
            assert!(!is_software_name(&bad.into()), "{bad}");
        }
    }

    #[test]
    fn produce_is_advertised_from_version_0() {
        let produce = advertised(ApiKey::Produce);
        assert_eq!((produce.api_key, produce.min_version), (0, 0));
    }
}

//! The gRPC services of the package `cairn.v1`, generated from `cairn/v1/*.proto`.
//!
//! The rule: generated types are for the doors and the client alone. What has a type of its own in
//! the vocabulary is converted at the edge; the conversions that both sides need are here.

use crate::record;

/// The generated messages, clients and servers.
#[expect(missing_docs, reason = "generated code; the documentation is in the .proto files")]
pub mod v1 {
    tonic::include_proto!("cairn.v1");
}

/// The encoded descriptor set of `cairn.v1`, for gRPC server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/cairn.v1.bin"));

impl From<record::Compression> for v1::Compression {
    fn from(codec: record::Compression) -> Self {
        match codec {
            record::Compression::None => Self::Uncompressed,
            record::Compression::Gzip => Self::Gzip,
            record::Compression::Snappy => Self::Snappy,
            record::Compression::Lz4 => Self::Lz4,
            record::Compression::Zstd => Self::Zstd,
        }
    }
}

impl From<v1::Compression> for record::Compression {
    fn from(codec: v1::Compression) -> Self {
        match codec {
            v1::Compression::Uncompressed => Self::None,
            v1::Compression::Gzip => Self::Gzip,
            v1::Compression::Snappy => Self::Snappy,
            v1::Compression::Lz4 => Self::Lz4,
            v1::Compression::Zstd => Self::Zstd,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codecs_have_the_numbers_of_the_record_batch() {
        for codec in record::Compression::ALL {
            let wire = v1::Compression::from(codec);
            assert_eq!(wire as i32, i32::from(codec.code()));
            assert_eq!(record::Compression::from(wire), codec);
        }
    }
}

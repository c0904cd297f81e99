//! Generates the gRPC services from `cairn/v1/*.proto`.
//!
//! The protobuf compiler is protox, a library: building Cairn needs no `protoc` on the machine.

use std::{env, error::Error, fs, path::PathBuf};

use protox::prost::Message;

const FILES: [&str; 4] = [
    "cairn/v1/common.proto",
    "cairn/v1/producer.proto",
    "cairn/v1/consumer.proto",
    "cairn/v1/admin.proto",
];

/// Writes the generated code, and the descriptor set that reflection serves, to `OUT_DIR`.
pub(crate) fn generate() -> Result<(), Box<dyn Error>> {
    let descriptors = protox::compile(FILES, ["."])?;
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out_dir.join("cairn.v1.bin"), descriptors.encode_to_vec())?;
    // Payloads come as `Bytes`: slices of the message received, not copies of it.
    tonic_prost_build::configure()
        .bytes(".")
        .codec_path("crate::codec::BoundedCodec")
        .build_client(true)
        .build_server(true)
        .compile_fds(descriptors)?;
    Ok(())
}

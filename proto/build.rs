//! Generates what is written down better than in Rust, each with its feature:
//!
//! - `grpc`: the services of `cairn/v1/*.proto`.
//! - `kafka`: the messages of `kafka/*.table`.

#[cfg(feature = "grpc")]
#[path = "build/grpc.rs"]
mod grpc;
#[cfg(feature = "kafka")]
#[path = "build/kafka/mod.rs"]
mod kafka;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=build");
    println!("cargo:rerun-if-changed=cairn");
    println!("cargo:rerun-if-changed=kafka");
    #[cfg(feature = "grpc")]
    grpc::generate()?;
    #[cfg(feature = "kafka")]
    kafka::generate()?;
    Ok(())
}

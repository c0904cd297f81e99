//! Turns the scheduled primitives on; see `../src/sync.rs`.

fn main() {
    // One for cargo, which reads it.
    println!("cargo::rustc-cfg=shuttle");
    println!("cargo::rerun-if-changed=build.rs");
}

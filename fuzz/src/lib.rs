//! Runs one of the targets of `log_core::fuzz` and `log_server::fuzz` by its name.

/// Gives the bytes to the target.
pub fn run(target: &str, bytes: &[u8]) {
    let mut targets = log_core::fuzz::TARGETS.iter().chain(&log_server::fuzz::TARGETS);
    let found = targets.find(|(name, _)| *name == target);
    found.expect("each target is named after one of the crates'").1(bytes);
}

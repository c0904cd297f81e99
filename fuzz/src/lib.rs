//! Runs one of the targets of `log_core::fuzz` by its name.

/// Gives the bytes to the target.
pub fn run(target: &str, bytes: &[u8]) {
    let found = log_core::fuzz::TARGETS.iter().find(|(name, _)| *name == target);
    found.expect("each target is named after one of the log's").1(bytes);
}

//! Groups: for now, the offsets that they have committed.

pub(crate) mod offsets;
pub(crate) mod record;

//! How many files and connections the process may have open.
//!
//! The rule: take what the system allows. Most systems start a process with 1,024 descriptors and
//! let it have far more if it asks; a broker that does not ask loses to a thousand idle
//! connections what its logs need to be written.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Below this, a crowd of clients or a few thousand busy partitions use them up.
const ENOUGH: u64 = 4096;

/// How many clients may be connected to the doors that take and give records: half of what may be
/// open. The rest is the logs'.
pub(crate) fn clients_max() -> usize {
    share(2)
}

/// How many to the door that says what is wrong, which must be open when the others are full.
pub(crate) fn observers_max() -> usize {
    share(8)
}

fn share(part: u64) -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    limit.and_then(|limit| usize::try_from(limit / part).ok()).unwrap_or(usize::MAX)
}

/// Raises the limit as far as the system lets us. For programs, not libraries: it concerns the
/// whole process.
pub fn raise_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return warn_if_few(current);
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => warn_if_few(maximum),
        Err(error) => {
            tracing::warn!(%error, "cannot raise the limit of open files");
            warn_if_few(current);
        }
    }
}

/// `None` is no limit.
fn warn_if_few(limit: Option<u64>) {
    if let Some(limit) = limit
        && limit < ENOUGH
    {
        tracing::warn!(
            limit,
            "few files may be open at once: raise the limit (ulimit -n, LimitNOFILE) to {ENOUGH} \
             or more"
        );
    }
}

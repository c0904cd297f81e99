//! Who is asking. Every connection carries a principal and every call on the broker names it,
//! although all are anonymous yet: authentication will decide which one a connection gets, and
//! authorisation what it may do, and neither should have to change every signature on its way.

use std::fmt;

/// Who is asking.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Principal {
    /// Somebody who has not said who they are.
    Anonymous,
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => f.write_str("anonymous"),
        }
    }
}

//! What tells a broker to stop.
//!
//! The rule: whoever runs a broker listens before anybody is told that it is ready, because a
//! signal that nobody listens to ends the process on the spot. Once listened to, a signal never
//! has its usual effect again, so a second one must be waited for as well: it is what ends a stop
//! that takes too long for somebody.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM, which init systems send, and SIGINT, which Ctrl-C sends.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Listens from now on. Needs a tokio runtime.
    pub fn listen() -> io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        Ok(Self { terminate, interrupt })
    }

    /// Completes at the next signal, or at once if one came since the last.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

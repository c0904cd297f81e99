//! How a command that talks to a broker is told to stop.
//!
//! The rule: the first signal lets it finish what it has begun, and the second ends it on the spot,
//! because it may hang in a write to a pipe that nobody reads, or wait for a broker that is gone.

use log_server::shutdown::Signals;
use tokio::sync::oneshot;

use crate::{
    error::{CliError, Result},
    output,
};

/// SIGINT, which is Ctrl-C, and SIGTERM.
pub(crate) struct Stop(oneshot::Receiver<()>);

impl Stop {
    /// Listens from now on: before, a signal just ends the process.
    pub(crate) fn listen() -> Result<Self> {
        let mut signals = Signals::listen()
            .map_err(|error| CliError::new(format!("cannot listen to signals: {error}")))?;
        let (tell, told) = oneshot::channel();
        // A task of its own: the command itself may be stuck.
        tokio::spawn(async move {
            signals.next().await;
            let _ = tell.send(());
            signals.next().await;
            output::end_at_once("stopped by a second signal, in the middle of something");
        });
        Ok(Self(told))
    }

    /// Completes at the first signal. To be awaited once.
    pub(crate) async fn told(&mut self) {
        let _ = (&mut self.0).await;
    }
}

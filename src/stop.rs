//! How a command is told to stop.
//!
//! The rule: the first signal lets it finish what it has begun, and the second ends it on the spot,
//! because it may hang in a write to a pipe that nobody reads, or wait for a broker that is gone.

use std::time::{Duration, Instant};

use log_server::shutdown::Signals;
use tokio::sync::oneshot;

use crate::{
    error::{CliError, Result},
    output,
};

/// Signals this close to each other are one wish: `timeout` sends its own to the process and then
/// to the group that the process is in.
const ONE_WISH: Duration = Duration::from_millis(500);

/// Completes at a signal that is more than the echo of the one that has just come.
pub(crate) async fn told_again(signals: &mut Signals) {
    let first = Instant::now();
    signals.next().await;
    while first.elapsed() < ONE_WISH {
        signals.next().await;
    }
}

/// SIGINT, which is Ctrl-C, and SIGTERM, to a command that talks to a broker.
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
            told_again(&mut signals).await;
            output::end_at_once("stopped by a second signal, in the middle of something");
        });
        Ok(Self(told))
    }

    /// Completes at the first signal. To be awaited once.
    pub(crate) async fn told(&mut self) {
        let _ = (&mut self.0).await;
    }
}

//! The program `cairn`: one binary that is the broker and the tools around it.
//!
//! The rule: this package parses, wires and prints, and decides nothing. What a command does is in
//! its crate: `log-server` serves, `log-client` talks to a broker, `log-core` reads files.

mod commands;
mod door;
mod error;
mod format;
mod input;
mod output;
mod position;
mod rfc3339;
mod stop;
mod unit;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    // Ends with code 2 and a usage text when the arguments make no sense.
    match commands::Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => output::report(&error),
    }
}

//! Everything that is printed.
//!
//! The rule: results go to standard output and nothing else does, so that it can be piped; what is
//! said about them (progress, errors, closing lines) goes to standard error. No other file prints.

use std::{
    io::{self, IsTerminal, Write},
    process::ExitCode,
};

use comfy_table::{CellAlignment, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use crate::error::{CliError, Result};

/// How results are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// For people.
    Text,
    /// For programs: one JSON value, or one a line where results stream.
    Json,
}

/// `--json`, on everything that lists.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct StyleArgs {
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

impl StyleArgs {
    pub(crate) fn style(self) -> Style {
        if self.json { Style::Json } else { Style::Text }
    }
}

const EXIT_FAILED: u8 = 1;
const EXIT_USAGE: u8 = 2;

/// Says why a command ended, and returns its exit code.
pub(crate) fn report(error: &CliError) -> ExitCode {
    match error {
        CliError::Failed { message, hint } => {
            say("error", message, hint.as_deref());
            ExitCode::from(EXIT_FAILED)
        }
        CliError::Usage(message) => {
            say("error", message, Some("see --help"));
            ExitCode::from(EXIT_USAGE)
        }
        CliError::OutputClosed => ExitCode::SUCCESS,
    }
}

/// Says what went wrong where the command goes on.
pub(crate) fn warn(error: &CliError) {
    match error {
        CliError::Failed { message, hint } => say("warning", message, hint.as_deref()),
        CliError::Usage(message) => say("warning", message, None),
        CliError::OutputClosed => {}
    }
}

fn say(severity: &str, message: &str, hint: Option<&str>) {
    note(&format!("{severity}: {message}"));
    if let Some(hint) = hint {
        note(&format!("hint: {hint}"));
    }
}

/// Ends the process without waiting for anything of it.
pub(crate) fn end_at_once(reason: &str) -> ! {
    note(&format!("error: {reason}"));
    std::process::exit(EXIT_FAILED.into())
}

/// A line on standard error. If even that is closed there is nobody to tell.
pub(crate) fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// A line on standard output.
pub(crate) fn line(text: &str) -> Result<()> {
    Ok(writeln!(io::stdout().lock(), "{text}")?)
}

/// A JSON value over several lines.
pub(crate) fn json(value: &Value) -> Result<()> {
    line(&format!("{value:#}"))
}

/// Standard output for much: buffered, to be flushed by who writes.
pub(crate) fn stream() -> io::BufWriter<io::StdoutLock<'static>> {
    io::BufWriter::with_capacity(1 << 18, io::stdout().lock())
}

/// Rows under a head. Columns whose cells are all quantities are set to the right.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> Result<()> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(head).add_rows(rows);
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 1));
        if rows.iter().all(|row| row.get(index).is_some_and(|text| is_quantity(text))) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    line(&table.trim_fmt())
}

/// A number, with a unit behind it or without.
fn is_quantity(text: &str) -> bool {
    let (number, unit) = text.split_once(' ').unwrap_or((text, ""));
    number.parse::<f64>().is_ok_and(f64::is_finite)
        && unit.chars().all(|char| char.is_ascii_alphabetic())
}

/// A bar on standard error, or nothing where that is no terminal. `total` in bytes, if known.
pub(crate) fn progress(total: Option<u64>) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let (bar, template) = match total {
        Some(total) => {
            (ProgressBar::new(total), "{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}")
        }
        None => (ProgressBar::no_length(), "{spinner} {bytes} {bytes_per_sec} {elapsed}"),
    };
    bar.with_style(ProgressStyle::with_template(template).expect("these templates are constant"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_numbers_and_their_units() {
        for quantity in ["0", "-1", "1.5 MiB", "9223372036854775807"] {
            assert!(is_quantity(quantity), "{quantity}");
        }
        for other in
            ["", "-", "ok", "127.0.0.1:9094", "2026-11-21T12:30:00Z", "3 1", "events", "nan"]
        {
            assert!(!is_quantity(other), "{other}");
        }
    }
}

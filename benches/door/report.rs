//! Medians, ratios and whether they are met; as a table, or as JSON for machines.

use std::fs;
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Value, json};

/// What the rounds of one measurement gave.
#[derive(Debug, Default)]
pub(crate) struct Series {
    values: Vec<f64>,
}

impl Series {
    pub(crate) fn push(&mut self, value: f64) {
        self.values.push(value);
    }

    /// So many in such a time.
    pub(crate) fn rate(&mut self, count: usize, took: Duration) {
        self.push(count as f64 / took.as_secs_f64());
    }

    /// So many seconds of processor time for so many bytes.
    pub(crate) fn per_gb(&mut self, seconds: f64, bytes: usize) {
        self.push(seconds / (bytes as f64 / 1e9));
    }

    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
    }

    fn range(&self) -> (f64, f64) {
        let least = self.values.iter().copied().fold(f64::INFINITY, f64::min);
        (least, self.values.iter().copied().fold(f64::NEG_INFINITY, f64::max))
    }
}

pub(crate) struct Report {
    json: bool,
    table: Table,
    rows: Vec<Value>,
    load_before: String,
}

impl Report {
    pub(crate) fn new(json: bool) -> Self {
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN);
        table.set_header([
            "what",
            "median (least to most)",
            "baseline",
            "median",
            "ratio",
            "target",
        ]);
        Self { json, table, rows: Vec::new(), load_before: load() }
    }

    /// Bytes a second, beside a baseline.
    pub(crate) fn rate(
        &mut self,
        what: &str,
        ours: &Series,
        baseline: &str,
        base: &Series,
        target: Option<f64>,
    ) {
        self.compare(what, ours, baseline, base, target, (1e6, "MB/s"));
    }

    /// Times a second, beside a baseline.
    pub(crate) fn count(
        &mut self,
        what: &str,
        ours: &Series,
        baseline: &str,
        base: &Series,
        target: Option<f64>,
    ) {
        self.compare(what, ours, baseline, base, target, (1.0, "/s"));
    }

    fn compare(
        &mut self,
        what: &str,
        ours: &Series,
        baseline: &str,
        base: &Series,
        target: Option<f64>,
        (scale, unit): (f64, &str),
    ) {
        let ratio = ours.median() / base.median();
        let (least, most) = ours.range();
        let verdict = target
            .map_or_else(String::new, |target| format!(">= {target}: {}", met(ratio >= target)));
        self.table.add_row([
            what.to_owned(),
            format!(
                "{:.0} {unit} ({:.0} to {:.0})",
                ours.median() / scale,
                least / scale,
                most / scale
            ),
            baseline.to_owned(),
            format!("{:.0} {unit}", base.median() / scale),
            format!("{ratio:.2}"),
            verdict,
        ]);
        self.rows.push(json!({
            "what": what, "values": ours.values, "baseline": baseline,
            "baseline_values": base.values, "ratio": ratio, "target": target,
        }));
    }

    /// A figure without a baseline, that must not be larger than `limit`.
    pub(crate) fn limit(&mut self, what: &str, value: f64, unit: &str, limit: f64) {
        self.single(what, value, unit, Some(limit));
    }

    /// A figure that says what it says.
    pub(crate) fn figure(&mut self, what: &str, value: f64, unit: &str) {
        self.single(what, value, unit, None);
    }

    fn single(&mut self, what: &str, value: f64, unit: &str, limit: Option<f64>) {
        let verdict =
            limit.map_or_else(String::new, |limit| format!("<= {limit}: {}", met(value <= limit)));
        let value_text = format!("{value:.2} {unit}");
        self.table.add_row([
            what.to_owned(),
            value_text,
            String::new(),
            String::new(),
            String::new(),
            verdict,
        ]);
        self.rows.push(json!({ "what": what, "value": value, "unit": unit, "limit": limit }));
    }

    #[allow(clippy::print_stdout, reason = "what a bench is for")]
    pub(crate) fn finish(mut self) {
        if self.json {
            let loads = json!([self.load_before, load()]);
            println!("{}", json!({ "load_average": loads, "rows": self.rows }));
            return;
        }
        if let Some(column) = self.table.column_mut(4) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        println!("{}", self.table);
        println!("load average before: {}, after: {}", self.load_before, load());
    }
}

fn met(met: bool) -> &'static str {
    if met { "met" } else { "NOT MET" }
}

fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

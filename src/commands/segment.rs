//! `cairn segment`: what lies in log files, without a broker.

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use log_core::{
    Damage,
    inspect::{self, FilePiece, Finding, InspectError, Lost, SegmentStat, VerifyReport},
};
use log_proto::record::{BatchError, BatchHeader, Record, RecordBatch, TimestampType};
use serde_json::{Value, json};

use crate::{
    error::{CliError, Result},
    output::{self, Style, StyleArgs},
    rfc3339,
    unit::{counted, show_bytes},
};

/// Look into log files: of a stopped broker, or of a copy
#[derive(Debug, Args)]
#[command(after_help = "\
PATH is a .log file, a partition's folder, or a data folder with all of them; or a file that
a start has kept of what it cut off a log (.cut-...). Nothing is changed. On a running broker's files the last batches may look cut off.

Examples:
  cairn segment stat data
  cairn segment dump data/topics/events-0 --records
  cairn segment verify data/topics/events-0/00000000000000000000.log")]
pub(super) struct SegmentArgs {
    #[command(subcommand)]
    command: SegmentCommand,
}

#[derive(Debug, Subcommand)]
enum SegmentCommand {
    /// Print every batch, one a line
    #[command(after_help = "\
What cannot be read has a line in its place, and the exit code is 1 then.

Examples:
  cairn segment dump data/topics/events-0
  cairn segment dump data/topics/events-0/00000000000000000000.log --records
  cairn segment dump data/topics/events-0 --json --records | jq .record_list")]
    Dump {
        #[command(flatten)]
        paths: Paths,
        /// Also the records in them
        #[arg(long)]
        records: bool,
    },
    /// Check every byte; the exit code is 1 if any is damaged
    #[command(after_help = "\
Each damage is named by file and byte, with the bytes and offsets that cannot be read for it.
What is sound behind it is counted. Of a folder, the small files beside the log are checked too.

Examples:
  cairn segment verify data
  cairn segment verify data/topics/events-0 --json")]
    Verify {
        #[command(flatten)]
        paths: Paths,
    },
    /// Print what each segment holds
    #[command(after_help = "\
Examples:
  cairn segment stat data
  cairn segment stat data/topics/events-0 data/topics/events-1")]
    Stat {
        #[command(flatten)]
        paths: Paths,
    },
}

#[derive(Debug, Args)]
struct Paths {
    /// A .log or .cut file, a partition's folder, or a data folder with all of them
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    style: StyleArgs,
}

pub(super) fn run(args: SegmentArgs) -> Result<()> {
    match args.command {
        SegmentCommand::Dump { paths, records } => {
            let detail = if records { Detail::Records } else { Detail::Batches };
            dump(&paths, detail)
        }
        SegmentCommand::Verify { paths } => verify(&paths),
        SegmentCommand::Stat { paths } => stat(&paths),
    }
}

impl From<InspectError> for CliError {
    fn from(error: InspectError) -> Self {
        Self::from_error(error)
    }
}

impl Paths {
    /// The log files and partition folders that are meant: a folder without log files stands for
    /// the partition folders below it.
    fn logs(&self) -> Result<Vec<PathBuf>> {
        let mut logs = Vec::new();
        for path in &self.paths {
            if let Err(error) = path.metadata() {
                return Err(CliError::new(format!("cannot read {}: {error}", path.display())));
            }
            match inspect::log_files(path) {
                Err(InspectError::NoLog(_)) if path.is_dir() => {
                    let below = partition_folders(path, FOLDER_DEPTH)?;
                    if below.is_empty() {
                        return Err(InspectError::NoLog(path.clone()).into());
                    }
                    logs.extend(below);
                }
                files => {
                    files?;
                    logs.push(path.clone());
                }
            }
        }
        Ok(logs)
    }
}

/// How deep partition folders lie below a data folder.
const FOLDER_DEPTH: usize = 3;

fn partition_folders(folder: &Path, depth: usize) -> Result<Vec<PathBuf>> {
    let unreadable =
        |error| CliError::new(format!("cannot read the folder {}: {error}", folder.display()));
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if !path.is_dir() || depth == 0 {
            continue;
        }
        match inspect::log_files(&path) {
            Ok(_) => found.push(path),
            Err(InspectError::NoLog(_)) => found.extend(partition_folders(&path, depth - 1)?),
            Err(error) => return Err(error.into()),
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// How much a dump shows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Detail {
    Batches,
    Records,
}

/// What a batch's records may expand to when they are dumped.
const EXPANDED_BYTES_MAX: usize = 1 << 30;

fn dump(paths: &Paths, detail: Detail) -> Result<()> {
    let mut dump = Dump {
        out: output::stream(),
        detail,
        style: paths.style.style(),
        unread: Unread::default(),
    };
    for log in paths.logs()? {
        for file in inspect::log_files(&log)? {
            dump.file(&file)?;
        }
    }
    dump.out.flush()?;
    let Unread { count, first } = dump.unread;
    first.map_or(Ok(()), |first| {
        let places = counted(count, "place");
        Err(CliError::new(format!("{places} could not be read, first {first}")))
    })
}

/// Places that could not be read.
#[derive(Default)]
struct Unread {
    count: u64,
    first: Option<Damage>,
}

impl Unread {
    fn add(&mut self, damage: Damage) {
        self.count += 1;
        self.first.get_or_insert(damage);
    }
}

/// A dump on its way.
struct Dump<W> {
    out: W,
    detail: Detail,
    style: Style,
    unread: Unread,
}

impl<W: Write> Dump<W> {
    fn file(&mut self, file: &Path) -> Result<()> {
        if self.style == Style::Text {
            writeln!(self.out, "{}", file.display())?;
        }
        for piece in inspect::pieces(file)? {
            match piece.map_err(CliError::from_error)? {
                FilePiece::Batch(position, batch) => self.batch(file, position, &batch)?,
                FilePiece::Lost(lost) => self.lost(&lost)?,
            }
        }
        Ok(())
    }

    fn batch(&mut self, file: &Path, position: u64, batch: &RecordBatch) -> Result<()> {
        let records = match self.detail {
            Detail::Batches => None,
            Detail::Records => Some(records(batch)),
        };
        if let Some(Err(error)) = &records {
            let (file, detail) = (file.to_path_buf(), error.to_string());
            self.unread.add(Damage { file, position, detail });
        }
        match self.style {
            Style::Json => writeln!(self.out, "{}", batch_json(file, position, batch, records))?,
            Style::Text => dump_text(&mut self.out, position, batch, records)?,
        }
        Ok(())
    }

    fn lost(&mut self, lost: &Lost) -> Result<()> {
        self.unread.add(lost.damage.clone());
        match self.style {
            Style::Json => writeln!(self.out, "{}", lost_json(lost))?,
            Style::Text => {
                let (position, detail) = (lost.damage.position, &lost.damage.detail);
                writeln!(self.out, "  {position:>12}  DAMAGED  {detail}: {lost}")?;
            }
        }
        Ok(())
    }
}

/// A batch's records, or why they cannot be read although its checksum is right.
type Records = std::result::Result<Vec<Record>, BatchError>;

fn dump_text(
    out: &mut impl Write,
    position: u64,
    batch: &RecordBatch,
    records: Option<Records>,
) -> Result<()> {
    let header = batch.header();
    write!(
        out,
        "  {position:>12}  offsets {}..={}  records {}  {} B  {}  {}",
        header.base_offset(),
        header.last_offset(),
        header.record_count(),
        header.size_bytes(),
        header.compression(),
        rfc3339::show(header.max_timestamp()),
    )?;
    if let Some(producer) = header.producer() {
        write!(out, "  producer {}:{}", producer.id, producer.epoch)?;
    }
    if let Some(sequence) = header.base_sequence() {
        write!(out, "  sequence {sequence}")?;
    }
    for flag in flags(header) {
        write!(out, "  {flag}")?;
    }
    writeln!(out)?;
    match records {
        None => Ok(()),
        Some(Err(error)) => Ok(writeln!(out, "    DAMAGED  its records cannot be read: {error}")?),
        Some(Ok(records)) => records.iter().try_for_each(|record| record_text(out, header, record)),
    }
}

fn record_text(out: &mut impl Write, header: &BatchHeader, record: &Record) -> Result<()> {
    Ok(writeln!(
        out,
        "    {}  {}  key {}  value {}",
        header.offset_of(record),
        rfc3339::show(header.timestamp_of(record)),
        shown(record.key.as_deref()),
        shown(record.value.as_deref()),
    )?)
}

fn records(batch: &RecordBatch) -> Records {
    batch.records(EXPANDED_BYTES_MAX)?.collect()
}

fn flags(header: &BatchHeader) -> impl Iterator<Item = &'static str> {
    let all = [
        ("transactional", header.is_transactional()),
        ("control", header.is_control()),
        ("log-append-time", header.timestamp_type() == TimestampType::LogAppendTime),
    ];
    all.into_iter().filter(|(_, set)| *set).map(|(name, _)| name)
}

/// Bytes with everything escaped that would not print.
fn shown(bytes: Option<&[u8]>) -> String {
    bytes.map_or_else(|| "null".to_owned(), |bytes| format!("\"{}\"", bytes.escape_ascii()))
}

fn batch_json(file: &Path, position: u64, batch: &RecordBatch, records: Option<Records>) -> Value {
    let header = batch.header();
    let mut object = json!({
        "file": file.display().to_string(),
        "position": position,
        "size_bytes": header.size_bytes(),
        "base_offset": header.base_offset().get(),
        "last_offset": header.last_offset().get(),
        "records": header.record_count(),
        "compression": header.compression().name(),
        "leader_epoch": header.leader_epoch().map(|epoch| epoch.get()),
        "base_timestamp": header.base_timestamp().get(),
        "max_timestamp": header.max_timestamp().get(),
        "producer_id": header.producer().map(|producer| producer.id.get()),
        "producer_epoch": header.producer().map(|producer| producer.epoch.get()),
        "base_sequence": header.base_sequence().map(|sequence| sequence.get()),
        "flags": flags(header).collect::<Vec<_>>(),
        "crc": header.crc(),
    });
    match records {
        None => {}
        Some(Err(error)) => object["damage"] = error.to_string().into(),
        Some(Ok(records)) => {
            object["record_list"] =
                records.iter().map(|record| record_json(header, record)).collect();
        }
    }
    object
}

fn record_json(header: &BatchHeader, record: &Record) -> Value {
    let text =
        |bytes: &Option<_>| bytes.as_deref().map(|bytes: &[u8]| bytes.escape_ascii().to_string());
    json!({
        "offset": header.offset_of(record).get(),
        "timestamp": header.timestamp_of(record).get(),
        "key": text(&record.key),
        "value": text(&record.value),
        "headers": record.headers.len(),
    })
}

/// In a dump and in a verdict.
fn lost_json(lost: &Lost) -> Value {
    let mut object = damage_json(&lost.damage);
    object["lost"] = json!({
        "end_position": lost.bytes.end,
        "first_offset": lost.first_offset.map(|offset| offset.get()),
        "next_offset": lost.next_offset.map(|offset| offset.get()),
        "goes_on": lost.goes_on,
    });
    object
}

fn verify(paths: &Paths) -> Result<()> {
    let logs = paths.logs()?;
    let total = logs.iter().map(|log| log_bytes(log)).sum::<Result<u64>>()?;
    let bar = output::progress(Some(total));
    let mut reports = Vec::new();
    for log in logs {
        let before = bar.position();
        let report = inspect::verify(&log, &mut |done| bar.set_position(before + done))?;
        reports.push((log, report));
    }
    bar.finish_and_clear();
    match paths.style.style() {
        Style::Json => output::json(&reports.iter().map(report_json).collect())?,
        Style::Text => reports.iter().try_for_each(report_text)?,
    }
    match reports.iter().map(|(_, report)| report.findings.len()).sum::<usize>() {
        0 => Ok(()),
        damages => Err(CliError::new(format!("found {}", counted(damages as u64, "damage")))),
    }
}

fn log_bytes(log: &Path) -> Result<u64> {
    let files = inspect::log_files(log)?;
    Ok(files.iter().filter_map(|file| file.metadata().ok()).map(|file| file.len()).sum())
}

fn report_text((log, report): &(PathBuf, VerifyReport)) -> Result<()> {
    let verdict = if report.findings.is_empty() { "sound" } else { "DAMAGED" };
    output::line(&format!(
        "{}: {verdict}, {}, {}, {}, {}",
        log.display(),
        counted(report.segments as u64, "segment"),
        counted(report.batches, "batch"),
        counted(report.records, "record"),
        show_bytes(report.bytes),
    ))?;
    report.findings.iter().try_for_each(|found| output::line(&format!("  {found}")))?;
    report.kept.iter().try_for_each(|kept| {
        let kept = kept.display();
        output::line(&format!("  kept of what a start cut off: {kept} (see `cairn segment dump`)"))
    })
}

fn report_json((log, report): &(PathBuf, VerifyReport)) -> Value {
    let finding = |found: &Finding| match found {
        Finding::Damaged(damage) => damage_json(damage),
        Finding::Lost(lost) => lost_json(lost),
    };
    json!({
        "path": log.display().to_string(),
        "segments": report.segments,
        "batches": report.batches,
        "records": report.records,
        "bytes": report.bytes,
        "kept": report.kept.iter().map(|kept| kept.display().to_string()).collect::<Vec<_>>(),
        "damages": report.findings.iter().map(finding).collect::<Vec<_>>(),
    })
}

fn damage_json(damage: &Damage) -> Value {
    json!({
        "file": damage.file.display().to_string(),
        "position": damage.position,
        "detail": damage.detail,
    })
}

fn stat(paths: &Paths) -> Result<()> {
    let mut stats = Vec::new();
    for log in paths.logs()? {
        stats.extend(inspect::segments(&log)?);
    }
    match paths.style.style() {
        Style::Json => output::json(&stats.iter().map(stat_json).collect()),
        Style::Text => {
            let rows: Vec<_> = stats.iter().map(stat_row).collect();
            let head = ["segment", "base", "next", "batches", "records", "size", "latest", "state"];
            output::table(&head, &rows)
        }
    }
}

fn stat_row(stat: &SegmentStat) -> Vec<String> {
    vec![
        stat.log_file.display().to_string(),
        stat.base_offset.to_string(),
        stat.next_offset.to_string(),
        stat.batches.to_string(),
        stat.records.to_string(),
        show_bytes(stat.log_bytes),
        stat.max_timestamp.map_or_else(|| "-".to_owned(), rfc3339::show),
        if stat.sealed { "sealed" } else { "active" }.to_owned(),
    ]
}

fn stat_json(stat: &SegmentStat) -> Value {
    let [offset_index, time_index, txn_index] = stat.index_bytes;
    json!({
        "file": stat.log_file.display().to_string(),
        "base_offset": stat.base_offset.get(),
        "next_offset": stat.next_offset.get(),
        "batches": stat.batches,
        "records": stat.records,
        "log_bytes": stat.log_bytes,
        "sound_bytes": stat.sound_bytes,
        "max_timestamp": stat.max_timestamp.map(|timestamp| timestamp.get()),
        "sealed": stat.sealed,
        "index_bytes": {
            "offset": offset_index,
            "time": time_index,
            "transaction": txn_index,
        },
    })
}

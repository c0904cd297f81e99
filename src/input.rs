//! Records out of files and standard input.
//!
//! The rule: a record is exactly the bytes between two separators: a carriage return stays, what
//! is no UTF-8 stays, a last line without an end is a record, an empty line is an empty record.
//! Input is read in large blocks on a thread of its own, and each record is a slice of its block,
//! so that reading costs no allocation per line and never waits for the network, nor the other way.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::sync::mpsc;

use crate::error::{CliError, Result};

/// Large enough that a system call and a channel message per block cost little, small enough that
/// a block is still in the processor's cache when its records are taken out.
const BLOCK_BYTES: usize = 256 << 10;

/// Blocks that wait to be sent. Few: what is read ahead of the network is only memory.
const BLOCKS_AHEAD: usize = 4;

/// No record can be longer than what the client sends at once.
const RECORD_BYTES_MAX: usize = 128 << 20;

/// How records are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// Each ends with this byte; the last one need not.
    EndedBy(u8),
    /// Each follows its length, four bytes, big endian.
    LengthDelimited,
}

/// Where records are read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Stdin,
    File(PathBuf),
}

impl Source {
    fn name(&self) -> String {
        match self {
            Self::Stdin => "standard input".to_owned(),
            Self::File(path) => path.display().to_string(),
        }
    }

    /// Fails if it cannot be read as things are.
    pub(crate) fn check(&self) -> Result<()> {
        let Self::File(path) = self else { return Ok(()) };
        let kind = path.metadata().map_err(|error| unreadable(path, &error))?.file_type();
        if kind.is_dir() {
            return Err(unreadable(path, &io::ErrorKind::IsADirectory.into()));
        }
        // Not what else there is: opening a pipe waits for its writer.
        if kind.is_file() { open(path).map(drop) } else { Ok(()) }
    }

    fn open(&self) -> Result<Box<dyn Read>> {
        match self {
            Self::Stdin => Ok(Box::new(io::stdin().lock())),
            Self::File(path) => Ok(Box::new(open(path)?)),
        }
    }
}

fn open(path: &Path) -> Result<File> {
    File::open(path).map_err(|error| unreadable(path, &error))
}

fn unreadable(path: &Path, error: &io::Error) -> CliError {
    CliError::new(format!("cannot read {}: {error}", path.display()))
}

/// The sizes of all sources together, if they are files.
pub(crate) fn total_bytes(sources: &[Source]) -> Option<u64> {
    let size = |source: &Source| match source {
        Source::Stdin => None,
        Source::File(path) => {
            std::fs::metadata(path).ok().filter(|file| file.is_file()).map(|file| file.len())
        }
    };
    sources.iter().map(size).sum()
}

/// Whole records, back to back, as they lie in the input.
pub(crate) type Block = Result<Records>;

/// Reads all sources, one after the other, on a thread of its own.
pub(crate) fn read(sources: Vec<Source>, framing: Framing) -> mpsc::Receiver<Block> {
    let (blocks, receiver) = mpsc::channel(BLOCKS_AHEAD);
    std::thread::spawn(move || {
        for source in sources {
            let mut send = |block| blocks.blocking_send(Ok(block)).is_ok();
            match read_source(&source, framing, &mut send) {
                Ok(Wanted::More) => {}
                Ok(Wanted::NoMore) => return,
                Err(error) => {
                    // The receiver is gone: it has failed first, and says so itself.
                    let _ = blocks.blocking_send(Err(error));
                    return;
                }
            }
        }
    });
    receiver
}

/// Whether the receiver is still there.
enum Wanted {
    More,
    NoMore,
}

fn read_source(
    source: &Source,
    framing: Framing,
    send: &mut impl FnMut(Records) -> bool,
) -> Result<Wanted> {
    let mut input = source.open()?;
    // What was read and belongs to no whole record yet.
    let mut pending = BytesMut::new();
    loop {
        let read = fill(&mut input, &mut pending)
            .map_err(|error| CliError::new(format!("cannot read {}: {error}", source.name())))?;
        if read == 0 {
            return finish(source, framing, pending, send);
        }
        let whole = framing.whole_records(&pending, read);
        if whole > 0 && !send(Records { rest: pending.split_to(whole).freeze(), framing }) {
            return Ok(Wanted::NoMore);
        }
        if pending.len() > RECORD_BYTES_MAX {
            return Err(CliError::new(format!(
                "a record in {} is longer than {RECORD_BYTES_MAX} bytes",
                source.name()
            )));
        }
    }
}

/// What is left at the end of a source.
fn finish(
    source: &Source,
    framing: Framing,
    pending: BytesMut,
    send: &mut impl FnMut(Records) -> bool,
) -> Result<Wanted> {
    if pending.is_empty() {
        return Ok(Wanted::More);
    }
    if framing == Framing::LengthDelimited {
        return Err(CliError::new(format!("{} ends inside a record", source.name())));
    }
    let sent = send(Records { rest: pending.freeze(), framing });
    Ok(if sent { Wanted::More } else { Wanted::NoMore })
}

/// Reads one block behind what is pending. Returns how many bytes came.
fn fill(input: &mut impl Read, pending: &mut BytesMut) -> io::Result<usize> {
    let before = pending.len();
    pending.resize(before + BLOCK_BYTES, 0);
    let read = loop {
        match input.read(&mut pending[before..]) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => break read,
        }
    };
    pending.truncate(before + *read.as_ref().unwrap_or(&0));
    read
}

impl Framing {
    /// How many bytes at the front of `bytes` are whole records. Only the last `new` bytes have
    /// not been looked at before.
    fn whole_records(self, bytes: &[u8], new: usize) -> usize {
        match self {
            Self::EndedBy(end) => {
                let seen = bytes.len() - new;
                memchr::memrchr(end, &bytes[seen..]).map_or(0, |at| seen + at + 1)
            }
            Self::LengthDelimited => {
                let mut whole = 0;
                while let Some(size) = framed_size(&bytes[whole..]) {
                    whole += size;
                }
                whole
            }
        }
    }
}

/// The size of the record at the front with its length, if all of it is there.
fn framed_size(bytes: &[u8]) -> Option<usize> {
    let length = u32::from_be_bytes(*bytes.first_chunk()?) as usize;
    (bytes.len() - 4 >= length).then_some(length + 4)
}

/// The records of a block.
#[derive(Debug)]
pub(crate) struct Records {
    rest: Bytes,
    framing: Framing,
}

impl Records {
    /// How many bytes of input are left in it.
    pub(crate) fn input_bytes(&self) -> usize {
        self.rest.len()
    }
}

impl Iterator for Records {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.rest.is_empty() {
            return None;
        }
        match self.framing {
            Framing::EndedBy(end) => Some(match memchr::memchr(end, &self.rest) {
                Some(at) => {
                    let record = self.rest.split_to(at);
                    self.rest.advance(1);
                    record
                }
                None => std::mem::take(&mut self.rest),
            }),
            Framing::LengthDelimited => {
                let size = framed_size(&self.rest)?;
                let mut record = self.rest.split_to(size);
                record.advance(4);
                Some(record)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives out a few bytes at a time, so that records straddle reads.
    struct Trickle<'a>(&'a [u8], usize);

    impl Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(self.0.len()).min(buffer.len());
            buffer[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    fn records(input: &[u8], framing: Framing, step: usize) -> Vec<Vec<u8>> {
        let mut input = Trickle(input, step);
        let mut pending = BytesMut::new();
        let mut all = Vec::new();
        loop {
            let read = fill(&mut input, &mut pending).unwrap();
            let mut collect = |records: Records| {
                all.extend(records.map(|record| record.to_vec()));
                true
            };
            if read == 0 {
                assert!(finish(&Source::Stdin, framing, pending, &mut collect).is_ok());
                return all;
            }
            let whole = framing.whole_records(&pending, read);
            collect(Records { rest: pending.split_to(whole).freeze(), framing });
        }
    }

    #[test]
    fn lines_keep_every_byte_but_their_end() {
        let input = b"plain\r\n\n\xff\xfe\nlast without end\r";
        let expected: [&[u8]; 4] = [b"plain\r", b"", b"\xff\xfe", b"last without end\r"];
        for step in 1..40 {
            assert_eq!(records(input, Framing::EndedBy(b'\n'), step), expected, "step {step}");
        }
    }

    #[test]
    fn a_last_line_with_an_end_adds_no_record() {
        assert_eq!(records(b"a\nb\n", Framing::EndedBy(b'\n'), 3), [b"a", b"b"]);
        assert!(records(b"", Framing::EndedBy(b'\n'), 3).is_empty());
    }

    #[test]
    fn delimited_records_may_hold_anything() {
        let input = b"\0\0\0\x02a\n\0\0\0\0\0\0\0\x01b";
        let expected: [&[u8]; 3] = [b"a\n", b"", b"b"];
        for step in 1..20 {
            assert_eq!(records(input, Framing::LengthDelimited, step), expected, "step {step}");
        }
    }

    #[test]
    fn a_cut_record_is_an_error() {
        let pending = BytesMut::from(&b"\0\0\0\x05ab"[..]);
        let mut nothing = |_| unreachable!("no whole record");
        assert!(finish(&Source::Stdin, Framing::LengthDelimited, pending, &mut nothing).is_err());
    }
}

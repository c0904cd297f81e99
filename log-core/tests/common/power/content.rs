//! What a file of the powered disk holds, and the changes that are made to it.
//!
//! The rule: zeros that a log writes ahead cost nothing here. They are a length, and no bytes;
//! without that, half of a test's time went into a quarter of a megabyte of nothing per segment.

use std::io::IoSlice;

/// Bytes, and as many zeros behind them as `len` asks for.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Content {
    data: Vec<u8>,
    len: usize,
}

/// One operation on a file, with its number among all of the disk's.
#[derive(Clone, Debug)]
pub struct Change {
    pub number: u64,
    pub kind: ChangeKind,
}

#[derive(Clone, Debug)]
pub enum ChangeKind {
    /// Bytes at a position, and zeros behind them.
    Write {
        at: usize,
        bytes: Vec<u8>,
        zeros: usize,
    },
    SetLen(usize),
}

/// From so many zeros on, a part of a write is kept as their number.
const ZEROS_MIN: usize = 4096;

impl ChangeKind {
    pub fn write(parts: &[IoSlice<'_>], at: u64) -> Self {
        let is_room = |part: &IoSlice<'_>| {
            part.len() >= ZEROS_MIN && part.iter().step_by(97).all(|b| *b == 0)
        };
        let (room, parts) = match parts.split_last() {
            Some((last, parts)) if is_room(last) => (last.len(), parts),
            _ => (0, parts),
        };
        let bytes = parts.iter().flat_map(|part| part.iter().copied()).collect();
        Self::Write { at: at as usize, bytes, zeros: room }
    }

    /// The part of it that a write leaves that breaks off.
    pub fn torn(&self, bytes_max: usize) -> Self {
        match self {
            Self::Write { at, bytes, .. } => {
                let bytes = bytes[..bytes.len().min(bytes_max)].to_vec();
                Self::Write { at: *at, bytes, zeros: 0 }
            }
            Self::SetLen(len) => Self::SetLen(*len),
        }
    }
}

impl Content {
    pub fn len(&self) -> usize {
        self.len
    }

    /// How many bytes are more than a number of zeros.
    pub fn data_len(&self) -> usize {
        self.data.len()
    }

    pub fn apply(&mut self, change: &ChangeKind) {
        match change {
            ChangeKind::Write { at, bytes, zeros } => {
                self.put(*at, bytes);
                self.put_zeros(at + bytes.len(), *zeros);
            }
            ChangeKind::SetLen(len) => self.set_len(*len),
        }
    }

    pub fn put(&mut self, at: usize, bytes: &[u8]) {
        let end = at + bytes.len();
        if self.data.len() < end {
            self.data.resize(end, 0);
        }
        self.data[at..end].copy_from_slice(bytes);
        self.len = self.len.max(end);
    }

    pub fn put_zeros(&mut self, at: usize, count: usize) {
        let written = self.data.len();
        self.data[at.min(written)..(at + count).min(written)].fill(0);
        self.len = self.len.max(at + count);
    }

    pub fn set_len(&mut self, len: usize) {
        self.data.truncate(len);
        self.len = len;
    }

    /// How many bytes were read into `buffer`.
    pub fn read(&self, at: usize, buffer: &mut [u8]) -> usize {
        let count = self.len.saturating_sub(at).min(buffer.len());
        let data = self.data.get(at..).unwrap_or_default();
        let copied = data.len().min(count);
        buffer[..copied].copy_from_slice(&data[..copied]);
        buffer[copied..count].fill(0);
        count
    }

    /// Everything but the zeros behind the last write.
    pub fn data(&self) -> &[u8] {
        &self.data
    }
}

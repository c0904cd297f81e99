//! The codecs of record batches, and their framing as Kafka's clients write and read it.
//!
//! | codec | on the wire |
//! | --- | --- |
//! | gzip | gzip members |
//! | snappy | written in xerial framing: 16 bytes of header, then blocks of up to 32 KiB, each after its length (u32, big endian); read in that framing or as one raw block |
//! | lz4 | one lz4 frame of independent 64 KiB blocks |
//! | zstd | zstd frames |
//!
//! The rule: what comes out is bounded by the caller, and memory grows with what went in and what
//! has come out, never with what the input promises. A decoder that hands out everything at once could not keep
//! the rule, so decoding is a stream and [`decompress`] is one way to read it.

use std::{
    fmt,
    io::{self, Read, Write},
};

use bytes::Bytes;
use flate2::{bufread::MultiGzDecoder, write::GzEncoder};
use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};
use thiserror::Error;

/// How the records of a batch are compressed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// gzip.
    Gzip,
    /// Snappy.
    Snappy,
    /// LZ4 frames.
    Lz4,
    /// Zstandard (KIP-110).
    Zstd,
}

impl Compression {
    /// Every codec, in the order of their numbers.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// The codec with this number in the batch attributes.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// Its number in the batch attributes.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// Its name in Kafka's configs.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// The codec with this name in Kafka's configs.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.name() == name)
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why bytes do not decompress.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum DecompressError {
    /// They expand past the bound.
    #[error("data expands to more than {max} bytes")]
    TooLarge {
        /// The bound in bytes.
        max: usize,
    },
    /// They are not what the codec writes.
    #[error("{reason}")]
    Malformed {
        /// What the decoder says.
        reason: String,
    },
}

impl From<io::Error> for DecompressError {
    fn from(error: io::Error) -> Self {
        error
            .downcast::<Self>()
            .unwrap_or_else(|error| Self::Malformed { reason: error.to_string() })
    }
}

/// What `bytes` expand to, refused past `expanded_bytes_max`.
pub fn decompress(
    codec: Compression,
    bytes: &[u8],
    expanded_bytes_max: usize,
) -> Result<Bytes, DecompressError> {
    // Most batches shrink to a third or so; what is left over is small change.
    let capacity = bytes.len().saturating_mul(4).min(expanded_bytes_max);
    let mut expanded = Vec::with_capacity(capacity);
    // One byte past the bound tells an expansion that fits it exactly from one that does not.
    let enough = (expanded_bytes_max as u64).saturating_add(1);
    stream(codec, bytes, expanded_bytes_max)?.take(enough).read_to_end(&mut expanded)?;
    if expanded.len() > expanded_bytes_max {
        return Err(DecompressError::TooLarge { max: expanded_bytes_max });
    }
    Ok(expanded.into())
}

/// What `bytes` expand to, piece by piece. Allocates at most what one block of the codec needs;
/// the reader stops at `expanded_bytes_max`.
pub(super) fn stream(
    codec: Compression,
    bytes: &[u8],
    expanded_bytes_max: usize,
) -> Result<Box<dyn Read + '_>, DecompressError> {
    Ok(match codec {
        Compression::None => Box::new(bytes),
        Compression::Gzip => Box::new(MultiGzDecoder::new(bytes)),
        Compression::Snappy => Box::new(SnappyBlocks::new(bytes, expanded_bytes_max)),
        Compression::Lz4 => Box::new(SingleLz4Frame(FrameDecoder::new(bytes))),
        Compression::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(bytes)?),
    })
}

/// Appends `bytes` to `out`, in the framing of `codec`.
pub(super) fn compress(codec: Compression, bytes: &[u8], out: Vec<u8>) -> io::Result<Vec<u8>> {
    match codec {
        Compression::None => compress_none(bytes, out),
        Compression::Gzip => compress_gzip(bytes, out),
        Compression::Snappy => compress_snappy(bytes, out),
        Compression::Lz4 => compress_lz4(bytes, out),
        Compression::Zstd => compress_zstd(bytes, out),
    }
}

fn compress_none(bytes: &[u8], mut out: Vec<u8>) -> io::Result<Vec<u8>> {
    out.extend_from_slice(bytes);
    Ok(out)
}

fn compress_gzip(bytes: &[u8], out: Vec<u8>) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(out, flate2::Compression::default());
    encoder.write_all(bytes)?;
    encoder.finish()
}

fn compress_lz4(bytes: &[u8], out: Vec<u8>) -> io::Result<Vec<u8>> {
    // Kafka's Java client reads only independent blocks.
    let frame = FrameInfo::new().block_mode(BlockMode::Independent).block_size(BlockSize::Max64KB);
    let mut encoder = FrameEncoder::with_frame_info(frame, out);
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}

fn compress_snappy(bytes: &[u8], mut out: Vec<u8>) -> io::Result<Vec<u8>> {
    out.extend_from_slice(&XERIAL_HEADER);
    let mut encoder = snap::raw::Encoder::new();
    for block in bytes.chunks(XERIAL_BLOCK_BYTES) {
        let compressed = encoder.compress_vec(block)?;
        out.extend_from_slice(&(compressed.len() as u32).to_be_bytes());
        out.extend_from_slice(&compressed);
    }
    Ok(out)
}

fn compress_zstd(bytes: &[u8], mut out: Vec<u8>) -> io::Result<Vec<u8>> {
    let compressed = zstd::bulk::compress(bytes, zstd::DEFAULT_COMPRESSION_LEVEL)?;
    out.extend_from_slice(&compressed);
    Ok(out)
}

/// Magic, version 1, readable since version 1.
const XERIAL_HEADER: [u8; 16] = *b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";

const XERIAL_MAGIC: &[u8] = XERIAL_HEADER.split_at(8).0;

/// What the Java client writes, and what some readers take at most.
const XERIAL_BLOCK_BYTES: usize = 32 * 1024;

/// No snappy block expands further: its densest element makes 64 bytes of 3.
const SNAPPY_EXPANSION_MAX: usize = 22;

/// Reads snappy block by block, in xerial framing or as one raw block.
struct SnappyBlocks<'a> {
    rest: &'a [u8],
    framed: bool,
    block: Vec<u8>,
    position: usize,
    expanded_bytes_max: usize,
}

impl<'a> SnappyBlocks<'a> {
    fn new(bytes: &'a [u8], expanded_bytes_max: usize) -> Self {
        let framed = bytes.starts_with(XERIAL_MAGIC) && bytes.len() >= XERIAL_HEADER.len();
        let rest = if framed { &bytes[XERIAL_HEADER.len()..] } else { bytes };
        Self { rest, framed, block: Vec::new(), position: 0, expanded_bytes_max }
    }

    /// Expands the next block; there is one.
    fn expand_next(&mut self) -> io::Result<()> {
        let compressed =
            if self.framed { self.next_framed()? } else { std::mem::take(&mut self.rest) };
        let size = snap::raw::decompress_len(compressed)?;
        if size > self.expanded_bytes_max {
            let error = DecompressError::TooLarge { max: self.expanded_bytes_max };
            return Err(io::Error::other(error));
        }
        if size > compressed.len().saturating_mul(SNAPPY_EXPANSION_MAX) {
            return Err(io::Error::other("snappy block promises more than it can hold"));
        }
        self.block.resize(size, 0);
        snap::raw::Decoder::new().decompress(compressed, &mut self.block)?;
        self.position = 0;
        Ok(())
    }

    fn next_framed(&mut self) -> io::Result<&'a [u8]> {
        let cut = || io::Error::other("snappy data ends inside a block");
        let (length, rest) = self.rest.split_first_chunk::<4>().ok_or_else(cut)?;
        let length = u32::from_be_bytes(*length) as usize;
        let (block, rest) = rest.split_at_checked(length).ok_or_else(cut)?;
        self.rest = rest;
        Ok(block)
    }
}

impl Read for SnappyBlocks<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.position == self.block.len() {
            if self.rest.is_empty() {
                return Ok(0);
            }
            self.expand_next()?;
        }
        let read = (&self.block[self.position..]).read(out)?;
        self.position += read;
        Ok(read)
    }
}

/// Reads one lz4 frame and refuses whatever follows it.
struct SingleLz4Frame<'a>(FrameDecoder<&'a [u8]>);

impl Read for SingleLz4Frame<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.0.read(out)?;
        if read == 0 && !out.is_empty() && !self.0.get_ref().is_empty() {
            return Err(io::Error::other("bytes follow the lz4 frame"));
        }
        Ok(read)
    }
}

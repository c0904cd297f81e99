//! What was written, in the pieces in which it lies in memory.
//!
//! The rule: a piece is given back as soon as it is sent. Record batches are slices of mapped
//! segments, and a slow client should hold no more of them than it still waits for.

use std::{collections::VecDeque, io::IoSlice};

use bytes::{Buf, Bytes, BytesMut};

/// Bytes in order, in chunks. As a [`Buf`] it is sent by vectored writes, without being joined.
#[derive(Debug, Clone, Default)]
pub struct Rope {
    /// None of them is empty.
    chunks: VecDeque<Bytes>,
    len: usize,
}

impl Rope {
    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The chunks, in order.
    pub fn chunks(&self) -> impl Iterator<Item = &Bytes> {
        self.chunks.iter()
    }

    /// The chunks, in order.
    pub fn into_chunks(self) -> impl Iterator<Item = Bytes> {
        self.chunks.into_iter()
    }

    /// All bytes as one slice; copies them where they are in more than one chunk.
    pub fn into_bytes(mut self) -> Bytes {
        if self.chunks.len() <= 1 {
            return self.chunks.pop_front().unwrap_or_default();
        }
        let mut all = BytesMut::with_capacity(self.len);
        self.chunks.iter().for_each(|chunk| all.extend_from_slice(chunk));
        all.freeze()
    }

    pub(super) fn push(&mut self, chunk: Bytes) {
        if !chunk.is_empty() {
            self.len += chunk.len();
            self.chunks.push_back(chunk);
        }
    }
}

impl Buf for Rope {
    fn remaining(&self) -> usize {
        self.len
    }

    fn chunk(&self) -> &[u8] {
        self.chunks.front().map_or(&[], |chunk| chunk)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let filled = slices.iter_mut().zip(&self.chunks);
        filled.map(|(slice, chunk)| *slice = IoSlice::new(chunk)).count()
    }

    fn advance(&mut self, count: usize) {
        assert!(count <= self.len, "{count} bytes were sent of {}", self.len);
        self.len -= count;
        let mut left = count;
        while let Some(chunk) = self.chunks.front_mut().filter(|_| left > 0) {
            let sent = left.min(chunk.len());
            chunk.advance(sent);
            left -= sent;
            if chunk.is_empty() {
                self.chunks.pop_front();
            }
        }
    }
}

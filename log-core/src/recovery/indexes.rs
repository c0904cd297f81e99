//! Indexes built anew from the log, which has everything that they say.

use std::sync::Arc;

use log_proto::record::BatchHeader;
use log_proto::types::Offset;

use super::replay::Replay;
use super::survey::Survey;
use crate::error::{Damage, ReadError};
use crate::index::{AbortedTxn, OffsetIndex};
use crate::leader_epoch::LeaderEpochCache;
use crate::offsets::Tail;
use crate::segment::{
    BrokenOff, Check, FileName, IndexEntryDue, IndexSlot, Indexes, Located, Segment, WalkError,
};

/// Rebuilds a segment's indexes from its log file. Where that is damaged they break off, and say
/// so: what is sound before it is served.
pub(crate) fn build_indexes(segment: &Segment) -> Result<Indexes, ReadError> {
    let folder = segment.folder();
    let survey = Survey::of(folder)?;
    let base = segment.base();
    // Which transactions were open at the segment's start is in the batches before it.
    let first = survey.logs.first_key_value().map_or(base, |(first, _)| *first);
    let within = first.min(base)..=base;
    let (mut replay, from) =
        Replay::from(folder, &survey.snapshots, within, LeaderEpochCache::default())?;
    let mut earlier = Vec::new();
    let bases: Vec<(Offset, u64)> = survey.logs.range(..base).map(|(b, len)| (*b, *len)).collect();
    for (place, (at, len)) in bases.iter().enumerate() {
        let next = bases.get(place + 1).map_or(base, |(next, _)| *next);
        let indexes = IndexSlot::Loaded(Box::new(Indexes::empty(*at)));
        earlier.push(Arc::new(Segment::known(folder.clone(), *at, *len, next, indexes)));
    }
    let to = Tail { offset: base, segment: base, position: 0 };
    replay.walk(&earlier, from, to, &mut [])?;

    let mut building = Building {
        builder: IndexBuilder { indexes: Indexes::empty(base), since_entry: 0 },
        replay,
        next_offset: base,
        last_position: 0,
    };
    let mut position = 0;
    let mut broken_off: Option<BrokenOff> = None;
    while let Some(damage) = building.go_on(segment, position)? {
        broken_off.get_or_insert_with(|| building.break_off(damage));
        match building.find_sound(segment)? {
            Some(sound) => {
                position = sound.position;
                building.next_offset = sound.header.base_offset();
                building.builder.since_entry = u64::MAX;
            }
            None => break,
        }
    }
    let mut indexes = building.builder.finish();
    indexes.broken_off = broken_off;
    Ok(indexes)
}

/// Indexes on their way through a segment.
struct Building {
    builder: IndexBuilder,
    replay: Replay,
    next_offset: Offset,
    /// Where the last batch starts that looked sound.
    last_position: u64,
}

impl Building {
    /// From the batch at byte `position` to the segment's end, or to the damage that is returned.
    fn go_on(&mut self, segment: &Segment, position: u64) -> Result<Option<Damage>, ReadError> {
        let walk = segment.walk(Check::Headers, position, segment.end())?;
        let mut walk = walk.expecting(self.next_offset);
        loop {
            let batch = match walk.next() {
                Ok(Some(batch)) => batch,
                Ok(None) => return Ok(None),
                Err(WalkError::Damaged(damage)) => return Ok(Some(damage)),
                Err(WalkError::File(error)) => return Err(error.into()),
            };
            self.last_position = batch.position;
            match self.replay.step(segment, &batch) {
                Ok(aborted) => self.builder.add(&batch, aborted),
                Err(ReadError::Damaged { damage, .. }) => return Ok(Some(damage)),
                Err(error) => return Err(error),
            }
            self.next_offset = batch.header.next_offset();
        }
    }

    fn break_off(&self, damage: Damage) -> BrokenOff {
        let next_offset = self.next_offset;
        let undecided_from = self.replay.producers.first_open_offset().unwrap_or(next_offset);
        BrokenOff { damage, next_offset, undecided_from }
    }

    /// The next sound batch, if an index file that nothing vouches for knows where it is. Bytes in
    /// between are not searched for one: a record may hold what looks like a batch.
    fn find_sound(&self, segment: &Segment) -> Result<Option<Located>, ReadError> {
        let base = segment.base();
        let file = segment.folder().read_hint(&FileName::Index(base), INDEX_FILE_BYTES_MAX)?;
        let index = file.and_then(|bytes| OffsetIndex::parse(base, bytes.into(), u64::MAX).ok());
        let mut entries = index.iter().flat_map(|index| index.entries_after(self.last_position));
        Ok(entries.find_map(|entry| {
            let start = u64::from(entry.position);
            let walk = segment.walk(Check::Checksums, start, segment.end()).ok()?;
            let found = walk.expecting_last(entry.last_offset).next().ok().flatten()?;
            (found.header.base_offset() >= self.next_offset).then_some(found)
        }))
    }
}

/// A segment's positions have 31 bits, and each entry is of a batch of its own.
const INDEX_FILE_BYTES_MAX: u64 = 256 << 20;

/// Kafka's default interval. What the topic says does not matter here: an index that is denser or
/// sparser answers the same.
const INDEX_INTERVAL_BYTES: u64 = 4096;

pub(super) struct IndexBuilder {
    pub(super) indexes: Indexes,
    pub(super) since_entry: u64,
}

impl IndexBuilder {
    /// Goes on behind byte `position`, keeping what the files say of the bytes before.
    pub(super) fn above(
        segment: &Segment,
        position: u64,
        offset: Offset,
    ) -> Result<Self, ReadError> {
        let base = segment.base();
        let indexes = if position == 0 {
            Indexes::empty(base)
        } else {
            match segment.indexes_below(offset)? {
                Some(indexes) => indexes,
                None => build_indexes(segment)?,
            }
        };
        // The next batch gets an entry: behind damage, nothing else would lead to it.
        let mut builder = Self { indexes, since_entry: u64::MAX };
        builder.look_back(segment, position)?;
        Ok(builder)
    }

    /// The time index knows the largest timestamp up to the last offset index entry; the batches
    /// from there to byte `position` have to be asked.
    pub(super) fn look_back(&mut self, segment: &Segment, position: u64) -> Result<(), ReadError> {
        let start = self.indexes.offset.last().map_or(0, |entry| u64::from(entry.position));
        let mut walk = segment.walk(Check::Headers, start, position)?;
        // Damage below the recovery point is left alone, here too.
        while let Ok(Some(batch)) = walk.next() {
            let header = &batch.header;
            self.indexes.appended(
                batch.position,
                header.last_offset(),
                header.max_timestamp(),
                IndexEntryDue::Later,
            );
        }
        Ok(())
    }

    pub(super) fn add(&mut self, batch: &Located, aborted: Option<AbortedTxn>) {
        let header: &BatchHeader = &batch.header;
        let due = if self.since_entry > INDEX_INTERVAL_BYTES {
            self.since_entry = 0;
            IndexEntryDue::Now
        } else {
            IndexEntryDue::Later
        };
        self.indexes.appended(batch.position, header.last_offset(), header.max_timestamp(), due);
        self.since_entry = self.since_entry.saturating_add(header.size_bytes() as u64);
        if let Some(aborted) = aborted {
            self.indexes.add_aborted(&aborted);
        }
    }

    pub(super) fn finish(mut self) -> Indexes {
        self.indexes.settle_time();
        self.indexes
    }
}

//! The segments of a log in order: floor lookup, growth at the end, retirement at the front.
//!
//! Readers take the whole list as one immutable value and keep reading from it whatever happens
//! meanwhile; a segment that has been retired under them lives on until they let go of it.

use std::sync::Arc;

use log_proto::types::Offset;

use super::Segment;
use crate::sync::ArcSwap;

/// Never empty: the last segment is the active one.
#[derive(Debug)]
pub(crate) struct SegmentSet(ArcSwap<Vec<Arc<Segment>>>);

impl SegmentSet {
    /// Segments by rising base offset, the active one last.
    pub(crate) fn new(segments: Vec<Arc<Segment>>) -> Self {
        assert!(!segments.is_empty(), "a log has at least its active segment");
        Self(ArcSwap::from_pointee(segments))
    }

    pub(crate) fn all(&self) -> Arc<Vec<Arc<Segment>>> {
        self.0.load_full()
    }

    pub(crate) fn active(&self) -> Arc<Segment> {
        let segments = self.0.load();
        Arc::clone(segments.last().expect("never empty"))
    }

    /// Segments from the one that would hold `offset` on.
    pub(crate) fn from(&self, offset: Offset) -> impl Iterator<Item = Arc<Segment>> + use<> {
        let segments = self.all();
        let behind = segments.partition_point(|segment| segment.base() <= offset);
        (behind.saturating_sub(1)..segments.len()).map(move |place| Arc::clone(&segments[place]))
    }

    /// A roll: `segment` becomes the last. Called by the writer alone.
    pub(crate) fn push(&self, segment: Arc<Segment>) {
        let mut segments = Vec::clone(&self.0.load());
        debug_assert!(segments.last().is_none_or(|last| last.base() < segment.base()));
        segments.push(segment);
        self.0.store(Arc::new(segments));
    }

    /// Takes the first `count` out, never the active one. Called by the writer alone.
    pub(crate) fn retire_front(&self, count: usize) -> Vec<Arc<Segment>> {
        let segments = self.all();
        let count = count.min(segments.len() - 1);
        let (retired, kept) = segments.split_at(count);
        self.0.store(Arc::new(kept.to_vec()));
        retired.to_vec()
    }

    /// Bytes of whole batches in all segments.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.load().iter().map(|segment| segment.end()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::Folder;
    use crate::segment::IndexSlot;

    fn set(bases: &[i64]) -> SegmentSet {
        let folder = Folder::new("nowhere".into(), Arc::new(crate::io::Disk));
        let segment = |base: &i64| {
            let base = Offset::new(*base).unwrap();
            Arc::new(Segment::known(folder.clone(), base, 10, base, IndexSlot::Unknown))
        };
        SegmentSet::new(bases.iter().map(segment).collect())
    }

    fn bases(segments: impl IntoIterator<Item = Arc<Segment>>) -> Vec<i64> {
        segments.into_iter().map(|segment| segment.base().get()).collect()
    }

    #[test]
    fn a_lookup_begins_with_the_segment_that_would_hold_the_offset() {
        let set = set(&[10, 20, 30]);
        let from = |offset| bases(set.from(Offset::new(offset).unwrap()));
        assert_eq!(from(0), [10, 20, 30], "below all, from the first on");
        assert_eq!(from(19), [10, 20, 30]);
        assert_eq!(from(20), [20, 30]);
        assert_eq!(from(1000), [30]);
    }

    #[test]
    fn the_active_segment_is_never_retired() {
        let set = set(&[10, 20, 30]);
        let before = set.all();
        assert_eq!(bases(set.retire_front(5)), [10, 20]);
        assert_eq!((set.active().base().get(), set.bytes()), (30, 10));
        assert_eq!(bases(before.to_vec()), [10, 20, 30], "who took the list keeps it");
    }
}

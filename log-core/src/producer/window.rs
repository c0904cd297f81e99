//! The windows that belong to a producer snapshot: our own file beside Kafka's, `.window`.
//!
//! ```text
//! payload (in the frame of a small file; big-endian)
//!   count u32, then for each producer
//!     producer id     i64
//!     producer epoch  i16
//!     batches         u8    1 to 5, oldest first, each
//!       last sequence i32   -1: none
//!       last offset   i64
//!       offset delta  i32   last minus base offset
//!       timestamp     i64
//! ```
//!
//! Kafka's snapshot keeps one batch of each producer. After a restart, a client that repeats the
//! one before would be told that its sequence is out of order, although everything it sent is
//! stored. With this file the repetition is recognised.
//!
//! The rule: the snapshot is the truth and this file only adds to it. A window is taken where its
//! newest batch is the snapshot's; without the file, or with one that is damaged or another
//! snapshot's, nothing but those older batches is missing.

use log_proto::types::{Offset, ProducerEpoch, ProducerId, TimestampMs};

use super::ProducerStates;
use super::entry::{BatchMetadata, WINDOW_BATCHES, Window, newest};
use super::snapshot::{take_last_sequence, take_offset_delta};
use crate::checkpoint::{
    CheckpointDamage, CheckpointKind, PayloadDamage, Reader, Writer, frame, unframe,
};

/// The only version there has been.
const VERSION: u16 = 1;

const BATCH_BYTES: usize = 4 + 8 + 4 + 8;
/// A producer with one batch.
const PRODUCER_BYTES_MIN: usize = 8 + 2 + 1 + BATCH_BYTES;

/// The bytes of the whole file: the windows of all producers that have batches.
pub(crate) fn encode(states: &ProducerStates) -> Vec<u8> {
    let with_batches = || states.entries().filter(|(_, entry)| entry.newest_batch().is_some());
    let count = u32::try_from(with_batches().count()).expect("2^32 producers do not fit in memory");
    let mut payload = Writer::default();
    payload.put_u32(count);
    for (id, entry) in with_batches() {
        payload.put_i64(id.get());
        payload.put_i16(entry.producer_epoch.get());
        put_window(&mut payload, &entry.window);
    }
    frame(CheckpointKind::ProducerWindows, VERSION, payload.as_slice())
}

fn put_window(out: &mut Writer, window: &Window) {
    let batches = window.iter().flatten();
    out.put_u8(u8::try_from(batches.clone().count()).expect("a window has five places"));
    for batch in batches {
        let delta = i32::try_from(batch.offset_delta).expect("the batch format has 31 bits for it");
        out.put_i32(batch.last_sequence.map_or(-1, |sequence| sequence.get()));
        out.put_i64(batch.last_offset.get());
        out.put_i32(delta);
        out.put_i64(batch.timestamp.get());
    }
}

/// What a window file had to add to a snapshot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Merged {
    /// The file is damaged. The states are as before.
    Nothing,
    /// Its windows end with the snapshot's batches.
    Windows,
    /// It knows of other batches than the snapshot of the same offset does.
    OtherBatches,
}

/// Adds the windows in a whole file to the states that the snapshot of the same offset gave.
pub(crate) fn merge(states: &mut ProducerStates, bytes: &[u8]) -> Merged {
    let Ok(windows) = decode(bytes) else { return Merged::Nothing };
    let mut merged = Merged::Windows;
    for stored in windows {
        // One that the snapshot does not know has been forgotten since.
        let Some(entry) = states.entries.get_mut(&stored.producer_id) else { continue };
        match (entry.newest_batch(), newest(&stored.window)) {
            (Some(known), Some(newest))
                if entry.producer_epoch == stored.epoch && known.is_same_batch(newest) =>
            {
                entry.window = stored.window;
            }
            _ => merged = Merged::OtherBatches,
        }
    }
    merged
}

/// Why the bytes are no file of windows, if they are none.
pub(crate) fn check(bytes: &[u8]) -> Result<(), String> {
    decode(bytes).map(drop).map_err(|error| error.to_string())
}

struct StoredWindow {
    producer_id: ProducerId,
    epoch: ProducerEpoch,
    window: Window,
}

fn decode(bytes: &[u8]) -> Result<Vec<StoredWindow>, CheckpointDamage> {
    let (_, payload) = unframe(CheckpointKind::ProducerWindows, VERSION, bytes)?;
    let mut reader = Reader::new(payload);
    let count = reader.take_u32()?;
    let mut windows = Vec::with_capacity(reader.room_for(count, PRODUCER_BYTES_MIN)?);
    for _ in 0..count {
        windows.push(StoredWindow {
            producer_id: reader.take_as("producer id", Reader::take_i64, ProducerId::new)?,
            epoch: reader.take_as("producer epoch", Reader::take_i16, ProducerEpoch::new)?,
            window: take_window(&mut reader)?,
        });
    }
    reader.finish()?;
    Ok(windows)
}

fn take_window(reader: &mut Reader<'_>) -> Result<Window, PayloadDamage> {
    let count = reader.take_as("count of batches", Reader::take_u8, |found| {
        Some(usize::from(found)).filter(|count| (1..=WINDOW_BATCHES).contains(count))
    })?;
    let mut window = Window::default();
    let mut above = -1;
    for place in &mut window[..count] {
        let batch = take_batch(reader, above)?;
        above = batch.last_offset.get();
        *place = Some(batch);
    }
    Ok(window)
}

/// A batch that begins behind the offset `above`.
fn take_batch(reader: &mut Reader<'_>, above: i64) -> Result<BatchMetadata, PayloadDamage> {
    let last_sequence = take_last_sequence(reader)?;
    let last_offset = reader.take_as("last offset", Reader::take_i64, |found| {
        Offset::new(found).filter(|last_offset| last_offset.get() > above)
    })?;
    let offset_delta = take_offset_delta(reader, last_offset.get() - above - 1)?;
    let timestamp = TimestampMs::new(reader.take_i64()?);
    Ok(BatchMetadata { last_sequence, last_offset, offset_delta, timestamp })
}

#[cfg(test)]
mod tests {
    use super::super::snapshot;
    use super::super::tests::{Partition, any_script, data, duplicate};
    use super::super::{AppendOrigin, ProducerStateError};
    use super::*;
    use proptest::prelude::*;

    /// Producer 7 has written seven batches of two records.
    fn seven_batches() -> Partition {
        let mut log = Partition::default();
        for n in 0..7 {
            log.append(data(7, 0, n * 2, 2), AppendOrigin::Client).unwrap();
        }
        log
    }

    fn restarted(states: &ProducerStates, windows: &[u8]) -> ProducerStates {
        let mut restarted = snapshot::decode(&snapshot::encode(states)).unwrap();
        merge(&mut restarted, windows);
        restarted
    }

    #[test]
    fn golden_bytes() {
        let mut log = Partition::default();
        log.append(data(7, 3, 0, 2), AppendOrigin::Client).unwrap();
        let payload = b"\
            \0\0\0\x01\
            \0\0\0\0\0\0\0\x07\0\x03\x01\
            \0\0\0\x01\0\0\0\0\0\0\0\x01\0\0\0\x01\0\0\0\0\0\0\x03\xe8";
        assert_eq!(encode(&log.states), frame(CheckpointKind::ProducerWindows, 1, payload));
    }

    #[test]
    fn a_repetition_of_an_older_batch_is_recognised_after_a_restart() {
        let mut log = seven_batches();
        let repeated = data(7, 0, 6, 2);
        let known = log.append(repeated, AppendOrigin::Client).unwrap();
        assert_eq!(known, duplicate(6, 7));

        let windows = encode(&log.states);
        log.states = snapshot::decode(&snapshot::encode(&log.states)).unwrap();
        let refused = log.append(repeated, AppendOrigin::Client).unwrap_err();
        assert!(matches!(refused, ProducerStateError::OutOfOrderSequence { .. }));
        assert_eq!(merge(&mut log.states, &windows), Merged::Windows);
        assert_eq!(log.append(repeated, AppendOrigin::Client).unwrap(), known);
    }

    #[test]
    fn windows_of_another_snapshot_add_nothing() {
        let mut log = seven_batches();
        let older = encode(&log.states);
        log.append(data(7, 0, 14, 2), AppendOrigin::Client).unwrap();
        let mut states = snapshot::decode(&snapshot::encode(&log.states)).unwrap();
        assert_eq!(merge(&mut states, &older), Merged::OtherBatches);
        let (_, entry) = states.entries.pop_first().unwrap();
        assert_eq!(entry.batches().count(), 1);
    }

    #[test]
    fn windows_that_cannot_be_are_refused_and_change_nothing() {
        let windows = encode(&seven_batches().states);
        let (_, payload) = unframe(CheckpointKind::ProducerWindows, 1, &windows).unwrap();
        // Places in the payload: count of batches, the second batch's last offset and delta, and
        // the number of producers.
        for (at, value) in [(14, 0), (14, 6), (14, 4), (50, 5), (54, 2), (3, 2), (3, 0)] {
            let mut payload = payload.to_vec();
            assert_ne!(payload[at], value);
            payload[at] = value;
            let mut states = snapshot::decode(&snapshot::encode(&seven_batches().states)).unwrap();
            let before = states.clone();
            let file = frame(CheckpointKind::ProducerWindows, 1, &payload);
            let refused = decode(&file).map(|windows| windows.len()).unwrap_err();
            assert!(matches!(refused, CheckpointDamage::Payload(_)), "{at}: {refused}");
            assert_eq!(merge(&mut states, &file), Merged::Nothing);
            assert_eq!(states, before);
        }
    }

    proptest! {
        #[test]
        fn snapshot_and_windows_together_lose_nothing(script in any_script()) {
            let states = Partition::after(&script).states;
            prop_assert_eq!(restarted(&states, &encode(&states)), states);
        }

        #[test]
        fn foreign_bytes_never_panic(payload: Vec<u8>, count in 0_u32..4) {
            let payload = [&count.to_be_bytes()[..], &payload].concat();
            let file = frame(CheckpointKind::ProducerWindows, 1, &payload);
            let _ = merge(&mut seven_batches().states, &file);
        }

        #[test]
        fn every_truncation_is_noticed(script in any_script()) {
            let windows = encode(&Partition::after(&script).states);
            let (_, payload) = unframe(CheckpointKind::ProducerWindows, 1, &windows).unwrap();
            for len in 0..payload.len() {
                let file = frame(CheckpointKind::ProducerWindows, 1, &payload[..len]);
                prop_assert_eq!(merge(&mut ProducerStates::default(), &file), Merged::Nothing);
            }
        }
    }
}

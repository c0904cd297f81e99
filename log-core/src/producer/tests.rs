//! A partition in miniature: batches are checked, placed and applied as the append does it.

use log_proto::record::{
    BatchBuilder, BatchHeader, BatchOptions, ControlRecord, EndTxnMarker, Transactional,
    end_txn_marker,
};
use log_proto::types::{
    CoordinatorEpoch, Offset, Producer, ProducerEpoch, ProducerId, Sequence, TimestampMs,
};
use proptest::prelude::*;

use super::*;

pub(super) fn offset(value: i64) -> Offset {
    Offset::new(value).unwrap()
}

/// A batch as it is sent.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Sent {
    producer: Producer,
    content: Contents,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Contents {
    Data { sequence: Option<Sequence>, records: u32, transactional: Transactional },
    Marker(EndTxnMarker),
}

fn producer(id: i64, epoch: i16) -> Producer {
    let (id, epoch) = (ProducerId::new(id).unwrap(), ProducerEpoch::new(epoch).unwrap());
    Producer { id, epoch }
}

/// `records` records from `sequence` on.
pub(super) fn data(id: i64, epoch: i16, sequence: i32, records: u32) -> Sent {
    let sequence = Sequence::new(sequence);
    let transactional = Transactional::No;
    let content = Contents::Data { sequence, records, transactional };
    Sent { producer: producer(id, epoch), content }
}

/// The end of a transaction.
pub(super) fn marker(id: i64, epoch: i16, kind: TxnOutcome, coordinator: i32) -> Sent {
    let coordinator_epoch = CoordinatorEpoch::new(coordinator).unwrap();
    let content = Contents::Marker(EndTxnMarker { kind, coordinator_epoch });
    Sent { producer: producer(id, epoch), content }
}

impl Sent {
    pub(super) fn transactional(mut self) -> Self {
        if let Contents::Data { transactional, .. } = &mut self.content {
            *transactional = Transactional::Yes;
        }
        self
    }

    fn control(&self) -> Option<ControlRecord> {
        match self.content {
            Contents::Data { .. } => None,
            Contents::Marker(marker) => Some(ControlRecord::EndTxnMarker(marker)),
        }
    }

    /// The header with the batch placed at `base_offset`, stamped 1000 ms later.
    fn placed(&self, base_offset: Offset) -> BatchHeader {
        let timestamp = TimestampMs::new(base_offset.get() + 1000);
        let mut bytes = match self.content {
            Contents::Data { sequence, records, transactional } => {
                let options = BatchOptions {
                    producer: Some((self.producer, sequence.unwrap_or(Sequence::ZERO))),
                    transactional,
                    ..BatchOptions::default()
                };
                let mut batch = BatchBuilder::new(options);
                for _ in 0..records {
                    batch.push(timestamp, None, None, &[]).unwrap();
                }
                let mut bytes = batch.build().unwrap().to_vec();
                if sequence.is_none() {
                    bytes[53..57].copy_from_slice(&(-1_i32).to_be_bytes());
                }
                bytes
            }
            Contents::Marker(marker) => end_txn_marker(self.producer, marker, timestamp).to_vec(),
        };
        bytes[..8].copy_from_slice(&base_offset.get().to_be_bytes());
        BatchHeader::parse(&bytes).unwrap()
    }
}

/// What an append did.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Wrote {
    Batch(Option<CompletedTxn>),
    Nothing(SequenceCheck),
}

pub(super) fn duplicate(first: i64, last: i64) -> Wrote {
    Wrote::Nothing(SequenceCheck::Duplicate {
        base_offset: offset(first),
        last_offset: offset(last),
        timestamp: TimestampMs::new(first + 1000),
    })
}

#[derive(Clone, Default)]
pub(super) struct Partition {
    pub(super) states: ProducerStates,
    log: Vec<(BatchHeader, Option<ControlRecord>)>,
    log_end: Offset,
}

impl Partition {
    pub(super) fn append(
        &mut self,
        sent: Sent,
        origin: AppendOrigin,
    ) -> Result<Wrote, ProducerStateError> {
        let control = sent.control();
        let arrived = sent.placed(Offset::ZERO);
        match self.states.check(&arrived, origin, control.as_ref())? {
            SequenceCheck::Fresh(info) => {
                let placed = sent.placed(self.log_end);
                self.log_end = placed.next_offset();
                self.log.push((placed, control));
                Ok(Wrote::Batch(self.states.apply(info, &placed)))
            }
            nothing => Ok(Wrote::Nothing(nothing)),
        }
    }

    fn send(&mut self, sent: Sent) -> Result<Wrote, ProducerStateError> {
        let origin = match sent.content {
            Contents::Data { .. } => AppendOrigin::Client,
            Contents::Marker(_) => AppendOrigin::Coordinator,
        };
        self.append(sent, origin)
    }

    fn stored(&mut self, sent: Sent) -> Option<CompletedTxn> {
        match self.send(sent) {
            Ok(Wrote::Batch(completed)) => completed,
            other => panic!("{sent:?} was not stored: {other:?}"),
        }
    }

    /// What is left when each of the batches has been tried.
    pub(super) fn after(script: &[Sent]) -> Self {
        let mut partition = Self::default();
        for sent in script {
            let _ = partition.send(*sent);
        }
        partition
    }
}

/// Batches of few producers, epochs and sequences, so that many are accepted and many are not.
pub(super) fn any_script() -> impl Strategy<Value = Vec<Sent>> {
    let epoch = prop_oneof![6 => Just(0_i16), 2 => Just(1), 1 => Just(2)];
    let any_data = (0_i64..3, epoch.clone(), 0_i32..12, 1_u32..3, any::<bool>()).prop_map(
        |(id, epoch, sequence, records, in_txn)| {
            let sent = data(id, epoch, sequence, records);
            if in_txn { sent.transactional() } else { sent }
        },
    );
    let kind = prop_oneof![Just(TxnOutcome::Commit), Just(TxnOutcome::Abort)];
    let any_marker = (0_i64..3, epoch, kind, 0_i32..3)
        .prop_map(|(id, epoch, kind, coordinator)| marker(id, epoch, kind, coordinator));
    prop::collection::vec(prop_oneof![6 => any_data, 1 => any_marker], 0..120)
}

fn out_of_order(expected: i32, found: i32) -> Result<Wrote, ProducerStateError> {
    Err(ProducerStateError::OutOfOrderSequence {
        producer_id: ProducerId::new(7).unwrap(),
        expected: Sequence::new(expected).unwrap(),
        found: Sequence::new(found).unwrap(),
    })
}

fn fenced(current: i16, found: i16) -> Result<Wrote, ProducerStateError> {
    Err(ProducerStateError::InvalidProducerEpoch {
        producer_id: ProducerId::new(7).unwrap(),
        current: ProducerEpoch::new(current).unwrap(),
        found: ProducerEpoch::new(found).unwrap(),
    })
}

#[test]
fn a_gap_is_refused_and_leaves_no_trace() {
    let mut log = Partition::default();
    log.stored(data(7, 0, 0, 3));
    let before = log.states.clone();
    assert_eq!(log.send(data(7, 0, 4, 1)), out_of_order(3, 4));
    assert_eq!(log.send(data(7, 0, 2, 1)), out_of_order(3, 2));
    assert_eq!(log.states, before);
    log.stored(data(7, 0, 3, 1));
}

#[test]
fn a_batch_that_was_checked_and_not_written_leaves_no_trace() {
    let mut log = Partition::default();
    let batch = data(7, 0, 0, 1).transactional();
    let check = log.states.check(&batch.placed(Offset::ZERO), AppendOrigin::Client, None);
    assert!(matches!(check, Ok(SequenceCheck::Fresh(_))));
    assert_eq!(log.states, ProducerStates::default());
    log.stored(batch);
}

#[test]
fn the_last_five_batches_are_recognised_and_no_more() {
    let mut log = Partition::default();
    for n in 0..7 {
        log.stored(data(7, 0, n * 2, 2));
    }
    for n in 2..7 {
        let first = i64::from(n) * 2;
        assert_eq!(log.send(data(7, 0, n * 2, 2)), Ok(duplicate(first, first + 1)));
    }
    assert_eq!(log.send(data(7, 0, 2, 2)), out_of_order(14, 2));
}

#[test]
fn only_the_very_same_sequences_are_a_repetition() {
    let mut log = Partition::default();
    log.stored(data(7, 0, 0, 4));
    assert_eq!(log.send(data(7, 0, 0, 3)), out_of_order(4, 0));
    assert_eq!(log.send(data(7, 0, 0, 5)), out_of_order(4, 0));
    assert_eq!(log.send(data(7, 0, 1, 3)), out_of_order(4, 1));
    assert_eq!(log.send(data(7, 0, 0, 4)), Ok(duplicate(0, 3)));
}

#[test]
fn sequences_wrap_in_the_middle_of_a_batch() {
    let mut log = Partition::default();
    log.stored(data(7, 0, i32::MAX - 1, 5));
    assert_eq!(log.send(data(7, 0, i32::MAX - 1, 5)), Ok(duplicate(0, 4)));
    assert_eq!(log.send(data(7, 0, 4, 1)), out_of_order(3, 4));
    log.stored(data(7, 0, 3, 1));
}

#[test]
fn sequences_wrap_between_two_batches() {
    let mut log = Partition::default();
    log.stored(data(7, 0, i32::MAX, 1));
    log.stored(data(7, 0, 0, 1));
    assert_eq!(log.send(data(7, 0, i32::MAX, 1)), Ok(duplicate(0, 0)));
}

#[test]
fn an_unknown_producer_may_begin_anywhere() {
    let mut log = Partition::default();
    log.stored(data(7, 4, 1000, 1));
    assert_eq!(log.send(data(7, 4, 1002, 1)), out_of_order(1001, 1002));
}

#[test]
fn a_new_epoch_counts_from_zero_and_fences_the_old_one() {
    let mut log = Partition::default();
    log.stored(data(7, 0, 0, 2));
    assert_eq!(log.send(data(7, 1, 2, 1)), out_of_order(0, 2));
    log.stored(data(7, 1, 0, 2));
    assert_eq!(log.send(data(7, 0, 2, 1)), fenced(1, 0));
    // Not even what it wrote before is answered as a repetition.
    assert_eq!(log.send(data(7, 0, 0, 2)), fenced(1, 0));
    assert_eq!(log.send(data(7, 1, 0, 2)), Ok(duplicate(2, 3)));
}

#[test]
fn a_batch_without_a_producer_concerns_no_state() {
    let mut batch = BatchBuilder::new(BatchOptions::default());
    batch.push(TimestampMs::new(0), None, None, &[]).unwrap();
    let header = BatchHeader::parse(&batch.build().unwrap()).unwrap();
    let check = ProducerStates::default().check(&header, AppendOrigin::Client, None);
    assert_eq!(check, Ok(SequenceCheck::NotIdempotent));
}

#[test]
fn only_a_coordinator_writes_data_without_a_sequence() {
    let mut log = Partition::default();
    let mut unnumbered = data(7, 0, 0, 1).transactional();
    if let Contents::Data { sequence, .. } = &mut unnumbered.content {
        *sequence = None;
    }
    let producer_id = ProducerId::new(7).unwrap();
    assert_eq!(log.send(unnumbered), Err(ProducerStateError::MissingSequence { producer_id }));
    log.append(unnumbered, AppendOrigin::Coordinator).unwrap();
    log.append(unnumbered, AppendOrigin::Coordinator).unwrap();
    assert_eq!(log.states.first_open_offset(), Some(offset(0)));
    log.stored(marker(7, 1, TxnOutcome::Commit, 0));
    let late = log.append(unnumbered, AppendOrigin::Coordinator);
    assert_eq!(late, fenced(1, 0));
}

#[test]
fn a_transaction_is_open_from_its_first_record_to_its_marker() {
    let mut log = Partition::default();
    log.stored(data(1, 0, 0, 5));
    log.stored(data(7, 0, 0, 2).transactional());
    log.stored(data(7, 0, 2, 2).transactional());
    assert_eq!(log.states.first_open_offset(), Some(offset(5)));
    let completed = log.stored(marker(7, 0, TxnOutcome::Abort, 0)).unwrap();
    let expected = CompletedTxn {
        producer_id: ProducerId::new(7).unwrap(),
        first_offset: offset(5),
        last_offset: offset(9),
        outcome: TxnOutcome::Abort,
    };
    assert_eq!(completed, expected);
    assert_eq!(log.states.first_open_offset(), None);
    assert_eq!(log.states.last_stable_offset_after(&completed), offset(10));
}

#[test]
fn the_last_stable_offset_waits_for_the_earliest_open_transaction() {
    let mut log = Partition::default();
    log.stored(data(1, 0, 0, 1).transactional());
    log.stored(data(2, 0, 0, 1).transactional());
    log.stored(data(3, 0, 0, 1).transactional());
    let second = log.stored(marker(2, 0, TxnOutcome::Abort, 0)).unwrap();
    assert_eq!(log.states.last_stable_offset_after(&second), offset(0));
    let first = log.stored(marker(1, 0, TxnOutcome::Commit, 0)).unwrap();
    assert_eq!(log.states.last_stable_offset_after(&first), offset(2));
    assert_eq!(log.states.first_open_offset(), Some(offset(2)));
}

#[test]
fn a_marker_without_a_transaction_ends_none_and_still_fences() {
    let mut log = Partition::default();
    assert_eq!(log.stored(marker(7, 3, TxnOutcome::Abort, 0)), None);
    assert_eq!(log.send(data(7, 2, 0, 1)), fenced(3, 2));
    assert_eq!(log.send(data(7, 3, 5, 1)), out_of_order(0, 5));
    log.stored(data(7, 3, 0, 1));
}

#[test]
fn under_version_2_the_marker_raises_the_epoch_and_the_next_transaction_counts_from_zero() {
    let mut log = Partition::default();
    log.stored(data(7, 0, 0, 3).transactional());
    log.stored(marker(7, 1, TxnOutcome::Commit, 0)).unwrap();
    assert_eq!(log.send(data(7, 0, 3, 1).transactional()), fenced(1, 0));
    log.stored(data(7, 1, 0, 1).transactional());
    // A late marker of the transaction before does not decide this one.
    assert_eq!(log.send(marker(7, 0, TxnOutcome::Abort, 0)), fenced(1, 0));
    assert_eq!(log.states.first_open_offset(), Some(offset(4)));
}

#[test]
fn under_version_1_the_marker_keeps_the_epoch_and_the_sequence_goes_on() {
    let mut log = Partition::default();
    log.stored(data(7, 0, 0, 3).transactional());
    log.stored(marker(7, 0, TxnOutcome::Commit, 0)).unwrap();
    assert_eq!(log.send(data(7, 0, 0, 3).transactional()), Ok(duplicate(0, 2)));
    assert_eq!(log.states.first_open_offset(), None);
    log.stored(data(7, 0, 3, 1).transactional());
}

#[test]
fn a_succeeded_coordinator_decides_nothing() {
    let mut log = Partition::default();
    log.stored(data(7, 0, 0, 1).transactional());
    log.stored(marker(7, 0, TxnOutcome::Commit, 2)).unwrap();
    log.stored(data(7, 0, 1, 1).transactional());
    let refused = log.send(marker(7, 0, TxnOutcome::Abort, 1));
    let fenced = ProducerStateError::CoordinatorFenced {
        producer_id: ProducerId::new(7).unwrap(),
        current: CoordinatorEpoch::new(2).unwrap(),
        found: CoordinatorEpoch::new(1).unwrap(),
    };
    assert_eq!(refused, Err(fenced));
    assert_eq!(log.states.first_open_offset(), Some(offset(2)));
}

#[test]
fn an_open_transaction_takes_no_data_outside_of_it() {
    let mut log = Partition::default();
    log.stored(data(7, 0, 0, 1).transactional());
    let refused = ProducerStateError::InvalidTxnState {
        producer_id: ProducerId::new(7).unwrap(),
        first_offset: offset(0),
    };
    assert_eq!(log.send(data(7, 0, 1, 1)), Err(refused));
    log.stored(marker(7, 0, TxnOutcome::Commit, 0)).unwrap();
    log.stored(data(7, 0, 1, 1));
}

#[test]
fn a_control_batch_of_an_unknown_kind_concerns_no_state() {
    let header = marker(7, 0, TxnOutcome::Commit, 0).placed(Offset::ZERO);
    let unknown = ControlRecord::Unknown { type_code: 9, key: vec![0; 4].into(), value: None };
    let states = ProducerStates::default();
    let check = states.check(&header, AppendOrigin::Coordinator, Some(&unknown));
    assert_eq!(check, Ok(SequenceCheck::NotIdempotent));
}

#[test]
fn a_producer_is_forgotten_when_it_has_been_idle_for_long_enough() {
    let expire = |log: &mut Partition, now| {
        log.states.remove_expired(TimestampMs::new(now), 100);
        log.states.entries().count()
    };
    let mut log = Partition::default();
    // Its records are stamped long ago.
    log.stored(data(7, 0, 0, 1));
    assert_eq!(expire(&mut log, 1_000_000), 1);
    assert_eq!(expire(&mut log, 1_000_099), 1);
    log.stored(data(7, 0, 1, 1));
    assert_eq!(expire(&mut log, 1_000_100), 1);
    assert_eq!(expire(&mut log, 1_000_199), 1);
    assert_eq!(expire(&mut log, 900_000), 1);
    assert_eq!(expire(&mut log, 1_000_200), 0);
}

#[test]
fn a_producer_with_an_open_transaction_is_not_forgotten() {
    let mut log = Partition::default();
    log.stored(data(7, 0, 0, 1).transactional());
    log.states.remove_expired(TimestampMs::new(0), 100);
    log.states.remove_expired(TimestampMs::new(i64::MAX), 100);
    assert_eq!(log.states.entries().count(), 1);
    log.stored(marker(7, 0, TxnOutcome::Abort, 0)).unwrap();
}

/// Where each open transaction of the log began, found the slow way.
fn open_transactions(log: &Partition) -> BTreeMap<ProducerId, Offset> {
    let mut open = BTreeMap::new();
    for (header, control) in &log.log {
        let id = header.producer().unwrap().id;
        if control.is_some() {
            open.remove(&id);
        } else if header.is_transactional() {
            open.entry(id).or_insert(header.base_offset());
        }
    }
    open
}

proptest! {
    #[test]
    fn the_state_is_a_function_of_the_log(script in any_script(), at in 0_usize..120) {
        let live = Partition::after(&script);
        let (before, after) = live.log.split_at(at.min(live.log.len()));
        let replay = |mut states: ProducerStates, log: &[(BatchHeader, Option<ControlRecord>)]| {
            for (header, control) in log {
                let checked = states.check(header, AppendOrigin::Recovery, control.as_ref());
                let Ok(SequenceCheck::Fresh(info)) = checked else {
                    panic!("recovery refused {header:?}: {checked:?}");
                };
                states.apply(info, header);
            }
            states
        };
        let states = replay(ProducerStates::default(), before);
        let mut restarted = snapshot::decode(&snapshot::encode(&states)).unwrap();
        window::merge(&mut restarted, &window::encode(&states));
        prop_assert_eq!(replay(restarted, after), live.states);
    }

    #[test]
    fn no_record_is_stored_twice_and_none_is_skipped(script in any_script()) {
        let log = Partition::after(&script);
        let mut next = BTreeMap::new();
        for (header, _) in log.log.iter().filter(|(_, control)| control.is_none()) {
            let key = (header.producer().unwrap().id, header.producer().unwrap().epoch);
            let (first, last) = (header.base_sequence().unwrap(), header.last_sequence().unwrap());
            let expected = *next.entry(key).or_insert(first);
            prop_assert_eq!(first, expected);
            next.insert(key, last.next());
        }
    }

    #[test]
    fn open_transactions_are_those_without_a_marker(script in any_script()) {
        let log = Partition::after(&script);
        let open = open_transactions(&log);
        prop_assert_eq!(log.states.first_open_offset(), open.values().min().copied());
        let known: BTreeMap<_, _> = log
            .states
            .entries()
            .filter_map(|(id, entry)| Some((id, entry.current_txn_first_offset()?)))
            .collect();
        prop_assert_eq!(known, open);
    }
}

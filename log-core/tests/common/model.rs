//! What a log must be: a list of batches in memory.

use std::collections::BTreeMap;

use log_core::Isolation;
use log_core::record::EndTxnKind;

use super::{Data, Seen};

/// A producer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Id(pub i64);

#[derive(Clone, Debug)]
pub struct Stored {
    pub base: i64,
    pub next: i64,
    pub content: Content,
}

#[derive(Clone, Debug)]
pub enum Content {
    /// Records, in a producer's transaction or in none.
    Data(Vec<Seen>, Option<Id>),
    Marker(Id, EndTxnKind),
}

/// What a producer has sent under its epoch, with the offsets it got.
#[derive(Clone, Default, Debug)]
pub struct Sent {
    pub epoch: i16,
    pub next_sequence: i32,
    pub batches: Vec<(Data, i64, i64)>,
}

#[derive(Default)]
pub struct Model {
    pub batches: Vec<Stored>,
    pub log_start: i64,
    pub sent: BTreeMap<Id, Sent>,
    named: usize,
}

impl Model {
    pub fn end(&self) -> i64 {
        self.batches.last().map_or(0, |batch| batch.next)
    }

    pub fn last_stable(&self) -> i64 {
        self.first_open_from(0).unwrap_or(self.end()).max(self.log_start)
    }

    /// As [`Model::last_stable`], for a log that has forgotten what was deleted.
    pub fn last_stable_from_start(&self) -> i64 {
        self.first_open_from(self.log_start).unwrap_or(self.end())
    }

    fn first_open_from(&self, start: i64) -> Option<i64> {
        let is_open = |(place, batch): &(usize, &Stored)| match batch.content {
            Content::Data(_, Some(id)) => self.outcome(*place, id).is_none(),
            Content::Data(_, None) | Content::Marker(..) => false,
        };
        let batches = self.batches.iter().enumerate().filter(|(_, batch)| batch.base >= start);
        batches.into_iter().find(is_open).map(|(_, batch)| batch.base)
    }

    /// How the transaction ended that the batch at `place` is of.
    fn outcome(&self, place: usize, id: Id) -> Option<EndTxnKind> {
        self.batches[place..].iter().find_map(|later| match later.content {
            Content::Marker(ended, kind) if ended == id => Some(kind),
            _ => None,
        })
    }

    /// A name that no batch has had.
    pub fn name(&mut self) -> String {
        self.named += 1;
        format!("b{}", self.named)
    }

    /// Returns the batch's first and last offset.
    pub fn store(&mut self, batch: &Data, txn: Option<Id>) -> (i64, i64) {
        let base = self.end();
        let stamped = batch.values().into_iter().zip(batch.stamps().iter().copied());
        let records: Vec<Seen> = stamped
            .zip(base..)
            .map(|((value, timestamp), offset)| Seen { offset, timestamp, value })
            .collect();
        let next = base + records.len() as i64;
        self.batches.push(Stored { base, next, content: Content::Data(records, txn) });
        (base, next - 1)
    }

    pub fn end_txn(&mut self, id: Id, kind: EndTxnKind) {
        let base = self.end();
        self.batches.push(Stored { base, next: base + 1, content: Content::Marker(id, kind) });
    }

    /// Records with offsets in the range that a reader of this isolation gets.
    pub fn visible(&self, from: i64, to: i64, isolation: Isolation) -> Vec<Seen> {
        let of = |(place, batch): (usize, &Stored)| match &batch.content {
            Content::Data(_, Some(id))
                if isolation == Isolation::LastStable
                    && self.outcome(place, *id) == Some(EndTxnKind::Abort) =>
            {
                Vec::new()
            }
            Content::Data(records, _) => records.clone(),
            Content::Marker(..) => Vec::new(),
        };
        let records = self.batches.iter().enumerate().flat_map(of);
        records.filter(|seen| (from..to).contains(&seen.offset)).collect()
    }

    /// The log goes on at `end`, behind what was deleted and is lost as well.
    pub fn skip_to(&mut self, end: i64) {
        let base = self.end();
        if base < end {
            let content = Content::Data(Vec::new(), None);
            self.batches.push(Stored { base, next: end, content });
        }
    }

    /// Everything from `end` on is lost, and producers begin anew.
    pub fn lose_from(&mut self, end: i64) {
        self.batches.retain(|batch| batch.base < end);
        // Of a batch, the part that was deleted may be all that is left to say.
        if let Some(last) = self.batches.last_mut().filter(|last| last.next > end) {
            *last = Stored { next: end, content: Content::Data(Vec::new(), None), ..last.clone() };
        }
        for sent in self.sent.values_mut() {
            *sent = Sent { epoch: sent.epoch + 1, ..Sent::default() };
        }
    }
}

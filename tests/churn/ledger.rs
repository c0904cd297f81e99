//! Everything that was seen, by whomever, and what must hold of it.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use crate::PARTITIONS;

/// A member's claim: since when, and to what.
#[derive(Default)]
struct Claim {
    generation: i32,
    partitions: Vec<i32>,
}

/// What all members, and the one who watches, have seen.
#[derive(Default)]
pub(crate) struct Ledger {
    /// Who had a partition at a generation.
    owners: HashMap<(i32, i32), String>,
    /// The latest generation at which each partition was given to somebody, and to whom.
    latest: HashMap<i32, (i32, String)>,
    /// Those that are in the group as far as they know.
    claims: BTreeMap<String, Claim>,
    /// How often each record was delivered, by partition and offset.
    delivered: HashMap<i32, Vec<u32>>,
    committed: HashMap<i32, i64>,
    pub(crate) commits: u64,
    pub(crate) commits_refused: u64,
    pub(crate) fenced: u64,
    looks: u64,
    generation: i32,
}

impl Ledger {
    /// A member was told that these are its partitions, or that they still are.
    pub(crate) fn owns(&mut self, member: &str, generation: i32, partitions: &[i32]) {
        for partition in partitions {
            let owner = self.owners.entry((*partition, generation)).or_insert(member.to_owned());
            assert_eq!(owner, member, "partition {partition} twice at generation {generation}");
            let latest = self.latest.entry(*partition).or_default();
            let is_older = generation < latest.0 && latest.1 != member;
            assert!(!is_older, "{member} goes on with {partition} at {generation}: {latest:?}");
            *latest = (generation.max(latest.0), member.to_owned());
        }
        self.generation = self.generation.max(generation);
        let partitions = partitions.to_vec();
        self.claims.insert(member.to_owned(), Claim { generation, partitions });
    }

    /// A member has given up everything.
    pub(crate) fn gone(&mut self, member: &str) {
        self.claims.remove(member);
    }

    /// Whether so many members share all partitions at one generation, or why not.
    pub(crate) fn settled(&self, members: usize) -> Result<(), String> {
        if self.claims.len() != members {
            return Err(format!("{} members of {members}", self.claims.len()));
        }
        let old = self.claims.values().filter(|claim| claim.generation != self.generation);
        let old = old.count();
        if old > 0 {
            return Err(format!(
                "{old} members of {members} before generation {}",
                self.generation
            ));
        }
        let owned: usize = self.claims.values().map(|claim| claim.partitions.len()).sum();
        if owned != PARTITIONS as usize {
            return Err(format!("{owned} partitions of {PARTITIONS} have an owner"));
        }
        Ok(())
    }

    pub(crate) fn delivered(&mut self, partition: i32, offsets: Range<i64>) {
        let counts = self.delivered.entry(partition).or_default();
        for offset in offsets {
            let place = usize::try_from(offset).expect("offsets begin at 0");
            if counts.len() <= place {
                counts.resize(place + 1, 0);
            }
            counts[place] += 1;
        }
    }

    /// What is committed now, looked at from outside.
    pub(crate) fn committed(&mut self, offsets: &HashMap<i32, i64>) {
        self.looks += 1;
        for (partition, offset) in offsets {
            let before = self.committed.insert(*partition, *offset).unwrap_or(-1);
            assert!(before <= *offset, "partition {partition} went from {before} back to {offset}");
        }
    }

    /// A record of the first `produced` of each partition that nobody got.
    pub(crate) fn missing(&self, produced: i64) -> Option<String> {
        let produced = usize::try_from(produced).expect("not negative");
        (0..PARTITIONS).find_map(|partition| {
            let counts = self.delivered.get(&partition).map_or(&[][..], Vec::as_slice);
            let missing = (0..produced).find(|offset| counts.get(*offset).is_none_or(|n| *n == 0));
            missing.map(|offset| format!("partition {partition}, offset {offset}"))
        })
    }

    pub(crate) fn summary(&self, produced: i64) -> String {
        let deliveries: u64 = self.delivered.values().flatten().map(|n| u64::from(*n)).sum();
        let records = u64::try_from(produced).expect("not negative") * PARTITIONS as u64;
        format!(
            "{} generations; {records} records, all delivered, {} of them once more; {} commits, \
             {} refused; {} members fenced; committed offsets looked at {} times, none ever went \
             back",
            self.generation,
            deliveries - records,
            self.commits,
            self.commits_refused,
            self.fenced,
            self.looks,
        )
    }
}

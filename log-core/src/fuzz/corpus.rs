//! Corpora as ordinary tests: each input as it is, and with a few mutations of a seed.
//!
//! `FUZZ_RUNS` sets another number of mutations for each target, `FUZZ_TARGET` chooses one. The
//! broker's targets are run by this same file.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use super::Target;

fn folder(target: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus")).join(target)
}

/// Puts an input into a target's corpus.
pub(super) fn put(target: &str, name: &str, bytes: &[u8]) {
    fs::create_dir_all(folder(target)).expect("a folder among the sources");
    fs::write(folder(target).join(name), bytes).expect("a file among the sources");
}

fn inputs(target: &str) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(folder(target)).expect("each target has a corpus");
    let mut paths: Vec<PathBuf> =
        entries.map(|entry| entry.expect("an entry of the folder").path()).collect();
    paths.sort_unstable();
    paths.iter().map(|path| fs::read(path).expect("a file of the corpus")).collect()
}

/// Gives a target its corpus, and so many mutations of it unless the environment says otherwise.
pub(super) fn run(targets: &[(&str, Target)], target: &str, usual_runs: u64) {
    let found = targets.iter().find(|(name, _)| *name == target);
    let function = found.expect("one of the targets").1;
    let inputs = inputs(target);
    inputs.iter().for_each(|input| function(input));
    for seed in 0..runs(target, usual_runs) {
        let mut random = Random(seed);
        let mut input = inputs[random.below(inputs.len())].clone();
        mutate(&mut input, &inputs, &mut random);
        let ran = catch_unwind(AssertUnwindSafe(|| function(&input)));
        assert!(ran.is_ok(), "{target}, mutation {seed}: {}", hex(&input));
    }
}

fn runs(target: &str, usual: u64) -> u64 {
    let chosen = std::env::var("FUZZ_TARGET").ok().is_none_or(|chosen| chosen == target);
    let runs = std::env::var("FUZZ_RUNS").ok().map(|runs| runs.parse().expect("a number"));
    if chosen { runs.unwrap_or(usual) } else { 0 }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A counter, mixed until no bit can be told from its neighbours.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        let mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        usize::try_from((mixed ^ (mixed >> 32)) >> 1).unwrap_or(0) % bound.max(1)
    }
}

/// Values at which decoders go wrong.
const EDGES: [&[u8]; 6] =
    [&[0], &[0xff], &[0x7f, 0xff, 0xff, 0xff], &[0x80, 0, 0, 0], &[0; 8], &[0xff; 8]];

fn mutate(input: &mut Vec<u8>, others: &[Vec<u8>], random: &mut Random) {
    for _ in 0..1 + random.below(4) {
        let at = random.below(input.len());
        match random.below(7) {
            _ if input.is_empty() => input.push(random.below(256) as u8),
            0 => input[at] ^= 1 << random.below(8),
            1 => input[at] = random.below(256) as u8,
            2 => input.truncate(at),
            3 => {
                let edge = EDGES[random.below(EDGES.len())];
                let end = (at + edge.len()).min(input.len());
                input.splice(at..end, edge.iter().copied());
            }
            4 => {
                let end = (at + 1 + random.below(64)).min(input.len());
                let copy = input[at..end].to_vec();
                let to = random.below(input.len());
                input.splice(to..to, copy);
            }
            5 => {
                let end = (at + 1 + random.below(16)).min(input.len());
                input.drain(at..end);
            }
            _ => {
                let other = &others[random.below(others.len())];
                input.truncate(at);
                input.extend_from_slice(&other[random.below(other.len())..]);
            }
        }
    }
}

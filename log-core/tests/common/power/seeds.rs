//! Lives that are played from seeds: one that says what it does, many on all cores, or until one
//! finds out a disk that lies.
//!
//! `POWER_SEED=n` plays one, `POWER_SEEDS=n` so many, from `POWER_FIRST` on. The rule: a seed that
//! fails is told with what plays it again.
#![allow(clippy::print_stdout, reason = "a long run says what it did")]

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Honesty, Tally};

/// Whether a run says what it does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Talk {
    Steps,
    Nothing,
}

/// What happened in a life, and how many starts it had; or why it failed.
pub type Lived = Result<(Tally, u64), String>;

/// Plays a life; a panic is why it failed.
pub fn lived(live: impl FnOnce() -> (Tally, u64)) -> Lived {
    catch_unwind(AssertUnwindSafe(live)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or(panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
    })
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

/// Plays what the environment asks for, or else `count` seeds. Each must hold.
pub fn play_seeds(count: u64, play: impl Fn(u64, Talk) -> Lived + Sync) {
    match setting("POWER_SEED") {
        Some(seed) => {
            play(seed, Talk::Steps).expect("the seed holds");
        }
        None => {
            let first = setting("POWER_FIRST").unwrap_or(0);
            let count = setting("POWER_SEEDS").unwrap_or(count);
            play_all(first..first + count, |seed| play(seed, Talk::Nothing));
        }
    }
}

/// Plays many seeds on all cores.
fn play_all(seeds: Range<u64>, play: impl Fn(u64) -> Lived + Sync) {
    let next = AtomicU64::new(seeds.start);
    let sum = Mutex::new((Tally::default(), 0));
    let worker = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            let (of_seed, started) = play(seed)
                .unwrap_or_else(|error| panic!("POWER_SEED={seed} plays this again: {error}"));
            let (tally, starts) = &mut *sum.lock().expect("nobody panics with it");
            tally.add(&of_seed);
            *starts += started;
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, |cores| cores.get()) {
            scope.spawn(worker);
        }
    });
    let (tally, starts) = sum.into_inner().expect("nobody panics with it");
    println!("seeds {seeds:?}, {starts} starts: {tally:?}");
    assert!(tally.power_failed_in.len() > 20, "the power failed in few places: {tally:?}");
}

/// A test that cannot fail shows nothing: a disk that breaks its word must be found out by one of
/// the first seeds.
pub fn assert_lies_are_found_out(play: impl Fn(u64, Honesty) -> Lived) {
    for lies in [Honesty::LiesAboutFiles, Honesty::LiesAboutFolders] {
        let found = (0..50).find_map(|seed| Some((seed, play(seed, lies).err()?)));
        println!("{lies:?}: {found:?}");
        assert!(found.is_some(), "{lies:?}");
    }
}

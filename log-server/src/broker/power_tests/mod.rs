//! Goal: what the broker has said is done stays done, whenever the power fails: topics that were
//! created, changed and deleted, what groups have committed, records, producer ids. What it was
//! asked when the power failed was done as a whole or not at all. Whatever it finds, it starts.
//!
//! `POWER_SEED=n` plays one seed and says what it does; `POWER_SEEDS=n` plays so many, from
//! `POWER_FIRST` on. A seed chooses what is asked and when the power fails; how far each of the
//! broker's threads is by then is up to the machine, so a seed that fails may need a few tries.
#![allow(clippy::print_stdout, reason = "a long run says what it did")]

mod known;
// The disk that the tests of the log have, too.
#[allow(dead_code, unreachable_pub, reason = "each test uses its part")]
#[path = "../../../../log-core/tests/common/power/mod.rs"]
mod power;
mod run;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use power::{Honesty, Tally};
use run::{Run, Talk};

/// Plays a seed; says why it failed.
fn play(seed: u64, honesty: Honesty, talk: Talk) -> Result<(Tally, u64), String> {
    let mut run = Run::new(seed, talk);
    let lived = catch_unwind(AssertUnwindSafe(|| run.live(honesty)));
    lived.map(|()| (run.tally, run.starts)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or(panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
    })
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

fn play_all(seeds: std::ops::Range<u64>) {
    let next = AtomicU64::new(seeds.start);
    let (tally, starts) = (parking_lot::Mutex::new(Tally::default()), AtomicU64::new(0));
    let worker = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            match play(seed, Honesty::Honest, Talk::Nothing) {
                Ok((of_seed, started)) => {
                    tally.lock().add(&of_seed);
                    starts.fetch_add(started, Ordering::Relaxed);
                }
                Err(error) => panic!("POWER_SEED={seed} plays this again: {error}"),
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, |cores| cores.get()) {
            scope.spawn(worker);
        }
    });
    let (tally, starts) = (tally.into_inner(), starts.into_inner());
    println!("seeds {seeds:?}, {starts} starts: {tally:?}");
    assert!(tally.power_failed_in.len() > 20, "the power failed in few places: {tally:?}");
}

#[test]
fn nothing_that_was_answered_is_undone_whenever_the_power_fails() {
    match setting("POWER_SEED") {
        Some(seed) => {
            play(seed, Honesty::Honest, Talk::Steps).expect("the seed holds");
        }
        None => {
            let first = setting("POWER_FIRST").unwrap_or(0);
            play_all(first..first + setting("POWER_SEEDS").unwrap_or(150));
        }
    }
}

/// A test that cannot fail shows nothing: this disk breaks its word, and is found out.
#[test]
fn a_disk_that_lies_about_syncs_is_found_out() {
    for lies in [Honesty::LiesAboutFiles, Honesty::LiesAboutFolders] {
        let found = (0..50).find_map(|seed| play(seed, lies, Talk::Nothing).err());
        println!("{lies:?}: {found:?}");
        assert!(found.is_some(), "{lies:?}");
    }
}

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

use power::Honesty;
use power::seeds::{Lived, Talk, assert_lies_are_found_out, lived, play_seeds};
use run::Run;

fn play(seed: u64, honesty: Honesty, talk: Talk) -> Lived {
    lived(|| {
        let mut run = Run::new(seed, talk);
        run.live(honesty);
        (run.tally, run.starts)
    })
}

#[test]
fn nothing_that_was_answered_is_undone_whenever_the_power_fails() {
    play_seeds(150, |seed, talk| play(seed, Honesty::Honest, talk));
}

#[test]
fn a_disk_that_lies_about_syncs_is_found_out() {
    assert_lies_are_found_out(|seed, honesty| play(seed, honesty, Talk::Nothing));
}

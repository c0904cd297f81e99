//! Goal: whichever thread goes next, publishing, reading, committing and rolling keep their
//! promises.
//!
//! Shuttle runs each scenario under schedules that a seed decides: random ones, and ones in which
//! a few threads are held back at a few places (PCT), which finds what random ones seldom meet. A
//! thread may lose its turn at each lock, atomic, wake-up and file operation. Whoever waits for
//! ever is found, too: all others have ended by then.
//!
//! A schedule that fails is printed, and `SCHEDULE=…` with the scenario's name runs it alone.
//! `SCHEDULES=5000` tries more of them, `SCHEDULE_SEED=17` others.
#![allow(clippy::unwrap_used, reason = "a test that finds nothing to unwrap has failed")]
#![allow(clippy::needless_collect, reason = "collecting starts every thread before the first wait")]

extern crate log_core_schedules as log_core;

#[path = "../../../tests/common/mod.rs"]
mod common;

mod scenarios;
mod stage;

use std::panic::{AssertUnwindSafe, catch_unwind};

use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, FailurePersistence, Runner};

/// At how many places PCT holds a thread back.
const PCT_DEPTH: usize = 3;
/// The log's own functions need more than the few that a test of a lock does.
const STACK_BYTES: usize = 256 << 10;

/// How many schedules are tried of a scenario that takes many turns, or few of them: in the
/// ordinary tests that is half a second of work.
const LONG: u64 = 40;
const SHORT: u64 = 80;

/// What is wrong must show within so many schedules of each kind.
const CAUGHT_WITHIN: usize = 100;

type Scenario = fn();

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

fn run(scheduler: impl Scheduler + 'static, persistence: FailurePersistence, scenario: Scenario) {
    let mut config = Config::new();
    config.stack_size = STACK_BYTES;
    config.failure_persistence = persistence;
    Runner::new(scheduler, config).run(scenario);
}

/// Runs a scenario under so many schedules of each kind, or under the one that is named.
fn search(scenario: Scenario, schedules: u64) {
    if let Ok(schedule) = std::env::var("SCHEDULE") {
        let replay = shuttle::scheduler::ReplayScheduler::new_from_encoded(&schedule);
        return run(replay, FailurePersistence::Print, scenario);
    }
    let count = setting("SCHEDULES", schedules) as usize;
    let seed = setting("SCHEDULE_SEED", 1);
    let random = RandomScheduler::new_from_seed(seed, count);
    run(random, FailurePersistence::Print, scenario);
    let pct = PctScheduler::new_from_seed(seed, PCT_DEPTH, count);
    run(pct, FailurePersistence::Print, scenario);
}

/// Asserts that some schedule shows what is wrong with a scenario.
fn assert_caught(scenario: Scenario, expected: &str) {
    let found = catch_unwind(AssertUnwindSafe(|| {
        let random = RandomScheduler::new_from_seed(1, CAUGHT_WITHIN);
        run(random, FailurePersistence::None, scenario);
        let pct = PctScheduler::new_from_seed(1, PCT_DEPTH, CAUGHT_WITHIN);
        run(pct, FailurePersistence::None, scenario);
    }));
    let panic = found.expect_err("nothing was found");
    let said = panic.downcast_ref::<String>().map(String::as_str);
    let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or_default();
    assert!(said.contains(expected), "found something else: {said}");
}

#[test]
fn what_is_durable_is_on_disk_and_what_is_seen_is_durable() {
    search(scenarios::a_log_in_use, LONG);
}

#[test]
fn a_lazily_synced_log_releases_whoever_asks_for_more() {
    search(scenarios::a_lazy_log_in_use, LONG);
}

#[test]
fn each_commit_releases_everybody_it_covers() {
    search(scenarios::two_logs_and_one_committing_thread, LONG);
}

#[test]
fn a_failed_sync_releases_everybody_and_acknowledges_nothing() {
    search(scenarios::a_sync_fails, LONG);
}

#[test]
fn a_close_leaves_nobody_waiting_and_loses_nothing() {
    search(scenarios::a_close_among_appends, LONG);
}

#[test]
fn deletion_takes_nothing_that_may_still_be_read() {
    search(scenarios::a_deletion_among_reads, LONG);
}

#[test]
fn a_read_of_what_is_being_deleted_finds_it_or_says_that_it_is_gone() {
    search(scenarios::a_deletion_among_single_reads, SHORT);
}

/// The search can fail: a disk that only says that it syncs is found out.
#[test]
fn a_disk_that_lies_is_caught() {
    assert_caught(scenarios::a_lying_disk, "durable");
}

/// The search can fail: a reader that looks, and waits only afterwards, misses a move in between.
#[test]
fn a_missed_wake_up_is_caught() {
    assert_caught(scenarios::a_reader_that_looks_before_it_waits, "deadlock");
}

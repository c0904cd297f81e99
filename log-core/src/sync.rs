//! What threads meet at: locks, condition variables, atomics, threads, and the time that they wait
//! until.
//!
//! The rule: whatever decides an order between threads of this crate is taken from here. Users get
//! the real things. Built with `--cfg shuttle` (the crate in `schedules/` does that) the same names
//! stand for ones whose every step a scheduler chooses, so that an interleaving can be searched for
//! and repeated. Loom was set aside: it tries all interleavings, and a log has too many.

#[cfg(shuttle)]
mod scheduled;

#[cfg(not(shuttle))]
pub(crate) use std::{sync::atomic, thread, time::Instant};

#[cfg(not(shuttle))]
pub(crate) use arc_swap::ArcSwap;
#[cfg(not(shuttle))]
pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard, RwLock};
#[cfg(shuttle)]
pub(crate) use scheduled::{ArcSwap, Condvar, Instant, Mutex, MutexGuard, RwLock, atomic, thread};

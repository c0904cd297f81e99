//! Shuttle's primitives with the faces of those that users get.
//!
//! Time does not pass by itself: it moves a little with each look at the clock, and a wait for a
//! time may end at any moment, with the clock there or not. So a run depends on the schedule alone.

use std::cell::Cell;
use std::ops::{Add, Deref, DerefMut, Sub};
use std::sync::Arc;
use std::time::Duration;

use shuttle::rand::RngCore;
pub(crate) use shuttle::sync::atomic;
use shuttle::sync::{RwLockReadGuard, RwLockWriteGuard};
pub(crate) use shuttle::thread;

const UNPOISONED: &str = "a panic ends the run";

#[derive(Default, Debug)]
pub(crate) struct Mutex<T>(shuttle::sync::Mutex<T>);

/// Holds nothing while a condition variable waits with it.
pub(crate) struct MutexGuard<'a, T> {
    mutex: &'a shuttle::sync::Mutex<T>,
    held: Option<shuttle::sync::MutexGuard<'a, T>>,
}

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(shuttle::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard { mutex: &self.0, held: Some(self.0.lock().expect(UNPOISONED)) }
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.held.as_ref().expect("nobody looks while it waits")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.held.as_mut().expect("nobody looks while it waits")
    }
}

#[derive(Default, Debug)]
pub(crate) struct Condvar(shuttle::sync::Condvar);

impl Condvar {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        let held = guard.held.take().expect("nobody looks while it waits");
        guard.held = Some(self.0.wait(held).expect(UNPOISONED));
    }

    /// Waits for a few turns of the others, or until the time is there.
    pub(crate) fn wait_until<T>(&self, guard: &mut MutexGuard<'_, T>, due: Instant) {
        guard.held = None;
        thread::yield_now();
        if shuttle::rand::thread_rng().next_u32().is_multiple_of(2) {
            Instant::pass_to(due);
        }
        guard.held = Some(guard.mutex.lock().expect(UNPOISONED));
    }

    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}

#[derive(Default, Debug)]
pub(crate) struct RwLock<T>(shuttle::sync::RwLock<T>);

impl<T> RwLock<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(shuttle::sync::RwLock::new(value))
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
        self.0.read().expect(UNPOISONED)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.0.write().expect(UNPOISONED)
    }
}

/// The others get a turn before each load and store, and never during one.
#[derive(Debug)]
pub(crate) struct ArcSwap<T>(Mutex<Arc<T>>);

impl<T> ArcSwap<T> {
    pub(crate) fn from_pointee(value: T) -> Self {
        Self(Mutex::new(Arc::new(value)))
    }

    pub(crate) fn load(&self) -> Arc<T> {
        self.load_full()
    }

    pub(crate) fn load_full(&self) -> Arc<T> {
        Arc::clone(&self.0.lock())
    }

    pub(crate) fn store(&self, value: Arc<T>) {
        *self.0.lock() = value;
    }
}

/// A time of the run, from its beginning.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Instant(Duration);

/// How far a look at the clock moves it.
const MOMENT: Duration = Duration::from_micros(10);

std::thread_local! {
    /// All threads of a run are turns of one real thread.
    static NOW: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

impl Instant {
    pub(crate) fn now() -> Self {
        NOW.set(NOW.get() + MOMENT);
        Self(NOW.get())
    }

    fn pass_to(due: Self) {
        NOW.set(NOW.get().max(due.0));
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0 + duration)
    }
}

impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.0 - earlier.0
    }
}

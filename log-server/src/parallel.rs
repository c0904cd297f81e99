//! Blocking work on many things at once, by a few threads that end with it.
//!
//! Opening and closing logs waits for the disk most of the time: a few at once are much faster
//! than one behind the other. The runtime's blocking pool would start a thread for each.

use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

/// How many at once. The disk, not the processor, is what is waited for.
const THREADS_MAX: usize = 8;

/// Applies `work` to each item; results are in the order of the items. Blocks.
pub(crate) fn map<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(items.len()));
    std::thread::scope(|scope| {
        for _ in 0..items.len().min(THREADS_MAX) {
            scope.spawn(|| {
                while let Some((index, item)) = take(items, &next) {
                    let result = work(item);
                    done.lock().push((index, result));
                }
            });
        }
    });
    let mut done = done.into_inner();
    done.sort_unstable_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}

fn take<'a, T>(items: &'a [T], next: &AtomicUsize) -> Option<(usize, &'a T)> {
    let index = next.fetch_add(1, Ordering::Relaxed);
    Some((index, items.get(index)?))
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_item_is_worked_on_once_and_stays_in_its_place() {
        let items: Vec<usize> = (0..1000).collect();
        assert_eq!(super::map(&items, |item| item * 2), (0..2000).step_by(2).collect::<Vec<_>>());
        assert!(super::map(&[0; 0], |item| *item).is_empty());
    }
}

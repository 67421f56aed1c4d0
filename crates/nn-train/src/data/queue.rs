//! What waits between the thread that makes things and the one that takes them.
//!
//! A thread that is woken costs the other one tens of microseconds, so the maker is not woken for every thing that is
//! taken: once there is no room left it sleeps until no more than half of what may wait is left.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// A queue where `room` things may wait, besides the one last made.
pub(super) fn queue<T>(room: usize) -> (Maker<T>, Taker<T>) {
    let state = State { waiting: VecDeque::new(), over: false, maker_sleeps: false, taker_sleeps: false };
    let shared = Arc::new(Shared { room, state: Mutex::new(state), wake: Condvar::new() });
    (Maker(Arc::clone(&shared)), Taker(shared))
}

/// Where things are put.
#[derive(Debug)]
pub(super) struct Maker<T>(Arc<Shared<T>>);

/// Where they are taken from, in the same order.
#[derive(Debug)]
pub(super) struct Taker<T>(Arc<Shared<T>>);

/// Nobody takes things any more.
#[derive(Debug)]
pub(super) struct Over;

#[derive(Debug)]
struct Shared<T> {
    room: usize,
    state: Mutex<State<T>>,
    /// Of the two at most one sleeps.
    wake: Condvar,
}

#[derive(Debug)]
struct State<T> {
    waiting: VecDeque<T>,
    /// One of the two is gone.
    over: bool,
    maker_sleeps: bool,
    taker_sleeps: bool,
}

impl<T> Shared<T> {
    /// With so many left a maker that sleeps is woken: half of what may wait, so that the taker has something meanwhile.
    fn few(&self) -> usize {
        self.room.div_ceil(2)
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sleep<'a>(&self, state: MutexGuard<'a, State<T>>) -> MutexGuard<'a, State<T>> {
        self.wake.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self) {
        self.state().over = true;
        self.wake.notify_one();
    }
}

impl<T> Maker<T> {
    /// Puts a thing into the queue; comes back when another one may be made.
    pub(super) fn put(&self, thing: T) -> Result<(), Over> {
        let Self(shared) = self;
        let mut state = shared.state();
        state.waiting.push_back(thing);
        if state.taker_sleeps {
            shared.wake.notify_one();
        }
        if state.waiting.len() > shared.room {
            state.maker_sleeps = true;
            while !state.over && state.waiting.len() > shared.few() {
                state = shared.sleep(state);
            }
            state.maker_sleeps = false;
        }
        if state.over { Err(Over) } else { Ok(()) }
    }
}

impl<T> Drop for Maker<T> {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl<T> Taker<T> {
    /// The next thing, as soon as there is one; none if the maker is gone and has left none.
    pub(super) fn take(&self) -> Option<T> {
        let Self(shared) = self;
        let mut state = shared.state();
        state.taker_sleeps = true;
        while state.waiting.is_empty() && !state.over {
            state = shared.sleep(state);
        }
        state.taker_sleeps = false;
        let thing = state.waiting.pop_front();
        if state.maker_sleeps && state.waiting.len() <= shared.few() {
            shared.wake.notify_one();
        }
        thing
    }
}

impl<T> Drop for Taker<T> {
    fn drop(&mut self) {
        self.0.end();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::thread;
    use std::time::{Duration, Instant};

    use super::*;

    /// Puts numbers until nobody takes them; `made` counts them.
    fn count(maker: &Maker<usize>, made: &AtomicUsize) {
        while maker.put(made.fetch_add(1, SeqCst)).is_ok() {}
    }

    /// Waits for a count that it must come to and may not go beyond.
    fn settles_at(made: &AtomicUsize, expected: usize) {
        let began = Instant::now();
        while made.load(SeqCst) < expected && began.elapsed() < Duration::from_secs(20) {
            thread::yield_now();
        }
        thread::sleep(Duration::from_millis(5));
        assert_eq!(made.load(SeqCst), expected);
    }

    #[test]
    fn the_maker_sleeps_until_half_has_gone() {
        for (room, goes_on_after) in [(0, 1), (1, 1), (2, 2), (4, 3), (5, 3)] {
            let (maker, taker) = queue(room);
            let made = AtomicUsize::new(0);
            thread::scope(|scope| {
                scope.spawn(|| count(&maker, &made));
                for round in 0..3 {
                    let taken = round * goes_on_after;
                    settles_at(&made, taken + room + 1);
                    for next in taken..taken + goes_on_after {
                        assert_eq!(taker.take(), Some(next));
                    }
                }
                drop(taker);
            });
        }
    }

    #[test]
    fn what_is_left_is_taken_after_the_maker_has_gone() {
        let (maker, taker) = queue(3);
        assert!(maker.put(1).is_ok() && maker.put(2).is_ok());
        drop(maker);
        assert_eq!([taker.take(), taker.take(), taker.take(), taker.take()], [Some(1), Some(2), None, None]);
    }

    #[test]
    fn one_that_waits_hears_that_the_other_has_gone() {
        /// Until one of the two has fallen asleep: the flag is set under the lock that sleep gives back.
        fn asleep(shared: &Shared<usize>, sleeps: impl Fn(&State<usize>) -> bool) {
            let began = Instant::now();
            while !sleeps(&shared.state()) && began.elapsed() < Duration::from_secs(20) {
                thread::yield_now();
            }
        }
        let (maker, taker) = queue(0);
        thread::scope(|scope| {
            let waits = scope.spawn(move || taker.take());
            asleep(&maker.0, |state| state.taker_sleeps);
            drop(maker);
            assert_eq!(waits.join().expect("no panic"), None);
        });
        let (maker, taker) = queue(0);
        thread::scope(|scope| {
            let waits = scope.spawn(move || maker.put(1).is_err());
            asleep(&taker.0, |state| state.maker_sleeps);
            drop(taker);
            assert!(waits.join().expect("no panic"));
        });
    }
}

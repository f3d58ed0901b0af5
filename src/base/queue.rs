//! A bounded queue between a thread that makes things on time and one that may fall behind.
//!
//! At the bound the oldest of the same class goes: before encoding, the newest picture is the one wanted, and a
//! late picture must not cost sound. Never used behind an encoder, where a lost frame breaks all that refer to it.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What a queue does with one kind of thing.
pub trait Classed {
    /// How many of this item's class may wait; `usize::MAX` for what must never be dropped (and is rare).
    fn class_bound(&self) -> (u8, usize);
}

struct State<T> {
    items: VecDeque<T>,
    dropped: u64,
    senders: usize,
    receiver_gone: bool,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end that puts in; clonable. Never blocks.
pub struct Sender<T>(Arc<Shared<T>>);

/// The end that takes out.
pub struct Receiver<T>(Arc<Shared<T>>);

/// What [`Receiver::pop`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Popped<T> {
    /// The oldest item.
    Item(T),
    /// Nothing came in time.
    Empty,
    /// Nothing is left and every sender is gone.
    Closed,
}

/// A new queue.
pub fn bounded<T: Classed>() -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared {
        state: Mutex::new(State { items: VecDeque::new(), dropped: 0, senders: 1, receiver_gone: false }),
        changed: Condvar::new(),
    });
    (Sender(shared.clone()), Receiver(shared))
}

impl<T: Classed> Sender<T> {
    /// Puts `item` in, pushing out the oldest of its class at the bound. `false` once the receiver is gone.
    pub fn push(&self, item: T) -> bool {
        let (class, bound) = item.class_bound();
        let mut state = self.0.lock();
        if state.receiver_gone {
            return false;
        }
        if state.items.iter().filter(|other| other.class_bound().0 == class).count() >= bound
            && let Some(oldest) = state.items.iter().position(|other| other.class_bound().0 == class)
        {
            state.items.remove(oldest);
            state.dropped += 1;
        }
        state.items.push_back(item);
        drop(state);
        self.0.changed.notify_one();
        true
    }

    /// How many items were pushed out so far.
    pub fn dropped(&self) -> u64 {
        self.0.lock().dropped
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.lock().senders += 1;
        Sender(self.0.clone())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.lock().senders -= 1;
        self.0.changed.notify_one();
    }
}

impl<T> Receiver<T> {
    /// Takes the oldest item, waiting at most `patience` for one.
    pub fn pop(&self, patience: Duration) -> Popped<T> {
        let state = self.0.lock();
        let (mut state, _) = self
            .0
            .changed
            .wait_timeout_while(state, patience, |state| state.items.is_empty() && state.senders > 0)
            .unwrap_or_else(PoisonError::into_inner);
        match state.items.pop_front() {
            Some(item) => Popped::Item(item),
            None if state.senders == 0 => Popped::Closed,
            None => Popped::Empty,
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.receiver_gone = true;
        state.items.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Eq)]
    enum Item {
        Picture(u32),
        Sound(u32),
    }

    impl Classed for Item {
        fn class_bound(&self) -> (u8, usize) {
            match self {
                Item::Picture(_) => (0, 2),
                Item::Sound(_) => (1, 50),
            }
        }
    }

    #[test]
    fn at_the_bound_the_oldest_picture_goes_and_sound_stays() {
        let (sender, receiver) = bounded();
        sender.push(Item::Picture(1));
        sender.push(Item::Sound(1));
        sender.push(Item::Picture(2));
        sender.push(Item::Picture(3));
        assert_eq!(sender.dropped(), 1);
        drop(sender);
        let left: Vec<_> = std::iter::from_fn(|| match receiver.pop(Duration::ZERO) {
            Popped::Item(item) => Some(item),
            _ => None,
        })
        .collect();
        assert_eq!(left, [Item::Sound(1), Item::Picture(2), Item::Picture(3)]);
        assert_eq!(receiver.pop(Duration::ZERO), Popped::Closed);
    }

    #[test]
    fn a_sender_learns_that_nobody_listens() {
        let (sender, receiver) = bounded();
        assert!(sender.push(Item::Sound(1)));
        drop(receiver);
        assert!(!sender.push(Item::Sound(2)));
    }
}

//! Whose turn it is: one of each key after the other, however much one key has waiting. Nested, it
//! takes turns within turns.

use std::collections::VecDeque;

use tokio::sync::oneshot;

/// What waits under each key, the key whose turn comes next in front.
#[derive(Debug)]
pub(crate) struct Turns<K, Queue>(VecDeque<(K, Queue)>);

impl<K, Queue> Default for Turns<K, Queue> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

/// What has waiting in it.
pub(crate) trait Queue: Default {
    /// What waits.
    type Waiting;

    /// Takes the next that still waits.
    fn next(&mut self) -> Option<Self::Waiting>;

    /// Takes the last, of whoever has the most waiting.
    fn shed(&mut self) -> Option<Self::Waiting>;

    /// Forgets who has gone away.
    fn prune(&mut self);

    fn len(&self) -> usize;

    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T> Queue for VecDeque<oneshot::Sender<T>> {
    type Waiting = oneshot::Sender<T>;

    fn next(&mut self) -> Option<Self::Waiting> {
        std::iter::from_fn(|| self.pop_front()).find(|waiting| !waiting.is_closed())
    }

    fn shed(&mut self) -> Option<Self::Waiting> {
        self.pop_back()
    }

    fn prune(&mut self) {
        self.retain(|waiting| !waiting.is_closed());
    }

    fn len(&self) -> usize {
        VecDeque::len(self)
    }
}

impl<K: Clone + Eq, Q: Queue> Queue for Turns<K, Q> {
    type Waiting = Q::Waiting;

    fn next(&mut self) -> Option<Self::Waiting> {
        self.next_of(|_| true).map(|(_, waiting)| waiting)
    }

    fn shed(&mut self) -> Option<Self::Waiting> {
        // Among equals the last, which is the newcomer where it is one of them.
        let longest = self.0.iter().enumerate();
        let (at, _) = longest.max_by_key(|(_, (_, queue))| queue.len())?;
        let (_, queue) = self.0.get_mut(at)?;
        let shed = queue.shed();
        if queue.is_empty() {
            self.0.remove(at);
        }
        shed
    }

    fn prune(&mut self) {
        self.0.retain_mut(|(_, queue)| {
            queue.prune();
            !queue.is_empty()
        });
    }

    fn len(&self) -> usize {
        self.0.iter().map(|(_, queue)| queue.len()).sum()
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<K: Clone + Eq, Q: Queue> Turns<K, Q> {
    /// What waits under `key`, for more to be added; a new key has the last turn.
    pub(crate) fn add(&mut self, key: K, add: impl FnOnce(&mut Q)) {
        if let Some((_, queue)) = self.0.iter_mut().find(|(known, _)| *known == key) {
            return add(queue);
        }
        let mut queue = Q::default();
        add(&mut queue);
        self.0.push_back((key, queue));
    }

    /// The next that waits under a key which `may` have a turn, with its key, whose next turn comes
    /// after all others'.
    pub(crate) fn next_of(&mut self, may: impl Fn(&K) -> bool) -> Option<(K, Q::Waiting)> {
        loop {
            let at = self.0.iter().position(|(key, _)| may(key))?;
            let (key, mut queue) = self.0.remove(at)?;
            let next = queue.next();
            if !queue.is_empty() {
                self.0.push_back((key.clone(), queue));
            }
            if let Some(next) = next {
                return Some((key, next));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use tokio::sync::oneshot::{self, error::TryRecvError};

    use super::{Queue as _, Turns};

    type Flat = Turns<u32, VecDeque<oneshot::Sender<()>>>;

    /// Lets one more wait under each of `keys`; what it holds keeps them waiting.
    fn waiting(turns: &mut Flat, keys: &[u32]) -> Vec<oneshot::Receiver<()>> {
        let wait = |key: &u32| {
            let (sender, receiver) = oneshot::channel();
            turns.add(*key, |queue| queue.push_back(sender));
            receiver
        };
        keys.iter().map(wait).collect()
    }

    fn order(turns: &mut Flat) -> Vec<u32> {
        std::iter::from_fn(|| turns.next_of(|_| true).map(|(key, _)| key)).collect()
    }

    #[test]
    fn each_key_has_its_turn_however_much_one_has_waiting() {
        let mut turns = Flat::default();
        let _held = waiting(&mut turns, &[1, 1, 1, 1, 2, 3, 2]);
        assert_eq!(order(&mut turns), [1, 2, 3, 1, 2, 1, 1]);
        assert!(turns.is_empty());
    }

    #[test]
    fn who_went_away_costs_nobody_a_turn() {
        let mut turns = Flat::default();
        let held = waiting(&mut turns, &[1, 2]);
        drop(waiting(&mut turns, &[1, 3, 3]));
        assert_eq!(order(&mut turns), [1, 2]);
        drop(held);
        drop(waiting(&mut turns, &[1, 3]));
        turns.prune();
        assert!(turns.is_empty());
    }

    #[test]
    fn what_is_shed_is_the_last_of_who_has_the_most() {
        let mut turns = Flat::default();
        let mut held = waiting(&mut turns, &[1, 2, 2, 2, 3]);
        for left in [3, 2] {
            drop(turns.shed());
            assert!(
                held[left]
                    .try_recv()
                    .is_err_and(|error| error == TryRecvError::Closed)
            );
        }
        assert_eq!(turns.len(), 3);
        // All have one: the newest goes.
        drop(turns.shed());
        assert_eq!(order(&mut turns), [1, 2]);
    }

    #[test]
    fn who_may_not_is_passed_over_and_keeps_the_turn() {
        let mut turns = Flat::default();
        let _held = waiting(&mut turns, &[1, 2, 1]);
        let next = turns.next_of(|key| *key != 1).map(|(key, _)| key);
        assert_eq!(next, Some(2));
        assert!(turns.next_of(|key| *key != 1).is_none());
        assert_eq!(order(&mut turns), [1, 1]);
    }
}

//! Registrations, in the order in which they become due.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::task::Waker;

use super::Ticket;

/// What is waited for: a place on a line. If one place is reached, so is every lower one of that line.
pub trait Target {
    /// Names a line.
    type Line: Copy + Ord;

    /// Which line.
    fn line(&self) -> Self::Line;

    /// Where on it.
    fn place(&self) -> u64;
}

/// A number is a place on the only line.
impl Target for u64 {
    type Line = ();

    fn line(&self) {}

    fn place(&self) -> u64 {
        *self
    }
}

/// Line, place and ticket.
type Key<T> = (<T as Target>::Line, u64, u64);

pub(super) struct Entry<T> {
    pub(super) ticket: Ticket,
    pub(super) target: T,
    pub(super) waker: Waker,
}

/// What is registered. Adding and withdrawing take O(log n), and so does each that is due.
pub(super) struct Entries<T: Target> {
    in_order: BTreeMap<Key<T>, Entry<T>>,
    /// Where those are that are not used up.
    by_ticket: HashMap<u64, Key<T>>,
}

impl<T: Target> Entries<T> {
    pub(super) fn new() -> Self {
        Self { in_order: BTreeMap::new(), by_ticket: HashMap::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.in_order.len()
    }

    pub(super) fn add(&mut self, entry: Entry<T>) {
        let key = (entry.target.line(), entry.target.place(), entry.ticket.0);
        self.by_ticket.insert(entry.ticket.0, key);
        self.in_order.insert(key, entry);
    }

    /// What is registered under this ticket, if it is not used up.
    pub(super) fn withdraw(&mut self, ticket: Ticket) -> Option<Entry<T>> {
        let key = self.by_ticket.remove(&ticket.0)?;
        self.in_order.remove(&key)
    }

    /// Takes those out that are due. Of each line it looks at these and one more.
    pub(super) fn take_due(&mut self, is_reached: impl Fn(&T) -> bool) -> Vec<Entry<T>> {
        let mut due = Vec::new();
        let mut next = self.in_order.first_key_value().map(|(key, _)| *key);
        while let Some(key) = next {
            let (line, ..) = key;
            let behind = if is_reached(&self.in_order[&key].target) {
                self.by_ticket.remove(&key.2);
                due.extend(self.in_order.remove(&key));
                key
            } else {
                (line, u64::MAX, u64::MAX)
            };
            let rest = self.in_order.range((Bound::Excluded(behind), Bound::Unbounded));
            next = rest.map(|(key, _)| *key).next();
        }
        due
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::cell::Cell;
    use std::cmp::Ordering;

    use super::*;

    thread_local!(static COMPARED: Cell<u64> = const { Cell::new(0) });

    /// Counts how often it is compared.
    #[derive(Clone, Copy)]
    struct Line(u8);

    impl Ord for Line {
        fn cmp(&self, other: &Self) -> Ordering {
            COMPARED.set(COMPARED.get() + 1);
            self.0.cmp(&other.0)
        }
    }

    impl PartialOrd for Line {
        fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
            Some(self.cmp(other))
        }
    }

    impl PartialEq for Line {
        fn eq(&self, other: &Self) -> bool {
            self.cmp(other).is_eq()
        }
    }

    impl Eq for Line {}

    struct At(Line, u64);

    impl Target for At {
        type Line = Line;

        fn line(&self) -> Line {
            self.0
        }

        fn place(&self) -> u64 {
            self.1
        }
    }

    /// Places 0, 1 and so on of each of `lines`.
    fn entries(lines: u8, places: u64) -> Entries<At> {
        let mut entries = Entries::new();
        for place in 0..places {
            for line in 0..lines {
                let ticket = Ticket(place * u64::from(lines) + u64::from(line));
                entries.add(Entry { ticket, target: At(Line(line), place), waker: Waker::noop().clone() });
            }
        }
        entries
    }

    fn compared(work: impl FnOnce()) -> u64 {
        let before = COMPARED.get();
        work();
        COMPARED.get() - before
    }

    /// Each of many futures looked through all others, at each of its polls.
    #[test]
    fn a_registration_is_withdrawn_without_a_look_at_the_others() {
        const ALL: u64 = 4_000;
        let mut entries = entries(1, ALL);
        let took = compared(|| {
            for ticket in (0..ALL).rev() {
                assert!(entries.withdraw(Ticket(ticket)).is_some());
            }
        });
        assert!(took <= ALL * 100, "{took} comparisons");
        assert_eq!(entries.len(), 0);
        entries = self::entries(1, ALL);
        entries.take_due(|at| at.1 < ALL / 2);
        let took = compared(|| assert!((0..ALL / 2).all(|ticket| entries.withdraw(Ticket(ticket)).is_none())));
        assert_eq!((took, entries.len()), (0, ALL as usize / 2), "one that is used up is known by its ticket");
    }

    /// Each commit asked all that waited.
    #[test]
    fn of_each_line_those_are_asked_that_are_due_and_one_more() {
        let mut entries = entries(3, 1_000);
        let asked = Cell::new(0);
        let mut due = |reached: [u64; 3]| {
            asked.set(0);
            let due = entries.take_due(|at| {
                asked.set(asked.get() + 1);
                at.1 < reached[usize::from(at.0.0)]
            });
            let mut counts = [0; 3];
            due.iter().for_each(|entry| counts[usize::from(entry.target.0.0)] += 1);
            (counts, asked.get())
        };
        assert_eq!(due([0, 0, 0]), ([0, 0, 0], 3));
        assert_eq!(due([0, 10, 1]), ([0, 10, 1], 14));
        assert_eq!(due([5, 10, 2]), ([5, 0, 1], 9));
        assert_eq!(due([1_000; 3]), ([995, 990, 998], 995 + 990 + 998));
        assert_eq!(due([1_000; 3]), ([0; 3], 0));
    }
}

//! In debug builds: in which order locks are taken, so that an order that can deadlock is found without a deadlock.
//!
//! A lock belongs to a *class*, by its type and the place where it was made. Taking `b` while `a` is held is an edge
//! from `a`'s class to `b`'s; an edge that closes a circle is a deadlock waiting for its moment, and panics. The order
//! that the code keeps is in `docs/concurrency.md`, "Locks". In release builds all of this is nothing.

#[cfg(not(debug_assertions))]
pub(crate) use absent::expect_none_held;
#[cfg(not(debug_assertions))]
pub(super) use absent::{Class, Held};
#[cfg(debug_assertions)]
pub(crate) use present::expect_none_held;
#[cfg(debug_assertions)]
pub(super) use present::{Class, Held};

#[cfg(debug_assertions)]
mod present {
    use std::cell::RefCell;
    use std::collections::{BTreeMap, BTreeSet};
    use std::panic::Location;
    use std::sync::{Mutex, PoisonError};

    use crate::sync::Process;

    /// Type, file and line.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    pub(crate) struct Class(&'static str, &'static str, u32);

    /// While it lives, the thread holds a lock of a class.
    pub(crate) struct Held(Class);

    /// A lock that is given back while its condition is waited for.
    pub(crate) struct Waiting(Class);

    thread_local! {
        static HELD: RefCell<Vec<Class>> = const { RefCell::new(Vec::new()) };
    }

    /// What was taken while each was held.
    static EDGES: Mutex<BTreeMap<Class, BTreeSet<Class>>> = Mutex::new(BTreeMap::new());

    /// Panics if this thread holds a lock: for who is about to call other people's code.
    #[track_caller]
    pub(crate) fn expect_none_held() {
        let held = with_held(|held| held.clone()).unwrap_or_default();
        assert!(held.is_empty(), "other people's code runs while {held:?} is held");
    }

    impl Class {
        #[track_caller]
        pub(crate) fn here<T>() -> Self {
            let at = Location::caller();
            Self(std::any::type_name::<T>(), at.file(), at.line())
        }

        pub(crate) fn is_about_to_be_locked(self) {
            let held = with_held(|held| held.clone()).unwrap_or_default();
            // In a child whatever thread of the parent was here when it forked holds it for ever: there no order is watched.
            if held.is_empty() || Process::is_child() {
                return;
            }
            let mut edges = EDGES.lock().unwrap_or_else(PoisonError::into_inner);
            for before in held {
                // Two of one class: an order among them is not ours to judge.
                if before == self || edges.get(&before).is_some_and(|after| after.contains(&self)) {
                    continue;
                }
                if reaches(&edges, self, before) {
                    drop(edges);
                    panic!("{self:?} is locked while {before:?} is held, and elsewhere the other way round");
                }
                edges.entry(before).or_default().insert(self);
            }
        }

        /// As above, for locks that no thread may hold two of.
        pub(crate) fn is_about_to_be_locked_once(self) {
            let is_held = with_held(|held| held.contains(&self)).unwrap_or_default();
            assert!(!is_held, "{self:?} is locked twice by one thread");
            self.is_about_to_be_locked();
        }

        pub(crate) fn is_locked(self) -> Held {
            with_held(|held| held.push(self));
            Held(self)
        }
    }

    /// `None` in a thread that ends and has lost its list: what it drops then is not watched.
    fn with_held<R>(look: impl FnOnce(&mut Vec<Class>) -> R) -> Option<R> {
        HELD.try_with(|held| look(&mut held.borrow_mut())).ok()
    }

    fn reaches(edges: &BTreeMap<Class, BTreeSet<Class>>, from: Class, to: Class) -> bool {
        let mut seen = BTreeSet::from([from]);
        let mut next = vec![from];
        while let Some(at) = next.pop() {
            if at == to {
                return true;
            }
            next.extend(edges.get(&at).into_iter().flatten().copied().filter(|&class| seen.insert(class)));
        }
        false
    }

    impl Held {
        pub(crate) fn while_waiting(self) -> Waiting {
            Waiting(self.0)
        }
    }

    impl Waiting {
        pub(crate) fn again(self) -> Held {
            self.0.is_locked()
        }
    }

    impl Drop for Held {
        fn drop(&mut self) {
            with_held(|held| {
                if let Some(at) = held.iter().rposition(|class| *class == self.0) {
                    held.remove(at);
                }
            });
        }
    }
}

#[cfg(not(debug_assertions))]
mod absent {
    #[inline(always)]
    pub(crate) fn expect_none_held() {}

    #[derive(Clone, Copy)]
    pub(crate) struct Class;

    pub(crate) struct Held;

    impl Class {
        #[inline(always)]
        pub(crate) fn here<T>() -> Self {
            Self
        }

        #[inline(always)]
        pub(crate) fn is_about_to_be_locked(self) {}

        #[inline(always)]
        pub(crate) fn is_about_to_be_locked_once(self) {}

        #[inline(always)]
        pub(crate) fn is_locked(self) -> Held {
            Held
        }
    }

    impl Held {
        #[inline(always)]
        pub(crate) fn while_waiting(self) -> Self {
            self
        }

        #[inline(always)]
        pub(crate) fn again(self) -> Self {
            self
        }
    }
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::time::Duration;

    use crate::sync::{Condvar, Mutex, lock};

    #[test]
    fn an_order_that_can_deadlock_is_found_by_one_thread_without_a_deadlock() {
        let (a, b, c) = (Mutex::new(1_u8), Mutex::new(2_u16), Mutex::new(3_u32));
        {
            let _a = lock(&a);
            let _b = lock(&b);
        }
        {
            let _b = lock(&b);
            let _c = lock(&c);
        }
        let _c = lock(&c);
        let wrong = catch_unwind(AssertUnwindSafe(|| drop(lock(&a))));
        let why = wrong.unwrap_err();
        let why = why.downcast_ref::<String>().unwrap();
        assert!(why.contains("u8") && why.contains("u32") && why.contains("the other way round"), "{why}");
        assert!(a.try_lock().is_ok(), "trying waits for nobody");
    }

    #[test]
    fn a_lock_that_waits_for_its_condition_is_not_held() {
        let (a, b, changed) = (Mutex::new(1_i8), Mutex::new(2_i16), Condvar::new());
        let guard = lock(&a);
        let (guard, timed_out) = changed.wait_timeout(guard, Duration::from_nanos(1)).unwrap();
        assert!(timed_out.timed_out() || *guard == 1);
        {
            let _b = lock(&b);
        }
        drop(guard);
        let _b = lock(&b);
        let wrong = catch_unwind(AssertUnwindSafe(|| drop(lock(&a))));
        assert!(wrong.is_err(), "held again after the wait");
    }
}

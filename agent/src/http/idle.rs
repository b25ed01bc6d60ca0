//! Connections that wait for a request. When there is no room for another one, the one that waits longest makes it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Those that wait, the longest first. The lock is held for as long as an insertion takes.
#[derive(Debug, Default)]
pub(super) struct Idle(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    /// Told to end when its place is taken.
    all: BTreeMap<u64, Arc<Notify>>,
}

/// One connection; knows whether it waits.
#[derive(Debug)]
pub(super) struct Place {
    idle: Arc<Idle>,
    ends: Arc<Notify>,
    /// Its number among those that wait.
    number: Mutex<Option<u64>>,
}

impl Idle {
    /// A place for a new connection, which waits.
    pub(super) fn place(self: &Arc<Self>) -> Arc<Place> {
        let place = Place { idle: Arc::clone(self), ends: Arc::default(), number: Mutex::default() };
        place.waits();
        Arc::new(place)
    }

    /// Ends the connection that waits longest; false if none waits.
    pub(super) fn end_oldest(&self) -> bool {
        let oldest = locked(&self.0).all.pop_first();
        oldest.inspect(|(_, ends)| ends.notify_one()).is_some()
    }
}

impl Place {
    /// Done when the place is given to somebody else.
    pub(super) async fn ended(&self) {
        self.ends.notified().await;
    }

    /// A request has begun; its connection ends only by itself until the guard is dropped.
    pub(super) fn busy(self: &Arc<Self>) -> Busy {
        self.leave();
        Busy(Arc::clone(self))
    }

    fn waits(&self) {
        let mut number = locked(&self.number);
        let mut idle = locked(&self.idle.0);
        idle.next += 1;
        let mine = idle.next;
        idle.all.insert(mine, Arc::clone(&self.ends));
        *number = Some(mine);
    }

    fn leave(&self) {
        if let Some(number) = locked(&self.number).take() {
            locked(&self.idle.0).all.remove(&number);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Until dropped, a request is under way.
#[derive(Debug)]
pub(super) struct Busy(Arc<Place>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.waits();
    }
}

/// A panic elsewhere leaves lists that are still good.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(place: &Place) -> bool {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let now = std::future::ready(());
        runtime.block_on(async {
            tokio::select! { biased; () = place.ended() => true, () = now => false }
        })
    }

    #[test]
    fn the_one_that_waits_longest_makes_room() {
        let idle = Arc::new(Idle::default());
        let [a, b, c] = [(); 3].map(|()| idle.place());
        let request = a.busy();
        assert!(idle.end_oldest());
        assert!(!told(&a) && told(&b) && !told(&c), "the first one has a request under way");
        drop(request);
        assert!(idle.end_oldest());
        assert!(!told(&a) && told(&c), "the first one waits since just now");
        assert!(idle.end_oldest() && told(&a));
        assert!(!idle.end_oldest());
    }

    #[test]
    fn a_connection_that_has_ended_waits_no_more() {
        let idle = Arc::new(Idle::default());
        drop(idle.place());
        let place = idle.place();
        drop(place.busy());
        drop(place);
        assert!(!idle.end_oldest());
        assert!(locked(&idle.0).all.is_empty());
    }
}

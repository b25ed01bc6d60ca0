//! Which queries run, and which have run: what `status/active_queries` and
//! `status/top_queries` show.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tidegauge::Timestamp;

use crate::ask::When;

/// Longer texts are cut in the lists.
const TEXT_BYTES_MAX: usize = 4 << 10;
/// Ended queries kept; with their texts at most [`DONE_BYTES_MAX`].
const DONE_MAX: usize = 16_384;
const DONE_BYTES_MAX: usize = 4 << 20;

/// A query under way.
#[derive(Clone, Debug)]
pub(super) struct Active {
    pub(super) id: u64,
    pub(super) text: Arc<str>,
    pub(super) when: When,
    pub(super) began: Instant,
    pub(super) at: Timestamp,
}

/// A query that has ended.
#[derive(Clone, Debug)]
pub(super) struct Done {
    pub(super) text: Arc<str>,
    /// From the first step to the last.
    pub(super) span: Duration,
    pub(super) took: Duration,
    ended: Instant,
}

/// Both lists. The locks are held for as long as an insertion takes.
#[derive(Debug, Default)]
pub(super) struct Queries {
    active: Mutex<(u64, BTreeMap<u64, Active>)>,
    done: Mutex<Ended>,
}

#[derive(Debug, Default)]
struct Ended {
    list: VecDeque<Done>,
    bytes: usize,
}

/// Says that a query runs, until dropped.
#[derive(Debug)]
pub(super) struct Running<'a> {
    queries: &'a Queries,
    id: u64,
}

impl Running<'_> {
    /// It did not get anywhere, and will be begun anew: it does not count as one that ended.
    pub(super) fn forget(self) {
        locked(&self.queries.active).1.remove(&self.id);
    }
}

impl Queries {
    pub(super) fn begin(&self, text: &str, when: When) -> Running<'_> {
        let mut active = locked(&self.active);
        active.0 += 1;
        let id = active.0;
        let text = shortened(text).into();
        active.1.insert(id, Active { id, text, when, began: Instant::now(), at: tidegauge::now() });
        Running { queries: self, id }
    }

    /// A query that ended before anyone could have seen it run.
    pub(super) fn ended(&self, text: &str, when: When, took: Duration) {
        self.push(Done { text: shortened(text).into(), span: when.span(), took, ended: Instant::now() });
    }

    fn push(&self, done: Done) {
        let mut queue = locked(&self.done);
        queue.bytes += done.text.len();
        queue.list.push_back(done);
        while queue.list.len() > DONE_MAX || queue.bytes > DONE_BYTES_MAX {
            let Some(oldest) = queue.list.pop_front() else { break };
            queue.bytes -= oldest.text.len();
        }
    }

    /// Those under way, the longest first.
    pub(super) fn active(&self) -> Vec<Active> {
        locked(&self.active).1.values().cloned().collect()
    }

    /// Those that ended within the last `within`.
    pub(super) fn done(&self, within: Duration) -> Vec<Done> {
        locked(&self.done).list.iter().filter(|done| done.ended.elapsed() <= within).cloned().collect()
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let Some(was) = locked(&self.queries.active).1.remove(&self.id) else { return };
        let ended = Instant::now();
        self.queries.push(Done { text: was.text, span: was.when.span(), took: ended - was.began, ended });
    }
}

fn shortened(text: &str) -> &str {
    let mut end = text.len().min(TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// A panic elsewhere leaves lists that are still good.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: When = When::At(Timestamp::from_nanos(0));

    #[test]
    fn a_query_is_active_until_it_is_dropped_and_done_then() {
        let queries = Queries::default();
        let running = queries.begin("up", NOW);
        assert_eq!(queries.active().iter().map(|a| &*a.text).collect::<Vec<_>>(), ["up"]);
        assert!(queries.done(Duration::MAX).is_empty());
        drop(running);
        assert!(queries.active().is_empty());
        assert_eq!(queries.done(Duration::MAX).len(), 1);
        queries.begin("up", NOW).forget();
        assert!(queries.active().is_empty());
        assert_eq!(queries.done(Duration::MAX).len(), 1);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let queries = Queries::default();
        for _ in 0..DONE_MAX + 10 {
            drop(queries.begin("x", NOW));
        }
        assert_eq!(queries.done(Duration::MAX).len(), DONE_MAX);
        let long = "é".repeat(TEXT_BYTES_MAX);
        for _ in 0..2 * DONE_BYTES_MAX / TEXT_BYTES_MAX {
            drop(queries.begin(&long, NOW));
        }
        let kept: usize = queries.done(Duration::MAX).iter().map(|done| done.text.len()).sum();
        assert!((DONE_BYTES_MAX / 2..=DONE_BYTES_MAX).contains(&kept), "{kept}");
    }
}

//! Threads that queries run on, so that none waits for another's: each has a *team* of its own while it runs.
//!
//! If all queries shared one pool, long ones would take its threads, and a short one would wait until one of those
//! ends, whatever its turn. Teams share the processors instead, which the system deals out in slices of milliseconds,
//! first of all to who has just woken up.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rayon::{ThreadPool, ThreadPoolBuilder};

/// Queries at a time beyond which some share a team.
const TEAMS_MAX: usize = 64;

/// Makes a team of so many threads; `None` if it cannot.
type Make = dyn Fn(usize) -> Option<ThreadPool> + Send + Sync;
/// Answers another number in each child of the process.
type ProcessNow = dyn Fn() -> u32 + Send + Sync;

/// Teams of threads for queries, made as they are needed. Cheap to clone; clones are the same teams.
///
/// Of n threads the first team has all, the second half as many, the third a third, at least one: among so many
/// queries each gets no more of the processors anyway. A query gets the greatest team that is free.
#[derive(Clone)]
pub struct Threads(Arc<Inner>);

struct Inner {
    make: Option<Box<Make>>,
    teams: Mutex<Vec<Team>>,
    process_now: Box<ProcessNow>,
    /// Whose they are: a child of the process has none of the threads, and would wait for them for ever.
    process: u32,
    /// What a child runs on, once it was needed, and the child's number: its own children have none of that either.
    of_child: Mutex<Option<(u32, Arc<ThreadPool>)>>,
}

struct Team {
    pool: Arc<ThreadPool>,
    queries: usize,
}

impl Threads {
    /// Teams of which `first` is the greatest; `make` makes those that are needed later, of so many threads. Where it
    /// makes none, queries share what is there.
    pub fn new(first: ThreadPool, make: impl Fn(usize) -> Option<ThreadPool> + Send + Sync + 'static) -> Self {
        Self::of(Arc::new(first), Some(Box::new(make)), Box::new(std::process::id))
    }

    /// As [`new`](Self::new), where somebody else tells a child that the process forked: `process_now` answers another
    /// number there. The one of the system is 1 in each that is the first of a namespace.
    pub fn told_by(
        first: ThreadPool,
        make: impl Fn(usize) -> Option<ThreadPool> + Send + Sync + 'static,
        process_now: impl Fn() -> u32 + Send + Sync + 'static,
    ) -> Self {
        Self::of(Arc::new(first), Some(Box::new(make)), Box::new(process_now))
    }

    fn of(first: Arc<ThreadPool>, make: Option<Box<Make>>, process_now: Box<ProcessNow>) -> Self {
        let teams = Mutex::new(vec![Team { pool: first, queries: 0 }]);
        let process = process_now();
        Self(Arc::new(Inner { make, teams, process_now, process, of_child: Mutex::default() }))
    }

    /// Runs `work` on a team of its own, so that parallel iterators inside use it; on the same one if it is called from
    /// inside. Blocks until it is done. With 64 queries at a time, or where the system gives no more threads, it shares
    /// a team and may wait for others.
    ///
    /// In a child that the process forked it runs on one thread, which the child starts for that. Not on the thread that
    /// asks: parallel iterators there would wait for the threads of rayon's global pool, which the child may not have.
    pub fn install<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        if self.is_forked() {
            return match self.0.of_child() {
                Some(pool) => pool.install(work),
                None => work(),
            };
        }
        let taken = self.take();
        taken.pool.install(work)
    }

    /// Whether this process is a child of theirs. A system call at most, a hundredth of what waking a thread takes.
    pub(crate) fn is_forked(&self) -> bool {
        self.0.process != (self.0.process_now)()
    }

    /// Threads of the greatest team.
    pub(crate) fn most(&self) -> usize {
        if self.is_forked() {
            return 1;
        }
        self.0.teams().first().map_or(1, |team| team.pool.current_num_threads())
    }

    /// Runs `work` on this thread, and tells it a team that is its own meanwhile, as for [`install`](Self::install).
    pub(crate) fn with_team<R>(&self, work: impl FnOnce(&ThreadPool) -> R) -> R {
        let taken = self.take();
        work(&taken.pool)
    }

    fn take(&self) -> Taken<'_> {
        let mut teams = self.0.teams();
        let ours = teams.iter().position(|team| team.pool.current_thread_index().is_some());
        let free = || teams.iter().position(|team| team.queries == 0);
        let at = match ours.or_else(free) {
            Some(at) => at,
            None => match self.0.another(&teams) {
                Some(pool) => {
                    teams.push(Team { pool: Arc::new(pool), queries: 0 });
                    teams.len() - 1
                }
                None => (0..teams.len()).min_by_key(|&at| teams[at].queries).unwrap_or(0),
            },
        };
        teams[at].queries += 1;
        Taken { inner: &self.0, pool: Arc::clone(&teams[at].pool), at }
    }
}

impl Inner {
    /// A panic elsewhere leaves numbers that are still good.
    fn teams(&self) -> MutexGuard<'_, Vec<Team>> {
        self.teams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None` where the one that asks is in a pool, and the system gives it no other thread.
    fn of_child(&self) -> Option<Arc<ThreadPool>> {
        let one = |builder: ThreadPoolBuilder| builder.num_threads(1).build().ok().map(Arc::new);
        // Whoever forked this child may have been amid it: it is not waited for.
        let mut kept = self.of_child.try_lock().ok();
        let child = (self.process_now)();
        if let Some(Some((of, pool))) = kept.as_deref()
            && *of == child
        {
            return Some(Arc::clone(pool));
        }
        let Some(pool) = one(ThreadPoolBuilder::new()) else {
            // Its only thread is this one from now on: nobody else can use it.
            return one(ThreadPoolBuilder::new().use_current_thread());
        };
        if let Some(kept) = &mut kept {
            // To end the one of a parent, whose thread is not here, might wait for what that held.
            std::mem::forget(kept.replace((child, Arc::clone(&pool))));
        }
        Some(pool)
    }

    fn another(&self, teams: &[Team]) -> Option<ThreadPool> {
        let make = self.make.as_ref().filter(|_| teams.len() < TEAMS_MAX)?;
        let all = teams.first()?.pool.current_num_threads();
        make(all.div_ceil(teams.len() + 1))
    }
}

/// One pool for all: whoever gives it knows what else runs there.
impl From<Arc<ThreadPool>> for Threads {
    fn from(pool: Arc<ThreadPool>) -> Self {
        Self::of(pool, None, Box::new(std::process::id))
    }
}

impl fmt::Debug for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let teams: Vec<(usize, usize)> =
            self.0.teams().iter().map(|team| (team.pool.current_num_threads(), team.queries)).collect();
        f.debug_struct("Threads").field("threads_and_queries", &teams).finish_non_exhaustive()
    }
}

/// A team that a query runs on, until dropped.
struct Taken<'a> {
    inner: &'a Inner,
    pool: Arc<ThreadPool>,
    at: usize,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.inner.teams()[self.at].queries -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    fn pool(threads: usize) -> ThreadPool {
        ThreadPoolBuilder::new().num_threads(threads).build().unwrap()
    }

    fn sizes(threads: &Threads) -> Vec<usize> {
        threads.0.teams().iter().map(|team| team.pool.current_num_threads()).collect()
    }

    #[test]
    fn each_query_has_a_team_the_greatest_that_is_free() {
        let threads = Threads::new(pool(4), |n| Some(pool(n)));
        let taken: Vec<Taken<'_>> = (0..6).map(|_| threads.take()).collect();
        assert_eq!(sizes(&threads), [4, 2, 2, 1, 1, 1]);
        drop(taken);
        for _ in 0..3 {
            assert_eq!(threads.install(rayon::current_num_threads), 4);
        }
        assert_eq!(sizes(&threads).len(), 6, "what is free is used again");
    }

    #[test]
    fn in_a_child_work_is_in_a_pool_that_the_child_has_made() {
        let process = Arc::new(AtomicU32::new(1));
        let now = Arc::clone(&process);
        let threads = Threads::told_by(pool(4), |_| panic!("not needed"), move || now.load(Ordering::Relaxed));
        let place = || {
            threads.install(|| {
                let nested = threads.install(|| std::thread::current().id());
                assert_eq!(nested, std::thread::current().id(), "within it, it goes on there");
                (rayon::current_thread_index().map(|_| rayon::current_num_threads()), nested)
            })
        };
        assert_eq!(place().0, Some(4));
        let mut seen = Vec::new();
        for child in [2, 3] {
            process.store(child, Ordering::Relaxed);
            let (pool, thread) = place();
            assert_eq!((pool, threads.most()), (Some(1), 1));
            assert_eq!(place().1, thread, "it is made once");
            assert!(!seen.contains(&thread), "not the parent's");
            seen.push(thread);
        }
    }

    #[test]
    fn a_query_within_a_query_stays_on_its_team() {
        let threads = Threads::new(pool(2), |n| Some(pool(n)));
        threads.install(|| threads.install(|| rayon::join(|| threads.install(|| ()), || ())));
        assert_eq!(sizes(&threads), [2]);
        assert_eq!(threads.0.teams()[0].queries, 0);
    }

    #[test]
    fn what_panics_gives_its_team_back() {
        let threads = Threads::new(pool(1), |_| panic!("not needed"));
        for _ in 0..3 {
            let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| threads.install(|| panic!("no"))));
            assert!(panicked.is_err());
        }
    }

    #[test]
    fn where_there_are_no_more_threads_queries_share() {
        let threads = Threads::new(pool(1), |_| None);
        let taken: Vec<Taken<'_>> = (0..3).map(|_| threads.take()).collect();
        assert_eq!(threads.0.teams()[0].queries, 3);
        drop(taken);
        let threads = Threads::new(pool(1), |n| Some(pool(n)));
        let taken: Vec<Taken<'_>> = (0..TEAMS_MAX + 3).map(|_| threads.take()).collect();
        assert_eq!(sizes(&threads).len(), TEAMS_MAX);
        assert!(taken.iter().skip(TEAMS_MAX).map(|taken| taken.at).eq(0..3), "the least busy first");
    }
}

//! Work cut into pieces, for the thread that asks and for those that help it.
//!
//! To wake another thread takes some tens of microseconds, more than a small question takes as a whole. So whoever asks
//! begins alone, and calls for help only if what is left, at the pace of late, is worth the way. It goes on working
//! meanwhile, and waits for nobody but at the end.

use std::iter::Enumerate;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::{QueryError, Threads};

/// Help is called for if what is left would take one thread longer than that. Who was asleep is at work 30 to 60 µs
/// later; below the double of that it would often find nothing left, and would have to be waited for all the same.
const WORTH_HELP: Duration = Duration::from_micros(100);
/// The first piece may take so many times as long as those behind it: files and caches are cold.
const FIRST_TAKES: u32 = 4;
/// If a piece has so many samples, help is called for before the first one ends. Fewer take a quarter of a millisecond
/// at most.
pub(crate) const SAMPLES_OF_A_LONG_PIECE: u64 = 1 << 17;
/// Threads that may help where nobody knows how many there are.
const SOME_THREADS: usize = 8;

/// Who may help the thread that asks.
#[derive(Clone, Copy)]
pub(crate) enum Helpers<'a> {
    Nobody,
    /// The rayon pool of the calling thread: the global one, unless it is inside another.
    Pool,
    /// A team of these.
    Team(&'a Threads),
}

impl<'a> Helpers<'a> {
    pub(crate) fn of(threads: Option<&'a Threads>) -> Self {
        threads.map_or(Self::Pool, Self::Team)
    }

    /// About how many threads work at a time.
    pub(crate) fn threads(self) -> usize {
        match self {
            Self::Nobody => 1,
            Self::Team(threads) => threads.most(),
            Self::Pool if rayon::current_thread_index().is_some() => rayon::current_num_threads(),
            // To ask would start the global pool.
            Self::Pool => SOME_THREADS,
        }
    }

    /// Runs `own` here, and `help` beside it on up to `most` threads. Blocks until all of them are done.
    fn beside(self, most: usize, help: impl Fn() + Sync, own: impl FnOnce()) {
        match self {
            Self::Nobody => own(),
            Self::Pool => rayon::in_place_scope(|scope| {
                (1..rayon::current_num_threads()).take(most).for_each(|_| scope.spawn(|_| help()));
                own();
            }),
            Self::Team(threads) if threads.is_forked() => own(),
            Self::Team(threads) => threads.with_team(|team| {
                team.in_place_scope(|scope| {
                    (1..team.current_num_threads()).take(most).for_each(|_| scope.spawn(|_| help()));
                    own();
                });
            }),
        }
    }
}

/// Pieces of work that nobody has taken yet.
struct Queue<I, E> {
    pieces: Enumerate<I>,
    /// The first error, by its piece: those before it were all taken, and end.
    failed: Option<(usize, E)>,
}

impl<I: Iterator, E> Queue<I, E> {
    fn take(&mut self) -> Option<(usize, I::Item)> {
        if self.failed.is_some() { None } else { self.pieces.next() }
    }

    fn fail(&mut self, at: usize, error: E) {
        if self.failed.as_ref().is_none_or(|(before, _)| at < *before) {
            self.failed = Some((at, error));
        }
    }
}

/// Does `work` with each of `pieces`, which are taken in their order by this thread and by those that help it, each with
/// a scratch of its own, which `end` gets when the thread is done. After an error no other piece is begun; of several
/// errors the one of the first piece is answered.
///
/// `long` says that already the first piece takes long enough to call for help before.
pub(crate) fn share<T: Send, S, E: Send>(
    helpers: Helpers<'_>,
    long: bool,
    pieces: impl ExactSizeIterator<Item = T> + Send,
    begin: impl Fn() -> Result<S, E> + Sync,
    work: impl Fn(&mut S, T) -> Result<(), E> + Sync,
    end: impl Fn(S) -> Result<(), E> + Sync,
) -> Result<(), E> {
    let all = pieces.len();
    let queue = Mutex::new(Queue { pieces: pieces.enumerate(), failed: None });
    // A panic ends the query; until then the queue is as good as before.
    let queue = || -> MutexGuard<'_, Queue<_, E>> { queue.lock().unwrap_or_else(PoisonError::into_inner) };
    let take = || queue().take();
    let one = |scratch: &mut S, (at, piece): (usize, T)| {
        if let Err(error) = work(scratch, piece) {
            queue().fail(at, error);
        }
    };
    let rest = |mut scratch: S| {
        while let Some(piece) = take() {
            one(&mut scratch, piece);
        }
        if let Err(error) = end(scratch) {
            queue().fail(all, error);
        }
    };
    let help = || match begin() {
        Ok(scratch) => rest(scratch),
        Err(error) => queue().fail(all, error),
    };
    let mut own = begin()?;
    let alone = matches!(helpers, Helpers::Nobody) || all < 2;
    let began = Instant::now();
    let mut first = || alone_at_first(all, || take().map(|piece| one(&mut own, piece)).is_some(), || began.elapsed());
    if !alone && (long || !first()) {
        helpers.beside(all - 1, help, || rest(own));
    } else {
        rest(own);
    }
    match queue().failed.take() {
        Some((_, error)) => Err(error),
        None => Ok(()),
    }
}

/// Does pieces of work one by one, looking at the clock ever more seldom. Answers whether that was all; if not, the rest
/// is worth calling for help.
fn alone_at_first(all: usize, mut one: impl FnMut() -> bool, elapsed: impl Fn() -> Duration) -> bool {
    let (mut done, mut look) = (0, 1);
    // At the look before.
    let (mut done_before, mut before) = (0, Duration::ZERO);
    while one() {
        done += 1;
        if done == look {
            look *= 2;
            let (left, now) = (all - done, elapsed());
            // The pace since the look before: what comes first fetches what the others find.
            let worth = if done_before == 0 { WORTH_HELP * FIRST_TAKES } else { WORTH_HELP };
            let took = now.saturating_sub(before);
            if left > 1 && took.as_nanos() * left as u128 > worth.as_nanos() * (done - done_before) as u128 {
                return false;
            }
            (done_before, before) = (done, now);
        }
    }
    true
}

/// Calls `one` with each chunk of `items`; answers in their order.
pub(crate) fn chunks<R: Send>(
    helpers: Helpers<'_>,
    long: bool,
    items: Range<usize>,
    chunk: usize,
    one: impl Fn(Range<usize>) -> Result<R, QueryError> + Sync,
) -> Result<Vec<R>, QueryError> {
    chunks_with(helpers, long, equal(items, chunk), || Ok(()), |(), items| one(items), Ok)
}

/// `items` in pieces of `chunk` and a last one.
pub(crate) fn equal(items: Range<usize>, chunk: usize) -> Vec<Range<usize>> {
    items.clone().step_by(chunk).map(|at| at..(at + chunk).min(items.end)).collect()
}

/// Calls `one` with each of `pieces`; answers in their order. Each thread has a scratch as in [`share`].
pub(crate) fn chunks_with<S, R: Send>(
    helpers: Helpers<'_>,
    long: bool,
    pieces: Vec<Range<usize>>,
    begin: impl Fn() -> Result<S, QueryError> + Sync,
    one: impl Fn(&mut S, Range<usize>) -> Result<R, QueryError> + Sync,
    end: impl Fn(S) -> Result<(), QueryError> + Sync,
) -> Result<Vec<R>, QueryError> {
    let mut answers: Vec<Option<R>> = Vec::new();
    answers.resize_with(pieces.len(), || None);
    let pieces = answers.iter_mut().zip(pieces);
    share(
        helpers,
        long,
        pieces,
        begin,
        |scratch, (answer, piece)| {
            *answer = Some(one(scratch, piece)?);
            Ok(())
        },
        end,
    )?;
    Ok(answers.into_iter().flatten().collect())
}

/// Runs `work` on some of `threads`, if there are any and `many` says that it is worth the way.
pub(crate) fn install<R: Send>(threads: Option<&Threads>, many: bool, work: impl FnOnce() -> R + Send) -> R {
    match threads {
        Some(threads) if many => threads.install(work),
        _ => work(),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::thread;

    use super::*;

    fn team(threads: usize) -> Threads {
        let pool = |n| rayon::ThreadPoolBuilder::new().num_threads(n).build();
        Threads::new(pool(threads).unwrap(), move |n| pool(n).ok())
    }

    fn is_set(flag: &Mutex<bool>) -> bool {
        *flag.lock().unwrap()
    }

    /// Waits until another thread has set the flag.
    fn await_set(flag: &Mutex<bool>) {
        while !is_set(flag) {
            thread::yield_now();
        }
    }

    #[test]
    fn chunks_cover_everything_once_and_in_order_whoever_helps() {
        let team = team(3);
        for helpers in [Helpers::Nobody, Helpers::Pool, Helpers::Team(&team)] {
            for (n, chunk, long) in (0..20).flat_map(|n| (1..8).flat_map(move |c| [(n, c, false), (n, c, true)])) {
                let all = chunks(helpers, long, 3..3 + n, chunk, |items| Ok(items.collect::<Vec<_>>())).unwrap();
                assert!(all.iter().all(|items| (1..=chunk).contains(&items.len())));
                assert_eq!(all.concat(), (3..3 + n).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn one_chunk_stays_on_the_thread_that_asks() {
        let here = thread::current().id();
        for long in [false, true] {
            let there = chunks(Helpers::Team(&team(2)), long, 0..5, 5, |_| Ok(thread::current().id())).unwrap();
            assert_eq!(there, [here]);
        }
        let there = chunks(Helpers::Nobody, true, 0..5, 1, |_| Ok(thread::current().id())).unwrap();
        assert_eq!(there, [here; 5]);
    }

    /// How many pieces are done alone, if each takes as long as `micros` says.
    fn alone(all: usize, micros: impl Fn(usize) -> u64) -> (usize, bool) {
        let (done, clock) = (Cell::new(0), Cell::new(0));
        let one = || {
            if done.get() == all {
                return false;
            }
            clock.set(clock.get() + micros(done.get()));
            done.set(done.get() + 1);
            true
        };
        let whole = alone_at_first(all, one, || Duration::from_micros(clock.get()));
        (done.get(), whole)
    }

    #[test]
    fn help_is_called_for_only_if_what_is_left_takes_longer_than_the_way() {
        assert_eq!(alone(10, |_| 3), (10, true), "a host's ten metrics");
        assert_eq!(alone(10, |_| 12), (10, true), "96 µs are left behind the second");
        assert_eq!(alone(10, |_| 13), (2, false), "104 µs are left behind the second");
        assert_eq!(alone(10, |piece| if piece == 0 { 44 } else { 12 }), (10, true), "the first one is cold");
        assert_eq!(alone(10, |_| 45), (1, false), "more than a cold one takes");
        assert_eq!(alone(10, |piece| if piece < 2 { 3 } else { 50 }), (4, false), "slower than at first");
        assert_eq!(alone(2, |_| 1_000_000), (2, true), "nobody can help with the last piece");
        assert_eq!(alone(256, |piece| if piece < 5 { 0 } else { 1_000 }), (8, false), "looks again");
        assert_eq!(alone(1 << 20, |_| 0), (1 << 20, true));
    }

    #[test]
    fn others_work_beside_the_thread_that_asks() {
        let team = team(2);
        let (begun, here) = (Mutex::new(false), thread::current().id());
        let who = chunks(Helpers::Team(&team), true, 0..2, 1, |piece| {
            if piece.start == 0 {
                await_set(&begun)
            } else {
                *begun.lock().unwrap() = true
            }
            Ok(thread::current().id())
        });
        let who = who.unwrap();
        assert!(who[0] != who[1] && who.contains(&here), "the one that asks is one of two");
    }

    #[test]
    fn of_several_errors_that_of_the_first_piece_is_answered_and_none_is_begun_after() {
        let team = team(2);
        let (later, begun) = (Mutex::new(false), Mutex::new(Vec::new()));
        let failed = share(
            Helpers::Team(&team),
            true,
            0..100,
            || Ok(()),
            |(), piece: usize| {
                begun.lock().unwrap().push(piece);
                match piece {
                    // Ends behind the one after it.
                    3 => await_set(&later),
                    4 => *later.lock().unwrap() = true,
                    _ => {}
                }
                if piece >= 3 { Err(piece) } else { Ok(()) }
            },
            Ok,
        );
        assert_eq!(failed, Err(3));
        assert!(begun.into_inner().unwrap().len() <= 5);
    }

    #[test]
    fn an_error_ends_the_queue_and_gives_way_to_one_of_an_earlier_piece() {
        let mut queue = Queue { pieces: (0..9).enumerate(), failed: None };
        assert_eq!(queue.take(), Some((0, 0)));
        [4, 3, 5].into_iter().for_each(|at| queue.fail(at, at));
        assert_eq!((queue.failed, queue.pieces.len()), (Some((3, 3)), 8));
        let mut queue = Queue { pieces: (0..9).enumerate(), failed: Some((1, 1)) };
        assert_eq!(queue.take(), None);
    }

    #[test]
    fn a_panic_beside_ends_the_query_and_gives_the_team_back() {
        let team = team(2);
        for panics in [0, 1] {
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                chunks(Helpers::Team(&team), true, 0..2, 1, |piece| {
                    assert_ne!(piece.start, panics, "as asked");
                    Ok(())
                })
            }));
            assert!(done.is_err());
        }
        assert_eq!(chunks(Helpers::Team(&team), true, 0..2, 1, |_| Ok(1)).unwrap(), [1, 1]);
        assert!(!format!("{team:?}").contains(", 1)"), "{team:?}");
    }
}

//! Work cut into chunks for the threads of a rayon pool, or for none.
//!
//! Handing work to another thread costs some ten microseconds, more than a small question
//! takes as a whole; and outside a pool rayon starts its global one. So work that makes
//! only one chunk stays on the thread that asks.

use std::ops::Range;

use rayon::prelude::*;

use crate::{QueryError, Threads};

/// Calls `one` with each chunk of `items`; answers in their order. The first error met ends it.
pub(crate) fn chunks<R: Send>(
    items: Range<usize>,
    chunk: usize,
    one: impl Fn(Range<usize>) -> Result<R, QueryError> + Sync,
) -> Result<Vec<R>, QueryError> {
    if items.len() <= chunk {
        return if items.is_empty() { Ok(Vec::new()) } else { Ok(vec![one(items)?]) };
    }
    let end = items.end;
    items.into_par_iter().step_by(chunk).map(|first| one(first..(first + chunk).min(end))).collect()
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
    use super::*;

    #[test]
    fn chunks_cover_everything_once_and_in_order() {
        for n in 0..20 {
            for chunk in 1..8 {
                let all = chunks(3..3 + n, chunk, |items| Ok(items.collect::<Vec<_>>())).unwrap();
                assert!(all.iter().all(|items| (1..=chunk).contains(&items.len())));
                assert_eq!(all.concat(), (3..3 + n).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn one_chunk_stays_on_the_thread_that_asks() {
        let here = std::thread::current().id();
        let there = chunks(0..5, 5, |_| Ok(std::thread::current().id())).unwrap();
        assert_eq!(there, [here]);
    }
}

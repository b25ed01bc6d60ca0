//! Reading an open tail while its one writer goes on.
#![allow(unsafe_code)]

use std::ptr::NonNull;

use super::buf::{Marks, TailBuf, len_at, with_pairs};
use super::{OpenTail, Origin, Pair, State};
use crate::sync::atomic::Ordering;
use crate::sync::epoch::Guard;
use crate::sync::{weakenable, weakenable_step};

/// What a reader found in a tail.
#[derive(Debug, PartialEq)]
pub enum TailView {
    /// Nothing of the generation asked for is in the tail: all its sealed chunks count.
    Elsewhere,
    /// The tail's samples were copied; only chunks of lower ordinal count beside them.
    Copied { ordinal: u32 },
}

impl OpenTail {
    /// Copies what the tail holds of the memtable `of` as of `commit`.
    pub(super) fn view(&self, guard: &Guard, of: Origin, commit: u64, out: &mut Vec<Pair>) -> TailView {
        match self.look(guard, of, commit, |pairs| out.extend_from_slice(pairs)) {
            Some((ordinal, ())) => TailView::Copied { ordinal },
            None => TailView::Elsewhere,
        }
    }

    /// The last sample of the tail, if it belongs to the memtable `of` and holds one as of `commit`. Nothing is copied.
    pub(super) fn last_at(&self, guard: &Guard, of: Origin, commit: u64) -> Option<Pair> {
        let (_, last) = self.look(guard, of, commit, |pairs| pairs.last().copied())?;
        last
    }

    /// Hands `take` what the tail holds of the memtable `of` as of `commit`, and answers its ordinal; `None` if
    /// nothing of that memtable is in it.
    fn look<R>(&self, _guard: &Guard, of: Origin, commit: u64, take: impl FnOnce(&[Pair]) -> R) -> Option<(u32, R)> {
        loop {
            // Acquire, both: see the stores they pair with. The order is T4's.
            let before = self.buf.load(weakenable!("tail_read_buf", Acquire));
            let state = State(self.state.load(weakenable!("tail_read_len", Acquire)));
            // Relaxed: it comes after the state by the Acquire there, and tells only whether to look again.
            if before != self.buf.load(Ordering::Relaxed) {
                continue; // Grown or sealed in between: each retry is another's progress.
            }
            let buf = NonNull::new(before)?;
            // SAFETY: the guard was taken before the load, so the buffer is not freed (T6).
            let header = unsafe { buf.as_ref() };
            let mut elsewhere = state.len() == 0;
            weakenable_step!("rotation_generation", elsewhere |= header.generation != of.generation);
            if elsewhere {
                return None;
            }
            // Acquire: the marks that `state` relies on came before it; one pushed since is read whole.
            let kept = header.marks.load(weakenable!("tail_read_mark", Acquire));
            // SAFETY: the guard keeps the marks of a buffer seen under it (T6).
            let marks = unsafe { Marks::new(kept) }.chain([state.touch(of.commit)]);
            let len = len_at(commit, state.len() as u32, marks) as usize;
            // The state belongs to this buffer or to an earlier, smaller copy of it (T4), so
            // these slots are inside it and published (T2).
            return Some((header.ordinal(), with_pairs(TailBuf::slots(buf), len, take)));
        }
    }

    /// The last sample of the tail, if it belongs to the memtable `of`, as of a commit that was published before `visible`
    /// answered or is the one it answers (T9). Nothing is copied.
    pub(super) fn newest(&self, _guard: &Guard, of: Origin, visible: impl Fn() -> u64) -> Option<Pair> {
        loop {
            // As in `look`.
            let before = self.buf.load(weakenable!("newest_buf", Acquire));
            let state = State(self.state.load(weakenable!("newest_len", Acquire)));
            if before != self.buf.load(Ordering::Relaxed) {
                continue; // Grown or sealed in between: each retry is another's progress.
            }
            let buf = NonNull::new(before)?;
            // SAFETY: the guard was taken before the load, so the buffer is not freed (T6).
            let header = unsafe { buf.as_ref() };
            if header.generation != of.generation {
                return None;
            }
            let len = if state.touch(of.commit).commit <= visible() { state.len() } else { state.base() };
            // The state belongs to this buffer or to an earlier, smaller copy of it (T4), so these slots are inside it
            // and published (T2).
            return with_pairs(TailBuf::slots(buf), len as usize, |pairs| pairs.last().copied());
        }
    }
}

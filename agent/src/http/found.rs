//! What a listing has found: sorted, each once, and charged to the memory of queries before it is kept.

use std::borrow::Borrow;
use std::collections::BTreeSet;

use tidegauge::query::{Budget, Held, QueryError};

use super::reply::put_notes;
use crate::ask::{Gone, Outlet};

/// What a thing weighs beside its own bytes, about: a place in a node of the set that is two thirds full, an allocation.
const BYTES_BESIDE: usize = 64;
/// The clock, and whether anybody still listens, are looked at once for so many.
const OFFERED_BETWEEN_CHECKS: u32 = 1024;

/// A set that grows within a budget.
pub(super) struct Found<T> {
    all: BTreeSet<T>,
    held: Option<Held>,
    budget: Budget,
    offered: u32,
    /// Why no more is kept.
    ended: Option<QueryError>,
}

/// A set that is whole, and stays charged.
#[derive(Debug)]
pub(super) struct Whole<T> {
    all: BTreeSet<T>,
    _held: Option<Held>,
}

impl<T: Ord> Found<T> {
    pub(super) fn new(budget: Budget) -> Self {
        Self { all: BTreeSet::new(), held: None, budget, offered: 0, ended: None }
    }

    /// What else the same request holds is charged here.
    pub(super) fn budget(&self) -> Budget {
        self.budget.clone()
    }

    /// Keeps what `make` makes of `one`, with `bytes` bytes of its own, unless it is there. False once there is no room
    /// or no time for more.
    pub(super) fn offer<Q>(&mut self, one: &Q, bytes: usize, make: impl FnOnce(&Q) -> T) -> bool
    where
        T: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        let kept = self.try_offer(one, bytes, make);
        self.ended = kept.err();
        self.ended.is_none()
    }

    fn try_offer<Q>(&mut self, one: &Q, bytes: usize, make: impl FnOnce(&Q) -> T) -> Result<(), QueryError>
    where
        T: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        self.offered += 1;
        if self.offered.is_multiple_of(OFFERED_BETWEEN_CHECKS) {
            self.budget.check()?;
        }
        if !self.all.contains(one) {
            let bytes = (bytes + BYTES_BESIDE) as u64;
            match &mut self.held {
                Some(held) => held.grow(bytes)?,
                none => *none = Some(self.budget.hold(bytes)?),
            }
            self.all.insert(make(one));
        }
        Ok(())
    }

    /// All of it, unless there was too much.
    pub(super) fn end(self) -> Result<Whole<T>, QueryError> {
        match self.ended {
            Some(why) => Err(why),
            None => Ok(Whole { all: self.all, _held: self.held }),
        }
    }
}

impl Found<String> {
    /// As [`offer`](Self::offer).
    pub(super) fn text(&mut self, text: &str) -> bool {
        self.offer(text, text.len(), str::to_owned)
    }
}

impl<T> Whole<T> {
    /// The envelope around a list of all, or of the first `limit` and a word about it.
    pub(super) fn write(
        self,
        out: &mut impl Outlet,
        limit: Option<usize>,
        put: fn(&mut Vec<u8>, &T),
    ) -> Result<(), Gone> {
        let limit = limit.unwrap_or(usize::MAX);
        out.buffer().extend_from_slice(b"{\"status\":\"success\",\"data\":[");
        for (i, one) in self.all.iter().take(limit).enumerate() {
            if i > 0 {
                out.buffer().push(b',');
            }
            put(out.buffer(), one);
            out.spill()?;
        }
        out.buffer().push(b']');
        let cut = self.all.len() > limit;
        let warnings = if cut { vec!["results truncated due to limit".to_owned()] } else { Vec::new() };
        put_notes(out.buffer(), &warnings, &[]);
        out.buffer().push(b'}');
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegauge::query::QueryLimits;

    fn found(memory_bytes: u64) -> Found<String> {
        Found::new(Budget::new(QueryLimits { memory_bytes, ..QueryLimits::DEFAULT }))
    }

    #[test]
    fn each_is_kept_and_charged_once_in_order() {
        let mut names = found(1 << 20);
        assert!(["b", "a", "b", "c", "a"].into_iter().all(|name| names.text(name)));
        let budget = names.budget();
        assert_eq!(budget.bytes_held(), 3 * (1 + BYTES_BESIDE as u64));
        let whole = names.end().unwrap();
        assert_eq!(budget.bytes_held(), 3 * (1 + BYTES_BESIDE as u64), "until it is sent");
        let mut out = Vec::new();
        whole.write(&mut out, Some(2), |out, name| out.extend_from_slice(name.as_bytes())).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with(r#"{"status":"success","data":[a,b],"warnings":["#), "{text}");
        assert_eq!(budget.bytes_held(), 0);
    }

    #[test]
    fn it_ends_before_there_is_too_much_and_says_why() {
        let mut names = found(1000);
        let kept = (0..).take_while(|n| names.text(&format!("{n:036}"))).count();
        assert_eq!(kept, 1000 / (36 + BYTES_BESIDE));
        assert!(names.budget().bytes_held() <= 1000);
        let why = names.end().map(drop).unwrap_err();
        assert!(why.to_string().contains("1000 bytes of memory"), "{why}");
    }

    #[test]
    fn it_ends_when_nobody_listens() {
        let cancel = tidegauge::query::Cancel::new();
        let mut names = Found::new(Budget::cancelled_by(QueryLimits::DEFAULT, cancel.clone()));
        assert!(names.text("a"));
        cancel.cancel();
        assert!((0..OFFERED_BETWEEN_CHECKS).any(|_| !names.text("a")));
        assert!(matches!(names.end(), Err(QueryError::Cancelled)));
    }
}

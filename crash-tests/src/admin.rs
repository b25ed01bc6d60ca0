//! Deletes, retention and copies, beside their twins (P9).

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use tidegauge::{DeleteError, Level, Matcher, Retention, RetentionError, RetentionRule, TimeRange, Timestamp};
use tidegauge_storage::fs::Fs;

use crate::acts::Act;
use crate::lane::Lane;
use crate::oracle::{Before, Copy, Found, Named, Op};
use crate::run::{BASE, Run, SERIES, Stopped, stopped};
use crate::script::Extent;
use crate::store;

/// Between the old samples, of 1970, and the others, of 2001, as long as this is run before 2041.
const AGE: Duration = Duration::from_secs(40 * 365 * 86_400);

impl Run {
    /// The worker orders it behind everything that is visible. Without a log it is durable before what is not
    /// flushed, so that is flushed first.
    pub(crate) fn delete(&mut self, extent: Extent) -> Result<(), Stopped> {
        if self.logs() {
            self.wait(Level::Visible)?
        } else {
            self.flush()?
        }
        let one = self.rng.below(self.lanes.len() as u64) as usize;
        let series = Some(self.rng.below(SERIES) as u8);
        let (lanes, named) = match extent {
            Extent::All => (0..self.lanes.len(), Named { series: None, from: i64::MIN, until: i64::MAX }),
            Extent::Series => (one..one + 1, Named { series, from: i64::MIN, until: i64::MAX }),
            Extent::Window => {
                let from = BASE + 1000 * self.rng.below(self.lanes[one].next_value) as i64;
                let until = from + 1000 * (1 + self.rng.below(self.lanes[one].next_value)) as i64;
                (one..one + 1, Named { series: series.filter(|n| *n > 0), from, until })
            }
        };
        let lane = (extent != Extent::All).then(|| self.lanes[one].id);
        let selector = selector(lane, named.series);
        let accepted = self.take(lanes.clone(), &Op::Delete(named));
        let at = |n: i64| if n == i64::MIN { Timestamp::MIN } else { Timestamp::from_nanos(n) };
        let begun = self.fs.steps();
        let deleted = self.engine().delete(&selector, TimeRange::new(at(named.from), at(named.until)));
        self.note_over(Act::Delete, begun);
        match deleted {
            Ok(_) => {
                self.note_act();
                self.note_durable();
                self.note_barrier();
                Ok(())
            }
            // It may be there or not.
            Err(
                e @ (DeleteError::Poisoned(_)
                | DeleteError::Closed
                | DeleteError::NotNoted { .. }
                | DeleteError::NotDurable { .. }),
            ) => Err(stopped("a delete", e)),
            Err(e) => {
                self.take_back(lanes, accepted);
                Err(stopped("a delete", e))
            }
        }
    }

    /// What is kept shrinks and never grows: what compaction has dropped by then nobody could tell.
    pub(crate) fn retain_age(&mut self, extent: Extent) -> Result<(), Stopped> {
        self.make_durable()?;
        let mut retention = self.engine().retention();
        let for_all = retention.rules.iter().any(|rule| rule.matchers.is_empty());
        let (series, matchers) = match extent {
            Extent::All => (None, Vec::new()),
            Extent::Series | Extent::Window => (Some(0), vec![Matcher::equal("n", "0")]),
        };
        if for_all || retention.rules.iter().any(|rule| rule.matchers == matchers) {
            return Ok(());
        }
        retention.rules.push(RetentionRule { matchers, max_age: Some(AGE) });
        let accepted = self.take(0..self.lanes.len(), &Op::Age { series, horizon: BASE / 2 });
        self.retain(retention, accepted)
    }

    /// Sets it; durable on return, as is all that the twin did for it.
    fn retain(&mut self, retention: Retention, accepted: Vec<Vec<Before>>) -> Result<(), Stopped> {
        let begun = self.fs.steps();
        let retained = self.engine().set_retention(retention);
        self.note_over(Act::Retention, begun);
        match retained {
            Ok(()) => {
                self.note_act();
                self.note_durable();
                self.note_barrier();
                Ok(())
            }
            Err(e @ (RetentionError::Poisoned(_) | RetentionError::Closed)) => Err(stopped("retention", e)),
            Err(e) => {
                self.take_back(0..self.lanes.len(), accepted);
                Err(stopped("retention", e))
            }
        }
    }

    /// The oldest segments go, and with them what lies beneath them. Which those are only the engine knows: the twin learns
    /// it afterwards, and from the beginning on any part of it may have happened, oldest first: nothing stored overlaps. What is there still is what
    /// was accepted last, and nothing went that lies behind all that the engine says it has dropped.
    pub(crate) fn retain_bytes(&mut self, percent: u64) -> Result<(), Stopped> {
        // A counter goes on from its last sample: the twin would have to know whether that was dropped.
        if self.lanes.iter().any(|lane| lane.counted().is_some()) {
            return Ok(());
        }
        self.flush()?;
        // Of late samples what was accepted later stays until its own segment goes: not the oldest first.
        if self.is_any_late() {
            self.engine().compact().map_err(|e| stopped("a compaction", e))?;
            if self.is_any_late() {
                return Ok(());
            }
        }
        // Nor what a job reads, until it has ended.
        self.idle()?;
        let begun = self.fs.steps();
        let before = self.engine().retention();
        let bytes = (self.engine().stats().segment_bytes * percent / 100).max(1);
        let refused = |e| stopped("retention by size", e);
        self.engine().set_retention(Retention { max_bytes: Some(bytes), ..before.clone() }).map_err(refused)?;
        self.note_act();
        let dropped = self.engine().compact().map_err(|e| stopped("a compaction", e));
        // From here on nothing more goes, once a drop that is under way is over.
        let set = self.engine().set_retention(before).map_err(refused);
        let over = self.engine().compact().map_err(|e| stopped("a compaction", e));
        self.note_over(Act::Retention, begun);
        let end = tidegauge::internals::dropped_before(self.engine()).nanos();
        let read = store::read(self.engine(), self.lanes.len());
        let found = read.as_ref().map_or(&[][..], |read| &read.lanes);
        let mut lost = None;
        for (lane, found) in self.lanes.iter_mut().zip(found) {
            for (at, keys) in lane.contents.lacking(found) {
                if at >= end {
                    lost = Some(format!("{at} is gone, though what was dropped lies before {end}"));
                }
                lane.contents.drop_all(&keys);
                lane.track.push(lane.contents.hash());
                lane.track.numbers.forget(lane.track.len(), None);
            }
            lane.track.begin(begun);
        }
        dropped.and(set).and(over)?;
        self.note_act();
        self.note_durable();
        let read = read.map_err(|e| stopped("reading", e))?;
        lost.map_or_else(|| self.check_all(&read.found), Err).map_err(|e| stopped("after retention by size", e))
    }

    /// Whether what is stored overlaps in time.
    fn is_any_late(&self) -> bool {
        let snapshot = self.engine().snapshot();
        let mut times: Vec<TimeRange> = snapshot.sources().iter().filter_map(|source| source.time_range()).collect();
        times.sort_by_key(|time| time.start);
        times.windows(2).any(|two| two[0].overlaps(&two[1]))
    }

    /// Waits until no job is at work.
    fn idle(&self) -> Result<(), Stopped> {
        let end = Instant::now() + store::SOON;
        while self.engine().stats().compacting {
            if Instant::now() > end {
                return Err(Stopped("compaction does not come to an end".to_owned()));
            }
            thread::yield_now();
        }
        Ok(())
    }

    /// A copy is a store of its own, with all that is visible now.
    pub(crate) fn back_up(&mut self) -> Result<(), Stopped> {
        self.wait(Level::Visible)?;
        let begun = self.fs.steps();
        // A recovered store may have a copy of that name: steps are counted anew there.
        let free = |dir: &PathBuf| self.fs.list(dir).is_err();
        let dir = (begun..).map(|n| PathBuf::from(format!("copy{n}"))).find(free).expect("names do not end");
        let lanes = self.lanes.iter().map(|lane| lane.contents.hash()).collect();
        let found = Found { lanes, metadata: self.metadata.last() };
        let copied = tidegauge::internals::backup_on(self.engine(), &dir).map_err(|e| stopped("a backup", e));
        let done = if copied.is_ok() { self.fs.steps() } else { u64::MAX };
        self.copies.push((begun, done, Copy { dir, found }));
        copied?;
        self.note_durable();
        Ok(())
    }

    fn make_durable(&mut self) -> Result<(), Stopped> {
        if self.logs() { self.wait(Level::Durable) } else { self.flush() }
    }

    /// The twins of some lanes take one operation: from now on it may be on the disk, in all of them or in none.
    fn take(&mut self, lanes: std::ops::Range<usize>, op: &Op) -> Vec<Vec<Before>> {
        if lanes.len() == self.lanes.len() {
            self.atomics.push(self.lanes.iter().map(|lane| lane.track.len()).collect());
        }
        let step = self.fs.steps();
        let one = |lane: &mut Lane| {
            let before = lane.contents.apply(op);
            lane.track.push(lane.contents.hash());
            lane.track.begin(step);
            lane.track.numbers.forget(lane.track.len(), op.series());
            vec![before]
        };
        self.lanes[lanes].iter_mut().map(one).collect()
    }

    /// It was refused: nothing of it is, or will be.
    fn take_back(&mut self, lanes: std::ops::Range<usize>, accepted: Vec<Vec<Before>>) {
        if lanes.len() == self.lanes.len() {
            self.atomics.pop();
        }
        for (lane, before) in self.lanes[lanes].iter_mut().zip(accepted) {
            lane.track.take_back(lane.track.len() - 1);
            lane.contents.take_back(before);
        }
    }

    /// An act that its audit line survives with.
    fn note_act(&mut self) {
        let acts = self.audited.last().map_or(0, |(_, n)| *n) + 1;
        self.audited.push((self.fs.steps(), acts));
    }
}

fn selector(lane: Option<u8>, series: Option<u8>) -> String {
    let lane = lane.map(|lane| format!("lane=\"{lane}\""));
    let series = series.map(|n| format!("n=\"{n}\""));
    format!("s{{{}}}", lane.into_iter().chain(series).collect::<Vec<_>>().join(","))
}

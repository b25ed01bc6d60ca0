//! What is worth a job, given what is there and what is at work already.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tidegauge_storage::model::{TimeRange, Timestamp, Tombstone};
use tidegauge_storage::segment::{Segment, SegmentInfo};
use tidegauge_storage::source::{AgeMask, ReadError};

use super::CompactError;
use super::asked::Asked;
use super::beside::{Due, Occupied, Plan, Turns, beside};
use super::compactor::CompactorParts;
use super::hidden::{Count, Hidden};
use super::input::Input;
use super::plan::{Job, Piece, Rules, Turn, Why, plan, plan_drop, plan_free};
use super::restraint::{Allowed, May};
use crate::clock;
use crate::delete::{TOMBSTONES_MAX, settled};
use crate::version::Version;
use crate::watch::{Worker, Working};

/// Samples deleted this long ago are removed even if they are few, nanoseconds: as many hours as bytes are to be written
/// for each that is given back, up to a day.
const HOUR: i64 = 3_600_000_000_000;
const HOURS_MAX: u64 = 24;
/// From here on each delete more leaves all of them less time, so that there is room again before they are too many.
const WAITING_MAX: usize = TOMBSTONES_MAX / 2;

/// What is remembered from one look to the next.
#[derive(Default)]
pub(super) struct Looked {
    /// Segments that could not be read: left alone until the next opening. And whether they are damaged: others hold what
    /// this build was made without.
    frozen: HashMap<u64, bool>,
    /// What was found hidden of segments.
    hidden: HashMap<u64, Hidden>,
    /// Segments of which retention by size has hidden a part rather than let them go, and whether there was a look since that
    /// might begin to write them anew.
    parted: HashMap<u64, bool>,
    turns: Turns,
}

/// What a look found.
pub(super) struct Found {
    pub(super) version: Arc<Version>,
    /// What compaction may leave out: deletes that survive a power loss, and horizons.
    pub(super) hiding: Vec<Arc<Tombstone>>,
    /// Which of these hide something in a segment that was counted.
    pub(super) hides: Vec<bool>,
    pub(super) pieces: Vec<Piece>,
}

pub(super) enum Look {
    Due(Due, Vec<Input>, Arc<[AgeMask]>),
    /// Once one of those at work has ended.
    Later,
    Nothing(Found),
}

impl Looked {
    /// Leaves segments alone from now on.
    pub(super) fn freeze(&mut self, ids: impl Iterator<Item = u64>, why: &ReadError) {
        let damaged = !matches!(why, ReadError::MissingFeature { .. });
        self.frozen.extend(ids.map(|id| (id, damaged)));
    }

    pub(super) fn freeze_damaged(&mut self, ids: impl Iterator<Item = u64>) {
        self.frozen.extend(ids.map(|id| (id, true)));
    }

    /// Whether a segment may be parted: once, if it can be read.
    pub(super) fn may_part(&self, id: u64) -> bool {
        !self.frozen.contains_key(&id) && !self.parted.contains_key(&id)
    }

    /// A segment is to be written anew without what retention by size hides of it.
    pub(super) fn parts(&mut self, id: Option<u64>) {
        self.parted.extend(id.map(|id| (id, false)));
    }

    /// Whether a segment that was parted waits for its turn to be written anew: other jobs have failed.
    pub(super) fn waits(&self, id: u64) -> bool {
        self.parted.get(&id) == Some(&false) && !self.frozen.contains_key(&id)
    }

    /// A job was begun.
    pub(super) fn begun(&mut self, due: &Due) {
        self.turns.begun(due);
    }

    /// A job ended that was begun when so much might be. One that writes anew and fails was the turn of what it reads, and
    /// where no other one is tried before everything is, that of all that wait. What merges, or was thrown away, was nobody's.
    pub(super) fn ended(&mut self, job: &Job, how: &Result<(), CompactError>, begun: May) {
        use CompactError::{Closed, Damaged, DiskFull, LacksFeature, Poisoned};
        let all = match how {
            Ok(()) | Err(Damaged { .. } | LacksFeature { .. } | Closed | Poisoned(_)) => return,
            Err(error) => begun != May::Everything || *error != DiskFull,
        };
        if job.why == Why::Rewrite {
            self.parted.iter_mut().filter(|(id, _)| all || job.inputs.contains(id)).for_each(|(_, had)| *had = true);
        }
    }

    /// A look found nothing that is worth a job: what it might have found had its turn, and never will be written anew.
    pub(super) fn found_nothing(&mut self, found: &Found, asked: Option<&Asked>, may: May) {
        // What is not covered, or hidden since all was asked for, is found by the next look.
        let is_seen = |p: &&Piece| asked.is_none_or(|asked| asked.covers(p.seq) && p.hidden > 0);
        for piece in found.pieces.iter().filter(is_seen) {
            self.parted.entry(piece.id).and_modify(|had| *had |= may != May::Drop);
        }
    }

    /// What there is, and what is hidden of it.
    pub(super) fn found(&mut self, parts: &CompactorParts, ages: &Arc<[AgeMask]>, asked: Option<&Asked>) -> Found {
        let core = &parts.core;
        // What deletes hide is read from segments, and who holds the manifest may hang.
        let work = core.watched.begin(Worker::Compact, "looking for what to compact");
        let version = core.versions.load();
        let mut hiding = settled(core, &parts.manifest, &version);
        let deletes = hiding.len();
        hiding.extend(version.horizons.iter().cloned());
        let mut hides = vec![false; hiding.len()];
        for segment in &version.segments {
            self.count(parts, segment, &hiding, ages, &work);
            self.hidden.get(&segment.info().id).into_iter().for_each(|hidden| hidden.note(&hiding, &mut hides));
        }
        // What hides nothing is about to be forgotten, and takes no place.
        let deletes = hides[..deletes].iter().filter(|hides| **hides).count();
        let pieces: Vec<Piece> = version.segments.iter().map(|s| self.piece(s, deletes, asked)).collect();
        let damaged = pieces.iter().filter(|p| self.frozen.get(&p.id) == Some(&true)).count();
        core.counters.damaged_segments(damaged as u64);
        let ids: HashSet<u64> = pieces.iter().map(|p| p.id).collect();
        self.hidden.retain(|id, _| ids.contains(id));
        self.parted.retain(|id, _| ids.contains(id));
        Found { version, hiding, hides, pieces }
    }

    /// The next job of those that are allowed, beside those in `running` (K11). A look alone takes nobody's turn:
    /// [`Self::begun`] does.
    pub(super) fn look(
        &mut self,
        parts: &CompactorParts,
        mut asked: Option<&mut Asked>,
        allowed: Allowed,
        running: &[Due],
    ) -> Look {
        let kept = &parts.core.kept;
        let ages = asked.as_mut().map_or_else(|| kept.coarse_ages(), |asked| asked.ages(kept));
        let asked = asked.as_deref();
        let found = self.found(parts, &ages, asked);
        let wanted = asked.is_some() || parts.options.in_background;
        // Retention and deletes hold in any case.
        let (plan, turn) = match allowed.may {
            May::Everything if wanted => (plan as Plan, self.turns.next()),
            May::Free if wanted => (plan_free as Plan, Turn::default()),
            _ => (plan_drop as Plan, Turn::default()),
        };
        let rules = Rules { most: allowed.most, turn, ..parts.rules(None) };
        let next = match asked {
            None => beside(&found.pieces, running, &rules, plan),
            Some(asked) => {
                let newer = || Self::newer(&found.pieces, asked, running, &rules, plan);
                let newer = if parts.options.in_background && self.turns.is_newers() { newer() } else { None };
                // All of this is done in the end, so nobody's turn comes first: what is merged leaves out what is hidden.
                let rules = Rules { most: allowed.most, ..parts.rules(Some(asked)) };
                let there: Vec<Piece> = found.pieces.iter().filter(|p| asked.covers(p.seq)).copied().collect();
                newer.map_or_else(|| beside(&there, running, &rules, plan), |due| Ok(Some(due)))
            }
        };
        let due = match next {
            Ok(Some(due)) => due,
            Ok(None) => return Look::Nothing(found),
            Err(Occupied) => return Look::Later,
        };
        let by_id: HashMap<u64, &Arc<Segment>> = found.version.segments.iter().map(|s| (s.info().id, s)).collect();
        let segments = due.job.inputs.iter().filter_map(|id| by_id.get(id).map(|segment| Arc::clone(segment)));
        // The version is let go here: nobody but the current one and snapshots shall hold segments that are buried.
        let keeps = |segment: &Segment| due.job.keeps.contains(&segment.info().id);
        let input = |segment: Arc<Segment>| {
            let keeps = keeps(&segment);
            Input::new(segment, &found.hiding, &ages, keeps)
        };
        let inputs = segments.map(input).collect();
        Look::Due(due, inputs, ages)
    }

    /// What is worth a job of what came since all was asked for: it must not pile up until that is done, however long that
    /// takes. What was there before stays in its way.
    fn newer(pieces: &[Piece], asked: &Asked, running: &[Due], rules: &Rules, plan: Plan) -> Option<Due> {
        let seen = |piece: &Piece| Piece { busy: asked.covers(piece.seq), ..*piece };
        let seen: Vec<Piece> = pieces.iter().map(seen).collect();
        let mut due = beside(&seen, running, &Rules { turn: Turn::default(), ..rules.clone() }, plan).ok().flatten()?;
        due.is_newer = true;
        Some(due)
    }

    /// What is hidden of a segment.
    fn count(
        &mut self,
        parts: &CompactorParts,
        segment: &Segment,
        hiding: &[Arc<Tombstone>],
        ages: &Arc<[AgeMask]>,
        work: &Working,
    ) {
        let info = segment.info();
        let hidden = match Hidden::count(segment, hiding, ages, self.hidden.get(&info.id), &|| work.gets_on()) {
            Ok(hidden) => hidden,
            Err(error) => {
                // It only is in the way. Whether anybody reads it, who would be told, nobody knows.
                if !self.frozen.contains_key(&info.id) {
                    self.freeze([info.id].into_iter(), &error);
                    parts.cannot_read(&error);
                }
                None
            }
        };
        match hidden {
            Some(hidden) => drop(self.hidden.insert(info.id, hidden)),
            None => drop(self.hidden.remove(&info.id)),
        }
    }

    /// A segment that was counted, while so many deletes wait.
    fn piece(&self, segment: &Segment, deletes: usize, asked: Option<&Asked>) -> Piece {
        let info = segment.info();
        let known = self.hidden.get(&info.id);
        let count = known.map_or(Count::NOTHING, |hidden| hidden.found);
        // What was hidden since all was asked for waits until that is done, or each delete would have it written anew.
        let later = |asked: &Asked| known.is_some_and(|hidden| !hidden.is_hidden_by(asked.through));
        let is_later = count.samples < info.samples && asked.is_some_and(later);
        Piece {
            id: info.id,
            seq: info.seq_range,
            time: time_of(info),
            late: info.late,
            bytes: info.file_bytes,
            created: info.created,
            samples: info.samples,
            hidden: if is_later { 0 } else { count.samples },
            aged: count.aged,
            // Of what is parted the part may have few samples.
            urgent: is_urgent(count, info.samples, deletes, clock::now().nanos()) || self.parted.contains_key(&info.id),
            damaged: self.frozen.contains_key(&info.id),
            busy: false,
            cold: info.cold,
        }
    }
}

/// From when to when a segment has samples. One that has the last timestamp of all alone begins before it: no range ends
/// there and leaves it out, so nothing can be cut there.
pub(super) fn time_of(info: &SegmentInfo) -> TimeRange {
    let time = info.time_range.unwrap_or(TimeRange::new(Timestamp::MIN, Timestamp::MIN));
    TimeRange { start: time.start.min(Timestamp::from_nanos(i64::MAX - 1)), ..time }
}

/// Whether what is hidden of a segment of so many samples is removed even if it is little.
fn is_urgent(hidden: Count, samples: u64, deletes: usize, now: i64) -> bool {
    let written = samples.saturating_sub(hidden.samples) / hidden.samples.max(1);
    let room = TOMBSTONES_MAX.saturating_sub(deletes.max(WAITING_MAX));
    // The last places: none, and so at once.
    let most = HOURS_MAX * room as u64 / (TOMBSTONES_MAX - WAITING_MAX) as u64;
    let hours = written.clamp(1, HOURS_MAX).min(most);
    // Made by a clock that was ahead: nobody knows when, and until that time comes is no time to wait.
    let is_ahead = now < hidden.since && hidden.since < i64::MAX;
    hidden.over_age || is_ahead || hidden.since.saturating_add(HOUR * hours as i64) <= now
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Retention by size let a segment go whole that it had parted, before anything could write the rest anew, if another
    /// job had failed meanwhile.
    #[test]
    fn what_is_parted_waits_for_a_look_that_may_write_it_anew() {
        let mut looked = Looked::default();
        assert!(looked.may_part(1) && !looked.waits(1));
        let parted = |id| {
            let mut looked = Looked::default();
            looked.parts(Some(id));
            assert!(!looked.may_part(id) && looked.waits(id));
            looked
        };
        let waits = |why, error: Option<CompactError>, begun| {
            let job = Job { inputs: vec![2], keeps: Vec::new(), cuts: Vec::new(), cold: false, why };
            let how = error.map_or(Ok(()), Err);
            [1, 2].map(|id| {
                let mut looked = parted(id);
                looked.ended(&job, &how, begun);
                looked.waits(id)
            })
        };
        let (full, failed) = (CompactError::DiskFull, CompactError::Failed { cause: String::new() });
        assert_eq!(
            waits(Why::Join, Some(full.clone()), May::Everything),
            [true; 2],
            "it may be written anew all the same"
        );
        assert_eq!(waits(Why::Join, Some(failed.clone()), May::Everything), [true; 2], "others were tried");
        assert_eq!(waits(Why::Rewrite, None, May::Everything), [true; 2], "thrown away");
        assert_eq!(
            waits(Why::Rewrite, Some(full.clone()), May::Everything),
            [true, false],
            "one that leaves less is next"
        );
        assert_eq!(waits(Why::Rewrite, Some(full), May::Free), [false; 2], "and that did not fit");
        assert_eq!(waits(Why::Rewrite, Some(failed), May::Everything), [false; 2]);
        assert!(!parted(1).may_part(1));
        looked.parts(Some(3));
        looked.freeze_damaged([3].into_iter());
        assert!(!looked.waits(3), "it never will be");
    }

    /// An hour after each delete of one series in all segments the whole store was written anew.
    #[test]
    fn few_deleted_samples_wait_for_as_many_hours_as_their_removal_costs() {
        let deleted = |samples| Count { samples, ..Count { since: 0, ..Count::NOTHING } };
        let after = |hidden, deletes| (0..100).find(|hours| is_urgent(hidden, 1_000, deletes, hours * HOUR));
        assert_eq!([300, 200, 100, 50, 10, 1].map(|few| after(deleted(few), 1)), [2, 4, 9, 19, 24, 24].map(Some));
        assert_eq!(after(deleted(600), 1), Some(1));
        // A burst of more deletes than half of what may wait was left for an hour, however few places there were.
        let waits = [500, 501, 750, 958, 959, 979, 980, 1_000].map(|deletes| after(deleted(1), deletes).unwrap());
        assert_eq!(waits, [24, 23, 12, 2, 1, 1, 0, 0]);
        assert_eq!(after(deleted(200), 750), Some(4), "what costs little has less time anyway");
        let ahead = Count { since: 100 * HOUR, ..deleted(1) };
        assert_eq!(after(ahead, 1), Some(0), "by a clock that was ahead it waited until then, and a day");
        assert_eq!(after(Count { samples: 1, ..Count::NOTHING }, 1), None, "for its age it waits until all is");
        assert_eq!(after(Count { samples: 1, over_age: true, ..Count::NOTHING }, 1), Some(0));
    }
}

//! What a workload was about when the power failed.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use tidegauge_storage::fs::sim::{NameStep, Timeline};
use tidegauge_storage::wal::Epoch;

/// Where the log lies.
const LOG: &str = "wal";

/// Something whose parts a crash may come between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// The log goes on in another file, and the power fails before that file's name is durable.
    Rotate,
    /// Samples go from memory to segments: asked for, and not answered.
    Flush,
    /// Segments are replaced by fewer ones: asked for, and not answered.
    Compact,
    /// Samples are deleted: asked for, and not answered.
    Delete,
    /// A rule of retention is set, and what it hides is dropped: asked for, and not answered.
    Retention,
    /// As [`Rotate`](Self::Rotate), where the file had another name and other frames before.
    Recycling,
    /// An atomic batch: asked for, and not answered.
    Batch,
}

impl Act {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Rotate, Self::Flush, Self::Compact, Self::Delete, Self::Retention, Self::Recycling, Self::Batch];

    fn name(self) -> &'static str {
        match self {
            Self::Rotate => "rotate",
            Self::Flush => "flush",
            Self::Compact => "compact",
            Self::Delete => "delete",
            Self::Retention => "retention",
            Self::Recycling => "recycling",
            Self::Batch => "batch",
        }
    }
}

/// Which acts were under way at which steps of a disk.
#[derive(Clone, Debug, Default)]
pub struct Acts(Vec<(Act, RangeInclusive<u64>)>);

impl Acts {
    /// An act that began when `before` steps were taken, and was over when `after` were. Between them lie the disks on
    /// which the first of its steps was taken, or a later one.
    pub fn note(&mut self, act: Act, before: u64, after: u64) {
        if after > before {
            self.0.push((act, before + 1..=after));
        }
    }

    /// Where the log went on in another file, as the disk has it.
    pub fn note_log(&mut self, timeline: &Timeline) {
        let mut open: Vec<(Act, u64)> = Vec::new();
        for (step, change) in timeline.name_steps() {
            match change {
                NameStep::Made(path) if goes_on(path) => open.push((Act::Rotate, step)),
                NameStep::Renamed(from, path) if goes_on(path) => {
                    open.push((Act::Rotate, step));
                    if epoch(from).is_some() {
                        open.push((Act::Recycling, step));
                    }
                }
                NameStep::Synced(dir) if dir.ends_with(LOG) => {
                    open.drain(..).for_each(|(act, since)| self.note(act, since, step));
                }
                _ => {}
            }
        }
        // Killed, or closed, before its name was durable.
        open.drain(..).for_each(|(act, since)| self.note(act, since, timeline.end()));
    }

    /// Whether such an act was over when so many steps were taken.
    pub(crate) fn is_behind(&self, act: Act, step: u64) -> bool {
        self.0.iter().any(|(one, steps)| *one == act && *steps.end() <= step)
    }

    /// Whether such an act was begun by then.
    pub(crate) fn is_begun(&self, act: Act, step: u64) -> bool {
        self.0.iter().any(|(one, steps)| *one == act && *steps.start() <= step)
    }

    /// Those that were under way when so many steps were taken, each once.
    pub(crate) fn at(&self, step: u64) -> impl Iterator<Item = Act> + '_ {
        Act::ALL.into_iter().filter(move |act| self.0.iter().any(|(one, steps)| one == act && steps.contains(&step)))
    }
}

fn epoch(path: &Path) -> Option<Epoch> {
    let name = path.file_name()?.to_str()?;
    path.parent()?.ends_with(LOG).then(|| Epoch::from_file_name(name)).flatten()
}

/// Another file than the first of its opening.
fn goes_on(path: &Path) -> bool {
    epoch(path).is_some_and(|epoch| epoch != Epoch::new(epoch.open_number(), 0))
}

/// How many crash points fell while each act was under way; several may have been.
#[derive(Debug, Default)]
pub struct PerAct([AtomicU64; Act::ALL.len()]);

impl PerAct {
    /// One more, when so many steps were taken.
    pub fn count(&self, acts: &Acts, step: u64) {
        for act in acts.at(step) {
            self.0[act as usize].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// So far.
    #[must_use]
    pub fn of(&self, act: Act) -> u64 {
        self.0[act as usize].load(Ordering::Relaxed)
    }

    /// The first act with fewer than `least`.
    #[must_use]
    pub fn short_of(&self, least: u64) -> Option<Act> {
        Act::ALL.into_iter().find(|act| self.of(*act) < least)
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl fmt::Display for PerAct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "crash points while it was under way")?;
        Act::ALL.into_iter().try_for_each(|act| write!(f, "\n  {act:<9} {:>9}", self.of(act)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tidegauge_storage::fs::Fs;
    use tidegauge_storage::fs::sim::SimFs;

    use super::*;

    fn at(acts: &Acts) -> Vec<Vec<Act>> {
        (0..9).map(|step| acts.at(step).collect()).collect()
    }

    #[test]
    fn an_act_is_under_way_from_its_first_step_to_its_last() {
        let mut acts = Acts::default();
        acts.note(Act::Flush, 2, 2);
        acts.note(Act::Delete, 1, 3);
        acts.note(Act::Delete, 2, 4);
        let delete = || vec![Act::Delete];
        assert_eq!(at(&acts), [vec![], vec![], delete(), delete(), delete(), vec![], vec![], vec![], vec![]]);
        let per_act = PerAct::default();
        (0..9).for_each(|step| per_act.count(&acts, step));
        assert_eq!((per_act.of(Act::Delete), per_act.of(Act::Flush), per_act.short_of(1)), (3, 0, Some(Act::Rotate)));
    }

    #[test]
    fn a_new_file_of_the_log_is_a_rotation_until_its_name_is_durable_and_one_under_a_new_name_is_recycled() {
        let (fs, dir) = (SimFs::new(), Path::new("d/wal"));
        fs.create_dir_all(dir).unwrap();
        fs.record();
        let first = fs.steps();
        let name = |count| dir.join(Epoch::new(1, count).file_name());
        // The first file of an opening.
        drop(fs.create(&name(0)).unwrap());
        let file = fs.create(&name(1)).unwrap();
        file.write_all_at(0, b"frame").unwrap();
        fs.sync_dir(dir).unwrap();
        file.sync_data().unwrap();
        fs.rename(&name(1), &name(2)).unwrap();
        drop(fs.create(&dir.join("other")).unwrap());
        let (fs, timeline) = (Arc::new(fs.clone()), fs.timeline());
        assert_eq!(fs.steps(), timeline.end());
        let mut acts = Acts::default();
        acts.note_log(&timeline);
        let new = || vec![Act::Rotate];
        let again = || vec![Act::Rotate, Act::Recycling];
        let expected = [vec![], vec![], new(), new(), vec![], vec![], again(), again()];
        let found: Vec<Vec<Act>> = (first..=timeline.end()).map(|step| acts.at(step).collect()).collect();
        assert_eq!(found, expected);
    }
}

//! A new life of the log: committed before anything is written to it.

use std::sync::Arc;

use tidegauge_storage::manifest::{Edit, Horizon, Manifest, ManifestError, State};
use tidegauge_storage::model::{SeqNo, Tombstone};
use tidegauge_storage::wal::{NUMBER_GAP, WalRelease};

use super::log::Logged;
use super::reserve::LogReserve;
use super::store::Place;
use crate::clock;
use crate::error::OpenError;
use crate::replay::Replayed;

/// What the opening goes on with.
pub(super) struct Begun {
    pub(super) replayed: Replayed,
    /// What lets the log go, once nothing of it is needed.
    pub(super) released: WalRelease,
    /// Number of the next sample.
    pub(super) seq: u64,
    /// Samples that came out of the log.
    pub(super) recovered: u64,
    /// Whether the log's reserve was given up for the opening.
    pub(super) reserve_given_up: bool,
}

impl Begun {
    pub(super) fn of(
        logged: Logged<'_>,
        manifest: &mut Manifest,
        place: &Place,
        mut reserve: LogReserve,
    ) -> Result<Self, OpenError> {
        let greatest = logged.end(manifest.state());
        let Logged { replayer, recovered, of_audit, .. } = logged;
        let life = recovered.life(manifest.state().open_number);
        let released = WalRelease {
            oldest_epoch: life.live_epoch,
            next_frame: life.first_frame,
            synced_through: life.synced_through,
        };
        let seq = if greatest == 0 { 1 } else { greatest + NUMBER_GAP };
        let replayed = replayer.finish(seq);
        let mut edits = vec![Edit::WalLife(life)];
        // From here on there is more than they hide.
        edits.extend(close_horizons(manifest.state(), SeqNo(seq - 1)));
        let beginning = edits.len();
        // Before the log lets go of them.
        let unknown = replayed.tombstones.iter().filter(|t| !manifest.state().tombstones.contains_key(&t.seq));
        edits.extend(unknown.map(|t| Edit::TombstoneAdd(Tombstone::clone(t))));
        if replayed.sealed.is_empty() {
            edits.push(Edit::WalRelease(released));
        }
        let short_of_space = reserve.given_up && !replayed.sealed.is_empty() && !of_audit;
        match commit_life(manifest, &edits, beginning, short_of_space) {
            Err(ManifestError::NoSpace { .. }) => {
                let known = manifest.state().wal.clone();
                // The log does not have what the audit log told.
                let least = if of_audit { &edits[..] } else { &edits[..beginning] };
                reserve.or_without(Some((&recovered, &known)), || Ok(manifest.commit(least)?))?;
            }
            other => other?,
        }
        if reserve.given_up {
            recovered.give_back(&*place.fs, &manifest.state().wal);
        }
        let (recovered, reserve_given_up) = (recovered.samples, reserve.given_up);
        Ok(Self { replayed, released, seq, recovered, reserve_given_up })
    }
}

/// Commits the new life of the log, which the first `beginning` edits are, the deletes of the log, and that it may go if
/// nothing else is in it. With `short_of_space` it keeps its deletes until the flush of what it has saves them (X5).
fn commit_life(
    manifest: &mut Manifest,
    edits: &[Edit],
    beginning: usize,
    short_of_space: bool,
) -> Result<(), ManifestError> {
    if short_of_space && edits.len() > beginning {
        return manifest.commit(&edits[..beginning]);
    }
    if matches!(edits.last(), Some(Edit::WalRelease(_))) {
        // What it takes in the manifest, it gives back of the log.
        return manifest.commit(edits);
    }
    manifest.commit_beside_reserve(edits)
}

/// The deletes that the manifest knows, and those that only the log has, by number.
pub(crate) fn known_tombstones(manifest: &Manifest, logged: &[Arc<Tombstone>]) -> Vec<Arc<Tombstone>> {
    let mut all = manifest.state().tombstones.clone();
    all.extend(logged.iter().map(|t| (t.seq, Tombstone::clone(t))));
    all.into_values().map(Arc::new).collect()
}

/// Gives horizons of all that there is the last number of it.
fn close_horizons(state: &State, through: SeqNo) -> Vec<Edit> {
    let open = state.horizons.iter().filter(|horizon| horizon.is_open());
    let close = |horizon: &Horizon| {
        let gone = Edit::HorizonRemove { before: horizon.before, through: horizon.through };
        [gone, Edit::Horizon(Horizon { through, created: clock::now().nanos(), ..*horizon })]
    };
    open.flat_map(close).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tidegauge_storage::fs::Fs;
    use tidegauge_storage::fs::sim::SimFs;
    use tidegauge_storage::model::{Matcher, TimeRange, Timestamp};
    use tidegauge_storage::wal::{Epoch, FrameNo, WalLife};

    use super::*;

    /// What else begins with a new life was left out where space was short, horizons among it: a store of an earlier release
    /// went on with those of all numbers, which hid what came then.
    #[test]
    fn without_space_all_that_begins_a_life_is_committed_and_no_delete() {
        let fs = Arc::new(SimFs::new()) as Arc<dyn Fs>;
        fs.create_dir_all(Path::new("d")).unwrap();
        for short in [true, false] {
            let mut manifest = Manifest::read_to_open(Arc::clone(&fs), Path::new("d")).unwrap();
            manifest.begin().unwrap();
            let first_frame = FrameNo(manifest.state().wal.next_frame.0 + 1);
            let live_epoch = Epoch::new(manifest.state().open_number, 0);
            let life = WalLife { live_epoch, first_frame, synced_through: FrameNo(0), ends: Default::default() };
            let horizon = |through| Horizon { before: Timestamp::from_nanos(7), through, created: 0 };
            let open = horizon(SeqNo(u64::MAX));
            if manifest.state().horizons.iter().next().is_none() {
                manifest.commit(&[Edit::Horizon(open)]).unwrap();
            }
            let mut edits = vec![Edit::WalLife(life)];
            edits.extend(close_horizons(manifest.state(), SeqNo(9)));
            let (beginning, seq) = (edits.len(), SeqNo(5));
            let matchers = vec![Matcher::equal("a", "b")];
            edits.push(Edit::TombstoneAdd(Tombstone { seq, matchers, range: TimeRange::ALL, created: 0 }));
            commit_life(&mut manifest, &edits, beginning, short).unwrap();
            assert!(manifest.state().horizons.iter().all(|horizon| !horizon.is_open()));
            assert_eq!(manifest.state().tombstones.is_empty(), short);
        }
    }
}

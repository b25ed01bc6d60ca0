//! From the text that names a series to the engine's id, and which series are still there.

use std::collections::{HashMap, HashSet};

use tidegauge::SeriesId;

/// A cache of one target's series, and the memory of who was there in the last round.
///
/// Bounded by what the target shows: what is missing from a round is forgotten at its end.
#[derive(Debug, Default)]
pub(super) struct SeriesCache {
    entries: HashMap<Box<[u8]>, Entry>,
    round: u64,
}

#[derive(Debug)]
struct Entry {
    id: SeriesId,
    since: u64,
    round: u64,
    tracked: bool,
}

impl SeriesCache {
    /// The id of the series named by `text`, resolved if it was not there in the last round.
    /// `tracked` says whether its end is to be marked: samples that bring their own
    /// timestamps end by themselves.
    pub(super) fn id<E>(
        &mut self,
        text: &[u8],
        tracked: bool,
        resolve: impl FnOnce() -> Result<SeriesId, E>,
    ) -> Result<SeriesId, E> {
        if let Some(entry) = self.entries.get_mut(text) {
            (entry.round, entry.tracked) = (self.round, tracked);
            return Ok(entry.id);
        }
        let id = resolve()?;
        self.entries.insert(text.into(), Entry { id, since: self.round, round: self.round, tracked });
        Ok(id)
    }

    /// Ends a round that succeeded: hands over the series that were there before and are gone.
    pub(super) fn end_round(&mut self, mut gone: impl FnMut(SeriesId)) {
        let round = self.round;
        self.round += 1;
        if self.entries.values().all(|entry| entry.round == round) {
            return;
        }
        // A target may write the labels of one series in another order from now on.
        let still: HashSet<SeriesId> = self.entries.values().filter(|e| e.round == round).map(|e| e.id).collect();
        let mut told = HashSet::new();
        self.entries.retain(|_, entry| {
            let stays = entry.round == round;
            if !stays && entry.tracked && !still.contains(&entry.id) && told.insert(entry.id) {
                gone(entry.id);
            }
            stays
        });
    }

    /// Ends a round that failed: all series of the rounds before are gone.
    pub(super) fn end_all(&mut self, mut gone: impl FnMut(SeriesId)) {
        let round = self.round;
        self.round += 1;
        let mut told = HashSet::new();
        for (_, entry) in self.entries.drain() {
            // What the failed round was the first to show never had a sample.
            if entry.tracked && entry.since < round && told.insert(entry.id) {
                gone(entry.id);
            }
        }
    }

    /// Forgets everything: the engine no longer knows these ids.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }
}

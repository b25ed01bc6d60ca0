//! Reading the log as recovery would.

use std::collections::HashSet;
use std::path::Path;

use tidegauge_storage::fs::Fs;
use tidegauge_storage::manifest::{ManifestError, State};
use tidegauge_storage::wal::{GenerationId, LostRange, RecoverMode, Recovered, Refused, Replay, WalError, recover};

use super::{Damage, StoreReport};
use crate::error::OpenError;
use crate::lock::Owner;

/// Adds what the log holds to `report`. Answers false if it `moved` meanwhile: then nothing was added.
pub(super) fn verify_log(
    fs: &dyn Fs,
    dir: &Path,
    state: &State,
    owner: Option<&Owner>,
    moved: &mut dyn FnMut() -> Result<bool, ManifestError>,
    report: &mut StoreReport,
) -> Result<bool, OpenError> {
    let first = read(fs, dir, state);
    if moved()? {
        return Ok(false);
    }
    let recovered = match first {
        Ok(recovered) => recovered,
        Err(WalError::Io { file, source }) => {
            report.damage.push(Damage { file, offset: 0, what: source.to_string() });
            return Ok(true);
        }
        Err(e) => return Err(e.into()),
    };
    if !recovered.lost.is_empty() {
        let again = read(fs, dir, state);
        if moved()? {
            return Ok(false);
        }
        let again = again?.lost;
        // VF3.
        let holds = |hole: &&LostRange| {
            again.iter().any(|h| (h.epoch, h.offset, h.first) == (hole.epoch, hole.offset, hole.first))
        };
        report.damage.extend(recovered.lost.iter().filter(holds).map(|hole| Damage {
            file: hole.file.clone(),
            offset: hole.offset,
            what: format!("{} (frame {})", hole.what, hole.first.0),
        }));
    }
    report.log_frames += recovered.frames;
    report.log_samples += recovered.samples;
    if let Some(torn) = recovered.torn_tail {
        let place = format!("byte {} of {}", torn.offset, torn.file.display());
        let behind = torn.behind.map_or(String::new(), |behind| {
            format!(
                " ({behind}; opening with salvage, `tidegauge repair`, keeps the files in quarantine, any other opening \
                 lets go of them)"
            )
        });
        report.notes.push(match owner {
            Some(owner) => format!("the log was read up to {place}: {owner} is writing there"),
            None => format!(
                "the log ends in a torn tail at {place}: not known to have been durable, cut at the next opening{behind}"
            ),
        });
    }
    Ok(true)
}

fn read(fs: &dyn Fs, dir: &Path, state: &State) -> Result<Recovered, WalError> {
    let mut defined: HashSet<u32> = HashSet::new();
    let mut current: Option<GenerationId> = None;
    let mut enter = |generation: GenerationId, defined: &mut HashSet<u32>| {
        if current.replace(generation) != Some(generation) {
            defined.clear();
        }
    };
    recover(fs, &dir.join("wal"), state.store_id, &state.wal, RecoverMode::Salvage, &mut |piece| {
        match piece {
            Replay::Define { generation, series, .. } => {
                enter(generation, &mut defined);
                defined.insert(series);
            }
            Replay::Samples { generation, samples, .. } => {
                enter(generation, &mut defined);
                if !samples.iter().all(|sample| defined.contains(&sample.series)) {
                    return Err(Refused("a sample of an undefined series"));
                }
            }
            _ => {}
        }
        Ok(())
    })
}

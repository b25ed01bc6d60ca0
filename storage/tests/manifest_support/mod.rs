//! Manifests of every kind of edit, and ways to hurt them.

#![allow(dead_code, reason = "each test file uses a part")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tidegauge_storage::fs::Fs;
use tidegauge_storage::fs::sim::SimFs;
use tidegauge_storage::manifest::{
    Edit, Horizon, Manifest, ManifestError, Metadata, Retention, RetentionRule, SegmentRef, State,
};
use tidegauge_storage::model::{MatchOp, Matcher, SeqNo, SeqRange, TimeRange, Timestamp, Tombstone};
use tidegauge_storage::wal::{Epoch, EpochEnd, FrameNo, WalLife, WalRelease};

pub(crate) const DIR: &str = "store/data";

pub(crate) fn arc(fs: &SimFs) -> Arc<dyn Fs> {
    Arc::new(fs.clone())
}

pub(crate) fn open(fs: &SimFs) -> Result<Manifest, ManifestError> {
    Manifest::open_or_create(arc(fs), DIR)
}

pub(crate) fn segment(id: u64) -> SegmentRef {
    SegmentRef {
        id,
        seq_range: SeqRange { start: SeqNo(10 * id), end: SeqNo(10 * id + 10) },
        time_range: TimeRange::new(Timestamp::from_nanos(-5), Timestamp::from_nanos(id as i64)),
        late: id % 2 == 1,
        bytes: 1000 + id,
        samples: 10,
        series: 3,
        level: id % 3,
    }
}

pub(crate) fn metadata(metric: &str, help: &str) -> Edit {
    let metadata = Metadata { kind: "gauge".into(), help: help.into(), unit: "seconds".into() };
    Edit::Metadata { metric: metric.into(), metadata }
}

pub(crate) fn tombstone(step: u64) -> Tombstone {
    let regex = Matcher::new("host", MatchOp::Regex, format!("web{step}.*")).unwrap();
    let range = TimeRange::new(Timestamp::MIN, Timestamp::from_nanos(step as i64));
    Tombstone { seq: SeqNo(step * 10), matchers: vec![Matcher::equal("job", "old"), regex], range, created: 5 }
}

/// A number of edits of every kind, as an engine would make them.
pub(crate) fn edits(step: u64, manifest: &Manifest) -> Vec<Edit> {
    let wal = &manifest.state().wal;
    match step % 8 {
        0 => vec![Edit::SegmentAdd(segment(step)), Edit::NextSegment(step + 5)],
        1 => vec![metadata(&format!("m{step}"), "how much"), metadata("same", &format!("at {step}"))],
        2 => vec![Edit::Numbers { next_seq: SeqNo(1000 * step), greatest_frame: FrameNo(step) }],
        3 => vec![Edit::WalLife(WalLife {
            live_epoch: Epoch(wal.live_epoch.0 + 10),
            first_frame: FrameNo(wal.next_frame.0 + 100),
            synced_through: FrameNo(wal.next_frame.0 - 1),
            ends: (0..3)
                .map(|i| (Epoch(wal.live_epoch.0 + i), EpochEnd { first: FrameNo(i), last: FrameNo(i + 1) }))
                .collect(),
        })],
        4 => vec![
            Edit::WalRelease(WalRelease {
                oldest_epoch: Epoch(wal.live_epoch.0 + 1),
                next_frame: FrameNo(wal.next_frame.0 + 7),
                synced_through: FrameNo(wal.next_frame.0 + 3),
            }),
            Edit::Flushed(SeqNo(1_000 * step)),
        ],
        5 => vec![
            Edit::TombstoneAdd(tombstone(step)),
            Edit::Retention(Retention {
                rules: vec![RetentionRule {
                    matchers: tombstone(step).matchers,
                    max_age: Some(Duration::from_secs(step)),
                }],
                max_bytes: step.is_multiple_of(2).then_some(step),
            }),
        ],
        6 => {
            let forgotten = manifest.state().tombstones.keys().next().map(|seq| Edit::TombstoneRemove(*seq));
            // The second one is later in time and of a lower number: the first one goes, the others stand beside each other.
            let horizon = |n: u64| Horizon {
                before: Timestamp::from_nanos((step + n) as i64),
                through: SeqNo(1_000 - step - n),
                created: n as i64,
            };
            let first = manifest.state().horizons.iter().next().copied();
            let gone = first.map(|Horizon { before, through, .. }| Edit::HorizonRemove { before, through });
            let made = (0..2).map(|n| Edit::Horizon(horizon(n)));
            gone.into_iter().chain(made).chain(forgotten).collect()
        }
        _ => manifest.state().segments.keys().next().map(|id| Edit::SegmentRemove(*id)).into_iter().collect(),
    }
}

/// A store of a few commits, its bytes, and what it holds.
pub(crate) fn stored() -> (SimFs, Vec<u8>, State) {
    let fs = SimFs::new();
    let mut manifest = open(&fs).unwrap();
    for step in 0..12 {
        manifest.commit(&edits(step, &manifest)).unwrap();
    }
    manifest.witness().unwrap();
    let bytes = fs.map(&Path::new(DIR).join("MANIFEST")).unwrap().to_vec();
    let used = (bytes.iter().rposition(|b| *b != 0).unwrap() + 1).next_multiple_of(8);
    (fs, bytes[..used].to_vec(), manifest.state().clone())
}

pub(crate) fn replace(fs: &SimFs, bytes: &[u8]) {
    let file = fs.open(&Path::new(DIR).join("MANIFEST")).unwrap();
    file.set_len(0).unwrap();
    file.write_all_at(0, bytes).unwrap();
}

/// Whether opening the damaged `bytes` gives a named error. If not, everything must be there all the same.
pub(crate) fn refused(fs: &SimFs, bytes: &[u8], last: &State, how: &str) -> bool {
    replace(fs, bytes);
    match Manifest::open_read_only(arc(fs), DIR) {
        Ok(manifest) => {
            assert_eq!(manifest.state(), last, "{how}");
            false
        }
        Err(ManifestError::Corrupt { .. } | ManifestError::TooNew { .. }) => true,
        Err(e) => panic!("{how}: {e}"),
    }
}

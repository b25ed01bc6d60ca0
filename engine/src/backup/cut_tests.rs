//! A copy has a delete wholly or not at all (BK5).

use std::sync::Arc;
use std::time::Duration;

use tidegauge_storage::fs::Fs;
use tidegauge_storage::fs::sim::SimFs;
use tidegauge_storage::model::{LabelLimits, SeqNo, TimeRange, Timestamp, Tombstone};

use super::Cut;
use crate::commit::{Visible, Watermark};
use crate::core::SeriesSample;
use crate::engine::Engine;
use crate::error::DeleteError;
use crate::faults::{SOON, series};
use crate::full_files::{delete_until, no_more_files};
use crate::gate::Shortage;
use crate::memtable::{Added, Memtable};
use crate::options::{Builder, Durability, Level};
use crate::registry::Registry;
use crate::version::Version;

fn open(fs: &SimFs) -> Engine {
    let mut builder = Builder::new(None).durability(Durability::Interval(Duration::from_millis(5)));
    builder = builder.background_compaction(false);
    builder.fs = Some(Arc::new(fs.clone()) as Arc<dyn Fs>);
    builder.open().unwrap()
}

fn push(engine: &Engine, samples: &[(usize, i64, f64)]) {
    let sample = |&(host, at, value)| SeriesSample::new(series(engine, host), Timestamp::from_nanos(at), value);
    let ack = engine.push_batch(&samples.iter().map(sample).collect::<Vec<_>>()).unwrap();
    engine.wait(ack, Level::Visible, SOON).unwrap();
}

/// A delete that found nothing in memory was carried out beside the copy, and with the first sample that came behind it
/// left out of the copy: what the deleted value had overwritten was shown there.
#[test]
fn bk5_a_delete_that_is_carried_out_beside_a_copy_is_in_it() {
    let fs = SimFs::new();
    let engine = open(&fs);
    let many = (0..2_000).map(|i| (1, i, 0.0));
    push(&engine, &many.chain([(0, 5, 1.0)]).collect::<Vec<_>>());
    engine.flush().unwrap();
    push(&engine, &[(0, 5, 2.0)]);
    engine.flush().unwrap();
    assert_eq!(engine.stats().segments, 2);
    let life = engine.life();
    let (cut, visible) = Cut::begin(life).unwrap();
    let deleted = engine.delete("cpu{host=\"0\"}", TimeRange::ALL).unwrap();
    let deadline = std::time::Instant::now() + SOON;
    while engine.stats().segments > 1 {
        assert!(std::time::Instant::now() < deadline, "it does not go unread");
        std::thread::yield_now();
    }
    push(&engine, &[(2, 1, 1.0)]);
    let (state, _held) = life.cut(visible);
    assert_eq!(state.segments.len(), 1, "what had overwritten the first value is gone");
    assert!(state.tombstones.contains_key(&deleted), "and so must that be");
    drop(cut);
}

/// The numbers of deletes that found a memtable empty are not in it, whether it is the active one still or sealed.
#[test]
fn a_memtable_begins_above_the_deletes_that_found_it_empty() {
    let memtable = |first, end| {
        let memtable = Memtable::new(1, first);
        memtable.note(&Added { samples: u64::from(end > first), ..Added::nothing(end, i64::MIN) });
        Arc::new(memtable)
    };
    let delete = |seq| {
        let (matchers, range) = (Vec::new(), TimeRange::ALL);
        Arc::new(Tombstone { seq: SeqNo(seq), matchers, range, created: 0 })
    };
    let version = |sealed: Vec<Arc<Memtable>>, active, deletes: &[u64]| Version {
        segments: Vec::new(),
        sealed,
        unmapped_below: 0,
        active,
        tombstones: deletes.iter().map(|&seq| delete(seq)).collect(),
        horizons: Vec::new(),
        forgotten: Arc::default(),
        registry: Arc::new(Registry::new(1, LabelLimits::DEFAULT)),
    };
    let below = |version: &Version, seq| version.in_segments_below(&Watermark::new(Visible { commit: 1, seq }));
    assert_eq!(below(&version(vec![], memtable(10, 10), &[5]), 10), 10);
    assert_eq!(below(&version(vec![], memtable(10, 10), &[10, 11]), 12), 12, "nothing is in memory");
    assert_eq!(below(&version(vec![], memtable(10, 15), &[5, 10, 11]), 15), 12);
    // The last one sealed it.
    assert_eq!(below(&version(vec![memtable(10, 15)], memtable(16, 16), &[5, 10, 11, 15]), 16), 12);
    assert_eq!(below(&version(vec![memtable(10, 15)], memtable(16, 18), &[5, 15]), 18), 10);
}

/// It waited for ever.
#[test]
fn a_copy_does_not_wait_for_a_delete_that_no_file_may_be_opened_for() {
    let fs = SimFs::new();
    let engine = Arc::new(crate::full::open(&fs, Durability::Sync));
    crate::full::fill(&engine, 0, 10);
    engine.flush().unwrap();
    no_more_files(&fs);
    let refused = delete_until(&engine, 0, 4);
    assert!(matches!(refused, DeleteError::NotDurable { .. }), "{refused}");
    let (tell, told) = std::sync::mpsc::channel();
    let copying = Arc::clone(&engine);
    std::thread::spawn(move || tell.send(copying.life().note_deletes_for_copy(copying.life().core.watermark.seq())));
    let refused = told.recv_timeout(SOON).expect("who makes a copy is answered").unwrap_err();
    assert_eq!(refused.short_of(), Some(Shortage::Files), "{refused}");
}

//! An engine on a simulated disk, and reading all of it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tidegauge::query::Selection;
use tidegauge::{Builder, Columns, Durability, Engine, OpenError, Retention, SeriesId};
use tidegauge_storage::fs::Fs;
use tidegauge_storage::fs::sim::SimFs;
use tidegauge_storage::source::ColumnCursor;

use crate::oracle::{Contents, Copy, Found, Hidden, hash_of};
use crate::run::BASE;

/// Longer than anything takes on a loaded machine; what needs it has failed.
pub const SOON: Duration = Duration::from_secs(60);
/// Small, so that files are changed and recycled often.
const WAL_FILE_BYTES: u64 = 16 << 10;
/// The longest batch fits.
pub const LANE_SAMPLES: usize = 2048;

/// Opens the store on this disk.
///
/// # Errors
/// What the engine says.
pub fn open(fs: &SimFs, durability: Durability) -> Result<Engine, OpenError> {
    builder(fs, durability).open()
}

/// As above, with options to come.
pub fn builder(fs: &SimFs, durability: Durability) -> Builder {
    let builder = tidegauge::internals::builder_on(Arc::new(fs.clone()), WAL_FILE_BYTES);
    let builder = builder.durability(durability).series_idle(None).lane_samples(LANE_SAMPLES);
    builder.flush_bytes(1 << 16).query_threads(1).max_ahead(Duration::MAX)
}

/// What retention hides as long as its rules stay, which no run lifts.
#[must_use]
pub fn hidden(engine: &Engine) -> Hidden {
    let mut hidden = Hidden::default();
    for rule in engine.retention().rules {
        // The rules that a run sets keep the newer half.
        match rule.matchers.first() {
            Some(series) => drop(hidden.ages.insert(series.value().parse().unwrap_or(u8::MAX), BASE / 2)),
            None => hidden.horizon = hidden.horizon.max(Some(BASE / 2)),
        }
    }
    hidden
}

/// Ends a rule by size that a crash left in force: what it drops while others work no twin can tell. Answers whether
/// there was one.
///
/// # Errors
/// What the engine says.
pub fn settle(engine: &Engine) -> Result<bool, String> {
    let retention = engine.retention();
    if retention.max_bytes.is_none() {
        return Ok(false);
    }
    let refused = |e: String| format!("a recovered engine refuses retention: {e}");
    engine.set_retention(Retention { max_bytes: None, ..retention }).map_err(|e| refused(e.to_string()))?;
    // A drop that is under way is over then.
    engine.compact().map_err(|e| refused(e.to_string()))?;
    Ok(true)
}

/// Whether a copy opens and holds what it should; one that was not finished may be refused as a store.
///
/// # Errors
/// Says what is wrong.
pub fn check_copy(fs: &SimFs, copy: &Copy, finished: bool) -> Result<(), String> {
    let name = copy.dir.display();
    // Opening where nothing is would begin a store.
    if !finished && fs.map(&copy.dir.join("MANIFEST")).is_err() {
        return Ok(());
    }
    let opened = tidegauge::internals::open_at(builder(fs, Durability::Memory), &copy.dir);
    let engine = match opened {
        Err(_) if !finished => return Ok(()),
        other => other.map_err(|e| format!("{name} does not open: {e}"))?,
    };
    let read = read(&engine, copy.found.lanes.len()).map_err(|e| format!("{name} cannot be read: {e}"))?;
    let _next = fs.next_process();
    let _ = engine.close();
    if read.found == copy.found {
        Ok(())
    } else {
        Err(format!("{name} does not hold what was there: {}", read.summary()))
    }
}

/// Lines of the audit log.
#[must_use]
pub fn audited(fs: &SimFs) -> usize {
    let line = |path: &Path| fs.map(path).map_or(0, |bytes| bytes.iter().filter(|b| **b == b'\n').count());
    let files = fs.files().into_iter().map(|(path, _)| path);
    files.filter(|path| path.to_string_lossy().contains("memory/audit.log")).map(|path| line(&path)).sum()
}

/// A series of a lane.
///
/// # Panics
/// If the engine refuses it.
#[must_use]
pub fn series(engine: &Engine, lane: u8, series: u8) -> SeriesId {
    let labels = [("__name__", "s"), ("lane", &*lane.to_string()), ("n", &*series.to_string())];
    engine.series(&labels).expect("a good series")
}

/// Everything an engine holds.
#[derive(Clone, Debug)]
pub struct Read {
    /// By lane.
    pub lanes: Vec<Contents>,
    /// As compared with the twin.
    pub found: Found,
}

impl Read {
    /// How much there is, for a report.
    #[must_use]
    pub fn summary(&self) -> String {
        let of = |lane: &Contents| {
            let last = lane.samples.values().map(|bits| f64::from_bits(*bits)).fold(0.0, f64::max);
            format!("{} samples up to {last}", lane.samples.len())
        };
        self.lanes.iter().map(of).collect::<Vec<_>>().join(", ")
    }
}

/// Hash of one metric's metadata.
#[must_use]
pub fn hash_of_metadata(metric: &str, help: &str) -> u64 {
    let bits = help.bytes().fold(7u64, |h, b| h.wrapping_mul(131).wrapping_add(b.into()));
    let metric = metric.bytes().fold(11u64, |h, b| h.wrapping_mul(137).wrapping_add(b.into()));
    hash_of((0, 0, metric as i64), bits)
}

/// Reads everything that is visible, as a query does.
///
/// # Errors
/// What cannot be read, or reads as something that nobody wrote.
pub fn read(engine: &Engine, lanes: usize) -> Result<Read, String> {
    let snapshot = engine.snapshot();
    let selection = Selection::new(&snapshot, &[]).map_err(|e| e.to_string())?;
    let mut contents = vec![Contents::default(); lanes];
    let mut columns = Columns::default();
    for one in selection.iter() {
        let number = |name| one.labels().get(name).and_then(|text| text.parse::<u8>().ok());
        let (Some(lane), Some(n)) = (number("lane"), number("n")) else {
            return Err(format!("an unknown series {}", one.labels()));
        };
        let all = contents.get_mut(usize::from(lane)).ok_or_else(|| format!("an unknown lane {lane}"))?;
        let mut cursor = one.cursor();
        let mut last = None;
        columns.clear();
        while cursor.next(&mut columns).map_err(|e| e.to_string())? {
            for (&timestamp, value) in columns.timestamps.iter().zip(&columns.values) {
                if last.is_some_and(|last| last >= timestamp) {
                    return Err(format!("{}: timestamps do not ascend at {timestamp}", one.labels()));
                }
                last = Some(timestamp);
                all.put((lane, n, timestamp), value.to_bits());
            }
            columns.clear();
        }
    }
    let metadata = engine.metadata().into_iter().map(|(metric, m)| hash_of_metadata(&metric, &m.help));
    let found =
        Found { lanes: contents.iter().map(Contents::hash).collect(), metadata: metadata.fold(0, u64::wrapping_add) };
    Ok(Read { lanes: contents, found })
}

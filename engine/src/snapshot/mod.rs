//! A consistent view, with the queries that start from it.

mod ask;

use std::ops::Deref;
use std::sync::Arc;

pub use ask::SelectError;
use tidegauge_query::{Ledger, Threads};
use tidegauge_storage::model::SeqNo;
use tidegauge_storage::source::Snapshot as Sources;

use crate::commit::{Pin, Pins};
use crate::compact::Graveyard;
use crate::core::Core;
use crate::version::Version;

/// Everything that was visible when it was taken; nothing that came later.
///
/// Taking one costs under a microsecond beside the list of sources; it waits for no writer
/// and blocks none. While it lives, the files and memtables it reads stay.
/// Cheap to clone. Queries run on the thread that asks, and where they are long the engine's own threads help.
#[derive(Clone)]
pub struct Snapshot {
    /// Goes before what the sources hold: whoever looks then whether a segment is needed still must not find it here.
    version: Arc<Version>,
    sources: Sources,
    core: Arc<Core>,
    threads: Threads,
    ledger: Ledger,
}

impl Snapshot {
    /// Version, watermark, version again: if the version changed in between, the watermark may
    /// belong to neither, so both are read anew (P7).
    pub(crate) fn take(core: &Arc<Core>, graveyard: &Arc<Graveyard>, threads: &Threads) -> Self {
        let choose = || core.watermark.cut(|| core.versions.load(), Arc::ptr_eq);
        let (pin, version) = Pins::pin(&core.pins, &core.watermark, choose);
        let visible = pin.visible();
        let sources = Sources::new(version.sources(visible.commit, &core.kept.ages()), SeqNo(visible.seq));
        let hold = Hold { _pin: pin, graveyard: Arc::clone(graveyard) };
        let sources = sources.with_pin(Arc::new(hold));
        Self { version, sources, core: Arc::clone(core), threads: threads.clone(), ledger: core.ledger.clone() }
    }

    /// Runs `work` on some of the engine's query threads, so that parallel iterators inside use them. However many
    /// other queries run, it waits for none of them, but shares the processors.
    pub fn install<R: Send>(&self, work: impl FnOnce(&Sources) -> R + Send) -> R {
        self.threads.install(|| work(&self.sources))
    }

    /// The engine's query threads, for questions put together by hand: see [`Selection::on`](tidegauge_query::Selection::on).
    #[must_use]
    pub fn threads(&self) -> &Threads {
        &self.threads
    }
}

/// What goes with the last clone of a snapshot, after its sources.
struct Hold {
    _pin: Pin,
    graveyard: Arc<Graveyard>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.graveyard.sweep(&|| ());
    }
}

impl Deref for Snapshot {
    type Target = Sources;

    fn deref(&self) -> &Sources {
        &self.sources
    }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.sources.fmt(f)
    }
}

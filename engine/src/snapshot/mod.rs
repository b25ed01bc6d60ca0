//! A consistent view, with the queries that start from it.

mod ask;

use std::ops::Deref;
use std::sync::{Arc, OnceLock};

pub use ask::SelectError;
use tidegauge_query::Threads;
use tidegauge_storage::model::SeqNo;
use tidegauge_storage::source::{AgeMask, Snapshot as Sources};

use crate::commit::{Pin, Pins};
use crate::compact::Graveyard;
use crate::core::Core;
use crate::sync::Peeked;
use crate::version::Version;

/// Everything that was visible when it was taken; nothing that came later.
///
/// Taking one costs under a microsecond, and the first question that needs the list of sources makes it; it waits for no
/// writer and blocks none. While it lives, the files and memtables it reads stay.
/// Cheap to clone. Queries run on the thread that asks, and where they are long the engine's own threads help.
#[derive(Clone)]
pub struct Snapshot {
    /// Made of the cut when they are first asked for (S5). They go before it: whoever looks then whether a segment is
    /// needed still must not find it here.
    sources: OnceLock<Sources>,
    cut: Arc<Cut>,
}

/// What is fixed when a snapshot is taken.
struct Cut {
    /// Goes before the pin, for the same reason.
    version: Arc<Version>,
    /// What was over age then.
    ages: Option<Arc<[AgeMask]>>,
    pin: Pin<Hold>,
}

/// What snapshots have of their engine: one count for all of it, since all threads that take them share it.
pub(crate) struct Reads {
    pub(crate) core: Arc<Core>,
    pub(crate) graveyard: Arc<Graveyard>,
    pub(crate) threads: Threads,
}

impl Snapshot {
    /// Version, watermark, version again: if the version changed in between, the watermark may
    /// belong to neither, so both are read anew (P7).
    pub(crate) fn take(reads: &Arc<Reads>) -> Self {
        let core = &reads.core;
        let choose = || core.watermark.cut(|| core.versions.peek(), Peeked::is_same);
        let (pin, version) = Pins::pin_in(Hold(Arc::clone(reads)), &core.watermark, choose);
        let cut = Cut { version: version.into_arc(), ages: core.kept.ages(), pin };
        Self { sources: OnceLock::new(), cut: Arc::new(cut) }
    }

    fn sources(&self) -> &Sources {
        self.sources.get_or_init(|| {
            let Cut { version, ages, pin } = &*self.cut;
            let visible = pin.visible();
            let sources = Sources::new(version.sources(visible.commit, ages.clone()), SeqNo(visible.seq));
            sources.with_pin(Arc::clone(&self.cut) as _)
        })
    }

    fn reads(&self) -> &Reads {
        &self.cut.pin.keeper().0
    }

    /// Whether this engine took it.
    pub(crate) fn is_of(&self, core: &Core) -> bool {
        self.reads().core.tag == core.tag
    }

    /// Runs `work` on some of the engine's query threads, so that parallel iterators inside use them. However many
    /// other queries run, it waits for none of them, but shares the processors.
    pub fn install<R: Send>(&self, work: impl FnOnce(&Sources) -> R + Send) -> R {
        self.reads().threads.install(|| work(self))
    }

    /// The engine's query threads, for questions put together by hand: see [`Selection::on`](tidegauge_query::Selection::on).
    #[must_use]
    pub fn threads(&self) -> &Threads {
        &self.reads().threads
    }
}

/// What goes with the last clone of a snapshot, after its sources and its pin.
struct Hold(Arc<Reads>);

impl Deref for Hold {
    type Target = Pins;

    fn deref(&self) -> &Pins {
        &self.0.core.pins
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        // In a child of the process the files are its parent's.
        if !self.0.core.gate.is_forked() {
            self.0.graveyard.sweep(&|| ());
        }
    }
}

impl Deref for Snapshot {
    type Target = Sources;

    fn deref(&self) -> &Sources {
        self.sources()
    }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.sources().fmt(f)
    }
}

//! A consistent view, with the queries that start from it.

mod ask;

use std::ops::Deref;
use std::sync::Arc;

pub use ask::SelectError;
use rayon::ThreadPool;
use tidegauge_storage::model::SeqNo;
use tidegauge_storage::source::Snapshot as Sources;

use crate::commit::{Pins, Watermark};
use crate::registry::Registry;
use crate::version::Versions;

/// Everything that was visible when it was taken; nothing that came later.
///
/// Taking one costs under a microsecond beside the list of sources; it waits for no writer
/// and blocks none. While it lives, the files and memtables it reads stay.
/// Cheap to clone. Queries run on the engine's own thread pool.
#[derive(Clone)]
pub struct Snapshot {
    sources: Sources,
    pool: Arc<ThreadPool>,
}

impl Snapshot {
    /// Version, watermark, version again: if the version changed in between, the watermark may
    /// belong to neither, so both are read anew (P7).
    pub(crate) fn take(
        versions: &Versions,
        registry: &Arc<Registry>,
        pins: &Arc<Pins>,
        watermark: &Watermark,
        pool: &Arc<ThreadPool>,
    ) -> Self {
        let (pin, version) = Pins::pin(pins, watermark, || watermark.cut(|| versions.load(), Arc::ptr_eq));
        let visible = pin.visible();
        let sources = Sources::new(version.sources(registry, visible.commit), SeqNo(visible.seq));
        Self { sources: sources.with_pin(Arc::new(pin)), pool: Arc::clone(pool) }
    }

    /// Runs `work` on the engine's query threads, so that parallel iterators inside use them.
    pub fn install<R: Send>(&self, work: impl FnOnce(&Sources) -> R + Send) -> R {
        self.pool.install(|| work(&self.sources))
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

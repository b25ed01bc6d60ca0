//! Engines that are written to by many inputs.

use tidegauge::Engine;

/// Series and samples that one engine takes: memory is bounded, and millions of inputs bring more.
const SERIES_MOST: u64 = 2_000;
const SAMPLES_MOST: u64 = 200_000;

/// An engine in memory, or what is made of it, and a new one once it has taken enough.
#[derive(Debug)]
pub struct Renewed<T> {
    make: fn(Engine) -> T,
    now: Option<(Engine, T)>,
}

impl<T> Renewed<T> {
    /// `make`: what is made of each engine.
    pub fn new(make: fn(Engine) -> T) -> Self {
        Self { make, now: None }
    }

    /// What takes the next input.
    ///
    /// # Panics
    /// If no engine can be made.
    pub fn get(&mut self) -> &T {
        let is_full = |engine: &Engine| {
            let stats = engine.stats();
            stats.series >= SERIES_MOST || stats.memtable_samples >= SAMPLES_MOST
        };
        if self.now.as_ref().is_some_and(|(engine, _)| is_full(engine)) {
            self.now = None;
        }
        let (_, made) = self.now.get_or_insert_with(|| {
            let engine = Engine::in_memory().expect("an engine");
            (engine.clone(), (self.make)(engine))
        });
        made
    }
}

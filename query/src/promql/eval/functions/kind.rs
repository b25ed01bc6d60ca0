//! What is asked of a range that grows.

/// Which of rate, increase and delta.
#[derive(Clone, Copy)]
pub(super) struct Kind {
    /// Whether a fall means that the counter started again at zero.
    pub(super) counter: bool,
    /// Whether the result is by second.
    pub(super) per_second: bool,
}

impl Kind {
    pub(super) const RATE: Self = Self { counter: true, per_second: true };
    pub(super) const INCREASE: Self = Self { counter: true, per_second: false };
    pub(super) const DELTA: Self = Self { counter: false, per_second: false };
}

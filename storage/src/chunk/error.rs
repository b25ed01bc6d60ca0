//! Why a chunk does not decode.

/// The bytes are no chunk that this release can read. Retrying does not help: restore the file they came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChunkError {
    /// The bytes contradict themselves or end too early.
    #[error("chunk damaged: {what}")]
    Damaged {
        /// What is wrong.
        what: &'static str,
    },
    /// Written by a build with a feature that this one lacks. Build with it, then read again.
    #[error("chunk was written with the feature `{feature}`, which this build lacks: build with it, then read again")]
    MissingFeature {
        /// The cargo feature.
        feature: &'static str,
    },
    /// Written by a newer release. Upgrade, then read again.
    #[error("chunk has {what} {found}, this release knows up to {supported}: upgrade, then read again")]
    TooNew {
        /// What is unknown: the format version, an encoding, a value type.
        what: &'static str,
        /// The number found.
        found: u8,
        /// The greatest number known here.
        supported: u8,
    },
}

impl ChunkError {
    pub(super) const fn damaged(what: &'static str) -> Self {
        Self::Damaged { what }
    }
}

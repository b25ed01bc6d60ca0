//! The write-ahead log: what is accepted and not yet in a segment.
//!
//! Byte layout: `docs/format/wal.md`.

// the bytes
mod format;
mod pack;
mod types;

// samples into frames
mod encode;
mod group;

// and back
mod decode;

// frames into files
mod reserve;
mod sync;
mod writer;

// files back into what was accepted
mod file;
mod holes;
mod names;
mod recover;
mod recovered;
mod survey;
mod unsure;

pub use encode::{FrameEncoder, FrameFull};
pub use format::{FRAME_BYTES_MAX, FRAME_SAMPLES_MAX, PAGE};
pub use names::{files_of_log, finish_renaming};
pub use recover::{RecoverMode, Refused, Replay, Sink, recover};
pub use recovered::{
    CutFrames, Damage, Edge, EpochEnd, LostRange, NUMBER_GAP, Recovered, TornTail, WalLife, WalState, WalSynced,
};
pub use survey::{Survey, holds_anything, later_than, stores_of, survey};
pub use sync::SyncJob;
pub use types::{Epoch, FrameNo, GenerationId, Origin, WalError, WalSample};
pub use writer::{WalRelease, WalWriter, WriterOptions, give_up_reserve, leave_reserve};

#[cfg(test)]
pub(crate) mod codec_tests;

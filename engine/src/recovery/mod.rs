//! What an opening does about damage (P5), and what it tells of it.

mod check;
mod later;
mod log;
mod manifest;
mod misnamed;
mod orphan;
mod progress;
pub(crate) mod quarantine;
mod report;
mod segments;

pub(crate) use check::{Finding, check_segment, missing_is_damage, open_as_named, open_named};
pub(crate) use later::later_file;
pub(crate) use log::{end_of_known, lost_deletes, salvage_log, tell_lost_end};
pub(crate) use manifest::open_or_rebuild;
pub(crate) use misnamed::may_be_named;
pub(crate) use progress::{OnProgress, Step};
pub use progress::{OpenProgress, OpenStep};
pub use report::{Lost, RecoveryReport};
pub(crate) use segments::{keep_misplaced, keep_unnamed, note_unnamed, salvage_segments};
pub use tidegauge_storage::segment::Mended;

/// What to do about data that was durable and cannot be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Recovery {
    /// Refuse to open, naming file and offset. Nothing is changed.
    #[default]
    Strict,
    /// Save what can be read, and tell what is lost: see
    /// [`Engine::recovery_report`](crate::Engine::recovery_report).
    ///
    /// Every segment is read whole first, which takes as long as reading the disk. A damaged one is rewritten
    /// without the chunks that cannot be read; where one bit was turned over, it is put right, and what the manifest knows
    /// of a header or what another part of an index tells is not missed. The log is read on behind damage, and brought into segments before
    /// the opening returns. A manifest that is damaged or gone is made anew from what the other files say; deletes
    /// and rules of retention may be lost with it, which is told. Damaged files, what is
    /// cut of the log's end, files of the log that may hold what is missing, and segments that the manifest does not name,
    /// are kept under `quarantine/`; nothing is deleted. What the engine lost
    /// leaves a line in the audit log; where the engine is not [closed](crate::Engine::close) but killed or dropped, the next
    /// salvage [tells it again](RecoveryReport::untold). Once opened so, the store opens strictly again.
    Salvage,
}

#[cfg(test)]
mod anew_tests;
#[cfg(test)]
mod came_back_tests;
#[cfg(test)]
mod defined_tests;
#[cfg(test)]
mod delete_tests;
#[cfg(test)]
mod end_tests;
#[cfg(test)]
mod leftover_tests;
#[cfg(test)]
mod manifest_tests;
#[cfg(test)]
mod mend_tests;
#[cfg(test)]
mod misnamed_tests;
#[cfg(test)]
mod named_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod undefined_tests;
#[cfg(test)]
mod unfinished_tests;
#[cfg(test)]
mod unread_tests;
#[cfg(all(test, target_os = "linux"))]
mod unreadable_tests;
#[cfg(test)]
mod untold_tests;

//! What the log holds, into a memtable of its own; and what a salvage tells of it.

use tidegauge_storage::manifest::State;
use tidegauge_storage::model::SeqNo;
use tidegauge_storage::wal::{CutFrames, RecoverMode, Recovered, TornTail};

use super::store::{Place, Store};
use crate::audit::{AuditLog, Audited};
use crate::error::OpenError;
use crate::recovery::{
    OnProgress, OpenStep, Recovery, RecoveryReport, Step, end_of_known, lost_deletes, note_unnamed, salvage_log,
    tell_lost_end,
};
use crate::registry::Registry;
use crate::replay::{Replayer, flushed_before};

/// The log as it was read.
pub(super) struct Logged<'a> {
    pub(super) replayer: Replayer<'a>,
    pub(super) recovered: Recovered,
    /// What the audit log tells a salvage.
    audited: Audited,
    recovery: Recovery,
    /// Whether all of it could be read.
    pub(super) is_whole: bool,
    /// Whether deletes come from the audit log.
    pub(super) of_audit: bool,
}

impl<'a> Logged<'a> {
    pub(super) fn read(
        place: &Place,
        registry: &'a Registry,
        state: &State,
        recovery: Recovery,
        progress: &OnProgress,
    ) -> Result<Self, OpenError> {
        let mut replayer = Replayer::new(registry, flushed_before(state));
        let (mode, audited) = match recovery {
            Recovery::Strict => (RecoverMode::Strict, Audited::default()),
            Recovery::Salvage => (RecoverMode::Salvage, Audited::read(&*place.fs, &place.root, state.store_id)?),
        };
        let step = Step::new(progress, OpenStep::ReplayLog);
        let horizons = state.horizons.iter().map(|horizon| horizon.through);
        let deletes = state.tombstones.keys().copied().chain(audited.deletes.iter().map(|delete| delete.seq));
        replayer.seal_at(deletes.chain(horizons));
        let recovered = replayer.recover(&*place.fs, &place.wal, state.store_id, &state.wal, mode, &step)?;
        Ok(Self { replayer, recovered, audited, recovery, is_whole: true, of_audit: false })
    }

    /// Keeps what is damaged, takes deletes that only the audit log has, and notes all of it there before anything lets go
    /// of the log: with the next commit, or a flush. Answers the report of the whole opening.
    pub(super) fn tell(
        &mut self,
        place: &Place,
        store: &mut Store,
        audit: &AuditLog,
    ) -> Result<RecoveryReport, OpenError> {
        let (fs, root, state) = (&*place.fs, &*place.root, store.manifest.state());
        let (recovered, audited, opening) = (&self.recovered, &self.audited, (state.store_id, state.open_number));
        let mut salvaged = std::mem::take(&mut store.salvaged);
        let mut report = RecoveryReport {
            samples: recovered.samples,
            torn_tail: recovered.torn_tail.clone(),
            ..RecoveryReport::default()
        };
        if let Some(torn) = &recovered.torn_tail
            && let Some(behind) = &torn.behind
        {
            report.notes.push(cut_before_sound(torn, behind, self.recovery == Recovery::Salvage));
        }
        let undefined = self.replayer.undefined();
        self.is_whole = recovered.lost.is_empty() && undefined.is_none();
        if self.recovery == Recovery::Salvage {
            salvage_log(fs, root, recovered, undefined, state, &store.segments, &mut report)?;
            let end = end_of_known(recovered, state, salvaged.manifest_made_anew);
            tell_lost_end(fs, root, audited, recovered, end, &mut report)?;
            let deletes = lost_deletes(audited, recovered, state, self.replayer.deletes(), end, &mut report);
            self.of_audit = !deletes.is_empty();
            self.replayer.add_deletes(deletes);
        }
        if audited.set_unread_aside(fs, root, &mut report)? {
            // What was noted before lies there, or found no place.
            salvaged.note_in(audit, opening);
        }
        note_unnamed(&mut store.unnamed, &mut report);
        report.note_in(audit, opening);
        salvaged.append(report);
        Ok(salvaged)
    }

    /// The first number that is free. Deletes that the audit log names may be younger than the rest, or have hidden nothing
    /// of what is left: whether or not this salvage takes them, what comes now must not be hidden by them, now or after a
    /// later one.
    pub(super) fn end(&self, state: &State) -> u64 {
        let logged = self.replayer.deletes().iter().map(|delete| delete.seq);
        let named = self.audited.deletes.iter().map(|delete| delete.seq);
        let deleted = logged.chain(named).map(|SeqNo(seq)| seq + 1).max().unwrap_or(0);
        self.recovered.next_seq.max(state.next_seq).0.max(deleted)
    }
}

/// What is told of an end of the log that is cut off and has sound frames in it.
fn cut_before_sound(torn: &TornTail, behind: &CutFrames, kept: bool) -> String {
    let (offset, file) = (torn.offset, torn.file.display());
    let then = if kept {
        "the files are kept in quarantine"
    } else {
        "opening with salvage (`tidegauge repair`) would have kept the files in quarantine; this opening has let go of them"
    };
    format!(
        "the log is cut at byte {offset} of {file}: {behind}; nobody was told that this is durable, and it is not shown. A \
         power loss leaves it so; where there was none, something has damaged what lies before; {then}"
    )
}

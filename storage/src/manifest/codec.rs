//! Edits as bytes, and back. Nothing read is trusted.

use std::collections::BTreeMap;

use super::format::kind;
use super::horizon::Horizon;
use super::metadata::{METADATA_BYTES_MAX, Metadata};
use super::retention::Retention;
use super::state::{Edit, SegmentRef, State};
use crate::model::{SeqNo, SeqRange, TimeRange, Timestamp, Tombstone};
use crate::wal::{Epoch, EpochEnd, FrameNo, WalLife, WalRelease, WalState, WalSynced};

/// Why edits cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadEdits {
    Malformed(&'static str),
    /// An edit of a later version, or one that this version has only reserved.
    TooNew(u16),
}

use BadEdits::{Malformed, TooNew};

/// What one edit on disk says. The state of the WAL as a whole is an edit only there:
/// the first commit of a file has it.
#[derive(Debug)]
pub(super) enum DiskEdit {
    Edit(Edit),
    WalState(WalState),
}

pub(super) fn put_edit(out: &mut Vec<u8>, edit: &Edit) {
    match edit {
        Edit::SegmentAdd(segment) => framed(out, kind::SEGMENT_ADD, |out| put_segment(out, segment)),
        Edit::SegmentRemove(id) => framed(out, kind::SEGMENT_REMOVE, |out| put_u64s(out, &[*id])),
        Edit::NextSegment(id) => framed(out, kind::NEXT_SEGMENT, |out| put_u64s(out, &[*id])),
        Edit::WalLife(life) => framed(out, kind::WAL_LIFE, |out| {
            put_u64s(out, &[life.live_epoch.0, life.first_frame.0, life.synced_through.0]);
            put_ends(out, &life.ends);
        }),
        Edit::WalRelease(release) => framed(out, kind::WAL_RELEASE, |out| {
            put_u64s(out, &[release.oldest_epoch.0, release.next_frame.0, release.synced_through.0]);
        }),
        Edit::Numbers { next_seq, greatest_frame } => {
            framed(out, kind::NUMBERS, |out| put_u64s(out, &[next_seq.0, greatest_frame.0]));
        }
        Edit::Flushed(through) => framed(out, kind::FLUSHED, |out| put_u64s(out, &[through.0])),
        Edit::Metadata { metric, metadata } => framed(out, kind::METADATA, |out| {
            for text in [metric, &metadata.kind, &metadata.help, &metadata.unit] {
                out.extend_from_slice(&(text.len() as u32).to_le_bytes());
                out.extend_from_slice(text.as_bytes());
            }
        }),
        Edit::TombstoneAdd(tombstone) => framed(out, kind::TOMBSTONE_ADD, |out| {
            put_u64s(out, &[tombstone.seq.0]);
            tombstone.encode(out);
        }),
        Edit::TombstoneRemove(seq) => framed(out, kind::TOMBSTONE_REMOVE, |out| put_u64s(out, &[seq.0])),
        Edit::Retention(retention) => framed(out, kind::RETENTION, |out| retention.encode(out)),
        Edit::Horizon(Horizon { before, through, created }) => framed(out, kind::HORIZON, |out| {
            put_u64s(out, &[before.nanos() as u64, through.0, *created as u64]);
        }),
        Edit::HorizonRemove { before, through } => {
            framed(out, kind::HORIZON_REMOVE, |out| put_u64s(out, &[before.nanos() as u64, through.0]));
        }
        Edit::WalSynced(synced) => framed(out, kind::WAL_SYNCED, |out| {
            put_u64s(out, &[synced.through.0]);
            synced.files.iter().for_each(|(epoch, bytes)| put_u64s(out, &[epoch.0, *bytes]));
        }),
    }
}

/// The edits that make `state` out of an empty one.
pub(super) fn put_state(out: &mut Vec<u8>, state: &State) {
    for segment in state.segments.values() {
        put_edit(out, &Edit::SegmentAdd(*segment));
    }
    put_edit(out, &Edit::NextSegment(state.next_segment_id));
    framed(out, kind::WAL_STATE, |out| {
        let wal = &state.wal;
        put_u64s(out, &[wal.oldest_epoch.0, wal.live_epoch.0, wal.next_frame.0, wal.synced_through.0]);
        put_ends(out, &wal.ends);
    });
    if !state.wal.files.is_empty() {
        let (through, files) = (state.wal.synced_through, state.wal.files.clone());
        put_edit(out, &Edit::WalSynced(WalSynced { through, files }));
    }
    put_edit(out, &Edit::Numbers { next_seq: state.next_seq, greatest_frame: state.greatest_frame });
    // Else the segments say it.
    if state.segments.values().all(|segment| segment.seq_range.end < state.flushed_through)
        && state.flushed_through > SeqNo(0)
    {
        put_edit(out, &Edit::Flushed(state.flushed_through));
    }
    for tombstone in state.tombstones.values() {
        put_edit(out, &Edit::TombstoneAdd(tombstone.clone()));
    }
    if state.retention != Retention::default() {
        put_edit(out, &Edit::Retention(state.retention.clone()));
    }
    for horizon in state.horizons.iter() {
        put_edit(out, &Edit::Horizon(*horizon));
    }
    for (metric, metadata) in state.metadata() {
        put_edit(out, &Edit::Metadata { metric: metric.clone(), metadata: metadata.clone() });
    }
}

/// Kind and length, then what `body` adds.
fn framed(out: &mut Vec<u8>, kind: u16, body: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(&kind.to_le_bytes());
    out.extend_from_slice(&[0; 2]);
    let len_at = out.len();
    out.extend_from_slice(&[0; 4]);
    body(out);
    let len = (out.len() - len_at - 4) as u32;
    out[len_at..len_at + 4].copy_from_slice(&len.to_le_bytes());
}

fn put_u64s(out: &mut Vec<u8>, numbers: &[u64]) {
    out.extend(numbers.iter().flat_map(|n| n.to_le_bytes()));
}

fn put_segment(out: &mut Vec<u8>, s: &SegmentRef) {
    put_u64s(out, &[s.id, s.seq_range.start.0, s.seq_range.end.0]);
    put_u64s(out, &[s.time_range.start.nanos() as u64, s.time_range.end.nanos() as u64]);
    put_u64s(out, &[u64::from(s.late), s.bytes, s.samples, s.series, s.level]);
}

fn put_ends(out: &mut Vec<u8>, ends: &BTreeMap<Epoch, EpochEnd>) {
    for (epoch, end) in ends {
        put_u64s(out, &[epoch.0, end.first.0, end.last.0]);
    }
}

/// Takes the next edit off `rest`; it must not be empty.
pub(super) fn take_edit(rest: &mut &[u8]) -> Result<DiskEdit, BadEdits> {
    let (head, behind) = rest.split_first_chunk::<8>().ok_or(Malformed("an edit's header is cut short"))?;
    let kind = u16::from_le_bytes([head[0], head[1]]);
    let len = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
    let (body, behind) = behind.split_at_checked(len).ok_or(Malformed("an edit reaches beyond its commit"))?;
    *rest = behind;
    let mut body = Body(body);
    let edit = match kind {
        kind::SEGMENT_ADD => Edit::SegmentAdd(body.segment()?),
        kind::SEGMENT_REMOVE => Edit::SegmentRemove(body.u64()?),
        kind::NEXT_SEGMENT => Edit::NextSegment(body.u64()?),
        kind::WAL_STATE => {
            return Ok(DiskEdit::WalState(WalState {
                oldest_epoch: Epoch(body.u64()?),
                live_epoch: Epoch(body.u64()?),
                next_frame: FrameNo(body.u64()?),
                synced_through: FrameNo(body.u64()?),
                ends: body.ends()?,
                files: BTreeMap::new(),
            }));
        }
        kind::WAL_LIFE => Edit::WalLife(WalLife {
            live_epoch: Epoch(body.u64()?),
            first_frame: FrameNo(body.u64()?),
            synced_through: FrameNo(body.u64()?),
            ends: body.ends()?,
        }),
        kind::WAL_RELEASE => Edit::WalRelease(WalRelease {
            oldest_epoch: Epoch(body.u64()?),
            next_frame: FrameNo(body.u64()?),
            synced_through: FrameNo(body.u64()?),
        }),
        kind::NUMBERS => Edit::Numbers { next_seq: SeqNo(body.u64()?), greatest_frame: FrameNo(body.u64()?) },
        kind::FLUSHED => Edit::Flushed(SeqNo(body.u64()?)),
        kind::METADATA => {
            let metric = body.text()?;
            Edit::Metadata { metric, metadata: Metadata { kind: body.text()?, help: body.text()?, unit: body.text()? } }
        }
        kind::TOMBSTONE_ADD => {
            let seq = SeqNo(body.u64()?);
            Edit::TombstoneAdd(Tombstone::decode(seq, &mut body.0).map_err(Malformed)?)
        }
        kind::TOMBSTONE_REMOVE => Edit::TombstoneRemove(SeqNo(body.u64()?)),
        kind::RETENTION => Edit::Retention(Retention::decode(&mut body.0).map_err(Malformed)?),
        kind::HORIZON_OF_ALL => {
            let before = body.time()?;
            Edit::Horizon(Horizon { before, through: SeqNo(u64::MAX), created: 0 })
        }
        kind::HORIZON => {
            let (before, through) = (body.time()?, SeqNo(body.u64()?));
            Edit::Horizon(Horizon { before, through, created: body.u64()? as i64 })
        }
        kind::HORIZON_REMOVE => Edit::HorizonRemove { before: body.time()?, through: SeqNo(body.u64()?) },
        kind::WAL_SYNCED => {
            let mut synced = WalSynced { through: FrameNo(body.u64()?), ..WalSynced::default() };
            while !body.0.is_empty() {
                synced.files.insert(Epoch(body.u64()?), body.u64()?);
            }
            Edit::WalSynced(synced)
        }
        0 => return Err(Malformed("an edit without a kind")),
        other => return Err(TooNew(other)),
    };
    if !body.0.is_empty() {
        return Err(Malformed("an edit is longer than its kind"));
    }
    Ok(DiskEdit::Edit(edit))
}

/// What is left of one edit.
struct Body<'a>(&'a [u8]);

impl Body<'_> {
    fn u64(&mut self) -> Result<u64, BadEdits> {
        let (head, rest) = self.0.split_first_chunk::<8>().ok_or(Malformed("an edit is shorter than its kind"))?;
        self.0 = rest;
        Ok(u64::from_le_bytes(*head))
    }

    fn time(&mut self) -> Result<Timestamp, BadEdits> {
        Ok(Timestamp::from_nanos(self.u64()? as i64))
    }

    fn text(&mut self) -> Result<String, BadEdits> {
        const SHORT: BadEdits = Malformed("a text is cut short");
        let (len, rest) = self.0.split_first_chunk::<4>().ok_or(SHORT)?;
        let len = u32::from_le_bytes(*len) as usize;
        if len > METADATA_BYTES_MAX {
            return Err(Malformed("a text is longer than all may be"));
        }
        let (text, rest) = rest.split_at_checked(len).ok_or(SHORT)?;
        self.0 = rest;
        String::from_utf8(text.to_vec()).map_err(|_| Malformed("a text is not UTF-8"))
    }

    fn segment(&mut self) -> Result<SegmentRef, BadEdits> {
        let id = self.u64()?;
        let seq_range = SeqRange { start: SeqNo(self.u64()?), end: SeqNo(self.u64()?) };
        let time_range = TimeRange::new(self.time()?, self.time()?);
        let late = match self.u64()? {
            0 => false,
            1 => true,
            _ => return Err(Malformed("flags of a segment")),
        };
        let (bytes, samples, series, level) = (self.u64()?, self.u64()?, self.u64()?, self.u64()?);
        Ok(SegmentRef { id, seq_range, time_range, late, bytes, samples, series, level })
    }

    /// All that is left: each file's end.
    fn ends(&mut self) -> Result<BTreeMap<Epoch, EpochEnd>, BadEdits> {
        let mut ends = BTreeMap::new();
        while !self.0.is_empty() {
            let epoch = Epoch(self.u64()?);
            ends.insert(epoch, EpochEnd { first: FrameNo(self.u64()?), last: FrameNo(self.u64()?) });
        }
        Ok(ends)
    }
}

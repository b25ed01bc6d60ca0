//! The bytes of a frame back into samples and definitions. Nothing here trusts a checksum:
//! every number is checked against the bytes there are before it is used.

use super::format::{
    FRAME_ALIGN, FRAME_BYTES_MAX, FRAME_HEADER_LEN, FRAME_MAGIC, FRAME_SAMPLES_MAX, FrameHeader, GROUP_SAMPLES_MAX,
    KIND_DELETE, KIND_SAMPLES, KIND_WITNESS, ORIGIN_LEN, SCALES, VALUE_TYPE_F64, series_mode, time_mode, value_mode,
};
use super::pack::{packed_len, unpack};
use super::types::{Epoch, Origin, WalSample};
use crate::model::{Labels, SeqNo, Tombstone};

/// Why a frame with good checksums cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Undecodable {
    /// Contradicts the format.
    Malformed(&'static str),
    /// Follows a later version of it.
    TooNew { what: &'static str, found: u32, supported: u32 },
}

use Undecodable::{Malformed, TooNew};

/// What a frame holds. Used again for each frame; bounded by the limits of a frame.
#[derive(Debug, Default)]
pub(super) struct Decoded {
    pub(super) samples: Vec<WalSample>,
    pub(super) definitions: Vec<(u32, Labels)>,
    pub(super) origins: Vec<Origin>,
    /// A frame of a delete holds nothing else.
    pub(super) delete: Option<Tombstone>,
}

impl FrameHeader {
    /// The header at the beginning of `bytes`, if it is whole and belongs to this file of
    /// this store. Its checksum holds, and its lengths fit each other and the limits.
    pub(super) fn read(bytes: &[u8], store_id: u128, epoch: Epoch) -> Option<Self> {
        let header: Self = bytemuck::pod_read_unaligned(bytes.get(..FRAME_HEADER_LEN)?);
        let ours = header.magic == FRAME_MAGIC
            && header.epoch == epoch.0
            && header.store_id == store_id.to_le_bytes()
            && header.header_crc == header.checksum();
        let len = header.frame_len as usize;
        let fits = u64::from(header.frame_len) % FRAME_ALIGN == 0
            && (FRAME_HEADER_LEN..=FRAME_BYTES_MAX).contains(&len)
            // Numbers stay far from overflow: 2^31 openings' worth of gaps.
            && (1..1 << 63).contains(&header.frame_no)
            && header.synced_through < header.frame_no;
        (ours && fits).then_some(header)
    }

    /// Whether it only says what is durable: the frame of its number comes later, in its place or elsewhere.
    pub(super) fn is_witness(&self) -> bool {
        self.kind == KIND_WITNESS
    }

    /// Decodes what lies behind the header. O(bytes); 2–3 ns a sample.
    pub(super) fn decode(&self, payload: &[u8], out: &mut Decoded) -> Result<(), Undecodable> {
        out.samples.clear();
        out.definitions.clear();
        out.origins.clear();
        out.delete = None;
        match self.kind {
            KIND_SAMPLES | KIND_DELETE => {}
            KIND_WITNESS => return Err(Malformed("a witness is no frame of the order")),
            other => return Err(TooNew { what: "frame kind", found: other.into(), supported: KIND_WITNESS.into() }),
        }
        if self.flags != 0 || self.reserved != 0 {
            return Err(TooNew { what: "frame flags", found: self.flags.into(), supported: 0 });
        }
        let total = self.samples as usize;
        if total > FRAME_SAMPLES_MAX {
            return Err(Malformed("more samples than a frame may hold"));
        }
        if self.first_seq.checked_add(total as u64).is_none() {
            return Err(Malformed("sequence numbers overflow"));
        }
        if self.kind == KIND_DELETE {
            return self.decode_delete(payload, out);
        }
        let mut rest = Bytes(payload);
        let mut groups = Bytes(rest.take(self.groups_len as usize)?);
        let mut definitions = Bytes(rest.take(self.definitions_len as usize)?);
        for _ in 0..self.origins {
            let mut origin = Bytes(rest.take(ORIGIN_LEN)?);
            out.origins.push(Origin { node: origin.u128()?, boot: origin.u64()?, seq: origin.u64()? });
        }
        if rest.0.len() >= FRAME_ALIGN as usize || rest.0.iter().any(|&b| b != 0) {
            return Err(Malformed("bytes behind the last part"));
        }
        for _ in 0..self.definitions {
            let series = definitions.u32()?;
            let len = definitions.u32()? as usize;
            let labels =
                Labels::from_encoded(definitions.take(len)?).map_err(|_| Malformed("labels of a definition"))?;
            out.definitions.push((series, labels));
        }
        if !definitions.0.is_empty() {
            return Err(Malformed("bytes behind the last definition"));
        }
        while out.samples.len() < total {
            decode_group(&mut groups, total - out.samples.len(), &mut out.samples)?;
        }
        if !groups.0.is_empty() {
            return Err(Malformed("bytes behind the last group"));
        }
        Ok(())
    }

    fn decode_delete(&self, payload: &[u8], out: &mut Decoded) -> Result<(), Undecodable> {
        if (self.samples, self.definitions, self.definitions_len, self.origins) != (1, 0, 0, 0) {
            return Err(Malformed("a delete takes one number and holds nothing else"));
        }
        let mut rest = Bytes(payload);
        let mut body = rest.take(self.groups_len as usize)?;
        if rest.0.len() >= FRAME_ALIGN as usize || rest.0.iter().any(|&b| b != 0) {
            return Err(Malformed("bytes behind the last part"));
        }
        let tombstone = Tombstone::decode(SeqNo(self.first_seq), &mut body).map_err(Malformed)?;
        if !body.is_empty() || !tombstone.fits() {
            return Err(Malformed("bytes behind a delete, or too many"));
        }
        out.delete = Some(tombstone);
        Ok(())
    }
}

/// The series of so many samples in `groups`, each once, in ascending order.
pub(super) fn series_of(groups: &[u8], total: usize) -> Result<Vec<u32>, Undecodable> {
    let (mut groups, mut samples) = (Bytes(groups), Vec::with_capacity(total));
    while samples.len() < total {
        decode_group(&mut groups, total - samples.len(), &mut samples)?;
    }
    let mut series: Vec<u32> = samples.iter().map(|sample| sample.series).collect();
    series.sort_unstable();
    series.dedup();
    Ok(series)
}

fn decode_group(bytes: &mut Bytes<'_>, wanted: usize, out: &mut Vec<WalSample>) -> Result<(), Undecodable> {
    let n = usize::from(bytes.u16()?);
    if n == 0 || n > GROUP_SAMPLES_MAX || n > wanted {
        return Err(Malformed("samples of a group"));
    }
    let from = out.len();
    out.resize(from + n, WalSample::default());
    let samples = &mut out[from..];
    decode_series(bytes, samples)?;
    decode_times(bytes, samples)?;
    decode_values(bytes, samples)
}

fn decode_series(bytes: &mut Bytes<'_>, samples: &mut [WalSample]) -> Result<(), Undecodable> {
    match bytes.u8()? {
        series_mode::SAME => {
            let series = bytes.u32()?;
            samples.iter_mut().for_each(|s| s.series = series);
        }
        series_mode::RUNS => {
            let runs = usize::from(bytes.u16()?);
            let mut rest = samples;
            for _ in 0..runs {
                let first = bytes.u32()?;
                for (i, sample) in run(bytes, &mut rest)?.iter_mut().enumerate() {
                    sample.series = first.wrapping_add(i as u32);
                }
            }
            if !rest.is_empty() {
                return Err(Malformed("runs of series too short"));
            }
        }
        series_mode::PACKED => {
            let base = bytes.u32()?;
            let width = bytes.width(32)?;
            let packed = bytes.take(packed_len(samples.len(), width))?;
            unpack(packed, samples.len(), width, |i, offset| samples[i].series = base.wrapping_add(offset as u32));
        }
        other => return Err(too_new_mode("mode of a series column", other, series_mode::PACKED)),
    }
    Ok(())
}

fn decode_times(bytes: &mut Bytes<'_>, samples: &mut [WalSample]) -> Result<(), Undecodable> {
    match bytes.u8()? {
        time_mode::SAME => {
            let timestamp = bytes.i64()?;
            samples.iter_mut().for_each(|s| s.timestamp = timestamp);
        }
        time_mode::REGULAR => {
            let (mut timestamp, step) = (bytes.i64()?, bytes.i64()?);
            for sample in samples {
                sample.timestamp = timestamp;
                timestamp = timestamp.wrapping_add(step);
            }
        }
        time_mode::RUNS => {
            let runs = usize::from(bytes.u16()?);
            let mut rest = samples;
            for _ in 0..runs {
                let timestamp = bytes.i64()?;
                run(bytes, &mut rest)?.iter_mut().for_each(|s| s.timestamp = timestamp);
            }
            if !rest.is_empty() {
                return Err(Malformed("runs of timestamps too short"));
            }
        }
        time_mode::PACKED => {
            let (base, unit) = (bytes.i64()?, bytes.u64()?);
            let width = bytes.width(64)?;
            let packed = bytes.take(packed_len(samples.len(), width))?;
            unpack(packed, samples.len(), width, |i, offset| {
                samples[i].timestamp = base.wrapping_add(offset.wrapping_mul(unit) as i64);
            });
        }
        other => return Err(too_new_mode("mode of a time column", other, time_mode::PACKED)),
    }
    Ok(())
}

fn decode_values(bytes: &mut Bytes<'_>, samples: &mut [WalSample]) -> Result<(), Undecodable> {
    match bytes.u8()? {
        VALUE_TYPE_F64 => {}
        other => return Err(too_new_mode("type of a value column", other, VALUE_TYPE_F64)),
    }
    match bytes.u8()? {
        value_mode::SAME => {
            let value = f64::from_bits(bytes.u64()?);
            samples.iter_mut().for_each(|s| s.value = value);
        }
        value_mode::RAW => {
            let (raw, _) = bytes.take(samples.len() * 8)?.as_chunks::<8>();
            for (sample, bits) in samples.iter_mut().zip(raw) {
                sample.value = f64::from_bits(u64::from_le_bytes(*bits));
            }
        }
        value_mode::DECIMAL => {
            let scale = usize::from(bytes.u8()?);
            let scale = *SCALES.get(scale).ok_or(Malformed("scale of a decimal column"))?;
            let width = bytes.width(52)?;
            let base = bytes.i64()?;
            let packed = bytes.take(packed_len(samples.len(), width))?;
            unpack(packed, samples.len(), width, |i, offset| {
                samples[i].value = base.wrapping_add(offset as i64) as f64 / scale;
            });
        }
        other => return Err(too_new_mode("mode of a value column", other, value_mode::DECIMAL)),
    }
    Ok(())
}

fn too_new_mode(what: &'static str, found: u8, supported: u8) -> Undecodable {
    TooNew { what, found: found.into(), supported: supported.into() }
}

/// Splits the samples of the next run off `rest`.
fn run<'a>(bytes: &mut Bytes<'_>, rest: &mut &'a mut [WalSample]) -> Result<&'a mut [WalSample], Undecodable> {
    let len = usize::from(bytes.u16()?);
    let (run, behind) = std::mem::take(rest).split_at_mut_checked(len).ok_or(Malformed("runs too long"))?;
    *rest = behind;
    Ok(run)
}

/// Bytes not yet read.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], Undecodable> {
        let (head, rest) = self.0.split_at_checked(n).ok_or(Malformed("a part reaches beyond its end"))?;
        self.0 = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Undecodable> {
        Ok(*self.take(N)?.first_chunk().expect("N bytes were taken"))
    }

    fn u8(&mut self) -> Result<u8, Undecodable> {
        Ok(self.array::<1>()?[0])
    }

    fn u16(&mut self) -> Result<u16, Undecodable> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, Undecodable> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Undecodable> {
        self.array().map(u64::from_le_bytes)
    }

    fn i64(&mut self) -> Result<i64, Undecodable> {
        self.array().map(i64::from_le_bytes)
    }

    fn u128(&mut self) -> Result<u128, Undecodable> {
        self.array().map(u128::from_le_bytes)
    }

    fn width(&mut self, max: u8) -> Result<u32, Undecodable> {
        let width = self.u8()?;
        if width > max {
            return Err(Malformed("width of a packed column"));
        }
        Ok(width.into())
    }
}

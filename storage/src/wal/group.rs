//! A group of samples as three columns, each stored in the cheapest way at hand.

use super::format::{GROUP_SAMPLES_MAX, SCALES, VALUE_TYPE_F64, series_mode, time_mode, value_mode};
use super::pack::{Packer, packed_len, width_for};
use super::types::WalSample;

/// 1.5 × 2^52: adding it to a number of less than 2^51 leaves the nearest integer in the low bits.
const ROUND: f64 = 6_755_399_441_055_744.0;
/// Values looked at before the rest of a group is tried.
const PROBE: usize = 16;
/// Units that timestamps tend to be multiples of, in nanoseconds.
const TIME_UNITS: [u64; 4] = [1_000_000_000, 1_000_000, 1_000, 1];
/// Every so often the smallest scale is looked for again: integers may follow decimals.
const RESCALE_EVERY: u32 = 32;

/// Encodes groups. Keeps the room it works in, and the decimal scale that fitted last.
#[derive(Debug)]
pub(super) struct GroupEncoder {
    packer: Packer,
    column: Box<[u64; GROUP_SAMPLES_MAX]>,
    scale: usize,
    groups_until_rescale: u32,
}

/// What one look over the samples finds out: as little as tells the cheap cases apart.
struct Survey {
    /// Runs of series numbers that count up by one.
    series_runs: usize,
    /// Runs of equal timestamps.
    time_runs: usize,
}

impl Survey {
    fn of(samples: &[WalSample]) -> Self {
        let (mut series_breaks, mut time_breaks) = (0u32, 0u32);
        let (mut series, mut timestamp) = (samples[0].series, samples[0].timestamp);
        for sample in &samples[1..] {
            series_breaks += u32::from(sample.series != series.wrapping_add(1));
            time_breaks += u32::from(sample.timestamp != timestamp);
            (series, timestamp) = (sample.series, sample.timestamp);
        }
        Self { series_runs: series_breaks as usize + 1, time_runs: time_breaks as usize + 1 }
    }
}

/// Whether the timestamps go on as the first two begin.
fn regular(samples: &[WalSample]) -> bool {
    let step = |pair: &[WalSample]| pair[1].timestamp.wrapping_sub(pair[0].timestamp);
    let mut steps = samples.windows(2).map(step);
    let first = steps.next();
    steps.all(|step| Some(step) == first)
}

/// Whether all samples agree in what `of` takes from them.
fn all_same<T: PartialEq>(samples: &[WalSample], of: impl Fn(&WalSample) -> T) -> bool {
    let first = of(&samples[0]);
    samples.iter().all(|sample| of(sample) == first)
}

impl GroupEncoder {
    pub(super) fn new() -> Self {
        Self { packer: Packer::new(), column: Box::new([0; GROUP_SAMPLES_MAX]), scale: 0, groups_until_rescale: 0 }
    }

    /// Appends the group of these samples, at least one and at most [`GROUP_SAMPLES_MAX`], to `out`.
    pub(super) fn encode(&mut self, samples: &[WalSample], out: &mut Vec<u8>) {
        debug_assert!((1..=GROUP_SAMPLES_MAX).contains(&samples.len()));
        out.extend_from_slice(&(samples.len() as u16).to_le_bytes());
        let survey = Survey::of(samples);
        self.series(samples, &survey, out);
        self.times(samples, &survey, out);
        self.values(samples, out);
    }

    fn series(&mut self, samples: &[WalSample], survey: &Survey, out: &mut Vec<u8>) {
        let n = samples.len();
        if survey.series_runs == n && all_same(samples, |s| s.series) {
            out.push(series_mode::SAME);
            out.extend_from_slice(&samples[0].series.to_le_bytes());
            return;
        }
        let runs_len = 2 + 6 * survey.series_runs;
        let mut packed = None;
        // Two runs cost less than packed columns ever do, unless the group is tiny.
        if survey.series_runs > 2 {
            let (mut min, mut max) = (u32::MAX, 0);
            for sample in samples {
                min = min.min(sample.series);
                max = max.max(sample.series);
            }
            let width = width_for(u64::from(max - min));
            if 5 + packed_len(samples.len(), width) < runs_len {
                packed = Some((min, width));
            }
        }
        if let Some((min, width)) = packed {
            out.push(series_mode::PACKED);
            out.extend_from_slice(&min.to_le_bytes());
            out.push(width as u8);
            let column = &mut self.column[..samples.len()];
            for (number, sample) in column.iter_mut().zip(samples) {
                *number = u64::from(sample.series);
            }
            self.packer.pack(column, u64::from(min), width, out);
        } else {
            out.push(series_mode::RUNS);
            out.extend_from_slice(&(survey.series_runs as u16).to_le_bytes());
            let mut put = |first: u32, len: usize| {
                out.extend_from_slice(&first.to_le_bytes());
                out.extend_from_slice(&(len as u16).to_le_bytes());
            };
            if survey.series_runs == 1 {
                put(samples[0].series, n);
                return;
            }
            for run in samples.chunk_by(|a, b| b.series == a.series.wrapping_add(1)) {
                put(run[0].series, run.len());
            }
        }
    }

    fn times(&mut self, samples: &[WalSample], survey: &Survey, out: &mut Vec<u8>) {
        let first = samples[0].timestamp;
        if survey.time_runs == 1 {
            out.push(time_mode::SAME);
            out.extend_from_slice(&first.to_le_bytes());
            return;
        }
        if survey.time_runs == samples.len() && regular(samples) {
            out.push(time_mode::REGULAR);
            out.extend_from_slice(&first.to_le_bytes());
            out.extend_from_slice(&samples[1].timestamp.wrapping_sub(first).to_le_bytes());
            return;
        }
        let runs_len = 2 + 10 * survey.time_runs;
        if survey.time_runs <= 2 || runs_len <= packed_len(samples.len(), 4) {
            out.push(time_mode::RUNS);
            out.extend_from_slice(&(survey.time_runs as u16).to_le_bytes());
            for run in samples.chunk_by(|a, b| a.timestamp == b.timestamp) {
                out.extend_from_slice(&run[0].timestamp.to_le_bytes());
                out.extend_from_slice(&(run.len() as u16).to_le_bytes());
            }
            return;
        }
        let min = samples.iter().map(|s| s.timestamp).min().expect("a group is not empty");
        let column = &mut self.column[..samples.len()];
        for (offset, sample) in column.iter_mut().zip(samples) {
            // As unsigned, the difference of any two i64 fits.
            *offset = (sample.timestamp as u64).wrapping_sub(min as u64);
        }
        let unit = TIME_UNITS.into_iter().find(|&unit| column.iter().all(|o| o % unit == 0)).unwrap_or(1);
        if unit > 1 {
            column.iter_mut().for_each(|offset| *offset /= unit);
        }
        let width = width_for(column.iter().copied().max().expect("a group is not empty"));
        out.push(time_mode::PACKED);
        out.extend_from_slice(&min.to_le_bytes());
        out.extend_from_slice(&unit.to_le_bytes());
        out.push(width as u8);
        self.packer.pack(column, 0, width, out);
    }

    fn values(&mut self, samples: &[WalSample], out: &mut Vec<u8>) {
        out.push(VALUE_TYPE_F64);
        if all_same(samples, |s| s.value.to_bits()) {
            out.push(value_mode::SAME);
            out.extend_from_slice(&samples[0].value.to_bits().to_le_bytes());
            return;
        }
        if let Some((min, width)) = self.decimals(samples)
            && packed_len(samples.len(), width) + 10 < samples.len() * 8
        {
            out.push(value_mode::DECIMAL);
            out.push(self.scale as u8);
            out.push(width as u8);
            out.extend_from_slice(&(min.wrapping_sub(ROUND.to_bits()) as i64).to_le_bytes());
            self.packer.pack(&self.column[..samples.len()], min, width, out);
            return;
        }
        out.push(value_mode::RAW);
        let column = &mut self.column[..samples.len()];
        for (bits, sample) in column.iter_mut().zip(samples) {
            *bits = sample.value.to_bits();
        }
        out.extend_from_slice(bytemuck::cast_slice(column));
    }

    /// If every value is an integer divided by the same power of ten, fills the column with
    /// those integers, offset by [`ROUND`]'s bits, and answers their least and their width.
    fn decimals(&mut self, samples: &[WalSample]) -> Option<(u64, u32)> {
        let probe = &samples[..samples.len().min(PROBE)];
        if self.groups_until_rescale == 0 {
            self.groups_until_rescale = RESCALE_EVERY;
            self.scale = 0;
        }
        self.groups_until_rescale -= 1;
        while self.scan(probe, self.scale).is_none() {
            self.scale = if self.scale + 1 < SCALES.len() { self.scale + 1 } else { self.give_up()? };
        }
        // The rest may need more digits than the beginning did.
        loop {
            if let Some((min, max)) = self.scan(samples, self.scale) {
                return Some((min, width_for(max - min)));
            }
            self.scale = if self.scale + 1 < SCALES.len() { self.scale + 1 } else { self.give_up()? };
        }
    }

    /// No scale fits: the next group begins with the first again.
    fn give_up(&mut self) -> Option<usize> {
        self.scale = 0;
        None
    }

    /// One try with one scale: least and greatest of the column, if it fits.
    fn scan(&mut self, samples: &[WalSample], scale: usize) -> Option<(u64, u64)> {
        const LANES: usize = 4;
        let scale = SCALES[scale];
        let (mut low, mut high) = ([f64::INFINITY; LANES], [0.0f64; LANES]);
        let (mut wrong, mut outside) = ([0u64; LANES], [0u64; LANES]);
        let mut step = |lane: usize, sample: &WalSample, number: &mut u64| {
            let shifted = sample.value * scale + ROUND;
            let back = (shifted - ROUND) / scale;
            wrong[lane] |= back.to_bits() ^ sample.value.to_bits();
            // Exponent and sign stay those of ROUND while the integer is below 2^51;
            // this also tells NaN and infinities, whatever `back` makes of them.
            outside[lane] |= shifted.to_bits() ^ ROUND.to_bits();
            low[lane] = if shifted < low[lane] { shifted } else { low[lane] };
            high[lane] = if shifted > high[lane] { shifted } else { high[lane] };
            *number = shifted.to_bits();
        };
        let column = &mut self.column[..samples.len()];
        let (fours, rest) = samples.as_chunks::<LANES>();
        let (column_fours, column_rest) = column.as_chunks_mut::<LANES>();
        for (four, numbers) in fours.iter().zip(column_fours) {
            for lane in 0..LANES {
                step(lane, &four[lane], &mut numbers[lane]);
            }
        }
        for (sample, number) in rest.iter().zip(column_rest) {
            step(0, sample, number);
        }
        let wrong = wrong.into_iter().fold(0, |a, b| a | b);
        let outside = outside.into_iter().fold(0, |a, b| a | b) >> 52;
        // The bits of positive floats are ordered as the floats are.
        let min = low.into_iter().map(f64::to_bits).min().unwrap_or(0);
        let max = high.into_iter().map(f64::to_bits).max().unwrap_or(0);
        (wrong | outside == 0).then_some((min, max))
    }
}

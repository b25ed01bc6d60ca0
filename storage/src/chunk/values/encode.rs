//! Runs and dictionaries around what [`Plain`] finds for the values themselves.

use super::dictionary::{self, Dictionary};
use super::plain::{Choice, Plain};
use crate::chunk::bitpack;
use crate::chunk::format::{Effort, HAS_RUNS, VECTOR_SAMPLES, ValueEncoding};
use crate::chunk::ints::Scratch;
use crate::chunk::{places, vectors};

/// Below this many values neither runs nor a dictionary can pay.
const REPEATS_MIN: usize = 16;

/// Bits a value up to which no dictionary is tried: it would save too little.
const DICTIONARY_BITS_MIN: usize = 8;

/// Below this many values pco's bins weigh more than they save.
#[cfg(feature = "cold")]
const COLD_MIN: usize = 128;

/// Encodes value columns. Owns its memory, so keep it: no allocation once warm.
#[derive(Debug, Default)]
pub struct ValueEncoder {
    effort: Effort,
    scratch: Scratch,
    /// For all values, and for the first of each run.
    whole: Body,
    runs: Body,
    starts: Vec<u16>,
    firsts: Vec<f64>,
    prefix: Vec<u8>,
    cold: Vec<u8>,
    #[cfg(feature = "cold")]
    by_pco: super::cold::Cold,
}

/// Values one by one, or by their number in a dictionary.
#[derive(Debug, Default)]
struct Body {
    plain: Plain,
    dictionary: Dictionary,
    forms: Plain,
    form_bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct BodyChoice {
    bytes: usize,
    /// `None`: by dictionary.
    plain: Option<Choice>,
}

impl ValueEncoder {
    /// An encoder without warm memory.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How hard values are tried from now on. [`Effort::Fresh`] at first.
    pub fn set_effort(&mut self, effort: Effort) {
        self.effort = effort;
    }

    /// Appends the column of 1 to 4,096 values to `out`. O(n).
    ///
    /// # Panics
    /// If `values` is empty or longer than a chunk.
    pub fn encode(&mut self, values: &[f64], out: &mut Vec<u8>) {
        #[cfg(feature = "cold")]
        let start = out.len();
        vectors::write(values, out, |vector, out| self.vector(vector, out));
        #[cfg(feature = "cold")]
        if self.effort == Effort::Cold && values.len() >= COLD_MIN {
            // A thirty-second part, or it is not worth being slow to read.
            let enough = (out.len() - start) / 32 * 31;
            if let Some(cold) = self.by_pco.encode(values, &mut self.scratch).filter(|cold| cold.len() <= enough) {
                out.truncate(start);
                out.extend_from_slice(cold);
            }
        }
    }

    /// Appends one vector.
    fn vector(&mut self, values: &[f64], out: &mut Vec<u8>) {
        let first = values[0].to_bits();
        // Ahead of the whole comparison: what varies mostly shows it at once.
        let constant = |run: &[f64]| run.iter().fold(0, |sum, value| sum | (value.to_bits() ^ first)) == 0;
        if constant(&values[..values.len().min(8)]) && constant(values) {
            out.push(ValueEncoding::Constant as u8);
            out.extend_from_slice(&first.to_le_bytes());
            return;
        }
        let start = out.len();
        self.smallest(values, Effort::Fresh, out);
        if self.effort == Effort::Cold {
            // Plans are estimates: only the bytes themselves show which is smaller.
            let mut cold = std::mem::take(&mut self.cold);
            cold.clear();
            self.smallest(values, Effort::Cold, &mut cold);
            if cold.len() < out.len() - start {
                out.truncate(start);
                out.extend_from_slice(&cold);
            }
            self.cold = cold;
        }
        // Here, too: the promise is kept whatever was estimated.
        if out.len() - start > 1 + values.len() * 8 {
            out.truncate(start);
            out.push(ValueEncoding::Raw as u8);
            values.iter().for_each(|value| out.extend_from_slice(&value.to_bits().to_le_bytes()));
        }
    }

    fn smallest(&mut self, values: &[f64], effort: Effort, out: &mut Vec<u8>) {
        let count = values.len();
        let changes: u64 = values.windows(2).map(|w| u64::from(w[0].to_bits() != w[1].to_bits())).sum();
        let runs = 1 + changes as usize;
        if count < REPEATS_MIN || runs > count / 4 * 3 {
            let choice = self.whole.plan(values, effort, &mut self.scratch);
            return self.whole.write(values, choice, 0, &mut self.scratch, out, &[]);
        }
        self.find_runs(values);
        let inner = self.runs.plan(&self.firsts, effort, &mut self.scratch);
        let by_runs = places::len_about(self.starts.len(), count) + inner.bytes;
        // What a run saves against its place.
        let sure = runs <= count / 4 || (count - runs) * (inner.bytes * 8 / runs) > count + count / 2;
        if !sure || effort == Effort::Cold {
            let choice = self.whole.plan(values, effort, &mut self.scratch);
            if choice.bytes <= by_runs {
                return self.whole.write(values, choice, 0, &mut self.scratch, out, &[]);
            }
        }
        self.prefix.clear();
        places::write(&self.starts, count, &mut self.scratch.gaps, &mut self.prefix);
        self.runs.write(&self.firsts, inner, HAS_RUNS, &mut self.scratch, out, &self.prefix);
    }

    /// Fills `starts` (but for the first) and `firsts`.
    fn find_runs(&mut self, values: &[f64]) {
        self.starts.resize(VECTOR_SAMPLES, 0);
        self.firsts.resize(VECTOR_SAMPLES, 0.0);
        self.firsts[0] = values[0];
        let mut changes = 0;
        for (i, w) in values.windows(2).enumerate() {
            // Written whether or not it counts: a branch would be mispredicted half of the time.
            self.starts[changes] = i as u16 + 1;
            self.firsts[changes + 1] = w[1];
            changes += usize::from(w[0].to_bits() != w[1].to_bits());
        }
        self.starts.truncate(changes);
        self.firsts.truncate(changes + 1);
    }
}

impl Body {
    fn plan(&mut self, values: &[f64], effort: Effort, scratch: &mut Scratch) -> BodyChoice {
        let plain = self.plain.plan(values, effort);
        let choice = BodyChoice { bytes: plain.bytes, plain: Some(plain) };
        let bits = plain.bytes * 8 / values.len();
        if values.len() < REPEATS_MIN || bits <= DICTIONARY_BITS_MIN {
            return choice;
        }
        // In order, forms lie closer together than the values do.
        let cost = |forms: usize| {
            let code_bits = bitpack::width_of(forms as u64 - 1);
            let form_bits = bits.saturating_sub(code_bits as usize) + 3;
            bitpack::packed_len(values.len(), code_bits) + (forms * form_bits.min(bits)).div_ceil(8)
        };
        // A tenth, or it is not worth the time.
        let enough = if effort == Effort::Cold { plain.bytes } else { plain.bytes / 10 * 9 };
        if cost(dictionary::forms_about(values)) >= enough
            || !self.dictionary.find(values, values.len() / 4 * 3)
            || cost(self.dictionary.len()) >= enough
        {
            return choice;
        }
        self.dictionary.sort();
        let forms = &self.dictionary.forms;
        let form_choice = self.forms.plan(forms, effort);
        let codes = bitpack::packed_len(values.len(), bitpack::width_of(forms.len() as u64 - 1));
        let bytes = 1 + 2 + codes + 1 + form_choice.bytes;
        if bytes >= plain.bytes {
            return choice;
        }
        self.form_bytes.clear();
        self.form_bytes.push(0);
        self.form_bytes[0] = self.forms.write(forms, form_choice, scratch, &mut self.form_bytes);
        BodyChoice { bytes, plain: None }
    }

    /// Appends the encoding byte with `flags`, `prefix`, and `values`, for which `choice` was made last.
    fn write(
        &mut self,
        values: &[f64],
        choice: BodyChoice,
        flags: u8,
        scratch: &mut Scratch,
        out: &mut Vec<u8>,
        prefix: &[u8],
    ) {
        let start = out.len();
        out.push(0);
        out.extend_from_slice(prefix);
        let byte = match choice.plain {
            Some(plain) => self.plain.write(values, plain, scratch, out),
            None => {
                let forms = self.dictionary.forms.len();
                out.extend_from_slice(&(forms as u16).to_le_bytes());
                bitpack::pack(&self.dictionary.codes, bitpack::width_of(forms as u64 - 1), out);
                out.extend_from_slice(&self.form_bytes);
                ValueEncoding::Dictionary as u8
            }
        };
        out[start] = byte | flags;
    }
}

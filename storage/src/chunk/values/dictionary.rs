//! Values that take few forms: each form once, and which of them it is.
//!
//! Byte layout: docs/format/chunk.md, "Dictionary".

use crate::chunk::format::VECTOR_SAMPLES;

/// Slots of the table: four times as many as there can be forms.
const SLOTS: usize = 4 * VECTOR_SAMPLES;

/// Values looked at to see whether a dictionary is worth trying.
const SAMPLE: usize = 64;

/// The forms that the values of a vector take, in the order of their bits, and the number of each value's form.
#[derive(Debug)]
pub(super) struct Dictionary {
    pub(super) forms: Vec<f64>,
    pub(super) codes: Vec<u64>,
    /// Number of the form in a slot plus one; 0 if it is free.
    table: Box<[u16; SLOTS]>,
    order: Vec<(u64, u16)>,
    renamed: Vec<u64>,
}

impl Default for Dictionary {
    fn default() -> Self {
        Self {
            forms: Vec::new(),
            codes: Vec::new(),
            table: Box::new([0; SLOTS]),
            order: Vec::new(),
            renamed: Vec::new(),
        }
    }
}

#[inline(always)]
fn slot_of(bits: u64) -> usize {
    // Multiplied by the golden ratio, the upper bits depend on all others.
    (bits.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48) as usize % SLOTS
}

/// About how many forms `values` take, from a sample; too low rather than too high.
pub(super) fn forms_about(values: &[f64]) -> usize {
    if values.len() <= SAMPLE {
        return values.len();
    }
    let step = values.len() / SAMPLE;
    let mut sample = [0u64; SAMPLE];
    for (slot, value) in sample.iter_mut().zip(values.iter().step_by(step)) {
        *slot = value.to_bits();
    }
    sample.sort_unstable();
    let twins = sample.windows(2).filter(|w| w[0] == w[1]).count();
    // Two of a sample of m, out of f forms that are as frequent as each other, are twins m² / 2f times.
    (SAMPLE * SAMPLE / 2).checked_div(twins).unwrap_or(values.len()).min(values.len())
}

impl Dictionary {
    /// Finds the forms and the number of each value's; `false` if there are more than `max`.
    pub(super) fn find(&mut self, values: &[f64], max: usize) -> bool {
        self.table.fill(0);
        self.order.clear();
        self.codes.clear();
        for value in values {
            let bits = value.to_bits();
            let mut slot = slot_of(bits);
            let code = loop {
                match usize::from(self.table[slot]) {
                    0 => {
                        if self.order.len() >= max {
                            return false;
                        }
                        self.order.push((bits, self.order.len() as u16));
                        self.table[slot] = self.order.len() as u16;
                        break self.order.len() - 1;
                    }
                    known if self.order[known - 1].0 == bits => break known - 1,
                    _ => slot = (slot + 1) % SLOTS,
                }
            };
            self.codes.push(code as u64);
        }
        true
    }

    /// Forms found.
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// Brings the forms that were found into order, in which neighbours lie close together.
    pub(super) fn sort(&mut self) {
        self.order.sort_unstable();
        self.renamed.clear();
        self.renamed.resize(self.order.len(), 0);
        self.forms.clear();
        for (i, (bits, first)) in self.order.iter().enumerate() {
            self.renamed[usize::from(*first)] = i as u64;
            self.forms.push(f64::from_bits(*bits));
        }
        self.codes.iter_mut().for_each(|code| *code = self.renamed[*code as usize]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_told_apart_by_their_bits() {
        let mut dictionary = Dictionary::default();
        let values = [2.0, 0.0, -0.0, f64::NAN, 2.0, f64::from_bits(f64::NAN.to_bits() + 1), 0.0];
        assert!(dictionary.find(&values, 5));
        dictionary.sort();
        assert_eq!(dictionary.forms.len(), 5);
        let back: Vec<u64> = dictionary.codes.iter().map(|code| dictionary.forms[*code as usize].to_bits()).collect();
        assert_eq!(back, values.map(f64::to_bits));
        assert!(!dictionary.find(&values, 4));
    }

    #[test]
    fn a_sample_tells_few_forms_from_many() {
        let few: Vec<f64> = (0..1024).map(|i| f64::from(i * 7919 % 37)).collect();
        assert!(forms_about(&few) < 100);
        let many: Vec<f64> = (0..1024).map(f64::from).collect();
        assert_eq!(forms_about(&many), 1024);
    }
}

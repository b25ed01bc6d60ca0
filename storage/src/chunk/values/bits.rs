//! Floats that are no decimals: their bit patterns as integers.
//!
//! Neighbouring doubles of one sign and magnitude share their front bits, which a base
//! takes off; doubles that came from shorter floats share zeros at the end.

/// Fills `out` with the bit patterns of `values`, common low zeros stripped. Answers how many were.
pub(super) fn integers(values: &[f64], out: &mut Vec<i64>) -> u8 {
    let used = values.iter().fold(0, |sum, value| sum | value.to_bits());
    // All bits zero is +0.0 throughout: nothing to strip.
    let zeros = if used == 0 { 0 } else { used.trailing_zeros() };
    out.clear();
    out.extend(values.iter().map(|value| (value.to_bits() >> zeros) as i64));
    zeros as u8
}

//! The loops of this module, compiled once more for machines with wider vector units, and chosen when they run.
//!
//! The portable build is the twin that the other must agree with, bit for bit: nothing is reordered, and products are
//! not fused (there are none).
#![allow(unsafe_code)]

use super::{Row, add_rows, any_nan, greatest_rows, least_rows};

macro_rules! by_machine {
    ($(#[$doc:meta])* pub fn $name:ident($($arg:ident: $type:ty),*) $(-> $answer:ty)? = $loop:path) => {
        $(#[$doc])*
        pub fn $name($($arg: $type),*) $(-> $answer)? {
            #[cfg(target_arch = "x86_64")]
            if is_x86_feature_detected!("avx2") {
                #[target_feature(enable = "avx2")]
                fn wide($($arg: $type),*) $(-> $answer)? {
                    $loop($($arg),*)
                }
                // SAFETY: the feature that `wide` is compiled for was just found on this machine.
                return unsafe { wide($($arg),*) };
            }
            $loop($($arg),*)
        }
    };
}

by_machine! {
    /// Adds rows to the sums of the lanes, and what the roundings lost to `lost`: sum and loss together are the exact
    /// sum as long as no sum is infinite or NaN.
    pub fn add_compensated(sums: &mut Row, lost: &mut Row, rows: &[Row]) = add_rows
}
by_machine! {
    /// Keeps the greatest value of each lane; NaN never wins.
    pub fn greatest(best: &mut Row, rows: &[Row]) = greatest_rows
}
by_machine! {
    /// Keeps the least value of each lane; NaN never wins.
    pub fn least(best: &mut Row, rows: &[Row]) = least_rows
}
by_machine! {
    /// Whether a value is NaN.
    #[must_use]
    pub fn has_nan(values: &[f64]) -> bool = any_nan
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::lanes::LANES;

    fn value() -> impl Strategy<Value = f64> {
        prop_oneof![8 => -1e9..1e9f64, 2 => any::<u64>().prop_map(f64::from_bits), 1 => Just(-0.0)]
    }

    fn bits(row: &Row) -> [u64; LANES] {
        // Of NaN, which bits come out is the machine's choice.
        row.map(|value| if value.is_nan() { f64::NAN.to_bits() } else { value.to_bits() })
    }

    proptest! {
        #[test]
        fn both_builds_answer_the_same(values in prop::collection::vec(value(), 0..200)) {
            let (rows, rest) = values.as_chunks::<LANES>();
            let (mut sums, mut lost) = ([0.0; LANES], [0.0; LANES]);
            let (mut plain_sums, mut plain_lost) = (sums, lost);
            add_compensated(&mut sums, &mut lost, rows);
            add_rows(&mut plain_sums, &mut plain_lost, rows);
            prop_assert_eq!((bits(&sums), bits(&lost)), (bits(&plain_sums), bits(&plain_lost)));
            let (mut best, mut worst) = ([f64::NEG_INFINITY; LANES], [f64::INFINITY; LANES]);
            greatest(&mut best, rows);
            least(&mut worst, rows);
            for lane in 0..LANES {
                let numbers = || rows.iter().map(|row| row[lane]).filter(|value| !value.is_nan());
                prop_assert_eq!(best[lane], numbers().fold(f64::NEG_INFINITY, f64::max));
                prop_assert_eq!(worst[lane], numbers().fold(f64::INFINITY, f64::min));
            }
            prop_assert_eq!(has_nan(&values), values.iter().any(|value| value.is_nan()));
            prop_assert_eq!(has_nan(rest), rest.iter().any(|value| value.is_nan()));
        }
    }
}

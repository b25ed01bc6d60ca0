//! The loops of this module, chosen by what the machine can do when they run.
//!
//! The plain loops are the twins that all others must agree with, bit for bit: nothing is reordered, and products are
//! not fused (there are none).
#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
mod x86;

use crate::chunk::Machine;

use super::{Row, add_plain_rows, add_rows, any_nan, greatest_rows, least_rows};

macro_rules! by_machine {
    ($(#[$doc:meta])* pub fn $name:ident($($arg:ident: $type:ty),*) $(-> $answer:ty)? = $plain:path, $avx2:path, $avx512:path) => {
        $(#[$doc])*
        pub fn $name($($arg: $type),*) $(-> $answer)? {
            $name::on(Machine::here(), $($arg),*)
        }

        mod $name {
            use super::*;

            #[inline]
            pub(super) fn on(machine: Machine, $($arg: $type),*) $(-> $answer)? {
                match machine {
                    Machine::Portable => $plain($($arg),*),
                    // SAFETY: `Machine::all` found the features that it is compiled for on this machine.
                    #[cfg(target_arch = "x86_64")]
                    Machine::Avx2 => unsafe { $avx2($($arg),*) },
                    // SAFETY: likewise.
                    #[cfg(target_arch = "x86_64")]
                    Machine::Avx512 => unsafe { $avx512($($arg),*) },
                }
            }
        }
    };
}

by_machine! {
    /// Adds rows to the sums of the lanes, and what the roundings lost to `lost`: sum and loss together are the exact
    /// sum as long as no sum is infinite or NaN.
    pub fn add_compensated(sums: &mut Row, lost: &mut Row, rows: &[Row]) =
        add_rows, x86::add_compensated_avx2, x86::add_compensated_avx512
}
by_machine! {
    /// Adds rows to the sums of the lanes, each to one of four sums that take turns and are added up at the end, and
    /// lets go what the roundings lose.
    pub fn add(sums: &mut Row, rows: &[Row]) = add_plain_rows, x86::add_avx2, x86::add_avx512
}
by_machine! {
    /// Keeps the greatest value of each lane; NaN never wins.
    pub fn greatest(best: &mut Row, rows: &[Row]) = greatest_rows, x86::greatest_avx2, x86::greatest_avx512
}
by_machine! {
    /// Keeps the least value of each lane; NaN never wins.
    pub fn least(best: &mut Row, rows: &[Row]) = least_rows, x86::least_avx2, x86::least_avx512
}
by_machine! {
    /// Whether a value is NaN.
    #[must_use]
    pub fn has_nan(values: &[f64]) -> bool = any_nan, x86::has_nan_avx2, x86::has_nan_avx512
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::lanes::LANES;

    fn value() -> impl Strategy<Value = f64> {
        prop_oneof![8 => -1e9..1e9f64, 2 => any::<u64>().prop_map(f64::from_bits), 1 => Just(-0.0), 1 => Just(0.0)]
    }

    fn bits(row: &Row) -> [u64; LANES] {
        // Of NaN, which bits come out is the machine's choice.
        row.map(|value| if value.is_nan() { f64::NAN.to_bits() } else { value.to_bits() })
    }

    proptest! {
        #[test]
        fn all_machines_answer_the_same(values in prop::collection::vec(value(), 0..200)) {
            let (rows, rest) = values.as_chunks::<LANES>();
            for machine in Machine::all() {
                let (mut sums, mut lost) = ([0.0; LANES], [0.0; LANES]);
                let (mut plain_sums, mut plain_lost) = (sums, lost);
                add_compensated::on(machine, &mut sums, &mut lost, rows);
                add_rows(&mut plain_sums, &mut plain_lost, rows);
                prop_assert_eq!((bits(&sums), bits(&lost)), (bits(&plain_sums), bits(&plain_lost)));
                let (mut sums, mut plain_sums) = ([0.0; LANES], [0.0; LANES]);
                add::on(machine, &mut sums, rows);
                add_plain_rows(&mut plain_sums, rows);
                prop_assert_eq!(bits(&sums), bits(&plain_sums));
                let (mut best, mut worst) = ([f64::NEG_INFINITY; LANES], [f64::INFINITY; LANES]);
                let (mut plain_best, mut plain_worst) = (best, worst);
                greatest::on(machine, &mut best, rows);
                least::on(machine, &mut worst, rows);
                greatest_rows(&mut plain_best, rows);
                least_rows(&mut plain_worst, rows);
                prop_assert_eq!((bits(&best), bits(&worst)), (bits(&plain_best), bits(&plain_worst)));
                for lane in 0..LANES {
                    let numbers = || rows.iter().map(|row| row[lane]).filter(|value| !value.is_nan());
                    prop_assert_eq!(best[lane], numbers().fold(f64::NEG_INFINITY, f64::max));
                    prop_assert_eq!(worst[lane], numbers().fold(f64::INFINITY, f64::min));
                }
                prop_assert_eq!(has_nan::on(machine, &values), values.iter().any(|value| value.is_nan()));
                prop_assert_eq!(has_nan::on(machine, rest), rest.iter().any(|value| value.is_nan()));
            }
        }
    }
}

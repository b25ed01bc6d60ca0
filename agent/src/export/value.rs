//! Numbers that read back to the bit.

use std::io::Write;

use crate::ask::put_float;

/// The NaN that the word alone stands for.
const NAN: u64 = 0x7ff8_0000_0000_0001;

/// The shortest text that reads back as this very value. A NaN that carries a message keeps it, as C writes it.
pub(super) fn put_value(out: &mut Vec<u8>, value: f64) {
    if value.is_nan() && value.to_bits() != NAN {
        let _ = write!(out, "NaN(0x{:016x})", value.to_bits());
    } else {
        put_float(out, value);
    }
}

/// Seconds with as many decimals as are needed.
pub(super) fn put_seconds(out: &mut Vec<u8>, nanos: i64) {
    const SECOND: u64 = 1_000_000_000;
    if nanos < 0 {
        out.push(b'-');
    }
    let (whole, part) = (nanos.unsigned_abs() / SECOND, nanos.unsigned_abs() % SECOND);
    let _ = write!(out, "{whole}");
    if part != 0 {
        let start = out.len();
        let _ = write!(out, ".{part:09}");
        let zeros = out[start..].iter().rev().take_while(|&&digit| digit == b'0').count();
        out.truncate(out.len() - zeros);
    }
}

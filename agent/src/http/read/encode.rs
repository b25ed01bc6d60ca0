//! Protobuf, written by hand: no message is built before its bytes.

use tidegauge::Labels;

/// Appends an unsigned number.
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends field `number` as a number.
pub(super) fn put_number(out: &mut Vec<u8>, number: u8, value: u64) {
    out.push(number << 3);
    put_varint(out, value);
}

/// Appends field `number` as bytes, text or a message.
pub(super) fn put_bytes(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    out.push(number << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// How long a number is.
pub(super) fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// Appends labels, field 1 of a series, sorted by name as they are stored.
pub(super) fn put_labels(out: &mut Vec<u8>, labels: &Labels) {
    for (name, value) in labels.iter() {
        let part = |text: &str| 1 + varint_len(text.len() as u64) + text.len();
        out.push(1 << 3 | 2);
        put_varint(out, (part(name) + part(value)) as u64);
        put_bytes(out, 1, name.as_bytes());
        put_bytes(out, 2, value.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_a_number_is_that_of_its_bytes() {
        for value in (0..64).flat_map(|bit| [(1u64 << bit) - 1, 1 << bit]).chain([u64::MAX]) {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!(out.len(), varint_len(value), "{value}");
        }
    }
}

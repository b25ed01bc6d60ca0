//! The 64-bit xxHash with seed 0, which decides what `limit_ratio` keeps. It is not the
//! hash of the stored series: Prometheus keeps the same series for the same ratio.

const P1: u64 = 0x9e37_79b1_85eb_ca87;
const P2: u64 = 0xc2b2_ae3d_27d4_eb4f;
const P3: u64 = 0x1656_67b1_9e37_79f9;
const P4: u64 = 0x85eb_ca77_c2b2_ae63;
const P5: u64 = 0x27d4_eb2f_1656_67c5;

fn word(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |word, &b| word << 8 | u64::from(b))
}

fn round(lane: u64, input: u64) -> u64 {
    lane.wrapping_add(input.wrapping_mul(P2)).rotate_left(31).wrapping_mul(P1)
}

pub(super) fn xxh64(bytes: &[u8]) -> u64 {
    let (stripes, rest) = bytes.split_at(bytes.len() / 32 * 32);
    let mut hash = if stripes.is_empty() {
        P5
    } else {
        let mut lanes = [P1.wrapping_add(P2), P2, 0, 0u64.wrapping_sub(P1)];
        for stripe in stripes.chunks_exact(32) {
            for (lane, input) in lanes.iter_mut().zip(stripe.chunks_exact(8)) {
                *lane = round(*lane, word(input));
            }
        }
        let [a, b, c, d] = lanes;
        let joined = a.rotate_left(1).wrapping_add(b.rotate_left(7));
        let joined = joined.wrapping_add(c.rotate_left(12)).wrapping_add(d.rotate_left(18));
        let merge = |hash: u64, lane| (hash ^ round(0, lane)).wrapping_mul(P1).wrapping_add(P4);
        lanes.into_iter().fold(joined, merge)
    };
    hash = hash.wrapping_add(bytes.len() as u64);
    let mut eights = rest.chunks_exact(8);
    for input in &mut eights {
        hash = (hash ^ round(0, word(input))).rotate_left(27).wrapping_mul(P1).wrapping_add(P4);
    }
    let mut rest = eights.remainder();
    if let Some((input, after)) = rest.split_at_checked(4) {
        hash = (hash ^ word(input).wrapping_mul(P1)).rotate_left(23).wrapping_mul(P2).wrapping_add(P3);
        rest = after;
    }
    for &b in rest {
        hash = (hash ^ u64::from(b).wrapping_mul(P5)).rotate_left(11).wrapping_mul(P1);
    }
    hash = (hash ^ hash >> 33).wrapping_mul(P2);
    hash = (hash ^ hash >> 29).wrapping_mul(P3);
    hash ^ hash >> 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_values_come_out() {
        assert_eq!(xxh64(b""), 0xef46_db37_51d8_e999);
        assert_eq!(xxh64(b"a"), 0xd24e_c4f1_a98c_6e5b);
        assert_eq!(xxh64(b"abc"), 0x44bc_2cf5_ad77_0999);
        assert_eq!(xxh64(b"The quick brown fox jumps over the lazy dog"), 0x0b24_2d36_1fda_71bc);
    }
}

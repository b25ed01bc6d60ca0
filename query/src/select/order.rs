//! Label sets in order: sorted by keys that compare as bytes.
//!
//! Comparing two label sets walks both, name by name. Sorting a million of them would do
//! that twenty million times, so each is walked once instead, into a key.

use std::cmp::Ordering;

use rayon::prelude::*;
use tidegauge_storage::model::Labels;

/// Up to this many, keys are not worth their making, nor other threads the way to them.
pub(super) const FEW: usize = 256;
/// Label sets whose keys share one buffer.
const CHUNK: usize = 4096;

/// Where each of `labels` goes: the places of the least, the next, … Equal ones keep their order.
pub(super) fn ascending<'a>(labels: impl Fn(usize) -> &'a Labels + Sync, n: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..n as u32).collect();
    if n <= FEW {
        order.sort_by(|&a, &b| labels(a as usize).cmp(labels(b as usize)));
        return order;
    }
    let chunk_of = |first: usize| Keys::of((first..(first + CHUNK).min(n)).map(&labels));
    let chunks: Vec<Keys> = (0..n).into_par_iter().step_by(CHUNK).map(chunk_of).collect();
    let key = |at: u32| chunks[at as usize / CHUNK].get(at as usize % CHUNK);
    let shared = shared_prefix((0..n as u32).map(key));
    let mut heads: Vec<(u64, u32)> = order.par_iter().map(|&at| (head(&key(at)[shared..]), at)).collect();
    let compare = |a: &(u64, u32), b: &(u64, u32)| -> Ordering {
        a.0.cmp(&b.0).then_with(|| key(a.1)[shared..].cmp(&key(b.1)[shared..])).then(a.1.cmp(&b.1))
    };
    heads.par_sort_unstable_by(compare);
    order.clear();
    order.extend(heads.into_iter().map(|(_, at)| at));
    order
}

/// Keys of a run of label sets, one behind the other.
struct Keys {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Keys {
    fn of<'a>(labels: impl Iterator<Item = &'a Labels>) -> Self {
        let mut keys = Self { bytes: Vec::new(), ends: Vec::new() };
        for set in labels {
            for (name, value) in set.iter() {
                put(&mut keys.bytes, name);
                put(&mut keys.bytes, value);
            }
            keys.ends.push(keys.bytes.len());
        }
        keys
    }

    fn get(&self, at: usize) -> &[u8] {
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        &self.bytes[start..self.ends[at]]
    }
}

/// Text, then an end mark that is less than any text. A zero byte within the text gets a
/// companion, so that it is greater than the mark and yet less than any other byte.
fn put(out: &mut Vec<u8>, text: &str) {
    if text.as_bytes().contains(&0) {
        for &byte in text.as_bytes() {
            out.push(byte);
            if byte == 0 {
                out.push(0xff);
            }
        }
    } else {
        out.extend_from_slice(text.as_bytes());
    }
    out.extend_from_slice(&[0, 0]);
}

/// The first eight bytes, as a number of the same order.
fn head(key: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    let n = key.len().min(8);
    bytes[..n].copy_from_slice(&key[..n]);
    u64::from_be_bytes(bytes)
}

/// How many first bytes all keys have in common.
fn shared_prefix<'a>(mut keys: impl Iterator<Item = &'a [u8]>) -> usize {
    let Some(first) = keys.next() else { return 0 };
    keys.fold(first.len(), |shared, key| {
        let bytes = first[..shared].iter().zip(key);
        bytes.take_while(|(a, b)| a == b).count()
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tidegauge_storage::model::LabelLimits;

    use super::*;

    fn text() -> impl Strategy<Value = String> {
        let character = prop_oneof![Just('\0'), Just('\u{1}'), Just('a'), Just('é')];
        prop::collection::vec(character, 1..4).prop_map(String::from_iter)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn keys_order_label_sets_as_the_sets_order_themselves(
            sets in prop::collection::vec(prop::collection::btree_map(text(), text(), 1..4), 1..400),
        ) {
            let sets: Vec<Labels> =
                sets.iter().map(|pairs| Labels::new(pairs, &LabelLimits::DEFAULT).unwrap()).collect();
            let mut naive: Vec<u32> = (0..sets.len() as u32).collect();
            naive.sort_by_key(|&at| &sets[at as usize]);
            prop_assert_eq!(ascending(|at| &sets[at], sets.len()), naive);
        }
    }
}

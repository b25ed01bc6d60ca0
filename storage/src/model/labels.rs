//! Label sets: the durable identity of a series.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_128;

/// The label that carries the metric's name.
pub const METRIC_NAME: &str = "__name__";

/// A label set: names ascending, no duplicates, no empty value.
///
/// Cheap to clone. Held as its encoding (`docs/format/labels.md`), which the WAL
/// and the segments store as it stands: equal sets have equal bytes.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Labels(Arc<[u8]>);

/// 128-bit key by which sources find each other's series.
///
/// Two label sets may share a key, so whoever joins by it compares the sets too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct SeriesKey(pub u128);

impl SeriesKey {
    /// The key of the label set with this encoding. See [`Labels::key`].
    #[must_use]
    pub fn of_encoded(encoded: &[u8]) -> Self {
        Self(xxh3_128(encoded))
    }
}

/// What a label set may weigh. What exceeds it is refused, never cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LabelLimits {
    /// Labels of one series, the metric's name included. Default 64.
    pub labels_per_series: usize,
    /// Bytes of a label's name. Default 1,024.
    pub name_bytes: usize,
    /// Bytes of a label's value. Default 16 KiB.
    pub value_bytes: usize,
}

impl LabelLimits {
    /// The defaults, named field by field above.
    pub const DEFAULT: Self = Self { labels_per_series: 64, name_bytes: 1024, value_bytes: 16 << 10 };
    /// None: for who asks for a series, which may be older than the limits of today.
    pub const NONE: Self = Self { labels_per_series: usize::MAX, name_bytes: usize::MAX, value_bytes: usize::MAX };
}

impl Default for LabelLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Why a label set was refused. Mend the set; nothing was stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LabelError {
    /// A label has no name.
    #[error("a label has no name (its value is {value:?}): give it one")]
    EmptyName {
        /// The value of the nameless label.
        value: String,
    },
    /// The same name stands twice.
    #[error("label {name:?} appears twice: keep one")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// No label at all, or only empty values.
    #[error("a series needs at least one label with a value")]
    NoLabels,
    /// More labels than the limit.
    #[error("{found} labels, at most {limit} are allowed: leave some out, or raise the limit")]
    TooMany {
        /// How many there were.
        found: usize,
        /// How many are allowed.
        limit: usize,
    },
    /// A name is longer than the limit.
    #[error("label name {name:?}… has {found} bytes, at most {limit} are allowed: shorten it, or raise the limit")]
    NameTooLong {
        /// The beginning of the name.
        name: String,
        /// Its bytes.
        found: usize,
        /// The bytes allowed.
        limit: usize,
    },
    /// A value is longer than the limit.
    #[error("value of label {name:?} has {found} bytes, at most {limit} are allowed: shorten it, or raise the limit")]
    ValueTooLong {
        /// The label.
        name: String,
        /// The value's bytes.
        found: usize,
        /// The bytes allowed.
        limit: usize,
    },
    /// The encoded form does not decode.
    #[error("label set damaged: {what}")]
    Malformed {
        /// What was found.
        what: &'static str,
    },
}

impl Labels {
    /// Builds a label set from pairs in any order. A label with an empty value is the
    /// same as no label, and left out. Any UTF-8 name is legal, as in Prometheus 3.
    ///
    /// # Errors
    /// [`LabelError`] names what is wrong with the pairs, or which limit they exceed.
    pub fn new<N: AsRef<str>, V: AsRef<str>>(
        pairs: impl IntoIterator<Item = (N, V)>,
        limits: &LabelLimits,
    ) -> Result<Self, LabelError> {
        let pairs: Vec<(N, V)> = pairs.into_iter().collect();
        let mut sorted: Vec<(&str, &str)> = Vec::with_capacity(pairs.len());
        for (name, value) in &pairs {
            let (name, value) = (name.as_ref(), value.as_ref());
            check_pair(name, value, limits)?;
            sorted.push((name, value));
        }
        sorted.sort_unstable_by_key(|&(name, _)| name);
        if let Some(twice) = sorted.windows(2).find(|w| w[0].0 == w[1].0) {
            return Err(LabelError::Duplicate { name: twice[0].0.to_owned() });
        }
        sorted.retain(|&(_, value)| !value.is_empty());
        if sorted.is_empty() {
            return Err(LabelError::NoLabels);
        }
        if sorted.len() > limits.labels_per_series {
            return Err(LabelError::TooMany { found: sorted.len(), limit: limits.labels_per_series });
        }
        Ok(Self::encode(&sorted))
    }

    /// The set without any label, as queries produce it (`sum(x)`); no series has it.
    #[must_use]
    pub fn empty() -> Self {
        Self(Arc::from(&[][..]))
    }

    /// For results of queries: names must ascend without duplicates; empty values are left out.
    ///
    /// # Panics
    /// In debug builds, if the names do not ascend.
    #[must_use]
    pub fn from_sorted(pairs: &[(&str, &str)]) -> Self {
        debug_assert!(pairs.windows(2).all(|w| w[0].0 < w[1].0), "names must ascend");
        if pairs.iter().all(|(_, value)| !value.is_empty()) {
            return Self::encode(pairs);
        }
        let kept: Vec<_> = pairs.iter().copied().filter(|(_, value)| !value.is_empty()).collect();
        Self::encode(&kept)
    }

    fn encode(sorted: &[(&str, &str)]) -> Self {
        let bytes = sorted.iter().map(|(n, v)| n.len() + v.len() + 6).sum();
        let mut out = Vec::with_capacity(bytes);
        for (name, value) in sorted {
            put_str(&mut out, name);
            put_str(&mut out, value);
        }
        Self(out.into())
    }

    /// Takes an encoding from disk after checking all of it: O(bytes).
    ///
    /// # Errors
    /// [`LabelError::Malformed`] if the bytes are no encoding of a label set.
    pub fn from_encoded(bytes: &[u8]) -> Result<Self, LabelError> {
        let mut rest = bytes;
        let mut last = "";
        let mut first = true;
        while !rest.is_empty() {
            let name = take_str(&mut rest)?;
            let value = take_str(&mut rest)?;
            if name.is_empty() || value.is_empty() {
                return Err(LabelError::Malformed { what: "empty name or value" });
            }
            if !first && name <= last {
                return Err(LabelError::Malformed { what: "names do not ascend" });
            }
            (last, first) = (name, false);
        }
        Ok(Self(bytes.into()))
    }

    /// Takes an encoding that was put together of checked labels, in order.
    pub(crate) fn from_checked(bytes: &[u8]) -> Self {
        debug_assert!(Self::from_encoded(bytes).is_ok(), "checked by the caller");
        Self(bytes.into())
    }

    /// The encoding that disk formats store.
    #[must_use]
    pub fn encoded(&self) -> &[u8] {
        &self.0
    }

    /// Name and value of each label, names ascending.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut rest = &self.0[..];
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let name = take_str(&mut rest).expect("checked when this set was built");
            let value = take_str(&mut rest).expect("checked when this set was built");
            Some((name, value))
        })
    }

    /// The value of the label `name`, if the set has it.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|&(n, _)| n == name).map(|(_, v)| v)
    }

    /// The metric's name, if the set has one.
    #[must_use]
    pub fn metric_name(&self) -> Option<&str> {
        self.get(METRIC_NAME)
    }

    /// How many labels the set has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether the set has no label.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The join key: XXH3-128 (seed 0) of the encoding.
    #[must_use]
    pub fn key(&self) -> SeriesKey {
        SeriesKey::of_encoded(&self.0)
    }

    /// The encoding of each label by itself, names ascending: the set's own is one after another.
    pub fn encoded_pairs(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &self.0[..];
        std::iter::from_fn(move || {
            let before = rest;
            take_bytes(&mut rest).ok()?;
            take_bytes(&mut rest).ok()?;
            Some(&before[..before.len() - rest.len()])
        })
    }

    /// Name and value of the first label of an encoding.
    ///
    /// # Errors
    /// [`LabelError::Malformed`] if there is none.
    pub fn split_pair(encoded: &[u8]) -> Result<(&str, &str), LabelError> {
        let mut rest = encoded;
        Ok((take_str(&mut rest)?, take_str(&mut rest)?))
    }

    /// The encoding of one label, as [`Self::encoded_pairs`] gives it, into `out`.
    pub fn encode_pair(name: &str, value: &str, out: &mut Vec<u8>) {
        put_str(out, name);
        put_str(out, value);
    }
}

fn check_pair(name: &str, value: &str, limits: &LabelLimits) -> Result<(), LabelError> {
    if name.is_empty() {
        return Err(LabelError::EmptyName { value: excerpt(value) });
    }
    if name.len() > limits.name_bytes {
        return Err(LabelError::NameTooLong { name: excerpt(name), found: name.len(), limit: limits.name_bytes });
    }
    if value.len() > limits.value_bytes {
        return Err(LabelError::ValueTooLong { name: name.to_owned(), found: value.len(), limit: limits.value_bytes });
    }
    Ok(())
}

fn excerpt(text: &str) -> String {
    text.chars().take(40).collect()
}

/// LEB128 length, then the bytes.
fn put_str(out: &mut Vec<u8>, text: &str) {
    let mut n = text.len();
    while n >= 0x80 {
        out.push((n as u8) | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
    out.extend_from_slice(text.as_bytes());
}

fn take_str<'a>(rest: &mut &'a [u8]) -> Result<&'a str, LabelError> {
    std::str::from_utf8(take_bytes(rest)?).map_err(|_| LabelError::Malformed { what: "not UTF-8" })
}

fn take_bytes<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], LabelError> {
    let mut len = 0usize;
    for (i, &byte) in rest.iter().enumerate().take(4) {
        len |= usize::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            if i > 0 && byte == 0 {
                return Err(LabelError::Malformed { what: "length not in its shortest form" });
            }
            let tail = &rest[i + 1..];
            let bytes = tail.get(..len).ok_or(LabelError::Malformed { what: "length beyond the end" })?;
            *rest = &tail[len..];
            return Ok(bytes);
        }
    }
    Err(LabelError::Malformed { what: "length unfinished" })
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// By pairs, as Prometheus orders series. Text in UTF-8 is ordered as its bytes are.
impl Ord for Labels {
    fn cmp(&self, other: &Self) -> Ordering {
        let (mut a, mut b) = (&self.0[..], &other.0[..]);
        loop {
            match (take_bytes(&mut a), take_bytes(&mut b)) {
                (Ok(x), Ok(y)) if x == y => {}
                (Ok(x), Ok(y)) => return x.cmp(y),
                // Only at the end: the sets were checked when they were built.
                (x, y) => return x.is_ok().cmp(&y.is_ok()),
            }
        }
    }
}

/// As PromQL writes it: `cpu{host="a"}`.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = self.metric_name() {
            f.write_str(name)?;
        }
        let mut separator = "{";
        for (name, value) in self.iter().filter(|(name, _)| *name != METRIC_NAME) {
            write!(f, "{separator}{name}={value:?}")?;
            separator = ", ";
        }
        match (separator, self.metric_name()) {
            ("{", Some(_)) => Ok(()),
            ("{", None) => f.write_str("{}"),
            _ => f.write_str("}"),
        }
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: LabelLimits = LabelLimits::DEFAULT;

    fn labels(pairs: &[(&str, &str)]) -> Result<Labels, LabelError> {
        Labels::new(pairs.iter().copied(), &LIMITS)
    }

    #[test]
    fn order_of_pairs_does_not_matter_and_empty_values_are_absent() {
        let a = labels(&[("b", "2"), ("__name__", "cpu"), ("c", "")]).unwrap();
        let b = labels(&[("__name__", "cpu"), ("b", "2")]).unwrap();
        assert_eq!(a, b);
        assert_eq!(a.key(), b.key());
        assert_eq!(a.to_string(), r#"cpu{b="2"}"#);
        assert_eq!(a.get("b"), Some("2"));
        assert_eq!(a.get("c"), None);
    }

    #[test]
    fn each_refusal_names_its_cause() {
        assert!(matches!(labels(&[("", "x")]), Err(LabelError::EmptyName { .. })));
        assert_eq!(labels(&[("a", "1"), ("a", "2")]), Err(LabelError::Duplicate { name: "a".into() }));
        assert_eq!(labels(&[("a", "")]), Err(LabelError::NoLabels));
        let long = "x".repeat(LIMITS.value_bytes + 1);
        assert!(matches!(labels(&[("a", &long)]), Err(LabelError::ValueTooLong { .. })));
        assert!(matches!(labels(&[(&long, "a")]), Err(LabelError::NameTooLong { .. })));
        let many: Vec<(String, &str)> = (0..65).map(|i| (format!("l{i}"), "v")).collect();
        assert!(matches!(Labels::new(many, &LIMITS), Err(LabelError::TooMany { found: 65, limit: 64 })));
    }

    #[test]
    fn sets_are_ordered_by_their_pairs() {
        let sets = [
            vec![("a", "1")],
            vec![("a", "1"), ("b", "1")],
            vec![("a", "1"), ("b", "10")],
            vec![("a", "1"), ("b", "2")],
            vec![("a", "1"), ("c", "0")],
            vec![("a", "10")],
            vec![("aa", "0")],
            vec![("b", "é")],
        ];
        let sets: Vec<Labels> = sets.iter().map(|pairs| labels(pairs).unwrap()).collect();
        for (i, a) in sets.iter().enumerate() {
            for (j, b) in sets.iter().enumerate() {
                assert_eq!(a.cmp(b), i.cmp(&j), "{a} {b}");
                assert_eq!(a.cmp(b), a.iter().cmp(b.iter()), "{a} {b}");
            }
        }
        assert_eq!(Labels::empty().cmp(&sets[0]), Ordering::Less);
    }

    #[test]
    fn an_encoding_comes_back_and_a_damaged_one_is_refused() {
        let set = labels(&[("__name__", "cpu"), ("héllo wörld", &"v".repeat(300))]).unwrap();
        assert_eq!(Labels::from_encoded(set.encoded()).unwrap(), set);
        assert_eq!(set.encoded_pairs().collect::<Vec<_>>().concat(), set.encoded());
        assert!(set.encoded_pairs().map(|pair| Labels::split_pair(pair).unwrap()).eq(set.iter()));
        for cut in 1..set.encoded().len() {
            let whole = Labels::from_encoded(&set.encoded()[..cut]);
            assert!(whole.is_err() || whole.unwrap().len() == 1, "cut at {cut}");
        }
        for bad in [
            &[0u8, 1, b'a'][..],
            &[1, b'a', 0],
            &[1, b'b', 1, b'x', 1, b'a', 1, b'x'],
            &[0x81, 0, b'a', 1, b'b'],
            &[1, 0xff, 1, b'a'],
        ] {
            assert!(Labels::from_encoded(bad).is_err(), "{bad:?}");
        }
    }
}

//! A delete: which samples are gone, and from when in the order of acceptance on.
//!
//! Byte layout: `docs/format/manifest.md`, "Tombstone".

use super::{Labels, MatchOp, Matcher, SeqNo, SeqRange, TimeRange, Timestamp};

/// Matchers that one delete may have.
pub const TOMBSTONE_MATCHERS_MAX: usize = 64;
/// Bytes that one delete may have.
pub const TOMBSTONE_BYTES_MAX: usize = 64 << 10;

/// Hides the samples of the series that pass all matchers, whose timestamps lie in the range,
/// in every source that lies wholly at or below its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tombstone {
    /// Its own place in the order of acceptance: no sample has this number.
    pub seq: SeqNo,
    /// Which series.
    pub matchers: Vec<Matcher>,
    /// Which of their samples.
    pub range: TimeRange,
    /// When it was made, nanoseconds since the Unix epoch.
    pub created: i64,
}

impl Tombstone {
    /// Whether it hides anything in a source of this range of numbers that holds this time.
    #[must_use]
    pub fn reaches(&self, seq: SeqRange, time: Option<TimeRange>) -> bool {
        seq.end.0 <= self.seq.0.saturating_add(1) && time.is_some_and(|time| time.overlaps(&self.range))
    }

    /// Whether a series of these labels passes all matchers.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        self.matchers.iter().all(|m| m.matches_labels(labels))
    }

    /// Appends its bytes, without the number.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let (start, end) = (self.range.start.nanos(), self.range.end.nanos());
        [start, end, self.created].iter().for_each(|n| out.extend_from_slice(&n.to_le_bytes()));
        encode_matchers(&self.matchers, out);
    }

    /// Reads what [`encode`](Self::encode) wrote.
    pub(crate) fn decode(seq: SeqNo, bytes: &mut &[u8]) -> Result<Self, &'static str> {
        let (start, end, created) = (i64_of(bytes)?, i64_of(bytes)?, i64_of(bytes)?);
        let range = TimeRange::new(Timestamp::from_nanos(start), Timestamp::from_nanos(end));
        Ok(Self { seq, range, created, matchers: decode_matchers(bytes)? })
    }

    /// Whether it is within the limits of one delete.
    #[must_use]
    pub fn fits(&self) -> bool {
        let mut bytes = Vec::new();
        self.encode(&mut bytes);
        self.matchers.len() <= TOMBSTONE_MATCHERS_MAX && bytes.len() <= TOMBSTONE_BYTES_MAX
    }
}

/// Appends a count, then each matcher.
pub(crate) fn encode_matchers(matchers: &[Matcher], out: &mut Vec<u8>) {
    out.extend_from_slice(&(matchers.len() as u32).to_le_bytes());
    for matcher in matchers {
        out.push(match matcher.op() {
            MatchOp::Equal => 0,
            MatchOp::NotEqual => 1,
            MatchOp::Regex => 2,
            MatchOp::NotRegex => 3,
        });
        for text in [matcher.name(), matcher.value()] {
            out.extend_from_slice(&(text.len() as u32).to_le_bytes());
            out.extend_from_slice(text.as_bytes());
        }
    }
}

pub(crate) fn decode_matchers(bytes: &mut &[u8]) -> Result<Vec<Matcher>, &'static str> {
    let count = u32_of(bytes)?;
    if count as usize > TOMBSTONE_MATCHERS_MAX {
        return Err("too many matchers");
    }
    let mut matchers = Vec::new();
    for _ in 0..count {
        let (op, rest) = bytes.split_first().ok_or("a matcher is cut short")?;
        *bytes = rest;
        let op = match op {
            0 => MatchOp::Equal,
            1 => MatchOp::NotEqual,
            2 => MatchOp::Regex,
            3 => MatchOp::NotRegex,
            _ => return Err("operator of a matcher"),
        };
        let (name, value) = (text_of(bytes)?, text_of(bytes)?);
        matchers.push(Matcher::new(name, op, value).map_err(|_| "regular expression of a matcher")?);
    }
    Ok(matchers)
}

fn array<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], &'static str> {
    let (head, rest) = bytes.split_first_chunk::<N>().ok_or("a delete is cut short")?;
    *bytes = rest;
    Ok(*head)
}

pub(crate) fn u32_of(bytes: &mut &[u8]) -> Result<u32, &'static str> {
    array(bytes).map(u32::from_le_bytes)
}

pub(crate) fn i64_of(bytes: &mut &[u8]) -> Result<i64, &'static str> {
    array(bytes).map(i64::from_le_bytes)
}

fn text_of(bytes: &mut &[u8]) -> Result<String, &'static str> {
    let len = u32_of(bytes)? as usize;
    let (text, rest) = bytes.split_at_checked(len).ok_or("text of a matcher is cut short")?;
    *bytes = rest;
    std::str::from_utf8(text).map(str::to_owned).map_err(|_| "text of a matcher is not UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Tombstone {
        let regex = Matcher::new("host", MatchOp::NotRegex, "web.*|db").unwrap();
        Tombstone {
            seq: SeqNo(9),
            matchers: vec![Matcher::equal("job", "old"), regex],
            range: TimeRange::new(Timestamp::from_nanos(-5), Timestamp::MAX),
            created: 77,
        }
    }

    #[test]
    fn it_comes_back_from_its_bytes_and_damage_is_told() {
        let mut bytes = Vec::new();
        sample().encode(&mut bytes);
        let mut rest = &bytes[..];
        assert_eq!(Tombstone::decode(SeqNo(9), &mut rest), Ok(sample()));
        assert!(rest.is_empty());
        for len in 0..bytes.len() {
            assert!(Tombstone::decode(SeqNo(9), &mut &bytes[..len]).is_err(), "{len}");
        }
        bytes[28] = 9;
        assert!(Tombstone::decode(SeqNo(9), &mut &bytes[..]).is_err());
    }

    /// P9: only what lies wholly at or below its number.
    #[test]
    fn p9_it_reaches_what_lies_wholly_at_or_below_it() {
        let time = Some(TimeRange::new(Timestamp::from_nanos(0), Timestamp::from_nanos(1)));
        let seq = |start, end| SeqRange { start: SeqNo(start), end: SeqNo(end) };
        assert!(sample().reaches(seq(1, 9), time) && sample().reaches(seq(1, 10), time));
        assert!(!sample().reaches(seq(1, 11), time) && !sample().reaches(seq(10, 12), time));
        assert!(!sample().reaches(seq(1, 9), None));
        let before = TimeRange::new(Timestamp::from_nanos(-9), Timestamp::from_nanos(-5));
        assert!(!sample().reaches(seq(1, 9), Some(before)));
    }
}

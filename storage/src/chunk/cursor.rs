//! Reading fields from bytes that nobody vouches for.

use super::ChunkError;

/// Takes fields from the front of a slice; each says what it is, should it be missing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    #[inline(always)]
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    #[inline(always)]
    pub(crate) fn take(&mut self, len: usize, what: &'static str) -> Result<&'a [u8], ChunkError> {
        let (head, tail) = self.rest.split_at_checked(len).ok_or(ChunkError::damaged(what))?;
        self.rest = tail;
        Ok(head)
    }

    #[inline(always)]
    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], ChunkError> {
        let (head, tail) = self.rest.split_first_chunk::<N>().ok_or(ChunkError::damaged(what))?;
        self.rest = tail;
        Ok(*head)
    }

    #[inline(always)]
    pub(crate) fn u8(&mut self, what: &'static str) -> Result<u8, ChunkError> {
        self.array(what).map(u8::from_le_bytes)
    }

    #[inline(always)]
    pub(crate) fn u16(&mut self, what: &'static str) -> Result<u16, ChunkError> {
        self.array(what).map(u16::from_le_bytes)
    }

    #[inline(always)]
    pub(crate) fn u32(&mut self, what: &'static str) -> Result<u32, ChunkError> {
        self.array(what).map(u32::from_le_bytes)
    }

    #[inline(always)]
    pub(crate) fn u64(&mut self, what: &'static str) -> Result<u64, ChunkError> {
        self.array(what).map(u64::from_le_bytes)
    }

    #[inline(always)]
    pub(crate) fn i64(&mut self, what: &'static str) -> Result<i64, ChunkError> {
        self.array(what).map(i64::from_le_bytes)
    }

    /// LEB128 of at most ten bytes.
    #[inline(always)]
    pub(crate) fn varint(&mut self, what: &'static str) -> Result<u64, ChunkError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8(what)?;
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(ChunkError::damaged(what))
    }

    /// A signed integer, zigzag-mapped, as LEB128.
    #[inline(always)]
    pub(crate) fn signed(&mut self, what: &'static str) -> Result<i64, ChunkError> {
        self.varint(what).map(unzigzag)
    }

    /// What was not taken yet.
    #[inline(always)]
    pub(crate) fn rest(self) -> &'a [u8] {
        self.rest
    }

    /// Fails unless everything was taken: no byte may be without meaning.
    #[inline(always)]
    pub(crate) fn end(self, what: &'static str) -> Result<(), ChunkError> {
        if self.rest.is_empty() { Ok(()) } else { Err(ChunkError::damaged(what)) }
    }
}

/// Small magnitudes to small numbers: 0, -1, 1, -2 … become 0, 1, 2, 3 …
pub(crate) const fn zigzag(x: i64) -> u64 {
    ((x << 1) ^ (x >> 63)) as u64
}

/// The reverse of [`zigzag`].
pub(crate) const fn unzigzag(x: u64) -> i64 {
    (x >> 1) as i64 ^ -((x & 1) as i64)
}

/// Appends LEB128.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut x: u64) {
    while x >= 0x80 {
        out.push(x as u8 | 0x80);
        x >>= 7;
    }
    out.push(x as u8);
}

/// Appends a signed integer, zigzag-mapped, as LEB128.
pub(crate) fn put_signed(out: &mut Vec<u8>, x: i64) {
    put_varint(out, zigzag(x));
}

/// Bytes that [`put_varint`] appends.
pub(crate) const fn varint_len(x: u64) -> usize {
    (u64::BITS - (x | 1).leading_zeros()).div_ceil(7) as usize
}

/// Bytes that [`put_signed`] appends.
pub(crate) const fn signed_len(x: i64) -> usize {
    varint_len(zigzag(x))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signed_integers_come_back_in_the_stated_length() {
        for x in [0, 1, -1, 63, 64, -64, -65, 1 << 20, i64::MAX, i64::MIN] {
            let mut out = Vec::new();
            put_signed(&mut out, x);
            assert_eq!(out.len(), signed_len(x), "{x}");
            let mut cursor = Cursor::new(&out);
            assert_eq!(cursor.signed("x"), Ok(x));
            assert_eq!(cursor.end("rest"), Ok(()));
        }
    }

    #[test]
    fn an_endless_or_oversized_varint_is_damage() {
        assert!(Cursor::new(&[0x80; 20]).varint("x").is_err());
        assert!(Cursor::new(&[0xff; 9]).varint("x").is_err());
        let mut bytes = [0xff; 10];
        bytes[9] = 2;
        assert!(Cursor::new(&bytes).varint("x").is_err());
        bytes[9] = 1;
        assert_eq!(Cursor::new(&bytes).varint("x"), Ok(u64::MAX));
    }
}

//! The little of protobuf's wire format that remote write needs, read in place.
//!
//! Nothing is copied and nothing is allocated for what a message announces, so a small
//! body cannot cost much memory.

/// Why bytes are no message. Sending them again will not help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("corrupt protobuf at byte {offset}: {what}")]
pub(crate) struct WireError {
    /// Where, from the start of the (decompressed) body.
    pub(crate) offset: usize,
    /// What is wrong there.
    pub(crate) what: &'static str,
}

/// One field's payload.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Field<'a> {
    /// Wire type 0.
    Varint(u64),
    /// Wire type 1.
    Fixed64(u64),
    /// Wire type 2: bytes, text, or a nested message.
    Bytes(Message<'a>),
    /// Wire type 5.
    Fixed32(u32),
}

/// Bytes that hold fields one after the other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Message<'a> {
    bytes: &'a [u8],
    /// Where `bytes` begins in the body; for errors.
    offset: usize,
}

impl<'a> Message<'a> {
    /// The whole body.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, offset: 0 }
    }

    /// The fields of this number, each of them bytes, with which the message begins: passed over, and given as they stand.
    /// Numbers up to 15, as one byte; what is written longer than it needs ends them.
    pub(crate) fn leading(&mut self, number: u8) -> Self {
        let key = number << 3 | 2;
        let mut end = 0;
        loop {
            let (head, len) = match self.bytes[end..] {
                [first, len, ..] if first == key && len < 0x80 => (2, usize::from(len)),
                [first, low, high, ..] if first == key && (1..0x80).contains(&high) => {
                    (3, usize::from(low & 0x7f) | usize::from(high) << 7)
                }
                _ => break,
            };
            // What is cut off is told by who reads it field by field.
            if self.bytes.len() - end - head < len {
                break;
            }
            end += head + len;
        }
        let (bytes, rest) = self.bytes.split_at(end);
        let leading = Self { bytes, offset: self.offset };
        *self = Self { bytes: rest, offset: self.offset + end };
        leading
    }

    /// The bytes as they stand.
    pub(crate) fn raw(&self) -> &'a [u8] {
        self.bytes
    }

    /// A double as field 1 and a number as field 2, and nothing else: as nearly all samples are written.
    #[inline]
    pub(crate) fn double_and_varint(mut self) -> Option<(f64, u64)> {
        let [0x09, rest @ ..] = self.bytes else { return None };
        let (double, [0x10, number @ ..]) = rest.split_first_chunk()? else { return None };
        self.bytes = number;
        let number = self.varint().ok()?;
        self.bytes.is_empty().then(|| (f64::from_le_bytes(*double), number))
    }

    /// The next field and its number, or `None` at the end.
    #[inline]
    pub(crate) fn field(&mut self) -> Result<Option<(u32, Field<'a>)>, WireError> {
        if self.bytes.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let number = u32::try_from(key >> 3).ok().filter(|&n| n != 0 && n < 1 << 29);
        let number = number.ok_or_else(|| self.wrong("field number out of range"))?;
        let field = match key & 7 {
            0 => Field::Varint(self.varint()?),
            1 => Field::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let len = self.varint()?;
                let len = usize::try_from(len).ok().filter(|&l| l <= self.bytes.len());
                let len = len.ok_or_else(|| self.wrong("length beyond the end"))?;
                let offset = self.offset;
                Field::Bytes(Message { bytes: self.take(len)?, offset })
            }
            5 => Field::Fixed32(u32::from_le_bytes(self.array()?)),
            _ => return Err(self.wrong("unknown wire type")),
        };
        Ok(Some((number, field)))
    }

    /// The next number of a packed list, or `None` at the end.
    pub(crate) fn packed(&mut self) -> Result<Option<u64>, WireError> {
        if self.bytes.is_empty() { Ok(None) } else { self.varint().map(Some) }
    }

    /// The bytes as text.
    pub(crate) fn text(self) -> Result<&'a str, WireError> {
        std::str::from_utf8(self.bytes).map_err(|_| self.wrong("text is not UTF-8"))
    }

    /// An error at the place reached.
    pub(crate) fn wrong(&self, what: &'static str) -> WireError {
        WireError { offset: self.offset, what }
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, WireError> {
        // Nearly all numbers are below 128.
        if let [byte @ 0..0x80, rest @ ..] = self.bytes {
            (self.bytes, self.offset) = (rest, self.offset + 1);
            return Ok(u64::from(*byte));
        }
        self.long_varint()
    }

    fn long_varint(&mut self) -> Result<u64, WireError> {
        let mut value = 0u64;
        for (i, &byte) in self.bytes.iter().enumerate().take(10) {
            let part = u64::from(byte & 0x7f);
            if i == 9 && part > 1 {
                return Err(self.wrong("number does not fit in 64 bits"));
            }
            value |= part << (7 * i);
            if byte & 0x80 == 0 {
                self.take(i + 1)?;
                return Ok(value);
            }
        }
        Err(self.wrong("number unfinished"))
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let array = self.bytes.first_chunk().copied().ok_or_else(|| self.wrong("number cut off"))?;
        self.take(N)?;
        Ok(array)
    }

    #[inline]
    fn take(&mut self, len: usize) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self.bytes.split_at_checked(len).ok_or_else(|| self.wrong("cut off"))?;
        self.bytes = rest;
        self.offset += len;
        Ok(taken)
    }
}

impl<'a> Field<'a> {
    /// The payload as a nested message or text.
    pub(crate) fn bytes(self, outer: &Message<'_>) -> Result<Message<'a>, WireError> {
        match self {
            Self::Bytes(message) => Ok(message),
            _ => Err(outer.wrong("wrong wire type")),
        }
    }

    /// The payload as a number.
    pub(crate) fn varint(self, outer: &Message<'_>) -> Result<u64, WireError> {
        match self {
            Self::Varint(value) => Ok(value),
            _ => Err(outer.wrong("wrong wire type")),
        }
    }

    /// The payload as a float.
    pub(crate) fn double(self, outer: &Message<'_>) -> Result<f64, WireError> {
        match self {
            Self::Fixed64(bits) => Ok(f64::from_bits(bits)),
            _ => Err(outer.wrong("wrong wire type")),
        }
    }
}

//! Values that do not fit the encoding of their vector.
//!
//! Byte layout: docs/format/chunk.md, "Exceptions".

use crate::chunk::ChunkError;
use crate::chunk::cursor::Cursor;
use crate::chunk::places::{self, Places};
use crate::chunk::room::Room;

/// An upper bound for what [`write`] appends for so many exceptions among `count` values.
pub(super) fn len_at_most(exceptions: usize, count: usize) -> usize {
    places::len_at_most(exceptions, count) + 8 * exceptions
}

/// Appends the values at ascending `places`.
pub(super) fn write(values: &[f64], places: &[u16], gaps: &mut Vec<u64>, out: &mut Vec<u8>) {
    places::write(places, values.len(), gaps, out);
    for &at in places {
        out.extend_from_slice(&values[usize::from(at)].to_bits().to_le_bytes());
    }
}

/// Overwrites the decoded values at their places.
pub(super) fn decode(cursor: &mut Cursor<'_>, out: &mut [f64], room: &mut Room) -> Result<(), ChunkError> {
    let places = Places::read(cursor, out.len())?;
    let values = cursor.take(places.len * 8, "exceptions")?.as_chunks::<8>().0;
    for (place, value) in places.list(&mut room.patches.places)?.iter().zip(values) {
        out[usize::from(*place)] = f64::from_le_bytes(*value);
    }
    Ok(())
}

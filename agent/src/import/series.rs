//! From the bytes that name a series in a file to its id: looked up without allocation.

use std::collections::HashMap;

use foldhash::fast::RandomState;

/// Remembers an entry for each key, and the key asked for last: files often keep one series'
/// samples together.
#[derive(Debug)]
pub(super) struct ByText<T> {
    entries: HashMap<Box<[u8]>, T, RandomState>,
    last: Option<(Vec<u8>, T)>,
}

impl<T: Copy> ByText<T> {
    pub(super) fn new() -> Self {
        Self { entries: HashMap::default(), last: None }
    }

    /// The entry of `key`, made by `make` when the key is new. A failed `make` is tried again
    /// the next time.
    pub(super) fn get_or<E>(&mut self, key: &[u8], make: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        if let Some((last, entry)) = &self.last
            && last == key
        {
            return Ok(*entry);
        }
        let entry = match self.entries.get(key) {
            Some(entry) => *entry,
            None => {
                let entry = make()?;
                self.entries.insert(key.into(), entry);
                entry
            }
        };
        let (last, of) = self.last.get_or_insert_with(|| (Vec::new(), entry));
        last.clear();
        last.extend_from_slice(key);
        *of = entry;
        Ok(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_is_made_once_unless_making_fails() {
        let mut map = ByText::new();
        let mut made = 0;
        for key in ["a", "a", "b", "a", "b"] {
            let entry = map.get_or(key.as_bytes(), || {
                made += 1;
                Ok::<_, ()>(key)
            });
            assert_eq!(entry, Ok(key));
        }
        assert_eq!(made, 2);
        assert_eq!(map.get_or(b"c", || Err(())), Err(()));
        assert_eq!(map.get_or(b"c", || Ok::<_, ()>("c")), Ok("c"));
    }
}

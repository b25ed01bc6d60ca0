//! Series that lines of a file were found to be of.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use tidegauge::SeriesId;

use super::super::series::ByText;

/// Remembers a series for each combination of label cells and each value column that has had a value beside them. What
/// the engine refuses, and lines without a value, take no memory.
#[derive(Debug)]
pub(super) struct Known {
    groups: ByText<u32>,
    ids: HashMap<(u32, u32), SeriesId, RandomState>,
    /// Groups there are.
    len: u32,
}

impl Known {
    pub(super) fn new() -> Self {
        Self { groups: ByText::new(), ids: HashMap::default(), len: 0 }
    }

    /// The series of value column `nth` beside the label cells that make `key`; asked of `make` when it is new.
    pub(super) fn get_or<E>(
        &mut self,
        key: &[u8],
        nth: u32,
        make: impl FnOnce() -> Result<SeriesId, E>,
    ) -> Result<SeriesId, E> {
        let group = self.groups.get_or(key, || Err(())).ok();
        if let Some(id) = group.and_then(|group| self.ids.get(&(group, nth))) {
            return Ok(*id);
        }
        let id = make()?;
        let Ok(group) = self.groups.get_or(key, || {
            self.len += 1;
            Ok::<_, std::convert::Infallible>(self.len)
        });
        self.ids.insert((group, nth), id);
        Ok(id)
    }
}

#[cfg(test)]
mod tests {
    use tidegauge::Engine;

    use super::*;

    #[test]
    fn each_column_of_each_combination_is_asked_for_once_and_what_is_refused_is_forgotten() {
        let engine = Engine::in_memory().unwrap();
        let ids = ["a", "b", "c"].map(|name| engine.series(&[("__name__", name)]).unwrap());
        let mut known = Known::new();
        let asked = |known: &mut Known, key: &str, nth, id: Result<SeriesId, ()>| {
            let mut was_asked = false;
            let found = known.get_or(key.as_bytes(), nth, || {
                was_asked = true;
                id
            });
            (found, was_asked)
        };
        for n in 0..1000 {
            assert_eq!(asked(&mut known, &format!("refused {n}"), n, Err(())), (Err(()), true));
        }
        assert_eq!((known.len, known.ids.len()), (0, 0));
        assert_eq!(asked(&mut known, "x", 0, Ok(ids[0])), (Ok(ids[0]), true));
        assert_eq!(asked(&mut known, "x", 999, Ok(ids[1])), (Ok(ids[1]), true));
        assert_eq!(asked(&mut known, "y", 0, Ok(ids[2])), (Ok(ids[2]), true));
        assert_eq!(asked(&mut known, "x", 1, Err(())), (Err(()), true));
        for (key, nth, id) in [("x", 0, ids[0]), ("y", 0, ids[2]), ("x", 999, ids[1])] {
            assert_eq!(asked(&mut known, key, nth, Err(())), (Ok(id), false));
        }
        assert_eq!((known.len, known.ids.len()), (2, 3));
    }
}

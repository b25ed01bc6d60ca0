//! Stores in this process.

#[cfg(feature = "duckdb-linked")]
mod ducks;
#[cfg(feature = "fjall")]
mod fjalls;
#[cfg(any(feature = "fjall", feature = "rocksdb"))]
mod keys;
mod ours;
#[cfg(feature = "rocksdb")]
mod rocks;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(feature = "tsink")]
mod tsinks;
#[cfg(any(feature = "fjall", feature = "rocksdb"))]
mod windows;

use std::path::Path;

use tidegauge::Durability;
use tidegauge_bench::workload::Workload;

pub(crate) use ours::promised;

use crate::store::{Error, Store};

/// What the others stand beside.
pub(crate) const OURS: &str = "tidegauge";
/// The same, compacted as old data are: as small as it gets.
pub(crate) const ARCHIVE: &str = "tidegauge-archive";

/// The cache of those that are given one: the same for each.
#[cfg(any(feature = "fjall", feature = "rocksdb", feature = "sqlite"))]
const CACHE_BYTES: u64 = 256 << 20;

/// All that it can be built with, by the names of their features.
pub(crate) const KNOWN: [&str; 5] = ["duckdb", "fjall", "rocksdb", "sqlite", "tsink"];

/// The stores that this program was built with; ours first.
pub(crate) fn names() -> Vec<&'static str> {
    let all = [
        (OURS, true),
        (ARCHIVE, true),
        ("duckdb", cfg!(feature = "duckdb-linked")),
        ("fjall", cfg!(feature = "fjall")),
        ("rocksdb", cfg!(feature = "rocksdb")),
        ("sqlite", cfg!(feature = "sqlite")),
        ("tsink", cfg!(feature = "tsink")),
    ];
    all.into_iter().filter(|one| one.1).map(|one| one.0).collect()
}

/// The release of a store that does not tell it by itself: the one that this program's lock file names.
#[cfg(any(feature = "fjall", feature = "tsink"))]
fn locked(store: &str) -> &'static str {
    let begin = format!("name = \"{store}\"\nversion = \"");
    let rest = include_str!("../../Cargo.lock").split_once(&begin).map(|(_, rest)| rest);
    rest.and_then(|rest| rest.split('"').next()).unwrap_or("of a release that is not known")
}

/// What brings a store of [`KNOWN`] into this program.
pub(crate) fn how_to_build(store: &str) -> String {
    let linked = if store == "duckdb" { " (or duckdb-linked, with a libduckdb that is there)" } else { "" };
    format!("build with --features {store}{linked}")
}

/// A new store in an empty folder; `None` if this program knows none of that name.
pub(crate) fn open(
    name: &str,
    dir: &Path,
    durability: Durability,
    workload: &Workload,
) -> Option<Result<Box<dyn Store>, Error>> {
    Some(match name {
        OURS | ARCHIVE => {
            ours::Ours::open(dir, durability, workload, name == ARCHIVE).map(|store| Box::new(store) as _)
        }
        #[cfg(feature = "duckdb-linked")]
        "duckdb" => ducks::Duck::open(dir, durability).map(|store| Box::new(store) as _),
        #[cfg(feature = "fjall")]
        "fjall" => fjalls::Fjall::open(dir, durability).map(|store| Box::new(store) as _),
        #[cfg(feature = "rocksdb")]
        "rocksdb" => rocks::Rocks::open(dir, durability).map(|store| Box::new(store) as _),
        #[cfg(feature = "sqlite")]
        "sqlite" => sqlite::Sqlite::open(dir, durability).map(|store| Box::new(store) as _),
        #[cfg(feature = "tsink")]
        "tsink" => tsinks::Tsink::open(dir, durability, workload).map(|store| Box::new(store) as _),
        _ => return None,
    })
}

#[cfg(test)]
#[cfg(any(feature = "fjall", feature = "tsink"))]
mod tests {
    use super::*;

    #[test]
    fn stores_that_do_not_tell_their_release_have_the_one_of_the_lock_file() {
        for store in ["fjall", "tsink"] {
            let parts: Vec<u32> = locked(store).split('.').map(|part| part.parse().unwrap()).collect();
            assert_eq!(parts.len(), 3, "{store}: {parts:?}");
        }
        assert_eq!(locked("sink"), "of a release that is not known");
    }
}

//! RocksDB: an LSM tree of keys and values, in C++.

use std::path::{Path, PathBuf};

use rocksdb::{
    BlockBasedOptions, BottommostLevelCompaction, Cache, CompactOptions, DB, DBCompressionType, Options, ReadOptions,
    WriteBatch, WriteOptions,
};
use tidegauge::Durability;

use super::CACHE_BYTES;
use super::keys::{key, sample};
use super::windows::{greatest, mean, windows_of};
use crate::store::{Error, Row, Store};

pub(super) struct Rocks {
    dir: PathBuf,
    db: DB,
    durability: Durability,
}

impl Rocks {
    pub(super) fn open(dir: &Path, durability: Durability) -> Result<Self, Error> {
        // What its tuning guide begins with; the rest as it comes.
        let mut options = Options::default();
        options.create_if_missing(true);
        options.increase_parallelism(std::thread::available_parallelism()?.get() as i32);
        options.set_compression_type(DBCompressionType::Lz4);
        options.set_bottommost_compression_type(DBCompressionType::Zstd);
        let mut tables = BlockBasedOptions::default();
        tables.set_block_cache(&Cache::new_lru_cache(CACHE_BYTES as usize));
        tables.set_block_size(16 << 10);
        options.set_block_based_table_factory(&tables);
        Ok(Self { dir: dir.to_owned(), db: DB::open(&options, dir)?, durability })
    }

    /// Key and value of each entry from `from` on, before the upper bound that `options` may have.
    fn each(&self, options: ReadOptions, from: &[u8], mut see: impl FnMut(i64, f64)) -> Result<(), Error> {
        let mut entries = self.db.raw_iterator_opt(options);
        entries.seek(from);
        while let Some((key, value)) = entries.item() {
            let (_, at, value) = sample(key, value).ok_or("an entry that was never pushed")?;
            see(at, value);
            entries.next();
        }
        Ok(entries.status()?)
    }
}

impl Store for Rocks {
    fn name(&self) -> String {
        // It writes down which release it is.
        let files = std::fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let options = files.filter(|file| file.file_name().to_string_lossy().starts_with("OPTIONS-"));
        let version = options.filter_map(|file| std::fs::read_to_string(file.path()).ok()).find_map(|text| {
            text.lines().find_map(|line| line.trim().strip_prefix("rocksdb_version=").map(str::to_owned))
        });
        version.map_or_else(|| "rocksdb".to_owned(), |version| format!("rocksdb {version}"))
    }

    fn durability(&self) -> &'static str {
        match self.durability {
            Durability::Memory => "in memory, no log",
            Durability::Sync => "in the log and synced, each batch",
            _ => "in the log, synced at the interval",
        }
    }

    fn level(&self) -> Durability {
        self.durability
    }

    fn push(&mut self, rows: &[Row]) -> Result<(), Error> {
        let mut batch = WriteBatch::default();
        for row in rows {
            batch.put(key(row.series, row.timestamp_ns), row.value.to_le_bytes());
        }
        let mut options = WriteOptions::default();
        options.disable_wal(self.durability == Durability::Memory);
        Ok(self.db.write_opt(batch, &options)?)
    }

    fn sync(&mut self) -> Result<(), Error> {
        Ok(self.db.flush_wal(true)?)
    }

    fn until_visible(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn until_durable(&mut self) -> Result<bool, Error> {
        self.sync().map(|()| true)
    }

    fn cache_bytes(&self) -> Option<u64> {
        Some(CACHE_BYTES)
    }

    fn settle(&mut self) -> Result<u64, Error> {
        self.db.flush()?;
        let mut options = CompactOptions::default();
        // What is there already is not moved down as it is, but written as the lowest level is.
        options.set_bottommost_level_compaction(BottommostLevelCompaction::ForceOptimized);
        self.db.compact_range_opt(None::<&[u8]>, None::<&[u8]>, &options);
        Ok(self.db.live_files()?.iter().map(|file| file.size as u64).sum())
    }

    fn last(&mut self, series: u32, (start_ns, end_ns): (i64, i64)) -> Result<Option<(i64, f64)>, Error> {
        let mut options = ReadOptions::default();
        options.set_iterate_lower_bound(key(series, start_ns));
        let mut entries = self.db.raw_iterator_opt(options);
        entries.seek_for_prev(key(series, end_ns - 1));
        let last = entries.item().and_then(|(key, value)| sample(key, value));
        entries.status()?;
        Ok(last.map(|(_, at, value)| (at, value)))
    }

    fn range(&mut self, series: u32, start_ns: i64, end_ns: i64) -> Result<Vec<(i64, f64)>, Error> {
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(key(series, end_ns));
        let mut found = Vec::new();
        self.each(options, &key(series, start_ns), |at, value| found.push((at, value)))?;
        Ok(found)
    }

    fn max_by(&mut self, series: &[u32], range_ns: (i64, i64), every_ns: i64) -> Result<Vec<(u32, i64, f64)>, Error> {
        windows_of(series, every_ns, greatest, |one| self.range(one, range_ns.0, range_ns.1))
    }

    fn mean_by(&mut self, series: &[u32], range_ns: (i64, i64), every_ns: i64) -> Result<Vec<(u32, i64, f64)>, Error> {
        windows_of(series, every_ns, mean, |one| self.range(one, range_ns.0, range_ns.1))
    }

    fn count_and_sum(&mut self) -> Result<(u64, f64), Error> {
        let (mut count, mut sum) = (0, 0.0);
        self.each(ReadOptions::default(), &[], |_, value| (count, sum) = (count + 1, sum + value))?;
        Ok((count, sum))
    }

    fn sum_between(&mut self, start_ns: i64, end_ns: i64) -> Result<f64, Error> {
        let mut sum = 0.0;
        let of = |at, value| if (start_ns..end_ns).contains(&at) { value } else { 0.0 };
        self.each(ReadOptions::default(), &[], |at, value| sum += of(at, value))?;
        Ok(sum)
    }
}

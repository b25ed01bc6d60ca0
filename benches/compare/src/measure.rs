//! Pushes everything into one store, reads all of it back, asks every question.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tidegauge::Durability;
use tidegauge_bench::checksum::Checksum;
use tidegauge_bench::measure::{Memory, cpu_s};
use tidegauge_bench::roofs::median;
use tidegauge_bench::workload::{Part, Workload};

use crate::ask::{self, Asked};
use crate::oracle::Oracle;
use crate::store::{Error, Row, Store};
use crate::{Options, servers, stores};

/// What one store came to.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Measured {
    /// Name and version.
    pub(crate) name: String,
    /// Whether it is Tidegauge.
    pub(crate) ours: bool,
    /// Whether it is a server, over loopback.
    pub(crate) server: bool,
    /// Turns that these are the medians of.
    pub(crate) runs: u32,
    /// The least durability of Tidegauge that promises as much.
    pub(crate) level: String,
    /// What an accepted push is worth.
    pub(crate) durability: String,
    /// From before series are registered or the first batch is pushed until the last sample can be read and, where the
    /// store can be asked for that, is as durable as was promised.
    pub(crate) samples_per_s: f64,
    /// What registering took of that; `None` where series come with their samples.
    pub(crate) register_s: Option<f64>,
    /// Whether the last sample was durable then; `None` where nothing of the kind is promised.
    pub(crate) durable_at_end: Option<bool>,
    /// Processor time until then, of this process and of a server.
    pub(crate) cpu_ns_per_sample: f64,
    /// The same until all is flushed and compacted: what some do while samples are pushed, others do then.
    pub(crate) cpu_settled_ns_per_sample: f64,
    /// Memory that a server takes then, or that this process grew by.
    pub(crate) memory_bytes: u64,
    /// The cache that it was given: up to so much of that is there because it was told to.
    pub(crate) cache_bytes: Option<u64>,
    pub(crate) bytes_per_sample: f64,
    /// What flushing and compacting took, waiting for a server to be done with it included.
    pub(crate) settle_s: f64,
    pub(crate) questions: Vec<Asked>,
    /// What was not as it should be.
    pub(crate) wrong: Vec<String>,
}

impl Measured {
    /// The median of each figure; what was wrong in one turn is wrong. `None` of nothing.
    pub(crate) fn median(turns: &[Self]) -> Option<Self> {
        let first = turns.first()?;
        let of = |figure: fn(&Self) -> f64| median(turns.iter().map(figure).collect());
        let question = |(i, asked): (usize, &Asked)| {
            let same = turns.iter().filter_map(|turn| turn.questions.get(i));
            let (times, right): (Vec<f64>, Vec<bool>) = same.map(|one| (one.p50_us, one.right)).unzip();
            Asked { name: asked.name.clone(), p50_us: median(times), right: right.into_iter().all(|right| right) }
        };
        let mut wrong: Vec<String> = turns.iter().flat_map(|turn| turn.wrong.iter().cloned()).collect();
        wrong.sort();
        wrong.dedup();
        Some(Self {
            runs: turns.len() as u32,
            samples_per_s: of(|turn| turn.samples_per_s),
            register_s: first.register_s.map(|_| of(|turn| turn.register_s.unwrap_or_default())),
            // Owed in one turn is owed.
            durable_at_end: turns.iter().map(|turn| turn.durable_at_end).min().flatten(),
            cpu_ns_per_sample: of(|turn| turn.cpu_ns_per_sample),
            cpu_settled_ns_per_sample: of(|turn| turn.cpu_settled_ns_per_sample),
            memory_bytes: of(|turn| turn.memory_bytes as f64) as u64,
            bytes_per_sample: of(|turn| turn.bytes_per_sample),
            settle_s: of(|turn| turn.settle_s),
            questions: first.questions.iter().enumerate().map(question).collect(),
            wrong,
            ..first.clone()
        })
    }
}

/// `None` if the store is not installed.
pub(crate) fn measure(store: &str, options: &Options) -> Result<Option<Measured>, Error> {
    let workload = Workload::new(options.workload, options.seed, Some(options.samples))?;
    let part = Part::split(&workload, 1, options.batch)?.remove(0);
    if part.cells() != part.cells_per_pass() {
        return Err(format!("{} samples are not prepared at once: give fewer", options.samples).into());
    }
    let mut rows = Vec::with_capacity(part.cells() as usize);
    workload.generate(&part, |cell| {
        let timestamp_ns = workload.timestamp_ns(u64::from(cell.tick));
        rows.push(Row { series: cell.slot, timestamp_ns, value: workload.value(cell.scaled) });
    });
    let dir = options.dir.clone().unwrap_or_else(|| PathBuf::from("."));
    let memory_before = Memory::now().rss;
    let opened = match stores::open(store, &dir, options.durability, &workload) {
        Some(opened) => opened.map(Some),
        None => servers::open(store, &dir, options, &workload),
    };
    let Some(mut store_open) = opened? else { return Ok(None) };
    let cpu_before = cpu_s() + store_open.server_cpu_s();
    let pushed = push(store_open.as_mut(), &rows, options, memory_before)?;
    // At once: what a store does by itself meanwhile would be neither's.
    let (settled, bytes) = (Instant::now(), store_open.settle()?);
    let settle_s = settled.elapsed().as_secs_f64();
    let cpu_settled_s = cpu_s() + store_open.server_cpu_s() - cpu_before;
    // What it must give back is generated a second time, apart from what was pushed.
    drop(rows);
    let oracle = Oracle::new(&workload, &part);
    let mut wrong: Vec<String> = Vec::new();
    let (found, expected) = (read_back(store_open.as_mut(), &workload, &oracle)?, oracle.checksum);
    if found != expected {
        let Checksum { count, sum } = found;
        wrong.push(format!("{count} samples read back, checksum {sum:016x}: {expected:x?} expected"));
    }
    let questions = ask::all(store_open.as_mut(), &oracle)?;
    wrong.extend(questions.iter().filter(|one| !one.right).map(|one| format!("answer to {}", one.name)));
    Ok(Some(Measured {
        name: store_open.name(),
        ours: [stores::OURS, servers::OURS].contains(&store),
        server: servers::NAMES.contains(&store),
        runs: 1,
        level: store_open.level().to_string(),
        durability: store_open.durability().to_owned(),
        durable_at_end: pushed.durable_at_end,
        samples_per_s: expected.count as f64 / pushed.elapsed.as_secs_f64(),
        register_s: pushed.register.map(|took| took.as_secs_f64()),
        cpu_ns_per_sample: pushed.cpu_s * 1e9 / expected.count as f64,
        cpu_settled_ns_per_sample: cpu_settled_s * 1e9 / expected.count as f64,
        memory_bytes: pushed.memory_bytes,
        cache_bytes: store_open.cache_bytes(),
        bytes_per_sample: bytes as f64 / expected.count as f64,
        settle_s,
        questions,
        wrong,
    }))
}

struct Pushed {
    elapsed: Duration,
    register: Option<Duration>,
    durable_at_end: Option<bool>,
    cpu_s: f64,
    memory_bytes: u64,
}

fn push(store: &mut dyn Store, rows: &[Row], options: &Options, memory_before: u64) -> Result<Pushed, Error> {
    let sync_every = match options.durability {
        Durability::Interval(every) => Some(every),
        Durability::Sync => Some(Duration::ZERO),
        _ => None,
    };
    let (start, cpu_before) = (Instant::now(), cpu_s() + store.server_cpu_s());
    let register = store.register()?.then(|| start.elapsed());
    let mut synced = start;
    for batch in rows.chunks(options.batch as usize) {
        store.push(batch)?;
        if let Some(every) = sync_every
            && synced.elapsed() >= every
        {
            store.sync()?;
            synced = Instant::now();
        }
    }
    store.until_visible()?;
    // A short run ends within the first interval: without this its samples would be owed, by some more than by others.
    let durable_at_end = sync_every.map(|_| store.until_durable()).transpose()?;
    Ok(Pushed {
        elapsed: start.elapsed(),
        register,
        durable_at_end,
        cpu_s: cpu_s() + store.server_cpu_s() - cpu_before,
        memory_bytes: store.server_rss().unwrap_or_else(|| Memory::now().rss.saturating_sub(memory_before)),
    })
}

/// Count and checksum of all that the store has of the workload's series.
fn read_back(store: &mut dyn Store, workload: &Workload, oracle: &Oracle) -> Result<Checksum, Error> {
    let (mut found, (start, end)) = (Checksum::default(), oracle.all);
    for series in 0..workload.slots() {
        let labels = workload.labels(u64::from(series)).hash();
        store.range(series, start, end)?.into_iter().for_each(|(at, value)| found.add(labels, at, value));
    }
    Ok(found)
}

#[cfg(test)]
pub(crate) mod tests {
    use clap::Parser;

    use super::*;

    /// Notes what it is asked for while samples are pushed.
    #[derive(Default)]
    struct Notes(Vec<&'static str>);

    impl Store for Notes {
        fn name(&self) -> String {
            "notes".into()
        }

        fn durability(&self) -> &'static str {
            "none"
        }

        fn level(&self) -> Durability {
            Durability::Memory
        }

        fn register(&mut self) -> Result<bool, Error> {
            self.0.push("register");
            Ok(true)
        }

        fn push(&mut self, _: &[Row]) -> Result<(), Error> {
            self.0.push("push");
            Ok(())
        }

        fn sync(&mut self) -> Result<(), Error> {
            self.0.push("sync");
            Ok(())
        }

        fn until_visible(&mut self) -> Result<(), Error> {
            self.0.push("visible");
            Ok(())
        }

        fn until_durable(&mut self) -> Result<bool, Error> {
            self.0.push("durable");
            Ok(true)
        }

        fn settle(&mut self) -> Result<u64, Error> {
            Ok(0)
        }

        fn last(&mut self, _: u32, _: (i64, i64)) -> Result<Option<(i64, f64)>, Error> {
            Ok(None)
        }

        fn range(&mut self, _: u32, _: i64, _: i64) -> Result<Vec<(i64, f64)>, Error> {
            Ok(Vec::new())
        }

        fn max_by(&mut self, _: &[u32], _: (i64, i64), _: i64) -> Result<Vec<(u32, i64, f64)>, Error> {
            Ok(Vec::new())
        }

        fn mean_by(&mut self, _: &[u32], _: (i64, i64), _: i64) -> Result<Vec<(u32, i64, f64)>, Error> {
            Ok(Vec::new())
        }

        fn count_and_sum(&mut self) -> Result<(u64, f64), Error> {
            Ok((0, 0.0))
        }

        fn sum_between(&mut self, _: i64, _: i64) -> Result<f64, Error> {
            Ok(0.0)
        }
    }

    /// Made-up figures of the store with this name in `--only`.
    pub(crate) fn measured(store: &str, level: &str, samples_per_s: f64, wrong: &[&str]) -> Measured {
        Measured {
            name: store.into(),
            ours: [stores::OURS, servers::OURS].contains(&store),
            server: servers::NAMES.contains(&store),
            runs: 1,
            level: level.into(),
            durability: "words".into(),
            samples_per_s,
            register_s: None,
            durable_at_end: Some(true),
            cpu_ns_per_sample: 10.0,
            cpu_settled_ns_per_sample: 15.0,
            memory_bytes: 1 << 20,
            cache_bytes: None,
            bytes_per_sample: 1.5,
            settle_s: 0.1,
            questions: vec![Asked { name: "Q1".into(), p50_us: 1e9 / samples_per_s, right: true }],
            wrong: wrong.iter().map(|&text| text.into()).collect(),
        }
    }

    #[test]
    fn turns_are_told_as_their_medians_and_what_was_wrong_once_is_wrong() {
        let turn = |per_s, wrong: &[&str]| measured("fjall", "sync", per_s, wrong);
        let owed = Measured { durable_at_end: Some(false), ..turn(4e6, &[]) };
        let mut turns = [turn(1e6, &[]), turn(8e6, &["a", "b"]), owed, turn(2e6, &["a"])];
        turns.iter_mut().zip([1.0, 2.0, 9.0, 3.0]).for_each(|(turn, took)| turn.register_s = Some(took));
        let median = Measured::median(&turns).unwrap();
        assert_eq!(median.register_s, Some(2.5));
        assert_eq!((median.samples_per_s, median.questions[0].p50_us, median.runs), (3e6, 375.0, 4));
        assert_eq!((median.wrong, median.durable_at_end), (vec!["a".to_owned(), "b".to_owned()], Some(false)));
        assert!(Measured::median(&[]).is_none());
    }

    #[test]
    fn the_clock_waits_until_all_is_as_durable_as_was_promised() {
        let rows = [Row { series: 0, timestamp_ns: 1, value: 1.0 }; 2];
        for (durability, asked, told) in [
            ("memory", &["register", "push", "push", "visible"][..], None),
            // Its first hour is not over when all is pushed.
            ("interval:3600s", &["register", "push", "push", "visible", "durable"], Some(true)),
            ("sync", &["register", "push", "sync", "push", "sync", "visible", "durable"], Some(true)),
        ] {
            let options = Options::parse_from(["compare", "--batch", "1", "--durability", durability]);
            let mut store = Notes::default();
            let pushed = push(&mut store, &rows, &options, 0).unwrap();
            assert_eq!((store.0.as_slice(), pushed.durable_at_end), (asked, told), "{durability}");
            assert!(pushed.register.is_some_and(|took| took <= pushed.elapsed), "part of the whole");
        }
    }
}

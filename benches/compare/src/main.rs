//! The same workloads and questions on Tidegauge and on other stores, one after the other on one machine.
//!
//! All that a store gives back, and each answer, is compared with what the generated samples come to: the figures of a
//! store with a wrong one are not told.
#![forbid(unsafe_code)]

// Samples are counted,
mod oracle;
// pushed into one store after the other,
mod servers;
mod store;
mod stores;
// each in a process of its own,
mod apart;
mod measure;
// asked for again,
mod ask;
// in turn,
mod turns;
// and reported.
mod table;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, ValueEnum, value_parser};
use serde_json::{Map, Value, json};
use tidegauge::Durability;
use tidegauge_bench::cli::{batch, count};
use tidegauge_bench::leftovers::{Temporary, end_on_signals, give_way};
use tidegauge_bench::measure::Machine;
use tidegauge_bench::workload::Kind;

use store::Error;
use turns::{LeftOut, Turns};

/// Compares Tidegauge with the stores that this program was built with and the servers that are installed.
///
/// Each store is given the same samples, by one thread and batch by batch, and the same questions. It stands beside
/// Tidegauge at a durability that promises no less than it does.
#[derive(Clone, Debug, Parser)]
#[command(name = "tidegauge-compare", version, max_term_width = 100, after_help = EXAMPLES)]
struct Options {
    /// What is pushed: w1, w1int, w2, w3 or late.
    #[arg(long, value_parser = workload, default_value = "w1", value_name = "WORKLOAD")]
    workload: Kind,
    /// Samples, rounded up to whole ticks of all series: 20000, 200k, 5M or 1e6.
    #[arg(long, default_value = "2M", value_name = "SAMPLES", value_parser = count)]
    samples: u64,
    /// Samples of one push.
    #[arg(long, default_value_t = 1_000, value_name = "N", value_parser = batch)]
    batch: u32,
    /// How often each store is measured, all of them in turn: figures are medians.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = value_parser!(u32).range(1..))]
    runs: u32,
    /// memory, interval:TIME or sync: what each store is set to, as near as it knows.
    #[arg(long, default_value = "interval:100ms", value_name = "D")]
    durability: Durability,
    /// What everything random follows from.
    #[arg(long, default_value_t = 1, value_name = "S")]
    seed: u64,
    /// Only these stores, and Tidegauge in process [default: all there are]; tidegauge-server is what servers stand beside,
    /// tidegauge-archive is compacted as old data are.
    #[arg(long, value_delimiter = ',', value_name = "STORE,..")]
    only: Vec<String>,
    /// None of these stores.
    #[arg(long, value_delimiter = ',', value_name = "STORE,..")]
    without: Vec<String>,
    /// A folder for the data, which are removed afterwards [default: the current one].
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The `tidegauge` that is started as tidegauge-server [default: that of target/release below the root of the source tree
    /// that this program was built from, else the one in PATH].
    #[arg(long, value_name = "FILE")]
    agent: Option<PathBuf>,
    /// Print one JSON object as the last line.
    #[arg(long)]
    json: bool,
    /// Be the process that measures this one store.
    #[arg(long, hide = true)]
    one: Option<String>,
    /// ... started by the process with this number, in a folder of that one's.
    #[arg(long, hide = true, requires = "dir")]
    parent: Option<u32>,
}

impl Options {
    /// Whether this store is asked for.
    fn only_or_all(&self, store: &str) -> bool {
        let is_among = |stores: &[String]| stores.iter().any(|one| one == store);
        !is_among(&self.without) && (self.only.is_empty() || is_among(&self.only))
    }

    /// What was asked for, for the JSON.
    fn told(&self) -> Map<String, Value> {
        let told = json!({"workload": self.workload.to_string(), "samples": self.samples, "batch": self.batch,
            "durability": self.durability.to_string(), "seed": self.seed, "runs": self.runs});
        told.as_object().cloned().unwrap_or_default()
    }
}

const EXAMPLES: &str = "Examples:
  tidegauge-compare
  tidegauge-compare --only fjall,prometheus --samples 500000 --durability sync
  tidegauge-compare --only tidegauge-server,prometheus,victoria-metrics --runs 3
  tidegauge-compare --json > compared.json

Exit codes: 0 fine, 1 a store gave back something wrong or could not be measured, 2 the request makes no sense, 129,
130 and 143 ended by SIGHUP, SIGINT and SIGTERM: servers and data are gone then.";

fn main() -> ExitCode {
    let options = Options::parse();
    if let Err(refused) = check(&options) {
        eprintln!("tidegauge-compare: {refused}");
        return ExitCode::from(2);
    }
    if let Err(error) = end_on_signals(None) {
        eprintln!("tidegauge-compare: signals: {error}");
        return ExitCode::from(1);
    }
    let done = match &options.one {
        Some(store) => apart::be(store, &options).map(|()| true),
        None => compare(&options),
    };
    give_way();
    match done {
        Ok(fine) => ExitCode::from(u8::from(!fine)),
        Err(error) => {
            eprintln!("tidegauge-compare: {error}");
            ExitCode::from(1)
        }
    }
}

/// The workloads that a comparison takes. What it refuses, it refuses with the reason.
fn workload(name: &str) -> Result<Kind, String> {
    match Kind::from_str(name, false) {
        Ok(Kind::Churn) => {
            Err("churn registers series while samples are pushed, and here each store is told all of them \
             before the first sample: measure it with tidegauge-bench run"
                .into())
        }
        Ok(Kind::Mixed) => {
            Err("mixed is about reading while others write, and here one thread does one after the other: \
             measure it with tidegauge-bench concurrency"
                .into())
        }
        Ok(kind) => Ok(kind),
        Err(_) => Err("give w1, w1int, w2, w3 or late".into()),
    }
}

fn check(options: &Options) -> Result<(), Error> {
    let all = stores::names().into_iter().chain(servers::NAMES).collect::<Vec<_>>();
    if let Some(other) = options.only.iter().chain(&options.without).find(|only| !all.contains(&only.as_str())) {
        let is_known = stores::KNOWN.contains(&other.as_str());
        let hint = if is_known { format!(": {}", stores::how_to_build(other)) } else { String::new() };
        return Err(format!("no store {other} in this program (it has {}){hint}", all.join(", ")).into());
    }
    Ok(())
}

/// The stores that this program could have been built with, and was not. If only some are asked for, those that are not
/// there were refused.
fn not_built(only: &[String]) -> Vec<LeftOut> {
    let built = stores::names();
    let missing = stores::KNOWN.into_iter().filter(|known| only.is_empty() && !built.contains(known));
    let why = |store| format!("not in this build: {}", stores::how_to_build(store));
    missing.map(|store| LeftOut { store: store.into(), why: why(store) }).collect()
}

fn compare(options: &Options) -> Result<bool, Error> {
    let folder = Temporary::within(options.dir.as_deref().unwrap_or(Path::new(".")), "tidegauge-compare-")?;
    // Before this is the load.
    let machine = Machine::with(folder.path());
    let agent = options.only_or_all(servers::OURS).then(|| servers::Agent::of(options.agent.as_deref()));
    agent.iter().for_each(|agent| eprintln!("{agent}"));
    let turns = Turns::take(options, folder.path());
    let (results, fine) = (turns.results(), turns.fine);
    let unwanted =
        options.without.iter().map(|store| LeftOut { store: store.clone(), why: "left out by --without".into() });
    let left_out: Vec<LeftOut> = not_built(&options.only).into_iter().chain(turns.left_out).chain(unwanted).collect();
    let medians = if options.runs > 1 { format!(", medians of {} turns", options.runs) } else { String::new() };
    let title = format!(
        "{} × {} samples, seed {}, batches of {} by one thread, asked for {}{medians}; {machine}",
        options.workload, options.samples, options.seed, options.batch, options.durability
    );
    let tables = table::of(&title, &results);
    tables.iter().for_each(|table| println!("{table}"));
    left_out.iter().for_each(|LeftOut { store, why }| println!("not measured: {store}: {why}"));
    if options.json {
        let told: Vec<_> = tables.iter().map(table::Table::json).collect();
        let mut object = options.told();
        let figures = json!({"verb": "compare", "verified": fine, "machine": machine, "agent": agent, "tables": told,
            "results": results, "left_out": left_out});
        object.extend(figures.as_object().cloned().unwrap_or_default());
        println!("{}", Value::Object(object));
    }
    Ok(fine)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(line: &str) -> Result<Options, clap::Error> {
        Options::try_parse_from(["tidegauge-compare"].into_iter().chain(line.split_whitespace()))
    }

    #[test]
    fn samples_are_given_as_those_of_a_run() {
        for (text, samples) in [("5M", 5_000_000), ("1e6", 1_000_000), ("20000", 20_000)] {
            assert_eq!(options(&format!("--samples {text}")).unwrap().samples, samples);
        }
        assert_eq!(options("").unwrap().samples, 2_000_000);
        assert_eq!(options("--samples 0").unwrap_err().exit_code(), 2);
    }

    #[test]
    fn what_was_asked_for_is_told_as_fields() {
        let told = options("--workload w3 --samples 5M --batch 7 --durability sync --seed 9 --runs 3").unwrap().told();
        let expected =
            json!({"workload": "w3", "samples": 5_000_000, "batch": 7, "durability": "sync", "seed": 9, "runs": 3});
        assert_eq!(Value::Object(told), expected);
    }

    #[test]
    fn stores_that_are_not_wanted_are_not_asked_for() {
        let all = options("--without tidegauge-server,prometheus").unwrap();
        let some = options("--only prometheus,influxdb --without prometheus").unwrap();
        let asked = |options: &Options| servers::NAMES.map(|name| options.only_or_all(name));
        assert_eq!((asked(&all), asked(&some)), ([false, false, true, true], [false, false, false, true]));
        assert!(check(&options("--without nobody").unwrap()).is_err());
    }

    #[test]
    fn a_workload_is_refused_with_the_reason() {
        assert_eq!(options("--workload late").unwrap().workload, Kind::Late);
        for (name, reason) in [("churn", "registers series"), ("mixed", "concurrency"), ("w9", "w1int")] {
            let refused = options(&format!("--workload {name}")).unwrap_err();
            assert!(refused.exit_code() == 2 && refused.to_string().contains(reason), "{refused}");
        }
    }

    #[test]
    fn a_store_that_is_not_in_this_build_is_named_with_the_feature_that_brings_it() {
        let missing = not_built(&[]);
        for store in stores::KNOWN {
            let told = missing.iter().find(|left| left.store == store);
            assert_eq!(told.is_none(), stores::names().contains(&store), "{store}");
            assert!(told.is_none_or(|left| left.why.contains(&format!("--features {store}"))), "{told:?}");
            let asked = check(&options(&format!("--only {store}")).unwrap());
            assert_eq!(asked.is_ok(), told.is_none(), "{asked:?}");
            assert!(asked.err().is_none_or(|refused| refused.to_string().contains(&format!("--features {store}"))));
        }
        assert_eq!(not_built(&["fjall".into()]), [], "nobody asked for the others");
    }
}

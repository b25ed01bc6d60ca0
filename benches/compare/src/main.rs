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
// and reported.
mod table;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use serde_json::json;
use tidegauge::Durability;
use tidegauge_bench::leftovers::{Temporary, end_on_signals, give_way};
use tidegauge_bench::measure::Machine;
use tidegauge_bench::workload::Kind;

use apart::Outcome;
use measure::Measured;
use store::Error;

/// Compares Tidegauge with the stores that this program was built with and the servers that are installed.
///
/// Each store is given the same samples, by one thread and batch by batch, and the same questions. It stands beside
/// Tidegauge at a durability that promises no less than it does.
#[derive(Clone, Debug, Parser)]
#[command(name = "tidegauge-compare", version, max_term_width = 100, after_help = EXAMPLES)]
struct Options {
    /// What is pushed: w1, w1int, w2 or w3.
    #[arg(long, value_enum, default_value_t = Kind::W1)]
    workload: Kind,
    /// Samples, rounded up to whole ticks of all series.
    #[arg(long, default_value_t = 2_000_000, value_name = "N")]
    samples: u64,
    /// Samples of one push.
    #[arg(long, default_value_t = 1_000, value_name = "N")]
    batch: u32,
    /// memory, interval:TIME or sync: what each store is set to, as near as it knows.
    #[arg(long, default_value = "interval:100ms", value_name = "D")]
    durability: Durability,
    /// What everything random follows from.
    #[arg(long, default_value_t = 1, value_name = "S")]
    seed: u64,
    /// Only these stores, and Tidegauge [default: all there are].
    #[arg(long, value_delimiter = ',', value_name = "STORE,..")]
    only: Vec<String>,
    /// A folder for the data, which are removed afterwards [default: the current one].
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
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

const EXAMPLES: &str = "Examples:
  tidegauge-compare
  tidegauge-compare --only fjall,prometheus --samples 500000 --durability sync
  tidegauge-compare --json > compared.json

Exit codes: 0 fine, 1 a store gave back something wrong or could not be measured, 2 the request makes no sense, 130
and 143 ended by SIGINT and SIGTERM: servers and data are gone then.";

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

fn check(options: &Options) -> Result<(), Error> {
    if !matches!(options.workload, Kind::W1 | Kind::W1int | Kind::W2 | Kind::W3) {
        return Err("give --workload w1, w1int, w2 or w3".into());
    }
    if options.batch == 0 || options.samples == 0 {
        return Err("--batch and --samples must be at least 1".into());
    }
    let all = stores::names().into_iter().chain(servers::NAMES).collect::<Vec<_>>();
    if let Some(other) = options.only.iter().find(|only| !all.contains(&only.as_str())) {
        let is_known = stores::KNOWN.contains(&other.as_str());
        let hint = if is_known { format!(": build with --features {other}") } else { String::new() };
        return Err(format!("no store {other} in this program (it has {}){hint}", all.join(", ")).into());
    }
    Ok(())
}

fn compare(options: &Options) -> Result<bool, Error> {
    let folder = Temporary::within(options.dir.as_deref().unwrap_or(Path::new(".")), "tidegauge-compare-")?;
    let (mut results, mut fine) = (Vec::<Measured>::new(), true);
    let mut measure = |store: &str, durability: Durability, results: &mut Vec<Measured>| {
        eprintln!("{store}, {durability} …");
        match apart::run(store, durability, folder.path(), options) {
            Ok(Outcome::Measured(result)) => {
                fine &= result.wrong.is_empty();
                results.push(*result);
            }
            Ok(Outcome::NotInstalled) => eprintln!("  not installed, skipped"),
            Err(error) => {
                fine = false;
                eprintln!("  left out: {error}");
            }
        }
    };
    measure(stores::OURS, options.durability, &mut results);
    let others = stores::names().into_iter().chain(servers::NAMES).filter(|&name| name != stores::OURS);
    for name in others.filter(|&name| options.only.is_empty() || options.only.iter().any(|only| only == name)) {
        measure(name, options.durability, &mut results);
    }
    // Some know only one durability: we stand beside them at one that promises no less.
    let mut levels: Vec<Durability> = results.iter().filter_map(|result| result.level.parse().ok()).collect();
    levels.sort_by_key(|level| level.to_string());
    levels.dedup();
    for level in levels.into_iter().filter(|&level| level != options.durability) {
        measure(stores::OURS, level, &mut results);
    }
    let machine = Machine::with(folder.path());
    let title = format!(
        "{} × {} samples, batches of {} by one thread, asked for {}; {machine}",
        options.workload, options.samples, options.batch, options.durability
    );
    let tables = table::of(&title, &results);
    tables.iter().for_each(|table| println!("{table}"));
    if options.json {
        let told: Vec<_> = tables.iter().map(table::Table::json).collect();
        let object = json!({"verb": "compare", "verified": fine, "machine": machine, "tables": told,
            "results": results});
        println!("{object}");
    }
    Ok(fine)
}

//! Two kinds of run in turn, on one machine in one sitting: what changes meanwhile meets both, and the ratio stays.

use std::fmt;
use std::io::Read;
use std::process::Stdio;

use clap::Parser;
use serde::Serialize;
use serde_json::Value;

use crate::cli::{self, Cli, Ratios as Options};
use crate::error::Error;
use crate::leftovers::{Victim, this_program};
use crate::measure::Machine;
use crate::progress::Progress;
use crate::roofs::median;

/// Of what a run prints, what is compared.
const FIGURES: &[&str] = &[
    "samples_per_s_visible",
    "samples_per_s_durable",
    "samples_per_s_registering",
    "cpu_ns_per_sample_flushed",
    "push_ns/p50",
    "push_ns/p99",
    "push_ns/p999",
    "push_block_mean_ns/p50",
    "push_loaded_ns/p50",
    "push_loaded_ns/p99",
    "push_loaded_ns/p999",
    "arrival/pushed_ns/p50",
    "arrival/pushed_ns/p99",
    "arrival/pushed_ns/p999",
    "arrival/reached_ns/p50",
    "arrival/reached_ns/p99",
    "arrival/reached_ns/p999",
    "ack_durable_us/p50",
    "ack_durable_us/p99",
    "sync_ratio",
    "mixed/ops_per_s",
    "rss_growth_bytes",
    "rss_idle_bytes",
    "flushed_share",
    "bytes_per_sample_fresh",
    "bytes_per_sample",
    "bytes_per_sample_cold",
    "fresh_over_cold",
    "wal_bytes_per_sample",
    "reopen_s",
    "scan_samples_per_s",
    "scan_one_core_samples_per_s",
    "cold_scan_samples_per_s",
    "q5_samples_per_s",
    "q5_selected_samples_per_s",
    "queries_us/q1/p50",
    "queries_us/q1_hot/p50",
    "queries_us/q2/p50",
    "queries_us/q3/p50",
    "queries_us/q4/p50",
    "queries_us/q5/p50",
    "queries_us/q5_selected/p50",
];

/// The figures of all pairs.
#[derive(Clone, Debug, Serialize)]
pub struct Ratios {
    /// `ratios`.
    pub verb: &'static str,
    /// Options of the first run of each pair.
    pub options: String,
    /// Options of the second.
    pub against: String,
    /// Pairs of runs; which comes first alternates.
    pub pairs: u32,
    /// Each figure that all runs have.
    pub figures: Vec<Figure>,
    /// Figures that only some runs have, or that are nought in one: of these there is no ratio.
    pub left_out: Vec<&'static str>,
    /// Whether every run was; one that was not ends this with its word on it.
    pub verified: bool,
    /// The machine.
    pub machine: Machine,
}

/// One figure in all pairs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figure {
    /// Where it stands in what `run --json` prints.
    pub figure: &'static str,
    /// The median of the pairs' ratios, first over second.
    pub ratio: f64,
    /// The least of them.
    pub least: f64,
    /// The greatest of them.
    pub greatest: f64,
    /// The median of the first runs.
    pub median: f64,
    /// The median of the second ones.
    pub median_against: f64,
}

/// Runs both in turn.
///
/// # Errors
/// [`Error::Usage`] if one of the two makes no sense, before anything is run; [`Error::Wrong`] if a run fails or has not
/// read back what it wrote.
pub fn measure(options: &Options, progress: &Progress) -> Result<Ratios, Error> {
    let line = |own: &str| format!("{} {own}", options.both).split_whitespace().collect::<Vec<_>>().join(" ");
    let (first, second) = (line(&options.options), line(&options.against));
    [&first, &second].into_iter().try_for_each(|line| check(line))?;
    // Before this is the load.
    let machine = Machine::with(std::path::Path::new("."));
    let mut pairs = Vec::new();
    progress.runs(u64::from(options.pairs) * 2);
    for pair in 0..options.pairs {
        let (before, behind) = in_turn(pair, (&first, &second));
        let of_before = run(before)?;
        progress.at(u64::from(pair) * 2 + 1);
        let of_behind = run(behind)?;
        progress.at(u64::from(pair) * 2 + 2);
        // Back in the order of the figures.
        pairs.push(in_turn(pair, (of_before, of_behind)));
    }
    let figures = figures(&pairs);
    Ok(Ratios {
        verb: "ratios",
        options: first,
        against: second,
        pairs: options.pairs,
        left_out: left_out(&pairs, &figures),
        figures,
        verified: true,
        machine,
    })
}

/// Which of a pair comes first alternates: what the one before leaves to the machine meets both.
fn in_turn<T>(pair: u32, (first, second): (T, T)) -> (T, T) {
    if pair.is_multiple_of(2) { (first, second) } else { (second, first) }
}

fn check(line: &str) -> Result<(), Error> {
    let usage = |why: String| Error::Usage(format!("run {line}: {why}"));
    let words = ["tidegauge-bench", "run"].into_iter().chain(line.split(' ').filter(|word| !word.is_empty()));
    match Cli::try_parse_from(words).map(|cli| cli.command) {
        Ok(cli::Command::Run(run)) if run.data_dir.is_none() && !run.json => Ok(()),
        Ok(_) => Err(usage("leave --data-dir and --json away: each run has a folder of its own".into())),
        Err(refused) => Err(usage(refused.to_string().lines().next().unwrap_or_default().to_owned())),
    }
}

/// A run in a process of its own: what one leaves in memory is not the next one's.
fn run(line: &str) -> Result<Value, Error> {
    let this = "this program";
    let mut command = this_program().map_err(Error::io(this))?;
    command
        .args(["--parent", &std::process::id().to_string(), "run"])
        .args(line.split(' ').filter(|word| !word.is_empty()))
        .arg("--json");
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    // A signal is passed on: it removes its folder.
    let running = Victim::spawn_asked(&mut command).map_err(Error::io(this))?;
    let mut printed = String::new();
    if let Some(mut stdout) = running.take_stdout() {
        stdout.read_to_string(&mut printed).map_err(Error::io(this))?;
    }
    let status = running.wait().map_err(Error::io(this))?;
    if !status.success() {
        return Err(Error::Wrong(format!("run {line} ended with {status}: see above")));
    }
    let last = printed.lines().last().unwrap_or_default();
    serde_json::from_str(last).map_err(|e| Error::Wrong(format!("run {line} printed no figures: {e}")))
}

/// The ratios of each figure that all of these runs have.
fn figures(pairs: &[(Value, Value)]) -> Vec<Figure> {
    let of = |figure: &'static str| {
        let number = |run: &Value| run.pointer(&format!("/{figure}")).and_then(Value::as_f64).filter(|n| *n > 0.0);
        let both = |(first, second): &(Value, Value)| Some((number(first)?, number(second)?));
        let found: Vec<(f64, f64)> = pairs.iter().map(both).collect::<Option<_>>()?;
        let ratios: Vec<f64> = found.iter().map(|(first, second)| first / second).collect();
        Some(Figure {
            figure,
            least: ratios.iter().copied().fold(f64::INFINITY, f64::min),
            greatest: ratios.iter().copied().fold(0.0, f64::max),
            ratio: median(ratios),
            median: median(found.iter().map(|one| one.0).collect()),
            median_against: median(found.iter().map(|one| one.1).collect()),
        })
    };
    FIGURES.iter().copied().filter_map(of).collect()
}

/// What some run has, and is not among those found.
fn left_out(pairs: &[(Value, Value)], found: &[Figure]) -> Vec<&'static str> {
    let has = |run: &Value, figure: &str| run.pointer(&format!("/{figure}")).is_some_and(Value::is_number);
    let is_left = |figure: &&str| {
        let somewhere = pairs.iter().any(|(first, second)| has(first, figure) || has(second, figure));
        somewhere && !found.iter().any(|one| one.figure == *figure)
    };
    FIGURES.iter().copied().filter(is_left).collect()
}

impl Ratios {
    /// All figures as one JSON object in one line.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("numbers, texts and their names always make JSON")
    }
}

impl fmt::Display for Ratios {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "run {}\nover run {}\n{} pairs in turn; {}", self.options, self.against, self.pairs, self.machine)?;
        writeln!(f, "{:<26} {:>9} {:<19} {:>14} {:>14}", "figure", "ratio", "(range)", "median", "over")?;
        for Figure { figure, ratio, least, greatest, median, median_against } in &self.figures {
            let range = format!("({least:.3}–{greatest:.3})");
            writeln!(f, "{figure:<26} {ratio:>9.3} {range:<19} {median:>14.3} {median_against:>14.3}")?;
        }
        if !self.left_out.is_empty() {
            writeln!(f, "left out, not in every run {}", self.left_out.join(", "))?;
        }
        write!(f, "verified                   {}", if self.verified { "yes" } else { "NO" })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_ratio_of_a_figure_is_the_median_of_the_pairs_and_not_of_the_figures() {
        let run = |rate: f64| json!({"samples_per_s_visible": rate, "push_ns": {"p50": 7.0}, "sync_ratio": null});
        let pairs = [(10.0, 5.0), (9.0, 10.0), (40.0, 8.0)].map(|(first, second)| (run(first), run(second)));
        let found = figures(&pairs);
        assert_eq!(found.iter().map(|one| one.figure).collect::<Vec<_>>(), ["samples_per_s_visible", "push_ns/p50"]);
        let Figure { ratio, least, greatest, median, median_against, .. } = found[0];
        assert_eq!((ratio, least, greatest, median, median_against), (2.0, 0.9, 5.0, 10.0, 8.0));
        assert_eq!((found[1].least, found[1].greatest), (1.0, 1.0));
    }

    #[test]
    fn figures_that_only_some_runs_have_are_named() {
        let with = json!({"samples_per_s_visible": 2.0, "samples_per_s_durable": 2.0, "reopen_s": 0.0});
        let without = json!({"samples_per_s_visible": 2.0, "samples_per_s_durable": null, "reopen_s": 1.0});
        let pairs = [(with, without)];
        let found = figures(&pairs);
        assert_eq!(found.iter().map(|one| one.figure).collect::<Vec<_>>(), ["samples_per_s_visible"]);
        assert_eq!(left_out(&pairs, &found), ["samples_per_s_durable", "reopen_s"]);
    }

    #[test]
    fn each_of_a_pair_is_first_in_turn_and_the_figures_stay_where_they_belong() {
        assert_eq!([0, 1, 2].map(|pair| in_turn(pair, ("a", "b")).0), ["a", "b", "a"]);
        (0..4).for_each(|pair| assert_eq!(in_turn(pair, in_turn(pair, ("a", "b"))), ("a", "b")));
    }

    #[test]
    fn runs_that_make_no_sense_are_refused_before_the_first() {
        for line in ["--workload w9", "--appenders 0", "--data-dir d", "--json"] {
            let refused = check(line).unwrap_err();
            assert!(refused.exit_code() == 2 && refused.to_string().contains(line), "{refused}");
        }
        check("").unwrap();
        check("--workload w1 --appenders 8 --durability memory").unwrap();
    }
}

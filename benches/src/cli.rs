//! What the command line says.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum, value_parser};
use tidegauge::Durability;

use crate::concurrency::Mode;
use crate::workload::Kind;

/// Measures Tidegauge, and checks that what it reads back is what it wrote.
#[derive(Debug, Parser)]
#[command(name = "tidegauge-bench", version, max_term_width = 100, after_help = EXAMPLES)]
pub struct Cli {
    /// The process that started this one, with whose end this one ends.
    #[arg(long, hide = true, value_name = "PID")]
    pub parent: Option<u32>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "Examples:
  tidegauge-bench run --workload w1 --durability memory
  tidegauge-bench run --workload w1 --appenders 8 --durability sync --wait --for 30s --json
  tidegauge-bench run --workload w1 --rate 5M --for 30s
  tidegauge-bench ratios --both '--durability memory' '--appenders 8' '--appenders 1'
  tidegauge-bench recovery --for 10s
  tidegauge-bench concurrency --workers 1,5,10,20
  tidegauge-bench beside --readers 2
  tidegauge-bench soak --rate 2M --for 8h --json > soak.jsonl
  tidegauge-bench roofs --json > roofs.json
  tidegauge-bench report roofs.json runs.json --out report.html
  tidegauge-bench compare --samples 2M --durability sync

Exit codes: 0 fine, 1 the run failed or its answers are wrong, 2 the request makes no sense.";

/// Of a lane of 65,536 samples each there is room for so many in what an engine gives to all lanes, and some to spare.
pub(crate) const APPENDERS_MAX: i64 = 512;
/// More rounds of a table say nothing more.
const ROUNDS_MAX: i64 = 1_000;
/// Half of what the longest lane holds.
const BATCH_MAX: u32 = 1 << 21;

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Push a workload, read it back, ask questions, report.
    Run(Run),
    /// Run two things in turn, pair by pair: the median of their ratios, figure by figure.
    Ratios(Ratios),
    /// Kill a process under load, open what it left, report how long that took.
    Recovery(Recovery),
    /// Let workers read and write at once: the table of throughput and latency. Each worker asks again when it has been
    /// answered (a closed loop): `run --rate` and `soak` have times from when things were due.
    Concurrency(Concurrency),
    /// Push alone and beside questions that never pause: what does pushing lose?
    Beside(Beside),
    /// Push at a rate for hours: memory and latencies over time. Ctrl-C ends it with its summary.
    Soak(Soak),
    /// Measure what this machine can do at best.
    Roofs(Roofs),
    /// Make one HTML file of figures that the other verbs printed with --json.
    Report(Report),
    /// Build and run the comparison with other stores (benches/compare of the source tree).
    Compare(Compare),
}

/// Options of `run`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  tidegauge-bench run --workload w1 --appenders 8 --durability sync --wait --for 30s --json
  tidegauge-bench run --workload w1 --batch 10k --rate 1.5M --for 30s")]
pub struct Run {
    /// What is pushed.
    #[arg(long, value_enum, default_value_t = Kind::W1)]
    pub workload: Kind,
    /// Threads that push, each with an appender of its own.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = value_parser!(u32).range(1..=APPENDERS_MAX))]
    pub appenders: u32,
    /// Samples of one push; 1 pushes singly.
    #[arg(long, default_value_t = 1_000, value_name = "N", value_parser = batch)]
    pub batch: u32,
    /// What an acknowledgement is worth: memory, interval:TIME or sync.
    #[arg(long, default_value = "interval:100ms", value_name = "D")]
    pub durability: Durability,
    /// Each appender waits until each batch is durable.
    #[arg(long)]
    pub wait: bool,
    /// Push for this long, moved on in time pass after pass, instead of once.
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    pub lasting: Option<Duration>,
    /// Samples a second that are due, whatever the engine does: latencies count from when a batch was due [default:
    /// as fast as the engine takes them].
    #[arg(long, value_name = "SAMPLES", value_parser = count)]
    pub rate: Option<u64>,
    /// Let series leave memory that had no new sample for so long, and read the idle memory after that [default: the
    /// engine's, which no run lasts as long as].
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub series_idle: Option<Duration>,
    /// What everything random follows from.
    #[arg(long, default_value_t = 1, value_name = "S")]
    pub seed: u64,
    /// Samples, rounded up to whole ticks of all series [default: 10 million; w3: 20 million;
    /// mixed: 100,000 written].
    #[arg(long, value_name = "SAMPLES", value_parser = count)]
    pub samples: Option<u64>,
    /// A folder for the data, new or empty; it is kept [default: a temporary one in the current
    /// folder].
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Print one JSON object as the last line.
    #[arg(long)]
    pub json: bool,
}

/// Options of `ratios`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  tidegauge-bench ratios --both '--workload w1 --durability memory' '--appenders 8' '--appenders 1'
  tidegauge-bench ratios '--durability interval:100ms' '--durability memory'
  tidegauge-bench ratios --both '--durability memory' '--workload late' '--workload w1'")]
pub struct Ratios {
    /// Options of `run`, as one argument.
    #[arg(value_name = "OPTIONS", allow_hyphen_values = true)]
    pub options: String,
    /// Options of the run that it is compared with, as one argument.
    #[arg(value_name = "AGAINST", allow_hyphen_values = true)]
    pub against: String,
    /// Options of both.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "OPTIONS", allow_hyphen_values = true)]
    pub both: String,
    /// Pairs of runs.
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = value_parser!(u32).range(1..))]
    pub pairs: u32,
    /// Print one JSON object as the last line.
    #[arg(long)]
    pub json: bool,
}

/// Options of `recovery`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  tidegauge-bench recovery --for 10s
  tidegauge-bench recovery --workload w1int --durability sync --json > recovery.json")]
pub struct Recovery {
    /// What is pushed, by one appender.
    #[arg(long, value_parser = one_of(RECOVERED), default_value = "w1", value_name = "WORKLOAD")]
    pub workload: Kind,
    /// Samples of one push.
    #[arg(long, default_value_t = 1_000, value_name = "N", value_parser = batch)]
    pub batch: u32,
    /// What an acknowledgement is worth: interval:TIME or sync.
    #[arg(long, default_value = "interval:100ms", value_name = "D")]
    pub durability: Durability,
    /// Push for this long, then kill.
    #[arg(long = "for", default_value = "10s", value_name = "TIME", value_parser = duration)]
    pub lasting: Duration,
    /// What everything random follows from.
    #[arg(long, default_value_t = 1, value_name = "S")]
    pub seed: u64,
    /// A folder for the data, new or empty; it is kept [default: a temporary one in the current
    /// folder].
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Print one JSON object as the last line.
    #[arg(long)]
    pub json: bool,
    /// Be the process that pushes and is killed.
    #[arg(long, hide = true)]
    pub victim: bool,
}

/// Options of `concurrency`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  tidegauge-bench concurrency --workers 1,5,10,20
  tidegauge-bench concurrency --mode read-snapshot,write --for 5s --json > concurrency.json")]
pub struct Concurrency {
    /// Threads that work at once, a column of the table each.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 5, 10, 20], value_name = "N,..")]
    pub workers: Vec<u32>,
    /// What the workers do, a row of the table each [default: all].
    #[arg(long, value_enum, value_delimiter = ',', value_name = "MODE,..")]
    pub mode: Vec<Mode>,
    /// How long each cell of the table lasts, in each round.
    #[arg(long = "for", default_value = "1s", value_name = "TIME", value_parser = duration)]
    pub lasting: Duration,
    /// How often each mode is gone through, the numbers of workers in this order and in the opposite one by turns: what
    /// is told are medians.
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = value_parser!(u32).range(1..=ROUNDS_MAX))]
    pub rounds: u32,
    /// What an acknowledgement is worth: memory, interval:TIME or sync.
    #[arg(long, default_value = "memory", value_name = "D")]
    pub durability: Durability,
    /// What everything random follows from.
    #[arg(long, default_value_t = 1, value_name = "S")]
    pub seed: u64,
    /// A folder for the data, new or empty; it is kept [default: a temporary one in the current
    /// folder].
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Print one JSON object as the last line.
    #[arg(long)]
    pub json: bool,
}

/// Options of `beside`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  tidegauge-bench beside --readers 2
  tidegauge-bench beside --batch 1 --pairs 3 --for 4s --rate 2M")]
pub struct Beside {
    /// What is pushed, by one appender.
    #[arg(long, value_parser = one_of(KNOWN), default_value = "w1", value_name = "WORKLOAD")]
    pub workload: Kind,
    /// Threads that ask.
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub readers: u32,
    /// Pairs of runs, one alone and one beside questions.
    #[arg(long, default_value_t = 5, value_name = "N")]
    pub pairs: u32,
    /// How long each of the two lasts.
    #[arg(long = "for", default_value = "2s", value_name = "TIME", value_parser = duration)]
    pub lasting: Duration,
    /// Samples of one push.
    #[arg(long, default_value_t = 1_000, value_name = "N", value_parser = batch)]
    pub batch: u32,
    /// Samples a second that are due [default: as fast as the engine takes them].
    #[arg(long, value_name = "SAMPLES", value_parser = count)]
    pub rate: Option<u64>,
    /// What an acknowledgement is worth: memory, interval:TIME or sync.
    #[arg(long, default_value = "interval:100ms", value_name = "D")]
    pub durability: Durability,
    /// What everything random follows from.
    #[arg(long, default_value_t = 1, value_name = "S")]
    pub seed: u64,
    /// Samples that are there before, and then come again and again [default: 10 million].
    #[arg(long, value_name = "SAMPLES", value_parser = count)]
    pub samples: Option<u64>,
    /// A folder for the data, new or empty; it is kept [default: a temporary one in the current
    /// folder].
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Print one JSON object as the last line.
    #[arg(long)]
    pub json: bool,
}

/// Options of `soak`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  tidegauge-bench soak --rate 2M --for 8h --json > soak.jsonl
  tidegauge-bench soak --rate 500k --for 1.5h --every 1m --durability sync")]
pub struct Soak {
    /// What is pushed, by one appender.
    #[arg(long, value_parser = one_of(KNOWN), default_value = "w1", value_name = "WORKLOAD")]
    pub workload: Kind,
    /// Samples a second that are due.
    #[arg(long, default_value = "1M", value_name = "SAMPLES", value_parser = count)]
    pub rate: u64,
    /// How long samples are due; all that was due before the end, or an interrupt, is pushed first.
    #[arg(long = "for", default_value = "1h", value_name = "TIME", value_parser = duration)]
    pub lasting: Duration,
    /// A line of figures this often.
    #[arg(long, default_value = "10s", value_name = "TIME", value_parser = duration)]
    pub every: Duration,
    /// Samples of one push.
    #[arg(long, default_value_t = 1_000, value_name = "N", value_parser = batch)]
    pub batch: u32,
    /// What an acknowledgement is worth: memory, interval:TIME or sync.
    #[arg(long, default_value = "interval:100ms", value_name = "D")]
    pub durability: Durability,
    /// What everything random follows from.
    #[arg(long, default_value_t = 1, value_name = "S")]
    pub seed: u64,
    /// Samples that are prepared and come again and again [default: 2 million].
    #[arg(long, value_name = "SAMPLES", value_parser = count)]
    pub samples: Option<u64>,
    /// A folder for the data, new or empty; it is kept [default: a temporary one in the current
    /// folder].
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Print each line of figures as a JSON object, and one of all as the last line.
    #[arg(long)]
    pub json: bool,
}

/// Options of `roofs`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  tidegauge-bench roofs
  tidegauge-bench roofs --data-dir /var/lib --json > roofs.json")]
pub struct Roofs {
    /// The folder whose disk is measured.
    #[arg(long, default_value = ".", value_name = "DIR")]
    pub data_dir: PathBuf,
    /// Only those of memory that each run takes before and after itself, in 1.3 s.
    #[arg(long, conflicts_with = "data_dir")]
    pub short: bool,
    /// Print one JSON object as the last line.
    #[arg(long)]
    pub json: bool,
}

/// Options of `report`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  tidegauge-bench report roofs.json runs.json
  tidegauge-bench report figures.json --out page.html --svg-dir plots --svg throughput,bytes")]
pub struct Report {
    /// Files with what the other verbs printed with --json; lines that are no objects are passed over.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// The page to write.
    #[arg(long, default_value = "report.html", value_name = "FILE")]
    pub out: PathBuf,
    /// A folder for the plots as SVG files, too.
    #[arg(long, value_name = "DIR")]
    pub svg_dir: Option<PathBuf>,
    /// Only these plots, in that folder [default: all].
    #[arg(long, value_delimiter = ',', value_name = "NAME,..", requires = "svg_dir")]
    pub svg: Vec<String>,
}

/// Options of `compare`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  tidegauge-bench compare --samples 2M --durability sync
  tidegauge-bench compare --features rocksdb --only rocksdb --runs 3 --json > compared.json")]
pub struct Compare {
    /// Features of the comparison, beyond its default.
    #[arg(long, value_delimiter = ',', value_name = "NAME,..")]
    pub features: Vec<String>,
    /// Where the comparison's workspace is [default: in the source tree that this program was built from].
    #[arg(long, value_name = "DIR", default_value = COMPARE, hide_default_value = true)]
    pub workspace: PathBuf,
    /// Options of the comparison itself, behind those above: `-- --help` tells them.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTION")]
    pub options: Vec<String>,
}

/// Each series is there from the first sample on.
const RECOVERED: &[&str] = &["w1", "w1int", "w2", "w3", "late"];
/// Answers to questions beside pushes are known of these.
const KNOWN: &[&str] = &["w1", "w1int"];

/// Some of the workloads: those that a verb takes are those that its help lists.
fn one_of(names: &'static [&'static str]) -> impl TypedValueParser<Value = Kind> {
    PossibleValuesParser::new(names).try_map(|name| Kind::from_str(&name, false))
}

const COMPARE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/compare");

/// `20000`, `200k`, `1.5M`, `1e6`.
///
/// # Errors
/// A sentence with examples, for what is no number of samples.
pub fn count(text: &str) -> Result<u64, String> {
    let bad = || format!("{text:?} is no number of samples: give 20000, 200k, 1.5M or 1e6");
    let (digits, zeros) = if let Some(digits) = text.strip_suffix('k') {
        (digits, 3)
    } else if let Some(digits) = text.strip_suffix('M') {
        (digits, 6)
    } else if let Some((digits, zeros)) = text.split_once('e') {
        (digits, zeros.parse::<u32>().map_err(|_| bad())?)
    } else {
        (text, 0)
    };
    let unit = 10u128.checked_pow(zeros).ok_or_else(bad)?;
    units(digits, unit).and_then(|number| u64::try_from(number).ok()).ok_or_else(bad)
}

/// Samples of one push, as [`count`] reads them.
///
/// # Errors
/// A sentence, for what no engine takes.
pub fn batch(text: &str) -> Result<u32, String> {
    let number = count(text)?;
    let fits = u32::try_from(number).ok().filter(|&number| number <= BATCH_MAX);
    fits.ok_or_else(|| format!("{text:?} is too long for a batch: it has {BATCH_MAX} samples at most"))
}

/// `30s`, `500ms`, `1.5h`, `1d`.
///
/// # Errors
/// A sentence with examples, for what is no length of time.
pub fn duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("{text:?} is no length of time: give 500ms, 30s, 2m, 1.5h or 1d");
    let unit_at = text.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(bad)?;
    let unit_ms: u128 = match &text[unit_at..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(bad()),
    };
    let ns = units(&text[..unit_at], unit_ms * 1_000_000).and_then(|ns| u64::try_from(ns).ok());
    ns.map(Duration::from_nanos).ok_or_else(bad)
}

/// So many units, `1.5` of them too where that is a whole number of what they are made of; more than none.
fn units(digits: &str, unit: u128) -> Option<u128> {
    let (whole, part) = digits.split_once('.').unwrap_or((digits, "0"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    if !is_number(whole) || !is_number(part) {
        return None;
    }
    let parts = 10u128.checked_pow(part.len() as u32)?;
    let of_part = part.parse::<u128>().ok()?.checked_mul(unit).filter(|of| of.is_multiple_of(parts))? / parts;
    whole.parse::<u128>().ok()?.checked_mul(unit)?.checked_add(of_part).filter(|&all| all > 0)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_option_of_a_run_is_understood() {
        let line = "tidegauge-bench run --workload w1int --appenders 8 --batch 1 --durability interval:1s --wait \
                    --for 30s --rate 5M --seed 7 --samples 5 --data-dir d --json";
        let Command::Run(run) = Cli::try_parse_from(line.split_whitespace()).unwrap().command else {
            panic!("run expected")
        };
        assert_eq!((run.workload, run.appenders, run.batch, run.seed), (Kind::W1int, 8, 1, 7));
        assert_eq!(run.durability, Durability::Interval(Duration::from_secs(1)));
        assert_eq!((run.lasting, run.samples), (Some(Duration::from_secs(30)), Some(5)));
        assert_eq!(run.rate, Some(5_000_000));
        assert!(run.wait && run.json);
    }

    #[test]
    fn what_is_no_number_is_refused_with_examples() {
        let understood = ["7", "200k", "5M", "1e6", "25e0", "1.5M", "0.25k", "1.50e1"].map(count);
        let numbers = [7, 200_000, 5_000_000, 1_000_000, 25, 1_500_000, 250, 15];
        assert_eq!(understood, numbers.map(Ok));
        for text in [
            "",
            "k",
            "e",
            "e6",
            "1e",
            "1e99",
            "2e19",
            "1e-3",
            "5Me1",
            "0e5",
            "0",
            "-1",
            "1.5",
            "1.0001k",
            "1.M",
            ".5M",
            "1.2.3M",
            "+1M",
            "0.0M",
            "5G",
            "99999999999999999999M",
            "18446744073709551615k",
        ] {
            assert!(count(text).unwrap_err().contains("200k"), "{text}");
        }
    }

    #[test]
    fn samples_are_given_as_rates_are() {
        for verb in ["run", "beside", "soak"] {
            for (text, samples) in [("5M", 5_000_000), ("1e6", 1_000_000), ("20000", 20_000)] {
                let read = match Cli::try_parse_from(["b", verb, "--samples", text]).unwrap().command {
                    Command::Run(run) => run.samples,
                    Command::Beside(beside) => beside.samples,
                    Command::Soak(soak) => soak.samples,
                    other => panic!("{other:?}"),
                };
                assert_eq!(read, Some(samples), "{verb} {text}");
            }
        }
    }

    #[test]
    fn a_batch_is_given_as_samples_are() {
        for (text, samples) in [("10k", 10_000), ("1.5k", 1_500), ("2M", 2_000_000), ("1", 1)] {
            assert_eq!(batch(text), Ok(samples));
        }
        assert!(batch("5M").unwrap_err().contains("2097152"));
        assert!(batch("many").unwrap_err().contains("200k"));
    }

    #[test]
    fn each_verb_has_examples_that_are_understood() {
        for verb in Cli::command().get_subcommands_mut() {
            let help = verb.render_long_help().to_string();
            let examples: Vec<&str> = help.lines().filter(|line| line.starts_with("  tidegauge-bench ")).collect();
            assert!(examples.len() >= 2, "{}: {help}", verb.get_name());
            for example in examples {
                // A shell would take the quotes away, and what follows a redirection.
                let line = example.split(" >").next().unwrap();
                let quoted = line.split('\'').enumerate().flat_map(|(i, part)| match i % 2 {
                    0 => part.split_whitespace().collect::<Vec<_>>(),
                    _ => vec![part],
                });
                let read = Cli::try_parse_from(quoted);
                assert!(read.is_ok(), "{example}: {read:?}");
            }
        }
    }

    #[test]
    fn options_of_the_comparison_need_no_dashes_before_them() {
        for line in ["compare --features a -- --json --samples 2M", "compare --features a --json --samples 2M"] {
            let Command::Compare(read) = Cli::try_parse_from(["b"].into_iter().chain(line.split(' '))).unwrap().command
            else {
                panic!("compare expected")
            };
            assert_eq!(
                (read.features, read.options),
                (vec!["a".to_owned()], ["--json", "--samples", "2M"].map(Into::into).into())
            );
        }
    }

    #[test]
    fn numbers_that_no_engine_takes_are_refused_as_such() {
        for line in [
            "run --appenders 0",
            "run --appenders 513",
            "run --appenders 1000",
            "run --batch 0",
            "recovery --batch 0",
            "soak --batch 2097153",
            "run --durability interval:0s",
            "recovery --durability interval:0ms",
            "concurrency --durability interval:0us",
            "concurrency --rounds 0",
            "beside --durability interval:0s",
            "soak --durability interval:0s",
        ] {
            let refused = Cli::try_parse_from(["b"].into_iter().chain(line.split(' '))).unwrap_err();
            assert_eq!(refused.exit_code(), 2, "{line}");
        }
        let most = Cli::try_parse_from(["b", "run", "--appenders", "512", "--batch", "2097152"]);
        assert!(most.is_ok(), "{most:?}");
    }

    #[test]
    fn the_help_of_a_verb_lists_the_workloads_that_it_takes_and_no_others() {
        for (verb, taken) in [("recovery", RECOVERED), ("beside", KNOWN), ("soak", KNOWN)] {
            let help = Cli::command().find_subcommand_mut(verb).unwrap().render_long_help().to_string();
            assert!(help.contains(&format!("[possible values: {}]", taken.join(", "))), "{verb}: {help}");
            for kind in Kind::value_variants() {
                let read = Cli::try_parse_from(["b", verb, "--workload", &kind.to_string()]);
                assert_eq!(read.is_ok(), taken.contains(&kind.to_string().as_str()), "{verb} {kind}");
            }
        }
    }

    #[test]
    fn what_is_no_time_is_refused_with_examples() {
        for (text, ms) in [
            ("1ms", 1),
            ("30s", 30_000),
            ("2m", 120_000),
            ("1h", 3_600_000),
            ("1.5s", 1_500),
            ("0.25h", 900_000),
            ("1d", 86_400_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)));
        }
        for text in ["", "30", "s", "0s", "-1s", "1w", "99999999999999999h", "1.s", ".5s", "1.2.3s", "1e3s"] {
            assert!(duration(text).unwrap_err().contains("30s"), "{text}");
        }
    }
}

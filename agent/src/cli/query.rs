//! `tidegauge query`: PromQL on a data directory, without a server.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use tidegauge::Timestamp;
use tidegauge::query::{Cancel, QueryLimits};

use super::live::open_to_read;
use super::{Failure, table};
use crate::ask::{AskError, BadTimes, Question, When, ask, parse, put_value};
use crate::failure::print;
use crate::units::{parse_duration, parse_time};

/// A range without `--step` is shown in about this many steps.
const STEPS: u32 = 120;

const EXAMPLES: &str = "\
Examples:
  tidegauge query up
  tidegauge query 'rate(node_cpu_seconds_total[1m])' --from -1h --step 1m --format csv
  tidegauge query 'max_over_time(node_load1[1d])' --explain
  tidegauge query 'node_load1' --data-dir /var/lib/tidegauge --at 2026-01-31T12:00:00Z --format json

Times: RFC 3339, seconds since the epoch, `now`, or a duration before now such as -1h.";

/// Answer a PromQL expression from a data directory, also while an agent uses it.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct QueryArgs {
    /// The PromQL expression
    expr: String,
    /// Folder that holds the data
    #[arg(long, value_name = "DIR", default_value = "./tidegauge-data")]
    data_dir: PathBuf,
    /// The time to ask for [default: now]
    #[arg(long, value_name = "TIME", conflicts_with_all = ["from", "to", "step"], allow_hyphen_values = true)]
    at: Option<String>,
    /// Ask for a range: its beginning
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    from: Option<String>,
    /// The end of the range [default: now]
    #[arg(long, value_name = "TIME", requires = "from", allow_hyphen_values = true)]
    to: Option<String>,
    /// Time between two values of a range [default: a hundred and twentieth of it]
    #[arg(long, value_name = "DURATION", requires = "from", value_parser = parse_duration, allow_hyphen_values = true)]
    step: Option<Duration>,
    /// How to print the answer
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Say what the answer has cost: within JSON, else on stderr
    #[arg(long)]
    explain: bool,
    /// Refuse functions that Prometheus calls experimental
    #[arg(long)]
    no_experimental: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For eyes
    Table,
    /// One line a sample: time, value, and a column for each label
    Csv,
    /// The `data` of what the HTTP API answers
    Json,
}

pub(super) fn run(args: QueryArgs) -> Result<(), Failure> {
    let question = Question {
        when: args.when(tidegauge::now())?,
        expr: args.expr,
        experimental: !args.no_experimental,
        limits: QueryLimits::DEFAULT,
        lookback: None,
        per_step: args.explain && args.format == Format::Json,
    };
    question.when.check().map_err(in_options)?;
    let began = Instant::now();
    let expr = parse(&question).map_err(Failure::usage)?;
    let parsed = began.elapsed();
    let engine = open_to_read(&args.data_dir, true)?;
    let mut answer =
        ask(&engine.snapshot(), &question, question.limits, &expr, Cancel::new()).map_err(|e| match e {
            AskError::Eval(e) => Failure::found(e),
            wrong => in_options(wrong),
        })?;
    answer.costs.parse = parsed;
    for note in answer.warnings.iter().chain(&answer.infos) {
        // A stderr that nobody reads costs no answer.
        let _ = writeln!(io::stderr(), "tidegauge: {note}");
    }
    let at = match question.when {
        When::At(at) => at,
        When::Every { end, .. } => end,
    };
    let (mut out, began) = (Vec::new(), Instant::now());
    match args.format {
        Format::Table => table::put_table(&mut out, &answer.value, at),
        Format::Csv => table::put_csv(&mut out, &answer.value, at).map_err(Failure::found)?,
        Format::Json => {
            out.push(b'{');
            put_value(&mut out, &answer.value, at).map_err(Failure::found)?;
            if args.explain {
                out.extend_from_slice(format!(",\"stats\":{}", answer.costs.json(true)).as_bytes());
            }
            out.extend_from_slice(b"}\n");
        }
    }
    answer.costs.encode = began.elapsed();
    if args.explain && args.format != Format::Json {
        let _ = write!(io::stderr(), "{}", answer.costs.text());
    }
    print(&out)
}

/// What was typed wrong, in terms of what may be typed here.
fn in_options(why: AskError) -> Failure {
    match why {
        AskError::Times(BadTimes::EndsFirst) => Failure::usage("--from must not lie behind --to"),
        AskError::Times(BadTimes::NoStep) => Failure::usage("--step must be longer than nothing, such as 15s"),
        AskError::Times(BadTimes::TooManySteps) => {
            Failure::usage("--from to --to are more than 11,000 steps: give a longer --step, or a shorter range")
        }
        other => Failure::usage(other),
    }
}

impl QueryArgs {
    fn when(&self, now: Timestamp) -> Result<When, Failure> {
        let time = |text: &String| parse_time(text, now).map_err(Failure::usage);
        let Some(from) = &self.from else {
            return Ok(When::At(self.at.as_ref().map_or(Ok(now), time)?));
        };
        let start = time(from)?;
        let end = self.to.as_ref().map_or(Ok(now), time)?;
        let step = self.step.unwrap_or_else(|| default_step(start, end));
        Ok(When::Every { start, end, step })
    }
}

/// Whole seconds where the range is long enough for them.
fn default_step(start: Timestamp, end: Timestamp) -> Duration {
    let span = Duration::from_nanos(end.nanos().saturating_sub(start.nanos()).max(0) as u64);
    let step = span / STEPS;
    let second = Duration::from_secs(1);
    if step >= second { Duration::from_secs(step.as_secs()) } else { step.max(Duration::from_millis(1)) }
}

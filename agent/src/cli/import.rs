//! `tidegauge import`: files into a data directory.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use tidegauge::{Durability, Engine};

use super::offered::{DURABILITIES, Offered};
use super::{Failure, progress};
use crate::failure::print_and;
use crate::import::{Format, ImportError, ImportOptions, ImportSummary, TimeUnit, check, run as import};
use crate::units::parse_time;

const DASH: &str = "-";
const STDIN: &str = "/dev/stdin";

const EXAMPLES: &str = "\
Examples:
  tidegauge import measurements.csv --data-dir ./archive
  tidegauge import export.csv --time-column when --value-column temperature --metric room_celsius
  tidegauge import node.prom --at 2026-01-31T12:00:00Z
  tidegauge import dump.lp --skip-bad
  zcat export.csv.gz | tidegauge import - --format csv --metric room_celsius

A CSV file has a header line. Its time column is called timestamp, time or ts, its values are
the column `value` or else all columns that hold only numbers or nothing in the first 100 lines,
and all other columns are labels; the options say otherwise. A column that would be one of numbers
but for a text among these lines is told on stderr. Bad lines are named and everything
else is stored.";

/// Store the samples of files: CSV, Prometheus text with timestamps, Influx line protocol.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ImportArgs {
    /// The files, stored in this order; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Folder that holds the data; made if it is missing
    #[arg(long, value_name = "DIR", default_value = "./tidegauge-data")]
    data_dir: PathBuf,
    /// csv, prom or influx [default: by the first file's ending]
    #[arg(long, value_parser = Offered::<Format>::new(&Format::NAMES), hide_possible_values = true)]
    format: Option<Format>,
    /// Count bad lines instead of ending with exit code 1
    #[arg(long)]
    skip_bad: bool,
    /// The time of samples that have none
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    at: Option<String>,
    /// The unit of timestamps: s, ms, us, ns, rfc3339 (dates), or auto, which tells it from the first one. Of prom: s for OpenMetrics (what export writes), ms for the text
    /// format; auto looks for the `# EOF` of OpenMetrics, and so needs a file
    #[arg(
        long,
        value_name = "UNIT",
        default_value = "auto",
        value_parser = Offered::<TimeUnit>::new(&TimeUnit::NAMES),
        hide_possible_values = true,
    )]
    time_unit: TimeUnit,
    /// CSV: the metric's name
    #[arg(long, value_name = "NAME")]
    metric: Option<String>,
    /// CSV: the column that holds the time
    #[arg(long, value_name = "COLUMN")]
    time_column: Option<String>,
    /// CSV: a column that holds values; may be given more than once
    #[arg(long = "value-column", value_name = "COLUMN", value_delimiter = ',')]
    value_columns: Vec<String>,
    /// CSV: a column that is a label; may be given more than once
    #[arg(long = "label-column", value_name = "COLUMN", value_delimiter = ',')]
    label_columns: Vec<String>,
    /// What a crash meanwhile may cost: memory | interval:100ms | sync
    #[arg(
        long,
        value_name = "LEVEL",
        default_value_t = Durability::DEFAULT,
        value_parser = Offered::<Durability>::new(&DURABILITIES),
        hide_possible_values = true,
    )]
    durability: Durability,
    /// Draw no progress bar
    #[arg(long)]
    no_progress: bool,
}

pub(super) fn run(args: ImportArgs) -> Result<(), Failure> {
    let options = args.options()?;
    // A file that is missing, or has no columns, must not leave an empty store behind.
    check(&options).map_err(Failure::found)?;
    // What was there before is pinned for some seconds, or while it is read to count what is replaced: however long that
    // takes. A line's labels are resolved once, and come again any time.
    let builder = Engine::builder(&args.data_dir).durability(args.durability).series_idle(None);
    let builder = builder.snapshot_warn_after(Duration::MAX);
    let engine = progress::open(builder, !args.no_progress).map_err(Failure::found)?;
    let done = import(&options, &engine);
    engine.close().map_err(Failure::found)?;
    match done {
        Ok(summary) => tell(&summary, Ok(())),
        Err(ImportError::BadLines { bad, summary }) => tell(&summary, Err(Failure::listing(&bad))),
        Err(why) => Err(Failure::found(why)),
    }
}

fn tell(summary: &ImportSummary, verdict: Result<(), Failure>) -> Result<(), Failure> {
    for note in &summary.notes {
        // A stderr that nobody reads costs no import.
        let _ = writeln!(io::stderr(), "tidegauge: warning: {note}");
    }
    print_and(format!("{summary}\n").as_bytes(), verdict)
}

/// What the system calls standard input is read as any file or pipe. A file that is called so is `./-`.
fn named(file: &Path) -> PathBuf {
    if file == Path::new(DASH) { STDIN.into() } else { file.to_owned() }
}

impl ImportArgs {
    fn options(&self) -> Result<ImportOptions, Failure> {
        let format = match (self.format, self.files.first()) {
            (Some(format), _) => format,
            (None, Some(file)) if file == Path::new(DASH) => {
                return Err(Failure::usage(
                    "standard input has no ending that names a format; give --format csv, prom or influx",
                ));
            }
            (None, Some(file)) => Format::of_path(file).ok_or_else(|| {
                Failure::usage(format_args!(
                    "{}: its ending names no format; give --format csv, prom or influx",
                    file.display()
                ))
            })?,
            (None, None) => return Err(Failure::usage("no file given")),
        };
        let now = tidegauge::now();
        let at = self.at.as_ref().map(|text| parse_time(text, now)).transpose().map_err(Failure::usage)?;
        Ok(ImportOptions {
            skip_bad: self.skip_bad,
            at,
            time_unit: self.time_unit,
            metric: self.metric.clone(),
            time_column: self.time_column.clone(),
            value_columns: self.value_columns.clone(),
            label_columns: self.label_columns.clone(),
            progress: !self.no_progress,
            ..ImportOptions::new(format, self.files.iter().map(|file| named(file)).collect())
        })
    }
}

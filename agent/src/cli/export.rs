//! `tidegauge export`: samples out of a data directory.

use std::fs::{self, File};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use tidegauge::query::promql::parse_selector;
use tidegauge::{Engine, TimeRange, Timestamp};

use super::live::open_to_read;
use super::offered::Offered;
use super::{Failure, progress};
use crate::export::{ExportError, ExportOptions, ExportSummary, run as export};
use crate::import::Format;
use crate::units::{parse_time, show_count};

const EXAMPLES: &str = "\
Examples:
  tidegauge export > everything.csv
  tidegauge export --match 'node_cpu_seconds_total{mode=\"idle\"}' --from -1d --format prom -o idle.prom
  tidegauge export --format influx --data-dir /var/lib/tidegauge | gzip > everything.lp.gz

`tidegauge import` brings back what was exported, to the bit. Series that a format cannot name are
left out and counted, and the exit code is 1: in all formats those without a name; in CSV those
with blanks around the name of a label; in line protocol those with backslashes or control
characters, or whose name begins with #. OpenMetrics text (prom) alone holds types, units and help;
what it has no room for, such as a unit that the name does not end with, is left out and counted too.
What OpenMetrics takes for no sound counter, histogram or summary is written as unknown, and told. A
program other than `tidegauge import` is given --no-stale: it knows no staleness markers. Times:
RFC 3339, seconds since the epoch, `now`, or a duration before now such as -1h; the end is excluded.";

/// Write samples as CSV, OpenMetrics text or line protocol; also while an agent uses the data
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ExportArgs {
    /// Folder that holds the data
    #[arg(long, value_name = "DIR", default_value = "./tidegauge-data")]
    data_dir: PathBuf,
    /// csv, prom or influx [default: by the file's ending, or csv where it has none]
    #[arg(long, value_parser = Offered::<Format>::new(&Format::NAMES), hide_possible_values = true)]
    format: Option<Format>,
    /// Only series that this selector names; given more than once: that one of them names [default: all]
    #[arg(long = "match", value_name = "SELECTOR")]
    matches: Vec<String>,
    /// The first time that counts [default: all times]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    from: Option<String>,
    /// The first time behind
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    to: Option<String>,
    /// Leave staleness markers out, which say that a series has ended: other programs take them for values, or refuse them
    #[arg(long)]
    no_stale: bool,
    /// Write to a new file instead of stdout: FILE.part until it is whole
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Draw no progress bar
    #[arg(long)]
    no_progress: bool,
}

pub(super) fn run(args: &ExportArgs) -> Result<(), Failure> {
    let options = args.options()?;
    let engine = open_to_read(&args.data_dir, !args.no_progress)?;
    let (summary, to_file) = match &args.output {
        None => (args.export(&engine, &options, &mut io::stdout().lock()), false),
        Some(path) => {
            let mut file = NewFile::begin(path)?;
            let summary = args.export(&engine, &options, &mut file.file);
            if summary.is_ok() {
                file.finish()?;
            }
            (summary, true)
        }
    };
    let summary = match summary {
        Err(ExportError::Write(e)) if !to_file && e.kind() == io::ErrorKind::BrokenPipe => {
            return Err(Failure::reader_left());
        }
        other => other.map_err(Failure::found)?,
    };
    if summary.lacks_something() {
        return Err(Failure::found(summary));
    }
    if summary.found_nothing() {
        let _ = writeln!(io::stderr(), "tidegauge: nothing to export: {}", args.what_is_missing(&summary));
        return Ok(());
    }
    // Where the samples go to stdout, a summary is for whoever looks on; that a type or help is lost is for all.
    if to_file || summary.weakened > 0 || summary.second_descriptions > 0 || io::stderr().is_terminal() {
        let _ = writeln!(io::stderr(), "{summary}");
    }
    Ok(())
}

/// A file that has its name once it is whole, and until then another one beside it. What is not finished is removed; where
/// the process ends before, it stays under the other name.
struct NewFile {
    path: PathBuf,
    part: PathBuf,
    file: File,
    is_whole: bool,
}

impl NewFile {
    fn begin(path: &Path) -> Result<Self, Failure> {
        // A link that leads nowhere is a name, too.
        if path.symlink_metadata().is_ok() {
            return Err(no_file(path, &io::ErrorKind::AlreadyExists.into()));
        }
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        let file = File::create_new(&part).map_err(|e| match e.kind() {
            io::ErrorKind::AlreadyExists => Failure::found(format_args!(
                "{} is there: another export is writing it, or one was ended in the middle; remove it if nobody writes it",
                part.display()
            )),
            _ => no_file(&part, &e),
        })?;
        Ok(Self { path: path.to_owned(), part, file, is_whole: false })
    }

    /// Gives it its name, durably. Replaces nothing.
    fn finish(mut self) -> Result<(), Failure> {
        self.file.sync_all().map_err(|e| no_file(&self.part, &e))?;
        match fs::hard_link(&self.part, &self.path) {
            Ok(()) => fs::remove_file(&self.part).map_err(|e| no_file(&self.part, &e))?,
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Err(no_file(&self.path, &e)),
            Err(_) if self.path.symlink_metadata().is_ok() => {
                return Err(no_file(&self.path, &io::ErrorKind::AlreadyExists.into()));
            }
            // Not every file system has links.
            Err(_) => fs::rename(&self.part, &self.path).map_err(|e| no_file(&self.path, &e))?,
        }
        self.is_whole = true;
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(|e| no_file(folder, &e))
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.is_whole {
            // The error that ended it is told.
            let _ = fs::remove_file(&self.part);
        }
    }
}

fn no_file(path: &Path, why: &io::Error) -> Failure {
    let path = path.display();
    match why.kind() {
        io::ErrorKind::AlreadyExists => {
            Failure::found(format_args!("{path} is there already: name another file, or remove that one first"))
        }
        _ => Failure::found(format_args!("{path}: {why}")),
    }
}

impl ExportArgs {
    fn export(
        &self,
        engine: &Engine,
        options: &ExportOptions,
        out: &mut dyn Write,
    ) -> Result<ExportSummary, ExportError> {
        let bar = progress::counts(!self.no_progress && (self.output.is_some() || !io::stdout().is_terminal()));
        let summary = export(&engine.snapshot(), &engine.metadata(), options, out, |done, total| {
            bar.set_length(total as u64);
            bar.set_position(done as u64);
        });
        bar.finish_and_clear();
        summary
    }

    /// Of an export that found nothing.
    fn what_is_missing(&self, summary: &ExportSummary) -> String {
        let one_of = if self.matches.len() > 1 { "one of " } else { "" };
        match summary.selected {
            0 if self.matches.is_empty() => "the store holds no series".to_owned(),
            0 => format!("no series passes {one_of}--match {}", self.matches.join(" --match ")),
            selected if self.no_stale => format!(
                "{} series selected, and none has a sample{} that is no staleness marker, which --no-stale leaves out",
                show_count(selected),
                if self.from.is_none() && self.to.is_none() { "" } else { " from --from to --to" },
            ),
            selected if self.from.is_none() && self.to.is_none() => {
                format!("{} series selected, which hold no sample any more", show_count(selected))
            }
            selected => format!("{} series selected, and none has a sample from --from to --to", show_count(selected)),
        }
    }

    /// By the file's ending where it is not told. An ending that stands for something else is no CSV.
    fn format(&self) -> Result<Format, Failure> {
        let by_name = |path: &PathBuf| match (Format::of_path(path), path.extension()) {
            (Some(format), _) => Ok(format),
            // Whoever writes one wants what others call text.
            (None, Some(ending)) if ending.eq_ignore_ascii_case("txt") => Ok(Format::Prom),
            (None, None) => Ok(Format::Csv),
            (None, Some(_)) => Err(Failure::usage(format_args!(
                "{}: its ending names no format; give --format csv, prom or influx, or end it in .csv, .prom, .om, .metrics, .txt, .lp, .line or .influx",
                path.display()
            ))),
        };
        match (self.format, &self.output) {
            (Some(format), _) => Ok(format),
            (None, Some(path)) => by_name(path),
            (None, None) => Ok(Format::Csv),
        }
    }

    fn options(&self) -> Result<ExportOptions, Failure> {
        let now = tidegauge::now();
        let time = |text: &Option<String>, default| {
            text.as_ref().map_or(Ok(default), |text| parse_time(text, now)).map_err(Failure::usage)
        };
        let (from, to) = (time(&self.from, Timestamp::MIN)?, time(&self.to, Timestamp::MAX)?);
        if from >= to {
            return Err(Failure::usage("--from must lie before --to: the end is excluded"));
        }
        let selectors = self.matches.iter().map(|text| parse_selector(text)).collect::<Result<_, _>>();
        Ok(ExportOptions {
            format: self.format()?,
            selectors: selectors.map_err(Failure::usage)?,
            range: TimeRange::new(from, to),
            without_stale: self.no_stale,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use tidegauge::{Level, Metadata};

    use super::*;

    /// What got the name while the export was written is not replaced, and nothing of the export is left.
    #[test]
    fn an_export_replaces_nothing_that_came_meanwhile() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        let there = || fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
        let file = NewFile::begin(&path).unwrap();
        fs::write(&path, "other").unwrap();
        let refused = format!("{:?}", file.finish().unwrap_err());
        assert!(refused.contains("is there already"), "{refused}");
        assert_eq!((fs::read_to_string(&path).unwrap().as_str(), there()), ("other", vec!["out".into()]));
        // Before anything is exported, and where the name leads nowhere, too.
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(dir.path().join("nowhere"), &path).unwrap();
        assert!(NewFile::begin(&path).is_err());
        assert_eq!(there(), ["out"]);
    }

    /// An import took any text for exposition text.
    #[test]
    fn a_text_file_is_open_metrics_to_an_export_alone() {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            args: ExportArgs,
        }
        let format = |name: &str| <Line as clap::Parser>::parse_from(["export", "-o", name]).args.format();
        assert!(matches!(format("a.txt"), Ok(Format::Prom)) && matches!(format("a.TXT"), Ok(Format::Prom)));
        assert_eq!(Format::of_path(Path::new("a.txt")), None);
        let told = format!("{:?}", format("a.xyz").unwrap_err());
        for ending in ["csv", "prom", "om", "metrics", "txt", "lp", "line", "influx"] {
            assert!(told.contains(&format!(".{ending}")) && format(&format!("a.{ending}")).is_ok(), "{told}");
        }
    }

    /// It said that the store held no sample of them any more.
    #[test]
    fn what_no_stale_left_out_is_told_as_that() {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            args: ExportArgs,
        }
        let summary = ExportSummary { selected: 2, ..ExportSummary::default() };
        let told = |args: &[&str]| {
            let args = ["export"].iter().chain(args);
            <Line as clap::Parser>::parse_from(args).args.what_is_missing(&summary)
        };
        assert!(told(&["--no-stale"]).contains("staleness marker, which --no-stale leaves out"));
        assert!(told(&[]).contains("no sample any more"));
    }

    /// It said that line protocol alone leaves series without a name out.
    #[test]
    fn help_says_which_series_each_format_leaves_out() {
        const ALL: [Format; 3] = [Format::Csv, Format::Prom, Format::Influx];
        type Case = (&'static [(&'static str, &'static str)], &'static [Format], &'static str);
        let cases: [Case; 6] = [
            (&[("host", "a")], &ALL, "in all formats those without a name"),
            (
                &[("__name__", "m"), ("host ", "a")],
                &[Format::Csv],
                "in CSV those with blanks around the name of a label",
            ),
            (&[("__name__", "m"), ("host", "\\")], &[Format::Influx], "in line protocol those with backslashes"),
            (&[("__name__", "m"), ("host", "\t")], &[Format::Influx], "or control characters"),
            (&[("__name__", "#m")], &[Format::Influx], "or whose name begins with #"),
            (&[("__name__", "m"), ("host", " a ")], &[], "to the bit"),
        ];
        let help = EXAMPLES.replace('\n', " ");
        for (labels, left_out_by, said) in cases {
            let engine = Engine::in_memory().unwrap();
            let ack = engine.push(engine.series(labels).unwrap(), Timestamp::from_nanos(1), 1.0).unwrap();
            engine.wait(ack, Level::Visible, Duration::from_secs(30)).unwrap();
            for format in ALL {
                let (selectors, range) = (Vec::new(), TimeRange::ALL);
                let options = ExportOptions { format, selectors, range, without_stale: false };
                let metadata = BTreeMap::<String, Metadata>::new();
                let summary = export(&engine.snapshot(), &metadata, &options, &mut Vec::new(), |_, _| {}).unwrap();
                assert_eq!(summary.left_out, u64::from(left_out_by.contains(&format)), "{labels:?} in {format:?}");
            }
            assert!(help.contains(said), "{said}");
        }
    }
}

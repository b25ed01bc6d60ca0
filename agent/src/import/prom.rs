//! Exposition text with timestamps.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use tidegauge::{METRIC_NAME, Metadata, SeriesError, Timestamp};

use super::bad::NoTimestamp;
use super::lines::{Line, Lines};
use super::series::ByText;
use super::sink::Sink;
use super::{ImportError, ImportOptions, TimeUnit};
use crate::collect::Descriptions;
use crate::export::is_loose;
use crate::exposition::{Dialect, Entry, LINE_BYTES_MAX, LineError, SampleLine, parse_line};

pub(super) fn import(path: &Path, options: &ImportOptions, sink: &mut Sink<'_>) -> Result<(), ImportError> {
    let read = |source| ImportError::Read { path: path.to_owned(), source };
    let dialect = dialect_of(path, options.time_unit).map_err(read)?;
    let is_guessed = options.time_unit == TimeUnit::Auto && dialect == Dialect::Text;
    let mut lines = Lines::of(sink.open(path).map_err(read)?);
    let mut ids = ByText::new();
    let mut descriptions = Descriptions::of(sink.engine());
    let mut about = About { dialect, metric: String::new(), known: Metadata::default() };
    let mut has_end = false;
    loop {
        let number = lines.number() + 1;
        let parsed = match lines.next().map_err(read)? {
            None => break,
            Some(Line::TooLong) => Err(LineError::TooLong { limit: LINE_BYTES_MAX }),
            Some(Line::Whole(line)) => parse_line(line, dialect),
            Some(Line::Unended(line)) => match parse_line(line, dialect) {
                // Digits may be missing of its timestamp.
                Ok(Entry::Sample(_)) if dialect == Dialect::OpenMetrics => {
                    has_end = false;
                    break;
                }
                parsed => parsed,
            },
        };
        has_end = match parsed {
            Ok(Entry::Nothing) => has_end,
            Ok(Entry::End) => true,
            _ => false,
        };
        match parsed {
            Ok(Entry::Sample(sample)) => {
                about.end(&mut descriptions, Some(&sample));
                let Some(at) = sample.timestamp.or(options.at) else {
                    sink.bad(number, NoTimestamp);
                    continue;
                };
                if is_guessed && sample.timestamp.is_some_and(may_be_seconds) {
                    sink.bad(number, MaybeSeconds);
                    continue;
                }
                let id = ids.get_or(sample.series.bytes(), || {
                    let labels = sample.series.labels()?;
                    let pairs: Vec<(&str, &str)> = labels.iter().map(|(name, value)| (&**name, &**value)).collect();
                    sink.resolve(&pairs).map_err(Refused::Series)
                });
                match id {
                    Ok(id) => sink.push(id, at, sample.value, number)?,
                    Err(why) => sink.bad(number, why),
                }
            }
            Ok(Entry::Type { metric, kind }) => about.of(&metric, &mut descriptions).kind = kind.to_owned(),
            Ok(Entry::Help { metric, text }) => about.of(&metric, &mut descriptions).help = text.into_owned(),
            Ok(Entry::Unit { metric, unit }) => about.of(&metric, &mut descriptions).unit = unit.to_owned(),
            Ok(Entry::Nothing | Entry::End) => {}
            Err(why) => sink.bad(number, why),
        }
        if descriptions.is_full() {
            descriptions.store(sink.engine())?;
        }
        sink.read(lines.bytes());
    }
    if dialect == Dialect::OpenMetrics && !has_end {
        sink.bad(lines.number(), CutOff);
    }
    about.end(&mut descriptions, None);
    descriptions.store(sink.engine())?;
    sink.end_file()
}

/// What lines that follow each other say of one metric.
struct About {
    dialect: Dialect,
    metric: String,
    known: Metadata,
}

impl About {
    fn of(&mut self, metric: &str, descriptions: &mut Descriptions) -> &mut Metadata {
        if self.metric != metric {
            self.end(descriptions, None);
            metric.clone_into(&mut self.metric);
        }
        &mut self.known
    }

    /// OpenMetrics tells of the family `c` what the samples are that it calls `c_total`: under that name it is looked for,
    /// and the text format tells it there. Where the first sample behind it has the family's own name, such as in what
    /// earlier builds exported, it is what it says.
    fn end(&mut self, descriptions: &mut Descriptions, first: Option<&SampleLine<'_>>) {
        let (mut metric, known) = (std::mem::take(&mut self.metric), std::mem::take(&mut self.known));
        if metric.is_empty() {
            return;
        }
        let suffix = match known.kind.as_str() {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        let is_called = |name: &str| {
            let labels = first.and_then(|first| first.series.labels().ok()).unwrap_or_default();
            labels.iter().any(|(label, value)| label == METRIC_NAME && value == name)
        };
        if self.dialect == Dialect::OpenMetrics && !metric.ends_with(suffix) && !is_called(&metric) {
            metric.push_str(suffix);
        }
        // An export of a part of a family says that it does not know it.
        let says_less = is_loose(&known.kind) && descriptions.kind_of(&metric).is_some_and(|kind| !is_loose(kind));
        for (text, set) in [
            (
                if says_less { String::new() } else { known.kind },
                Descriptions::kind as fn(&mut Descriptions, &str, &str),
            ),
            (known.help, Descriptions::help),
            (known.unit, Descriptions::unit),
        ] {
            if !text.is_empty() {
                set(descriptions, &metric, &text);
            }
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("{0}")]
    Line(#[from] LineError),
    #[error("{0}")]
    Series(SeriesError),
}

/// A file of OpenMetrics without its end would come in 56 years too early.
#[derive(Debug, thiserror::Error)]
#[error(
    "the timestamp is before 1974 in milliseconds, and of our days in seconds: if the text is OpenMetrics and its `# EOF` is missing, it was cut off: give `--time-unit s --skip-bad`; else `--time-unit ms`"
)]
struct MaybeSeconds;

/// What came before it is stored.
#[derive(Debug, thiserror::Error)]
#[error(
    "the text ends here without `# EOF`: it was cut off, and a line without a line feed is left out; --skip-bad if this is all there is"
)]
struct CutOff;

/// As many milliseconds as there are seconds between 1973 and 5138.
fn may_be_seconds(at: Timestamp) -> bool {
    (100_000_000..100_000_000_000).contains(&(at.nanos() / 1_000_000))
}

/// OpenMetrics ends with `# EOF`, and counts seconds. Without it the text format is meant, whose timestamps are
/// milliseconds. The end of what is no file cannot be seen before the rest.
fn dialect_of(path: &Path, unit: TimeUnit) -> io::Result<Dialect> {
    let refused = |kind, why: &str| Err(io::Error::new(kind, why));
    match unit {
        TimeUnit::Seconds => return Ok(Dialect::OpenMetrics),
        TimeUnit::Millis => return Ok(Dialect::Text),
        TimeUnit::Auto => {}
        _ => {
            return refused(
                io::ErrorKind::InvalidInput,
                "the formats of Prometheus count seconds (OpenMetrics) or milliseconds: give `--time-unit s` or `ms`",
            );
        }
    }
    let mut file = File::open(path)?;
    let about = file.metadata()?;
    if !about.is_file() {
        return refused(
            io::ErrorKind::InvalidInput,
            "no file, so that it cannot be seen whether `# EOF` ends it: give `--time-unit s` for OpenMetrics (such as an export), `--time-unit ms` for the text format",
        );
    }
    file.seek(SeekFrom::Start(about.len().saturating_sub(16)))?;
    let mut tail = Vec::new();
    file.take(16).read_to_end(&mut tail)?;
    Ok(if tail.trim_ascii_end().ends_with(b"# EOF") { Dialect::OpenMetrics } else { Dialect::Text })
}

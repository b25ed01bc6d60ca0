//! Exposition text with timestamps.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use tidegauge::SeriesError;

use super::bad::NoTimestamp;
use super::lines::{Line, Lines};
use super::series::ByText;
use super::sink::Sink;
use super::{ImportError, ImportOptions};
use crate::collect::Descriptions;
use crate::exposition::{Dialect, Entry, LINE_BYTES_MAX, LineError, parse_line};

pub(super) fn import(path: &Path, options: &ImportOptions, sink: &mut Sink<'_>) -> Result<(), ImportError> {
    let read = |source| ImportError::Read { path: path.to_owned(), source };
    let dialect = dialect_of(path);
    let mut lines = Lines::open(path).map_err(read)?;
    let mut ids = ByText::new();
    let mut descriptions = Descriptions::of(sink.engine());
    loop {
        let number = lines.number() + 1;
        let parsed = match lines.next().map_err(read)? {
            None => break,
            Some(Line::TooLong) => Err(LineError::TooLong { limit: LINE_BYTES_MAX }),
            Some(Line::Whole(line)) => parse_line(line, dialect),
        };
        match parsed {
            Ok(Entry::Sample(sample)) => {
                let Some(at) = sample.timestamp.or(options.at) else {
                    sink.bad(number, NoTimestamp);
                    continue;
                };
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
            Ok(Entry::Type { metric, kind }) => descriptions.kind(&metric, kind),
            Ok(Entry::Help { metric, text }) => descriptions.help(&metric, &text),
            Ok(Entry::Unit { metric, unit }) => descriptions.unit(&metric, unit),
            Ok(Entry::Nothing | Entry::End) => {}
            Err(why) => sink.bad(number, why),
        }
        sink.read(lines.bytes());
    }
    descriptions.store(sink.engine())?;
    sink.end_file()
}

#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("{0}")]
    Line(#[from] LineError),
    #[error("{0}")]
    Series(SeriesError),
}

/// OpenMetrics ends with `# EOF`. Without it the text format is meant, whose timestamps are
/// milliseconds.
fn dialect_of(path: &Path) -> Dialect {
    let tail = || {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(16)))?;
        let mut tail = Vec::new();
        file.take(16).read_to_end(&mut tail)?;
        std::io::Result::Ok(tail)
    };
    match tail() {
        Ok(tail) if tail.trim_ascii_end().ends_with(b"# EOF") => Dialect::OpenMetrics,
        _ => Dialect::Text,
    }
}

//! Which column is what: the rules are those that [`ImportOptions`] states.

use std::collections::HashMap;
use std::path::Path;

use csv::ByteRecord;

use super::super::{ImportError, ImportOptions};
use super::excerpt;
use crate::exposition::{NumberError, parse_value};

const TIME_NAMES: [&str; 3] = ["timestamp", "time", "ts"];
const VALUE_NAME: &str = "value";
const METRIC_NAMES: [&str; 2] = ["__name__", "metric"];

/// What each column is, by its index.
#[derive(Debug, PartialEq)]
pub(super) struct Columns {
    pub(super) time: usize,
    pub(super) values: Vec<usize>,
    /// For each of them whether it is one because nothing else is known: the first lines have nothing in it.
    pub(super) presumed: Vec<bool>,
    /// With the metric's column, if there is one.
    pub(super) labels: Vec<usize>,
    pub(super) metric_column: Option<usize>,
    /// Whether there is one value column beside the presumed ones.
    has_one: bool,
    /// For each value column what its metric is, or what stands behind the given metric.
    names: Vec<String>,
    given_metric: Option<String>,
    /// The columns that a text made labels, though most of what the first lines have there is numbers.
    pub(super) spoilt: Vec<Spoilt>,
}

/// A column of numbers, but for a text.
#[derive(Debug, PartialEq)]
pub(super) struct Spoilt {
    pub(super) column: usize,
    /// The first text among the first lines.
    pub(super) line: u64,
    pub(super) cell: String,
}

impl Columns {
    pub(super) fn choose(
        headers: &[String],
        ahead: &[ByteRecord],
        options: &ImportOptions,
        path: &Path,
    ) -> Result<Self, ImportError> {
        let wrong = |what: String| ImportError::Columns { path: path.to_owned(), what, columns: shown(headers) };
        // There may be tens of thousands: none of them is looked for among the others.
        let mut places = HashMap::with_capacity(headers.len());
        for (at, header) in headers.iter().enumerate() {
            if places.insert(header, at).is_some() {
                return Err(wrong(format!("two columns are called {header:?}")));
            }
        }
        let called =
            |name: &String| places.get(name).copied().ok_or_else(|| wrong(format!("no column is called {name:?}")));
        let named = |names: &[&str]| headers.iter().position(|header| is_one_of(header, names));

        let time = match &options.time_column {
            Some(name) => called(name)?,
            None => named(&TIME_NAMES).ok_or_else(|| {
                wrong("no column is called timestamp, time or ts; --time-column says which it is".to_owned())
            })?,
        };
        let mut labels = options.label_columns.iter().map(called).collect::<Result<Vec<_>, _>>()?;
        let mut found: Vec<(usize, Holds)> = if options.value_columns.is_empty() {
            let is_label = among(&labels, headers.len());
            let free = |at: &usize| *at != time && !is_label[*at];
            let may_be_empty = |at: usize| !headers[at].is_empty() && !is_one_of(&headers[at], &METRIC_NAMES);
            match named(&[VALUE_NAME]).filter(free) {
                Some(value) => vec![(value, Holds::Numbers)],
                None => (0..headers.len())
                    .filter(free)
                    .map(|at| (at, Holds::of(ahead, at)))
                    .filter(|&(at, holds)| holds == Holds::Numbers || holds == Holds::Nothing && may_be_empty(at))
                    .collect(),
            }
        } else {
            let asked = |name| called(name).map(|at| (at, Holds::Numbers));
            options.value_columns.iter().map(asked).collect::<Result<_, _>>()?
        };
        if found.iter().all(|&(_, holds)| holds == Holds::Nothing) {
            found.clear();
        }
        let (values, presumed): (Vec<_>, Vec<_>) =
            found.into_iter().map(|(at, holds)| (at, holds == Holds::Nothing)).unzip();
        if values.is_empty() {
            let what = "no column is called value or holds only numbers; --value-column says which they are";
            return Err(wrong(what.to_owned()));
        }
        let mut is_value = among(&values, headers.len());
        if options.label_columns.is_empty() {
            labels = (0..headers.len()).filter(|&at| at != time && !is_value[at]).collect();
        }
        let is_label = among(&labels, headers.len());
        for &column in &values {
            // Each is found once.
            if column == time || is_label[column] || !std::mem::take(&mut is_value[column]) {
                return Err(wrong(format!("column {:?} is asked to be two things", headers[column])));
            }
        }
        if is_label[time] {
            return Err(wrong(format!("column {:?} is asked to be two things", headers[time])));
        }
        if let Some(&nameless) = labels.iter().find(|&&at| headers[at].is_empty()) {
            return Err(wrong(format!("column {} has no name", nameless + 1)));
        }
        let metric_column = match options.metric {
            Some(_) => None,
            None => named(&METRIC_NAMES).filter(|&at| is_label[at]),
        };
        let stem = path.file_stem().map_or_else(|| VALUE_NAME.to_owned(), |stem| stem.to_string_lossy().into_owned());
        let name_of = |&column: &usize| match headers[column].as_str() {
            header if values.len() == 1 && header.eq_ignore_ascii_case(VALUE_NAME) => stem.clone(),
            header => header.to_owned(),
        };
        let names = values.iter().map(name_of).collect();
        // Where somebody said which columns are what, or a column is called so, no text decided it.
        let by_what_they_hold = options.value_columns.is_empty() && options.label_columns.is_empty();
        let spoilt = match by_what_they_hold && !(values.len() == 1 && is_one_of(&headers[values[0]], &[VALUE_NAME])) {
            true => labels.iter().filter_map(|&column| Spoilt::of(ahead, column)).collect(),
            false => Vec::new(),
        };
        let has_one = presumed.iter().filter(|&&presumed| !presumed).count() == 1;
        let given_metric = options.metric.clone();
        Ok(Self { time, values, presumed, has_one, labels, metric_column, names, given_metric, spoilt })
    }

    /// The metric of the value column `nth`; `cell` is that of the metric's column, if there
    /// is one. `None` if it is empty.
    pub(super) fn metric(&self, nth: usize, cell: Option<&str>) -> Option<String> {
        match self.given_metric.as_deref().or(cell) {
            None => Some(self.names[nth].clone()),
            Some("") => None,
            Some(metric) if !self.presumed[nth] && self.has_one => Some(metric.to_owned()),
            Some(metric) => Some(format!("{metric}_{}", self.names[nth])),
        }
    }
}

/// For each of `count` columns whether it is among `columns`.
fn among(columns: &[usize], count: usize) -> Vec<bool> {
    let mut is = vec![false; count];
    columns.iter().for_each(|&column| is[column] = true);
    is
}

/// The header as a message holds it: a file of another kind has one too.
fn shown(headers: &[String]) -> String {
    const NAMES: usize = 30;
    const CHARS: usize = 60;
    let name = |header: &String| {
        let mut name = String::new();
        for (nth, c) in header.chars().enumerate() {
            match c {
                _ if nth == CHARS => {
                    name.push('…');
                    break;
                }
                c if c.is_control() => name.extend(c.escape_default()),
                c => name.push(c),
            }
        }
        name
    };
    let mut names: Vec<String> = headers.iter().take(NAMES).map(name).collect();
    if headers.len() > NAMES {
        names.push(format!("and {} more", headers.len() - NAMES));
    }
    names.join(", ")
}

fn is_one_of(header: &str, names: &[&str]) -> bool {
    names.iter().any(|name| header.eq_ignore_ascii_case(name))
}

impl Spoilt {
    fn of(ahead: &[ByteRecord], column: usize) -> Option<Self> {
        let (mut numbers, mut texts, mut first) = (0_usize, 0_usize, None);
        for record in ahead {
            match record.get(column).map(<[u8]>::trim_ascii) {
                None | Some([]) => {}
                Some(cell) if parse_value(cell) == Err(NumberError::NoNumber) => {
                    texts += 1;
                    first.get_or_insert((record, cell));
                }
                Some(_) => numbers += 1,
            }
        }
        let (record, cell) = first.filter(|_| numbers > texts)?;
        Some(Self { column, line: record.position().map_or(0, csv::Position::line), cell: excerpt(cell) })
    }
}

/// What the first lines have in a column.
#[derive(Clone, Copy, PartialEq)]
enum Holds {
    Nothing,
    /// And empty cells. One that is too large is a bad number, and makes no labels of the others.
    Numbers,
    Text,
}

impl Holds {
    fn of(ahead: &[ByteRecord], column: usize) -> Self {
        let cells = ahead.iter().filter_map(|record| record.get(column)).map(<[u8]>::trim_ascii);
        let mut holds = Self::Nothing;
        for cell in cells.filter(|cell| !cell.is_empty()) {
            if parse_value(cell) == Err(NumberError::NoNumber) {
                return Self::Text;
            }
            holds = Self::Numbers;
        }
        holds
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::Format;
    use super::*;

    fn choose(headers: &[&str], rows: &[&[&str]], set: impl Fn(&mut ImportOptions)) -> Result<Columns, ImportError> {
        let headers: Vec<String> = headers.iter().map(|&header| header.to_owned()).collect();
        let rows: Vec<ByteRecord> = rows.iter().map(|row| ByteRecord::from(row.to_vec())).collect();
        let mut options = ImportOptions::new(Format::Csv, Vec::new());
        set(&mut options);
        Columns::choose(&headers, &rows, &options, Path::new("dir/file.csv"))
    }

    #[test]
    fn a_value_column_makes_all_others_labels() {
        let columns = choose(&["timestamp", "metric", "instance", "value"], &[&["1", "a", "0", "1"]], |_| {}).unwrap();
        assert_eq!((columns.time, &columns.values[..], &columns.labels[..]), (0, &[3][..], &[1, 2][..]));
        assert_eq!(columns.metric(0, Some("a")), Some("a".into()));
        assert_eq!(columns.metric(0, Some("")), None);
        let columns = choose(&["Time", "Value"], &[], |_| {}).unwrap();
        assert_eq!(columns.metric(0, None), Some("file".into()));
    }

    #[test]
    fn without_one_the_numeric_columns_are_values() {
        let rows: &[&[&str]] = &[&["a", "1", "1e400", "1", "", ""], &["b", "2", "0.5", "x", "", ""]];
        let headers = ["host", "ts", "cpu", "mixed", "metric", "empty"];
        let columns = choose(&headers, rows, |_| {}).unwrap();
        // An empty one may get numbers yet; that of the metric is none.
        assert_eq!((columns.time, &columns.values[..], &columns.labels[..]), (1, &[2, 5][..], &[0, 3, 4][..]));
        assert_eq!(columns.presumed, [false, true]);
        assert_eq!(columns.metric(1, None), Some("empty".into()));
        let without_numbers = choose(&["ts", "a", "b"], &[&["1", "x", ""]], |_| {}).unwrap_err().to_string();
        assert!(without_numbers.contains("--value-column"), "{without_numbers}");
        let named = choose(&headers, rows, |options| options.label_columns = vec!["empty".into()]).unwrap();
        assert_eq!((&named.values[..], &named.labels[..]), (&[2][..], &[5][..]));
        // What one column of numbers is called does not depend on empty ones.
        let called = choose(&["ts", "cpu", "late"], &[&["1", "2", ""]], |o| o.metric = Some("m".into())).unwrap();
        assert_eq!([0, 1].map(|nth| called.metric(nth, None).unwrap()), ["m", "m_late"]);
    }

    #[test]
    fn options_override_each_rule() {
        let headers = ["timestamp", "metric", "instance", "value", "other"];
        let columns = choose(&headers, &[&["1", "2", "3", "4", "5"]], |options| {
            options.time_column = Some("instance".into());
            options.value_columns = vec!["value".into(), "other".into()];
            options.label_columns = vec!["timestamp".into()];
            options.metric = Some("m".into());
        });
        let columns = columns.unwrap();
        assert_eq!((columns.time, &columns.values[..], &columns.labels[..]), (2, &[3, 4][..], &[0][..]));
        assert_eq!(columns.metric(1, None), Some("m_other".into()));
    }

    #[test]
    fn what_cannot_be_decided_is_an_error_that_names_the_option() {
        let why =
            |headers: &[&str], set: &dyn Fn(&mut ImportOptions)| choose(headers, &[], set).unwrap_err().to_string();
        assert!(why(&["a", "b"], &|_| {}).contains("--time-column"));
        assert!(why(&["ts", "b"], &|_| {}).contains("--value-column "));
        assert!(why(&["ts", "b", "b"], &|_| {}).contains("two columns are called \"b\""));
        assert!(why(&["ts", "value"], &|o| o.time_column = Some("x".into())).contains("no column is called \"x\""));
        assert!(why(&["ts", "value"], &|o| o.value_columns = vec!["ts".into()]).contains("two things"));
        assert!(why(&["ts", "a"], &|o| o.value_columns = vec!["a".into(), "a".into()]).contains("two things"));
        assert!(why(&["ts", "value", ""], &|_| {}).contains("column 3 has no name"));
    }

    /// With each column looked for among the others this took half a minute.
    #[test]
    fn fifty_thousand_columns_are_told_apart() {
        let mut headers: Vec<String> = (0..50_000).map(|n| format!("column{n}")).collect();
        headers[7] = "time".to_owned();
        let names: Vec<&str> = headers.iter().map(String::as_str).collect();
        let row: Vec<&str> = (0..headers.len()).map(|n| if n % 2 == 0 { "1" } else { "x" }).collect();
        let columns = choose(&names, &[&row], |_| {}).unwrap();
        assert_eq!((columns.time, columns.values.len(), columns.labels.len()), (7, 25_000, 24_999));
        let asked: Vec<String> = headers.iter().filter(|name| *name != "time").cloned().collect();
        let (values, labels) = asked.split_at(20_000);
        let columns = choose(&names, &[&row], |options| {
            options.value_columns = values.to_vec();
            options.label_columns = labels.to_vec();
        });
        let columns = columns.unwrap();
        assert_eq!((columns.values.len(), columns.labels.len()), (20_000, 29_999));
        let twice: Vec<&str> = names.iter().copied().chain(["column9"]).collect();
        assert!(choose(&twice, &[], |_| {}).unwrap_err().to_string().contains("two columns are called \"column9\""));
    }

    #[test]
    fn a_header_that_is_none_is_shown_short_and_without_control_characters() {
        let binary = format!("\u{1b}[2J\0{}", "x".repeat(1000));
        let many: Vec<String> = (0..1000).map(|n| format!("c{n}")).collect();
        let headers: Vec<&str> = [binary.as_str()].into_iter().chain(many.iter().map(String::as_str)).collect();
        let why = choose(&headers, &[], |_| {}).unwrap_err().to_string();
        assert!(why.contains("\\u{1b}[2J\\u{0}xxx") && why.ends_with("c28, and 971 more"), "{why}");
        assert!(why.len() < 500 && !why.contains(char::is_control), "{why}");
    }
}

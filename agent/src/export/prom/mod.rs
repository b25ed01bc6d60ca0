//! OpenMetrics 1.0: seconds as timestamps, which hold nanoseconds, and `# EOF` at the end.
//!
//! # What the text is
//! - Each family is announced once, before its first sample, and its samples follow each other; no two families have a name
//!   in common. What is known of a counter's samples `c_total` is written of its family `c`, what is known of a histogram or
//!   summary `h` stands before all of `h_bucket`, `h_sum`, `h_count`, and an import puts it where it belongs again: to
//!   `c_total`, under whichever of both names it was stored.
//! - All series of one counter, histogram, summary or stateset with the same labels are written time by time, ascending, each
//!   time whole (buckets and quantiles ascending, then count, sum, created). All other series are written one after the other.
//! - What is no sound family of its type in what is exported (parts that are missing, buckets that do not add up, a counter
//!   below zero or whose samples are not called `_total`, a name that another family has) is written as `unknown`, each
//!   metric under its own name, and told: no sample is left out for it.
//! - Types, units and texts of help that OpenMetrics has no room for are counted: a type that it does not know, a unit that
//!   the metric's name does not end with or that is not in one line, blanks that help begins with. Of two descriptions of
//!   one family one is written, and the other told.
//!
//! # What it is not
//! - Names that need quotes are written in quotes, which came after OpenMetrics 1.0: older readers refuse them.
//! - A staleness marker is written as the NaN `nAn`, which our import takes for one, and everybody else for a NaN. Strict
//!   readers take no NaN of a counter or histogram; [`ExportOptions::without_stale`](super::ExportOptions::without_stale)
//!   leaves the markers out. The NaNs that programs make without meaning to are written `NAN` and `naN`, by their bits, and
//!   any other one that carries a message `NaN(0x...)`, which others refuse.
//!
//! # Memory
//! Grows with the number of series selected. Samples are streamed: of one histogram at most [`PARTS_MAX`] series are read side
//! by side, one batch of each; families of these types are read twice, first to see whether they are sound.

mod family;
#[cfg(test)]
mod known_tests;
mod points;
#[cfg(test)]
mod strict;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeMap;

use tidegauge::query::Series;
use tidegauge::{Labels, METRIC_NAME, Metadata};

pub(crate) use self::family::is_loose;
use self::family::{Family, Kind, families};
use self::points::{PARTS_MAX, Points, Role, check, shared};
use super::value::{put_seconds, put_value};
use super::{Export, ExportError, next_columns};
use crate::exposition::{Dialect, Entry, LINE_BYTES_MAX, nan_text, parse_line, write_series};

/// The series of one family that have the same labels, but for those that tell its parts.
type Group<'a> = Vec<(Role, Series<'a>)>;

/// Writes all of `series`.
pub(super) fn write<'a>(
    export: &mut Export<'_>,
    series: impl Iterator<Item = Series<'a>>,
    metadata: &BTreeMap<String, Metadata>,
) -> Result<(), ExportError> {
    let mut by_metric = BTreeMap::<&str, Vec<Series<'a>>>::new();
    for series in series {
        match series.labels().metric_name() {
            Some(metric) => by_metric.entry(metric).or_default().push(series),
            None => {
                if next_columns(&mut series.cursor(), &mut export.columns, export.without_stale)? {
                    export.leave_out(series.labels(), "it has no metric's name");
                }
                export.done();
            }
        }
    }
    for family in families(by_metric.keys().copied(), metadata) {
        let mut sheet = Sheet { family: &family, metadata, is_described: false };
        let of = |metric: &&str| by_metric[*metric].iter().copied();
        if family.kind == Kind::Plain {
            for series in family.parts.iter().flat_map(of) {
                sheet.alone(export, series)?;
            }
            continue;
        }
        let sound = match &family.weak {
            Some(why) => Err(why.clone()),
            None if is_one_by_one(&family) => {
                are_sound_alone(&family, family.parts.iter().flat_map(of), export.without_stale)?.map(|()| Vec::new())
            }
            None => match groups(&family, family.parts.iter().flat_map(of)) {
                Ok(groups) => is_sound(&groups, family.kind, export.without_stale)?.map(|()| groups),
                Err(why) => Err(why),
            },
        };
        match sound {
            Ok(groups) => {
                if is_one_by_one(&family) {
                    for series in family.parts.iter().flat_map(of) {
                        sheet.alone(export, series)?;
                    }
                }
                for group in &groups {
                    sheet.together(export, group)?;
                }
            }
            Err(why) => {
                let before = export.summary.series;
                for metric in &family.parts {
                    let known = family.known.map(|(_, known)| (*metric, known));
                    let weak = Some(why.clone());
                    let alone =
                        Family { name: (*metric).to_owned(), kind: Kind::Plain, known, parts: Vec::new(), weak };
                    let mut sheet = Sheet { family: &alone, metadata, is_described: false };
                    for series in of(metric) {
                        sheet.alone(export, series)?;
                    }
                }
                // Told once for all of them.
                if export.summary.series > before {
                    export.weaken(family.known.map_or(family.name.as_str(), |(name, _)| name), &why);
                    // None of the names under which it is written is the one whose unit it is.
                    if let Some((name, _)) = family.known.filter(|(_, known)| !known.unit.is_empty()) {
                        export.leave_out_metadata("unit", name);
                    }
                }
            }
        }
    }
    export.buffer.extend_from_slice(b"# EOF\n");
    Ok(())
}

/// Whether no two series of a family belong together, so that none need be held.
fn is_one_by_one(family: &Family<'_>) -> bool {
    match family.kind {
        Kind::Plain | Kind::Info => true,
        Kind::Counter => !family.parts.iter().any(|part| part.ends_with("_created")),
        _ => false,
    }
}

/// Reads all of it, one series after the other. The inner error says what is wrong.
fn are_sound_alone<'a>(
    family: &Family<'_>,
    all: impl Iterator<Item = Series<'a>>,
    without_stale: bool,
) -> Result<Result<(), String>, ExportError> {
    for series in all {
        let sound = match Role::of(series.labels(), &family.name, family.kind) {
            Ok(role) => is_sound(&[vec![(role, series)]], family.kind, without_stale)?,
            Err(why) => Err(why.to_owned()),
        };
        if sound.is_err() {
            return Ok(sound);
        }
    }
    Ok(Ok(()))
}

/// The series of a family by what they share, each with what it is to the family. The error says why it is none.
fn groups<'a>(family: &Family<'_>, series: impl Iterator<Item = Series<'a>>) -> Result<Vec<Group<'a>>, String> {
    let mut groups = BTreeMap::<Vec<(&str, &str)>, Group<'a>>::new();
    for series in series {
        let labels = series.labels();
        let role = Role::of(labels, &family.name, family.kind)?;
        groups.entry(shared(labels, &family.name, family.kind)).or_default().push((role, series));
    }
    let mut groups: Vec<Group<'a>> = groups.into_values().collect();
    for group in &mut groups {
        if group.len() > PARTS_MAX {
            return Err(format!("it has more than {PARTS_MAX} parts with the same labels"));
        }
        group.sort_by(|a, b| a.0.partial_cmp(&b.0).unwrap_or(std::cmp::Ordering::Equal));
    }
    Ok(groups)
}

/// Reads all of it. The inner error says what is wrong.
fn is_sound(groups: &[Group<'_>], kind: Kind, without_stale: bool) -> Result<Result<(), String>, ExportError> {
    let (mut found, mut point) = (Vec::new(), Vec::new());
    for group in groups {
        let mut points = Points::of(group.iter().map(|(_, series)| *series), without_stale);
        while points.next(&mut found)?.is_some() {
            point.clear();
            point.extend(found.iter().map(|&(nth, value)| (group[nth].0, value)));
            if let Err(why) = check(kind, &point) {
                return Ok(Err(why.to_owned()));
            }
        }
    }
    Ok(Ok(()))
}

/// A family that is being written.
struct Sheet<'a> {
    family: &'a Family<'a>,
    metadata: &'a BTreeMap<String, Metadata>,
    is_described: bool,
}

impl Sheet<'_> {
    /// One series from beginning to end.
    fn alone(&mut self, export: &mut Export<'_>, series: Series<'_>) -> Result<(), ExportError> {
        let mut cursor = series.cursor();
        let mut text = None;
        let mut columns = std::mem::take(&mut export.columns);
        while next_columns(&mut cursor, &mut columns, export.without_stale)? {
            let text = text.get_or_insert_with(|| self.begin(export, series.labels()));
            for (&at, &value) in columns.timestamps.iter().zip(&columns.values) {
                put_sample(&mut export.buffer, text, value, at);
            }
            export.wrote(columns.len())?;
        }
        export.columns = columns;
        export.done();
        Ok(())
    }

    /// Series side by side, time by time.
    fn together(&mut self, export: &mut Export<'_>, group: &Group<'_>) -> Result<(), ExportError> {
        let mut points = Points::of(group.iter().map(|(_, series)| *series), export.without_stale);
        let mut texts = vec![None; group.len()];
        let mut point = Vec::new();
        while let Some(at) = points.next(&mut point)? {
            for &(nth, value) in &point {
                let text = texts[nth].get_or_insert_with(|| self.begin(export, group[nth].1.labels()));
                put_sample(&mut export.buffer, text, value, at);
            }
            export.wrote(point.len())?;
        }
        group.iter().for_each(|_| export.done());
        Ok(())
    }

    /// Counts a series that has a sample, and answers how it is written.
    fn begin(&mut self, export: &mut Export<'_>, labels: &Labels) -> String {
        if !self.is_described {
            self.is_described = true;
            self.describe(export);
        }
        export.summary.series += 1;
        let mut text = String::new();
        let metric = labels.metric_name().unwrap_or_default();
        write_series(&mut text, metric, labels.iter().filter(|(name, _)| *name != METRIC_NAME));
        text
    }

    /// What is known of a family, as far as the format has room for it.
    fn describe(&self, export: &mut Export<'_>) {
        let Self { family, metadata, .. } = self;
        let Some((stored, known)) = family.known else { return };
        let (mut help, mut unit) = (known.help.as_str(), known.unit.as_str());
        // What is known under a second name, such as `c` beside `c_total`, has no lines of its own.
        let parts = family.parts.iter().copied();
        let names =
            parts.clone().chain((!parts.clone().any(|part| part == family.name)).then_some(family.name.as_str()));
        for name in names.filter(|name| *name != stored && !family.parts.is_empty()) {
            let Some(other) = metadata.get(name) else { continue };
            // Another type is that of another family.
            if other.kind != known.kind && !is_loose(&other.kind) && !name.ends_with("_created") {
                continue;
            }
            let takes_part = !name.ends_with("_created");
            for (text, other) in [(&mut help, other.help.as_str()), (&mut unit, other.unit.as_str())] {
                if text.is_empty() && takes_part {
                    *text = other;
                } else if !other.is_empty() && other != *text {
                    export.tell_second(name);
                }
            }
        }
        let mut name = String::new();
        write_series(&mut name, &family.name, []);
        // A name that needs quotes comes in braces as a series, and without them here.
        let name = name.trim_start_matches('{').trim_end_matches('}');
        let told = Cow::Borrowed(family.name.as_str());
        let mut put = |what: &str, entry: &Entry<'_>, line: &str, is_whole: bool| {
            if !put_if_it_reads_back(&mut export.buffer, line, entry) || !is_whole {
                export.leave_out_metadata(what, stored);
            }
        };
        let kind = match known.kind.as_str() {
            _ if family.weak.is_some() => "unknown",
            "untyped" => "unknown",
            kind => kind,
        };
        if !kind.is_empty() {
            let entry = Entry::Type { metric: told.clone(), kind };
            put("type", &entry, &format!("# TYPE {name} {kind}"), true);
        }
        let ends_with_unit = family.name.strip_suffix(unit).is_some_and(|stem| stem.ends_with('_'));
        // One of several metrics that are weak together has not the family's name, and its help only for whoever reads.
        if !unit.is_empty() && !family.parts.is_empty() {
            let entry = Entry::Unit { metric: told.clone(), unit };
            let has_room = ends_with_unit && !matches!(family.kind, Kind::Info | Kind::StateSet);
            let line = if has_room { format!("# UNIT {name} {unit}") } else { String::new() };
            put("unit", &entry, &line, true);
        }
        if !help.is_empty() {
            // The one is taken for what parts it from the name, the other for a part of the line's end.
            let whole = help;
            let help = whole.trim_start_matches([' ', '\t']).trim_end_matches('\r');
            let escaped = help.replace('\\', "\\\\").replace('\n', "\\n");
            let entry = Entry::Help { metric: told, text: Cow::Borrowed(help) };
            put("help", &entry, &format!("# HELP {name} {escaped}"), help == whole);
        }
        if let (Some(why), Kind::Plain, false) = (&family.weak, family.kind, family.parts.is_empty()) {
            export.weaken(stored, why);
        }
    }
}

/// What these lines cannot hold is left out, such as a unit with a line feed: it would spoil the lines of others. Answers
/// whether it was written.
fn put_if_it_reads_back(out: &mut Vec<u8>, line: &str, entry: &Entry<'_>) -> bool {
    let is_one_line = line.len() <= LINE_BYTES_MAX && !line.contains('\n');
    let reads_back = is_one_line && parse_line(line.as_bytes(), Dialect::OpenMetrics).as_ref() == Ok(entry);
    if reads_back {
        out.extend_from_slice(line.as_bytes());
        out.push(b'\n');
    }
    reads_back
}

fn put_sample(out: &mut Vec<u8>, series: &str, value: f64, at: i64) {
    out.extend_from_slice(series.as_bytes());
    out.push(b' ');
    match nan_text(value) {
        Some(text) => out.extend_from_slice(text.as_bytes()),
        None => put_value(out, value),
    }
    out.push(b' ');
    put_seconds(out, at);
    out.push(b'\n');
}

//! Upstream's rules for what counts as equal.

use std::collections::HashSet;

use regex::Regex;
use tidegauge_query::promql::{Annotations, RangeSeries, Value};
use tidegauge_storage::model::Labels;

use crate::format::{Eval, Point, STALE, Text};

const EPSILON: f64 = 1e-6;

fn equal(a: f64, b: f64) -> bool {
    if a.to_bits() == STALE.to_bits() || b.to_bits() == STALE.to_bits() {
        return a.to_bits() == b.to_bits();
    }
    if a.is_nan() && b.is_nan() || a == b {
        return true;
    }
    let (sum, diff) = (a.abs() + b.abs(), (a - b).abs());
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return diff < EPSILON * f64::MIN_POSITIVE;
    }
    diff / sum.min(f64::MAX) < EPSILON
}

fn first_float(points: &[Point]) -> f64 {
    match points.first() {
        Some(Point::Float(value)) => *value,
        _ => 0.0,
    }
}

pub(crate) fn compare(eval: &Eval, value: &Value) -> Result<(), String> {
    match (value, eval.scalar, &eval.string) {
        (Value::String(found), _, Some(wanted)) if found == wanted => Ok(()),
        (Value::Scalar(found), Some(wanted), None) if equal(*found, wanted) => Ok(()),
        (Value::Vector(found), None, None) => {
            let samples: Vec<(&Labels, f64)> = found.iter().map(|s| (&s.labels, s.value)).collect();
            compare_vector(eval, &samples, eval.ordered)
        }
        (Value::Matrix(found), None, None) => compare_matrix(eval, found),
        (found, ..) => Err(format!("wanted {:?} {:?}, got {found:?}", eval.scalar, eval.string)),
    }
}

fn compare_vector(eval: &Eval, samples: &[(&Labels, f64)], ordered: bool) -> Result<(), String> {
    let mut seen = HashSet::new();
    for (place, &(labels, value)) in samples.iter().enumerate() {
        let Some((wanted_place, points)) = eval.expected.get(labels) else {
            return Err(format!("unexpected {labels} = {value}"));
        };
        if !seen.insert(labels) {
            return Err(format!("{labels} twice"));
        }
        if ordered && *wanted_place != place + 1 {
            return Err(format!("{labels} at place {}, wanted at {wanted_place}", place + 1));
        }
        let wanted = first_float(points);
        if !equal(wanted, value) {
            return Err(format!("{labels}: wanted {wanted}, got {value}"));
        }
    }
    match eval.expected.keys().find(|labels| !seen.contains(labels)) {
        Some(missing) => Err(format!("missing {missing}")),
        None => Ok(()),
    }
}

fn compare_matrix(eval: &Eval, found: &[RangeSeries]) -> Result<(), String> {
    let mut seen = HashSet::new();
    for series in found {
        let labels = &series.labels;
        let Some((_, points)) = eval.expected.get(labels) else {
            return Err(format!("unexpected {labels} {:?}", series.values));
        };
        if !seen.insert(labels) {
            return Err(format!("{labels} twice"));
        }
        let wanted: Vec<(i64, f64)> = (0i64..)
            .zip(points)
            .filter_map(|(i, point)| match point {
                Point::Float(value) => Some(((eval.start + i * eval.step) * 1_000_000, *value)),
                _ => None,
            })
            .collect();
        let found: Vec<(i64, f64)> = series.timestamps.iter().copied().zip(series.values.iter().copied()).collect();
        let same = wanted.len() == found.len() && wanted.iter().zip(&found).all(|(w, f)| w.0 == f.0 && equal(w.1, f.1));
        if !same {
            return Err(format!("{labels}: wanted {wanted:?}, got {found:?}"));
        }
    }
    match eval.expected.keys().find(|labels| !seen.contains(labels)) {
        Some(missing) => Err(format!("missing {missing}")),
        None => Ok(()),
    }
}

/// The step of a range that an instant query was about.
pub(crate) fn compare_at(eval: &Eval, found: &[RangeSeries]) -> Result<(), String> {
    let at = eval.start * 1_000_000;
    let samples: Vec<(&Labels, f64)> = found
        .iter()
        .filter_map(|s| s.timestamps.iter().position(|&t| t == at).map(|i| (&s.labels, s.values[i])))
        .collect();
    match eval.scalar {
        Some(wanted) if samples.len() == 1 && equal(wanted, samples[0].1) => Ok(()),
        Some(wanted) => Err(format!("wanted {wanted}, got {samples:?}")),
        None => compare_vector(eval, &samples, false),
    }
}

pub(crate) fn check_text(wanted: &Text, found: &str) -> Result<(), String> {
    let matches = match wanted {
        Text::Any => true,
        Text::Exact(text) => text == found,
        Text::Regex(pattern) => Regex::new(pattern).expect("a regex").is_match(found),
    };
    if matches { Ok(()) } else { Err(format!("wanted {wanted:?}, got {found:?}")) }
}

pub(crate) fn check_annotations(eval: &Eval, annotations: &Annotations) -> Result<(), String> {
    let kinds = [
        ("warn", &eval.warn, eval.no_warn, annotations.warnings(&eval.expr)),
        ("info", &eval.info, eval.no_info, annotations.infos(&eval.expr)),
    ];
    for (kind, wanted, none, found) in kinds {
        if none && !found.is_empty() {
            return Err(format!("unwanted {kind}: {found:?}"));
        }
        if wanted.is_empty() {
            continue;
        }
        // Places in the text differ where upstream's spans do: compare with and without.
        let hits = |w: &Text, f: &str| check_text(w, f).is_ok() || without_place(w, f);
        if let Some(missing) = wanted.iter().find(|w| !found.iter().any(|f| hits(w, f))) {
            return Err(format!("wanted {kind} {missing:?}, got {found:?}"));
        }
        if let Some(more) = found.iter().find(|f| !wanted.iter().any(|w| hits(w, f))) {
            return Err(format!("unwanted {kind} {more:?}"));
        }
    }
    Ok(())
}

fn without_place(wanted: &Text, found: &str) -> bool {
    let place = Regex::new(r" \(\d+:\d+\)$").expect("a regex");
    match wanted {
        Text::Any => true,
        Text::Exact(text) => place.replace(text, "") == place.replace(found, ""),
        Text::Regex(_) => check_text(wanted, &place.replace(found, "")).is_ok(),
    }
}

//! Prometheus' own test cases against the evaluator, read from `$TIDEGAUGE_PROMQL`.
//!
//! Cases about native histograms and start timestamps are skipped: stored values are floats.

mod compare;
mod format;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use compare::{check_annotations, compare, compare_at};
use format::{Command, Eval, Load, Point, parse_file};
use tidegauge_query::promql::parse::Function;
use tidegauge_query::promql::{Annotations, Evaluator, Expr, Options, Value, parse};
use tidegauge_storage::model::{Labels, Sample, SeqNo, Timestamp};
use tidegauge_storage::source::{Snapshot, VecSource};

/// What a section has loaded so far.
#[derive(Default)]
struct Store {
    floats: HashMap<Labels, Vec<Sample>>,
    histograms: Vec<Labels>,
    started: Vec<Labels>,
}

impl Store {
    fn load(&mut self, load: Load) {
        for (labels, samples) in load.series {
            if samples.iter().any(|(_, p)| matches!(p, Point::Histogram)) {
                self.histograms.push(labels.clone());
            }
            if load.with_native {
                self.histograms.extend(native_name(&labels));
            }
            let series = self.floats.entry(labels).or_default();
            for (millis, point) in samples {
                if let Point::Float(value) = point {
                    series.push(Sample { timestamp: Timestamp::from_millis_saturating(millis), value });
                }
            }
        }
        self.started.extend(load.started);
    }

    /// Three sources, so that every series is merged.
    fn snapshot(&self) -> Snapshot {
        let mut sources = [VecSource::new(), VecSource::new(), VecSource::new()];
        for (labels, samples) in &self.floats {
            for (i, source) in sources.iter_mut().enumerate() {
                source.insert(labels, samples.iter().copied().skip(i).step_by(3));
            }
        }
        Snapshot::new(sources.into_iter().map(|s| Arc::new(s) as _).collect(), SeqNo(0))
    }

    fn touches(&self, expr: &Expr) -> Option<&'static str> {
        let (mut selectors, mut info) = (Vec::new(), false);
        collect(expr, &mut selectors, &mut info);
        let any = |pool: &[Labels]| {
            let by_selector = selectors.iter().any(|ms| pool.iter().any(|l| ms.iter().all(|m| m.matches_labels(l))));
            by_selector || (info && pool.iter().any(|l| l.metric_name().is_some_and(|n| n.ends_with("_info"))))
        };
        if any(&self.histograms) {
            return Some("native histogram");
        }
        any(&self.started).then_some("start timestamps")
    }
}

/// The native histogram that a series of a classic one is part of.
fn native_name(labels: &Labels) -> Option<Labels> {
    let name = labels.metric_name()?;
    let base = ["_bucket", "_sum", "_count"].iter().find_map(|ending| name.strip_suffix(ending))?;
    let pairs = labels.iter().filter(|(n, _)| *n != "le").map(|(n, v)| (n, if n == "__name__" { base } else { v }));
    Some(Labels::from_sorted(&pairs.collect::<Vec<_>>()))
}

fn collect<'a>(expr: &'a Expr, selectors: &mut Vec<&'a [tidegauge_storage::model::Matcher]>, info: &mut bool) {
    match expr {
        Expr::Vector(v) => selectors.push(&v.matchers),
        Expr::Matrix(m) => selectors.push(&m.selector.matchers),
        Expr::Call(c) if c.signature.function == Function::Info => *info = true,
        _ => {}
    }
    expr.children().into_iter().for_each(|child| collect(child, selectors, info));
}

enum Outcome {
    Passed,
    Failed(String),
    Skipped,
}

fn run(eval: &Eval, store: &Store, snapshot: &Snapshot) -> Outcome {
    let expected = || eval.expected.values().flat_map(|(_, points)| points);
    if expected().any(|p| matches!(p, Point::Histogram)) {
        return Outcome::Skipped;
    }
    let answer = match parse(&eval.expr) {
        Err(e) => Err(e.to_string()),
        Ok(expr) => {
            if store.touches(&expr).is_some() {
                return Outcome::Skipped;
            }
            ask(eval, &expr, snapshot)
        }
    };
    let verdict = match (answer, &eval.fail) {
        (Err(e), Some(text)) => compare::check_text(text, &e),
        (Err(e), None) => Err(format!("error: {e}")),
        (Ok(_), Some(_)) => Err("expected an error, got an answer".to_owned()),
        (Ok((value, annotations)), None) => compare(eval, &value)
            .and_then(|()| check_annotations(eval, &annotations))
            .and_then(|()| as_range(eval, snapshot)),
    };
    match verdict {
        Ok(()) => Outcome::Passed,
        Err(why) => Outcome::Failed(why),
    }
}

fn millis(millis: i64) -> Timestamp {
    Timestamp::from_millis_saturating(millis)
}

fn ask(eval: &Eval, expr: &Expr, snapshot: &Snapshot) -> Result<(Value, Annotations), String> {
    let evaluator = Evaluator::new(snapshot, Options::default());
    if eval.is_range {
        let step = Duration::from_millis(eval.step as u64);
        let answer = evaluator.range(expr, millis(eval.start), millis(eval.end), step);
        return answer.map(|(matrix, annotations)| (Value::Matrix(matrix), annotations)).map_err(|e| e.to_string());
    }
    evaluator.instant(expr, millis(eval.end)).map_err(|e| e.to_string())
}

/// An instant query is the middle step of a range query around it.
fn as_range(eval: &Eval, snapshot: &Snapshot) -> Result<(), String> {
    let own_time = ["start()", "end()", "range()", "step()"].iter().any(|f| eval.expr.contains(f));
    if eval.is_range || eval.ordered || eval.is_range_vector || eval.string.is_some() || own_time {
        return Ok(());
    }
    let expr = parse(&eval.expr).map_err(|e| e.to_string())?;
    let evaluator = Evaluator::new(snapshot, Options::default());
    let (from, to) = (millis(eval.start - 60_000), millis(eval.start + 60_000));
    let (matrix, _) =
        evaluator.range(&expr, from, to, Duration::from_secs(60)).map_err(|e| format!("as a range: {e}"))?;
    compare_at(eval, &matrix).map_err(|why| format!("as a range: {why}"))
}

/// Files, or the reason why there are none to test.
fn case_files() -> Option<Vec<PathBuf>> {
    let Some(folder) = std::env::var_os("TIDEGAUGE_PROMQL") else {
        eprintln!("skipped: TIDEGAUGE_PROMQL names no folder of .test files");
        return None;
    };
    // The folder of the files, or the one around it.
    let inner = Path::new(&folder).join("testdata");
    let folder = if inner.is_dir() { inner } else { folder.into() };
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .expect("TIDEGAUGE_PROMQL can be read")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == "test"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no .test file in {}", folder.display());
    Some(files)
}

#[test]
fn the_cases_of_prometheus_hold() {
    let Some(files) = case_files() else { return };
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for file in files {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&file).expect("a readable file");
        let mut store = Store::default();
        let mut snapshot = store.snapshot();
        for command in parse_file(&text) {
            match command {
                Command::Clear => store = Store::default(),
                Command::Load(load) => store.load(load),
                Command::Eval(eval) => match run(&eval, &store, &snapshot) {
                    Outcome::Passed => passed += 1,
                    Outcome::Skipped => skipped += 1,
                    Outcome::Failed(why) => {
                        failed += 1;
                        eprintln!("{name}:{}: {}\n    {why}", eval.line, eval.expr);
                    }
                },
            }
            snapshot = store.snapshot();
        }
    }
    eprintln!("{passed} passed, {failed} failed, {skipped} skipped");
    assert_eq!(failed, 0, "see above");
}

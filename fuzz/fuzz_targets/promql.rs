//! Any text is understood or refused; what is understood is printed as something that is understood the same,
//! and has a value or an error: at one time, and at many.

#![no_main]

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use tidegauge_fuzz::queries::{BEGIN, source};
use tidegauge_query::QueryLimits;
use tidegauge_query::promql::{Evaluator, Options, parse};
use tidegauge_storage::model::{SeqNo, Timestamp};
use tidegauge_storage::source::Snapshot;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(expr) = parse(text) else { return };
    let printed = expr.to_string();
    let again = parse(&printed).unwrap_or_else(|error| panic!("{text:?} is printed as {printed:?}: {error}"));
    assert_eq!(one_plus(again.to_string()), one_plus(printed), "{text:?}");

    static SNAPSHOT: OnceLock<Snapshot> = OnceLock::new();
    let snapshot = SNAPSHOT.get_or_init(|| Snapshot::new(vec![Arc::new(source())], SeqNo(0)));
    let limits = QueryLimits { samples: 20_000, memory_bytes: 1 << 20, ..QueryLimits::DEFAULT };
    let mut options = Options::default();
    (options.limits, options.shared) = (QueryLimits { time: Duration::from_secs(2), ..limits }, false);
    let evaluator = Evaluator::new(snapshot, options);
    let at = |seconds: i64| Timestamp::from_nanos((BEGIN + seconds) * 1_000_000_000);
    let told = |notes: tidegauge_query::promql::Annotations| (notes.warnings(text), notes.infos(text));
    let _ = evaluator.instant(&expr, at(400)).map(|(_, notes)| told(notes));
    let _ = evaluator.range(&expr, at(-30), at(700), Duration::from_millis(37_500)).map(|(_, notes)| told(notes));
});

/// An infinity is printed with its sign, as Prometheus does: before a power that is an operator when it is read again, of
/// the same value, and printed beside the sign.
fn one_plus(mut text: String) -> String {
    while text.contains("++Inf ^") {
        text = text.replace("++Inf ^", "+Inf ^");
    }
    text
}

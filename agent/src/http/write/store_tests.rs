use std::time::Duration;

use proptest::prelude::*;
use tidegauge::internals::evict_idle;
use tidegauge::{Level, MatchOp, Matcher};

use super::*;
use crate::collect::commits;
use crate::test_engine::{samples, samples_of};

/// A field of protobuf's wire format.
fn field(number: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    put_varint(&mut out, payload.len() as u64);
    [out, payload.to_vec()].concat()
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn label(name: &str, value: &str) -> Vec<u8> {
    field(1, &[field(1, name.as_bytes()), field(2, value.as_bytes())].concat())
}

/// The value as a fixed double, the time as a number.
fn sample(millis: i64, value: f64) -> Vec<u8> {
    let mut out = [&[9][..], &value.to_le_bytes(), &[16]].concat();
    put_varint(&mut out, millis as u64);
    field(2, &out)
}

/// One series of 1.0, with one sample.
fn one(name: &str, n: u8) -> Vec<u8> {
    field(1, &[label("__name__", name), sample(i64::from(n), f64::from(n))].concat())
}

fn ok(engine: &Engine, known: &Known, protocol: Protocol, message: &[u8]) -> Stored {
    let stored = store(engine, known, protocol, message).unwrap();
    assert!(stored.failed.is_none(), "{:?}", stored.failed);
    wait(engine, &stored);
    stored
}

fn wait(engine: &Engine, stored: &Stored) {
    if let Some(ack) = stored.ack {
        engine.wait(ack, Level::Visible, Duration::from_secs(20)).unwrap();
    }
}

fn evict(engine: &Engine) -> usize {
    engine.flush().unwrap();
    evict_idle(engine)
}

/// What [`one`] stores.
fn stored(numbers: std::ops::RangeInclusive<u8>) -> Vec<(i64, u64)> {
    numbers.map(|n| (i64::from(n) * 1_000_000, f64::from(n).to_bits())).collect()
}

#[test]
fn a_request_that_describes_many_metrics_costs_one_commit() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(dir.path()).unwrap();
    let described = |metric: &str| field(3, &[&[8, 1], &field(2, metric.as_bytes())[..], &field(4, b"?")].concat());
    let message: Vec<u8> = (0..1000).flat_map(|i| described(&format!("m{i}"))).collect();
    let before = commits(dir.path());
    for _ in 0..2 {
        ok(&engine, &Known::default(), Protocol::V1, &message);
        assert_eq!(commits(dir.path()), before + 1, "and what is known is no news");
    }
    let metadata = engine.metadata();
    assert_eq!(
        (metadata.len(), metadata["m999"].kind.as_str(), metadata["m999"].help.as_str()),
        (1000, "counter", "?")
    );
}

#[test]
fn a_description_that_is_refused_costs_no_other() {
    let engine = Engine::in_memory().unwrap();
    let huge = "x".repeat(64 << 20);
    let mut all: Vec<(String, Metadata)> = ["a", "b", "c"].map(|m| (m.to_owned(), Metadata::default())).into();
    all[0].1.kind = "counter".to_owned();
    all[1].1.help = huge;
    all[2].1.kind = "gauge".to_owned();
    let (refused, why) = describe(&engine, all);
    assert_eq!(refused, 1);
    assert!(why.unwrap().to_string().contains("\"b\""));
    assert_eq!(engine.metadata().into_keys().collect::<Vec<_>>(), ["a", "c"]);
}

#[test]
fn a_sender_notices_nothing_when_its_series_have_left_memory() {
    let (engine, known) = (Engine::in_memory().unwrap(), Known::default());
    for round in 1..=3 {
        assert_eq!(ok(&engine, &known, Protocol::V1, &one("up", round)).samples, 1);
        assert_eq!(evict(&engine), 1);
    }
    assert_eq!(samples_of(&engine, "up"), stored(1..=3));
}

/// Between a look and the push that follows it.
#[test]
fn a_series_may_leave_memory_while_a_request_is_read() {
    let engine = Engine::in_memory_builder().max_series(2).open().unwrap();
    let known = Known::default();
    let message = [one("a", 1), one("b", 1)].concat();
    ok(&engine, &known, Protocol::V1, &message);
    let ahead = field(1, &[label("__name__", "a"), sample(4_000_000_000_000, 1.0)].concat());
    let message = [ahead, one("b", 2), one("a", 2)].concat();
    let request = Request::new(Protocol::V1, &message).unwrap();
    let mut writer = Writer::new(&engine, &known, &request);
    writer.ahead().unwrap();
    assert_eq!(writer.batch.len(), 3);
    assert_eq!(evict(&engine), 2);
    // And its place is taken: of two series one comes back.
    engine.series(&[("__name__", "c")]).unwrap();
    writer.send();
    let done = writer.finish();
    wait(&engine, &done);
    let why = done.failed.unwrap().to_string();
    assert!(done.samples == 1 && why.starts_with("2 samples or series refused") && why.contains("b is not"), "{why}");
    assert_eq!(samples_of(&engine, "a"), stored(1..=2));
    assert_eq!(samples_of(&engine, "b"), stored(1..=1));
}

/// Whoever is found is not resolved: here another series' id was learned.
#[test]
fn known_labels_are_not_read_again_in_either_protocol() {
    let (engine, known) = (Engine::in_memory().unwrap(), Known::default());
    let labels = [label("__name__", "a"), label("k", &"v".repeat(200))].concat();
    let mut learned = Learned::default();
    learned.push(&labels, engine.series(&[("__name__", "b")]).unwrap());
    known.learn(&mut learned);
    let in_v1 = field(1, &[labels, sample(1, 1.0)].concat());
    let symbols = ["", "__name__", "a", "k", &"v".repeat(200)].map(|text| field(4, text.as_bytes())).concat();
    let in_v2 = [symbols, field(5, &[field(1, &[1, 2, 3, 4]), sample(2, 2.0)].concat())].concat();
    ok(&engine, &known, Protocol::V1, &in_v1);
    ok(&engine, &known, Protocol::V2, &in_v2);
    assert_eq!(samples_of(&engine, "b"), stored(1..=2));
    assert_eq!(samples_of(&engine, "a"), []);
}

/// As a request may hold it.
#[derive(Clone, Debug)]
struct Sent {
    labels: Vec<(String, String)>,
    samples: Vec<(i64, u8)>,
    histogram: bool,
    /// Behind the samples.
    last_label: Option<(String, String)>,
    /// The length of the first label in one byte more than it needs.
    is_wordy: bool,
    described_as: Option<u8>,
}

fn v1(all: &[Sent]) -> Vec<u8> {
    let mut out = Vec::new();
    for sent in all {
        let mut series: Vec<u8> = sent.labels.iter().flat_map(|(name, value)| label(name, value)).collect();
        if sent.is_wordy && series.get(1).is_some_and(|&len| len < 0x80) {
            series[1] |= 0x80;
            series.insert(2, 0);
        }
        sent.samples.iter().for_each(|&(at, value)| series.extend(sample(at, f64::from(value))));
        series.extend(sent.histogram.then(|| field(4, b"?")).into_iter().flatten());
        series.extend(sent.last_label.iter().flat_map(|(name, value)| label(name, value)));
        out.extend(field(1, &series));
        if let (Some(kind), Some((_, name))) = (sent.described_as, sent.labels.first()) {
            out.extend(field(3, &[&[8, kind][..], &field(2, name.as_bytes())].concat()));
        }
    }
    out
}

fn v2(all: &[Sent]) -> Vec<u8> {
    let (mut symbols, mut out) = (vec![String::new()], Vec::new());
    for sent in all {
        let mut packed = Vec::new();
        for text in sent.labels.iter().chain(&sent.last_label).flat_map(|(name, value)| [name, value]) {
            put_varint(&mut packed, symbols.len() as u64);
            symbols.push(text.clone());
        }
        let mut series = field(1, &packed);
        sent.samples.iter().for_each(|&(at, value)| series.extend(sample(at, f64::from(value))));
        series.extend(sent.histogram.then(|| field(3, b"?")).into_iter().flatten());
        series.extend(sent.described_as.map(|kind| field(5, &[8, kind])).into_iter().flatten());
        out.extend(field(5, &series));
    }
    out.extend(symbols.iter().flat_map(|text| field(4, text.as_bytes())));
    out
}

fn pair() -> impl Strategy<Value = (String, String)> {
    let name = prop_oneof![9 => Just("__name__"), 3 => Just("k"), 3 => Just("l"), 1 => Just("")];
    let value = prop_oneof![
        6 => "[ab]".boxed(),
        1 => Just(String::new()).boxed(),
        1 => Just("x".repeat(200)).boxed(),
        1 => Just("x".repeat(5 << 10)).boxed(),
        1 => Just("x".repeat(17 << 10)).boxed(),
    ];
    (name, value).prop_map(|(name, value)| (name.to_owned(), value))
}

prop_compose! {
    fn sent()(
        name in prop::option::weighted(0.9, "[a-f]"),
        more in prop::collection::vec(pair(), 0..3),
        samples in prop::collection::vec((prop_oneof![9 => 0i64..9, 1 => Just(i64::MAX), 1 => Just(4_000_000_000_000)], any::<u8>()), 0..7),
        histogram in prop::bool::weighted(0.1),
        last_label in prop::option::weighted(0.1, pair()),
        is_wordy in prop::bool::weighted(0.1),
        described_as in prop::option::weighted(0.2, 0u8..9),
    ) -> Sent {
        let labels = name.map(|name| ("__name__".to_owned(), name)).into_iter().chain(more).collect();
        Sent { labels, samples, histogram, last_label, is_wordy, described_as }
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// Series of the pool, in either protocol; a byte that is another, or the end.
    Send {
        which: Vec<prop::sample::Index>,
        protocol: bool,
        flip: Option<(prop::sample::Index, u8)>,
        cut: Option<prop::sample::Index>,
    },
    Evict,
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<prop::sample::Index>;
    let send = (
        prop::collection::vec(index(), 0..8),
        any::<bool>(),
        prop::option::weighted(0.15, (index(), any::<u8>())),
        prop::option::weighted(0.1, index()),
    );
    let send = send.prop_map(|(which, protocol, flip, cut)| Step::Send { which, protocol, flip, cut });
    prop_oneof![6 => send, 1 => Just(Step::Evict)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// One engine remembers what it learned, the other one never does.
    #[test]
    fn to_remember_series_changes_nothing_but_the_time_it_takes(
        pool in prop::collection::vec(sent(), 1..8),
        steps in prop::collection::vec(step(), 1..12),
    ) {
        let open = || Engine::in_memory_builder().max_series(5).open().unwrap();
        let ((with, without), known) = ((open(), open()), Known::default());
        for step in &steps {
            let Step::Send { which, protocol, flip, cut } = step else {
                prop_assert_eq!(evict(&with), evict(&without));
                continue;
            };
            let all: Vec<Sent> = which.iter().map(|index| index.get(&pool).clone()).collect();
            let (protocol, mut message) = if *protocol { (Protocol::V1, v1(&all)) } else { (Protocol::V2, v2(&all)) };
            if let Some((at, byte)) = flip && !message.is_empty() {
                let at = at.index(message.len());
                message[at] = *byte;
            }
            if let Some(at) = cut && !message.is_empty() {
                message.truncate(at.index(message.len()));
            }
            let [mine, twin] = [(&with, &known), (&without, &Known::default())].map(|(engine, known)| {
                let stored = store(engine, known, protocol, &message).map_err(|why| (why.status(), why.to_string()))?;
                wait(engine, &stored);
                let failed = stored.failed.map(|why| (why.status(), why.to_string()));
                Ok::<_, (StatusCode, String)>((stored.samples, stored.ack.is_some(), failed))
            });
            prop_assert_eq!(mine, twin);
            let stats = |engine: &Engine| {
                let stats = engine.stats();
                (stats.refused_ahead, stats.refused_series, stats.series)
            };
            prop_assert_eq!(stats(&with), stats(&without));
            prop_assert_eq!(with.metadata(), without.metadata());
        }
        let all = [Matcher::new("__name__", MatchOp::Regex, ".*").unwrap()];
        prop_assert_eq!(samples(&with, &all), samples(&without, &all));
    }
}

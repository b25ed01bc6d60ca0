//! The decoder against prost's, which is the twin.

use proptest::prelude::*;
use prost::Message as _;

use super::*;

#[derive(Clone, PartialEq, prost::Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct SampleV1 {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct SeriesV1 {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<SampleV1>,
    #[prost(bytes = "vec", repeated, tag = "3")]
    exemplars: Vec<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "4")]
    histograms: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct MetadataV1 {
    #[prost(uint64, tag = "1")]
    kind: u64,
    #[prost(string, tag = "2")]
    metric: String,
    #[prost(string, tag = "4")]
    help: String,
    #[prost(string, tag = "5")]
    unit: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RequestV1 {
    #[prost(message, repeated, tag = "1")]
    series: Vec<SeriesV1>,
    #[prost(message, repeated, tag = "3")]
    metadata: Vec<MetadataV1>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct MetadataV2 {
    #[prost(uint64, tag = "1")]
    kind: u64,
    #[prost(uint32, tag = "3")]
    help: u32,
    #[prost(uint32, tag = "4")]
    unit: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct SeriesV2 {
    #[prost(uint32, repeated, tag = "1")]
    labels: Vec<u32>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<SampleV1>,
    #[prost(bytes = "vec", repeated, tag = "3")]
    histograms: Vec<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "4")]
    exemplars: Vec<Vec<u8>>,
    #[prost(message, optional, tag = "5")]
    metadata: Option<MetadataV2>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RequestV2 {
    #[prost(string, repeated, tag = "4")]
    symbols: Vec<String>,
    #[prost(message, repeated, tag = "5")]
    series: Vec<SeriesV2>,
}

/// Everything a body holds, as text that can be compared.
fn shown(protocol: Protocol, body: &[u8]) -> Result<Vec<String>, WireError> {
    let request = Request::new(protocol, body)?;
    let (mut walk, mut items) = (request.walk(), Vec::new());
    while let Some(item) = walk.next(&|_| None)? {
        items.push(format!("{item:?}"));
    }
    Ok(items)
}

/// A label as a field of a 1.0 series, empty texts spelled out.
fn spelled(name: &str, value: &str) -> Vec<u8> {
    let field = |number: u32, bytes: &[u8]| {
        let mut out = Vec::new();
        prost::encoding::bytes::encode(number, &bytes.to_vec(), &mut out);
        out
    };
    field(1, &[field(1, name.as_bytes()), field(2, value.as_bytes())].concat())
}

fn expected_v1(request: &RequestV1) -> Vec<String> {
    let series = request.series.iter().map(|s| {
        let series = Series {
            id: None,
            key: SeriesV1 { labels: s.labels.clone(), ..SeriesV1::default() }.encode_to_vec(),
            labels: s.labels.iter().map(|l| (l.name.as_str(), l.value.as_str())).collect(),
            samples: s.samples.iter().map(|s| (s.timestamp, s.value)).collect(),
            histograms: s.histograms.len(),
            exemplars: s.exemplars.len(),
            metadata: None,
        };
        format!("{:?}", Item::Series(&series))
    });
    let metadata = request
        .metadata
        .iter()
        .map(|m| format!("{:?}", Item::Metadata { metric: &m.metric, kind: m.kind, help: &m.help, unit: &m.unit }));
    series.chain(metadata).collect()
}

fn expected_v2(request: &RequestV2) -> Option<Vec<String>> {
    if request.symbols.first().is_some_and(|s| !s.is_empty()) {
        return None;
    }
    let symbol = |r: u32| request.symbols.get(r as usize).map(String::as_str);
    let mut items = Vec::new();
    for s in &request.series {
        if !s.labels.len().is_multiple_of(2) {
            return None;
        }
        let metadata = match &s.metadata {
            Some(m) => Some((m.kind, symbol(m.help)?, symbol(m.unit)?)),
            None => None,
        };
        let labels: Option<Vec<_>> = s.labels.chunks(2).map(|p| Some((symbol(p[0])?, symbol(p[1])?))).collect();
        let labels = labels?;
        let series = Series {
            id: None,
            key: labels.iter().flat_map(|(name, value)| spelled(name, value)).collect(),
            labels,
            samples: s.samples.iter().map(|s| (s.timestamp, s.value)).collect(),
            histograms: s.histograms.len(),
            exemplars: s.exemplars.len(),
            metadata,
        };
        items.push(format!("{:?}", Item::Series(&series)));
    }
    Some(items)
}

fn sample() -> impl Strategy<Value = SampleV1> {
    // prost leaves -0.0 out, as if it were 0.
    let value = any::<f64>().prop_map(|value| if value == 0.0 { 0.0 } else { value });
    (value, any::<i64>()).prop_map(|(value, timestamp)| SampleV1 { value, timestamp })
}

fn blobs() -> impl Strategy<Value = Vec<Vec<u8>>> {
    prop::collection::vec(prop::collection::vec(any::<u8>(), 0..4), 0..3)
}

prop_compose! {
    fn series_v1_strategy()(
        labels in prop::collection::vec((".{0,5}", ".{0,5}"), 0..4),
        samples in prop::collection::vec(sample(), 0..4),
        exemplars in blobs(),
        histograms in blobs(),
    ) -> SeriesV1 {
        let labels = labels.into_iter().map(|(name, value)| Label { name, value }).collect();
        SeriesV1 { labels, samples, exemplars, histograms }
    }
}

prop_compose! {
    fn series_v2_strategy()(
        labels in prop::collection::vec(0u32..6, 0..6),
        samples in prop::collection::vec(sample(), 0..4),
        histograms in blobs(),
        exemplars in blobs(),
        metadata in prop::option::of((0u64..9, 1u32..6, 1u32..6)),
    ) -> SeriesV2 {
        let metadata = metadata.map(|(kind, help, unit)| MetadataV2 { kind, help, unit });
        SeriesV2 { labels, samples, histograms, exemplars, metadata }
    }
}

proptest! {
    #[test]
    fn version_1_reads_what_prost_writes(
        series in prop::collection::vec(series_v1_strategy(), 0..4),
        metadata in prop::collection::vec((any::<u64>(), ".{0,5}", ".{0,5}", ".{0,5}"), 0..3),
    ) {
        let metadata = metadata
            .into_iter()
            .map(|(kind, metric, help, unit)| MetadataV1 { kind, metric, help, unit })
            .collect();
        let request = RequestV1 { series, metadata };
        prop_assert_eq!(shown(Protocol::V1, &request.encode_to_vec()), Ok(expected_v1(&request)));
    }

    #[test]
    fn version_2_reads_what_prost_writes(
        symbols in prop::collection::vec(".{0,5}", 0..6),
        empty_first in prop::bool::weighted(0.9),
        series in prop::collection::vec(series_v2_strategy(), 0..4),
    ) {
        let symbols = empty_first.then(String::new).into_iter().chain(symbols).collect();
        let request = RequestV2 { symbols, series };
        prop_assert_eq!(shown(Protocol::V2, &request.encode_to_vec()).ok(), expected_v2(&request));
    }

    #[test]
    fn any_bytes_are_read_or_refused_as_prost_does(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let ours = shown(Protocol::V1, &bytes);
        if let Ok(ours) = ours {
            // prost rejects a few things we may skip over; what both read must be the same.
            if let Ok(theirs) = RequestV1::decode(&bytes[..]) {
                prop_assert_eq!(ours.len(), theirs.series.len() + theirs.metadata.len());
            }
        }
        let _ = shown(Protocol::V2, &bytes);
    }
}

#[test]
fn a_cut_body_is_refused_wherever_it_is_cut() {
    let label = |name: &str, value: &str| Label { name: name.to_owned(), value: value.to_owned() };
    let series = SeriesV1 {
        labels: vec![label("__name__", "up"), label("job", "x")],
        samples: vec![SampleV1 { value: 1.5, timestamp: -7 }],
        exemplars: vec![],
        histograms: vec![],
    };
    let body = RequestV1 { series: vec![series], metadata: vec![] }.encode_to_vec();
    assert!(shown(Protocol::V1, &body).is_ok());
    for cut in 1..body.len() {
        assert!(shown(Protocol::V1, &body[..cut]).is_err(), "cut at {cut}");
    }
}

#[test]
fn a_key_is_read_as_the_labels_that_it_stands_for() {
    for len in [0, 1, 100, 118, 119, 127, 128, 16_383, 16_384, 70_000] {
        let (mut key, value) = (Vec::new(), "x".repeat(len));
        put_label(&mut key, "name", &value);
        assert_eq!(key, spelled("name", &value), "{len}");
        let mut leading = Message::new(&key);
        // What needs three bytes for its length is longer than any key that is remembered.
        assert_eq!(leading.leading(1).raw() == key, len < 16_384 - 11, "{len}");
    }
}

/// Of a table of a few bytes a request could make gigabytes.
#[test]
fn references_to_long_texts_make_no_long_key() {
    let long = "x".repeat(1 << 16);
    let labels = vec![1; 2 * LABELS_PER_SERIES_MAX];
    let series = SeriesV2 { labels, ..SeriesV2::default() };
    let body = RequestV2 { symbols: vec![String::new(), long], series: vec![series] }.encode_to_vec();
    let request = Request::new(Protocol::V2, &body).unwrap();
    let mut walk = request.walk();
    let Ok(Some(Item::Series(series))) = walk.next(&|_| None) else { panic!() };
    assert_eq!((series.labels.len(), series.key.len()), (LABELS_PER_SERIES_MAX, 0));
    assert!(series.key.capacity() <= 2 * KEY_BYTES_MAX);
}

/// Of labels that were known, behind which others stand: the series is none of those that were known.
#[test]
fn labels_behind_known_ones_are_part_of_the_series() {
    let engine = tidegauge::Engine::in_memory().unwrap();
    let id = engine.series(&[("__name__", "a")]).unwrap();
    let sample = SeriesV1 { samples: vec![SampleV1 { value: 1.0, timestamp: 1 }], ..SeriesV1::default() };
    let (first, last) = (spelled("__name__", "a"), spelled("k", "v"));
    let body = |parts: &[&[u8]]| {
        let mut body = Vec::new();
        prost::encoding::bytes::encode(1, &parts.concat(), &mut body);
        body
    };
    let read = |body: Vec<u8>| {
        let request = Request::new(Protocol::V1, &body).unwrap();
        let mut walk = request.walk();
        let Ok(Some(Item::Series(series))) = walk.next(&|key| (key == first).then_some(id)) else { panic!() };
        (series.id, series.key.clone(), series.labels.len(), series.samples.len())
    };
    let sample = sample.encode_to_vec();
    assert_eq!(read(body(&[&first, &sample])), (Some(id), vec![], 0, 1));
    assert_eq!(read(body(&[&first, &sample, &last])), (None, vec![], 2, 1));
    assert_eq!(read(body(&[&first, &last, &sample])), (None, [first.clone(), last.clone()].concat(), 2, 1));
}

#[test]
fn errors_name_the_byte() {
    assert_eq!(shown(Protocol::V1, &[0x0a, 0x05, 0x0a]).unwrap_err().offset, 2);
    assert_eq!(shown(Protocol::V1, &[0x0f]).unwrap_err().what, "unknown wire type");
    assert_eq!(shown(Protocol::V1, &[0x00]).unwrap_err().what, "field number out of range");
    assert_eq!(shown(Protocol::V1, &[0xff; 11]).unwrap_err().what, "number does not fit in 64 bits");
}

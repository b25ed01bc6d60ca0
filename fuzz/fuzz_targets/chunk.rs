//! A chunk of any bytes: a typed error, or samples that keep what columns promise.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegauge_storage::chunk::ChunkView;
use tidegauge_storage::model::{TimeRange, Timestamp};
use tidegauge_storage::source::Columns;

fuzz_target!(|bytes: &[u8]| {
    let Ok(view) = ChunkView::parse(bytes) else { return };
    let mut out = Columns::default();
    let middle = Timestamp::from_nanos(view.first_timestamp() / 2 + view.last_timestamp() / 2);
    for range in [TimeRange::ALL, TimeRange::new(middle, Timestamp::MAX)] {
        out.clear();
        let decoded = view.decode_range(range, &mut out);
        assert_eq!(out.timestamps.len(), out.values.len());
        assert!(out.len() <= view.count() && out.timestamps.is_sorted_by(|a, b| a < b));
        assert!(out.timestamps.iter().all(|at| range.contains(Timestamp::from_nanos(*at))));
        assert!(decoded.is_ok() || out.is_empty());
    }
});

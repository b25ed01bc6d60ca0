//! What the agent and its engine measure of themselves: shown at `/metrics`, and stored
//! like anything else that is collected.

mod collector;
mod counters;
mod metric;

use tidegauge::{Engine, Quantiles, Stats};

pub(crate) use collector::Collector;
pub(crate) use counters::Counters;
use metric::List;
pub(crate) use metric::Metric;

/// Everything, at this moment. Each number is right by itself; they are not of one instant.
pub(crate) fn measure(engine: &Engine, counters: &Counters) -> Vec<Metric> {
    let mut list = List::default();
    agent(&mut list, counters);
    let healthy = if engine.is_healthy().is_ok() { 1.0 } else { 0.0 };
    list.gauge("tidegauge_engine_healthy", "1 while the engine takes samples, 0 once it stopped writing.", healthy);
    engine_metrics(&mut list, &engine.stats());
    process(&mut list);
    list.finish()
}

/// All of `metrics` in Prometheus' text format.
pub(crate) fn text(metrics: &[Metric]) -> String {
    metric::text(metrics)
}

fn agent(list: &mut List, counters: &Counters) {
    let seen = counters.read();
    let help = "The release that runs here, as a label.";
    list.labelled("tidegauge_build_info", "gauge", help, "version", env!("CARGO_PKG_VERSION"), 1.0);
    list.gauge("tidegauge_uptime_seconds", "Time since the agent began.", seen.uptime.as_secs_f64());
    list.counter("tidegauge_remote_write_requests_total", "Remote-write requests handled.", seen.writes);
    let help = "Samples taken from remote-write requests.";
    list.counter("tidegauge_remote_write_samples_total", help, seen.written_samples);
    let help = "Remote-write requests of which a part or the whole was refused.";
    list.counter("tidegauge_remote_write_refused_requests_total", help, seen.refused_writes);
    list.counter("tidegauge_queries_total", "Queries evaluated.", seen.queries);
    list.counter("tidegauge_failed_queries_total", "Queries that got no answer.", seen.failed_queries);
    quantiles(list, "tidegauge_query_seconds", "Time to evaluate a query.", &seen.query);
}

fn engine_metrics(list: &mut List, s: &Stats) {
    list.gauge("tidegauge_series", "Series known to the engine.", s.series as f64);
    list.counter("tidegauge_samples_total", "Samples that became visible.", s.samples);
    list.counter("tidegauge_commits_total", "Drain rounds of the ingest worker.", s.commits);
    let lag = s.visible_seq.saturating_sub(s.durable_seq);
    list.gauge("tidegauge_durable_lag_samples", "Visible samples that a power loss would cost.", lag as f64);

    list.gauge("tidegauge_lanes", "Open lanes between collectors and the ingest worker.", s.lanes as f64);
    list.gauge("tidegauge_lane_bytes", "Memory of all lanes.", s.lane_bytes as f64);
    list.gauge("tidegauge_lane_samples", "Samples waiting in lanes.", s.lane_depth as f64);
    list.counter("tidegauge_lane_full_total", "Pushes that found their lane full.", s.lane_full_events);
    list.counter("tidegauge_dropped_samples_total", "Samples dropped as their appender asks for.", s.dropped_samples);

    list.gauge("tidegauge_memtable_bytes", "Memory of samples not yet in a segment.", s.memtable_bytes as f64);
    list.gauge("tidegauge_memtable_samples", "Samples not yet in a segment.", s.memtable_samples as f64);
    list.gauge("tidegauge_sealed_memtables", "Memtables that wait for their flush.", s.sealed_memtables as f64);

    list.gauge("tidegauge_segments", "Segments.", s.segments as f64);
    list.gauge("tidegauge_segment_bytes", "Bytes of all segments.", s.segment_bytes as f64);
    list.gauge("tidegauge_segment_samples", "Samples in all segments.", s.segment_samples as f64);
    list.counter("tidegauge_flushes_total", "Memtables written as segments.", s.flushes);
    list.counter("tidegauge_flushed_samples_total", "Samples written in segments.", s.flushed_samples);
    list.counter("tidegauge_flushed_bytes_total", "Bytes written in segments.", s.flushed_bytes);
    let help = "Time spent writing segments.";
    list.put("tidegauge_flush_seconds_total", "counter", help, s.flush_nanos as f64 / 1e9);

    list.gauge("tidegauge_snapshots", "Snapshots alive.", s.snapshots as f64);
    let help = "Commits since the oldest live snapshot was taken.";
    list.gauge("tidegauge_oldest_snapshot_commits", help, s.oldest_snapshot_commits as f64);
    quantiles(list, "tidegauge_push_seconds", "Time of a push; one in 1,024 is measured.", &s.push);
    quantiles(list, "tidegauge_fdatasync_seconds", "Time of an fdatasync of the log.", &s.fdatasync);
}

/// A summary; without quantiles as long as nothing was measured.
fn quantiles(list: &mut List, name: &'static str, help: &'static str, q: &Quantiles) {
    if q.count > 0 {
        for (quantile, nanos) in [("0.5", q.p50), ("0.99", q.p99), ("0.999", q.p999), ("1", q.max)] {
            list.labelled(name, "summary", help, "quantile", quantile, nanos as f64 / 1e9);
        }
    }
    list.part_of(name, "_count", "summary", help, q.count as f64);
}

fn process(list: &mut List) {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    // The second field is the resident set, in pages.
    if let Some(pages) = statm.split_whitespace().nth(1).and_then(|p| p.parse::<f64>().ok()) {
        let bytes = pages * rustix::param::page_size() as f64;
        list.gauge("process_resident_memory_bytes", "Resident memory of the agent.", bytes);
    }
}

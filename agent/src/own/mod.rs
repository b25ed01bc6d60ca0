//! What the agent and its engine measure of themselves: shown at `/metrics`, and stored
//! like anything else that is collected.

mod collector;
mod counters;
mod handlers;
mod log_files;
mod metric;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use tidegauge::{Engine, Quantiles, Shortage, Stats, Worker};

pub(crate) use collector::Collector;
pub(crate) use counters::Counters;
use handlers::BOUNDS;
pub(crate) use log_files::size_of;
use metric::List;
pub(crate) use metric::Metric;

/// What is stored of ourselves, as of this moment. Each number is right by itself; they are not of one instant.
pub(crate) fn measure(engine: &Engine, counters: &Counters) -> Vec<Metric> {
    measured(engine, counters, &engine.stats(), Detail::Stored)
}

/// What is shown: as [`measure`], with the buckets of histograms, the hottest series, and what stalls. Those are not
/// stored: they would be many series each, or another one for whatever others push.
pub(crate) fn shown(engine: &Engine, counters: &Counters) -> Vec<Metric> {
    let stats = engine.stats();
    let mut list = measured(engine, counters, &stats, Detail::Shown);
    list.extend(hottest(&stats));
    list.extend(stalled(&stats));
    list
}

/// How much of a histogram is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Detail {
    /// How many and how long together.
    Stored,
    /// Buckets, too.
    Shown,
}

fn measured(engine: &Engine, counters: &Counters, stats: &Stats, detail: Detail) -> Vec<Metric> {
    let mut list = List::default();
    agent(&mut list, counters);
    handlers(&mut list, counters, detail);
    log_files(&mut list, counters);
    let healthy = if engine.is_healthy().is_ok() { 1.0 } else { 0.0 };
    list.gauge("tidegauge_engine_healthy", "1 while the engine takes samples, 0 once it stopped writing.", healthy);
    engine_metrics(&mut list, stats);
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
    list.gauge("tidegauge_queries_running", "Requests for data under way.", seen.running as f64);
    list.gauge("tidegauge_queries_waiting", "Requests for data that wait for their turn.", seen.waiting as f64);
    let help = "Requests for data that waited in vain for their turn.";
    list.counter("tidegauge_queries_turned_away_total", help, seen.turned_away);
    let help = "Connections ended because their client took too long over its answers.";
    list.counter("tidegauge_http_slow_clients_total", help, seen.slow_clients);
    let help = "Connections without a request that were ended to make room for new ones.";
    list.counter("tidegauge_http_made_room_total", help, seen.made_room);
    let help = "Bytes of request bodies under way, without the first 128 KiB of each.";
    list.gauge("tidegauge_http_body_bytes", help, seen.body_bytes as f64);
    let help = "Requests refused because the bodies of all requests together took too much memory.";
    list.counter("tidegauge_http_bodies_refused_total", help, seen.bodies_refused);
}

/// By path as it is routed; what has no route is `other`.
fn handlers(list: &mut List, counters: &Counters, detail: Detail) {
    let (name, kind) = ("tidegauge_http_request_seconds", "histogram");
    let help = "Time of an HTTP request, from its head to the last byte of its answer.";
    for (handler, times) in counters.handlers.read() {
        let handler: Cow<'static, str> = handler.into();
        let labels = || vec![("handler", handler.clone())];
        if detail == Detail::Shown {
            let bounds = BOUNDS.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
            for (bound, within) in bounds.zip(times.within()) {
                let labels = [labels(), vec![("le", bound.into())]].concat();
                list.part_of(name, "_bucket", kind, help, labels, within as f64);
            }
        }
        list.part_of(name, "_sum", kind, help, labels(), times.seconds);
        list.part_of(name, "_count", kind, help, labels(), times.count() as f64);
    }
}

/// As long as they are on the disk: allocated before they are written, and used again.
fn log_files(list: &mut List, counters: &Counters) {
    let (files, bytes) = counters.log_dir.as_deref().map_or((0, 0), size_of);
    list.gauge("tidegauge_wal_files", "Files of the log.", files as f64);
    let help = "Bytes of the log's files, allocated before they are written.";
    list.gauge("tidegauge_wal_file_bytes", help, bytes as f64);
}

fn engine_metrics(list: &mut List, s: &Stats) {
    list.gauge("tidegauge_series", "Series in memory: those that are limited.", s.series as f64);
    let help = "Memory of the labels of these series, each name with a value once: it is limited, too.";
    list.gauge("tidegauge_label_bytes", help, s.label_bytes as f64);
    let help = "Series that left memory because they were idle.";
    list.counter("tidegauge_series_evicted_total", help, s.series_evicted);
    let help = "Time spent on letting series leave memory.";
    list.put("tidegauge_eviction_seconds_total", "counter", help, s.eviction_nanos as f64 / 1e9);
    let help = "Evicted series whose labels are kept until every appender has pushed again.";
    list.gauge("tidegauge_series_in_lanes", help, s.series_in_lanes as f64);
    list.counter("tidegauge_samples_total", "Samples that became visible.", s.samples);
    list.counter("tidegauge_commits_total", "Drain rounds of the ingest worker.", s.commits);
    let lag = s.visible_seq.saturating_sub(s.durable_seq);
    list.gauge("tidegauge_durable_lag_samples", "Visible samples that a power loss would cost.", lag as f64);

    list.counter("tidegauge_wal_bytes_total", "Bytes of frames written to the log.", s.wal_bytes);
    let help = "Samples that the opening found in the log.";
    list.gauge("tidegauge_recovered_samples", help, s.recovered_samples as f64);

    list.gauge("tidegauge_lanes", "Open lanes between collectors and the ingest worker.", s.lanes as f64);
    list.gauge("tidegauge_lane_bytes", "Memory of all lanes.", s.lane_bytes as f64);
    list.gauge("tidegauge_lane_samples", "Samples waiting in lanes.", s.lane_depth as f64);
    list.counter("tidegauge_lane_full_total", "Pushes that found their lane full.", s.lane_full_events);
    list.counter("tidegauge_dropped_samples_total", "Samples dropped as their appender asks for.", s.dropped_samples);

    list.gauge("tidegauge_memtable_bytes", "Memory of samples not yet in a segment.", s.memtable_bytes as f64);
    let pinned = "Memory of samples in a segment that snapshots keep all the same.";
    list.gauge("tidegauge_pinned_memtable_bytes", pinned, s.pinned_memtable_bytes as f64);
    let pinned = "Labels of series as they were before evictions, which snapshots keep.";
    list.gauge("tidegauge_pinned_label_bytes", pinned, s.pinned_label_bytes as f64);
    list.gauge("tidegauge_memtable_samples", "Samples not yet in a segment.", s.memtable_samples as f64);
    list.gauge("tidegauge_sealed_memtables", "Memtables that wait for their flush.", s.sealed_memtables as f64);

    list.gauge("tidegauge_chunks", "Sealed chunks, in memory and in segments.", s.chunks as f64);
    list.gauge("tidegauge_segments", "Segments.", s.segments as f64);
    list.gauge("tidegauge_segment_bytes", "Bytes of all segments.", s.segment_bytes as f64);
    list.gauge("tidegauge_segment_samples", "Samples in all segments.", s.segment_samples as f64);
    list.counter("tidegauge_flushes_total", "Memtables written as segments.", s.flushes);
    list.counter("tidegauge_flushed_samples_total", "Samples written in segments.", s.flushed_samples);
    list.counter("tidegauge_flushed_bytes_total", "Bytes written in segments.", s.flushed_bytes);
    let help = "Time spent writing segments.";
    list.put("tidegauge_flush_seconds_total", "counter", help, s.flush_nanos as f64 / 1e9);

    let help = "Deletes whose samples compaction has not removed yet.";
    list.gauge("tidegauge_tombstones", help, s.tombstones as f64);
    list.counter("tidegauge_compactions_total", "Compaction jobs done.", s.compactions);
    list.counter("tidegauge_compactions_failed_total", "Compaction jobs that failed.", s.compactions_failed);
    list.gauge("tidegauge_compacting", "1 while a compaction job runs.", f64::from(u8::from(s.compacting)));
    let help = "1 while what compaction writes fails, for another cause than space or open files.";
    list.gauge("tidegauge_compaction_failing", help, f64::from(u8::from(s.compaction_failing)));
    let help = "Segments that compaction has found damaged and leaves alone: tidegauge verify tells all.";
    list.gauge("tidegauge_damaged_segments", help, s.damaged_segments as f64);
    let help = "1 while the manifest cannot be written anew, and grows: see the warning.";
    list.gauge("tidegauge_manifest_rewrite_failing", help, f64::from(u8::from(s.manifest_rewrite_failing)));
    let help = "Bytes of the segments that compaction replaced.";
    list.counter("tidegauge_compacted_bytes_in_total", help, s.compacted_bytes_in);
    let help = "Bytes of the segments that compaction made.";
    list.counter("tidegauge_compacted_bytes_out_total", help, s.compacted_bytes_out);
    let help = "Time spent compacting.";
    list.put("tidegauge_compact_seconds_total", "counter", help, s.compact_nanos as f64 / 1e9);

    list.gauge("tidegauge_snapshots", "Snapshots alive.", s.snapshots as f64);
    let help = "Commits since the oldest live snapshot was taken.";
    list.gauge("tidegauge_oldest_snapshot_commits", help, s.oldest_snapshot_commits as f64);
    let help = "Age of the oldest live snapshot.";
    list.gauge("tidegauge_oldest_snapshot_seconds", help, s.oldest_snapshot_nanos as f64 / 1e9);

    list.gauge("tidegauge_subscriptions", "Subscriptions alive.", s.subscriptions as f64);
    let help = "Samples that subscriptions missed because their readers were slow.";
    list.counter("tidegauge_subscription_missed_samples_total", help, s.subscription_missed_samples);

    let help = "How often the ingest worker held everything up for a subscriber who asks for that.";
    list.counter("tidegauge_subscription_holds_total", help, s.subscription_holds);
    let help = "How many of these lasted as long as they may, in vain.";
    list.counter("tidegauge_subscription_hold_timeouts_total", help, s.subscription_hold_timeouts);

    let help = "1 while the ingest worker does not come round.";
    list.gauge("tidegauge_worker_stalled", help, f64::from(u8::from(s.worker_stalled)));
    let help = "How often the ingest worker began not to come round.";
    list.counter("tidegauge_worker_stalls_total", help, s.worker_stalls);
    let help = "1 while writing waits for space on the disk, or for files that may be opened (`ulimit -n`), or for memory to map a segment (`ulimit -v`).";
    for (what, short) in [("space", Shortage::Space), ("files", Shortage::Files), ("memory", Shortage::Memory)] {
        let is_short = f64::from(u8::from(s.short_of == Some(short)));
        list.labelled("tidegauge_short_of", "gauge", help, "what", what, is_short);
    }
    let help = "For how long a worker has not got on with what it is at; 0 while all is well.";
    for &worker in Worker::ALL {
        let longest = s.stalled.iter().filter(|stalled| stalled.worker == worker).map(|s| s.for_at_least).max();
        let seconds = longest.unwrap_or_default().as_secs_f64();
        list.labelled("tidegauge_stalled_seconds", "gauge", help, "worker", worker.name(), seconds);
    }
    list.counter("tidegauge_stalls_total", "How often a worker began not to get on.", s.stalls);
    list.counter("tidegauge_warnings_total", "Warnings told on stderr.", s.warnings);
    let help = "How often a thread of this process waited for a mutex of an engine; none is on the way of a push.";
    list.counter("tidegauge_lock_waits_total", help, s.lock_waits);
    let help = "Waits for the ingest worker, or for room in a lane, that ended in vain.";
    list.counter("tidegauge_wait_timeouts_total", help, s.wait_timeouts);
    let help = "Deletes and changes of retention whose line audit.log lacks because the disk refused it.";
    list.counter("tidegauge_unaudited_acts_total", help, s.unaudited_acts);
    let help = "Pages of segments that could not be read: the disk refuses them, or another program cut a file off.";
    list.counter("tidegauge_unreadable_pages_total", help, s.unreadable_pages);
    let help = "Pushes refused because a timestamp lay too far ahead of the clock.";
    list.counter("tidegauge_refused_ahead_total", help, s.refused_ahead);
    let help = "Samples that were older on arrival than retention keeps: they are acknowledged, and not shown.";
    list.counter("tidegauge_pushed_over_age_total", help, s.pushed_over_age);
    let help = "Series refused at a limit, or for labels that make none.";
    list.counter("tidegauge_refused_series_total", help, s.refused_series);

    let help = "Time to answer an expression or an aggregation, whoever asked the engine.";
    quantiles(list, "tidegauge_engine_query_seconds", help, &s.query);
    list.gauge("tidegauge_query_memory_bytes", "Memory that queries hold.", s.query_memory_bytes as f64);
    let help = "The most memory that queries held at one time.";
    list.gauge("tidegauge_query_memory_peak_bytes", help, s.query_memory_bytes_peak as f64);
    let help = "Memory that all queries together may hold.";
    list.gauge("tidegauge_query_memory_limit_bytes", help, s.query_memory_bytes_max as f64);
    let help = "Queries refused because all of them together would have held too much memory.";
    list.counter("tidegauge_refused_queries_total", help, s.refused_queries);
    let help = "Whether queries stand back: more comes in than the ingest worker keeps up with beside them.";
    list.gauge("tidegauge_queries_stand_back", help, f64::from(u8::from(s.queries_stand_back)));
    let help = "Time that queries have stood back, all together.";
    list.put("tidegauge_query_paused_seconds_total", "counter", help, s.query_paused_nanos as f64 / 1e9);

    quantiles(
        list,
        "tidegauge_push_seconds",
        "Time of a push; an appender's eighth is measured, and each 1,024th after it.",
        &s.push,
    );
    quantiles(list, "tidegauge_fdatasync_seconds", "Time of an fdatasync of the log.", &s.fdatasync);
}

/// The series that bring most samples.
fn hottest(s: &Stats) -> Vec<Metric> {
    let mut list = List::default();
    let help = "Samples of the series that stand out as hot in the last ten to twenty seconds, an estimate.";
    // Where hundreds are equally hot, the others would come and go with each scrape.
    for hot in s.hottest_series.iter().filter(|hot| hot.stands_out()) {
        list.labelled(
            "tidegauge_hot_series_samples",
            "gauge",
            help,
            "series",
            hot.labels.to_string(),
            hot.samples as f64,
        );
    }
    list.finish()
}

/// With what workers do not get on.
fn stalled(s: &Stats) -> Vec<Metric> {
    let mut list = List::default();
    let help = "For how long a worker has not got on with this.";
    for ((worker, work), seconds) in longest(s.stalled.iter().map(|s| (s.worker.name(), s.work, s.for_at_least))) {
        let labels = vec![("worker", worker.into()), ("work", work.into())];
        list.part_of("tidegauge_stalled_work_seconds", "", "gauge", help, labels, seconds.as_secs_f64());
    }
    list.finish()
}

/// The longest of each worker with each work: two threads may stall with the same, and a series is shown once.
fn longest<'a>(stalled: impl Iterator<Item = (&'a str, &'a str, Duration)>) -> BTreeMap<(&'a str, &'a str), Duration> {
    let mut longest = BTreeMap::new();
    for (worker, work, time) in stalled {
        let known: &mut Duration = longest.entry((worker, work)).or_default();
        *known = time.max(*known);
    }
    longest
}

/// A summary; without quantiles as long as nothing was measured.
fn quantiles(list: &mut List, name: &'static str, help: &'static str, q: &Quantiles) {
    if q.count > 0 {
        for (quantile, nanos) in [("0.5", q.p50), ("0.99", q.p99), ("0.999", q.p999), ("1", q.max)] {
            list.labelled(name, "summary", help, "quantile", quantile, nanos as f64 / 1e9);
        }
    }
    list.part_of(name, "_count", "summary", help, Vec::new(), q.count as f64);
}

fn process(list: &mut List) {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    // The second field is the resident set, in pages.
    if let Some(pages) = statm.split_whitespace().nth(1).and_then(|p| p.parse::<f64>().ok()) {
        let bytes = pages * rustix::param::page_size() as f64;
        list.gauge("process_resident_memory_bytes", "Resident memory of the agent.", bytes);
    }
}

#[cfg(test)]
mod tests {
    use tidegauge::{Level, now};

    use super::*;

    /// Where each of the engine's statistics is shown.
    const SHOWN: [(&str, &str); 69] = [
        ("series", "tidegauge_series"),
        ("series_evicted", "tidegauge_series_evicted_total"),
        ("eviction_nanos", "tidegauge_eviction_seconds_total"),
        ("series_in_lanes", "tidegauge_series_in_lanes"),
        ("samples", "tidegauge_samples_total"),
        ("commits", "tidegauge_commits_total"),
        ("wal_bytes", "tidegauge_wal_bytes_total"),
        ("visible_seq", "tidegauge_durable_lag_samples"),
        ("durable_seq", "tidegauge_durable_lag_samples"),
        ("lanes", "tidegauge_lanes"),
        ("lane_bytes", "tidegauge_lane_bytes"),
        ("lane_depth", "tidegauge_lane_samples"),
        ("lane_full_events", "tidegauge_lane_full_total"),
        ("dropped_samples", "tidegauge_dropped_samples_total"),
        ("memtable_bytes", "tidegauge_memtable_bytes"),
        ("pinned_memtable_bytes", "tidegauge_pinned_memtable_bytes"),
        ("pinned_label_bytes", "tidegauge_pinned_label_bytes"),
        ("memtable_samples", "tidegauge_memtable_samples"),
        ("sealed_memtables", "tidegauge_sealed_memtables"),
        ("segments", "tidegauge_segments"),
        ("segment_bytes", "tidegauge_segment_bytes"),
        ("tombstones", "tidegauge_tombstones"),
        ("segment_samples", "tidegauge_segment_samples"),
        ("chunks", "tidegauge_chunks"),
        ("flushes", "tidegauge_flushes_total"),
        ("flushed_samples", "tidegauge_flushed_samples_total"),
        ("flushed_bytes", "tidegauge_flushed_bytes_total"),
        ("flush_nanos", "tidegauge_flush_seconds_total"),
        ("compactions", "tidegauge_compactions_total"),
        ("compacted_bytes_in", "tidegauge_compacted_bytes_in_total"),
        ("compacted_bytes_out", "tidegauge_compacted_bytes_out_total"),
        ("compact_nanos", "tidegauge_compact_seconds_total"),
        ("compactions_failed", "tidegauge_compactions_failed_total"),
        ("compacting", "tidegauge_compacting"),
        ("compaction_failing", "tidegauge_compaction_failing"),
        ("damaged_segments", "tidegauge_damaged_segments"),
        ("manifest_rewrite_failing", "tidegauge_manifest_rewrite_failing"),
        ("fdatasync", "tidegauge_fdatasync_seconds_count"),
        ("push", "tidegauge_push_seconds_count"),
        ("query", "tidegauge_engine_query_seconds_count"),
        ("query_memory_bytes", "tidegauge_query_memory_bytes"),
        ("query_memory_bytes_peak", "tidegauge_query_memory_peak_bytes"),
        ("query_memory_bytes_max", "tidegauge_query_memory_limit_bytes"),
        ("refused_queries", "tidegauge_refused_queries_total"),
        ("queries_stand_back", "tidegauge_queries_stand_back"),
        ("query_paused_nanos", "tidegauge_query_paused_seconds_total"),
        ("subscriptions", "tidegauge_subscriptions"),
        ("subscription_missed_samples", "tidegauge_subscription_missed_samples_total"),
        ("subscription_holds", "tidegauge_subscription_holds_total"),
        ("subscription_hold_timeouts", "tidegauge_subscription_hold_timeouts_total"),
        ("hottest_series", "tidegauge_hot_series_samples"),
        ("worker_stalled", "tidegauge_worker_stalled"),
        ("worker_stalls", "tidegauge_worker_stalls_total"),
        ("short_of", "tidegauge_short_of"),
        ("stalled", "tidegauge_stalled_seconds"),
        ("stalls", "tidegauge_stalls_total"),
        ("warnings", "tidegauge_warnings_total"),
        ("lock_waits", "tidegauge_lock_waits_total"),
        ("wait_timeouts", "tidegauge_wait_timeouts_total"),
        ("unaudited_acts", "tidegauge_unaudited_acts_total"),
        ("unreadable_pages", "tidegauge_unreadable_pages_total"),
        ("refused_ahead", "tidegauge_refused_ahead_total"),
        ("pushed_over_age", "tidegauge_pushed_over_age_total"),
        ("label_bytes", "tidegauge_label_bytes"),
        ("refused_series", "tidegauge_refused_series_total"),
        ("snapshots", "tidegauge_snapshots"),
        ("oldest_snapshot_commits", "tidegauge_oldest_snapshot_commits"),
        ("oldest_snapshot_nanos", "tidegauge_oldest_snapshot_seconds"),
        ("recovered_samples", "tidegauge_recovered_samples"),
    ];

    /// Two compactions that stall were one series twice, which no scraper takes.
    #[test]
    fn two_that_stall_with_the_same_are_one_series_with_the_longest_time() {
        let of = |work, seconds| ("compact", work, Duration::from_secs(seconds));
        let both = [of("a compaction", 7), of("a look", 2), of("a compaction", 9), of("a compaction", 8)];
        let told: Vec<_> = longest(both.into_iter()).into_iter().collect();
        let seconds = Duration::from_secs;
        assert_eq!(told, [(("compact", "a compaction"), seconds(9)), (("compact", "a look"), seconds(2))]);
    }

    #[test]
    fn every_statistic_of_the_engine_is_shown() {
        let engine = Engine::in_memory().unwrap();
        let id = engine.series(&[("__name__", "m"), ("a", "\"x\\")]).unwrap();
        let ack = engine.push(id, now(), 1.0).unwrap();
        engine.wait(ack, Level::Visible, Duration::from_secs(30)).unwrap();
        // The hottest series are looked at beside the commits.
        let text = text(&shown(&engine, &Counters::new()));
        let debug = format!("{:#?}", engine.stats());
        let fields = debug
            .lines()
            .filter_map(|line| line.strip_prefix("    ").filter(|rest| !rest.starts_with([' ', '}', ']'])));
        let mut count = 0;
        for field in fields.filter_map(|line| line.split_once(':').map(|(name, _)| name)) {
            count += 1;
            let (_, metric) =
                SHOWN.iter().find(|(name, _)| *name == field).unwrap_or_else(|| panic!("{field}: show it"));
            let begins = |line: &str| line.strip_prefix(metric).is_some_and(|rest| rest.starts_with([' ', '{']));
            assert!(text.lines().any(begins), "{field}: no {metric} in\n{text}");
        }
        assert_eq!(count, SHOWN.len(), "an entry that is no statistic any more");
    }
}

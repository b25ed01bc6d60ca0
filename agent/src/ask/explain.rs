//! What an answer has cost, and why.

use std::fmt::Write;
use std::time::Duration;

use serde_json::{Value, json};
use tidegauge::query::ScanStats;

use crate::units::{show_bytes, show_count, show_duration};

/// Time by phase, and what was read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Costs {
    /// Waiting for a turn.
    pub(crate) queue: Duration,
    /// From text to tree.
    pub(crate) parse: Duration,
    /// Finding series, reading and decoding their samples, evaluating: all of it.
    pub(crate) evaluate: Duration,
    /// Writing the answer down; the client's patience is in it.
    pub(crate) encode: Duration,
    pub(crate) scan: ScanStats,
    /// Milliseconds of each step and the samples looked at for it; only if `stats=all` asks for it.
    pub(crate) per_step: Vec<(i64, u64)>,
}

impl Costs {
    fn reading(&self) -> Duration {
        self.evaluate.saturating_sub(self.scan.selecting)
    }

    fn total(&self) -> Duration {
        self.parse + self.evaluate + self.encode
    }

    /// What Prometheus says of a query, and if `all`, what it cannot say.
    pub(crate) fn json(&self, all: bool) -> Value {
        let Self { queue, parse, evaluate, encode, scan, per_step } = self;
        let seconds = |time: Duration| time.as_secs_f64();
        let mut out = json!({
            "timings": {
                "evalTotalTime": seconds(*evaluate),
                "resultSortTime": 0,
                "queryPreparationTime": seconds(scan.selecting),
                "innerEvalTime": seconds(self.reading()),
                "execQueueTime": seconds(*queue),
                "execTotalTime": seconds(*queue + *parse + *evaluate),
            },
            "samples": {
                "totalQueryableSamples": scan.samples_evaluated,
                "samplesRead": scan.samples_read,
                "peakSamples": scan.samples_peak,
            },
        });
        if all {
            let per_step = per_step.iter().map(|&(millis, samples)| json!([millis as f64 / 1e3, samples]));
            out["samples"]["totalQueryableSamplesPerStep"] = per_step.collect();
            out["explain"] = json!({
                "phases": {
                    "parse": seconds(*parse),
                    "select": seconds(scan.selecting),
                    "readAndEvaluate": seconds(self.reading()),
                    "encode": seconds(*encode),
                },
                "series": {"selected": scan.series_selected, "read": scan.series_read},
                "chunks": {
                    "pruned": scan.chunks_pruned,
                    "answeredByStatistics": scan.chunks_by_statistics,
                    "decoded": scan.chunks_decoded,
                },
                "samples": {"read": scan.samples_read, "answeredByStatistics": scan.samples_by_statistics},
                "bytesRead": scan.bytes_read,
            });
        }
        out
    }

    /// The same for eyes.
    pub(crate) fn text(&self) -> String {
        let Self { parse, encode, scan, .. } = self;
        let mut out = String::new();
        let mut line = |name: &str, value: String| {
            let _ = writeln!(out, "{name:<28}{value}");
        };
        line("series selected", show_count(scan.series_selected));
        line("series read", show_count(scan.series_read));
        line("chunks pruned", show_count(scan.chunks_pruned));
        line("chunks from statistics", show_count(scan.chunks_by_statistics));
        line("chunks decoded", show_count(scan.chunks_decoded));
        line("samples read", show_count(scan.samples_read));
        line("samples from statistics", show_count(scan.samples_by_statistics));
        line("samples evaluated", show_count(scan.samples_evaluated));
        line("samples held at most", show_count(scan.samples_peak));
        line("bytes read", show_bytes(scan.bytes_read));
        line("time: parse", show_duration(*parse));
        line("time: select", show_duration(scan.selecting));
        line("time: read and evaluate", show_duration(self.reading()));
        line("time: encode", show_duration(*encode));
        line("time: all", show_duration(self.total()));
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_the_time_add_up() {
        let mut scan = ScanStats::default();
        (scan.selecting, scan.samples_read, scan.chunks_decoded) = (Duration::from_millis(1), 7, 2);
        let (ms, queue) = (Duration::from_millis, Duration::from_millis(4));
        let per_step = vec![(1_500, 3), (2_500, 4)];
        let costs = Costs { queue, parse: ms(2), evaluate: ms(10), encode: ms(3), scan, per_step };
        let json = costs.json(true);
        assert_eq!(json["timings"]["innerEvalTime"], 0.009);
        assert_eq!(json["timings"]["execTotalTime"], 0.016);
        assert_eq!(json["samples"]["samplesRead"], 7);
        assert_eq!(json["explain"]["chunks"]["decoded"], 2);
        assert_eq!(json["samples"]["totalQueryableSamplesPerStep"].to_string(), "[[1.5,3],[2.5,4]]");
        assert_eq!(costs.json(false).get("explain"), None);
        assert_eq!(costs.json(false)["samples"].get("totalQueryableSamplesPerStep"), None);
        assert!(costs.text().ends_with("time: all                   15ms\n"), "{}", costs.text());
    }
}

//! Another program cuts off a segment that the agent has mapped, which stands for a bad sector too: the agent lives.
#![allow(missing_docs)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use support::write::{self, V1};
use support::{Agent, run, stdout};

const SERIES: i64 = 400;
const SAMPLES: i64 = 300;

/// When the samples of a metric begin, in seconds: those of the one that is cut off a day apart from the others. Who asks about a time when the other has samples cannot be answered either: its index is lost, and who knows of what
/// series.
fn begins(metric: &str) -> i64 {
    1_000_000_000 + 86_400 * ["whole", "cut", "later"].iter().position(|&one| one == metric).unwrap() as i64
}

/// Pushes `SERIES` series of a metric, `SAMPLES` samples each.
fn push(agent: &Agent, metric: &str) {
    for part in 0..8 {
        let series = (part * SERIES / 8..(part + 1) * SERIES / 8).map(|i| {
            let samples: Vec<(i64, f64)> =
                (0..SAMPLES).map(|at| ((begins(metric) + at) * 1_000, ((at * (i + 1)) as f64).sqrt())).collect();
            write::series(&[("__name__", metric), ("k", &format!("{i:04}"))], &samples)
        });
        let body = write::body(&write::Request { series: series.collect(), metadata: Vec::new() });
        assert_eq!(agent.post("/api/v1/write", &V1, &body).status, 204);
    }
}

/// A store of one segment with this metric.
fn add(data: &Path, metric: &str) -> PathBuf {
    let agent = Agent::bare(data);
    let before = segments(data);
    push(&agent, metric);
    end(agent);
    let mut new = segments(data);
    new.retain(|path| !before.contains(path));
    assert_eq!(new.len(), 1, "{new:?}");
    new.remove(0)
}

fn end(mut agent: Agent) {
    agent.signal(rustix::process::Signal::TERM);
    assert!(agent.wait().success());
}

fn segments(data: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(data.join("segments")) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn query(agent: &Agent, expr: &str, at: i64) -> (u16, String) {
    let answer = agent.form("/api/v1/query", &[("query", expr), ("time", &at.to_string())]);
    (answer.status, answer.text())
}

fn count(agent: &Agent, metric: &str) -> (u16, String) {
    query(agent, &format!("count(count_over_time({metric}[1h]))"), begins(metric) + 300)
}

/// As a query that has to decode.
fn sum(agent: &Agent, metric: &str) -> (u16, String) {
    query(agent, &format!("sum(quantile_over_time(0.5, {metric}[100s]))"), begins(metric) + 200)
}

#[test]
fn p4_an_agent_whose_live_segment_is_cut_off_answers_what_it_can_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    add(&data, "whole");
    let cut = add(&data, "cut");
    let mut agent = Agent::bare(&data);
    let truth = sum(&agent, "whole");
    let truth_of_cut = sum(&agent, "cut");
    assert_eq!((truth.0, truth_of_cut.0), (200, 200), "{truth:?}");
    let len = fs::metadata(&cut).unwrap().len();
    fs::OpenOptions::new().write(true).open(&cut).unwrap().set_len(len / 2).unwrap();

    // Eight at once, as well.
    let (refused, answered) = (AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|threads| {
        for client in 0..8 {
            let (agent, refused, answered, truth) = (&agent, &refused, &answered, &truth);
            let truth_of_cut = &truth_of_cut;
            threads.spawn(move || {
                for round in 0..10 {
                    let (status, text) = sum(agent, if (round + client) % 2 == 0 { "cut" } else { "whole" });
                    match status {
                        200 if (round + client) % 2 == 0 => assert_eq!(text, truth_of_cut.1),
                        200 => {
                            assert_eq!(text, truth.1);
                            answered.fetch_add(1, Ordering::Relaxed);
                        }
                        _ => {
                            assert!(text.contains("cannot be read"), "{text}");
                            assert!(text.contains("tidegauge repair"), "{text}");
                            refused.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    assert_eq!(refused.into_inner(), 40, "each question for what is cut off");
    assert_eq!(answered.into_inner(), 40);
    let (status, text) = count(&agent, "cut");
    assert!(status != 200 && text.contains(cut.to_str().unwrap()), "{status} {text}");
    push(&agent, "later");
    assert_eq!(sum(&agent, "later").0, 200);
    assert_eq!(agent.get("/-/healthy").status, 200);
    let metrics = agent.get("/metrics").text();
    let pages = metrics.lines().find_map(|line| line.strip_prefix("tidegauge_unreadable_pages_total "));
    assert!(pages.is_some_and(|pages| pages.parse::<f64>().unwrap() > 0.0), "{pages:?}");
    let verified = run(&["verify", "--data-dir", data.to_str().unwrap()]);
    assert_eq!(verified.status.code(), Some(1));
    assert!(stdout(&verified).contains(cut.to_str().unwrap()), "{}", stdout(&verified));
    assert_eq!(agent.ended(), None, "it lives");
    end(agent);
    // What is lost is told, and the rest is there.
    let repaired = run(&["repair", "--data-dir", data.to_str().unwrap()]);
    assert_eq!(repaired.status.code(), Some(1), "{}", stdout(&repaired));
    let agent = Agent::bare(&data);
    assert_eq!(sum(&agent, "whole"), truth);
    assert_eq!(sum(&agent, "later").0, 200);
}

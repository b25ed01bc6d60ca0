//! Short queries are never kept waiting by long ones.

mod common;

use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};
use std::time::Duration;

use common::promql::{Pairs, SECOND, snapshot};
use rayon::ThreadPoolBuilder;
use tidegauge_query::promql::{Query, Value};
use tidegauge_query::{Aggregate, Selection, Threads};
use tidegauge_storage::model::{Labels, MatchOp, Matcher, SeqNo, SeqRange, TimeRange, Timestamp};
use tidegauge_storage::source::{ColumnCursor, ReadError, SampleSource, SeriesHit, Snapshot};

/// Held up for longer than a machine that works takes for anything here.
const IN_VAIN: Duration = Duration::from_secs(60);

type Selecting = Box<dyn Fn(&[Matcher]) + Send + Sync>;

/// A source of so many samples that threads always help; somebody is told before it selects and before it reads.
struct Watched {
    inner: Snapshot,
    selecting: Selecting,
    reading: Box<dyn Fn() + Send + Sync>,
}

impl SampleSource for Watched {
    fn seq_range(&self) -> SeqRange {
        self.inner.sources()[0].seq_range()
    }

    fn time_range(&self) -> Option<TimeRange> {
        self.inner.sources()[0].time_range()
    }

    fn select(&self, matchers: &[Matcher]) -> Result<Vec<SeriesHit>, ReadError> {
        (self.selecting)(matchers);
        self.inner.sources()[0].select(matchers)
    }

    fn labels(&self, ordinal: u32) -> Result<Labels, ReadError> {
        self.inner.sources()[0].labels(ordinal)
    }

    fn samples_about(&self, _: u32, _: TimeRange) -> Option<u64> {
        Some(u64::MAX)
    }

    fn read<'a>(&'a self, ordinal: u32, range: TimeRange) -> Result<Box<dyn ColumnCursor + 'a>, ReadError> {
        (self.reading)();
        self.inner.sources()[0].read(ordinal, range)
    }
}

#[test]
fn a_question_about_one_series_stays_on_the_thread_that_asks() {
    let pool = |n| ThreadPoolBuilder::new().num_threads(n).build();
    let threads = Threads::new(pool(2).unwrap(), move |n| pool(n).ok());
    let readers = Arc::new(Mutex::new(Vec::<ThreadId>::new()));
    let pairs = &[("__name__", "x")][..];
    let inner = snapshot(&[(pairs, &[(0, 1.0), (1, 2.0)][..])]);
    let note = Arc::clone(&readers);
    let reading = Box::new(move || note.lock().unwrap().push(thread::current().id()));
    let snapshot = Snapshot::new(vec![Arc::new(Watched { inner, selecting: Box::new(|_| ()), reading })], SeqNo(0));
    let times = [0, 60 * SECOND].map(Timestamp::from_nanos);
    for text in ["x", "sum(rate(x[1m]))", "max_over_time(x[5m:1s])"] {
        let query = Query::new(&snapshot, text).on(threads.clone());
        query.at(times[0]).unwrap();
        query.range(times[0], times[1], Duration::from_secs(5)).unwrap();
    }
    let all = Selection::new(&snapshot, &[]).unwrap().on(threads);
    all.count().unwrap();
    all.last().unwrap();
    all.aggregate(Aggregate::Max).group_all().run().unwrap();
    let readers = readers.lock().unwrap();
    assert!(readers.len() >= 9 && readers.iter().all(|reader| *reader == thread::current().id()), "{readers:?}");
}

#[test]
fn a_short_query_ends_while_long_ones_hold_more_threads_than_there_are() {
    const SERIES: usize = 400;
    const LONG: usize = 5;
    let names: Vec<String> = (0..SERIES).map(|i| i.to_string()).collect();
    let all: Vec<[(&str, &str); 2]> = names.iter().map(|i| [("__name__", "x"), ("i", i.as_str())]).collect();
    let series: Vec<(Pairs<'_>, &[(i64, f64)])> = all.iter().map(|pairs| (&pairs[..], &[(0, 1.0)][..])).collect();
    let (arrived, arrivals) = channel();
    let (open, gate) = channel();
    let gate = Mutex::new(gate);
    // Whoever asks for `slow` waits until the gate is opened.
    let selecting = Box::new(move |matchers: &[Matcher]| {
        if matchers.iter().any(|matcher| matcher.value() == "slow") {
            arrived.send(()).unwrap();
            let _: Result<(), _> = gate.lock().unwrap().recv();
        }
    });
    let gated = Watched { inner: snapshot(&series), selecting, reading: Box::new(|| ()) };
    let snapshot = Snapshot::new(vec![Arc::new(gated)], SeqNo(0));

    let pool = |n| ThreadPoolBuilder::new().num_threads(n).build();
    let threads = Threads::new(pool(2).unwrap(), move |n| pool(n).ok());
    let ask = |text: &str| {
        let query = Query::new(&snapshot, text).on(threads.clone());
        let (answer, answers) = channel();
        thread::spawn(move || answer.send(query.at(Timestamp::from_nanos(SECOND)).unwrap().0));
        answers
    };
    let long: Vec<_> = (0..LONG).map(|_| ask("count(slow) or count(x)")).collect();
    for _ in 0..LONG {
        arrivals.recv_timeout(IN_VAIN).expect("each long query has a thread");
    }
    // Enough series for the threads of its team to share them.
    let value = |answer: Value| match answer {
        Value::Vector(samples) => samples[0].value,
        other => panic!("{other:?}"),
    };
    let short = ask("sum(x)").recv_timeout(IN_VAIN).expect("the short query waits for no long one");
    assert_eq!(value(short), SERIES as f64);
    let name = Matcher::new("__name__", MatchOp::Equal, "x").unwrap();
    let (counted, counts) = channel();
    let selected = Selection::new(&snapshot, &[name]).unwrap().on(threads.clone());
    thread::spawn(move || counted.send(selected.count().unwrap().len()));
    assert_eq!(counts.recv_timeout(IN_VAIN).expect("nor does a scan"), SERIES);

    drop(open);
    for answer in long {
        assert_eq!(value(answer.recv_timeout(IN_VAIN).expect("the gate is open")), SERIES as f64);
    }
}

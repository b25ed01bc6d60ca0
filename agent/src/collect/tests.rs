//! Rounds against an engine in memory and a server on the loopback interface.

use std::sync::Mutex;
use std::time::Instant;

use tidegauge::internals::evict_idle;
use tidegauge::{Level, Matcher};

use super::*;
use crate::scrape::test_server::{Reply, Server};
use crate::test_engine::{at, samples, samples_of};

/// The first round, in seconds since the epoch.
const START: i64 = 1_700_000_000;

struct Scraped {
    engine: Engine,
    server: Server,
    worker: Worker,
    lines: Arc<Mutex<Vec<String>>>,
    outcomes: Outcomes,
    next: i64,
}

impl Scraped {
    fn new(reply: Reply) -> Self {
        let engine = Engine::in_memory().unwrap();
        let server = Server::answering(reply);
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&lines);
        let report: Report = Arc::new(move |line: &str| sink.lock().unwrap().push(line.to_owned()));
        let settings = Settings { report, ..Settings::default() };
        let scraper = Scraper::new(server.url().parse().unwrap(), Duration::from_secs(20));
        let worker = Worker::new(&engine, Origin::Scrape(Box::new(scraper)), &settings).unwrap();
        let outcomes = settings.outcomes;
        Self { engine, server, worker, lines, outcomes, next: START }
    }

    /// A round one second after the one before; returns when its samples are visible.
    fn round(&mut self, reply: Reply) {
        self.server.answer(reply);
        let ack = self.worker.round(at(self.next), &Stop::default()).unwrap().expect("an ack");
        self.engine.wait(ack, Level::Visible, Duration::from_secs(20)).unwrap();
        self.next += 1;
    }

    /// All series are stored and leave memory.
    fn evict(&self, series: usize) {
        self.engine.flush().unwrap();
        assert_eq!(evict_idle(&self.engine), series);
    }

    /// Seconds after the start, and values; a stale marker is `None`.
    fn of(&self, metric: &str) -> Vec<(i64, Option<f64>)> {
        let value = |bits: u64| (bits != STALE_MARKER_BITS).then(|| f64::from_bits(bits));
        let all = samples_of(&self.engine, metric);
        all.into_iter().map(|(t, bits)| (t / 1_000_000_000 - START, value(bits))).collect()
    }
}

#[test]
fn a_round_stores_its_samples_and_the_series_about_itself() {
    let mut target = Scraped::new(Reply::text("# TYPE a counter\n# HELP a What.\na 1\nb{job=\"x\",c=\"d\"} NaN\n"));
    let reply = Reply::text("# TYPE a counter\n# HELP a What.\na 1\nb{job=\"x\",c=\"d\"} 2\n");
    target.round(reply);
    assert_eq!(target.of("a"), [(0, Some(1.0))]);
    assert_eq!(target.of("up"), [(0, Some(1.0))]);
    assert_eq!(target.of("scrape_samples_scraped"), [(0, Some(2.0))]);
    assert!(target.of("scrape_duration_seconds")[0].1.unwrap() > 0.0);
    let names: Vec<_> = samples(&target.engine, &[Matcher::equal("c", "d")]).into_keys().collect();
    let address = target.server.url().replace("http://", "").replace("/metrics", "");
    assert_eq!(names, [format!(r#"b{{c="d", exported_job="x", instance="{address}", job="scrape"}}"#)]);
    target.worker.descriptions().store(&target.engine).unwrap();
    let known = &target.engine.metadata()["a"];
    assert_eq!((&*known.kind, &*known.help), ("counter", "What."));
}

#[test]
fn a_series_that_vanishes_gets_one_stale_marker_and_comes_back() {
    let mut target = Scraped::new(Reply::text(""));
    target.round(Reply::text("a 1\nb{x=\"1\",y=\"2\"} 1\n"));
    target.round(Reply::text("b{y=\"2\",x=\"1\"} 2\n"));
    target.round(Reply::text("b{y=\"2\",x=\"1\"} 3\n"));
    target.round(Reply::text("a 4\nb{y=\"2\",x=\"1\"} 4\n"));
    assert_eq!(target.of("a"), [(0, Some(1.0)), (1, None), (3, Some(4.0))]);
    assert_eq!(target.of("b"), [(0, Some(1.0)), (1, Some(2.0)), (2, Some(3.0)), (3, Some(4.0))]);
}

#[test]
fn a_target_that_goes_down_ends_all_its_series_once_and_is_told_in_one_line() {
    let mut target = Scraped::new(Reply::text(""));
    target.round(Reply::text("a 1\n"));
    for reply in [
        Reply::text("a 2\n").status(500),
        Reply::text("a 2\nnew 2\n\u{0}\u{1}binary"),
        Reply::text("a 2\n").content_type(Some("application/octet-stream")),
        Reply::text("a 2\n").content_type(Some("application/openmetrics-text")),
    ] {
        target.round(reply);
    }
    target.round(Reply::text("a 6\n"));
    assert_eq!(target.of("a"), [(0, Some(1.0)), (1, None), (5, Some(6.0))]);
    assert_eq!(target.of("new"), []);
    let up = [(0, 1.0), (1, 0.0), (2, 0.0), (3, 0.0), (4, 0.0), (5, 1.0)];
    assert_eq!(target.of("up"), up.map(|(t, v)| (t, Some(v))));
    let lines = target.lines.lock().unwrap();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].ends_with("down: the target answered with status 500: check its URL"), "{lines:?}");
    assert!(lines[1].ends_with("up again"), "{lines:?}");
}

#[test]
fn a_sample_with_its_own_timestamp_keeps_it_and_is_never_marked_stale() {
    let mut target = Scraped::new(Reply::text(""));
    target.round(Reply::text(&format!("a 1 {}\n", (START - 60) * 1000)));
    target.round(Reply::text("b 1\n"));
    target.round(Reply::text("b 1\n").status(404));
    assert_eq!(target.of("a"), [(-60, Some(1.0))]);
    assert_eq!(target.of("b"), [(1, Some(1.0)), (2, None)]);
}

#[test]
fn a_timestamp_from_the_future_costs_its_sample_and_no_other() {
    let mut target = Scraped::new(Reply::text(""));
    target.round(Reply::text("a 1\nb 1 4102444800000\nc 1\n").content_type(None));
    assert_eq!(target.of("a"), [(0, Some(1.0))]);
    assert_eq!(target.of("b"), []);
    assert_eq!(target.of("c"), [(0, Some(1.0))]);
    assert!(target.lines.lock().unwrap()[0].contains("1 sample was refused"));
}

#[test]
fn a_round_after_its_series_left_memory_stores_all_of_it() {
    let mut target = Scraped::new(Reply::text(""));
    target.round(Reply::text("a 1\nb{x=\"1\"} 1\n"));
    target.evict(5);
    target.round(Reply::text("a 2\nb{x=\"1\"} 2\n"));
    target.round(Reply::text("b{x=\"1\"} 3\n"));
    assert_eq!(target.of("a"), [(0, Some(1.0)), (1, Some(2.0)), (2, None)]);
    assert_eq!(target.of("b"), [(0, Some(1.0)), (1, Some(2.0)), (2, Some(3.0))]);
    assert_eq!(target.of("up").len(), 3);
    target.evict(5);
    target.round(Reply::text("b{x=\"1\"} 4\n"));
    // Down when all of it had left: nothing but its own series is left to tell.
    target.evict(4);
    target.round(Reply::text("").status(500));
    assert_eq!(target.of("b"), [(0, Some(1.0)), (1, Some(2.0)), (2, Some(3.0)), (3, Some(4.0))]);
    assert_eq!(target.of("up"), [(0, Some(1.0)), (1, Some(1.0)), (2, Some(1.0)), (3, Some(1.0)), (4, Some(0.0))]);
}

/// One that never had a sample is idle in the midst of others.
#[test]
fn a_series_that_left_memory_costs_neither_the_round_nor_the_mark_of_another() {
    let mut target = Scraped::new(Reply::text(""));
    target.round(Reply::text("a 1\nahead 1 4102444800000\nends 1\n"));
    target.engine.flush().unwrap();
    target.round(Reply::text("a 2\nahead 2 4102444800000\nends 2\n"));
    assert_eq!(evict_idle(&target.engine), 1);
    target.round(Reply::text("a 3\nahead 3 4102444800000\n"));
    assert_eq!(target.of("a"), [(0, Some(1.0)), (1, Some(2.0)), (2, Some(3.0))]);
    assert_eq!(target.of("ends"), [(0, Some(1.0)), (1, Some(2.0)), (2, None)]);
    assert_eq!(target.of("ahead"), []);
}

#[test]
fn a_series_that_is_refused_is_named_and_the_others_go_on() {
    let mut target = Scraped::new(Reply::text(""));
    target.round(Reply::text("a 1\nb{x=\"1\",x=\"2\"} 1\nc 1\n"));
    assert_eq!(target.of("a"), [(0, Some(1.0))]);
    assert_eq!(target.of("c"), [(0, Some(1.0))]);
    let lines = target.lines.lock().unwrap();
    assert!(lines[0].contains("1 series were refused, the first being b{x="), "{lines:?}");
}

#[test]
fn a_label_that_is_too_long_is_told_in_a_short_line() {
    let mut target = Scraped::new(Reply::text(""));
    target.round(Reply::text(&format!("a 1\nb{{x=\"{}\"}} 1\n", "x".repeat(50_000))));
    let lines = target.lines.lock().unwrap();
    assert!(lines[0].len() < 500 && lines[0].contains("bytes more)") && lines[0].contains("limit"), "{lines:?}");
}

#[test]
fn this_machine_is_collected_under_one_timestamp() {
    let engine = Engine::in_memory().unwrap();
    let origin = Origin::Host(Box::default());
    let mut worker = Worker::new(&engine, origin, &Settings::default()).unwrap();
    let ack = worker.round(at(START), &Stop::default()).unwrap().expect("an ack");
    engine.wait(ack, Level::Visible, Duration::from_secs(20)).unwrap();
    let all = samples(&engine, &[Matcher::equal("job", "node")]);
    assert!(all.len() > 100, "{}", all.len());
    for (series, samples) in all {
        assert_eq!(samples.len(), 1, "{series}");
        assert_eq!(samples[0].0, START * 1_000_000_000, "{series}");
    }
}

#[test]
fn a_target_that_hangs_holds_up_neither_the_others_nor_the_end() {
    let engine = Engine::in_memory().unwrap();
    let hanging = Server::answering(Reply::hang());
    let answering = Server::answering(Reply::text("a 1\n"));
    let targets = [&hanging, &answering].map(|server| server.url().parse().unwrap()).to_vec();
    let settings = Settings {
        interval: Duration::from_millis(200),
        host: false,
        targets,
        report: Arc::new(|_: &str| {}),
        ..Settings::default()
    };
    let collectors = Collectors::start(&engine, &settings).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    let of = |server: &Server| {
        let address = server.url().replace("http://", "").replace("/metrics", "");
        let matchers = [Matcher::equal(tidegauge::METRIC_NAME, "up"), Matcher::equal("instance", address)];
        samples(&engine, &matchers).pop_first().map(|(_, samples)| samples).unwrap_or_default()
    };
    let ups = |server: &Server| of(server).iter().filter(|&&(_, up)| f64::from_bits(up) == 1.0).count();
    while ups(&answering) < 3 || of(&hanging).is_empty() {
        assert!(Instant::now() < deadline, "{:?} {:?}", of(&answering), of(&hanging));
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(ups(&hanging), 0);
    let stopping = Instant::now();
    collectors.stop();
    assert!(stopping.elapsed() < Duration::from_secs(20));
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let engine = Engine::in_memory().unwrap();
    let start = |settings: Settings| Collectors::start(&engine, &settings).unwrap_err();
    let interval = Duration::from_millis(1);
    let short = Settings { interval, host: false, ..Settings::default() };
    assert!(matches!(start(short), CollectError::IntervalTooShort(found) if found == interval));
    let targets = ["http://a:1/x", "http://a:1/y"].map(|url| url.parse().unwrap()).to_vec();
    let error = start(Settings { host: false, targets, ..Settings::default() });
    assert!(error.to_string().contains("http://a:1/x and http://a:1/y"), "{error}");
    assert!(error.to_string().contains("give one another job"), "{error}");
}

/// What the API tells of a target: why it is down, and nothing once it is up again.
#[test]
fn the_last_error_of_a_target_is_there_until_it_is_up_again() {
    let mut target = Scraped::new(Reply::text("a 1\n"));
    let told = |target: &Scraped| target.outcomes.last_error(&target.server.url().parse().unwrap());
    target.round(Reply::text("a 1\n"));
    assert_eq!(told(&target), "");
    target.round(Reply::text("{{{\n"));
    assert!(told(&target).contains("line 1"), "{}", told(&target));
    target.round(Reply::text("a 2\n"));
    assert_eq!(told(&target), "");
}

/// Each says what to do next.
#[test]
fn what_does_not_start_says_what_to_do() {
    let start = |engine: &Engine, interval| {
        let targets = vec!["http://127.0.0.1:1/x".parse().unwrap()];
        let settings = Settings { interval, host: false, targets, ..Settings::default() };
        Collectors::start(engine, &settings).unwrap_err().to_string()
    };
    let second = Duration::from_secs(1);
    let engine = Engine::in_memory_builder().max_appenders(1).open().unwrap();
    let short = start(&engine, Duration::from_millis(1));
    assert!(short.contains("1ms is too short: give 10ms or more"), "{short}");
    let _only = engine.appender().unwrap();
    let none = start(&engine, second);
    assert!(none.contains("nothing can be collected") && none.contains("raise the limit"), "{none}");
    let full = start(&Engine::in_memory_builder().max_series(1).open().unwrap(), second);
    assert!(full.contains("cannot be made") && full.contains("see which label"), "{full}");
    let thread = CollectError::Thread(std::io::Error::other("no")).to_string();
    assert!(thread.contains("allow more threads"), "{thread}");
}

#[test]
fn a_scrape_under_way_ends_when_told_to_and_the_target_does_not_count_as_down() {
    let mut target = Scraped::new(Reply::text(""));
    target.round(Reply::text("a 1\n"));
    let stop = Stop::default();
    stop.set();
    target.server.answer(Reply::text("a 2\n"));
    assert!(target.worker.round(at(target.next), &stop).unwrap().is_none());
    assert_eq!((target.of("a"), target.of("up")), (vec![(0, Some(1.0))], vec![(0, Some(1.0))]));
    assert_eq!(*target.lines.lock().unwrap(), [""; 0]);

    // Amid the lines, each of which is a series to be made.
    let server = Server::answering(Reply::text(&"b 1\n".repeat(100_000)));
    let mut scraped = Origin::Scrape(Box::new(Scraper::new(server.url().parse().unwrap(), Duration::from_secs(20))));
    let mut notices = notices::Notices::new(Arc::new(|_: &str| {}), String::new());
    let (stop, mut taken) = (Stop::default(), 0);
    let ended = scraped.collect(at(START), &mut Descriptions::default(), &mut notices, &stop, |_| {
        stop.set();
        taken += 1;
    });
    assert!(matches!(ended, Err(crate::scrape::ScrapeError::Stopped)), "{ended:?}");
    assert!(taken <= 1024, "{taken} lines were taken");
}

//! The figures that are tables.

use serde_json::{Value, json};

use super::results::{Results, name, number, tunables};
use super::svg::short;

/// A table of texts.
pub(super) struct Table {
    pub(super) title: String,
    pub(super) head: Vec<String>,
    pub(super) rows: Vec<Vec<String>>,
}

pub(super) fn all(results: &Results) -> Vec<Table> {
    let runs = [runs(results), kept(results), questions(results)];
    let others = [recoveries(results), beside(results), concurrency(results), soaks(results)];
    let tables = runs.into_iter().chain(others);
    let compared = compared(results).into_iter().chain([left_out(results)]);
    let tables = tables.chain(results.ratios.iter().map(ratios)).chain(compared);
    tables.chain([own_roofs(results), roofs(results)]).filter(|table| !table.rows.is_empty()).collect()
}

fn table(title: &str, head: &[&str], rows: Vec<Vec<String>>) -> Table {
    Table { title: title.into(), head: head.iter().map(|&cell| cell.to_owned()).collect(), rows }
}

/// A number over `divisor`; nothing where nothing was measured.
fn cell(value: &Value, pointer: &str, divisor: f64) -> String {
    number(value, pointer).map_or("–".to_owned(), |number| short(number / divisor))
}

fn yes_or_no(value: &Value) -> String {
    if value.get("verified").is_some_and(|verified| verified == true) { "yes" } else { "NO" }.to_owned()
}

fn runs(results: &Results) -> Table {
    let head = [
        "run",
        "visible M/s",
        "durable M/s",
        "CPU ns a sample",
        "push p50",
        "p99",
        "p99.9 ns",
        "means of 32, p50 ns",
        "of the device ×",
        "reopen ms",
        "load before",
        "verified",
    ];
    let row = |run: &Value| {
        vec![
            name(run),
            cell(run, "/samples_per_s_visible", 1e6),
            cell(run, "/samples_per_s_durable", 1e6),
            cell(run, "/cpu_ns_per_sample_flushed", 1.0),
            cell(run, "/push_ns/p50", 1.0),
            cell(run, "/push_ns/p99", 1.0),
            cell(run, "/push_ns/p999", 1.0),
            cell(run, "/push_block_mean_ns/p50", 1.0),
            cell(run, "/sync_ratio", 1.0),
            cell(run, "/reopen_s", 1e-3),
            cell(run, "/machine/load_average/0", 1.0),
            yes_or_no(run),
        ]
    };
    table("Runs", &head, results.runs.iter().map(row).collect())
}

fn kept(results: &Results) -> Table {
    let head = [
        "bytes a sample, memory",
        "as flushed",
        "compacted",
        "archive",
        "log",
        "growth MB",
        "idle MB",
        "scan G/s",
        "one core",
        "count and sum G/s",
        "selected before",
    ];
    let row = |run: &Value| {
        let figures = [
            ("/bytes_per_sample_fresh", 1.0),
            ("/bytes_per_sample", 1.0),
            ("/bytes_per_sample_cold", 1.0),
            ("/wal_bytes_per_sample", 1.0),
            ("/rss_growth_bytes", 1e6),
            ("/rss_idle_bytes", 1e6),
            ("/scan_samples_per_s", 1e9),
            ("/scan_one_core_samples_per_s", 1e9),
            ("/q5_samples_per_s", 1e9),
            ("/q5_selected_samples_per_s", 1e9),
        ];
        [name(run)].into_iter().chain(figures.map(|(pointer, divisor)| cell(run, pointer, divisor))).collect()
    };
    table("Bytes, memory, scans", &head, results.runs.iter().map(row).collect())
}

fn soaks(results: &Results) -> Table {
    let head = [
        "soak",
        "hours",
        "M/s",
        "push p50",
        "p99.9 µs",
        "question p50",
        "p99 µs",
        "memory MB, first",
        "last",
        "most",
        "verified",
    ];
    let row = |soak: &Value| {
        let text = |key| soak.get(key).and_then(Value::as_str).unwrap_or("?");
        let due = cell(soak, "/rate", 1e6);
        let figures = [
            ("/elapsed_s", 3600.0),
            ("/samples_per_s", 1e6),
            ("/push_ns/p50", 1e3),
            ("/push_ns/p999", 1e3),
            ("/question_ns/p50", 1e3),
            ("/question_ns/p99", 1e3),
            ("/rss_first_bytes", 1e6),
            ("/rss_last_bytes", 1e6),
            ("/rss_most_bytes", 1e6),
        ];
        let figures = figures.map(|(pointer, divisor)| cell(soak, pointer, divisor));
        let name = format!("{} {} {due} M/s due", text("workload"), text("durability"));
        [name].into_iter().chain(figures).chain([yes_or_no(soak)]).collect()
    };
    table("Under a steady load", &head, results.soaks.iter().map(row).collect())
}

fn questions(results: &Results) -> Table {
    let head = [
        "p50 / p99, µs",
        "Q1 last value",
        "of the same 16",
        "Q2 one series, 1 h",
        "Q3 10 series, 1 h",
        "Q4 by hour",
        "Q5 all",
        "selected before",
    ];
    let row = |run: &Value| {
        let times = |q: &str| {
            let at = |p: &str| cell(run, &format!("/queries_us/{q}/{p}"), 1.0);
            format!("{} / {}", at("p50"), at("p99"))
        };
        [name(run)].into_iter().chain(["q1", "q1_hot", "q2", "q3", "q4", "q5", "q5_selected"].map(times)).collect()
    };
    table("Questions, in process", &head, results.runs.iter().map(row).collect())
}

fn recoveries(results: &Results) -> Table {
    let head = ["killed under", "ready after s", "replayed M", "M/s of processor time", "peak MB", "verified"];
    let row = |recovery: &Value| {
        let text = |key| recovery.get(key).and_then(Value::as_str).unwrap_or("?");
        vec![
            format!("{} {}{}", text("workload"), text("durability"), tunables(recovery)),
            cell(recovery, "/recovery_s", 1.0),
            cell(recovery, "/replayed_samples", 1e6),
            cell(recovery, "/replayed_per_cpu_s", 1e6),
            cell(recovery, "/peak_recovery_bytes", 1e6),
            yes_or_no(recovery),
        ]
    };
    table("Recovery after kill -9", &head, results.recoveries.iter().map(row).collect())
}

fn beside(results: &Results) -> Table {
    let head = ["pushes beside questions", "readers", "throughput ×", "push p99.9 ×", "questions/s", "verified"];
    let row = |beside: &Value| {
        let text = |key| beside.get(key).and_then(Value::as_str).unwrap_or("?");
        vec![
            format!("{} {}", text("workload"), text("durability")),
            cell(beside, "/readers", 1.0),
            cell(beside, "/ratio", 1.0),
            cell(beside, "/push_p999_ratio", 1.0),
            cell(beside, "/questions_per_s", 1.0),
            yes_or_no(beside),
        ]
    };
    table("Pushes beside questions", &head, results.beside.iter().map(row).collect())
}

fn concurrency(results: &Results) -> Table {
    let head =
        ["mode", "workers", "ops/s", "read p50", "p95", "p99 µs", "write p50", "p95", "p99 µs", "published", "×"];
    let cells = results.concurrency.iter().filter_map(|one| one.get("cells")?.as_array()).flatten();
    let row = |one: &Value| {
        let mode = one.get("mode").and_then(Value::as_str).unwrap_or("?").to_owned();
        let figures = [
            "/workers",
            "/ops_per_s",
            "/read_us/p50",
            "/read_us/p95",
            "/read_us/p99",
            "/write_us/p50",
            "/write_us/p95",
            "/write_us/p99",
            "/published_ops_per_s",
            "/ratio",
        ];
        [mode].into_iter().chain(figures.map(|pointer| cell(one, pointer, 1.0))).collect()
    };
    table("Many workers", &head, cells.map(row).collect())
}

/// The tables of the comparison, as it made them: `title`, `head`, `rows` of texts.
fn compared(results: &Results) -> Vec<Table> {
    let texts = |value: &Value| -> Vec<String> {
        let text = |cell: &Value| cell.as_str().map_or_else(|| cell.to_string(), str::to_owned);
        value.as_array().map_or(Vec::new(), |cells| cells.iter().map(text).collect())
    };
    let tables = results.compared.iter().filter_map(|one| one.get("tables")?.as_array()).flatten();
    let table = |one: &Value| Table {
        title: one.get("title").and_then(Value::as_str).unwrap_or("Compared").to_owned(),
        head: one.get("head").map_or(Vec::new(), texts),
        rows: one.get("rows").and_then(Value::as_array).map_or(Vec::new(), |rows| rows.iter().map(texts).collect()),
    };
    tables.map(table).collect()
}

/// The stores of comparisons that have no figures, and why.
fn left_out(results: &Results) -> Table {
    let left = results.compared.iter().filter_map(|one| one.get("left_out")?.as_array()).flatten();
    let text = |one: &Value, key| one.get(key).and_then(Value::as_str).unwrap_or("?").to_owned();
    table("Not compared", &["store", "why"], left.map(|one| vec![text(one, "store"), text(one, "why")]).collect())
}

fn ratios(one: &Value) -> Table {
    let text = |value: &Value, key| value.get(key).and_then(Value::as_str).unwrap_or("?").to_owned();
    let title = format!("Ratios: run {}, over run {}", text(one, "options"), text(one, "against"));
    let row = |figure: &Value| {
        let numbers = ["/ratio", "/least", "/greatest", "/median", "/median_against"];
        [text(figure, "figure")].into_iter().chain(numbers.map(|pointer| cell(figure, pointer, 1.0))).collect()
    };
    let all = |key| one.get(key).and_then(Value::as_array).into_iter().flatten();
    // Not in every run: named, without numbers.
    let left_out = all("left_out").map(|name| row(&json!({ "figure": name })));
    let rows = all("figures").map(row).chain(left_out).collect();
    table(&title, &["figure", "ratio", "least", "greatest", "median", "over"], rows)
}

fn own_roofs(results: &Results) -> Table {
    const OWN: [(&str, &str); 5] = [
        ("memcpy_gb_s", "memcpy GB/s"),
        ("read_sum_gb_s", "read-sum"),
        ("read_sum_all_gb_s", "all cores"),
        ("vec_append_w1_m_s", "Vec M/s"),
        ("random_access_ns", "random access ns"),
    ];
    let row = |run: &Value| {
        let both = |(key, _): (&str, &str)| {
            let at = |when: &str| cell(run, &format!("/roofs/{when}/{key}"), 1.0);
            format!("{} / {}", at("before"), at("after"))
        };
        [name(run)].into_iter().chain(OWN.map(both)).collect()
    };
    let with = results.runs.iter().filter(|run| run.get("roofs").is_some_and(Value::is_object));
    let head: Vec<&str> = ["before / after"].into_iter().chain(OWN.map(|one| one.1)).collect();
    table("Roofs taken with the runs", &head, with.map(row).collect())
}

fn roofs(results: &Results) -> Table {
    let mut rows = Vec::new();
    for roofs in &results.roofs {
        for (key, value) in roofs.as_object().into_iter().flatten() {
            // What is neither is no figure: the verb, the machine.
            if let Some(figure) = value.as_f64() {
                rows.push(vec![key.clone(), short(figure)]);
            } else if number(value, "/p50").is_some() {
                rows.push(vec![format!("{key}, p50"), cell(value, "/p50", 1.0)]);
                rows.push(vec![format!("{key}, p99"), cell(value, "/p99", 1.0)]);
            }
        }
    }
    table("Roofs of this machine", &["roof", "figure"], rows)
}

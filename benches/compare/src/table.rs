//! Results as tables with ratios.

use std::fmt;

use serde_json::{Value, json};

use crate::measure::Measured;

/// A table of texts.
pub(crate) struct Table {
    title: String,
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

/// Figure and, where Tidegauge has one to compare with, how many times as good ours is.
fn beside(figure: f64, ours: Option<f64>, more_is_better: bool, digits: usize) -> String {
    match ours {
        Some(ours) if ours > 0.0 && figure > 0.0 => {
            let ratio = if more_is_better { ours / figure } else { figure / ours };
            let digits_of_ratio = usize::from(ratio < 100.0);
            format!("{figure:.digits$} ({ratio:.digits_of_ratio$}×)")
        }
        _ => format!("{figure:.digits$}"),
    }
}

/// What an accepted push is worth, and what the clock did not wait for.
fn worth(result: &Measured) -> String {
    let owed = if result.durable_at_end == Some(false) { "; the last ones not waited for" } else { "" };
    format!("{}{owed}", result.durability)
}

/// Memory in MiB. Of a store that was given a cache, how many times as much it takes says what it was given: no ratio.
fn memory(result: &Measured, ours: Option<&Measured>) -> String {
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    match result.cache_bytes {
        Some(cache) => format!("{:.0}, cache {:.0}", mib(result.memory_bytes), mib(cache)),
        None => beside(mib(result.memory_bytes), ours.map(|ours| mib(ours.memory_bytes)), false, 0),
    }
}

/// Each level's results, in process and then over loopback, ours first.
fn by_level(results: &[Measured]) -> Vec<Vec<&Measured>> {
    // By what is survived: nothing, a while ago, each push.
    let rank = |level: &str| ["memory", "interval", "sync"].iter().position(|kind| level.starts_with(kind));
    let mut levels: Vec<&str> = results.iter().map(|result| result.level.as_str()).collect();
    levels.sort_by_key(|level| (rank(level), *level));
    levels.dedup();
    let of = |level: &str| {
        let mut group: Vec<&Measured> = results.iter().filter(|result| result.level == level).collect();
        group.sort_by_key(|result| (result.server, !result.ours));
        group
    };
    levels.into_iter().map(of).collect()
}

/// Pushing and storing, then the questions. Ratios are those to Tidegauge at the same level, of servers those to Tidegauge
/// as a server: a request over loopback costs more than most answers. A store that gave back something wrong has no
/// figures.
pub(crate) fn of(title: &str, results: &[Measured]) -> Vec<Table> {
    let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<String>>();
    let mut pushing = Table {
        title: format!(
            "{title}\n(in brackets: how many times as good Tidegauge is, at a durability that promises no less; as a \
             server, where it was measured, beside servers; where a store was given a cache, its memory says so and has \
             no ratio)"
        ),
        head: texts(&[
            "store",
            "beside",
            "M samples/s",
            "registering s",
            "CPU ns/sample",
            "until settled",
            "settling s",
            "memory MiB",
            "bytes/sample",
            "what an accepted push is worth",
        ]),
        rows: Vec::new(),
    };
    let mut questions = Table {
        title: "Questions, µs, median (in brackets: how many times as fast Tidegauge answers)".to_owned(),
        head: texts(&["store", "beside"]),
        rows: Vec::new(),
    };
    // Servers are asked for one thing more.
    let most = results.iter().max_by_key(|result| result.questions.len());
    let names: Vec<_> = most.iter().flat_map(|most| &most.questions).map(|asked| asked.name.as_str()).collect();
    questions.head.extend(names.iter().map(|name| (*name).to_owned()));
    for group in by_level(results) {
        for &result in &group {
            let start = [result.name.clone(), result.level.clone()];
            if !result.wrong.is_empty() {
                pushing.rows.push(start.into_iter().chain([format!("WRONG: {}", result.wrong.join("; "))]).collect());
                continue;
            }
            let like = |ours: &&&Measured| ours.ours && ours.server == result.server && ours.wrong.is_empty();
            let ours = group.iter().find(like).copied().filter(|_| !result.ours);
            let of = |figure: fn(&Measured) -> f64| ours.map(figure);
            pushing.rows.push(
                start
                    .iter()
                    .cloned()
                    .chain([
                        beside(result.samples_per_s / 1e6, of(|r| r.samples_per_s / 1e6), true, 2),
                        result.register_s.map_or_else(String::new, |took| format!("{took:.3}")),
                        beside(result.cpu_ns_per_sample, of(|r| r.cpu_ns_per_sample), false, 0),
                        beside(result.cpu_settled_ns_per_sample, of(|r| r.cpu_settled_ns_per_sample), false, 0),
                        format!("{:.1}", result.settle_s),
                        memory(result, ours),
                        beside(result.bytes_per_sample, of(|r| r.bytes_per_sample), false, 2),
                        worth(result),
                    ])
                    .collect(),
            );
            let time =
                |of: &Measured, name: &str| of.questions.iter().find(|asked| asked.name == name).map(|q| q.p50_us);
            let times = names.iter().map(|name| match time(result, name) {
                Some(us) => beside(us, ours.and_then(|ours| time(ours, name)), false, 1),
                None => String::new(),
            });
            questions.rows.push(start.iter().cloned().chain(times).collect());
        }
    }
    vec![pushing, questions]
}

impl Table {
    pub(crate) fn json(&self) -> Value {
        json!({"title": self.title, "head": self.head, "rows": self.rows})
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.title)?;
        // What stands last in its row takes no room from those below.
        let cells =
            |i: usize| self.rows.iter().filter(move |row| row.len() > i + 1).map(move |row| row[i].chars().count());
        let width = |i: usize| cells(i).chain([self.head[i].chars().count()]).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.head.len()).map(width).collect();
        for row in std::iter::once(&self.head).chain(&self.rows) {
            let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            writeln!(f, "  {}", cells.join("  ").trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::tests::measured as result;

    #[test]
    fn ratios_say_how_many_times_as_good_ours_is() {
        assert_eq!(beside(2.0, Some(10.0), true, 1), "2.0 (5.0×)");
        assert_eq!(beside(30.0, Some(10.0), false, 0), "30 (3.0×)");
        assert_eq!(beside(1.0, Some(1_234.0), true, 0), "1 (1234×)");
        assert_eq!(beside(10.0, None, true, 1), "10.0");
    }

    #[test]
    fn whose_last_samples_were_not_waited_for_says_so() {
        let told = |durable_at_end| worth(&Measured { durable_at_end, ..result("slow", "interval:1s", 1e6, &[]) });
        assert_eq!([None, Some(true)].map(told), ["words", "words"]);
        assert_eq!(told(Some(false)), "words; the last ones not waited for");
    }

    #[test]
    fn each_store_stands_beside_ours_at_its_own_level() {
        let results = [
            result("tidegauge", "interval:100ms", 20e6, &[]),
            result("slow", "interval:100ms", 2e6, &[]),
            result("synced", "sync", 1e6, &[]),
            result("tidegauge", "sync", 3e6, &[]),
        ];
        let tables = of("title", &results);
        let cells: Vec<[&str; 3]> =
            tables[0].rows.iter().map(|row| [row[0].as_str(), row[1].as_str(), row[2].as_str()]).collect();
        assert_eq!(
            cells,
            [
                ["tidegauge", "interval:100ms", "20.00"],
                ["slow", "interval:100ms", "2.00 (10.0×)"],
                ["tidegauge", "sync", "3.00"],
                ["synced", "sync", "1.00 (3.0×)"],
            ]
        );
        assert_eq!(tables[1].rows[1][2], "500.0 (10.0×)");
    }

    #[test]
    fn memory_that_a_store_was_told_to_take_is_no_ratio() {
        let results = [
            result("tidegauge", "sync", 20e6, &[]),
            Measured { memory_bytes: 3 << 20, ..result("plain", "sync", 2e6, &[]) },
            Measured { memory_bytes: 300 << 20, cache_bytes: Some(256 << 20), ..result("cached", "sync", 2e6, &[]) },
        ];
        let table = &of("title", &results)[0];
        let at = table.head.iter().position(|head| head == "memory MiB").unwrap();
        let cells: Vec<&str> = table.rows.iter().map(|row| row[at].as_str()).collect();
        assert_eq!(cells, ["1", "3 (3.0×)", "300, cache 256"]);
    }

    #[test]
    fn servers_stand_beside_ours_as_a_server_or_beside_nothing() {
        let ours = result("tidegauge", "sync", 20e6, &[]);
        let (server, other) = (result("tidegauge-server", "sync", 4e6, &[]), result("influxdb", "sync", 1e6, &[]));
        let figures = |results: &[Measured]| -> Vec<String> {
            of("title", results).iter().flat_map(|table| table.rows.iter().map(|row| row[2].clone())).collect()
        };
        let all = figures(&[ours.clone(), server, other.clone()]);
        assert_eq!(all, ["20.00", "4.00", "1.00 (4.0×)", "50.0", "250.0", "1000.0 (4.0×)"]);
        assert_eq!(figures(&[ours, other]), ["20.00", "1.00", "50.0", "1000.0"]);
    }

    #[test]
    fn what_is_wrong_has_no_figures_and_gives_none_to_compare_with() {
        let results = [result("tidegauge", "sync", 20e6, &["Q1"]), result("slow", "sync", 2e6, &["a sample"])];
        let tables = of("title", &results);
        assert_eq!(tables[0].rows[1], ["slow", "sync", "WRONG: a sample"]);
        assert!(tables[1].rows.is_empty());
        let results = [result("tidegauge", "sync", 20e6, &["Q1"]), result("slow", "sync", 2e6, &[])];
        assert_eq!(of("title", &results)[0].rows[1][2], "2.00");
    }
}

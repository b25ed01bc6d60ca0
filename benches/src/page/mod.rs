//! One HTML file of all figures: plots beside their roofs, and tables. It loads nothing from anywhere.

mod html;
mod plots;
mod results;
mod svg;
mod tables;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::cli::Report as Options;
use crate::error::Error;

pub use results::Results;

/// Reads what runs printed with `--json`, writes the page, and the plots as files of their own if asked to.
///
/// # Errors
/// [`Error::Usage`] for lines that are no figures of this program's, for no figures at all, and where an input would be
/// overwritten; [`Error::Io`] for what cannot be read or written.
pub fn write(options: &Options) -> Result<String, Error> {
    let mut results = Results::default();
    for file in &options.files {
        let text = fs::read_to_string(file).map_err(Error::io(file))?;
        results.read(&text).map_err(|(line, why)| Error::Usage(format!("{}:{line}: {why}", file.display())))?;
    }
    let (plots, tables) = (plots::all(&results), tables::all(&results));
    if plots.is_empty() && tables.is_empty() {
        return Err(Error::Usage("no figures at all: give files with lines that --json printed".into()));
    }
    if let Some(other) = options.svg.iter().find(|name| plots.iter().all(|plot| plot.name != name.as_str())) {
        let all: Vec<&str> = plots.iter().map(|plot| plot.name).collect();
        let all = if all.is_empty() { "none".to_owned() } else { all.join(", ") };
        return Err(Error::Usage(format!("no plot {other} of these figures: there are {all}")));
    }
    let mut outputs = vec![(options.out.clone(), page(&results, &plots, &tables))];
    if let Some(dir) = &options.svg_dir {
        let wanted = |plot: &&plots::Plot| options.svg.is_empty() || options.svg.iter().any(|name| name == plot.name);
        let file = |plot: &plots::Plot| (dir.join(format!("{}.svg", plot.name)), plot.svg.clone());
        outputs.extend(plots.iter().filter(wanted).map(file));
    }
    // Before the first is written.
    if let Some((path, _)) = outputs.iter().find(|(path, _)| options.files.iter().any(|file| same_file(path, file))) {
        return Err(Error::Usage(format!(
            "{} is one of the files with figures and would be overwritten: name another file for what is written",
            path.display()
        )));
    }
    if let Some(dir) = &options.svg_dir {
        fs::create_dir_all(dir).map_err(Error::io(dir))?;
    }
    for (path, text) in &outputs {
        fs::write(path, text).map_err(Error::io(path))?;
    }
    let bad = results.unverified();
    let warning = if bad == 0 { String::new() } else { format!("; {bad} of the results are NOT verified") };
    let (out, plots, tables) = (options.out.display(), plots.len(), tables.len());
    Ok(format!("{out}: plots: {plots}, tables: {tables}{warning}"))
}

/// Whether both names lead to one file, by links too. Devices take what is written and keep what is read.
fn same_file(one: &Path, other: &Path) -> bool {
    let identity = |path: &Path| fs::metadata(path).ok().filter(|meta| meta.is_file()).map(|m| (m.dev(), m.ino()));
    identity(one).is_some_and(|one| identity(other) == Some(one))
}

fn page(results: &Results, plots: &[plots::Plot], tables: &[tables::Table]) -> String {
    let mut page = html::Page::new("Tidegauge, measured");
    for machine in results.machines() {
        page.text("p", &machine);
    }
    for word in results.roofs_of_others() {
        page.text("p", &word);
    }
    if let Some(word) = results.roofs_missing() {
        page.text("p", word);
    }
    let bad = results.unverified();
    if bad > 0 {
        page.text("p", &format!("{bad} of these results are not verified: their figures do not count."));
    }
    for plot in plots {
        page.text("h2", &plot.title);
        page.text("p", &plot.says);
        page.svg(&plot.svg);
    }
    for table in tables {
        page.text("h2", &table.title);
        page.table(table);
    }
    page.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results() -> Results {
        let mut results = Results::default();
        let run = r#"{"workload":"w1<script>alert(1)</script>","appenders":1,"batch":1000,"durability":"memory",
            "series":4000,"samples":10000000,"samples_per_s_visible":5e7,"samples_per_s_durable":null,
            "cpu_ns_per_sample_flushed":40.0,"rss_growth_bytes":4000000,"rss_idle_bytes":400000,
            "bytes_per_sample_fresh":1.25,"bytes_per_sample":1.2,"bytes_per_sample_cold":1.1,
            "wal_bytes_per_sample":null,"scan_samples_per_s":2e9,"verified":true,
            "push_ns":{"p50":5.0,"p99":10.0,"p999":100.0,"max":1e6},
            "queries_us":{"q1":{"p50":0.1,"p99":0.2},"q2":{"p50":1,"p99":2},"q3":{"p50":1,"p99":2},
            "q4":{"p50":1,"p99":2},"q5":{"p50":1,"p99":2}},"pwrite_fdatasync_64k_us":{"p50":300,"p99":900},
            "curves_ns":{"push":[[0.0,0.001],[0.5,5.0],[0.99,10.0],[1.0,1000.0]],"push_loaded":[],
            "arrival_pushed":[[0.0,9.0],[0.5,90.0]],"arrival_reached":[],"ack_durable":[[0.0,9e4],[0.5,3e5]],
            "questions":{"q1":[[0.0,90.0],[0.5,100.0]],"q2":[],"q3":[],"q4":[],"q5":[]}},"reopen_s":0.001,
            "arrival":{"level":"visible","samples_per_s_asked":1000000},
            "machine":{"cpu":"A & B","cores":2,"memory_bytes":1073741824,"kernel":"6","disk":{"file_system":"ext4",
            "device":"/dev/vda"},"build":"release"}}"#;
        let roofs = r#"{"append_release_ns":1.3,"memcpy_gb_s":10.0,"read_sum_all_gb_s":32.0,"write_mb_s":200.0,
            "cores":2,"random_access_ns":100.0,"fetch_add_contended_ns":13.0,"vec_append_w1_m_s":38.0,
            "pwrite_fdatasync_64k_us":{"p50":120.0,"p99":987.0}}"#;
        let concurrency = r#"{"verb":"concurrency","verified":true,"cells":[{"mode":"read","workers":1,"ops_per_s":1e6,
            "read_curve_ns":[[0.0,50.0],[0.5,70.0]],"write_curve_ns":[]}]}"#;
        let soak = r#"{"verb":"soak","verified":true,"samples":2000000,"windows":[
            {"at_s":1,"rss_bytes":9000000,"anonymous_bytes":8000000,"push_ns":{"p50":9.0},"question_ns":{"p50":900.0}},
            {"at_s":2,"rss_bytes":9000000,"anonymous_bytes":8000000,"push_ns":{"p50":9.0},"question_ns":{"p50":900.0}}
            ]}"#;
        let lines: Vec<String> = [run, roofs, concurrency, soak].map(|text| text.replace('\n', " ")).to_vec();
        results.read(&format!("Progress, to be passed over\n{}\n", lines.join("\n"))).unwrap();
        results
    }

    #[test]
    fn the_page_loads_nothing_and_what_comes_from_outside_stays_text() {
        let results = results();
        let page = page(&results, &plots::all(&results), &tables::all(&results));
        assert!(!page.contains("<script"), "markup in a name");
        assert!(page.contains("w1&lt;script&gt;"), "{page}");
        assert!(page.contains("A &amp; B"));
        for loading in ["src=", "href=", "url(", "@import", "<link", "<img", "<iframe"] {
            assert!(!page.contains(loading), "{loading}");
        }
        // Only the name of SVG's vocabulary is an address, and it is not loaded.
        assert!(page.matches("://").count() == page.matches("http://www.w3.org/2000/svg").count());
    }

    #[test]
    fn each_plot_has_its_roof_and_is_a_file_by_itself() {
        let results = results();
        let plots = plots::all(&results);
        let names: Vec<&str> = plots.iter().map(|plot| plot.name).collect();
        let of_runs = ["throughput", "push", "arrival", "acks", "questions", "bytes", "memory", "scan"];
        let of_others = ["concurrency", "concurrency-latency", "soak-memory", "soak-latency"];
        assert_eq!(names, [&of_runs[..], &of_others].concat());
        for plot in &plots {
            assert!(plot.svg.starts_with("<svg xmlns="), "{}", plot.name);
            assert!(plot.svg.contains("class=\"roof\""), "{} has no roof", plot.name);
            assert!(!plot.svg.contains("NaN") && !plot.svg.contains("inf"), "{}", plot.svg);
        }
        assert!(!plots[1].svg.contains("0.001") && plots[1].svg.contains(">1.00 ns<"), "{}", plots[1].svg);
        let workers = plots.iter().find(|plot| plot.name == "concurrency").unwrap();
        assert!(!workers.svg.contains("load from memory"), "reads that overlap go through it: {}", workers.svg);
        // 1.3 ns for each append of 16 bytes.
        assert!(plots[0].svg.contains("769"), "{}", plots[0].svg);
        assert!(plots[0].svg.contains("4,000 series, one core: 38.0 M/s"), "{}", plots[0].svg);
        let roofs = tables::all(&results).into_iter().find(|table| table.title.starts_with("Roofs")).unwrap();
        assert!(roofs.rows.contains(&vec!["pwrite_fdatasync_64k_us, p99".into(), "987".into()]), "{:?}", roofs.rows);
    }

    #[test]
    fn roofs_of_another_machine_or_version_are_said_to_be() {
        let word = |of_run: &str, of_roofs: &str| {
            let mut results = Results::default();
            let [run, roofs] =
                [("samples_per_s_visible", of_run), ("append_release_ns", of_roofs)].map(|(key, machine)| {
                    let machine = machine.split(',').map(|word| word.split_once('=').unwrap());
                    let machine: serde_json::Map<_, _> = machine.map(|(k, v)| (k.to_owned(), v.into())).collect();
                    serde_json::json!({ key: 1.0, "machine": machine }).to_string()
                });
            results.read(&format!("{run}\n{roofs}\n")).unwrap();
            page(&results, &[], &[]).contains("not those of all these figures")
        };
        assert!(!word("cpu=A,version=1", "cpu=A,version=1"));
        assert!(word("cpu=A,version=1", "cpu=B,version=1"));
        assert!(word("cpu=A,version=2", "cpu=A,version=1"));
        assert!(word("cpu=A,version=1,commit=a", "cpu=A,version=1,commit=b"));
    }

    #[test]
    fn roofs_that_are_not_there_are_missed_and_those_of_the_runs_come_first() {
        let pages = |lines: &[&str]| {
            let mut results = Results::default();
            results.read(&lines.join("\n")).unwrap();
            let plots = plots::all(&results);
            let throughput = plots.iter().find(|plot| plot.name == "throughput").map(|plot| plot.svg.clone());
            (page(&results, &plots, &tables::all(&results)), throughput.unwrap_or_default())
        };
        let run = r#"{"workload":"w1","samples_per_s_visible":1e6}"#;
        let own = r#"{"workload":"w1","samples_per_s_visible":1e6,"roofs":{"before":{"vec_append_w1_m_s":30.0,"memcpy_gb_s":4.8},"after":{"vec_append_w1_m_s":34.0,"memcpy_gb_s":4.8}}}"#;
        let roofs = r#"{"verb":"roofs","vec_append_w1_m_s":50.0,"append_release_ns":2.0}"#;
        let (missing, theirs) = ("No roofs were measured", "only those that runs took themselves");
        let (told, _) = pages(&[run]);
        assert!(told.contains(missing) && !told.contains(theirs), "{told}");
        let (told, svg) = pages(&[own]);
        assert!(told.contains(theirs) && !told.contains(missing), "{told}");
        assert!(svg.contains("32.0 M/s") && svg.contains("200 M/s") && svg.contains("taken with the runs"), "{svg}");
        assert!(told.contains("Roofs taken with the runs") && told.contains("30.0 / 34.0"), "{told}");
        let (told, svg) = pages(&[run, roofs]);
        assert!(!told.contains(missing) && !told.contains(theirs) && svg.contains("50.0 M/s"), "{told}");
        let (told, svg) = pages(&[own, roofs]);
        assert!(!told.contains(theirs) && svg.contains("32.0 M/s") && !svg.contains("50.0 M/s"), "{told}");
        let (told, _) = pages(&[r#"{"verb":"compare","tables":[{"title":"Stores","head":["a"],"rows":[["b"]]}]}"#]);
        assert!(!told.contains(missing), "no plot of it has a roof: {told}");
    }

    #[test]
    fn roofs_that_runs_took_on_two_machines_are_not_mixed_and_that_is_told() {
        let run = |cpu: &str, m_s: f64| {
            format!(
                r#"{{"samples_per_s_visible":1e6,"machine":{{"cpu":"{cpu}"}},"roofs":{{"before":{{"vec_append_w1_m_s":{m_s}}},"after":{{"vec_append_w1_m_s":{m_s}}}}}}}"#
            )
        };
        let page = |lines: &[String]| {
            let mut results = Results::default();
            results.read(&lines.join("\n")).unwrap();
            page(&results, &plots::all(&results), &[])
        };
        let told =
            page(&[run("fast", 90.0), run("slow", 30.0), run("slow", 34.0), run("fast", 94.0), run("slow", 32.0)]);
        assert!(told.contains("32.0 M/s") && told.contains("as taken with the runs are not those of all"), "{told}");
        assert!(told.contains("taken on 0 × slow") && told.contains("some figures on 0 × fast"), "{told}");
        let told = page(&[run("slow", 30.0), run("slow", 34.0)]);
        assert!(told.contains("32.0 M/s") && !told.contains("not those of all"), "{told}");
    }

    #[test]
    fn each_run_has_the_roof_of_the_disk_that_its_own_log_makes() {
        let mut results = Results::default();
        let run =
            |wal: f64| format!("{{\"workload\":\"w1\",\"samples_per_s_visible\":1e6,\"wal_bytes_per_sample\":{wal}}}");
        results
            .read(&[run(2.0), run(4.0), run(4.001), "{\"verb\":\"roofs\",\"write_mb_s\":80.0}".into()].join("\n"))
            .unwrap();
        let plots = plots::all(&results);
        let svg = &plots.iter().find(|plot| plot.name == "throughput").unwrap().svg;
        for roof in ["the disk at 2.00 bytes a sample: 40.0 M/s", "the disk at 4.00 bytes a sample: 20.0 M/s"] {
            assert_eq!(svg.matches(roof).count(), 1, "{roof}: {svg}");
        }
    }

    #[test]
    fn tables_have_bytes_and_memory_and_what_a_soak_came_to() {
        let mut results = results();
        results
            .read("{\"samples_per_s_visible\":1e6,\"sync_ratio\":0.27,\"machine\":{\"load_average\":[1.75,0,0]}}")
            .unwrap();
        let tables = tables::all(&results);
        let rows = |title: &str| &tables.iter().find(|table| table.title == title).expect(title).rows;
        assert_eq!(rows("Bytes, memory, scans")[0][1..7], ["1.25", "1.20", "1.10", "–", "4.00", "0.400"]);
        assert!(rows("Runs")[1].contains(&"0.270".to_owned()) && rows("Runs")[1].contains(&"1.75".to_owned()));
        assert_eq!(rows("Under a steady load")[0].last().unwrap(), "yes");
    }

    #[test]
    fn recoveries_with_huge_pages_are_told_apart_from_others() {
        let mut results = Results::default();
        let line = |tunables: &str| {
            format!(
                r#"{{"verb":"recovery","workload":"w1","durability":"sync","machine":{{"transparent_hugepage":"madvise","glibc_tunables":{tunables}}}}}"#
            )
        };
        results.read(&[line("null"), line("\"glibc.malloc.hugetlb=1\"")].join("\n")).unwrap();
        let tables = tables::all(&results);
        let names: Vec<&str> = tables[0].rows.iter().map(|row| row[0].as_str()).collect();
        assert_eq!(names, ["w1 sync", "w1 sync glibc.malloc.hugetlb=1"]);
        let machines = results.machines();
        assert!(machines.len() == 1 && machines[0].ends_with(", huge pages madvise"), "{machines:?}");
    }

    #[test]
    fn lines_that_are_no_figures_are_refused_by_number() {
        let mut results = Results::default();
        let refused = |(line, why): (usize, String)| (line, why);
        assert_eq!(results.read("text\n{\"x\":1}\n").map_err(refused).unwrap_err().0, 2);
        assert_eq!(results.read("{\"x\":\n").map_err(refused).unwrap_err().0, 1);
        assert_eq!(results.read("").map_err(refused), Ok(()));
        assert!(plots::all(&results).is_empty());
    }
}

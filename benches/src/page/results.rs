//! What runs printed with `--json`, told apart by its keys.

use serde_json::Value;

use crate::roofs::median;

/// The figures of all files, in the order in which they were given.
#[derive(Debug, Default)]
pub struct Results {
    pub(super) runs: Vec<Value>,
    pub(super) roofs: Vec<Value>,
    pub(super) recoveries: Vec<Value>,
    pub(super) concurrency: Vec<Value>,
    pub(super) beside: Vec<Value>,
    pub(super) soaks: Vec<Value>,
    pub(super) compared: Vec<Value>,
    pub(super) ratios: Vec<Value>,
}

impl Results {
    /// Takes each line that begins as a JSON object; others are what was printed for people.
    ///
    /// # Errors
    /// Number and fault of the first line that is an object, but none of this program's.
    pub fn read(&mut self, text: &str) -> Result<(), (usize, String)> {
        for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| line.starts_with('{')) {
            let value: Value = serde_json::from_str(line).map_err(|e| (number, e.to_string()))?;
            let has = |key| value.get(key).is_some();
            let kind = match value.get("verb").and_then(Value::as_str) {
                Some("concurrency") => &mut self.concurrency,
                Some("beside") => &mut self.beside,
                Some("soak") => &mut self.soaks,
                Some("roofs") => &mut self.roofs,
                Some("recovery") => &mut self.recoveries,
                Some("compare") => &mut self.compared,
                Some("ratios") => &mut self.ratios,
                _ if has("samples_per_s_visible") => &mut self.runs,
                _ if has("append_release_ns") => &mut self.roofs,
                _ if has("recovery_s") => &mut self.recoveries,
                // A soak's lines before its summary, which has them all.
                _ if has("at_s") => continue,
                _ => return Err((number, "no figures of tidegauge-bench".into())),
            };
            kind.push(value);
        }
        Ok(())
    }

    /// A description of each machine that there are figures of, each once.
    pub(super) fn machines(&self) -> Vec<String> {
        let mut machines: Vec<String> = Vec::new();
        for described in self.all().filter_map(machine) {
            if !machines.contains(&described) {
                machines.push(described);
            }
        }
        machines
    }

    /// Words on roofs that were measured elsewhere than the figures that stand beside them, or by another version.
    pub(super) fn roofs_of_others(&self) -> Vec<String> {
        let other = |than: &String| self.all().filter_map(machine).find(|described| described != than);
        let roofs = self.roofs.iter().rev().find_map(machine);
        let own = with_roofs(&self.runs).filter_map(machine).next_back();
        let of_roofs = roofs.and_then(|on| {
            let other = other(&on)?;
            Some(format!(
                "The roofs are not those of all these figures: they were measured on {on}, and some figures on {other}."
            ))
        });
        let of_own = own.and_then(|on| {
            let other = other(&on)?;
            Some(format!(
                "The roofs that are drawn as taken with the runs are not those of all these figures: they were taken on {on}, \
                 and some figures on {other}."
            ))
        });
        of_roofs.into_iter().chain(of_own).collect()
    }

    /// How many results say that what was read back is not what was written.
    pub(super) fn unverified(&self) -> usize {
        self.all().filter(|value| value.get("verified").is_some_and(|verified| verified != true)).count()
    }

    fn all(&self) -> impl Iterator<Item = &Value> {
        let others = [&self.ratios, &self.roofs, &self.recoveries, &self.concurrency];
        let rest = [&self.beside, &self.soaks, &self.compared];
        self.runs.iter().chain(others.into_iter().chain(rest).flatten())
    }

    /// What to say where no `roofs --json` is among the figures: plots without roofs say little.
    pub(super) fn roofs_missing(&self) -> Option<&'static str> {
        let is_drawn = [&self.runs, &self.concurrency, &self.soaks].iter().any(|some| !some.is_empty());
        let has_own = with_roofs(&self.runs).next().is_some();
        match has_own {
            _ if !is_drawn || !self.roofs.is_empty() => None,
            true => Some(
                "Of the roofs there are only those that runs took themselves: add what tidegauge-bench roofs --json prints \
                 on this machine.",
            ),
            false => Some(
                "No roofs were measured, and nothing tells what this machine can do at best: add what tidegauge-bench roofs \
                 --json prints on it.",
            ),
        }
    }

    /// A roof that runs took themselves, before and after: the median of all of theirs, of the machine of the last of them.
    pub(super) fn own_roof(runs: &[Value], key: &str) -> Option<f64> {
        let of = |run| ["/roofs/before", "/roofs/after"].map(|when| number(run, &format!("{when}{key}")));
        let on = with_roofs(runs).map(machine).next_back()?;
        let found: Vec<f64> = with_roofs(runs).filter(|run| machine(run) == on).flat_map(of).flatten().collect();
        (!found.is_empty()).then(|| median(found))
    }

    /// A roof, of the last time that it was measured.
    pub(super) fn roof(&self, key: &str) -> Option<f64> {
        self.roofs.iter().rev().find_map(|roofs| number(roofs, key))
    }
}

fn with_roofs(runs: &[Value]) -> impl DoubleEndedIterator<Item = &Value> {
    runs.iter().filter(|run| run.get("roofs").is_some_and(Value::is_object))
}

/// The machine and the program that made a result.
fn machine(result: &Value) -> Option<String> {
    let machine = result.get("machine")?;
    let text = |key| machine.pointer(key).and_then(Value::as_str).unwrap_or("?");
    let commit = machine.get("commit").and_then(Value::as_str).map_or(String::new(), |commit| format!(" ({commit})"));
    // Not told of by figures of an earlier form. What the environment tells glibc stands with the figures of each run.
    let pages = machine.get("transparent_hugepage").and_then(Value::as_str);
    let pages = pages.map_or(String::new(), |pages| format!(", huge pages {pages}"));
    Some(format!(
        "{} × {}, {:.1} GiB, Linux {}, {} on {}, {} build of {}{commit}{pages}",
        machine.get("cores").and_then(Value::as_u64).unwrap_or(0),
        text("/cpu"),
        number(machine, "/memory_bytes").unwrap_or(0.0) / f64::from(1 << 30),
        text("/kernel"),
        text("/disk/file_system"),
        text("/disk/device"),
        text("/build"),
        text("/version")
    ))
}

/// The number at a JSON pointer.
pub(super) fn number(value: &Value, pointer: &str) -> Option<f64> {
    value.pointer(pointer)?.as_f64().filter(|number| number.is_finite())
}

/// What a run is called in plots.
pub(super) fn name(run: &Value) -> String {
    let text = |key| run.get(key).and_then(Value::as_str).unwrap_or("?").to_owned();
    let number = |key| run.get(key).and_then(Value::as_u64).unwrap_or(0);
    let mut name = format!("{} {} {}×{}", text("workload"), text("durability"), number("appenders"), number("batch"));
    if run.get("wait").is_some_and(|wait| wait == true) {
        name.push_str(" waiting");
    }
    if let Some(seconds) = run.get("for_s").and_then(Value::as_f64) {
        name.push_str(&format!(" {seconds:.0} s"));
    }
    if let Some(rate) = run.pointer("/arrival/samples_per_s_asked").and_then(Value::as_f64) {
        name.push_str(&format!(" {:.1} M/s due", rate / 1e6));
    }
    name.push_str(&tunables(run));
    name
}

/// What the environment told glibc, behind the name of a result: with huge pages for its heap figures are others.
pub(super) fn tunables(result: &Value) -> String {
    let told = result.pointer("/machine/glibc_tunables").and_then(Value::as_str);
    told.map_or(String::new(), |tunables| format!(" {tunables}"))
}

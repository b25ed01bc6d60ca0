//! `info`: labels of the info series about the same instance and job.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};

use tidegauge_storage::model::{Labels, METRIC_NAME, MatchOp, Matcher};

use crate::limits::Held;
use crate::promql::eval::error::EvalError;
use crate::promql::eval::grid::{Grid, Row, Rows, is_absent};
use crate::promql::eval::labels::{Keys, shown, signature};
use crate::promql::eval::looks::Looks;
use crate::promql::eval::run::Run;
use crate::promql::eval::selector::Wanted;
use crate::promql::eval::times::Steps;
use crate::promql::parse::ast::{At, Call, DurationArg, Expr};

/// The labels that say what an info series is about.
const IDENTIFYING: [&str; 2] = ["instance", "job"];

/// Metric names, in order, and for each what its series are about.
type InfoGroups = Vec<(String, HashMap<Labels, InfoGroup>)>;

/// The info series of one metric about one thing: which one counts at each step.
struct InfoGroup {
    rows: Vec<usize>,
    best: Vec<Option<usize>>,
}

impl Run<'_> {
    pub(super) fn info(&self, call: &Call, steps: Steps) -> Result<Grid, EvalError> {
        let base = self.eval_vector(&call.args[0], steps)?;
        let asked = match call.args.get(1).map(Expr::unwrapped) {
            Some(Expr::Vector(v)) => &v.matchers[..],
            _ => &[],
        };
        let (of_name, of_data): (Vec<Matcher>, Vec<Matcher>) =
            asked.iter().cloned().partition(|m| m.name() == METRIC_NAME);
        let of_name = name_matchers(of_name)?;
        // Info series are not told about themselves.
        let is_info = |row: &Row| of_name.iter().all(|m| m.matches(row.labels.metric_name().unwrap_or("")));
        let mut looks = Looks::new(base.budget());
        let mut plain = Vec::with_capacity(base.rows.len());
        for row in &base.rows {
            looks.after(1 + row.labels.encoded().len() / 16)?;
            plain.push(is_info(row));
        }
        let infos = self.info_series(&call.args[0], &base, &plain, &of_name, &of_data, steps)?;
        let (groups, _held) = info_groups(&infos, &base)?;
        let enrich = Enrich { base: &base, infos: &infos, groups: &groups, of_data: &of_data };
        let mut out = base.like(steps.count)?;
        for (i, &plain) in plain.iter().enumerate() {
            match plain {
                true => out.push(base.rows[i].clone(), base.row(i))?,
                false => enrich.row(i, &mut out, &mut looks)?,
            }
        }
        out.merged()
    }

    /// The times of the latest samples of the info series about what `base` is about.
    fn info_series(
        &self,
        arg: &Expr,
        base: &Grid,
        plain: &[bool],
        of_name: &[Matcher],
        of_data: &[Matcher],
        steps: Steps,
    ) -> Result<Grid, EvalError> {
        let mut wanted: HashMap<&str, HashSet<&str>> = HashMap::new();
        for (row, _) in base.rows.iter().zip(plain).filter(|(_, plain)| !**plain) {
            for name in IDENTIFYING {
                if let Some(value) = row.labels.get(name) {
                    wanted.entry(name).or_default().insert(value);
                }
            }
        }
        if wanted.is_empty() {
            return self.grid(steps.count);
        }
        let (at, offset) = self.reference_time(arg)?;
        let times: Vec<i64> = match at {
            Some(at) => vec![at.saturating_sub(offset); steps.count],
            None => steps.iter().map(|t| t.saturating_sub(offset)).collect(),
        };
        let matchers: Vec<Matcher> = of_name.iter().chain(of_data).cloned().collect();
        let all = self.select_at(&matchers, &times, Wanted::Timestamp, false)?;
        let about = |row: &Row| {
            wanted.iter().all(|(name, values)| row.labels.get(name).is_some_and(|value| values.contains(value)))
        };
        let order: Vec<usize> = (0..all.rows.len()).filter(|&i| about(&all.rows[i])).collect();
        all.reordered(&order)
    }

    /// The `@` time and the offset under which the first selector inside looks at its series.
    fn reference_time(&self, expr: &Expr) -> Result<(Option<i64>, i64), EvalError> {
        let mut modifiers = Vec::new();
        first_selector(expr, &mut modifiers);
        let mut offset = 0i64;
        for (at, back) in modifiers.into_iter().rev() {
            offset = offset.saturating_add(self.asked.offset(back)?);
            if let Some(at) = at {
                return Ok((Some(self.asked.resolve(at)), offset));
            }
        }
        Ok((None, offset))
    }
}

type Modifiers<'a> = (Option<At>, Option<&'a DurationArg>);

/// The modifiers of the first selector and of the subqueries around it, outermost first.
fn first_selector<'a>(expr: &'a Expr, path: &mut Vec<Modifiers<'a>>) -> bool {
    let selector = match expr {
        Expr::Vector(v) => Some(&**v),
        Expr::Matrix(m) => Some(&m.selector),
        _ => None,
    };
    if let Some(v) = selector {
        path.push((v.at, v.offset.as_ref()));
        return true;
    }
    let depth = path.len();
    if let Expr::Subquery(s) = expr {
        path.push((s.at, s.offset.as_ref()));
    }
    if expr.children().into_iter().any(|child| first_selector(child, path)) {
        return true;
    }
    path.truncate(depth);
    false
}

/// What the names of info series must be: `target_info` unless told otherwise, and where
/// only told what not, something that ends in `_info`.
fn name_matchers(mut asked: Vec<Matcher>) -> Result<Vec<Matcher>, EvalError> {
    if asked.is_empty() {
        return Ok(vec![Matcher::equal(METRIC_NAME, "target_info")]);
    }
    if !asked.iter().any(|m| matches!(m.op(), MatchOp::Equal | MatchOp::Regex)) {
        let ending = Matcher::new(METRIC_NAME, MatchOp::Regex, ".+_info");
        asked.insert(0, ending.map_err(|e| EvalError::Execution(e.to_string()))?);
    }
    Ok(asked)
}

/// By metric name, in order, and by what the series are about.
fn info_groups(infos: &Grid, base: &Grid) -> Result<(InfoGroups, Held), EvalError> {
    let identifying = IDENTIFYING.map(str::to_owned);
    let mut names = InfoGroups::new();
    let mut at_name: HashMap<&str, usize> = HashMap::new();
    let mut keys = Keys::new(infos.budget(), IDENTIFYING.len());
    for (i, row) in infos.rows.iter().enumerate() {
        keys.look(&row.labels)?;
        let name = row.labels.metric_name().unwrap_or("");
        let at = *at_name.entry(name).or_insert_with(|| {
            names.push((name.to_owned(), HashMap::new()));
            names.len() - 1
        });
        let key = signature(&row.labels, true, &identifying);
        let group = match names[at].1.entry(key) {
            Entry::Occupied(group) => group.into_mut(),
            Entry::Vacant(place) => {
                keys.keep(place.key(), size_of::<InfoGroup>() + infos.steps * size_of::<Option<usize>>())?;
                place.insert(InfoGroup { rows: Vec::new(), best: Vec::new() })
            }
        };
        group.rows.push(i);
    }
    names.sort_by(|a, b| a.0.cmp(&b.0));
    let mut looks = Looks::new(infos.budget());
    for group in names.iter_mut().flat_map(|(_, groups)| groups.values_mut()) {
        for step in 0..infos.steps {
            looks.after(group.rows.len())?;
            let best = latest(infos, &group.rows, step, || base.any_at(step))?;
            group.best.push(best);
        }
    }
    Ok((names, keys.held()))
}

/// The one with the latest sample.
fn latest(infos: &Grid, rows: &[usize], step: usize, asked: impl Fn() -> bool) -> Result<Option<usize>, EvalError> {
    let mut best: Option<usize> = None;
    for &i in rows.iter().filter(|&&i| infos.is_present(i, step)) {
        let Some(before) = best else {
            best = Some(i);
            continue;
        };
        let (old, new) = (infos.row(before)[step], infos.row(i)[step]);
        if new > old {
            best = Some(i);
        } else if new == old && asked() {
            let (a, b) = (shown(&infos.rows[before].labels), shown(&infos.rows[i].labels));
            let millis = (new * 1000.0) as i64;
            return Err(EvalError::Execution(format!(
                "found duplicate series for info metric: existing {a} @ {millis}, new {b} @ {millis}"
            )));
        }
    }
    Ok(best)
}

struct Enrich<'a> {
    base: &'a Grid,
    infos: &'a Grid,
    groups: &'a InfoGroups,
    of_data: &'a [Matcher],
}

impl Enrich<'_> {
    /// One base series: a row for each set of labels that it had over time.
    fn row(&self, i: usize, out: &mut Grid, looks: &mut Looks<'_>) -> Result<(), EvalError> {
        let row = &self.base.rows[i];
        let about = signature(&row.labels, true, &IDENTIFYING.map(str::to_owned));
        let groups: Vec<&InfoGroup> = self.groups.iter().filter_map(|(_, groups)| groups.get(&about)).collect();
        let mut rows = Rows::new(out, row.drop_name);
        let mut held = out.budget().hold_nothing();
        let mut known: HashMap<Vec<Option<usize>>, Option<usize>> = HashMap::new();
        for (step, &value) in self.base.row(i).iter().enumerate().filter(|(_, v)| !is_absent(**v)) {
            looks.after(1 + groups.len())?;
            let chosen: Vec<Option<usize>> = groups.iter().map(|g| g.best[step]).collect();
            let at = match known.get(&chosen) {
                Some(at) => *at,
                None => {
                    held.grow(size_of_val(&chosen[..]) as u64 + 64)?;
                    let at = match self.labels(row, &chosen, looks)? {
                        Some(labels) => Some(rows.of(labels, out)?),
                        None => None,
                    };
                    known.insert(chosen, at);
                    at
                }
            };
            if let Some(at) = at {
                out.row_mut(at)[step] = value;
            }
        }
        rows.end(out)
    }

    /// The labels with those of the chosen info series; none if one that must be there is not.
    fn labels(&self, row: &Row, chosen: &[Option<usize>], looks: &mut Looks<'_>) -> Result<Option<Labels>, EvalError> {
        if chosen.iter().all(Option::is_none) {
            return Ok(self.of_data.iter().all(Matcher::matches_empty).then(|| row.labels.clone()));
        }
        let own: BTreeMap<&str, &str> = row.labels.iter().collect();
        let mut labels = own.clone();
        let mut held = self.base.budget().hold_nothing();
        for &i in chosen.iter().flatten() {
            let info = &self.infos.rows[i].labels;
            looks.after(1 + info.encoded().len() / 16 * (1 + self.of_data.len()))?;
            held.grow(info.encoded().len() as u64)?;
            for (name, value) in info.iter().filter(|&(name, _)| name != METRIC_NAME) {
                if !self.of_data.is_empty() && !self.of_data.iter().any(|m| m.name() == name) {
                    continue;
                }
                if own.contains_key(name) {
                    continue;
                }
                if labels.insert(name, value).is_some_and(|before| before != value) {
                    return Err(EvalError::Execution(format!("conflicting label: {name}")));
                }
            }
        }
        let labels: Vec<(&str, &str)> = labels.into_iter().collect();
        Ok(Some(Labels::from_sorted(&labels)))
    }
}

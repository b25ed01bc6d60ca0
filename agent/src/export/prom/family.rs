//! Which metrics are one family of OpenMetrics, and under which name.

use std::collections::{BTreeMap, HashMap};

use tidegauge::Metadata;

/// The types of which a family has samples of several names, or of another name than its own, and the one that stands for
/// all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// `gauge`, `unknown`, none: one name, any values.
    Plain,
    Counter,
    Histogram,
    GaugeHistogram,
    Summary,
    Info,
    StateSet,
}

impl Kind {
    fn of(text: &str) -> Self {
        match text {
            "counter" => Self::Counter,
            "histogram" => Self::Histogram,
            "gaugehistogram" => Self::GaugeHistogram,
            "summary" => Self::Summary,
            "info" => Self::Info,
            "stateset" => Self::StateSet,
            _ => Self::Plain,
        }
    }

    /// What the names of its samples end with.
    pub(super) fn suffixes(self) -> &'static [&'static str] {
        match self {
            Self::Plain | Self::StateSet => &[""],
            Self::Counter => &["_total", "_created"],
            Self::Histogram => &["_bucket", "_count", "_sum", "_created"],
            Self::GaugeHistogram => &["_bucket", "_gcount", "_gsum"],
            Self::Summary => &["", "_count", "_sum", "_created"],
            Self::Info => &["_info"],
        }
    }
}

/// All that begin a part of a family's name.
const SUFFIXES: [&str; 8] = ["_total", "_created", "_bucket", "_count", "_sum", "_gcount", "_gsum", "_info"];

/// A family and the metrics (by the names of their samples) that are its parts.
#[derive(Debug)]
pub(super) struct Family<'a> {
    pub(super) name: String,
    pub(super) kind: Kind,
    /// Under which name the store knows of it, and what.
    pub(super) known: Option<(&'a str, &'a Metadata)>,
    pub(super) parts: Vec<&'a str>,
    /// Why it cannot be what its type says.
    pub(super) weak: Option<String>,
}

impl Family<'_> {
    /// All names that no other family may have for itself or one of its samples.
    fn claims(&self) -> impl Iterator<Item = String> + '_ {
        let itself = (!self.kind.suffixes().contains(&"")).then(|| self.name.clone());
        self.kind.suffixes().iter().map(|suffix| format!("{}{suffix}", self.name)).chain(itself)
    }
}

/// Puts metrics together into families, by what is known of them. Those whose names would be those of others, too, are
/// weak: a text where a name is there twice is refused. O(n log n) for n metrics.
pub(super) fn families<'a>(
    metrics: impl Iterator<Item = &'a str>,
    metadata: &'a BTreeMap<String, Metadata>,
) -> Vec<Family<'a>> {
    let mut families = BTreeMap::<(String, u8), Family<'a>>::new();
    for metric in metrics {
        let found = of(metric, metadata);
        let key = (found.name.clone(), found.kind as u8);
        match families.get_mut(&key) {
            Some(family) => {
                family.parts.push(metric);
                // What is known under the name of the sample itself comes first, of a counter or info; of the others what is
                // known under the family's.
                let is_better = |(name, _): (&str, _)| match family.kind {
                    Kind::Counter | Kind::Info => name == metric,
                    _ => name == family.name,
                };
                if found.known.is_some_and(is_better) {
                    family.known = found.known;
                }
            }
            None => drop(families.insert(key, found)),
        }
    }
    let mut families: Vec<Family<'a>> = families.into_values().collect();
    let mut claimed = HashMap::<String, u32>::new();
    for name in families.iter().flat_map(Family::claims) {
        *claimed.entry(name).or_default() += 1;
    }
    for family in families.iter_mut().filter(|family| family.kind != Kind::Plain) {
        let taken = family.claims().find(|name| claimed[name] > 1);
        if let Some(name) = taken {
            family.weak = Some(format!("another family has the name {name}"));
        }
    }
    families
}

/// The family of one metric.
fn of<'a>(metric: &'a str, metadata: &'a BTreeMap<String, Metadata>) -> Family<'a> {
    let family = |name: &str, kind, known: Option<(&'a String, &'a Metadata)>, weak: Option<&str>| Family {
        name: name.to_owned(),
        kind,
        known: known.map(|(name, known)| (name.as_str(), known)),
        parts: vec![metric],
        weak: weak.map(str::to_owned),
    };
    let own = metadata.get_key_value(metric);
    let weak = |why| family(metric, Kind::Plain, own, Some(why));
    let behind = |suffix: &str| metric.strip_suffix(suffix).filter(|stem: &&str| !stem.is_empty());
    if let Some((stem, kind)) = own.and_then(|(_, known)| told_by_part(metric, Kind::of(&known.kind), metadata)) {
        let of_stem = metadata.get_key_value(stem).filter(|(_, known)| Kind::of(&known.kind) == kind);
        return family(stem, kind, of_stem.or(own), None);
    }
    for (suffix, stem) in SUFFIXES.iter().filter_map(|suffix| Some((suffix, behind(suffix)?))) {
        // Some say of it that it is a gauge, or repeat the family's type.
        let says_nothing = |kind: &str| is_loose(kind) || *suffix == "_created" && matches!(kind, "gauge" | "counter");
        if own.is_some_and(|(_, known)| !says_nothing(&known.kind)) {
            continue;
        }
        let known = metadata.get_key_value(stem).filter(|(_, known)| Kind::of(&known.kind).suffixes().contains(suffix));
        if let Some((_, Metadata { kind, .. })) = known {
            return family(stem, Kind::of(kind), known, None);
        }
        if *suffix != "_created" {
            continue;
        }
        let total = metadata.get_key_value(&format!("{stem}_total")).filter(|(_, known)| known.kind == "counter");
        if total.is_some() {
            return family(stem, Kind::Counter, total, None);
        }
        for part in ["_bucket", "_count"] {
            let part = metadata.get_key_value(&format!("{stem}{part}"));
            let told = part.and_then(|(name, known)| told_by_part(name, Kind::of(&known.kind), metadata));
            if let Some((_, kind)) = told.filter(|(_, kind)| kind.suffixes().contains(suffix)) {
                return family(stem, kind, part, None);
            }
        }
    }
    if let Some((_, known)) = own.filter(|(_, known)| !known.kind.is_empty()) {
        return match (Kind::of(&known.kind), behind("_total"), behind("_info")) {
            (Kind::Counter, Some(stem), _) => family(stem, Kind::Counter, own, None),
            (Kind::Counter, None, _) => weak("the samples of a counter are called _total"),
            (Kind::Info, _, Some(stem)) => family(stem, Kind::Info, own, None),
            (Kind::Info, _, None) => weak("the samples of an info are called _info"),
            (Kind::Histogram | Kind::GaugeHistogram, ..) => weak("a histogram has no sample of its own name"),
            (kind, ..) => family(metric, kind, own, None),
        };
    }
    family(metric, Kind::Plain, own, None)
}

/// Whether a type says nothing that another one, told elsewhere, would not say better.
pub(crate) fn is_loose(kind: &str) -> bool {
    matches!(kind, "" | "unknown" | "untyped")
}

/// Remote write tells the type of a family under the name of each of its series: the family of `metric`, which is told to
/// be of the type `kind`, if it is such a part.
fn told_by_part<'m>(metric: &'m str, kind: Kind, metadata: &BTreeMap<String, Metadata>) -> Option<(&'m str, Kind)> {
    let is_told = |name: &str| metadata.get(name).is_some_and(|known| Kind::of(&known.kind) == kind);
    let is_part = |stem: &str| match kind {
        Kind::Histogram | Kind::GaugeHistogram => true,
        // A summary may be called `x_count` itself. Parts do not come alone.
        Kind::Summary => {
            let names = ["", "_count", "_sum"].map(|suffix| format!("{stem}{suffix}"));
            names.iter().any(|name| name != metric && is_told(name))
        }
        _ => false,
    };
    let suffixes = kind.suffixes().iter().filter(|suffix| !suffix.is_empty());
    let stems = suffixes.filter_map(|suffix| metric.strip_suffix(suffix));
    stems.filter(|stem| !stem.is_empty()).find(|stem| is_part(stem)).map(|stem| (stem, kind))
}

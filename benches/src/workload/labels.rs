//! The label sets of the workloads.

use super::Kind;
use crate::checksum::{LabelsHash, hash_labels};

/// Metrics of each host.
pub const METRICS: u32 = 10;

const METRIC_NAMES: [&str; METRICS as usize] = [
    "cpu_usage_user",
    "cpu_usage_system",
    "cpu_usage_idle",
    "cpu_usage_nice",
    "cpu_usage_iowait",
    "cpu_usage_irq",
    "cpu_usage_softirq",
    "cpu_usage_steal",
    "cpu_usage_guest",
    "cpu_usage_guest_nice",
];

const REGIONS: [&str; 9] = [
    "us-east-1",
    "us-west-1",
    "us-west-2",
    "eu-west-1",
    "eu-central-1",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-northeast-1",
    "sa-east-1",
];

/// A label set as names and values, names ascending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pairs(Vec<(&'static str, String)>);

impl Pairs {
    /// As borrowed pairs.
    #[must_use]
    pub fn borrowed(&self) -> Vec<(&str, &str)> {
        self.0.iter().map(|(name, value)| (*name, value.as_str())).collect()
    }

    /// The hash that checksums of this series' samples use.
    #[must_use]
    pub fn hash(&self) -> LabelsHash {
        hash_labels(self.0.iter().map(|(name, value)| (*name, value.as_str())))
    }

    /// A PromQL selector that picks just the series with these labels.
    #[must_use]
    pub fn selector(&self) -> String {
        let matchers: Vec<String> = self.0.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        format!("{{{}}}", matchers.join(","))
    }

    /// The value of one label.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| *n == name).map(|(_, value)| value.as_str())
    }
}

pub(super) fn of(kind: Kind, slots: u32, series: u64) -> Pairs {
    if kind == Kind::W3 {
        return Pairs(vec![("__name__", "tide_level".into()), ("host", "host_0".into())]);
    }
    let slot = series % u64::from(slots);
    let (host, metric) = (slot / u64::from(METRICS), (slot % u64::from(METRICS)) as usize);
    let region = REGIONS[(host % REGIONS.len() as u64) as usize];
    let zone = ["a", "b", "c"][(host / REGIONS.len() as u64 % 3) as usize];
    let mut pairs = vec![
        ("__name__", METRIC_NAMES[metric].to_owned()),
        ("datacenter", format!("{region}{zone}")),
        ("host", format!("host_{host}")),
    ];
    if kind == Kind::Churn {
        pairs.push(("pod", format!("pod_{host}_{}", series / u64::from(slots))));
    }
    pairs.push(("region", region.to_owned()));
    Pairs(pairs)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_series_has_its_own_labels_with_names_ascending() {
        for kind in [Kind::W1, Kind::W2, Kind::Churn] {
            let mut seen = HashSet::new();
            for series in 0..9_000 {
                let pairs = of(kind, 4_000, series);
                assert!(pairs.0.windows(2).all(|w| w[0].0 < w[1].0));
                let fresh = seen.insert(pairs.hash());
                assert_eq!(fresh, kind == Kind::Churn || series < 4_000, "{kind} {series}");
            }
        }
    }

    #[test]
    fn w1_has_400_hosts_with_10_metrics_each() {
        let all: Vec<Pairs> = (0..4_000).map(|s| of(Kind::W1, 4_000, s)).collect();
        let of_name = |name| all.iter().map(|p| p.get(name).unwrap()).collect::<HashSet<_>>().len();
        assert_eq!((of_name("host"), of_name("__name__"), of_name("region"), of_name("datacenter")), (400, 10, 9, 27));
        assert_eq!(
            all[13].selector(),
            r#"{__name__="cpu_usage_nice",datacenter="us-west-1a",host="host_1",region="us-west-1"}"#
        );
    }
}

//! The labels of a collected series: its own, and those of the target it comes from.

use std::borrow::Cow;

use crate::exposition::{LineError, Pair, SeriesText};

const JOB: &str = "job";
const INSTANCE: &str = "instance";
const PREFIX: &str = "exported_";

/// Adds `job` and `instance`. Where the series has such a label itself, its own is renamed:
/// the target's word on where it runs does not count.
pub(super) fn with_target<'a>(
    series: SeriesText<'a>,
    job: &'a str,
    instance: &'a str,
) -> Result<Vec<Pair<'a>>, LineError> {
    let mut labels = series.labels()?;
    for reserved in [JOB, INSTANCE] {
        let Some(at) = labels.iter().position(|(name, value)| name == reserved && !value.is_empty()) else {
            labels.retain(|(name, _)| name != reserved);
            continue;
        };
        let mut renamed = format!("{PREFIX}{reserved}");
        while labels.iter().any(|(name, _)| *name == renamed) {
            renamed.insert_str(0, PREFIX);
        }
        labels[at].0 = Cow::Owned(renamed);
    }
    labels.push((Cow::Borrowed(JOB), Cow::Borrowed(job)));
    labels.push((Cow::Borrowed(INSTANCE), Cow::Borrowed(instance)));
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> Vec<String> {
        let (series, _) = SeriesText::split(text.as_bytes()).unwrap();
        let labels = with_target(series, "j", "i:1").unwrap();
        labels.iter().map(|(name, value)| format!("{name}={value}")).collect()
    }

    #[test]
    fn the_target_names_job_and_instance_and_its_own_are_renamed() {
        assert_eq!(labels("a"), ["__name__=a", "job=j", "instance=i:1"]);
        assert_eq!(
            labels(r#"a{job="x",exported_job="y",instance=""}"#),
            ["__name__=a", "exported_exported_job=x", "exported_job=y", "job=j", "instance=i:1"]
        );
    }
}

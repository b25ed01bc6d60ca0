//! The configuration file: TOML or YAML, told apart by the file's ending.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use tidegauge::Durability;

use super::ConfigError;
use super::kept::{Bound, KeepRule, parse_age, parse_size};
use crate::scrape::Target;
use crate::units::{parse_bytes, parse_duration};

/// More than any sane configuration; a wrong path to a huge file is not read into memory.
const BYTES_MAX: u64 = 1 << 20;

/// The same names as the flags, with `_` for `-`; what `--no-…` switches off is `false` here. A key that is not known is refused, so that a typing
/// error does not pass for a setting.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ConfigFile {
    pub(super) data_dir: Option<PathBuf>,
    pub(super) listen: Option<String>,
    #[serde(deserialize_with = "from_text")]
    pub(super) durability: Option<Durability>,
    #[serde(deserialize_with = "list")]
    pub(super) scrape: Vec<Target>,
    #[serde(deserialize_with = "duration")]
    pub(super) scrape_interval: Option<Duration>,
    pub(super) host_metrics: Option<bool>,
    #[serde(deserialize_with = "age")]
    pub(super) retention: Option<Bound<Duration>>,
    #[serde(deserialize_with = "size")]
    pub(super) retention_size: Option<Bound<u64>>,
    #[serde(deserialize_with = "list")]
    pub(super) retention_rules: Vec<KeepRule>,
    #[serde(deserialize_with = "bytes")]
    pub(super) query_memory: Option<u64>,
    pub(super) query_concurrency: Option<usize>,
    #[serde(deserialize_with = "duration")]
    pub(super) series_idle: Option<Duration>,
    pub(super) enable_admin_api: bool,
    pub(super) experimental: Option<bool>,
    pub(super) insecure: bool,
}

impl ConfigFile {
    /// Reads and parses the whole file.
    pub(super) fn read(path: &Path) -> Result<Self, ConfigError> {
        let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
        let bytes = std::fs::metadata(path).map_err(unreadable)?.len();
        if bytes > BYTES_MAX {
            return Err(ConfigError::Malformed { path: path.to_owned(), what: "larger than 1 MiB".to_owned() });
        }
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        let ending = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        let parsed = match ending {
            "yaml" | "yml" => yaml(&text),
            "toml" => toml::from_str(&text).map_err(|e| first_line(&e)),
            _ => Err("the name must end in .toml, .yaml or .yml".to_owned()),
        };
        parsed.map_err(|what| ConfigError::Malformed { path: path.to_owned(), what })
    }
}

fn yaml(text: &str) -> Result<ConfigFile, String> {
    // A file of nothing but comments is an empty document, which is no mapping.
    let empty = text.lines().all(|l| l.trim().is_empty() || l.trim_start().starts_with('#'));
    if empty { Ok(ConfigFile::default()) } else { serde_saphyr::from_str(text).map_err(|e| first_line(&e)) }
}

/// The parsers draw pictures of the place; the one-line report keeps the words.
fn first_line(error: &dyn Display) -> String {
    let text = error.to_string();
    let words: Vec<&str> = text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.contains('|')).collect();
    words.join(": ")
}

fn from_text<'de, D, T>(from: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: std::str::FromStr<Err: Display>,
{
    let text = Option::<String>::deserialize(from)?;
    text.map(|t| t.parse().map_err(serde::de::Error::custom)).transpose()
}

fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    in_units(from, parse_duration)
}

fn bytes<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    in_units(from, parse_bytes)
}

fn age<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Bound<Duration>>, D::Error> {
    in_units(from, parse_age)
}

fn size<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Bound<u64>>, D::Error> {
    in_units(from, parse_size)
}

fn in_units<'de, D: Deserializer<'de>, T, E: Display>(
    from: D,
    parse: fn(&str) -> Result<T, E>,
) -> Result<Option<T>, D::Error> {
    let text = Option::<String>::deserialize(from)?;
    text.map(|t| parse(&t).map_err(serde::de::Error::custom)).transpose()
}

fn list<'de, D, T>(from: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: std::str::FromStr<Err: Display>,
{
    let texts = Vec::<String>::deserialize(from)?;
    texts.iter().map(|text| text.parse().map_err(serde::de::Error::custom)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, text: &str) -> Result<ConfigFile, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        ConfigFile::read(&path)
    }

    #[test]
    fn toml_and_yaml_say_the_same() {
        let toml = read("a.toml", "durability = \"sync\"\nscrape = [\"http://a/metrics\"]\nscrape_interval = \"5s\"\n");
        let yaml = read("a.yaml", "durability: sync\nscrape:\n  - http://a/metrics\nscrape_interval: 5s\n");
        for file in [toml.unwrap(), yaml.unwrap()] {
            assert_eq!(file.durability.unwrap().to_string(), "sync");
            assert_eq!(file.scrape.iter().map(Target::url).collect::<Vec<_>>(), ["http://a/metrics"]);
            assert_eq!(file.scrape_interval, Some(Duration::from_secs(5)));
        }
        assert!(read("empty.yaml", "# nothing\n").unwrap().scrape.is_empty());
        assert!(read("empty.toml", "").unwrap().listen.is_none());
    }

    #[test]
    fn what_is_kept_is_said_as_on_the_command_line() {
        let toml =
            "retention = \"90d\"\nretention_size = \"50GiB\"\nretention_rules = ['{job=\"a\"}=7d', 'up=forever']\n";
        let yaml = "retention: 90d\nretention_size: 50GiB\nretention_rules:\n  - '{job=\"a\"}=7d'\n  - up=forever\n";
        for file in [read("a.toml", toml).unwrap(), read("a.yaml", yaml).unwrap()] {
            let age = Bound::At(Duration::from_secs(90 * 86_400));
            assert_eq!((file.retention, file.retention_size), (Some(age), Some(Bound::At(50 << 30))));
            let rules: Vec<String> = file.retention_rules.iter().map(ToString::to_string).collect();
            assert_eq!(rules, ["{job=\"a\"}=7d", "up=forever"]);
        }
        let lifted = read("a.yaml", "retention: forever\nretention_size: none\n").unwrap();
        assert_eq!((lifted.retention, lifted.retention_size), (Some(Bound::Lifted), Some(Bound::Lifted)));
    }

    #[test]
    fn mistakes_are_named_in_one_line() {
        for (name, text, word) in [
            ("a.toml", "scrap = [\"x\"]", "scrap"),
            ("a.yaml", "scrap:\n  - x\n", "scrap"),
            ("a.toml", "scrape_interval = \"5 parsecs\"", "parsecs"),
            ("a.yaml", "durability: maybe\n", "maybe"),
            ("a.toml", "query_memory = \"2 elephants\"", "elephants"),
            ("a.toml", "retention = \"-5d\"", "positive"),
            ("a.yaml", "retention_size: 50\n", "is no size"),
            ("a.yaml", "retention_rules:\n  - '{job=\"debug\"}'\n", "no rule"),
            ("a.toml", "listen = ", "line 1"),
            ("a.toml", "scrape = [\"ftp://a\"]", "ftp"),
            ("a.ini", "", ".toml"),
        ] {
            let refused = read(name, text).unwrap_err().to_string();
            assert!(refused.contains(word) && !refused.contains('\n'), "{name}: {refused}");
        }
        assert!(matches!(ConfigFile::read(Path::new("/nowhere/x.toml")), Err(ConfigError::Unreadable { .. })));
    }
}

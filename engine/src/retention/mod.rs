//! How long and how much is kept: what snapshots do not show any more, and what goes for good.
//!
//! Rules: `docs/compaction.md`, "Retention". What a rule hides is hidden at once, by the clock, when a snapshot
//! is taken; the compactor gives the space back.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tidegauge_query::promql::matchers_text;
#[cfg(feature = "internals")]
use tidegauge_storage::manifest::Horizon;
use tidegauge_storage::manifest::{Edit, ManifestError, Retention, RetentionRule, State};
use tidegauge_storage::model::{Matcher, Timestamp};
use tidegauge_storage::source::AgeMask;

use crate::audit::{Act, Entry};
use crate::clock;
use crate::error::RetentionError;
use crate::gate::{Shortage, Shut};
use crate::life::Life;
use crate::sync::ArcCell;

/// A shorter age would hide what was hardly pushed.
const AGE_MIN: Duration = Duration::from_secs(1);
/// The compactor's horizons move in steps of this part of an age: what it counted stays right for a while.
const STEPS: i64 = 32;

/// What is kept now. Read by every snapshot.
pub(crate) struct Kept {
    current: ArcCell<Rules>,
    /// The latest time before which anything was dropped since the opening.
    #[cfg(feature = "internals")]
    dropped_before: crate::sync::atomic::AtomicI64,
}

#[derive(Clone)]
struct Rules {
    retention: Retention,
    /// The matchers of each rule, to be shared with snapshots.
    matchers: Vec<Arc<[Matcher]>>,
}

impl Rules {
    fn new(retention: Retention) -> Self {
        let matchers = retention.rules.iter().map(|rule| rule.matchers.clone().into()).collect();
        Self { retention, matchers }
    }

    fn is_all_kept(&self) -> bool {
        self.retention.rules.is_empty()
    }

    /// What is hidden, where `before` tells what is older than an age.
    fn ages(&self, before: impl Fn(Duration) -> Timestamp) -> Arc<[AgeMask]> {
        let rules = self.retention.rules.iter().zip(&self.matchers);
        let ages = rules.map(|(rule, matchers)| {
            let horizon = rule.max_age.map_or(Timestamp::MIN, &before);
            AgeMask { matchers: Arc::clone(matchers), horizon }
        });
        let mut ages: Vec<AgeMask> = ages.collect();
        // The first rule for all series is the last one that matters; without it, series may have no rule.
        match ages.iter().position(|age| age.matchers.is_empty()) {
            Some(last) => ages.truncate(last + 1),
            None => ages.push(AgeMask { matchers: Arc::default(), horizon: Timestamp::MIN }),
        }
        ages.into()
    }
}

fn before(now: Timestamp, age: Duration) -> Timestamp {
    Timestamp::from_nanos(now.nanos().saturating_sub(nanos(age)))
}

/// What lies before this is older at `now` than `age`, all of it in nanoseconds: rounded down, so that it stays for a while.
pub(crate) fn coarse_horizon(now: i64, age: i64) -> i64 {
    let step = (age / STEPS).max(1);
    now.saturating_sub(age).div_euclid(step).saturating_mul(step)
}

fn nanos(age: Duration) -> i64 {
    i64::try_from(age.as_nanos()).unwrap_or(i64::MAX)
}

impl Kept {
    pub(crate) fn new(state: &State) -> Self {
        Self {
            current: ArcCell::new(Arc::new(Rules::new(state.retention.clone()))),
            #[cfg(feature = "internals")]
            dropped_before: crate::sync::atomic::AtomicI64::new(i64::MIN),
        }
    }

    /// What a snapshot taken now must hide; `None` if everything is kept, for which no clock is read.
    pub(crate) fn ages(&self) -> Option<Arc<[AgeMask]>> {
        let rules = self.current.peek();
        (!rules.is_all_kept()).then(|| {
            let now = clock::now();
            rules.ages(|age| before(now, age))
        })
    }

    /// What is older is shown of no series. Reads the clock where rules hide what is old.
    pub(crate) fn from(&self) -> Timestamp {
        let rules = self.current.peek();
        let Rules { retention, matchers } = &*rules;
        // As `ages`: the first rule for all series is the last one that matters, and without it some may have no rule.
        let Some(for_all) = matchers.iter().position(|matchers| matchers.is_empty()) else { return Timestamp::MIN };
        let longest = retention.rules[..=for_all].iter().map(|rule| rule.max_age.unwrap_or(Duration::MAX)).max();
        let longest = longest.filter(|age| *age != Duration::MAX);
        longest.map_or(Timestamp::MIN, |age| before(clock::now(), age))
    }

    /// What compaction may leave out: some of what is hidden, and the same for a while.
    pub(crate) fn coarse_ages(&self) -> Arc<[AgeMask]> {
        let rules = self.current.load();
        if rules.is_all_kept() {
            return Arc::default();
        }
        let now = clock::now().nanos();
        rules.ages(|age| Timestamp::from_nanos(coarse_horizon(now, nanos(age))))
    }

    /// Whether all that `ages` hide is hidden by the rules in force, too.
    pub(crate) fn hides(&self, ages: &[AgeMask]) -> bool {
        let hidden = self.ages().unwrap_or_default();
        let same = |(then, now): (&AgeMask, &AgeMask)| then.matchers == now.matchers && then.horizon <= now.horizon;
        ages.is_empty() || (ages.len() == hidden.len() && ages.iter().zip(&*hidden).all(same))
    }

    pub(crate) fn retention(&self) -> Retention {
        self.current.load().retention.clone()
    }

    /// Whether nothing is hidden, nor will be.
    pub(crate) fn keeps_all(&self) -> bool {
        let rules = self.current.load();
        rules.is_all_kept() && rules.retention.max_bytes.is_none()
    }

    /// What lies before these times was dropped.
    #[cfg(feature = "internals")]
    pub(crate) fn note_dropped(&self, horizons: &[Horizon]) {
        for horizon in horizons {
            // Relaxed: asked by tests, once it is over.
            self.dropped_before.fetch_max(horizon.before.nanos(), crate::sync::atomic::Ordering::Relaxed);
        }
    }

    #[cfg(feature = "internals")]
    pub(crate) fn dropped_before(&self) -> Timestamp {
        Timestamp::from_nanos(self.dropped_before.load(crate::sync::atomic::Ordering::Relaxed))
    }

    /// Bytes of all segments at most.
    pub(crate) fn max_bytes(&self) -> Option<u64> {
        self.current.load().retention.max_bytes
    }

    /// How long the rules that matter keep what they name, in nanoseconds, ascending.
    pub(crate) fn rule_ages(&self) -> Arc<[i64]> {
        let rules = self.current.load();
        let for_all = rules.matchers.iter().position(|matchers| matchers.is_empty());
        let matter = for_all.map_or(rules.matchers.len(), |last| last + 1);
        let ages = rules.retention.rules[..matter].iter().filter_map(|rule| rule.max_age);
        ages.map(nanos).collect::<BTreeSet<i64>>().into_iter().collect()
    }

    /// The manifest has this retention.
    pub(crate) fn changed(&self, retention: Retention) {
        self.current.store(Arc::new(Rules::new(retention)));
    }
}

/// `{job="debug"}=604800s`, as the agent reads rules (`--retention-rule`); that of all other series has no matchers.
pub(crate) fn rule_text(rule: &RetentionRule) -> String {
    let age = match rule.max_age {
        None => "forever".to_owned(),
        Some(age) if age.subsec_nanos() == 0 => format!("{}s", age.as_secs()),
        Some(age) => format!("{}s{}ns", age.as_secs(), age.subsec_nanos()),
    };
    format!("{}={age}", matchers_text(&rule.matchers))
}

impl Life {
    /// Replaces the rules; durable and in force on return.
    pub(crate) fn set_retention(&self, retention: Retention) -> Result<(), RetentionError> {
        if retention.rules.iter().any(|rule| rule.max_age.is_some_and(|age| age < AGE_MIN)) {
            return Err(RetentionError::Senseless { what: "an age below a second" });
        }
        if retention.max_bytes == Some(0) {
            return Err(RetentionError::Senseless { what: "a size of nothing" });
        }
        if !retention.fits() {
            return Err(RetentionError::TooLarge);
        }
        let committed = {
            // On a full disk, too: a rule is how it is kept from filling again.
            let mut manifest = self.manifest_to_change().map_err(|shut| match shut {
                Shut::ReadOnly => RetentionError::ReadOnly,
                Shut::Poisoned(poisoned) => poisoned.into(),
                Shut::Closed | Shut::Short(_) => RetentionError::Closed,
            })?;
            let committed = manifest.commit(&[Edit::Retention(retention.clone())]);
            if committed.is_ok() {
                self.core.kept.changed(retention.clone());
            }
            committed
        };
        // Without the lock: poison wakes those who wait, and their wakers are other people's code.
        committed.map_err(|e| match e {
            ManifestError::NoSpace { source, .. } => Shortage::of(&source).into(),
            e if e.changes_nothing() => RetentionError::NotNoted { cause: e.to_string() },
            e => {
                self.core.poison(format!("a retention rule cannot be committed: {e}"));
                self.core.gate.poisoned().map_or(RetentionError::Closed, RetentionError::Poisoned)
            }
        })?;
        let rules: Vec<String> = retention.rules.iter().map(rule_text).collect();
        let rules = rules.join(", ");
        let entry = Entry::new(Act::Retention).text("rules", &rules);
        let entry = entry.number("max_bytes", retention.max_bytes.map_or(-1, i128::from));
        self.record(entry, || {
            format!("a change of the retention to {{rules: {rules:?}, max_bytes: {:?}}}", retention.max_bytes)
        });
        self.core.compactions.tell();
        Ok(())
    }
}

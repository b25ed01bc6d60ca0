//! Stores in turn, as often as was asked for, and the median of what each came to: what a neighbour does to the machine
//! in one turn does not decide between them.

use std::path::Path;

use serde::Serialize;
use tidegauge::Durability;

use crate::apart::{self, Outcome};
use crate::measure::Measured;
use crate::{Options, servers, stores};

/// One store at one durability that it is asked for.
type Place = (&'static str, Durability);

/// A store without figures.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct LeftOut {
    pub(crate) store: String,
    pub(crate) why: String,
}

/// What all turns came to.
pub(crate) struct Turns {
    places: Vec<(Place, Vec<Measured>)>,
    pub(crate) left_out: Vec<LeftOut>,
    /// No store failed, or gave back something wrong.
    pub(crate) fine: bool,
}

impl Turns {
    /// Takes them all. Some stores know only one durability: ours is measured at one that promises no less, too.
    pub(crate) fn take(options: &Options, folder: &Path) -> Self {
        Self::take_with(options, |(store, durability)| apart::run(store, durability, folder, options))
    }

    fn take_with(options: &Options, measure: impl Fn(Place) -> Result<Outcome, crate::store::Error>) -> Self {
        let is_asked = |name: &str| options.only_or_all(name);
        let all = stores::names().into_iter().chain(servers::NAMES);
        let asked = all.filter(|&name| name == stores::OURS || is_asked(name));
        let mut turns = Self { places: Vec::new(), left_out: Vec::new(), fine: true };
        turns.places = asked.map(|name| ((name, options.durability), Vec::new())).collect();
        turns.once(0, &measure);
        let known = turns.places.len();
        let more = turns.beside();
        turns.places.extend(more.into_iter().map(|place| (place, Vec::new())));
        turns.once(known, &measure);
        for _ in 1..options.runs {
            turns.once(0, &measure);
        }
        turns
    }

    /// One turn of each from this one on. Who cannot be measured has no other turn.
    fn once(&mut self, from: usize, measure: &impl Fn(Place) -> Result<Outcome, crate::store::Error>) {
        let (left_out, fine) = (&mut self.left_out, &mut self.fine);
        let mut leave_out = |(store, durability): Place, why: String| {
            eprintln!("  left out: {why}");
            left_out.push(LeftOut { store: format!("{store}, {durability}"), why });
            false
        };
        let mut number = 0;
        self.places.retain_mut(|(place, results)| {
            number += 1;
            if number <= from {
                return true;
            }
            eprintln!("{}, {} …", place.0, place.1);
            match measure(*place) {
                Ok(Outcome::Measured(result)) => {
                    *fine &= result.wrong.is_empty();
                    results.push(*result);
                    true
                }
                Ok(Outcome::NotInstalled) => leave_out(*place, servers::how_to_get(place.0).to_owned()),
                Err(error) => {
                    *fine = false;
                    leave_out(*place, error.to_string())
                }
            }
        });
    }

    /// Ours at the durabilities that others stand at and it was not asked for: in process beside those in process, as a
    /// server, where it is one of those asked for, beside servers.
    fn beside(&self) -> Vec<Place> {
        let has = |wanted: &str| self.places.iter().any(|((name, _), _)| *name == wanted);
        let mut more: Vec<Place> = Vec::new();
        for ((_, asked), results) in &self.places {
            for result in results {
                let ours = if result.server { servers::OURS } else { stores::OURS };
                let Ok(level) = result.level.parse::<Durability>() else { continue };
                if level != *asked && has(ours) && !more.contains(&(ours, level)) {
                    more.push((ours, level));
                }
            }
        }
        more
    }

    /// The medians of each store's turns.
    pub(crate) fn results(&self) -> Vec<Measured> {
        self.places.iter().filter_map(|(_, results)| Measured::median(results)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use clap::Parser;

    use super::*;
    use crate::measure::tests::measured;

    #[test]
    fn stores_come_in_turn_and_ours_at_the_durabilities_of_the_others() {
        let options = "compare --only tidegauge-server,influxdb,prometheus --durability memory --runs 2";
        let options = Options::parse_from(options.split(' '));
        let order = RefCell::new(Vec::new());
        let turns = Turns::take_with(&options, |(store, durability)| {
            order.borrow_mut().push(format!("{store} {durability}"));
            let level = if store == "influxdb" { Durability::Sync } else { durability };
            let nth = order.borrow().len() as f64;
            match store {
                "prometheus" => Ok(Outcome::NotInstalled),
                _ => Ok(Outcome::Measured(Box::new(measured(store, &level.to_string(), nth * 1e6, &[])))),
            }
        });
        let first = ["tidegauge memory", "tidegauge-server memory"];
        let once = ["prometheus memory", "influxdb memory", "tidegauge-server sync"];
        let again = ["influxdb memory", "tidegauge-server sync"];
        assert_eq!(*order.borrow(), [&first[..], &once, &first, &again].concat());
        let [prometheus] = turns.left_out.as_slice() else { panic!("{:?}", turns.left_out) };
        assert!(prometheus.store == "prometheus, memory" && prometheus.why.contains("not installed"), "{prometheus:?}");
        let results: Vec<(String, f64, u32)> =
            turns.results().into_iter().map(|one| (one.name, one.samples_per_s / 1e6, one.runs)).collect();
        let of = |name: &str, median| (name.to_owned(), median, 2);
        // The means of turns 1 and 6, 2 and 7, 4 and 8, 5 and 9.
        let expected = [("tidegauge", 3.5), ("tidegauge-server", 4.5), ("influxdb", 6.0), ("tidegauge-server", 7.0)];
        assert_eq!(results, expected.map(|(name, median)| of(name, median)));
        assert!(turns.fine, "who is not there has done nothing wrong");
    }
}

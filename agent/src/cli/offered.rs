//! Values of options that a shell offers: some of those that are taken, or all.

use std::ffi::OsStr;
use std::marker::PhantomData;
use std::str::FromStr;

use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};
use clap::{Arg, Command, Error};

/// What `--durability` takes, with the interval that is the default for all others.
pub(crate) const DURABILITIES: [&str; 3] = ["memory", "interval:100ms", "sync"];

/// Reads a value as its type does, and says which ones there are: completions offer them.
pub(crate) struct Offered<T> {
    values: &'static [&'static str],
    read: PhantomData<fn() -> T>,
}

impl<T> Offered<T> {
    pub(crate) const fn new(values: &'static [&'static str]) -> Self {
        Self { values, read: PhantomData }
    }
}

impl<T> Clone for Offered<T> {
    fn clone(&self) -> Self {
        Self::new(self.values)
    }
}

impl<T> TypedValueParser for Offered<T>
where
    T: FromStr<Err: std::error::Error + Send + Sync + 'static> + Clone + Send + Sync + 'static,
{
    type Value = T;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<T, Error> {
        StringValueParser::new().try_map(|text| text.parse::<T>()).parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(self.values.iter().map(PossibleValue::new)))
    }
}

#[cfg(test)]
mod tests {
    use tidegauge::Durability;

    use super::*;
    use crate::import::{Format, TimeUnit};

    #[test]
    fn each_value_that_is_offered_is_taken() {
        assert!(Format::NAMES.iter().all(|name| name.parse::<Format>().is_ok()));
        assert!(TimeUnit::NAMES.iter().all(|name| name.parse::<TimeUnit>().is_ok()));
        let read: Vec<Durability> = DURABILITIES.iter().map(|name| name.parse().unwrap()).collect();
        assert!(read.contains(&Durability::DEFAULT), "{read:?}");
    }
}

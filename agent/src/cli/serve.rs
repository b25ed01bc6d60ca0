//! `tidegauge serve`.

use super::Failure;
use crate::config::{self, ServeArgs, Settings};

pub(super) fn run(args: ServeArgs) -> Result<(), Failure> {
    let settings: Settings = config::settle(args).map_err(Failure::usage)?;
    crate::serve::run(settings)
}

//! What is done on a store while it is pushed into: questions with known answers, and a steady load.

mod asker;
mod beside;
mod load;
mod soak;

pub use beside::{Beside, Half, Pair, measure as beside};
pub use soak::{Soak, Window, soak};

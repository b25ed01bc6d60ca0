//! The Tidegauge agent.
fn main() {}

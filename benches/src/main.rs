//! The Tidegauge benchmark driver.
fn main() {}

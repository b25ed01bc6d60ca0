//! Tidegauge.

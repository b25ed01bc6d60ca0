//! The text formats in which exporters show their metrics.

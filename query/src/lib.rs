//! Queries over a Tidegauge snapshot.
#![forbid(unsafe_code)]

// questions in Prometheus' language
pub mod promql;

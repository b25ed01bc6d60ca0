//! Queries over a Tidegauge snapshot.
//!
//! A [`Selection`] names the series that pass some matchers; from there their samples
//! come out as columns, one series at a time or many in parallel, or aggregated by
//! window and label group. What each query shape costs is in `docs/query.md`.
//!
//! This crate reads a [`Snapshot`](tidegauge_storage::source::Snapshot) and nothing else:
//! it knows no ring, no memtable, no WAL, and starts no thread but those that [`Threads`] is told how to make.
#![forbid(unsafe_code)]

// which series
pub mod select;

// their samples, from all sources, in order
pub mod merge;

// what becomes of them
pub mod aggregate;

// questions in Prometheus' language
pub mod promql;

// how far a query may go, and what stopped it
mod error;
pub mod limits;

// how the work is spread
mod parallel;
mod threads;

pub use aggregate::{Aggregate, Aggregation, ResultSeries, Table};
pub use error::QueryError;
pub use limits::{Budget, Cancel, Held, Ledger, Limit, QueryLimits, ScanStats};
pub use select::{Cursor, Selection, Series};
pub use threads::Threads;
/// What an [`Evaluator`](promql::Evaluator) and a [`Selection`] work on.
pub use tidegauge_storage::source::Snapshot as Sources;

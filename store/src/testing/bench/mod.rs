//! What the benchmarks share: how load is made and timed, how figures are told, and a log to measure on.
//!
//! A benchmark is a program that prints one table and keeps it as JSON. It compares ways of doing the same
//! thing in one run on one PostgreSQL, because only such ratios mean something on another machine.

mod load;
mod report;
mod single;
mod workload;

pub use self::load::{Load, load};
pub use self::report::{Report, ratio};
pub use self::single::append_one;
pub use self::workload::{Ids, Workload};

//! Training.

mod history;

pub use history::EpochRecord;

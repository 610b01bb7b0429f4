//! NeuNcut: clustering by training a soft-max network, mini-batch by mini-batch, on a relaxed normalised cut.
//!
//! The modules below are in reading order: data enters at the top and leaves at the bottom, and a module
//! imports only from those above it.

#![warn(missing_docs)]

pub mod error;
pub mod random;
pub mod bending;
pub mod atomic;
pub mod resumable;
pub mod progress;
pub mod data;
pub mod scores;
pub mod ops;
pub mod cpu;
pub mod cuda;
pub mod eigen;
pub mod model;
pub mod network;
pub mod infinite_mnist;
pub mod learner;
pub mod features;
pub mod graph;
pub mod spectral;
pub mod estimate;
pub mod options;
pub mod values;
pub mod train;
pub mod problem;
pub mod validate;
pub mod predict;
pub mod bench;
pub mod run_folder;
pub mod report;
pub mod prepare;
pub mod memory;
pub mod baselines;
pub mod fit;

pub use error::{Error, Result};

//! The kernels on the CPU: one program, so that it is linked once and its long tests run side by side.

#[macro_use]
mod common;
#[path = "../../common/golden.rs"]
mod golden;
#[macro_use]
#[path = "../../common/operations.rs"]
mod operations;
#[path = "../../common/training.rs"]
mod shared_training;

mod autoencoder;
mod bench;
mod digits;
mod graphs;
mod infer;
mod launches;
mod mirror;
mod planted_bugs;
mod predict;
mod rounded;
mod scattering;
mod step;
mod tiles;
mod training;
mod wrappers;

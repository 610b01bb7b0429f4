//! A GPU for tests: runs the kernels of neuncut, compiled by g++, with the arguments that a card would get.
//!
//! What a card leaves undefined is made to show here: fresh memory holds NaN, copies beside the queue land as late as they may, and the
//! mode that the crate was built in decides what else is noticed (see [`Mode`]).

#![warn(missing_docs)]

mod emulator;
mod kernels;
mod memory;

pub use emulator::{Counts, Emulator, Event, Graph, Staging};
pub use kernels::{Kernel, files};

/// How kernels were compiled: the value of `NEUNCUT_EMULATOR_MODE` when this crate was built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Nothing is watched beyond what every mode watches: wrong values show as NaN, and misuse of collectives and copies is an error.
    Plain,
    /// Address and undefined-behaviour sanitizers: an access out of bounds, or misaligned, ends the process with a report.
    Sanitize,
    /// Accesses to shared memory that nothing orders are errors.
    Race,
}

/// The mode of this build.
pub const MODE: Mode = match env!("NEUNCUT_EMULATOR_MODE").as_bytes() {
    b"sanitize" => Mode::Sanitize,
    b"race" => Mode::Race,
    _ => Mode::Plain,
};

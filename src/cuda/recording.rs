//! A whole step as one CUDA graph: recorded when it is first made twice, replayed from then on.

use std::cell::Cell;
use std::rc::Rc;

use super::driver::Driver;
use super::gather::Feed;
use super::{Cuda, int};
use crate::error::Result;
use crate::ops::StepState;

/// The calls of a step, once recorded.
pub enum Recording<D: Driver> {
    /// Not made yet. The first time the calls are simply made: they may have to allocate, which a recording cannot hold.
    None,
    /// Made once.
    Warm,
    /// Recorded.
    Graph {
        /// The launches.
        graph: D::Graph,
        /// What the host does for each replay.
        host: Recorder<D>,
    },
}

impl<D: Driver> Default for Recording<D> {
    fn default() -> Self {
        Recording::None
    }
}

/// What the host has to do beside the launches of a recorded step.
pub struct Recorder<D: Driver> {
    /// Rows that come from the host, one entry for each gather.
    pub feeds: Vec<Rc<Feed<D>>>,
    /// States that the step advances.
    pub advanced: Vec<Rc<Cell<StepState>>>,
}

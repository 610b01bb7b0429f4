//! A whole step as one CUDA graph: made once as it is, recorded the second time, replayed from then on.

use std::cell::Cell;
use std::rc::Rc;

use super::Cuda;
use super::driver::Driver;
use super::gather::{Feed, advance_mirror};
use crate::error::Result;
use crate::ops::StepState;

/// The calls of a step, once recorded.
#[derive(Default)]
pub enum Recording<D: Driver> {
    #[default]
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

/// What the host has to do beside the launches of a recorded step.
pub struct Recorder<D: Driver> {
    /// Rows that come from the host, one entry for each gather.
    pub feeds: Vec<Rc<Feed<D>>>,
    /// States that the step advances.
    pub advanced: Vec<Rc<Cell<StepState>>>,
}

/// See [`Ops::step`](crate::ops::Ops::step).
pub fn step<D: Driver>(
    cuda: &Cuda<D>,
    recording: &mut Recording<D>,
    calls: &mut dyn FnMut() -> Result<()>,
) -> Result<()> {
    if cuda.profile.borrow().is_some() {
        return calls();
    }
    match recording {
        Recording::None => {
            calls()?;
            *recording = Recording::Warm;
            return Ok(());
        }
        Recording::Warm => {
            let recorder = Recorder {
                feeds: Vec::new(),
                advanced: Vec::new(),
            };
            cuda.recorder.replace(Some(recorder));
            let graph = cuda.driver.capture(&mut || {
                calls()?;
                cuda.join()
            });
            // Of a recording that failed nothing is left to wait for.
            cuda.aside.set(false);
            let host = cuda.recorder.take().expect("put there above");
            *recording = Recording::Graph { graph: graph?, host };
        }
        Recording::Graph { .. } => {}
    }
    let Recording::Graph { graph, host } = recording else {
        unreachable!("recorded above");
    };
    for feed in &host.feeds {
        feed.before_step(&cuda.driver)?;
    }
    cuda.driver.replay(graph)?;
    for feed in &host.feeds {
        feed.after_step(&cuda.driver)?;
    }
    for state in &host.advanced {
        advance_mirror(state);
    }
    Ok(())
}

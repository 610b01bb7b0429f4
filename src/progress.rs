//! How long work tells about itself, and learns that it should stop.

use crate::error::{Error, Result};

/// The audience of a long computation.
pub trait Progress {
    /// One statement of interest.
    fn line(&mut self, text: &str);
    /// A stage of `total` units begins.
    fn begin(&mut self, stage: &str, total: u64, unit: &'static str);
    /// `done` of the stage's units are done; `note` says more, or nothing.
    fn advance(&mut self, done: u64, note: &str);
    /// The stage is over.
    fn end(&mut self);
    /// Whether the user asked to stop.
    fn interrupted(&self) -> bool;

    /// Asked by work in between its parts; `at` says how far it has come.
    ///
    /// # Errors
    /// [`Error::Interrupted`], if the user asked to stop.
    fn not_interrupted(&self, at: &str) -> Result<()> {
        match self.interrupted() {
            true => Err(Error::Interrupted(at.into())),
            false => Ok(()),
        }
    }
}

/// Nobody who listens, but who may ask to stop.
pub struct Unheard<'a>(pub &'a dyn Fn() -> bool);

impl Progress for Unheard<'_> {
    fn line(&mut self, _: &str) {}
    fn begin(&mut self, _: &str, _: u64, _: &'static str) {}
    fn advance(&mut self, _: u64, _: &str) {}
    fn end(&mut self) {}
    fn interrupted(&self) -> bool {
        self.0()
    }
}

/// Nobody who listens.
pub struct Silent;

impl Progress for Silent {
    fn line(&mut self, _: &str) {}
    fn begin(&mut self, _: &str, _: u64, _: &'static str) {}
    fn advance(&mut self, _: u64, _: &str) {}
    fn end(&mut self) {}
    fn interrupted(&self) -> bool {
        false
    }
}

//! What the tests of training share: notes on how it goes, a stop before a given step, and results bit by bit.
#![allow(dead_code)] // each test file compiles this module anew and uses its own part of it

use std::collections::BTreeMap;
use std::path::Path;

use neuncut::error::Result;
use neuncut::model::Model;
use neuncut::ops::Real;
use neuncut::train::{Checkpoint, EpochRecord, Plan, Stage, Watch};
use neuncut::validate::Random;

/// Keeps what it is told, and stops before a given step.
#[derive(Default)]
pub struct Notes<R = f32> {
    pub records: Vec<EpochRecord>,
    pub stages: Vec<Stage>,
    pub checkpoints: Vec<Checkpoint<R>>,
    pub every_epoch: bool,
    pub steps_allowed: Option<usize>,
}

impl<R: Real> Watch<R> for Notes<R> {
    fn stage(&mut self, _: &Plan, stage: Stage) {
        self.stages.push(stage);
    }
    fn step(&mut self, _: usize, _: usize, _: usize, _: usize) {
        if let Some(left) = &mut self.steps_allowed {
            *left -= 1;
        }
    }
    fn epoch(&mut self, record: &EpochRecord) -> Result<()> {
        self.records.push(record.clone());
        Ok(())
    }
    fn wants_checkpoint(&mut self, _: usize) -> bool {
        self.every_epoch
    }
    fn checkpoint(&mut self, checkpoint: &Checkpoint<R>) -> Result<()> {
        self.checkpoints.push(checkpoint.clone());
        Ok(())
    }
    fn stop(&mut self) -> bool {
        self.steps_allowed == Some(0)
    }
}

impl<R: Real> Notes<R> {
    /// The last checkpoint of each attempt, saved to a folder and loaded from there.
    pub fn reloaded(&self, folder: &Path) -> Vec<Checkpoint<R>> {
        let last: BTreeMap<usize, &Checkpoint<R>> = self
            .checkpoints
            .iter()
            .map(|checkpoint| (checkpoint.stage.attempt, checkpoint))
            .collect();
        let reloaded = |(attempt, checkpoint): (usize, &Checkpoint<R>)| {
            let path = folder.join(format!("{attempt}.safetensors"));
            checkpoint.save(&path).unwrap();
            let loaded = Checkpoint::load(&path).unwrap();
            assert_eq!(&loaded, checkpoint, "what was saved is what is loaded");
            loaded
        };
        last.into_iter().map(reloaded).collect()
    }
}

/// `clouds` clouds on a grid of eighths, where all f32 distances between short rows are exact: every precision sees the
/// same neighbours.
pub fn rows(random: &Random, count: usize, d: usize, clouds: usize) -> Vec<f32> {
    (0..count * d)
        .map(|at| {
            let centre = if at / d % clouds == at % d { 4.0 } else { 0.0 };
            ((8.0 * (centre + random.normal())).round() / 8.0) as f32
        })
        .collect()
}

/// Parameters as bits, so that 0 and -0 differ.
pub fn bits<T: Real>(model: &Model<T>) -> Vec<u64> {
    let layers = model.layers.iter();
    layers
        .flat_map(|layer| {
            layer
                .weight
                .iter()
                .chain(&layer.bias)
                .map(|v| v.to_f64().to_bits())
        })
        .collect()
}

/// What records say, without the time it took.
pub fn told(records: &[EpochRecord]) -> Vec<EpochRecord> {
    let timeless = |record: &EpochRecord| EpochRecord {
        seconds: 0.0,
        ..record.clone()
    };
    records.iter().map(timeless).collect()
}

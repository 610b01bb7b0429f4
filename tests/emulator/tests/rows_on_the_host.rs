//! Trainings on rows that stay on the host because the device has no room for them: the same bits as with room.

mod common;

use common::seed;
use neuncut::cuda::{Cuda, Driver};
use neuncut::ops::{AdamRule, Cut, HeatKernel, Objective, Ops, Penalty, Precision, Volumes};
use neuncut::train::{Checkpoint, EpochRecord, Plan, StepRule, Watch, train};
use neuncut::validate::Random;
use neuncut::{Error, Result};
use neuncut_emulator::Emulator;

const ROWS: usize = 600;
const COLUMNS: usize = 64;

/// Room for a step, but not for the rows beside it: of the free memory they may take four fifths.
const LITTLE: u64 = 190_000;

/// Notes losses, and stops before a step, leaving a checkpoint.
struct Watcher {
    stop_before: usize,
    asked: usize,
    checkpoint: Option<Checkpoint>,
    losses: Vec<f64>,
}

impl Watcher {
    fn new(stop_before: usize) -> Self {
        Watcher {
            stop_before,
            asked: 0,
            checkpoint: None,
            losses: Vec::new(),
        }
    }
}

impl Watch for Watcher {
    fn step(&mut self, _: usize, _: usize, _: usize, _: usize) {}
    fn epoch(&mut self, record: &EpochRecord) -> Result<()> {
        self.losses.push(record.loss);
        Ok(())
    }
    fn wants_checkpoint(&mut self) -> bool {
        false
    }
    fn checkpoint(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        self.checkpoint = Some(checkpoint.clone());
        Ok(())
    }
    fn stop(&mut self) -> bool {
        self.asked += 1;
        self.asked > self.stop_before
    }
}

/// Epochs of an odd number of mini-batches: the first of one takes the place of the last of the one before.
fn plan() -> Plan {
    Plan {
        clusters: 3,
        hidden: vec![8],
        batch: 40,
        epochs: 3,
        learning_rate: 0.01,
        seed: seed("training"),
        rule: StepRule {
            kernel: HeatKernel {
                sigma: 8.0,
                neighbors: None,
            },
            objective: Objective {
                gamma: 3.0,
                penalty: Penalty::Squared,
                volumes: Volumes::Through,
                cut: Cut::Ncut,
            },
            adam: AdamRule::new(1e-4),
        },
    }
}

/// Parameters and losses, bit for bit, of a training that is interrupted before some step, if ever, and resumed.
fn trained(memory: u64, plan: &Plan, rows: &[f32], stop_before: usize) -> (Vec<u32>, Vec<u64>) {
    let cuda = Cuda::new(Emulator::new().with_memory(memory), Precision::Fp32);
    let mut data = cuda.training_rows(ROWS, COLUMNS).unwrap();
    let on_host = cuda.driver().free_memory().unwrap() == memory;
    assert_eq!(on_host, memory == LITTLE);
    cuda.upload(rows, &mut data, 0).unwrap();
    let mut watcher = Watcher::new(stop_before);
    let mut outcome = train(&cuda, plan, &data, None, None, &mut watcher);
    if let Err(Error::Interrupted(_)) = outcome {
        watcher.stop_before = usize::MAX;
        let checkpoint = watcher.checkpoint.take();
        assert!(checkpoint.is_some());
        outcome = train(&cuda, plan, &data, None, checkpoint, &mut watcher);
    }
    let model = outcome.unwrap();
    let parameters = model
        .layers
        .iter()
        .flat_map(|layer| layer.weight.iter().chain(&layer.bias));
    (
        parameters.map(|value| value.to_bits()).collect(),
        watcher.losses.iter().map(|loss| loss.to_bits()).collect(),
    )
}

#[test]
fn rows_from_the_host_give_the_bits_of_rows_on_the_device() {
    let plan = plan();
    let rows = Random::new(plan.seed, 0).normals(ROWS * COLUMNS, 1.0);
    let expected = trained(16 << 30, &plan, &rows, usize::MAX);
    assert_eq!(expected.1.len(), plan.epochs);
    assert!(trained(LITTLE, &plan, &rows, usize::MAX) == expected);
    // Interrupted within an epoch after an odd and an even number of steps, and between epochs.
    for stop_before in [18, 23, 30] {
        let found = trained(LITTLE, &plan, &rows, stop_before);
        assert!(found == expected, "interrupted before step {stop_before}");
    }
}

//! How fast training steps run: timed by the device's own clock where it has one, and held against counts of the work and
//! against what the device does at most, measured in the same run.

use std::time::Instant;

use crate::error::{Error, Result};
use crate::graph::Sampler;
use crate::model::Model;
use crate::network::download;
use crate::ops::{
    AdamRule, AffinityRule, Ceilings, Cut, HeatKernel, Objective, Ops, Penalty, Real, StepState, Volumes,
};
use crate::progress::Progress;
use crate::random::{Purpose, Stream};
use crate::train::{Step, StepRule, StepSize};

/// The size of a training step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepShape {
    /// Rows in the mini-batch, m.
    pub rows: usize,
    /// Features, d.
    pub dims: usize,
    /// Widths of the hidden layers.
    pub hidden: Vec<usize>,
    /// Clusters, k.
    pub clusters: usize,
}

impl StepShape {
    /// `mnist`: 10 clusters of digits, in 500 features.
    pub fn mnist() -> Self {
        StepShape {
            rows: 1000,
            dims: 500,
            hidden: vec![512, 512],
            clusters: 10,
        }
    }

    /// `imagenet`: 1000 clusters of pictures, in 768 features.
    pub fn imagenet() -> Self {
        StepShape {
            rows: 3000,
            dims: 768,
            hidden: vec![512, 512],
            clusters: 1000,
        }
    }

    /// Inputs and outputs of the layers.
    fn layers(&self) -> impl Iterator<Item = (f64, f64)> {
        let outputs = self.hidden.iter().chain([&self.clusters]);
        let inputs = [&self.dims].into_iter().chain(&self.hidden);
        inputs.zip(outputs).map(|(&i, &o)| (i as f64, o as f64))
    }

    /// FLOP of a step's matrix products, a multiplication and an addition being two; the rest of a step is less by a factor of
    /// about the width of the layers, and not counted. With layers i -> o:
    ///
    /// * squared distances, `X X'`: `2 m^2 d`, all of the symmetric product;
    /// * `S = A Y`: `2 m^2 k`;
    /// * `N = Y' D Y`, and the product with it in the gradient: `2 m k^2` each;
    /// * forward: `2 m i o` for each layer;
    /// * backward: `2 m i o` for the weights of each layer, and again for the inputs of each but the first.
    pub fn flop(&self) -> f64 {
        let (m, d, k) = (self.rows as f64, self.dims as f64, self.clusters as f64);
        let layers: f64 = self.layers().map(|(i, o)| 2.0 * m * i * o).sum();
        let first = self.layers().next().map_or(0.0, |(i, o)| 2.0 * m * i * o);
        2.0 * m * m * (d + k) + 4.0 * m * k * k + 3.0 * layers - first
    }

    /// Bytes that a step moves if each operation reads its operands once and writes its results once, in f32, the affinity is
    /// never stored, and Adam takes the gradients as they are formed. Caches keep much of it from the memory. In numbers of
    /// 4 bytes, with layers i -> o:
    ///
    /// * the mini-batch is gathered: `2 m d`;
    /// * affinity and contraction read X and Y, and write S and D: `m d + 2 m k + m`;
    /// * forward, each layer: `m i + (i + 1) o + m o`;
    /// * soft-max: `2 m k`;
    /// * the loss reads Y, S and D, and writes dZ and the volumes: `3 m k + m + k`;
    /// * backward to the inputs, each layer but the first: `m o + i o + 2 m i`, the mask being the input itself;
    /// * backward to the weights with Adam, each layer: `m o + m i + 6 (i + 1) o`, weights and two moments read and written.
    pub fn bytes(&self) -> f64 {
        let (m, d, k) = (self.rows as f64, self.dims as f64, self.clusters as f64);
        let batch = 2.0 * m * d + (m * d + 2.0 * m * k + m) + 2.0 * m * k + (3.0 * m * k + m + k);
        let both = |(i, o): (f64, f64)| 2.0 * m * (i + o) + 7.0 * (i + 1.0) * o;
        let backward = |(i, o): (f64, f64)| m * o + i * o + 2.0 * m * i;
        let layers: f64 = self.layers().map(both).sum();
        let inputs: f64 = self.layers().skip(1).map(backward).sum();
        size_of::<f32>() as f64 * (batch + layers + inputs)
    }
}

/// What was measured.
pub struct Timings {
    /// Microseconds of a step in each sample, rising.
    pub samples: Vec<f64>,
    /// Steps that were timed together as one sample.
    pub steps_per_sample: usize,
    /// Microseconds of each kernel of a step, in order, where the backend knows: the median of several steps.
    pub kernels: Vec<(String, f64)>,
    /// What the device does at most, where the backend measures it.
    pub ceilings: Option<Ceilings>,
}

impl Timings {
    /// Microseconds of the step that is not slower than the others of which there are `share`: 0.5 gives the median. Between
    /// two samples, in proportion.
    pub fn quantile(&self, share: f64) -> f64 {
        let place = share * (self.samples.len() - 1) as f64;
        let (below, part) = (place as usize, place.fract());
        let above = (below + 1).min(self.samples.len() - 1);
        self.samples[below] * (1.0 - part) + self.samples[above] * part
    }
}

/// Mini-batches of an epoch, and the most steps in one sample.
const BATCHES: usize = 8;

/// Microseconds that a sample should last. A device starts some ten after it was told to, its clock running.
const SAMPLE: f64 = 1000.0;

/// Seconds, and steps, before the first sample: a device at rest needs some time to reach its speed.
const WARM_UP: (f64, usize) = (0.3, 3);

/// Steps whose kernels are timed one by one.
const PROFILED: usize = 9;

/// Times `samples` samples of training steps on random rows of unit norm, all of whose affinities are kept.
///
/// # Errors
/// [`Error::Memory`], [`Error::Diverged`] when there were no numbers to compute with, [`Error::Interrupted`].
pub fn bench<O: Ops>(
    ops: &O,
    shape: &StepShape,
    samples: usize,
    progress: &mut dyn Progress,
) -> Result<Timings> {
    let ceilings = ops.ceilings()?;
    let data = unit_rows(ops, shape.rows, shape.dims)?;
    let rule = StepRule {
        affinity: AffinityRule::Heat(HeatKernel {
            sigma: 0.7,
            neighbors: None,
        }),
        objective: Objective {
            gamma: 0.3,
            penalty: Penalty::Squared,
            volumes: Volumes::Through,
            cut: Cut::Ncut,
        },
        adam: AdamRule::new(1e-4),
    };
    let mut state = StepState {
        seed: 0,
        epoch: 0,
        batch: 0,
        step: 0,
        learning_rate: 1e-3,
    };
    let model = Model::random(state.seed, shape.dims, &shape.hidden, shape.clusters);
    let size = StepSize {
        rows: shape.rows,
        batches: BATCHES,
        training_rows: BATCHES * shape.rows,
    };
    let mut step = ops.plan("training", &|| Step::new(ops, &model, rule, size, None, state))?;
    let sampler = Sampler::Shuffle {
        rows: size.training_rows,
        batch: size.rows,
    };
    ops.upload_labels(&sampler.epoch(state.seed, 0), &mut step.order)?;
    // `count` steps from the first mini-batch on, in microseconds.
    let mut sample = |step: &mut Step<O>, count: usize| {
        ops.set_state(state, &mut step.state)?;
        state.step += count as u64;
        ops.time(&mut || (0..count).try_for_each(|_| step.run(ops, &data, None)))
    };

    let (began, mut warm, mut fastest) = (Instant::now(), 0, f64::INFINITY);
    while warm < WARM_UP.1 || began.elapsed().as_secs_f64() < WARM_UP.0 {
        fastest = sample(&mut step, 1)?.min(fastest);
        warm += 1;
    }
    let steps_per_sample = ((SAMPLE / fastest).ceil() as usize).clamp(1, BATCHES);
    let mut times = Vec::with_capacity(samples);
    progress.begin("timing", samples as u64, "samples");
    for done in 0..samples {
        if progress.interrupted() {
            return Err(Error::Interrupted(format!(
                "{done} of {samples} samples were taken"
            )));
        }
        times.push(sample(&mut step, steps_per_sample)? / steps_per_sample as f64);
        progress.advance(done as u64 + 1, "");
    }
    progress.end();
    times.sort_by(f64::total_cmp);

    let mut profiles = Vec::new();
    for _ in 0..PROFILED {
        ops.set_state(state, &mut step.state)?;
        profiles.push(ops.profile(&mut || step.run(ops, &data, None))?);
    }
    let mut losses = [O::Real::ZERO; 3 * BATCHES];
    ops.download(&step.losses, &mut losses)?;
    if let Some(loss) = losses.iter().find(|loss| !loss.to_f64().is_finite()) {
        return Err(Error::Diverged {
            loss: loss.to_f64(),
            epoch: 1,
            batch: 1,
        });
    }
    Ok(Timings {
        samples: times,
        steps_per_sample,
        kernels: medians(&profiles),
        ceilings,
    })
}

/// Random rows of norm 1 for an epoch of mini-batches of `batch` rows.
fn unit_rows<O: Ops>(ops: &O, batch: usize, cols: usize) -> Result<O::Matrix> {
    let stream = Stream::new(0, Purpose::Synthetic, 0);
    let mut data = ops.training_rows(BATCHES * batch, cols)?;
    let mut chunk = ops.matrix("a chunk of rows", batch, cols)?;
    let len = (batch * cols) as u64;
    for i in 0..BATCHES {
        let values: Vec<O::Real> = (i as u64 * len..(i as u64 + 1) * len)
            .map(|at| O::Real::of(f64::from(stream.uniform(at / 4)[at as usize % 4]) - 0.5))
            .collect();
        ops.upload(&values, &mut chunk, 0)?;
        ops.normalize_rows(1.0, &mut chunk)?;
        ops.upload(&download(ops, &chunk)?, &mut data, i * batch)?;
    }
    Ok(data)
}

/// The median time of each kernel in profiles of the same step.
fn medians(profiles: &[Vec<(String, f64)>]) -> Vec<(String, f64)> {
    let Some(first) = profiles.first() else {
        return Vec::new();
    };
    let median = |(at, (name, _)): (usize, &(String, f64))| {
        let mut times: Vec<f64> = profiles.iter().map(|profile| profile[at].1).collect();
        times.sort_by(f64::total_cmp);
        (name.clone(), times[times.len() / 2])
    };
    first.iter().enumerate().map(median).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_counted_as_by_hand() {
        // To the digits that the counts of these two shapes were first written down with, term by term.
        for (shape, giga) in [(StepShape::mnist(), 3.65), (StepShape::imagenet(), 62.5)] {
            let flop = shape.flop() / 1e9;
            assert!((flop / giga - 1.0).abs() < 1e-3, "{flop} GFLOP, not {giga}");
        }
        let shape = |hidden: &[usize]| StepShape {
            rows: 2,
            dims: 3,
            hidden: hidden.to_vec(),
            clusters: 2,
        };
        // Distances 24, S 16, N twice 16 each, forward 24, backward 24.
        assert_eq!(shape(&[]).flop(), 120.0);
        // In place of the last two: forward 60 + 40, weights the same, inputs of the second layer 40.
        assert_eq!(shape(&[5]).flop(), 72.0 + 100.0 + 100.0 + 40.0);
        // Gathered 12, affinity 6 + 8 + 2, forward 6 + 8 + 4, soft-max 8, loss 12 + 2 + 2, weights 4 + 6 + 48.
        assert_eq!(shape(&[]).bytes(), 4.0 * (12 + 16 + 18 + 8 + 16 + 58) as f64);
        // Forward 6 + 20 + 10 and 10 + 12 + 4; inputs 4 + 10 + 20; weights 10 + 6 + 120 and 4 + 10 + 72.
        let expected = 12 + 16 + 8 + 16 + (36 + 26) + 34 + (136 + 86);
        assert_eq!(shape(&[5]).bytes(), 4.0 * f64::from(expected));
    }

    #[test]
    fn quantiles_and_medians() {
        let timings = Timings {
            samples: vec![1.0, 2.0, 4.0, 8.0],
            steps_per_sample: 1,
            kernels: Vec::new(),
            ceilings: None,
        };
        assert_eq!(timings.quantile(0.0), 1.0);
        assert_eq!(timings.quantile(0.5), 3.0);
        assert_eq!(timings.quantile(1.0), 8.0);
        assert!((timings.quantile(0.1) - 1.3).abs() < 1e-12);
        let profile = |times: [f64; 2]| vec![("a".to_string(), times[0]), ("b".to_string(), times[1])];
        let profiles = [profile([1.0, 9.0]), profile([5.0, 7.0]), profile([2.0, 8.0])];
        assert_eq!(medians(&profiles), profile([2.0, 8.0]));
    }
}

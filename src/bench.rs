//! How fast training steps run and rows are labelled: timed by the device's own clock where it has one, with counts of the work, to be
//! held against what the device does at most ([`Ops::ceilings`]).

use std::ops::Range;
use std::time::Instant;

use crate::data::Dataset;
use crate::data::npy::MatrixWriter;
use crate::error::{Error, Result};
use crate::features::{Pipeline, Reader};
use crate::graph::Sampler;
use crate::model::Model;
use crate::network::{Network, download};
use crate::ops::{
    AdamRule, AffinityRule, Cut, HeatKernel, Objective, Ops, Penalty, Real, StepState, Volumes,
};
use crate::predict::{CHUNK, Predictor};
use crate::progress::{Progress, Silent};
use crate::random::{Purpose, Stream};
use crate::train::{Step, StepRule, StepSize};

/// What is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// A training step.
    Step,
    /// The labels of rows that are in the backend's memory.
    Inference,
    /// The labels of rows of f32 in a file that is in the page cache: they are read, brought to the device, labelled there, and the labels
    /// fetched, all at the same time, as by [`Predictor::label_all`].
    Predict,
}

/// The size of a training step, or of a network and the rows that it labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepShape {
    /// Rows in the mini-batch, m, or to be labelled.
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

    /// A network of this shape.
    fn model(&self) -> Model {
        Model::random(SEED, self.dims, &self.hidden, self.clusters)
    }

    /// Inputs and outputs of the layers.
    fn layers(&self) -> impl Iterator<Item = (f64, f64)> {
        let outputs = self.hidden.iter().chain([&self.clusters]);
        let inputs = [&self.dims].into_iter().chain(&self.hidden);
        inputs.zip(outputs).map(|(&i, &o)| (i as f64, o as f64))
    }

    /// FLOP of the matrix products, a multiplication and an addition being two; the rest is less by a factor of about the width of the
    /// layers, and not counted. With layers i -> o, [labelling](Work::Inference) takes
    ///
    /// * forward: `2 m i o` for each layer,
    ///
    /// and a step besides
    ///
    /// * squared distances, `X X'`: `2 m^2 d`, all of the symmetric product;
    /// * `S = A Y`: `2 m^2 k`;
    /// * `N = Y' D Y`, and the product with it in the gradient: `2 m k^2` each;
    /// * backward: `2 m i o` for the weights of each layer, and again for the inputs of each but the first.
    pub fn flop(&self, work: Work) -> f64 {
        let (m, d, k) = (self.rows as f64, self.dims as f64, self.clusters as f64);
        let layers: f64 = self.layers().map(|(i, o)| 2.0 * m * i * o).sum();
        if work != Work::Step {
            return layers;
        }
        let first = self.layers().next().map_or(0.0, |(i, o)| 2.0 * m * i * o);
        2.0 * m * m * (d + k) + 4.0 * m * k * k + 3.0 * layers - first
    }

    /// Bytes that move, in numbers of 4. [`Predict`](Work::Predict): those of the rows, `m d`, on their way to the device.
    /// [`Inference`](Work::Inference): rows and parameters are read, labels written, `m d + m`, and `(i + 1) o` for each layer i -> o.
    ///
    /// A step, if each operation reads its operands once and writes its results once, in f32, the affinity is never stored, and Adam takes
    /// the gradients as they are formed. Caches keep much of it from the memory. With layers i -> o:
    ///
    /// * the mini-batch is gathered: `2 m d`;
    /// * affinity and contraction read X and Y, and write S and D: `m d + 2 m k + m`;
    /// * forward, each layer: `m i + (i + 1) o + m o`;
    /// * soft-max: `2 m k`;
    /// * the loss reads Y, S and D, and writes dZ and the volumes: `3 m k + m + k`;
    /// * backward to the inputs, each layer but the first: `m o + i o + 2 m i`, the mask being the input itself;
    /// * backward to the weights with Adam, each layer: `m o + m i + 6 (i + 1) o`, weights and two moments read and written.
    pub fn bytes(&self, work: Work) -> f64 {
        let numbers = match work {
            Work::Step => self.step_numbers(),
            Work::Inference => {
                let parameters: f64 = self.layers().map(|(i, o)| (i + 1.0) * o).sum();
                (self.rows * (self.dims + 1)) as f64 + parameters
            }
            Work::Predict => (self.rows * self.dims) as f64,
        };
        size_of::<f32>() as f64 * numbers
    }

    fn step_numbers(&self) -> f64 {
        let (m, d, k) = (self.rows as f64, self.dims as f64, self.clusters as f64);
        let batch = 2.0 * m * d + (m * d + 2.0 * m * k + m) + 2.0 * m * k + (3.0 * m * k + m + k);
        let both = |(i, o): (f64, f64)| 2.0 * m * (i + o) + 7.0 * (i + 1.0) * o;
        let backward = |(i, o): (f64, f64)| m * o + i * o + 2.0 * m * i;
        let layers: f64 = self.layers().map(both).sum();
        let inputs: f64 = self.layers().skip(1).map(backward).sum();
        batch + layers + inputs
    }
}

/// What was measured.
pub struct Timings {
    /// Microseconds of a run in each sample, rising.
    pub samples: Vec<f64>,
    /// Runs that were timed together as one sample.
    pub runs_per_sample: usize,
    /// Microseconds of each kernel of a run, in order, where the backend knows: the median of several runs. None of
    /// [`Predict`](Work::Predict), whose chunks overlap.
    pub kernels: Vec<(String, f64)>,
}

impl Timings {
    /// Microseconds of the run that is not slower than the others of which there are `share`: 0.5 gives the median. Between
    /// two samples, in proportion.
    pub fn quantile(&self, share: f64) -> f64 {
        let place = share * (self.samples.len() - 1) as f64;
        let (below, part) = (place as usize, place.fract());
        let above = (below + 1).min(self.samples.len() - 1);
        self.samples[below] * (1.0 - part) + self.samples[above] * part
    }
}

/// Mini-batches of an epoch, and the most runs in one sample.
const BATCHES: usize = 8;

/// Microseconds that a sample should last. A device starts some ten after it was told to, its clock running.
const SAMPLE: f64 = 1000.0;

/// Seconds, and runs, before the first sample: a device at rest needs some time to reach its speed. Of runs so long that they take the
/// last number of seconds, fewer do.
const WARM_UP: (f64, usize) = (0.3, 3);
const LONG_WARM_UP: f64 = 10.0;

/// Runs whose kernels are timed one by one.
const PROFILED: usize = 9;

/// Seed of the networks.
const SEED: u64 = 0;

/// Times `samples` samples of `work` on random rows.
///
/// # Errors
/// [`Error::Memory`], [`Error::Io`] when there is no room for the file of [`Work::Predict`], [`Error::Diverged`] when steps had no numbers
/// to compute with, [`Error::Interrupted`].
pub fn bench<O: Ops>(
    ops: &O,
    work: Work,
    shape: &StepShape,
    samples: usize,
    progress: &mut dyn Progress,
) -> Result<Timings> {
    match work {
        Work::Step => steps(ops, shape, samples, progress),
        Work::Inference => inference(ops, shape, samples, progress),
        Work::Predict => predict(ops, shape, samples, progress),
    }
}

/// Steps on rows of unit norm, all of whose affinities are kept.
fn steps<O: Ops>(ops: &O, shape: &StepShape, samples: usize, progress: &mut dyn Progress) -> Result<Timings> {
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
        seed: SEED,
        epoch: 0,
        batch: 0,
        step: 0,
        learning_rate: 1e-3,
    };
    let model = shape.model();
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
    // From the first mini-batch on.
    let timings = sample(samples, progress, &mut |count| {
        ops.set_state(state, &mut step.state)?;
        state.step += count as u64;
        ops.time(&mut || (0..count).try_for_each(|_| step.run(ops, &data, None)))
    })?;
    let kernels = profile(ops, &mut || {
        ops.set_state(state, &mut step.state)?;
        step.run(ops, &data, None)
    })?;
    let mut losses = [O::Real::ZERO; 3 * BATCHES];
    ops.download(&step.losses, &mut losses)?;
    if let Some(loss) = losses.iter().find(|loss| !loss.to_f64().is_finite()) {
        return Err(Error::Diverged {
            loss: loss.to_f64(),
            epoch: 1,
            batch: 1,
        });
    }
    Ok(Timings { kernels, ..timings })
}

/// Labels of rows in the backend's memory.
fn inference<O: Ops>(
    ops: &O,
    shape: &StepShape,
    samples: usize,
    progress: &mut dyn Progress,
) -> Result<Timings> {
    let network = Network::new(ops, &shape.model())?;
    let mut x = ops.matrix("rows to be labelled", shape.rows, shape.dims)?;
    ops.upload(&numbers::<O::Real>(0..shape.rows * shape.dims), &mut x, 0)?;
    let mut activations = network.activations(ops, shape.rows)?;
    let mut labels = ops.labels("their labels", shape.rows)?;
    let mut infer = || network.infer(ops, &x, &mut activations, &mut labels, 0);
    let timings = sample(samples, progress, &mut |count| {
        ops.time(&mut || (0..count).try_for_each(|_| infer()))
    })?;
    Ok(Timings {
        kernels: profile(ops, &mut infer)?,
        ..timings
    })
}

/// Labels of rows in a file.
fn predict<O: Ops>(
    ops: &O,
    shape: &StepShape,
    samples: usize,
    progress: &mut dyn Progress,
) -> Result<Timings> {
    let data = file(shape.rows, shape.dims)?;
    let pipeline = Pipeline::new(Reader::plain(shape.dims));
    let mut predictor = Predictor::new(ops, &shape.model(), &pipeline)?;
    let mut label = || predictor.label_all(&data, 0..shape.rows, false, &mut Silent, |_, _| Ok(()));
    sample(samples, progress, &mut |count| {
        ops.time(&mut || (0..count).try_for_each(|_| label()))
    })
}

/// Takes samples, no kernel by itself; `time` tells how many microseconds so many runs take, one after the other.
fn sample(
    samples: usize,
    progress: &mut dyn Progress,
    time: &mut dyn FnMut(usize) -> Result<f64>,
) -> Result<Timings> {
    let go_on = |progress: &dyn Progress, done: usize| match progress.interrupted() {
        true => Err(Error::Interrupted(format!(
            "{done} of {samples} samples were taken"
        ))),
        false => Ok(()),
    };
    progress.begin("timing", samples as u64, "samples");
    let (began, mut warm, mut fastest) = (Instant::now(), 0, f64::INFINITY);
    while !is_warm(began.elapsed().as_secs_f64(), warm) {
        go_on(progress, 0)?;
        fastest = time(1)?.min(fastest);
        warm += 1;
    }
    let runs = ((SAMPLE / fastest).ceil() as usize).clamp(1, BATCHES);
    let mut times = Vec::with_capacity(samples);
    for done in 0..samples {
        go_on(progress, done)?;
        times.push(time(runs)? / runs as f64);
        progress.advance(done as u64 + 1, "");
    }
    progress.end();
    times.sort_by(f64::total_cmp);
    Ok(Timings {
        samples: times,
        runs_per_sample: runs,
        kernels: Vec::new(),
    })
}

/// Whether so many runs, which took so many seconds, are enough before the first sample.
fn is_warm(seconds: f64, runs: usize) -> bool {
    seconds >= WARM_UP.0 && (runs >= WARM_UP.1 || seconds >= LONG_WARM_UP)
}

/// The median times of the kernels of a run.
fn profile<O: Ops>(ops: &O, run: &mut dyn FnMut() -> Result<()>) -> Result<Vec<(String, f64)>> {
    let profiles = (0..PROFILED).map(|_| ops.profile(run));
    Ok(medians(&profiles.collect::<Result<Vec<_>>>()?))
}

/// Random numbers from -0.5 to 0.5: of an endless row of them, those in `range`.
fn numbers<T: Real>(range: Range<usize>) -> Vec<T> {
    let stream = Stream::new(0, Purpose::Synthetic, 0);
    let blocks = range.start / 4..range.end.div_ceil(4);
    let all = blocks.flat_map(|block| stream.uniform(block as u64));
    let these = all.skip(range.start % 4).take(range.len());
    these.map(|v| T::of(f64::from(v) - 0.5)).collect()
}

/// A file of random rows. Nothing is left of it when the data set is gone, or the process.
fn file(rows: usize, cols: usize) -> Result<Dataset> {
    let folder = tempfile::tempdir().map_err(|e| Error::io(std::env::temp_dir(), "make a folder", e))?;
    let path = folder.path().join("rows.npy");
    let mut file = MatrixWriter::create(&path, rows, cols)?;
    for first in (0..rows).step_by(CHUNK) {
        let end = rows.min(first + CHUNK);
        file.write(&numbers(first * cols..end * cols))?;
    }
    file.commit()?;
    Dataset::open(&path.to_string_lossy())
}

/// Random rows of norm 1 for an epoch of mini-batches of `batch` rows.
fn unit_rows<O: Ops>(ops: &O, batch: usize, cols: usize) -> Result<O::Matrix> {
    let mut data = ops.training_rows(BATCHES * batch, cols)?;
    let mut chunk = ops.matrix("a chunk of rows", batch, cols)?;
    let len = batch * cols;
    for i in 0..BATCHES {
        ops.upload(&numbers::<O::Real>(i * len..(i + 1) * len), &mut chunk, 0)?;
        ops.normalize_rows(1.0, &mut chunk)?;
        ops.upload(&download(ops, &chunk)?, &mut data, i * batch)?;
    }
    Ok(data)
}

/// The median time of each kernel in profiles of the same run.
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
    use std::cell::Cell;

    use super::*;

    #[test]
    fn work_is_counted_as_by_hand() {
        // To the digits that the counts of these two shapes were first written down with, term by term.
        for (shape, giga) in [(StepShape::mnist(), 3.65), (StepShape::imagenet(), 62.5)] {
            let flop = shape.flop(Work::Step) / 1e9;
            assert!((flop / giga - 1.0).abs() < 1e-3, "{flop} GFLOP, not {giga}");
        }
        let shape = |hidden: &[usize]| StepShape {
            rows: 2,
            dims: 3,
            hidden: hidden.to_vec(),
            clusters: 2,
        };
        // Distances 24, S 16, N twice 16 each, forward 24, backward 24.
        assert_eq!(shape(&[]).flop(Work::Step), 120.0);
        // In place of the last two: forward 60 + 40, weights the same, inputs of the second layer 40.
        assert_eq!(shape(&[5]).flop(Work::Step), 72.0 + 100.0 + 100.0 + 40.0);
        for work in [Work::Inference, Work::Predict] {
            assert_eq!(shape(&[5]).flop(work), 100.0);
        }
        // Gathered 12, affinity 6 + 8 + 2, forward 6 + 8 + 4, soft-max 8, loss 12 + 2 + 2, weights 4 + 6 + 48.
        let bytes = f64::from(4 * (12 + 16 + 18 + 8 + 16 + 58));
        assert_eq!(shape(&[]).bytes(Work::Step), bytes);
        // Forward 6 + 20 + 10 and 10 + 12 + 4; inputs 4 + 10 + 20; weights 10 + 6 + 120 and 4 + 10 + 72.
        let expected = 12 + 16 + 8 + 16 + (36 + 26) + 34 + (136 + 86);
        assert_eq!(shape(&[5]).bytes(Work::Step), 4.0 * f64::from(expected));
        // Rows 6, parameters 20 and 12, labels 2.
        assert_eq!(shape(&[5]).bytes(Work::Inference), 4.0 * 40.0);
        assert_eq!(shape(&[5]).bytes(Work::Predict), 4.0 * 6.0);
    }

    /// Stops when it has been asked so often.
    struct Patience(Cell<usize>);

    impl Progress for Patience {
        fn line(&mut self, _: &str) {}
        fn begin(&mut self, _: &str, _: u64, _: &'static str) {}
        fn advance(&mut self, _: u64, _: &str) {}
        fn end(&mut self) {}
        fn interrupted(&self) -> bool {
            let left = self.0.get();
            self.0.set(left.saturating_sub(1));
            left == 0
        }
    }

    #[test]
    fn short_runs_are_timed_together_and_an_interruption_ends_it() {
        // Microseconds of a run, and how many last a millisecond; one epoch at most.
        for (run, expected) in [(5000.0, 1), (1000.0, 1), (300.0, 4), (1.0, BATCHES)] {
            let mut asked = Vec::new();
            let timings = sample(5, &mut Silent, &mut |runs| {
                asked.push(runs);
                // Each call is slower than the one before, by less than a rounding of the number of runs.
                Ok(runs as f64 * (run + 1e-9 * asked.len() as f64))
            });
            let timings = timings.expect("nothing fails");
            assert_eq!(timings.runs_per_sample, expected, "{run}");
            assert_eq!(timings.samples.len(), 5);
            assert!(timings.samples.iter().all(|time| (time / run - 1.0).abs() < 1e-2));
            assert!(timings.samples.is_sorted());
            let (warm, timed) = asked.split_at(asked.len() - 5);
            assert!(
                warm.len() >= WARM_UP.1 && warm.iter().all(|&runs| runs == 1),
                "{asked:?}"
            );
            assert_eq!(timed, [expected; 5]);
        }
        let told = sample(5, &mut Patience(Cell::new(0)), &mut |_| {
            panic!("nothing was to run")
        });
        let told = told.err().map(|error| error.to_string());
        assert_eq!(told.as_deref(), Some("interrupted; 0 of 5 samples were taken"));
        assert!(is_warm(0.3, 3) && is_warm(10.0, 1));
        assert!(!is_warm(0.2, 1000) && !is_warm(9.0, 2));
    }

    #[test]
    fn rows_of_files_and_matrices_are_the_same_numbers() {
        let all: Vec<f32> = numbers(0..3 * (CHUNK + 5));
        assert!(all.iter().all(|v| v.abs() <= 0.5) && all[0] != all[4]);
        for range in [3..3, 1..2, 5..23, 8..16] {
            assert_eq!(numbers::<f32>(range.clone()), all[range]);
        }
        let data = file(CHUNK + 5, 3).expect("a file");
        let mut read = vec![0.0; all.len()];
        data.read_rows(0, &mut read).expect("its rows");
        assert_eq!((data.rows(), read), (CHUNK + 5, all));
    }

    #[test]
    fn quantiles_and_medians() {
        let timings = Timings {
            samples: vec![1.0, 2.0, 4.0, 8.0],
            runs_per_sample: 1,
            kernels: Vec::new(),
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

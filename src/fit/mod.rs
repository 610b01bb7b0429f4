//! `fit`: from data to a finished run folder.

mod page;

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::atomic;
use crate::cut::Cuts;
use crate::data::npy::LabelWriter;
use crate::data::{Dataset, Labels};
use crate::error::{Error, Result};
use crate::estimate;
use crate::features::{self, Pipeline};
use crate::model::Model;
use crate::network::to_real;
use crate::ops::{AdamRule, HeatKernel, Objective, Ops, Real, Shape, StepState};
use crate::options::{Auto, FitOptions};
use crate::predict::{CHUNK, Predictor};
use crate::progress::Progress;
use crate::random::{Permutation, Purpose};
use crate::run_folder::RunFolder;
use crate::scores::{Contingency, Mean, Scores, nmi};
use crate::train::{Checkpoint, EpochRecord, Plan, StepRule, Truth, Watch, collapse, train};

/// Rows over which the exact cut is computed at most; its time grows with their square.
const CUT_ROWS: usize = 20_000;

/// The outcome of a run: `metrics.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Name of the data.
    pub data: String,
    /// Rows labelled.
    pub rows: usize,
    /// Rows trained on.
    pub train_rows: usize,
    /// Agreement with the labels over all rows, when there are labels.
    #[serde(flatten)]
    pub scores: Option<Scores>,
    /// NMI with the arithmetic mean, when there are labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nmi_arithmetic: Option<f64>,
    /// Exact cuts of the hard labels on `cut_rows` training rows, under the run's affinity.
    #[serde(flatten)]
    pub cuts: Cuts,
    /// Rows the cuts were computed on.
    pub cut_rows: usize,
    /// Mean L_lap of the last epoch.
    pub l_lap: f64,
    /// Mean L_orth of the last epoch.
    pub l_orth: f64,
    /// Width of the heat kernel.
    pub sigma: f64,
    /// Weight of the penalty.
    pub gamma: f64,
    /// Rows in each cluster, of all rows.
    pub sizes: Vec<u64>,
    /// Seconds of each stage, and of all in `seconds`.
    pub stages: BTreeMap<String, f64>,
    /// Seconds from the first row read to the report.
    pub seconds: f64,
    /// Device and precision.
    pub device: String,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// How often an unfinished training is saved, in seconds; 0 for every epoch.
#[derive(Clone, Copy, Debug)]
pub struct CheckpointEvery(pub f64);

/// Whether a run begins or goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// From the beginning; an older run in the folder is removed as soon as the data is found to be good.
    Anew,
    /// With the unfinished run of the same options that is in the folder; the result has the same bits.
    GoOn,
}

/// Trains on `data`, which `options.data` names, as `options` say, and leaves the run in `folder`, which must exist. An error
/// before the first checkpoint leaves no run there.
pub fn fit<O: Ops>(
    ops: &O,
    options: &FitOptions,
    data: Dataset,
    folder: &RunFolder,
    start: Start,
    every: CheckpointEvery,
    progress: &mut dyn Progress,
) -> Result<Metrics> {
    let mut stages = Stages::start();
    let mut options = options.clone();
    let data = match &options.labels {
        Some(path) => with_labels_from(data, Path::new(path))?,
        None => data,
    };
    check(&options, &data)?;
    check_memory(ops, &options, data.rows(), data.cols())?;
    progress.line(&format!(
        "{}: {} rows of {} numbers{}",
        data.name(),
        data.rows(),
        data.cols(),
        data.labels().map_or(String::new(), |l| format!(
            ", {} classes (for scores only)",
            l.classes.len()
        ))
    ));

    let chosen = training_rows(&options, data.rows());
    let mut x = load_rows(ops, &data, &chosen, progress)?;
    let transforms = match &options.features[..] {
        "auto" => features::default_for(&data),
        text => features::parse(text)?,
    };
    options.features = features::describe(&transforms);
    let pipeline = Pipeline::fit(ops, &transforms, &mut x)?;
    stages.done("features");

    not_interrupted(progress, "training had not begun")?;
    let (sigma, gamma) = resolve(ops, &mut options, &x, progress)?;
    stages.done("estimates");

    not_interrupted(progress, "training had not begun")?;
    match start {
        Start::Anew => folder.clear()?,
        Start::GoOn if folder.features_file().exists() && folder.load_pipeline()? != pipeline => {
            return Err(Error::option(
                "--resume",
                "the training rows have changed since the run began",
                "bring the old data back, or begin again with --overwrite",
            ));
        }
        Start::GoOn => {}
    }
    atomic::sweep(folder.path())?;
    // The options first: by them the folder is known to hold a run.
    folder.save_options(&options)?;
    pipeline.save(&folder.features_file())?;

    let truth = data.labels().map(|labels| Labels {
        classes: labels.classes.clone(),
        index: chosen.iter().map(|&row| labels.index[row as usize]).collect(),
    });
    let plan = plan(&options, sigma, gamma);
    let (model, history) = train_or_load(ops, &plan, &x, truth.as_ref(), folder, every, progress)
        .inspect_err(|_| {
            if !folder.has_progress() {
                // The first error is the one to tell.
                let _ = folder.clear();
            }
        })?;
    stages.done("training");

    let mut predictor = Predictor::new(ops, &model, &pipeline)?;
    let mut labels: Vec<u32> = Vec::with_capacity(data.rows());
    let mut writer = LabelWriter::create(folder.labels_file(), data.rows())?;
    predictor.label_all(&data, false, progress, |chunk, _| {
        labels.extend_from_slice(chunk);
        writer.write(chunk)
    })?;
    writer.commit()?;
    stages.done("labelling");

    not_interrupted(progress, "the training is over, its exact cut is not computed")?;
    let (x, drawn) = cut_rows(ops, &options, &x, CUT_ROWS)?;
    let cut_labels: Vec<u32> = drawn
        .iter()
        .map(|&i| labels[chosen[i as usize] as usize])
        .collect();
    let matrix = ops.cut_matrix(&x, &cut_labels, options.clusters, plan.rule.kernel)?;
    let cuts = Cuts::of(&matrix, &count(&cut_labels, options.clusters));
    stages.done("exact cut");
    not_interrupted(progress, "the training is over, its report is not written")?;

    let table = data
        .labels()
        .map(|truth| Contingency::new(&labels, options.clusters, &truth.index, truth.classes.len()))
        .transpose()?;
    let sizes = count(&labels, options.clusters);
    let warnings: Vec<String> = collapse(&sizes).into_iter().collect();
    let last = &history[history.len() - 1];
    let mut metrics = Metrics {
        data: data.name().to_string(),
        rows: data.rows(),
        train_rows: chosen.len(),
        scores: table.as_ref().map(Scores::from),
        nmi_arithmetic: table.as_ref().map(|table| nmi(table, Mean::Arithmetic)),
        cuts,
        cut_rows: cut_labels.len(),
        l_lap: last.l_lap,
        l_orth: last.l_orth,
        sigma,
        gamma,
        sizes,
        stages: BTreeMap::new(),
        seconds: 0.0,
        device: ops.name(),
        warnings,
    };
    metrics.seconds = stages.total();
    let page = page::page(
        &options,
        &data,
        &mut predictor,
        &history,
        &metrics,
        table.as_ref(),
    )?;
    atomic::write(folder.report_file(), page)?;
    stages.done("report");
    metrics.seconds = stages.total();
    metrics.stages = stages.seconds;
    folder.remove_checkpoint()?;
    // Last, since they say that the run is finished.
    folder.save_metrics(&metrics)?;
    Ok(metrics)
}

/// Wall seconds of each stage.
struct Stages {
    began: std::time::Instant,
    last: std::time::Instant,
    seconds: BTreeMap<String, f64>,
}

impl Stages {
    fn start() -> Self {
        let now = std::time::Instant::now();
        Stages {
            began: now,
            last: now,
            seconds: BTreeMap::new(),
        }
    }
    fn done(&mut self, stage: &str) {
        self.seconds
            .insert(stage.to_string(), self.last.elapsed().as_secs_f64());
        self.last = std::time::Instant::now();
    }
    fn total(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }
}

/// The same rows with the labels of a file, which must be as many.
pub fn with_labels_from(data: Dataset, path: &Path) -> Result<Dataset> {
    let labels = Labels::open(path)?;
    if labels.len() != data.rows() {
        return Err(Error::file(
            path,
            format!(
                "{} labels for the {} rows of {}",
                labels.len(),
                data.rows(),
                data.name()
            ),
            "there must be one label per row",
        ));
    }
    data.with_labels(labels)
}

/// Checks what can only be judged beside the data.
fn check(options: &FitOptions, data: &Dataset) -> Result<()> {
    let train_rows = options.train_rows.min(data.rows());
    if options.clusters > train_rows {
        return Err(Error::option(
            "--clusters",
            format!("{} clusters of {train_rows} training rows", options.clusters),
            "ask for fewer clusters or give more rows",
        ));
    }
    if options.batch > train_rows {
        return Err(Error::option(
            "--batch",
            format!(
                "{} rows in a mini-batch, but there are {train_rows} training rows",
                options.batch
            ),
            "choose a smaller mini-batch or more rows",
        ));
    }
    if options.clusters > options.batch {
        return Err(Error::option(
            "--clusters",
            format!(
                "{} clusters in mini-batches of {} rows",
                options.clusters, options.batch
            ),
            "a mini-batch needs at least one row for each cluster: raise --batch or lower --clusters",
        ));
    }
    Ok(())
}

/// Refuses what cannot fit into memory before the long work begins: later, the operating system would end the process
/// without a word.
fn check_memory<O: Ops>(ops: &O, options: &FitOptions, rows: usize, cols: usize) -> Result<()> {
    // As floats, which no product can overflow.
    let (rows, batch) = (options.train_rows.min(rows) as f64, options.batch as f64);
    let (mut inputs, mut parameters, mut outputs) = (cols as f64, 0.0, 0.0);
    for &width in options.hidden.0.iter().chain([&options.clusters]) {
        parameters += (inputs + 1.0) * width as f64;
        outputs += width as f64;
        inputs = width as f64;
    }
    let kept = options.neighbors.limit().map_or(batch, |count| count as f64);
    let parts = [
        // Weights, gradients and two moments where they are trained; weights and moments of the checkpoint that training
        // began with, and of the one being written.
        ("the network's parameters", 10.0 * parameters),
        // Outputs and their gradients, and the outputs again for the labels.
        ("the activations of a mini-batch", 3.0 * batch * outputs),
        // Large full affinities are not stored by every backend.
        ("the affinity", batch * kept.min(batch).min(8192.0)),
        ("the training rows", rows * cols as f64),
        ("a mini-batch", 2.0 * batch * cols as f64),
        (
            "a chunk of rows to be labelled",
            CHUNK as f64 * (2.0 * cols as f64 + outputs),
        ),
    ];
    let bytes = |numbers: f64| numbers * size_of::<O::Real>() as f64;
    let needed = bytes(parts.iter().map(|(_, numbers)| numbers).sum());
    let Some(available) = available_memory() else {
        // Unknown here; then at least the largest piece is asked for once, where a refusal is an error.
        return ops
            .matrix("the network's parameters", 1, parameters as usize)
            .map(drop);
    };
    if needed <= available {
        return Ok(());
    }
    let largest = parts.iter().max_by(|a, b| a.1.total_cmp(&b.1));
    Err(Error::Memory {
        what: format!(
            "the training (most of it for {}; {:.0} MiB are available)",
            largest.map_or("", |(name, _)| name),
            available / MIB
        ),
        mib: (needed / MIB).ceil() as u64,
        advice: "use fewer rows (--train-rows), a smaller --batch or smaller --hidden layers",
    })
}

const MIB: f64 = (1 << 20) as f64;

/// Bytes that can be had without driving others out, where the operating system tells.
fn available_memory() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(1024.0 * kib)
}

/// At most `most` of the training rows `x`, and which of them: drawn by a shuffle that no epoch uses, since their own order
/// may be by class.
fn cut_rows<O: Ops>(
    ops: &O,
    options: &FitOptions,
    x: &O::Matrix,
    most: usize,
) -> Result<(O::Matrix, Vec<u64>)> {
    let shuffle = StepState {
        seed: options.seed,
        epoch: options.epochs as u32,
        batch: 0,
        step: 0,
        learning_rate: 0.0,
    };
    let count = x.rows().min(most);
    let mut drawn = ops.matrix("the rows of the exact cut", count, x.cols())?;
    ops.gather_rows(x, &ops.state(shuffle)?, &mut drawn)?;
    let order = shuffle.order(x.rows());
    Ok((drawn, (0..count as u64).map(|i| order.at(i)).collect()))
}

/// The rows trained on: drawn at random by the seed, or all in order when that many are there.
fn training_rows(options: &FitOptions, rows: usize) -> Vec<u64> {
    if options.train_rows >= rows {
        return (0..rows as u64).collect();
    }
    let order = Permutation::new(options.seed, Purpose::TrainRows, 0, rows as u64);
    (0..options.train_rows as u64).map(|i| order.at(i)).collect()
}

fn load_rows<O: Ops>(
    ops: &O,
    data: &Dataset,
    chosen: &[u64],
    progress: &mut dyn Progress,
) -> Result<O::Matrix> {
    let cols = data.cols();
    let mut x = ops.matrix("the training rows", chosen.len(), cols)?;
    let mut chunk = vec![0.0; CHUNK.min(chosen.len()) * cols];
    progress.begin("reading", chosen.len() as u64, "rows");
    for (i, rows) in chosen.chunks(CHUNK).enumerate() {
        not_interrupted(progress, "training had not begun")?;
        let chunk = &mut chunk[..rows.len() * cols];
        data.gather_rows(rows, chunk)?;
        ops.upload(&to_real::<O>(chunk), &mut x, i * CHUNK)?;
        progress.advance((i * CHUNK + rows.len()) as u64, "");
    }
    progress.end();
    Ok(x)
}

/// Asked between the stages that do not ask by themselves; `at` says how far it went.
fn not_interrupted(progress: &dyn Progress, at: &str) -> Result<()> {
    if progress.interrupted() {
        return Err(Error::Interrupted(at.into()));
    }
    Ok(())
}

/// Reads sigma and gamma from the data where they are `auto`, and puts them into the options.
fn resolve<O: Ops>(
    ops: &O,
    options: &mut FitOptions,
    x: &O::Matrix,
    progress: &mut dyn Progress,
) -> Result<(f64, f64)> {
    let sigma = match options.sigma {
        Auto::Value(sigma) => sigma,
        Auto::Auto => {
            let found = estimate::sigma(ops, x, options.batch, options.seed)?.ok_or_else(|| {
                // The 7th neighbour sets the scale; in a smaller mini-batch, the farthest.
                let duplicates = 7.min(options.batch - 1);
                Error::option(
                    "--sigma",
                    format!("auto fails: half of the rows have exact duplicates in a mini-batch, {duplicates} or more"),
                    "give a number, in the unit of the features, or remove duplicate rows",
                )
            })?;
            progress.line(&format!(
                "sigma {found:.4} (from the distances to the 7th neighbour)"
            ));
            found
        }
    };
    options.sigma = Auto::Value(sigma);
    not_interrupted(progress, "training had not begun")?;
    let gamma = match options.gamma {
        Auto::Value(gamma) => gamma,
        Auto::Auto => {
            let kernel = HeatKernel {
                sigma,
                neighbors: options.neighbors.limit(),
            };
            let model = Model::random(options.seed, x.cols(), &options.hidden.0, options.clusters);
            let spectrum =
                estimate::smooth_spectrum(ops, x, &model, kernel, options.cut, options.batch, options.seed)?;
            let found = spectrum.gamma(options.clusters, options.penalty);
            progress.line(&format!(
                "gamma {found:.4} (from the spectrum of a mini-batch graph)"
            ));
            found
        }
    };
    options.gamma = Auto::Value(gamma);
    Ok((sigma, gamma))
}

fn plan(options: &FitOptions, sigma: f64, gamma: f64) -> Plan {
    Plan {
        clusters: options.clusters,
        hidden: options.hidden.0.clone(),
        batch: options.batch,
        epochs: options.epochs,
        learning_rate: options.lr,
        seed: options.seed,
        rule: StepRule {
            kernel: HeatKernel {
                sigma,
                neighbors: options.neighbors.limit(),
            },
            objective: Objective {
                gamma,
                penalty: options.penalty,
                volumes: options.volumes,
                cut: options.cut,
            },
            adam: AdamRule::new(options.weight_decay),
        },
    }
}

/// Trains, from the folder's checkpoint if there is one; or takes the model of a run whose training is over.
fn train_or_load<O: Ops>(
    ops: &O,
    plan: &Plan,
    x: &O::Matrix,
    truth: Option<&Labels>,
    folder: &RunFolder,
    every: CheckpointEvery,
    progress: &mut dyn Progress,
) -> Result<(Model, Vec<EpochRecord>)> {
    let mut history = folder.load_history()?;
    if folder.model_file().exists() && history.len() == plan.epochs {
        return Ok((folder.load_model()?, history));
    }
    let resume = folder.load_checkpoint()?;
    history.truncate(resume.as_ref().map_or(0, |checkpoint| checkpoint.epoch));
    if let Some(checkpoint) = &resume {
        if history.len() != checkpoint.epoch {
            return Err(Error::file(
                folder.history_file(),
                format!(
                    "{} epochs, but the checkpoint is of epoch {}",
                    history.len(),
                    checkpoint.epoch
                ),
                "the run is damaged: start it again with --overwrite",
            ));
        }
        progress.line(&format!(
            "going on in epoch {} of {}",
            checkpoint.epoch + 1,
            plan.epochs
        ));
    }
    let mut watch = Watcher {
        folder,
        every,
        stale: true,
        saved: std::time::Instant::now(),
        batches: x.rows() / plan.batch,
        history,
        progress,
    };
    let truth = truth.map(|labels| Truth {
        index: &labels.index,
        classes: labels.classes.len(),
    });
    watch
        .progress
        .begin("training", (plan.epochs * watch.batches) as u64, "steps");
    let model = train(ops, plan, x, truth, resume, &mut watch)?;
    watch.progress.end();
    folder.save_model(&model)?;
    Ok((model, watch.history))
}

/// Writes the history and checkpoints of a training into its folder.
struct Watcher<'a> {
    folder: &'a RunFolder,
    every: CheckpointEvery,
    /// Whether the file may hold epochs beyond the checkpoint; it is written anew once the checkpoint has been accepted.
    stale: bool,
    saved: std::time::Instant,
    batches: usize,
    history: Vec<EpochRecord>,
    progress: &'a mut dyn Progress,
}

impl<R: Real> Watch<R> for Watcher<'_> {
    fn step(&mut self, epoch: usize, _epochs: usize, batch: usize, batches: usize) {
        let note = self.history.last().map_or(String::new(), summary);
        self.progress
            .advance(((epoch - 1) * batches + batch) as u64, &note);
    }
    fn epoch(&mut self, record: &EpochRecord) -> Result<()> {
        self.history.push(record.clone());
        if self.stale {
            self.folder.save_history(&self.history)?;
            self.stale = false;
        } else {
            self.folder.append_history(record)?;
        }
        self.progress
            .advance((record.epoch * self.batches) as u64, &summary(record));
        Ok(())
    }
    fn wants_checkpoint(&mut self) -> bool {
        self.saved.elapsed().as_secs_f64() >= self.every.0
    }
    fn checkpoint(&mut self, checkpoint: &Checkpoint<R>) -> Result<()> {
        checkpoint.save(&self.folder.checkpoint_file())?;
        self.saved = std::time::Instant::now();
        Ok(())
    }
    fn stop(&mut self) -> bool {
        self.progress.interrupted()
    }
}

/// One epoch in a few words.
fn summary(record: &EpochRecord) -> String {
    let scores = record
        .scores
        .map_or(String::new(), |s| format!(" ACC {:.3} NMI {:.3}", s.acc, s.nmi));
    format!(
        "epoch {} L_lap {:.4} L_orth {:.4}{scores}",
        record.epoch, record.l_lap, record.l_orth
    )
}

/// Rows with each label.
pub fn count(labels: &[u32], clusters: usize) -> Vec<u64> {
    let mut sizes = vec![0; clusters];
    for &label in labels {
        sizes[label as usize] += 1;
    }
    sizes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::{Fast, Matrix};
    use crate::options::{Device, Hidden, Neighbors};

    fn options() -> FitOptions {
        FitOptions {
            data: "mnist-t10k".into(),
            labels: None,
            clusters: 10,
            train_rows: 20_000,
            features: "auto".into(),
            sigma: Auto::Auto,
            neighbors: Neighbors::Nearest(10),
            gamma: Auto::Auto,
            penalty: crate::ops::Penalty::Squared,
            volumes: crate::ops::Volumes::Through,
            cut: crate::ops::Cut::Ncut,
            hidden: Hidden(vec![512, 512]),
            batch: 1000,
            epochs: 3,
            lr: 1e-3,
            weight_decay: 1e-4,
            seed: u64::from(rand::random::<u32>()),
            device: Device::Auto,
        }
    }

    #[test]
    fn rows_sorted_by_class_give_the_exact_cut_all_classes() {
        let options = options();
        println!("seed {}", options.seed);
        let ops = Fast::new(1).expect("a thread");
        let (rows, most) = (5003, 1001);
        let sorted = Matrix::from_rows(rows, 1, (0..rows).map(|i| i as f32).collect());
        let (x, drawn) = cut_rows(&ops, &options, &sorted, most).expect("memory for a few rows");
        let numbers: Vec<f32> = drawn.iter().map(|&row| row as f32).collect();
        assert_eq!(x[..], numbers, "rows and their numbers belong together");
        let mut once = drawn.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), most, "no row twice");
        // A tenth of the rows is a class. Hypergeometric, variance below 1001 x 0.1 x 0.9; six standard errors.
        for class in 0..10 {
            let count = drawn
                .iter()
                .filter(|&&row| row as usize * 10 / rows == class)
                .count();
            assert!(
                (count as f64 - 100.1).abs() < 6.0 * 9.5,
                "class {class}: {count} rows"
            );
        }
        let (_, all) = cut_rows(&ops, &options, &sorted, rows + 1).expect("memory for a few rows");
        assert_eq!(all.len(), rows);
    }

    #[test]
    fn a_training_larger_than_the_memory_is_refused_before_it_begins() {
        let ops = Fast::new(1).expect("a thread");
        check_memory(&ops, &options(), 70_000, 784).expect("MNIST fits anywhere");
        for (what, options) in [
            (
                "the network's parameters",
                FitOptions {
                    hidden: Hidden(vec![1 << 40]),
                    ..options()
                },
            ),
            (
                "the training rows",
                FitOptions {
                    train_rows: 1 << 45,
                    ..options()
                },
            ),
        ] {
            let message = check_memory(&ops, &options, 1 << 45, 784)
                .expect_err(what)
                .to_string();
            assert!(
                message.contains(what) && message.contains("--train-rows"),
                "{message}"
            );
        }
    }
}

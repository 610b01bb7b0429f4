//! `fit`: from data to a finished run folder.

mod checks;
mod gamma_search;
mod page;
mod start;
mod training;

pub use checks::{check, needs};
pub use gamma_search::{GammaSearch, LADDER, Rung, TOLERANCE, gamma_search};
pub use training::WARM_UP_BATCH;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::atomic;
use crate::data::csr::Csr;
use crate::data::npy::LabelWriter;
use crate::data::{Dataset, Labels};
use crate::error::{Error, Result};
use crate::estimate;
use crate::graph::{Cuts, count};
use crate::model::Model;
use crate::network::gathered;
use crate::ops::{Ops, Shape};
use crate::options::{Affinity, Auto, FitOptions};
use crate::predict::Predictor;
use crate::prepare::{Prepared, prepare, with_labels_from};
use crate::progress::Progress;
use crate::random::{Permutation, Purpose};
use crate::run_folder::RunFolder;
use crate::scores::{Contingency, Mean, Scores, nmi};
use crate::spectral::Spectrum;
use crate::train::{EpochRecord, TrainingGraph, TrainingRows, Truth, collapse, unlearned, winner};

/// Rows over which the exact cut is computed at most; its time grows with their square.
const CUT_ROWS: usize = 20_000;

/// The stages of a run.
const STAGES: [&str; 7] = [
    "features and graph",
    "estimates",
    "spectrum",
    "training",
    "labelling",
    "exact cut",
    "report",
];

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
    /// Width of the heat kernel, where there is one for all rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sigma: Option<f64>,
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

impl Metrics {
    /// Stages with their seconds, in the order in which they ran.
    pub fn phases(&self) -> Vec<(String, f64)> {
        let named = |stage: &&str| Some((stage.to_string(), *self.stages.get(*stage)?));
        STAGES.iter().filter_map(named).collect()
    }
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
    check(&options, data.rows())?;
    needs::<O>(&options, &data)?.check()?;
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

    let mut preparation = options.preparation();
    let prepared = prepare(ops, &mut preparation, &data, progress)?;
    let prepared = prepared.for_network(ops, &mut preparation, progress)?;
    options.adopt(preparation);
    stages.done("features and graph");
    let Prepared {
        chosen,
        x,
        pipeline,
        graph,
        graph_pipeline,
        ..
    } = &prepared;
    let resident = match graph {
        Some(graph) => Some(ops.graph("the graph of the training rows", graph)?),
        None => None,
    };

    progress.not_interrupted("training had not begun")?;
    let mut starts = start::Starter::new(ops, &options, &data, &prepared)?;
    let of = match &options.affinity {
        Affinity::Knn => format!(
            "; graph of {} neighbours on {}",
            options.neighbors, options.graph_features
        ),
        Affinity::File(path) => format!("; graph of {path}"),
        Affinity::Heat => String::new(),
    };
    progress.line(&format!("features {}{of}", options.features));
    let gamma = resolve(ops, &mut options, x, graph.as_ref(), progress)?;
    stages.done("estimates");
    let stored = match start {
        Start::Anew => None,
        Start::GoOn => folder.load_spectrum()?,
    };
    let fresh = match &stored {
        Some(_) => None,
        None => starts.spectrum(progress)?,
    };
    stages.done("spectrum");

    progress.not_interrupted("training had not begun")?;
    match start {
        Start::Anew => folder.clear()?,
        Start::GoOn if folder.features_file().exists() && folder.load_pipeline()? != *pipeline => {
            return Err(Error::option(
                "--resume",
                "the training rows have changed since the run began",
                "bring the old data back, or begin again with --overwrite",
            ));
        }
        Start::GoOn
            if folder.graph_file().exists() && graph.as_ref() != Some(&Csr::open(folder.graph_file())?) =>
        {
            return Err(Error::option(
                "--resume",
                "the graph of the training rows has changed since the run began",
                "bring the old data back, or begin again with --overwrite",
            ));
        }
        Start::GoOn => {}
    }
    // The folder is locked: nobody else is writing there.
    atomic::sweep(folder.path(), Duration::ZERO)?;
    // The options first: by them the folder is known to hold a run.
    folder.save_options(&options)?;
    pipeline.save(&folder.features_file())?;
    if let Some(graph) = graph {
        graph.save(folder.graph_file())?;
    }
    let mut numbers = LabelWriter::create(folder.training_rows_file(), chosen.len())?;
    numbers.write(&chosen.iter().map(|&row| row as u32).collect::<Vec<_>>())?;
    numbers.commit()?;
    if let Some(graph_pipeline) = graph_pipeline {
        graph_pipeline.save(&folder.graph_features_file())?;
    }
    if let Some(spectrum) = &fresh {
        folder.save_spectrum(spectrum)?;
    }

    let truth = data.labels().map(|labels| Labels {
        classes: labels.classes.clone(),
        index: chosen.iter().map(|&row| labels.index[row as usize]).collect(),
    });
    let plan = training::plan(&options, gamma, graph.as_ref());
    let rows = TrainingRows {
        x,
        graph: graph
            .as_ref()
            .zip(resident.as_ref())
            .map(|(edges, resident)| TrainingGraph { edges, resident }),
        truth: truth.as_ref().map(|labels| Truth {
            index: &labels.index,
            classes: labels.classes.len(),
        }),
    };
    let (model, history) = training::train_or_load(ops, &plan, &rows, &mut starts, folder, every, progress)
        .inspect_err(|_| {
        if !folder.has_progress() {
            // The first error is the one to tell.
            let _ = folder.clear();
        }
    })?;
    stages.done("training");

    let mut predictor = Predictor::new(ops, &model, pipeline)?.caching(pipeline, data.cache());
    let mut labels: Vec<u32> = Vec::with_capacity(data.rows());
    let mut writer = LabelWriter::create(folder.labels_file(), data.rows())?;
    predictor.label_all(&data, 0..data.rows(), false, progress, |chunk, _| {
        labels.extend_from_slice(chunk);
        writer.write(chunk)
    })?;
    writer.commit()?;
    stages.done("labelling");

    progress.not_interrupted("the training is over, its exact cut is not computed")?;
    let (cuts, cut_rows) = match graph {
        Some(graph) => {
            let of_rows: Vec<u32> = chosen.iter().map(|&row| labels[row as usize]).collect();
            (Cuts::of_graph(graph, &of_rows, options.clusters), of_rows.len())
        }
        None => {
            let (x, drawn) = cut_rows(ops, &options, x, CUT_ROWS)?;
            let cut_labels: Vec<u32> = drawn
                .iter()
                .map(|&i| labels[chosen[i as usize] as usize])
                .collect();
            let kernel = training::kernel(&options);
            let matrix = ops.cut_matrix(&x, &cut_labels, options.clusters, kernel)?;
            let sizes = count(&cut_labels, options.clusters);
            (Cuts::of(&matrix, &sizes), cut_labels.len())
        }
    };
    stages.done("exact cut");
    progress.not_interrupted("the training is over, its report is not written")?;

    let table = data
        .labels()
        .map(|truth| Contingency::new(&labels, options.clusters, &truth.index, truth.classes.len()))
        .transpose()?;
    let sizes = count(&labels, options.clusters);
    let spectrum = stored.or(fresh);
    // What the network was trained in: other attempts stay in the history alone.
    let winner = winner(&history);
    let attempt: Vec<EpochRecord> = history
        .into_iter()
        .filter(|record| Some(record.attempt) == winner)
        .collect();
    let of_spectrum = spectrum.as_ref().and_then(Spectrum::warning);
    let warnings = [collapse(&sizes), unlearned(&attempt), of_spectrum];
    let warnings: Vec<String> = warnings.into_iter().flatten().collect();
    let last = attempt.iter().rev().find(|record| record.agreement.is_none());
    let mut metrics = Metrics {
        data: data.name().to_string(),
        rows: data.rows(),
        train_rows: chosen.len(),
        scores: table.as_ref().map(Scores::from),
        nmi_arithmetic: table.as_ref().map(|table| nmi(table, Mean::Arithmetic)),
        cuts,
        cut_rows,
        l_lap: last.map_or(f64::NAN, |record| record.l_lap),
        l_orth: last.map_or(f64::NAN, |record| record.l_orth),
        sigma: options.sigma.value(),
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
        &attempt,
        &metrics,
        spectrum.as_ref(),
        table.as_ref(),
    )?;
    atomic::write(folder.report_file(), page)?;
    stages.done("report");
    metrics.seconds = stages.total();
    metrics.stages = stages.seconds;
    folder.remove_checkpoints()?;
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

/// At most `most` of the training rows `x`, and which of them: drawn by a shuffle that no epoch uses, since their own order
/// may be by class.
fn cut_rows<O: Ops>(
    ops: &O,
    options: &FitOptions,
    x: &O::Matrix,
    most: usize,
) -> Result<(O::Matrix, Vec<u32>)> {
    let rows = x.rows();
    let order = Permutation::new(options.seed, Purpose::Estimate, 0, rows as u64);
    let drawn: Vec<u32> = (0..rows.min(most) as u64).map(|i| order.at(i) as u32).collect();
    let x = gathered(ops, "the rows of the exact cut", x, &drawn)?;
    Ok((x, drawn))
}

/// Reads gamma, and the sigma that all rows share where there is no graph, from the data if they are `auto`; puts them into the
/// options, and returns gamma.
fn resolve<O: Ops>(
    ops: &O,
    options: &mut FitOptions,
    x: &O::Matrix,
    graph: Option<&Csr>,
    progress: &mut dyn Progress,
) -> Result<f64> {
    if graph.is_none() && options.sigma == Auto::Auto {
        let found = estimate::sigma(ops, x, options.batch, options.seed)?.ok_or_else(|| {
            // The 7th neighbour sets the scale; in a smaller mini-batch, the farthest.
            let duplicates = 7.min(options.batch - 1);
            Error::option(
                "--sigma",
                format!(
                    "auto fails: half of the rows have exact duplicates in a mini-batch, {duplicates} or more"
                ),
                "give a number, in the unit of the features, or remove duplicate rows",
            )
        })?;
        progress.line(&format!(
            "sigma {found:.4} (from the distances to the 7th neighbour)"
        ));
        options.sigma = Auto::Value(found);
    }
    progress.not_interrupted("training had not begun")?;
    let gamma = match options.gamma {
        Auto::Value(gamma) => gamma,
        Auto::Auto => {
            let model = Model::random(options.seed, x.cols(), &options.hidden.0, options.clusters);
            let source = match graph {
                Some(edges) => estimate::Source::Graph {
                    edges,
                    per_seed: options.seed_neighbors,
                },
                None => estimate::Source::Heat(training::kernel(options)),
            };
            let spectrum =
                estimate::smooth_spectrum(ops, x, &model, source, options.cut, options.batch, options.seed)?;
            let found = spectrum.gamma(options.clusters, options.penalty);
            progress.line(&format!(
                "gamma {found:.4} (from the spectrum of a mini-batch graph)"
            ));
            found
        }
    };
    options.gamma = Auto::Value(gamma);
    Ok(gamma)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::{Fast, Matrix};
    use crate::options::{Arithmetic, Device, Hidden, Neighbors, Subgraph};

    /// The defaults on the built-in data.
    pub fn options() -> FitOptions {
        FitOptions {
            data: "mnist-t10k".into(),
            labels: None,
            clusters: 10,
            train_rows: 20_000,
            features: "auto".into(),
            sigma: Auto::Auto,
            affinity: Affinity::Knn,
            graph_features: "auto".into(),
            neighbors: Neighbors::Auto,
            one_sided: 0.1,
            seed_neighbors: 4,
            subgraph: Subgraph::Auto,
            start: crate::options::Start::Spectral,
            warm_up: 3,
            restarts: 1,
            moves: 0,
            overcluster: 1.0,
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
            precision: Arithmetic::Auto,
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
}

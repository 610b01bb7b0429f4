//! The classical methods, on the same rows, the same features and the same graph as the network, judged by the same scores.

mod kmeans;
mod landmark;
mod landmarks;
mod nystrom;
mod spectral;

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Instant;

use serde::Serialize;

use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::graph::{Cuts, count};
use crate::memory::Needs;
use crate::ops::{Cut, Ops};
use crate::options::{Auto, Preparation};
use crate::prepare::Prepared;
use crate::progress::Progress;
use crate::scores::{Contingency, Mean, Scores, nmi};
use crate::spectral::EXTRA;
use landmarks::CHUNK;

/// A classical method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Lloyd's k-means from k-means++ starts, on the features. Other rows go to the nearest centre.
    Kmeans,
    /// Spectral clustering of the graph of the training rows. Other rows take the label of most of their nearest training rows.
    Spectral,
    /// Spectral clustering of the dense heat kernel, as the Nystrom extension from some landmarks approximates it.
    Nystrom,
    /// Spectral clustering of the graph in which rows are tied through the landmarks next to them (an anchor graph).
    Landmark,
}

impl Method {
    /// All of them.
    pub const ALL: [Method; 4] = [
        Method::Kmeans,
        Method::Spectral,
        Method::Nystrom,
        Method::Landmark,
    ];

    /// As typed.
    pub fn name(self) -> &'static str {
        match self {
            Method::Kmeans => "kmeans",
            Method::Spectral => "spectral",
            Method::Nystrom => "nystrom",
            Method::Landmark => "landmark",
        }
    }

    /// Refuses a cut that the method does not relax: landmarks stand for the normalised cut only.
    ///
    /// # Errors
    /// [`Error::Option`].
    pub fn check(self, cut: Cut) -> Result<()> {
        match (self, cut) {
            (Method::Nystrom | Method::Landmark, Cut::Rcut) => Err(Error::option(
                "--cut",
                format!("{} stands for the normalised cut only", self.name()),
                "choose ncut, or the method spectral",
            )),
            _ => Ok(()),
        }
    }
}

impl FromStr for Method {
    type Err = String;
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let found = Method::ALL.into_iter().find(|method| method.name() == text);
        found.ok_or_else(|| format!("choose from {}", Method::ALL.map(Method::name).join(", ")))
    }
}

/// What a method is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Task {
    /// Number of clusters.
    pub clusters: usize,
    /// The cut that spectral clustering relaxes.
    pub cut: Cut,
    /// Landmarks, where there are any; at most all training rows.
    pub landmarks: usize,
    /// Width of the dense heat kernel.
    pub sigma: Auto,
    /// Seed of starts and landmarks.
    pub seed: u64,
}

/// What came of it; the names are those of a run's metrics.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// Name of the method.
    pub method: &'static str,
    /// Name of the data.
    pub data: String,
    /// Rows labelled.
    pub rows: usize,
    /// Rows that the clustering was made of.
    pub train_rows: usize,
    /// Agreement with the labels over all rows, when there are labels.
    #[serde(flatten)]
    pub scores: Option<Scores>,
    /// NMI with the arithmetic mean, when there are labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nmi_arithmetic: Option<f64>,
    /// Exact cuts of the labels of the training rows, under their graph.
    #[serde(flatten)]
    pub cuts: Cuts,
    /// Rows the cuts were computed on.
    pub cut_rows: usize,
    /// Rows in each cluster, of all rows.
    pub sizes: Vec<u64>,
    /// Seconds of each stage.
    pub stages: BTreeMap<String, f64>,
    /// Seconds from the first row read to the last label; the graph counts where the method needs it.
    pub seconds: f64,
    /// Seed of everything random.
    pub seed: u64,
    /// Device and precision.
    pub device: String,
    /// The label of each row of the data.
    #[serde(skip)]
    pub labels: Vec<u32>,
}

/// What a method holds in memory, the preparation included.
///
/// # Errors
/// Where the options do not fit the data.
pub fn needs<O: Ops>(
    method: Method,
    task: &Task,
    preparation: &Preparation,
    data: &Dataset,
) -> Result<Needs> {
    const ADVICE: &str = "use fewer rows (--train-rows) or fewer --landmarks";
    let mut needs = Needs::of_preparation::<O>(preparation, data)?;
    let vectors = task.clusters.saturating_add(EXTRA);
    let rows = needs.matrix(needs.graph_columns);
    let labels = ("the labels", 8.0 * data.rows() as f64);
    match method {
        Method::Kmeans => {}
        Method::Spectral => needs.spectrum(vectors),
        Method::Nystrom | Method::Landmark => {
            let landmarks = (task.landmarks.max(vectors) as f64).min(needs.rows);
            let vectors = (vectors as f64).min(landmarks);
            let parts = [
                ("the rows of the graph", rows),
                // An eigenproblem, and what it is made of.
                ("the landmarks", 7.0 * 8.0 * landmarks * landmarks),
                // In f64 and in the backend's numbers, and the weights of a chunk of rows.
                (
                    "the eigenvectors",
                    needs.rows * vectors * (16.0 + 2.0 * needs.number),
                ),
                (
                    "a chunk of rows",
                    CHUNK as f64 * landmarks * (16.0 + 2.0 * needs.number),
                ),
            ];
            needs.stage("the eigenvectors by landmarks", ADVICE, &parts);
        }
    }
    // Other rows ask training rows, themselves and made ready.
    needs.stage(
        "the labelling",
        ADVICE,
        &[("the rows of the graph", 2.0 * rows), labels],
    );
    Ok(needs)
}

/// Clusters the prepared rows, labels all rows of the data, and scores the labels.
///
/// # Errors
/// [`Error::Option`] for more clusters than training rows or without a graph, [`Error::Memory`], [`Error::Interrupted`], and those
/// of reading.
pub fn run<O: Ops>(
    ops: &O,
    method: Method,
    task: &Task,
    prepared: &Prepared<O>,
    data: &Dataset,
    progress: &mut dyn Progress,
) -> Result<Outcome> {
    let began = Instant::now();
    method.check(task.cut)?;
    let Some(graph) = &prepared.graph else {
        return Err(Error::option(
            "--affinity",
            "the baselines are judged by a graph of all training rows",
            "choose knn, or a file",
        ));
    };
    if task.clusters > prepared.chosen.len() {
        return Err(Error::option(
            "--clusters",
            format!(
                "{} clusters of {} training rows",
                task.clusters,
                prepared.chosen.len()
            ),
            "ask for fewer clusters or give more rows",
        ));
    }
    let labels = match method {
        Method::Kmeans => kmeans::labels(ops, task, prepared, data, progress)?,
        Method::Spectral => spectral::labels(ops, task, prepared, graph, data, progress)?,
        Method::Nystrom => nystrom::labels(ops, task, prepared, data, progress)?,
        Method::Landmark => landmark::labels(ops, task, prepared, data, progress)?,
    };
    let clustering = began.elapsed().as_secs_f64();
    let spent = &prepared.seconds;
    let mut stages = BTreeMap::from([("features".to_string(), spent.features)]);
    if method != Method::Kmeans {
        stages.insert("graph features".to_string(), spent.graph_features);
    }
    if method == Method::Spectral {
        stages.insert("graph".to_string(), spent.graph);
    }
    stages.insert("clustering".to_string(), clustering);
    let of_training: Vec<u32> = prepared.chosen.iter().map(|&row| labels[row as usize]).collect();
    let table = data
        .labels()
        .map(|truth| Contingency::new(&labels, task.clusters, &truth.index, truth.classes.len()))
        .transpose()?;
    Ok(Outcome {
        method: method.name(),
        data: data.name().to_string(),
        rows: data.rows(),
        train_rows: prepared.chosen.len(),
        scores: table.as_ref().map(Scores::from),
        nmi_arithmetic: table.as_ref().map(|table| nmi(table, Mean::Arithmetic)),
        cuts: Cuts::of_graph(graph, &of_training, task.clusters),
        cut_rows: of_training.len(),
        sizes: count(&labels, task.clusters),
        seconds: stages.values().sum(),
        stages,
        seed: task.seed,
        device: ops.name(),
        labels,
    })
}

#[cfg(test)]
mod tests;

//! From data to what a clustering works on: the training rows, their features, and their graph.

use std::path::Path;
use std::time::Instant;

use crate::data::csr::Csr;
use crate::data::raw::Raw;
use crate::data::{Dataset, Labels};
use crate::eigen::bytes_of_eigen;
use crate::error::{Error, Result};
use crate::estimate;
use crate::features::{self, Loader, Pipeline, Reader, Transform, Widths};
use crate::graph::{GraphRule, Width, build, distinct};
use crate::network::gathered_training_rows;
use crate::ops::{Ops, Shape};
use crate::options::{Affinity, Auto, Neighbors, ONE_SIDED, Preparation};
use crate::progress::Progress;
use crate::random::{Permutation, Purpose};
use crate::values;

/// Rows that are read at a time.
const CHUNK: usize = 4096;

/// The training rows of some data, as a clustering reads them.
pub struct Prepared<O: Ops> {
    /// Which rows of the data they are.
    pub chosen: Vec<u64>,
    /// Whether it was left to the data how their features are made.
    left_to_data: bool,
    /// Their features, as the network reads them.
    pub x: O::Matrix,
    /// How these were made.
    pub pipeline: Pipeline,
    /// The graph, unless affinities are computed within mini-batches.
    pub graph: Option<Csr>,
    /// How the features that it was built on were made, when it was built here.
    pub graph_pipeline: Option<Pipeline>,
    /// How long it took.
    pub seconds: Seconds,
}

/// Wall seconds of the parts of a preparation.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Seconds {
    /// Reading rows and making what the network reads.
    pub features: f64,
    /// Choosing and making what the graph is built on.
    pub graph_features: f64,
    /// Building the graph.
    pub graph: f64,
}

impl<O: Ops> Prepared<O> {
    /// How rows are made that can be compared with those of the graph: as those were, or, where the graph came from a file, as the
    /// network reads them.
    pub fn graph_pipeline(&self) -> &Pipeline {
        self.graph_pipeline.as_ref().unwrap_or(&self.pipeline)
    }

    /// The same with what a network that is to follow a graph needs beside the usual features, where these are left to the data: the
    /// graph joins each row to its nearest, however near, but a network sees numbers in the unit of all.
    pub fn for_network(
        mut self,
        ops: &O,
        options: &mut Preparation,
        progress: &mut dyn Progress,
    ) -> Result<Self> {
        let began = Instant::now();
        let transforms = self.pipeline.transforms();
        if self.left_to_data
            && self.graph.is_some()
            && estimate::quantiles_help(
                ops,
                &transforms,
                &self.x,
                options.clusters.unwrap_or(0),
                options.seed,
            )?
        {
            let more = [Transform::Quantiles];
            (self.pipeline, self.x) = self.pipeline.extend(ops, &more, self.x, options.seed, progress)?;
            options.features = features::describe(&self.pipeline.transforms());
            self.seconds.features += began.elapsed().as_secs_f64();
        }
        Ok(self)
    }

    /// The training rows made so.
    pub fn graph_rows(&self, ops: &O, data: &Dataset, progress: &mut dyn Progress) -> Result<O::Matrix> {
        self.graph_pipeline()
            .training_rows(ops, data, &self.chosen, progress)
    }
}

/// Checks what can be checked without the data.
pub fn check(options: &Preparation) -> Result<()> {
    values::at_least("--train-rows", 2, options.train_rows)?;
    if let Auto::Value(sigma) = options.sigma {
        values::positive("--sigma", sigma)?;
    }
    values::neighbors(options.neighbors)?;
    values::share("--one-sided", options.one_sided)?;
    for (option, list) in [
        ("--features", &options.features),
        ("--graph-features", &options.graph_features),
    ] {
        if list != "auto" {
            features::parse(option, list)?;
        }
    }
    if let Affinity::File(_) = options.affinity {
        let built = [
            ("--graph-features", options.graph_features != "auto"),
            ("--one-sided", options.one_sided != ONE_SIDED),
            ("--neighbors", options.neighbors != Neighbors::Auto),
        ];
        if let Some((option, _)) = built.into_iter().find(|(_, given)| *given) {
            return Err(Error::option(
                option,
                "an affinity from a file is taken as it is",
                "leave it away, or choose --affinity knn",
            ));
        }
    }
    Ok(())
}

/// Reads the training rows, and makes their features and their graph as `options` say; puts into the options what was left to the
/// data.
pub fn prepare<O: Ops>(
    ops: &O,
    options: &mut Preparation,
    data: &Dataset,
    progress: &mut dyn Progress,
) -> Result<Prepared<O>> {
    let began = Instant::now();
    let mut seconds = Seconds::default();
    let chosen = training_rows(options, data.rows());
    let seed = options.seed;
    // What is left to the data is chosen by its rows, which are then no pictures to be scattered.
    let (transforms, loaded) = match given_transforms("--features", &options.features)? {
        Some(given) => (given, None),
        None => {
            let rows = load_rows(ops, data, &chosen, &Reader::plain(data.cols()), progress)?;
            (usual_transforms(ops, data, &rows, seed)?, Some(rows))
        }
    };
    let left_to_data = loaded.is_some();
    options.features = features::describe(&transforms);
    let (pipeline, x) =
        features::kept_or_fitted(ops, data, &chosen, &transforms, seed, progress, |progress| {
            let reader = Reader::new("--features", &transforms, data)?;
            let rows = match loaded {
                Some(rows) => rows,
                None => load_rows(ops, data, &chosen, &reader, progress)?,
            };
            if transforms.iter().any(|t| matches!(t, Transform::Pca(_))) {
                // Eigenvectors of thousands of columns take a while.
                progress.line(&format!(
                    "fitting {} on {} rows",
                    features::describe(&transforms),
                    chosen.len()
                ));
            }
            Pipeline::fit(ops, reader, &transforms, rows, seed, progress)
        })?;
    seconds.features = began.elapsed().as_secs_f64();
    let mut graph_pipeline = None;
    let graph = match &options.affinity {
        Affinity::Heat => None,
        Affinity::File(path) => Some(graph_from(Path::new(path), chosen.len())?),
        Affinity::Knn => {
            let began = Instant::now();
            let of_graph = match given_transforms("--graph-features", &options.graph_features)? {
                Some(given) => given,
                None => graph_transforms(ops, data, &chosen, &transforms, &x, seed, progress)?,
            };
            options.graph_features = features::describe(&of_graph);
            // What the network reads is often the beginning of it.
            let (of_graph, rows) = match of_graph.strip_prefix(&transforms[..]) {
                Some([]) => (pipeline.clone(), copied(ops, &x)?),
                more => {
                    features::kept_or_fitted(ops, data, &chosen, &of_graph, seed, progress, |progress| {
                        match more {
                            Some(more) => pipeline.extend(ops, more, copied(ops, &x)?, seed, progress),
                            None => {
                                let reader = Reader::new("--graph-features", &of_graph, data)?;
                                let rows = load_rows(ops, data, &chosen, &reader, progress)?;
                                Pipeline::fit(ops, reader, &of_graph, rows, seed, progress)
                            }
                        }
                    })?
                }
            };
            graph_pipeline = Some(of_graph);
            seconds.graph_features = began.elapsed().as_secs_f64();
            check_distinct(distinct(ops, &rows, progress)?, options)?;
            let rule = graph_rule(options, chosen.len())?;
            options.neighbors = Neighbors::Nearest(rule.neighbors);
            let began = Instant::now();
            let graph = build(ops, &rows, rule, progress)?;
            seconds.graph = began.elapsed().as_secs_f64();
            Some(graph)
        }
    };
    Ok(Prepared {
        chosen,
        left_to_data,
        x,
        pipeline,
        graph,
        graph_pipeline,
        seconds,
    })
}

/// How the neighbour graph of so many rows is made.
pub fn graph_rule(options: &Preparation, rows: usize) -> Result<GraphRule> {
    let neighbors = match options.neighbors {
        Neighbors::Auto => usual_neighbors(rows, options.clusters),
        Neighbors::Nearest(count) => count,
        Neighbors::All => {
            return Err(Error::option(
                "--neighbors",
                "all rows are no neighbour graph",
                "give a number, or --affinity heat for the dense kernel within mini-batches",
            ));
        }
    };
    let width = match options.sigma {
        Auto::Auto => Width::SelfTuning,
        Auto::Value(sigma) => Width::Fixed(sigma),
    };
    Ok(GraphRule {
        neighbors,
        width,
        one_sided: options.one_sided,
    })
}

/// Equal rows cannot be told apart.
fn check_distinct(distinct: usize, options: &Preparation) -> Result<()> {
    match options.clusters {
        Some(clusters) if clusters > distinct => Err(Error::option(
            "--clusters",
            format!(
                "{clusters} clusters of {distinct} different rows (as features {} make them)",
                options.graph_features
            ),
            "ask for fewer clusters, or give rows that differ more",
        )),
        _ => Ok(()),
    }
}

/// What `--features auto` means.
pub fn usual_transforms<O: Ops>(
    ops: &O,
    data: &Dataset,
    rows: &O::Matrix,
    seed: u64,
) -> Result<Vec<Transform>> {
    match data.is_pixels() {
        true => Ok(vec![Transform::Pixels, Transform::Center, Transform::Unit]),
        false => estimate::usual_transforms(ops, rows, seed),
    }
}

/// Lengths of rows on their way to the network, before the long work begins, at most.
pub fn widths(options: &Preparation, data: &Dataset) -> Result<Widths> {
    let widths = usual_widths(options, data)?;
    let may_be_crowded = options.features == "auto" && estimate::may_be_crowded(widths.transformed);
    Ok(Widths {
        transformed: widths.transformed * if may_be_crowded { 2 } else { 1 },
        ..widths
    })
}

/// The same without what `auto` adds for the network alone.
fn usual_widths(options: &Preparation, data: &Dataset) -> Result<Widths> {
    let transforms = given_transforms("--features", &options.features)?;
    Widths::of("--features", &transforms.unwrap_or_default(), data)
}

/// Lengths of the rows that the graph is built on, from the data, or from what the network reads, where they begin with that.
pub fn graph_widths(options: &Preparation, data: &Dataset) -> Result<Widths> {
    let of_network = usual_widths(options, data)?;
    let columns = of_network.transformed;
    let Some(transforms) = given_transforms("--graph-features", &options.graph_features)? else {
        return Ok(Widths {
            read: columns,
            trained: 0,
            eigenproblem: match estimate::may_be_whitened(options.train_rows.min(data.rows()), columns) {
                true => bytes_of_eigen(columns),
                false => 0.0,
            },
            ..of_network
        });
    };
    let all = Widths::of("--graph-features", &transforms, data)?;
    Ok(match given_transforms("--features", &options.features)? {
        Some(first) if transforms.starts_with(&first) => Widths {
            read: columns,
            trained: all.trained - of_network.trained,
            ..all
        },
        _ => all,
    })
}

/// A list of transforms as typed, unless it is left to the data.
fn given_transforms(option: &'static str, text: &str) -> Result<Option<Vec<Transform>>> {
    match text {
        "auto" => Ok(None),
        list => features::parse(option, list).map(Some),
    }
}

/// What `--graph-features auto` means: those of the network, which have made `x`, and whitening where it makes better neighbours.
fn graph_transforms<O: Ops>(
    ops: &O,
    data: &Dataset,
    chosen: &[u64],
    transforms: &[Transform],
    x: &O::Matrix,
    seed: u64,
    progress: &mut dyn Progress,
) -> Result<Vec<Transform>> {
    let mut all = transforms.to_vec();
    let question = format!("whitening helps {}, seed {seed}", features::describe(transforms));
    if features::kept_choice(ops, data, chosen, &question, || {
        estimate::whitening_helps(ops, x, seed, progress)
    })? {
        all.extend(estimate::WHITENED);
    }
    Ok(all)
}

/// Neighbours of a row, unless a number is given: enough for a graph of a million rows to be in one piece, and fewer where clusters
/// have few rows.
const NEIGHBORS: usize = 15;

fn usual_neighbors(rows: usize, clusters: Option<usize>) -> usize {
    let half_a_cluster = rows / (2 * clusters.unwrap_or(1));
    NEIGHBORS
        .min(half_a_cluster.max(3))
        .min(rows.saturating_sub(1).max(1))
}

/// A graph from a file, which must be of as many rows.
fn graph_from(path: &Path, rows: usize) -> Result<Csr> {
    let graph = Csr::open(path)?;
    if graph.rows() != rows {
        return Err(Error::file(
            path,
            format!("an affinity of {} rows for {rows} training rows", graph.rows()),
            "train on all rows (--train-rows), or give the affinity of those that are trained on",
        ));
    }
    let volume: f64 = graph.values.iter().map(|&value| f64::from(value)).sum();
    if volume > f32::MAX.into() {
        return Err(Error::file(
            path,
            format!("an affinity whose sum, {volume:.0e}, is too large for f32"),
            "divide it by a number: cuts do not depend on its unit",
        ));
    }
    if !graph.values.iter().any(|&value| value > 0.0) {
        return Err(Error::file(
            path,
            "an affinity without any entry above 0",
            "give one in which rows that are alike have entries",
        ));
    }
    Ok(graph)
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

/// The rows trained on: drawn at random by the seed, or all in order when that many are there.
fn training_rows(options: &Preparation, rows: usize) -> Vec<u64> {
    if options.train_rows >= rows {
        return (0..rows as u64).collect();
    }
    let order = Permutation::new(options.seed, Purpose::TrainRows, 0, rows as u64);
    let mut chosen: Vec<u64> = (0..options.train_rows as u64).map(|i| order.at(i)).collect();
    chosen.sort_unstable();
    chosen
}

/// Reads the given rows into a backend's memory, as `reader` hands them on.
pub fn load_rows<O: Ops>(
    ops: &O,
    data: &Dataset,
    rows: &[u64],
    reader: &Reader,
    progress: &mut dyn Progress,
) -> Result<O::Matrix> {
    let cols = data.cols();
    let mut x = ops.training_rows(rows.len(), reader.outputs())?;
    let kept = Pipeline::new(reader.clone()).kept(ops, data.cache());
    let mut loader = Loader::new(ops, reader, CHUNK.min(rows.len()))?.caching(kept);
    let mut chunk = vec![0.0; CHUNK.min(rows.len()) * cols];
    progress.begin("reading", rows.len() as u64, "rows");
    for (i, rows) in rows.chunks(CHUNK).enumerate() {
        progress.not_interrupted("training had not begun")?;
        let chunk = &mut chunk[..rows.len() * cols];
        data.gather_rows(rows, chunk)?;
        loader.load_training_rows(ops, Raw::F32(chunk), &mut x, i * CHUNK)?;
        progress.advance((i * CHUNK + rows.len()) as u64, "");
    }
    progress.end();
    debug_assert_eq!(x.rows(), rows.len());
    Ok(x)
}

/// A copy of training rows.
fn copied<O: Ops>(ops: &O, x: &O::Matrix) -> Result<O::Matrix> {
    let all: Vec<u32> = (0..x.rows() as u32).collect();
    gathered_training_rows(ops, "the rows of the graph", x, &all)
}

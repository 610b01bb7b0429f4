//! The labels that training begins with.

use std::path::Path;

use super::Prepared;
use crate::data::{Dataset, Labels};
use crate::error::{Error, Result};
use crate::ops::{Ops, Shape};
use crate::options::{FitOptions, Start};
use crate::progress::Progress;
use crate::spectral::{Embedding, Labelling, Spectrum, embed, kmeans, starts, vectors_wanted};
use crate::train::Targets;

/// Eigenvalues that a run shows at least, and beyond the number of clusters.
const LEAST_SHOWN: usize = 15;
const SHOWN_BEYOND: usize = 5;

/// Eigenvectors of the training graph that are computed: those that a start looks at, and some more eigenvalues to show.
pub fn eigenvectors(options: &FitOptions) -> usize {
    let clusters = options.first_clusters();
    vectors_wanted(clusters)
        .max(clusters.saturating_add(SHOWN_BEYOND))
        .max(LEAST_SHOWN)
}

/// Gives labels to begin with, computing the costly part once.
pub struct Starter<'a, O: Ops> {
    ops: &'a O,
    options: FitOptions,
    prepared: &'a Prepared<O>,
    /// Labels from a file, of the training rows.
    given: Option<Vec<u32>>,
    embedding: Option<Embedding<O>>,
}

impl<'a, O: Ops> Starter<'a, O> {
    /// Nothing is computed yet, but what can be refused is.
    pub fn new(ops: &'a O, options: &FitOptions, data: &Dataset, prepared: &'a Prepared<O>) -> Result<Self> {
        let given = match &options.start {
            Start::Labels(path) => Some(given(Path::new(path), data, prepared, options.clusters)?),
            Start::Spectral if prepared.graph.is_none() => {
                return Err(Error::option(
                    "--start",
                    "a spectral start needs the graph of the training rows",
                    "choose --affinity knn, or --start kmeans or random",
                ));
            }
            _ => None,
        };
        Ok(Starter {
            ops,
            options: options.clone(),
            prepared,
            given,
            embedding: None,
        })
    }

    /// The labels that attempt `attempt` begins with, below `clusters`, improved on the graph; none for a random start.
    pub fn targets(
        &mut self,
        attempt: usize,
        clusters: usize,
        progress: &mut dyn Progress,
    ) -> Result<Option<Targets>> {
        let seed = self.options.seed.wrapping_add((attempt as u64) << 32);
        let (ops, cut, prepared) = (self.ops, self.options.cut, self.prepared);
        let alone = |labels| vec![Labelling { labels, usual: true }];
        let found = match (&self.options.start, &prepared.graph) {
            (Start::Random, _) => return Ok(None),
            (Start::Labels(_), _) => alone(self.given.clone().unwrap_or_default()),
            (Start::Spectral, Some(graph)) => {
                let embedding = self.embedding(progress)?;
                embedding.labellings(ops, graph, clusters, cut, seed, progress)?
            }
            _ => alone(kmeans(ops, &prepared.x, clusters, starts(clusters), seed, progress)?.labels),
        };
        match &prepared.graph {
            Some(graph) => Targets::refined(graph, found, clusters, cut, seed, progress),
            None => Ok(found.into_iter().next().map(|found| Targets::of(found.labels))),
        }
    }

    /// The spectrum of the training graph, if there is one.
    pub fn spectrum(&mut self, progress: &mut dyn Progress) -> Result<Option<Spectrum>> {
        if self.prepared.graph.is_none() {
            return Ok(None);
        }
        Ok(Some(Spectrum::of(self.embedding(progress)?)))
    }

    /// The leading eigenvectors of the training graph.
    fn embedding(&mut self, progress: &mut dyn Progress) -> Result<&Embedding<O>> {
        let found = match self.embedding.take() {
            Some(found) => found,
            None => {
                let Some(graph) = &self.prepared.graph else {
                    unreachable!("refused before");
                };
                let count = eigenvectors(&self.options);
                let found = embed(
                    self.ops,
                    graph,
                    count,
                    self.options.cut,
                    self.options.seed,
                    progress,
                )?;
                let residual = found.residuals.iter().copied().fold(0.0, f64::max);
                progress.line(&format!(
                    "spectrum of {} rows: residuals up to {residual:.0e}",
                    graph.rows()
                ));
                found
            }
        };
        Ok(self.embedding.insert(found))
    }
}

/// The labels that a file gives the training rows.
fn given<O: Ops>(path: &Path, data: &Dataset, prepared: &Prepared<O>, clusters: usize) -> Result<Vec<u32>> {
    let labels = Labels::open(path)?;
    let rows = prepared.x.rows();
    let all = labels.len() == data.rows();
    if !all && labels.len() != rows {
        return Err(Error::file(
            path,
            format!(
                "{} labels for {} rows, {rows} of them trained on",
                labels.len(),
                data.rows()
            ),
            "there must be one label for each row, or for each training row",
        ));
    }
    if labels.classes.len() > clusters {
        return Err(Error::file(
            path,
            format!(
                "{} different labels to begin {clusters} clusters with",
                labels.classes.len()
            ),
            "ask for as many --clusters, or give fewer different labels",
        ));
    }
    Ok(match all {
        true => prepared
            .chosen
            .iter()
            .map(|&row| labels.index[row as usize])
            .collect(),
        false => labels.index,
    })
}

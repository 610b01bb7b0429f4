//! The labels that training begins with.

use std::path::Path;

use super::Prepared;
use crate::data::{Dataset, Labels};
use crate::error::{Error, Result};
use crate::graph::refine;
use crate::ops::{Cut, Ops, Shape};
use crate::options::{FitOptions, Start};
use crate::progress::Progress;
use crate::spectral::{Embedding, embed, kmeans};

/// Starts of k-means, of which the best is taken.
const STARTS: usize = 10;

/// Eigenvectors beyond the number of clusters that spectral clustering looks at.
const EXTRA: usize = 2;

/// Gives labels to begin with, computing the costly part once.
pub struct Starter<'a, O: Ops> {
    ops: &'a O,
    options: FitOptions,
    prepared: &'a Prepared<O>,
    /// Labels from a file, of the training rows.
    given: Option<Vec<u32>>,
    embedding: Option<(usize, Embedding<O>)>,
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
    pub fn labels(
        &mut self,
        attempt: usize,
        clusters: usize,
        progress: &mut dyn Progress,
    ) -> Result<Option<Vec<u32>>> {
        let seed = self.options.seed.wrapping_add((attempt as u64) << 32);
        let mut labels = match &self.options.start {
            Start::Random => return Ok(None),
            Start::Labels(_) => self.given.clone().unwrap_or_default(),
            Start::Kmeans => kmeans(self.ops, &self.prepared.x, clusters, STARTS, seed, progress)?.labels,
            Start::Spectral => {
                let ops = self.ops;
                let embedding = self.embedding(clusters, progress)?;
                kmeans(ops, &embedding.vectors, clusters, STARTS, seed, progress)?.labels
            }
        };
        if let Some(graph) = &self.prepared.graph {
            refine(graph, &mut labels, clusters, self.options.cut, seed);
        }
        Ok(Some(labels))
    }

    /// The embedding for so many clusters.
    pub fn embedding(&mut self, clusters: usize, progress: &mut dyn Progress) -> Result<&Embedding<O>> {
        let known = self.embedding.as_ref().is_some_and(|(of, _)| *of == clusters);
        if !known {
            let Some(graph) = &self.prepared.graph else {
                unreachable!("refused before");
            };
            let (cut, seed) = (self.options.cut, self.options.seed);
            let mut embedding = embed(self.ops, graph, clusters + EXTRA, cut, seed)?;
            if cut == Cut::Ncut {
                self.ops.normalize_rows(1.0, &mut embedding.vectors)?;
            }
            progress.line(&format!(
                "spectrum of {} rows: residuals up to {:.0e}",
                graph.rows(),
                embedding.residual
            ));
            self.embedding = Some((clusters, embedding));
        }
        match &self.embedding {
            Some((_, embedding)) => Ok(embedding),
            None => unreachable!("made above"),
        }
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
            format!("{} labels for {} rows, {rows} of them trained on", labels.len(), data.rows()),
            "there must be one label for each row, or for each training row",
        ));
    }
    if labels.classes.len() > clusters {
        return Err(Error::file(
            path,
            format!("{} different labels to begin {clusters} clusters with", labels.classes.len()),
            "ask for as many --clusters, or give fewer different labels",
        ));
    }
    Ok(match all {
        true => prepared.chosen.iter().map(|&row| labels.index[row as usize]).collect(),
        false => labels.index,
    })
}

//! Spectral clustering of the graph of the training rows (Ng, Jordan and Weiss, 2002); other rows ask their neighbours.

use super::Task;
use crate::data::Dataset;
use crate::data::csr::Csr;
use crate::error::Result;
use crate::ops::Ops;
use crate::prepare::Prepared;
use crate::progress::Progress;
use crate::spectral::cluster;

/// Nearest training rows that a row asks for its label; the nearest of those decides a draw.
const ASKED: usize = 5;

pub(super) fn labels<O: Ops>(
    ops: &O,
    task: &Task,
    prepared: &Prepared<O>,
    graph: &Csr,
    data: &Dataset,
    progress: &mut dyn Progress,
) -> Result<Vec<u32>> {
    let known = cluster(ops, graph, task.clusters, task.cut, task.seed, progress)?;
    if known.len() == data.rows() {
        return Ok(known);
    }
    let training = prepared.graph_rows(ops, data, progress)?;
    let mut labels = Vec::with_capacity(data.rows());
    prepared
        .graph_pipeline()
        .each_chunk(ops, data, 0, "labelling", progress, |x| {
            let asked = ASKED.min(known.len());
            let found = ops.nearest(x, &training, asked)?;
            labels.extend(
                found
                    .rows
                    .chunks_exact(asked)
                    .map(|rows| most_frequent(rows, &known)),
            );
            Ok(())
        })?;
    for (&row, label) in prepared.chosen.iter().zip(known) {
        labels[row as usize] = label;
    }
    Ok(labels)
}

/// The label that most of some rows have, the first among equals.
fn most_frequent(rows: &[u32], labels: &[u32]) -> u32 {
    let of = |row: &u32| labels[*row as usize];
    let votes = |label: u32| rows.iter().filter(|row| of(row) == label).count();
    // The last of the largest is taken, hence from the far end.
    rows.iter()
        .rev()
        .map(of)
        .max_by_key(|&label| votes(label))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_neighbours_decide_and_the_nearest_a_draw() {
        let labels = [0, 1, 1, 2, 0];
        assert_eq!(most_frequent(&[0, 1, 2], &labels), 1);
        assert_eq!(most_frequent(&[3, 1, 0], &labels), 2);
        assert_eq!(most_frequent(&[3, 1, 0, 4, 2], &labels), 1);
    }
}

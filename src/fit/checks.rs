//! What is refused before the long work begins.

use super::start::eigenvectors;
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::features::Widths;
use crate::memory::Needs;
use crate::ops::Ops;
use crate::options::{Affinity, Auto, FitOptions, ONE_SIDED, SEED_NEIGHBORS, Start, Subgraph};
use crate::predict::CHUNK;
use crate::prepare::{graph_widths, widths};

/// Refuses what can only be judged beside other options and the number of rows, which need not be there yet.
pub fn check(options: &FitOptions, rows: usize) -> Result<()> {
    check_affinity(options)?;
    let train_rows = options.train_rows.min(rows);
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
    let many = options.first_clusters();
    if many > options.batch {
        return Err(Error::option(
            "--overcluster",
            format!(
                "{many} clusters to begin with in mini-batches of {} rows",
                options.batch
            ),
            "raise --batch or give a smaller number",
        ));
    }
    Ok(())
}

/// Options of which this affinity would make nothing are refused rather than passed over.
fn check_affinity(options: &FitOptions) -> Result<()> {
    let width = [("--sigma", options.sigma != Auto::Auto)];
    let search = [
        ("--graph-features", options.graph_features != "auto"),
        ("--one-sided", options.one_sided != ONE_SIDED),
        ("--start spectral", options.start == Start::Spectral),
        ("--seed-neighbors", options.seed_neighbors != SEED_NEIGHBORS),
        ("--subgraph", options.subgraph != Subgraph::Auto),
        ("--restarts", options.restarts > 1),
        ("--moves", options.moves > 0),
        ("--overcluster", options.first_clusters() > options.clusters),
    ];
    let (without, why) = match &options.affinity {
        Affinity::Knn => return Ok(()),
        Affinity::File(_) => (&width[..], "an affinity from a file is taken as it is"),
        Affinity::Heat => (
            &search[..],
            "with --affinity heat there is no graph of all training rows",
        ),
    };
    match without.iter().find(|(_, given)| *given) {
        None => Ok(()),
        Some(&(option, _)) => Err(Error::option(
            option,
            why,
            "leave it away, or choose --affinity knn",
        )),
    }
}

/// What a run of `fit` holds in memory.
///
/// # Errors
/// Where the options do not fit the data.
pub fn needs<O: Ops>(options: &FitOptions, data: &Dataset) -> Result<Needs> {
    let preparation = options.preparation();
    let widths = [widths(&preparation, data)?, graph_widths(&preparation, data)?];
    needs_of_rows::<O>(options, data.rows(), widths)
}

/// The same for so many rows of data, of which those trained on are of these lengths for the network, and for the graph.
fn needs_of_rows<O: Ops>(options: &FitOptions, rows: usize, widths: [Widths; 2]) -> Result<Needs> {
    const ADVICE: &str = "use fewer rows (--train-rows), a smaller --batch or smaller --hidden layers";
    let mut needs = Needs::of_rows::<O>(&options.preparation(), rows, widths)?;
    let [widths, _] = widths;
    if options.affinity != Affinity::Heat {
        needs.resident_graph();
        needs.spectrum(eigenvectors(options));
    }
    // As floats, which no product can overflow.
    let batch = options.batch as f64;
    let (read, transformed) = (widths.read as f64, widths.transformed as f64);
    let (mut inputs, mut parameters, mut outputs) = (transformed, 0.0, 0.0);
    for &width in options.hidden.0.iter().chain([&options.clusters]) {
        parameters += (inputs + 1.0) * width as f64;
        outputs += width as f64;
        inputs = width as f64;
    }
    let kept = options.neighbors.limit().map_or(batch, |count| count as f64);
    let bytes = |numbers: f64| numbers * needs.number;
    let training = [
        // Weights, gradients and two moments where they are trained; weights and moments of the checkpoint that training
        // began with, and of the one being written.
        ("the network's parameters", bytes(10.0 * parameters)),
        // Outputs and their gradients, and the outputs again for the labels.
        ("the activations of a mini-batch", bytes(3.0 * batch * outputs)),
        // Large full affinities are not stored by every backend.
        ("the affinity", bytes(batch * kept.min(batch).min(8192.0))),
        ("a mini-batch", bytes(2.0 * batch * transformed)),
    ];
    let labelling = [
        ("the network's parameters", bytes(parameters)),
        // Two that are read, one that is computed on or, on a device, two on their way to it.
        (
            "a chunk of rows to be labelled",
            bytes(CHUNK as f64 * (4.0 * read + outputs)),
        ),
        // Of the network and of the data.
        ("the labels", 8.0 * rows as f64),
    ];
    needs.stage("the training", ADVICE, &training);
    needs.stage("the labelling", ADVICE, &labelling);
    Ok(needs)
}

#[cfg(test)]
mod tests {
    use super::super::tests::options;
    use super::*;
    use crate::cpu::Fast;
    use crate::eigen::bytes_of_eigen;
    use crate::options::{Hidden, Neighbors};

    #[test]
    fn a_training_larger_than_the_memory_is_refused_before_it_begins() {
        let pixels = Widths {
            read: 784,
            transformed: 784,
            trained: 0,
            eigenproblem: 0.0,
        };
        let check = |options: &FitOptions, widths: [Widths; 2]| {
            let needs =
                needs_of_rows::<Fast>(options, options.train_rows, widths).expect("options of a graph");
            needs.check()
        };
        let encoder = Widths {
            trained: 1 << 42,
            ..pixels
        };
        let whitened = Widths {
            eigenproblem: bytes_of_eigen(1 << 21),
            ..pixels
        };
        let long = Widths {
            read: 1 << 24,
            transformed: 1 << 24,
            ..pixels
        };
        let rows = |train_rows: usize| FitOptions {
            train_rows,
            ..options()
        };
        check(&rows(70_000), [pixels; 2]).expect("MNIST fits anywhere");
        for (stage, what, options, widths) in [
            (
                "the training",
                "the network's parameters",
                FitOptions {
                    hidden: Hidden(vec![1 << 40]),
                    ..options()
                },
                [pixels; 2],
            ),
            (
                "the labelling",
                "a chunk of rows to be labelled",
                FitOptions {
                    hidden: Hidden(vec![1, 1 << 40]),
                    ..options()
                },
                [pixels; 2],
            ),
            ("the features", "the auto-encoder", options(), [encoder, pixels]),
            (
                "the features of the graph",
                "the auto-encoder",
                options(),
                [pixels, encoder],
            ),
            (
                "the features of the graph",
                "eigenvectors of the columns",
                options(),
                [pixels, whitened],
            ),
            (
                "the choice of whitening",
                "copies of the training rows",
                rows(1 << 45),
                [pixels; 2],
            ),
            (
                "the search for neighbours",
                "the rows of the graph",
                rows(1 << 20),
                [pixels, long],
            ),
            (
                "the spectrum",
                "copies of the graph",
                FitOptions {
                    neighbors: Neighbors::Nearest(1 << 20),
                    ..rows(1 << 30)
                },
                [pixels; 2],
            ),
            (
                "the spectrum",
                "the eigenvectors",
                FitOptions {
                    clusters: 1 << 20,
                    ..rows(1 << 25)
                },
                [pixels; 2],
            ),
        ] {
            let message = check(&options, widths).expect_err(what).to_string();
            let words = format!("not enough memory for {stage} (most of it for {what}, ");
            assert!(
                message.starts_with(&words) && message.contains("--train-rows"),
                "{message}"
            );
        }
    }
}

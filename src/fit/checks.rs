//! What is refused before the long work begins.

use super::start::eigenvectors;
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::features::Widths;
use crate::ops::Ops;
use crate::options::{Affinity, Auto, FitOptions, ONE_SIDED, SEED_NEIGHBORS, Start, Subgraph};
use crate::predict::CHUNK;
use crate::spectral::columns_held;

/// Checks what can only be judged beside other options and the data.
pub fn check(options: &FitOptions, data: &Dataset) -> Result<()> {
    check_affinity(options)?;
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

/// Refuses what cannot fit into memory before the long work begins: later, the operating system would end the process
/// without a word.
pub fn check_memory<O: Ops>(ops: &O, options: &FitOptions, rows: usize, widths: Widths) -> Result<()> {
    // As floats, which no product can overflow.
    let (rows, batch) = (options.train_rows.min(rows) as f64, options.batch as f64);
    let (read, transformed) = (widths.read as f64, widths.transformed as f64);
    let (mut inputs, mut parameters, mut outputs) = (transformed, 0.0, 0.0);
    for &width in options.hidden.0.iter().chain([&options.clusters]) {
        parameters += (inputs + 1.0) * width as f64;
        outputs += width as f64;
        inputs = width as f64;
    }
    let kept = options.neighbors.limit().map_or(batch, |count| count as f64);
    let neighbors = match options.affinity {
        Affinity::Knn => options
            .neighbors
            .limit()
            .map_or(0.0, |count| rows.min(count as f64)),
        _ => 0.0,
    };
    let columns = match options.affinity {
        Affinity::Heat => 0.0,
        _ => columns_held(eigenvectors(options)) as f64,
    };
    let parts = [
        // Weights, gradients and two moments where they are trained; weights and moments of the checkpoint that training
        // began with, and of the one being written.
        ("the network's parameters", 10.0 * parameters),
        // Weights, gradients and two moments, and the weights that training begins with.
        ("the auto-encoder", 5.0 * widths.trained as f64),
        // Outputs and their gradients, and the outputs again for the labels.
        ("the activations of a mini-batch", 3.0 * batch * outputs),
        // Large full affinities are not stored by every backend.
        ("the affinity", batch * kept.min(batch).min(8192.0)),
        ("the training rows", rows * read.max(transformed)),
        // Lists, edges both ways, and copies of them as they are sorted.
        ("the graph", 24.0 * rows * neighbors),
        ("the eigenvectors", rows * columns),
        ("a mini-batch", 2.0 * batch * transformed),
        (
            "a chunk of rows to be labelled",
            // Two that are read, one that is computed on or, on a device, two on their way to it.
            CHUNK as f64 * (4.0 * read + outputs),
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

#[cfg(test)]
mod tests {
    use super::super::tests::options;
    use super::*;
    use crate::cpu::Fast;
    use crate::options::{Hidden, Neighbors};

    #[test]
    fn a_training_larger_than_the_memory_is_refused_before_it_begins() {
        let ops = Fast::new(1).expect("a thread");
        let widths = Widths {
            read: 784,
            transformed: 784,
            trained: 0,
        };
        check_memory(&ops, &options(), 70_000, widths).expect("MNIST fits anywhere");
        for (what, options) in [
            (
                "the network's parameters",
                FitOptions {
                    hidden: Hidden(vec![1 << 40]),
                    ..options()
                },
            ),
            ("the auto-encoder", options()),
            (
                "the training rows",
                FitOptions {
                    train_rows: 1 << 45,
                    ..options()
                },
            ),
            (
                "the graph",
                FitOptions {
                    train_rows: 1 << 30,
                    neighbors: Neighbors::Nearest(1 << 20),
                    ..options()
                },
            ),
            (
                "the eigenvectors",
                FitOptions {
                    clusters: 1 << 20,
                    train_rows: 1 << 25,
                    ..options()
                },
            ),
        ] {
            let widths = Widths {
                trained: if what == "the auto-encoder" { 1 << 42 } else { 0 },
                ..widths
            };
            let message = check_memory(&ops, &options, 1 << 45, widths)
                .expect_err(what)
                .to_string();
            assert!(
                message.contains(what) && message.contains("--train-rows"),
                "{message}"
            );
        }
    }
}

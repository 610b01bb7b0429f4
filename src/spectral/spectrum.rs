//! The leading eigenvalues of a graph, and the number of clusters that a gap between them suggests.

use serde::{Deserialize, Serialize};

use super::embedding::Embedding;
use crate::ops::Ops;

/// Below this, eigenvalues are what rounding makes of 0.
const NOISE: f64 = 1e-7;

/// Residuals from which on vectors are told to be no eigenvectors: a hundred times what is asked of them.
const ACCEPTED: f64 = 1e-3;

/// The leading eigenvalues of a graph: `spectrum.json` of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spectrum {
    /// Eigenvalues of the normalised Laplacian `I - D^-1/2 A D^-1/2`, rising from 0: 1 less those of the normalised affinity. (For the
    /// ratio cut, those of `D - A` over the largest degree.)
    pub eigenvalues: Vec<f64>,
    /// `|A u - lambda u|` of each.
    pub residuals: Vec<f64>,
    /// The gap that stands out, if one does.
    pub gap: Option<Gap>,
}

/// A gap between two eigenvalues that follow one another.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gap {
    /// Eigenvalues below it: as many clusters does it suggest.
    pub clusters: usize,
    /// The eigenvalue above it over the one below.
    pub ratio: f64,
}

impl Spectrum {
    /// That of an embedding.
    pub fn of<O: Ops>(embedding: &Embedding<O>) -> Self {
        Spectrum {
            eigenvalues: embedding.eigenvalues.clone(),
            residuals: embedding.residuals.clone(),
            gap: gap(&embedding.eigenvalues),
        }
    }

    /// What the user should know when the search for eigenvectors ended before it had found them.
    pub fn warning(&self) -> Option<String> {
        let off = self.residuals.iter().filter(|&&residual| residual > ACCEPTED);
        let (count, most) = off.fold((0, 0.0f64), |(count, most), &residual| {
            (count + 1, most.max(residual))
        });
        (count > 0).then(|| {
            format!(
                "{count} of {} eigenvectors of the graph are not exact (residuals up to {most:.0e}); give more --neighbors, or compare \
                 with --start kmeans",
                self.residuals.len()
            )
        })
    }

    /// The eigenvalue above gap `clusters` over the one below; what is not above rounding counts as rounding.
    pub fn ratio(&self, clusters: usize) -> f64 {
        ratio(&self.eigenvalues, clusters)
    }
}

fn ratio(eigenvalues: &[f64], clusters: usize) -> f64 {
    eigenvalues[clusters].max(NOISE) / eigenvalues[clusters - 1].max(NOISE)
}

/// The ratio from which on a gap after so many eigenvalues stands out: beyond what a single piece without parts shows. The modes of a
/// line rise as 1, 4, 9, those of a circle as 1, 1, 4, 4; in more dimensions, d modes of 1 are followed by those of 2 (a cube's, or a
/// Gaussian cloud's).
fn least_ratio(clusters: usize) -> f64 {
    match clusters {
        ..=3 => 4.5,
        _ => 3.0,
    }
}

/// The gap that stands out most, if one does. Ratios are compared, not differences: the eigenvalues of c parts that hold together well,
/// and to one another hardly, are near 0 for c of them and of the order of the parts' own modes from there on, and the more rows a graph
/// has, the smaller are both. It needs eigenvalues on both sides: 2 is the first gap, and the last but one eigenvalue ends the last.
/// A few rows that lie apart from all others are a part as well.
fn gap(eigenvalues: &[f64]) -> Option<Gap> {
    let strength = |clusters: usize| ratio(eigenvalues, clusters) / least_ratio(clusters);
    let candidates = 2..eigenvalues.len().saturating_sub(1);
    let clusters = candidates.max_by(|&a, &b| strength(a).total_cmp(&strength(b)))?;
    (strength(clusters) >= 1.0).then(|| Gap {
        clusters,
        ratio: ratio(eigenvalues, clusters),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::{Fast, Matrix};
    use crate::data::csr::Csr;
    use crate::graph::{GraphRule, Width, build};
    use crate::ops::Cut;
    use crate::progress::Silent;
    use crate::random::{Purpose, Stream};
    use crate::spectral::embed;

    /// The spectrum of the neighbour graph of `count` Gaussian clouds of deviation 1 in so many dimensions, on a line, 12 apart.
    fn of_clouds(count: usize, rows: usize, cols: usize, seed: u64) -> Spectrum {
        let ops = Fast::new(2).expect("two threads");
        let stream = Stream::new(seed, Purpose::Synthetic, 61);
        let value = |at: usize| {
            let (i, c) = (at / cols, at % cols);
            let corner = if c == 0 { 12.0 * (i % count) as f64 } else { 0.0 };
            (corner + stream.normal(at as u64)[0]) as f32
        };
        let x = Matrix::from_rows(rows, cols, (0..rows * cols).map(value).collect());
        let rule = GraphRule {
            neighbors: 15,
            width: Width::SelfTuning,
            one_sided: 0.1,
        };
        let graph = build(&ops, &x, rule, &mut Silent).expect("finite rows");
        Spectrum::of(&embed(&ops, &graph, 20, Cut::Ncut, seed, &mut Silent).expect("enough memory"))
    }

    #[test]
    fn vectors_that_are_not_eigenvectors_are_told() {
        let of = |residuals: &[f64]| Spectrum {
            eigenvalues: vec![0.0; residuals.len()],
            residuals: residuals.to_vec(),
            gap: None,
        };
        assert_eq!(of(&[1e-6, 9e-4]).warning(), None);
        let told = of(&[1e-6, 2e-3, 4e-2]).warning().expect("two are not exact");
        assert!(
            told.starts_with("2 of 3 eigenvectors") && told.contains("up to 4e-2"),
            "{told}"
        );
    }

    #[test]
    fn as_many_clusters_are_suggested_as_there_are_clouds() {
        let seed = rand::random();
        println!("seed {seed}");
        for (count, rows, cols) in [(2, 400, 2), (3, 1501, 3), (5, 1501, 7), (11, 2003, 4)] {
            let spectrum = of_clouds(count, rows, cols, seed);
            let found = spectrum.gap.map(|gap| gap.clusters);
            assert_eq!(found, Some(count), "{count} clouds of {rows} rows: {spectrum:?}");
        }
    }

    #[test]
    fn one_cloud_suggests_nothing() {
        let seed = rand::random();
        println!("seed {seed}");
        for cols in [2, 5, 10] {
            let spectrum = of_clouds(1, 1501, cols, seed);
            assert_eq!(spectrum.gap, None, "{cols} dimensions: {spectrum:?}");
        }
    }

    #[test]
    fn parts_without_an_edge_between_them_are_counted() {
        // Seven complete graphs of 40 rows: seven eigenvalues 0, all others 40 / 39.
        let rows = (0..280u32).map(|i| {
            let first = i / 40 * 40;
            (first..first + 40)
                .filter(|&j| j != i)
                .map(|j| (j, 1.0))
                .collect()
        });
        let graph = Csr::from_rows(rows);
        let ops = Fast::new(2).expect("two threads");
        let spectrum =
            Spectrum::of(&embed(&ops, &graph, 20, Cut::Ncut, 1, &mut Silent).expect("enough memory"));
        assert_eq!(spectrum.gap.map(|gap| gap.clusters), Some(7), "{spectrum:?}");
        assert!(
            (spectrum.eigenvalues[7] - 40.0 / 39.0).abs() < 1e-5,
            "{spectrum:?}"
        );
    }

    #[test]
    fn lines_circles_and_short_spectra_have_no_gap() {
        let line: Vec<f64> = (0..20).map(|i| 1e-3 * f64::from(i * i)).collect();
        assert_eq!(gap(&line), None);
        let circle: Vec<f64> = (0..20).map(|i| 1e-3 * f64::from((i + 1) / 2).powi(2)).collect();
        assert_eq!(gap(&circle), None);
        assert_eq!(gap(&[]), None);
        assert_eq!(
            gap(&[0.0, 0.0, 1.0]),
            None,
            "nothing above the gap after the second but its end"
        );
        assert_eq!(gap(&[0.0, 0.0, 1.0, 1.0]).map(|gap| gap.clusters), Some(2));
    }
}

//! The heat kernel of all rows and of nearest neighbours, and the choice among equally near ones.

use super::bench::{Bench, Tally};
use super::errors::{FLOOR, distance, largest};
use super::matrices::{filled, outcome, poisoned, values};
use super::random::Random;
use crate::cpu::reference::{BY_DIFFERENCES, Distances, affinity};
use crate::cpu::{Matrix, Reference};
use crate::error::Result;
use crate::ops::{HeatKernel, Ops, Precision, Real, Shape};

/// Up to this many rows a backend's affinity is contracted with the whole identity; beyond, with some of its columns.
const WHOLE_IDENTITY: usize = 129;

/// Of more rows fewer numbers of neighbours are computed: more of the same choices, which take long.
const MANY: usize = 1000;

/// Rows that a tile of the CPU backend holds.
const CPU_TILE: usize = 1024;

/// The affinity of a backend: as it gives it out, its degrees, and columns of it by contraction with those of the identity.
struct Found {
    entries: Vec<f64>,
    degrees: Vec<f64>,
    columns: Vec<f64>,
}

fn affinity_of<O: Ops>(
    ops: &O,
    x: &O::Matrix,
    kernel: HeatKernel,
    columns: &Matrix<f32>,
) -> Result<(Found, O::Affinity)> {
    let m = x.rows();
    let mut affinity = ops.affinity(m + 2, x.cols(), columns.cols(), kernel)?;
    if m <= WHOLE_IDENTITY {
        // Used before with other rows and more of them: nothing of that may remain.
        let other = filled(ops, m + 2, x.cols(), &vec![0.5f32; (m + 2) * x.cols()])?;
        ops.pairwise(&other, &mut affinity)?;
    }
    ops.pairwise(x, &mut affinity)?;
    let (mut product, mut degrees) = (poisoned(ops, m, columns.cols())?, poisoned(ops, 1, m)?);
    let columns = filled(ops, m, columns.cols(), columns)?;
    ops.contract(x, &affinity, &columns, &mut product, &mut degrees)?;
    let found = Found {
        entries: entries(ops, &affinity)?,
        degrees: outcome(ops, &mut degrees)?,
        columns: outcome(ops, &mut product)?,
    };
    Ok((found, affinity))
}

fn entries<O: Ops>(ops: &O, affinity: &O::Affinity) -> Result<Vec<f64>> {
    let entries = ops.download_affinity(affinity)?;
    Ok(entries.into_iter().map(Real::to_f64).collect())
}

/// Columns of the identity, all or ten.
fn identity_columns(random: &Random, m: usize) -> Matrix<f32> {
    let count = if m <= WHOLE_IDENTITY { m } else { 10 };
    let mut columns = Matrix::from_rows(m, count, vec![0.0; m * count]);
    for (l, i) in random.order(m).into_iter().take(count).enumerate() {
        columns.row_mut(i)[l] = 1.0;
    }
    columns
}

/// The plain computation at one precision: squared distances, and affinities of all rows.
struct Plain {
    squares: Vec<f64>,
    entries: Vec<f64>,
}

fn plain(x: &Matrix<f32>, kernel: HeatKernel, precision: Precision) -> Result<Plain> {
    let distances = Distances::new(x, Some(precision));
    let squares = (0..x.rows()).flat_map(|i| distances.row(i));
    let ops = Reference::rounding(precision);
    let mut affinity = ops.affinity(x.rows(), x.cols(), 0, kernel)?;
    ops.pairwise(x, &mut affinity)?;
    Ok(Plain {
        squares: squares.map(f64::from).collect(),
        entries: entries(&ops, &affinity)?,
    })
}

/// How wrong a squared distance may be.
#[derive(Clone, Copy)]
struct Slack {
    absolute: f64,
    relative: f64,
}

impl Slack {
    fn new(d: usize, plain: &[f64], exact: &[f64]) -> Self {
        if d <= BY_DIFFERENCES {
            // Twice one rounding of half an epsilon per difference, which its square doubles, per square, and per addition.
            Slack {
                absolute: 0.0,
                relative: (d + 2) as f64 * f64::from(f32::EPSILON),
            }
        } else {
            Slack {
                absolute: 2.0 * distance(plain, exact) + FLOOR * largest(exact),
                relative: 0.0,
            }
        }
    }
}

/// For each pair (i, j) whether j is among the `neighbors` nearest of i: `Some` when the squared distances decide it even if
/// all are wrong by the slack, `None` when rounding may.
fn decided(distances: &[f64], m: usize, neighbors: usize, slack: Slack) -> Vec<Option<bool>> {
    let below = |v: f64| v * (1.0 - slack.relative) - slack.absolute;
    let above = |v: f64| v * (1.0 + slack.relative) + slack.absolute;
    let mut decisions = Vec::with_capacity(m * m);
    for (i, row) in distances.chunks_exact(m).enumerate() {
        let mut others: Vec<f64> = (0..m).filter(|&j| j != i).map(|j| row[j]).collect();
        others.sort_by(f64::total_cmp);
        // The last distance that is in and the first that is out.
        let inside = neighbors.checked_sub(1).map_or(f64::NEG_INFINITY, |last| {
            others.get(last).copied().unwrap_or(f64::INFINITY)
        });
        let outside = others.get(neighbors).copied().unwrap_or(f64::INFINITY);
        decisions.extend(row.iter().enumerate().map(|(j, &distance)| {
            if i == j || above(distance) < below(outside) {
                Some(true)
            } else if below(distance) > above(inside) {
                Some(false)
            } else {
                None
            }
        }));
    }
    decisions
}

/// The least and the most of an affinity that an entry holds: half of it for each direction in which the pair are neighbours.
fn shares(out: Option<bool>, back: Option<bool>) -> (f64, f64) {
    let halves = |undecided| [out, back].map(|inside| f64::from(u8::from(inside.unwrap_or(undecided))) / 2.0);
    (halves(false).iter().sum(), halves(true).iter().sum())
}

/// Rows of two clouds this far apart, each of deviation 1.
fn clouds(random: &Random, m: usize, d: usize, apart: f64) -> Vec<f32> {
    let mut x = random.normals(m * d, 1.0);
    for row in x.chunks_exact_mut(d) {
        let shift = apart * random.below(2) as f64;
        row.iter_mut().for_each(|v| *v = (f64::from(*v) + shift) as f32);
    }
    x
}

pub fn check<O: Ops>(bench: &mut Bench<O>) -> Result<()> {
    for (m, d) in [
        (1, 1),
        (1, 769),
        (7, 5),
        (7, 16),
        (7, 17),
        (7, 500),
        (129, 1),
        (129, 5),
        (129, 769),
        (1021, 1),
        (1021, 5),
        (1021, 500),
    ] {
        if !bench.fits(m * m * d) {
            continue;
        }
        let mut tallies = bench.tallies();
        // Differences are exact however far the clouds are apart; products lose what the distance between them drowns.
        let far = if d <= BY_DIFFERENCES { 1000.0 } else { 10.0 };
        // The kernels take the same ways however far that is.
        let aparts = if bench.only_watches() {
            vec![0.0]
        } else {
            vec![0.0, far]
        };
        for apart in aparts {
            for solved in bench.draws(m * m * d) {
                let rows = clouds(&bench.random, m, d, apart);
                let columns = identity_columns(&bench.random, m);
                let sigma = (d as f64).sqrt();
                let x = Matrix::from_rows(m, d, rows);
                let all = HeatKernel {
                    sigma,
                    neighbors: None,
                };
                let double = Matrix::from_rows(m, d, x.iter().map(|&v| f64::from(v)).collect());
                let distances = Distances::new(&double, None);
                let squares: Vec<f64> = (0..m).flat_map(|i| distances.row(i)).collect();
                let exact: Vec<f64> = squares
                    .iter()
                    .map(|v| (-v / (2.0 * sigma * sigma)).exp())
                    .collect();
                for (&(ops, precision), tally) in bench.backends.iter().zip(&mut tallies) {
                    let plain = plain(&x, all, precision)?;
                    let slack = Slack::new(d, &plain.squares, &squares);
                    // Of far clouds, what bfloat16 leaves of the distances within each does not tell neighbours; of few rows, by
                    // chance, what TF32 or bfloat16 leaves of any.
                    let rounds = d > BY_DIFFERENCES && matches!(precision, Precision::Tf32 | Precision::Bf16);
                    let tells = !rounds || (m > 100 && (apart == 0.0 || precision != Precision::Bf16));
                    let counts = [None, Some(10), Some(m + 5), Some(0), Some(1), Some(3)];
                    let counts = match (m > MANY, bench.only_watches()) {
                        (true, _) => &counts[..2],
                        (false, true) => &counts[..3],
                        (false, false) => &counts[..],
                    };
                    for &neighbors in counts {
                        let kernel = HeatKernel { sigma, neighbors };
                        let case = match neighbors {
                            None => format!("all rows, clouds {apart} apart"),
                            Some(count) => format!("{count} neighbours, clouds {apart} apart"),
                        };
                        let found = if solved {
                            let matrix = filled(ops, m, d, &x)?;
                            let (found, mut affinity) = affinity_of(ops, &matrix, kernel, &columns)?;
                            tally
                                .clock
                                .time("pairwise", ops, || ops.pairwise(&matrix, &mut affinity))?;
                            found
                        } else {
                            affinity_of(&Reference::<f32>::rounding(precision), &x, kernel, &columns)?.0
                        };
                        check_contraction(&found, &columns, kernel, precision, &case, tally)?;

                        let inside = decided(&squares, m, neighbors.unwrap_or(m), slack);
                        let (mut plain_found, mut exact_found) = (vec![], vec![]);
                        let mut known = 0;
                        for (at, &value) in found.entries.iter().enumerate() {
                            let (least, most) = shares(inside[at], inside[at % m * m + at / m]);
                            known += usize::from(least == most);
                            // Undecided ones too must be an affinity, half of one or nothing; `max` drops what 0 / 0 gives.
                            let share = ((2.0 * value / exact[at]).round() / 2.0).max(least).min(most);
                            plain_found.push(share * plain.entries[at]);
                            exact_found.push(share * exact[at]);
                        }
                        assert!(
                            known * 4 >= m * m * 3 || !tells,
                            "{m} x {d}, {case}, {precision:?}: rounding decides too much to test"
                        );
                        tally.errors.add(
                            "pairwise",
                            &case,
                            largest(&exact_found),
                            [&found.entries, &plain_found, &exact_found],
                        );
                    }
                }
            }
        }
        bench.report(&format!("m {m} d {d}"), tallies);
    }
    Ok(())
}

/// Degrees and columns are those of the entries that the backend says it has.
fn check_contraction(
    found: &Found,
    columns: &Matrix<f32>,
    kernel: HeatKernel,
    precision: Precision,
    case: &str,
    tally: &mut Tally,
) -> Result<()> {
    let (m, count) = (columns.rows(), columns.cols());
    let stored = Matrix::from_rows(m, m, found.entries.iter().map(|&v| v as f32).collect());
    let plain = Reference::rounding(precision);
    let stored = affinity::Affinity::with(kernel, stored);
    let (mut product, mut degrees) = (poisoned(&plain, m, count)?, poisoned(&plain, 1, m)?);
    plain.contract(columns, &stored, columns, &mut product, &mut degrees)?;

    let rows = || found.entries.chunks_exact(m);
    let sums: Vec<f64> = rows().map(|row| row.iter().sum()).collect();
    let picked: Vec<f64> = rows()
        .flat_map(|row| {
            let pick = |l| (0..m).find(|&j| columns.row(j)[l] == 1.0).map(|j| row[j]);
            (0..count).filter_map(pick).collect::<Vec<_>>()
        })
        .collect();
    for (what, ours, plain, exact) in [
        ("degrees", &found.degrees, values(&plain, &degrees)?, sums),
        ("columns", &found.columns, values(&plain, &product)?, picked),
    ] {
        tally.errors.add(
            "contract",
            &format!("{what}, {case}"),
            largest(&exact),
            [ours, &plain, &exact],
        );
    }
    Ok(())
}

/// Whole numbers whose columns add up to 0: centring changes nothing and every f32 distance is exact, so that the choice
/// among the many equal ones must be the reference's, whatever the form of the computation.
pub fn grid(random: &Random, m: usize, d: usize) -> Vec<f32> {
    let mut x = vec![0.0; m * d];
    let order = random.order(m);
    for pair in order.chunks_exact(2) {
        for c in 0..d {
            let value = random.below(5) as f32 - 2.0;
            x[pair[0] * d + c] = value;
            x[pair[1] * d + c] = -value;
        }
    }
    x
}

/// Every row four times over, or a few times more: none is left without copies, whose neighbours rounding would choose.
fn fourfold(random: &Random, m: usize, d: usize) -> Vec<f32> {
    let groups = (m / 4).max(1);
    let distinct = random.normals(groups * d, 1.0);
    let order = random.order(m);
    order
        .iter()
        .flat_map(|i| distinct[(i / 4).min(groups - 1) * d..][..d].to_vec())
        .collect()
}

pub fn check_equal_distances<O: Ops>(bench: &mut Bench<O>) -> Result<()> {
    for (m, d) in [
        (1, 5),
        (7, 1),
        (7, 500),
        (129, 2),
        (129, 769),
        (1021, 1),
        (1021, 3),
        (1021, 20),
        (CPU_TILE + 1, 17),
        (CPU_TILE + 1, 24),
        (CPU_TILE + 1, 33),
        (CPU_TILE + 1, 64),
    ] {
        // A thousand rows have tiles of no other kind than a hundred have.
        let spared = (bench.only_watches() && m > MANY) || (bench.takes_long() && m == CPU_TILE + 1);
        if !bench.fits(m * m * d) || spared {
            continue;
        }
        let mut tallies = bench.tallies();
        let counts = match m > MANY {
            true => vec![2, 10],
            false => vec![0, 1, 2, 3, 10, m + 1],
        };
        for neighbors in counts {
            let kernel = HeatKernel {
                sigma: (d as f64).sqrt(),
                neighbors: Some(neighbors),
            };
            let mut problems = vec![("grid", grid(&bench.random, m, d))];
            if neighbors <= 2 || d <= BY_DIFFERENCES {
                // More neighbours than there are copies: the rest is chosen by distances that rounding may swap.
                problems.push(("copies", fourfold(&bench.random, m, d)));
            }
            for (kind, rows) in problems {
                let exact = Reference::<f64>::new();
                let mut expected = exact.affinity(m, d, 0, kernel)?;
                exact.pairwise(&filled(&exact, m, d, &rows)?, &mut expected)?;
                let expected = entries(&exact, &expected)?;
                for (&(ops, precision), tally) in bench.backends.iter().zip(&mut tallies) {
                    let mut affinity = ops.affinity(m, d, 0, kernel)?;
                    ops.pairwise(&filled(ops, m, d, &rows)?, &mut affinity)?;
                    let found = entries(ops, &affinity)?;
                    // Two roundings below the smallest normal f16, before the mean of both directions and after.
                    let smallest = match affinity::stored_as_f16(Some(precision)) {
                        true => f64::powi(2.0, -24),
                        false => 0.0,
                    };
                    // A wrong choice is wrong by half an affinity.
                    let right = |(found, expected): (&f64, &f64)| {
                        (found - expected).abs() <= 1e-3 * expected + smallest
                    };
                    let wrong = found.iter().zip(&expected).filter(|pair| !right(*pair)).count();
                    tally
                        .errors
                        .count("pairwise", &format!("{kind}, {neighbors} neighbours"), wrong);
                }
            }
        }
        bench.report(&format!("m {m} d {d}, equal distances"), tallies);
    }
    Ok(())
}

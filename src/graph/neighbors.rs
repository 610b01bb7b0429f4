//! The neighbour graph of rows: exact nearest neighbours by tiles, weighted, symmetrised, in one piece.

use std::collections::HashMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::weights::{Radii, WIDTH_NEIGHBOR, symmetrise};
use crate::data::csr::Csr;
use crate::error::{Error, Result};
use crate::network::{download, gathered_training_rows};
use crate::ops::{Ops, Real, Shape};
use crate::progress::Progress;

/// Queries whose neighbours are sought at a time, at least.
const CHUNK: usize = 4096;

/// The most calls that they are sought in: each makes all rows ready anew.
const CALLS: usize = 16;

/// Runs of parts of the graph, at most, that seek among the parts before them with one call or a few each: so many single parts, or as many
/// runs of about as many rows.
const RUNS: usize = 64;

/// What is told of a graph that is interrupted.
const UNFINISHED: &str = "training had not begun";

/// How wide the heat kernel on the edges is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Width {
    /// `w_ij = exp(-d_ij^2 / (r_i r_j))`, `r_i` the distance to the 7th neighbour (Zelnik-Manor and Perona, "Self-tuning spectral
    /// clustering", 2004).
    SelfTuning,
    /// `w_ij = exp(-d_ij^2 / (2 sigma^2))`.
    Fixed(f64),
}

impl Width {
    /// Neighbours of a row that its width is taken from.
    fn neighbors(self) -> usize {
        match self {
            Width::SelfTuning => WIDTH_NEIGHBOR,
            Width::Fixed(_) => 0,
        }
    }
}

/// How a neighbour graph is made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GraphRule {
    /// Nearest others of each row.
    pub neighbors: usize,
    /// Width of the kernel.
    pub width: Width,
    /// Weight of an edge that only one of its ends chose, relative to one that both did: 0 leaves mutual neighbours, 1/2 is the
    /// mean `(B + B') / 2`, 1 the union.
    pub one_sided: f64,
}

impl GraphRule {
    /// Nearest others of each row that are looked for.
    pub fn sought(&self) -> usize {
        self.neighbors.max(self.width.neighbors())
    }
}

/// The neighbour graph of all rows of `x`, diagonal 1.
///
/// Rows that are equal to the last bit count once: they share their neighbours and are tied to one another. Parts between which no
/// row is a neighbour are joined by their shortest edges, so that the graph is in one piece.
///
/// # Errors
/// [`Error::Option`] when distances overflow, [`Error::Memory`], [`Error::Interrupted`].
pub fn build<O: Ops>(ops: &O, x: &O::Matrix, rule: GraphRule, progress: &mut dyn Progress) -> Result<Csr> {
    let copies = Copies::find(ops, x, progress)?;
    let distinct;
    let x = match copies.groups.len() == x.rows() {
        true => x,
        false => {
            distinct = copies.distinct_rows(ops, x)?;
            &distinct
        }
    };
    let (radii, mut edges) = {
        let found = search(ops, x, rule.sought(), progress)?;
        let radii = Radii::new(&found, rule.width);
        let edges = symmetrise(&found.nearest(rule.neighbors), &radii, rule.one_sided);
        (radii, edges)
    };
    if let (Width::Fixed(_), true) = (rule.width, edges.len() > 1 && edges.iter().all(Vec::is_empty)) {
        return Err(Error::option(
            "--sigma",
            "too small: no two rows are near enough for a weight above 0",
            "give a larger number, in the unit of the graph's features, or auto",
        ));
    }
    join(ops, x, rule.neighbors, &radii, &mut edges, progress)?;
    Ok(copies.expand(edges))
}

/// How many rows of `x` differ from all others before them.
///
/// # Errors
/// [`Error::Interrupted`], [`Error::Memory`].
pub fn distinct<O: Ops>(ops: &O, x: &O::Matrix, progress: &dyn Progress) -> Result<usize> {
    Ok(Copies::find(ops, x, progress)?.groups.len())
}

/// The nearest others of each row, nearest first, with their squared distances.
pub(super) struct Lists {
    /// Entries of each row.
    pub count: usize,
    /// Rows, n x count.
    pub rows: Vec<u32>,
    /// Squared distances.
    pub squared: Vec<f64>,
}

impl Lists {
    /// How many rows have a list.
    pub fn len(&self) -> usize {
        self.rows.len().checked_div(self.count).unwrap_or(0)
    }

    /// Only the `count` nearest of each.
    fn nearest(self, count: usize) -> Self {
        if count >= self.count {
            return self;
        }
        let kept = |i: &usize| i % self.count < count;
        let entries = || (0..self.rows.len()).filter(kept);
        Lists {
            count,
            rows: entries().map(|i| self.rows[i]).collect(),
            squared: entries().map(|i| self.squared[i]).collect(),
        }
    }

    /// The list of row `i`.
    pub fn row(&self, i: usize) -> impl Iterator<Item = (u32, f64)> {
        let range = i * self.count..(i + 1) * self.count;
        let rows = self.rows[range.clone()].iter();
        rows.zip(&self.squared[range])
            .map(|(&row, &squared)| (row, squared))
    }
}

/// The nearest `neighbors` others of each row of `x`, or all others if there are fewer.
fn search<O: Ops>(ops: &O, x: &O::Matrix, neighbors: usize, progress: &mut dyn Progress) -> Result<Lists> {
    let n = x.rows();
    let count = neighbors.min(n - 1);
    let chunk_rows = CHUNK.max(n.div_ceil(CALLS)).min(n);
    let mut chunk = ops.matrix("rows whose neighbours are sought", chunk_rows, x.cols())?;
    let mut lists = Lists {
        count,
        rows: Vec::with_capacity(n * count),
        squared: Vec::with_capacity(n * count),
    };
    progress.begin("neighbours", n as u64, "rows");
    for first in (0..n).step_by(chunk_rows) {
        progress.not_interrupted(UNFINISHED)?;
        chunk.set_rows(chunk_rows.min(n - first));
        ops.copy_rows(x, first, &mut chunk)?;
        // Each row is the nearest to itself; equal distances or rounding may put another before it, even drop it.
        let found = ops.nearest(&chunk, x, count + 1)?;
        for (i, (rows, squared)) in found
            .rows
            .chunks_exact(count + 1)
            .zip(found.squared.chunks_exact(count + 1))
            .enumerate()
        {
            let own = (first + i) as u32;
            let others = rows.iter().zip(squared).filter(|(row, _)| **row != own);
            for (&row, &squared) in others.take(count) {
                lists.rows.push(row);
                lists.squared.push(squared);
            }
        }
        progress.advance((first + chunk.rows()) as u64, "");
    }
    progress.end();
    if !lists.squared.iter().all(|squared| squared.is_finite()) {
        return Err(Error::option(
            "--graph-features",
            "the distances between rows are too large or too small for f32",
            "scale the rows (unit does, or standardize)",
        ));
    }
    Ok(lists)
}

/// Joins the parts of a graph: each but the largest gets its shortest edges to the larger ones, `edges_per_part` of them.
fn join<O: Ops>(
    ops: &O,
    x: &O::Matrix,
    edges_per_part: usize,
    radii: &Radii,
    edges: &mut [Vec<(u32, f32)>],
    progress: &dyn Progress,
) -> Result<()> {
    /// Even the longest edge holds its part to the others a little, as eigensolvers like it: by this share of the mean weight.
    const LEAST_SHARE: f64 = 1e-3;
    let parts = components(edges);
    if parts.len() == 1 {
        return Ok(());
    }
    let weights = || edges.iter().flatten().map(|&(_, weight)| f64::from(weight));
    let least = match weights().count() {
        0 => LEAST_SHARE,
        count => LEAST_SHARE * weights().sum::<f64>() / count as f64,
    };
    let order = parts.concat();
    let sizes: Vec<usize> = parts.iter().map(Vec::len).collect();
    // Where distances overflow all are the same, and the first row is the nearest.
    let mut nearest = vec![(f64::INFINITY, order[0]); order.len()];
    search_larger(ops, x, &order, &sizes, &mut nearest, progress)?;
    let mut begin = sizes[0];
    for part in &parts[1..] {
        let found = part.iter().zip(&nearest[begin..]);
        let mut found: Vec<(f64, u32, u32)> = found.map(|(&i, &(squared, j))| (squared, i, j)).collect();
        found.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        for &(squared, i, j) in found.iter().take(edges_per_part) {
            let weight = radii.weight(squared, i as usize, j as usize).max(least) as f32;
            edges[i as usize].push((j, weight));
            edges[j as usize].push((i, weight));
        }
        begin += part.len();
    }
    Ok(())
}

/// Seeks for rows `order` of `x`, which come part by part, the nearest one in the parts before their own: puts its squared distance and
/// the row into `nearest`, the first among equals, where it is nearer than what is there.
///
/// A run of parts seeks among all rows before it, which are made ready once for it. Where a run is several parts, they then do the same
/// within it. So rows are made ready a few times each, however many parts there are.
fn search_larger<O: Ops>(
    ops: &O,
    x: &O::Matrix,
    order: &[u32],
    sizes: &[usize],
    nearest: &mut [(f64, u32)],
    progress: &dyn Progress,
) -> Result<()> {
    // Rows of a run, at least.
    let share = match sizes.len() <= RUNS {
        true => 1,
        false => order.len().div_ceil(RUNS),
    };
    let mut sorted = gathered_training_rows(ops, "rows whose neighbours are sought", x, order)?;
    let (mut begin, mut rest) = (0, sizes);
    while !rest.is_empty() {
        let (mut parts, mut end) = (0, begin);
        while parts < rest.len() && end - begin < share {
            end += rest[parts];
            parts += 1;
        }
        // What comes before is a head of the matrix: before the first rows nothing.
        let later = if begin > 0 { begin..end } else { 0..0 };
        for rows in pieces(later) {
            progress.not_interrupted(UNFINISHED)?;
            sorted.set_rows(order.len());
            let mut queries = ops.matrix("rows whose neighbours are sought", rows.len(), x.cols())?;
            ops.copy_rows(&sorted, rows.start, &mut queries)?;
            sorted.set_rows(begin);
            let found = ops.nearest(&queries, &sorted, 1)?;
            for (nearest, (&squared, &at)) in nearest[rows]
                .iter_mut()
                .zip(found.squared.iter().zip(&found.rows))
            {
                if squared < nearest.0 {
                    *nearest = (squared, order[at as usize]);
                }
            }
        }
        if parts > 1 {
            let (order, nearest) = (&order[begin..end], &mut nearest[begin..end]);
            search_larger(ops, x, order, &rest[..parts], nearest, progress)?;
        }
        (begin, rest) = (end, &rest[parts..]);
    }
    Ok(())
}

/// A range in pieces that are looked at together.
fn pieces(range: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let end = range.end;
    range
        .step_by(CHUNK)
        .map(move |first| first..end.min(first + CHUNK))
}

/// The rows of each connected part, largest part first.
fn components(edges: &[Vec<(u32, f32)>]) -> Vec<Vec<u32>> {
    let graph = Csr::from_rows(edges.iter().cloned());
    let components = graph.components();
    let mut parts = vec![Vec::new(); components.sizes.len()];
    for (row, &component) in components.of_row.iter().enumerate() {
        parts[component as usize].push(row as u32);
    }
    parts
}

/// Which rows are equal to the last bit.
struct Copies {
    /// The rows of each group of equal ones, in order of their first.
    groups: Vec<Vec<u32>>,
}

impl Copies {
    fn find<O: Ops>(ops: &O, x: &O::Matrix, progress: &dyn Progress) -> Result<Self> {
        let (n, cols) = (x.rows(), x.cols());
        let mut chunk = ops.matrix("rows to be compared", CHUNK.min(n), cols)?;
        let mut group_of: HashMap<u128, u32> = HashMap::with_capacity(n);
        let mut groups: Vec<Vec<u32>> = Vec::new();
        for first in (0..n).step_by(CHUNK) {
            progress.not_interrupted(UNFINISHED)?;
            chunk.set_rows(CHUNK.min(n - first));
            ops.copy_rows(x, first, &mut chunk)?;
            for (i, row) in download(ops, &chunk)?.chunks_exact(cols).enumerate() {
                let next = groups.len() as u32;
                let group = *group_of.entry(digest(row)).or_insert(next);
                if group == next {
                    groups.push(Vec::new());
                }
                groups[group as usize].push((first + i) as u32);
            }
        }
        Ok(Copies { groups })
    }

    fn distinct_rows<O: Ops>(&self, ops: &O, x: &O::Matrix) -> Result<O::Matrix> {
        let first: Vec<u32> = self.groups.iter().map(|group| group[0]).collect();
        gathered_training_rows(ops, "distinct rows", x, &first)
    }

    /// The graph of all rows from the edges between groups.
    fn expand(&self, edges: Vec<Vec<(u32, f32)>>) -> Csr {
        let n = self.groups.iter().map(Vec::len).sum();
        let mut rows: Vec<Vec<(u32, f32)>> = vec![Vec::new(); n];
        for (group, edges) in self.groups.iter().zip(edges) {
            for (other, weight) in edges {
                let others = &self.groups[other as usize];
                // Each copy meets one copy of the other row, or several when there are more of those.
                for at in 0..group.len().max(others.len()) {
                    let (here, there) = (group[at % group.len()], others[at % others.len()]);
                    rows[here as usize].push((there, weight));
                }
            }
            for (a, b) in ties(group.len()) {
                rows[group[a] as usize].push((group[b], 1.0));
                rows[group[b] as usize].push((group[a], 1.0));
            }
        }
        for (i, row) in rows.iter_mut().enumerate() {
            row.push((i as u32, 1.0));
        }
        Csr::from_rows(rows)
    }
}

/// The pairs of copies, of so many, that are tied: those 1, 2, 4, 8 and so on places apart on a circle. A few ties for each, and yet no
/// part of them is cheap to cut off, as it would be on a chain.
fn ties(copies: usize) -> impl Iterator<Item = (usize, usize)> {
    let apart = (0..usize::BITS).map(|bits| 1 << bits);
    apart
        .take_while(move |&apart: &usize| 2 * apart <= copies)
        .flat_map(move |apart| {
            // Halfway around, both ends would name the pair.
            let from = if 2 * apart == copies { apart } else { copies };
            (0..from).map(move |at| (at, (at + apart) % copies))
        })
}

/// 128 bits that tell a row from others: two chains of rounds, each a bijection of its state and of the number that enters.
fn digest<T: Real>(row: &[T]) -> u128 {
    let (mut high, mut low) = (0u64, 0x243F_6A88_85A3_08D3u64);
    for value in row {
        // Both zeros are the same number.
        let bits = (value.to_f64() + 0.0).to_bits();
        high = (high ^ bits).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
        low = (low ^ bits.rotate_left(32))
            .wrapping_mul(0xD6E8_FEB8_6659_FD93)
            .rotate_left(31);
    }
    u128::from(high) << 64 | u128::from(low)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::{Fast, Matrix, Reference};
    use crate::progress::Silent;
    use crate::random::{Permutation, Purpose, Stream};

    /// What [`join`] says that it does, part after part, in plain loops.
    fn joined_part_by_part(
        x: &[Vec<f64>],
        edges_per_part: usize,
        radii: &Radii,
        edges: &mut [Vec<(u32, f32)>],
    ) {
        let parts = components(edges);
        let weights: Vec<f64> = edges.iter().flatten().map(|&(_, weight)| weight.into()).collect();
        let least = match weights.len() {
            0 => 1e-3,
            count => 1e-3 * weights.iter().sum::<f64>() / count as f64,
        };
        let squared = |i: u32, j: u32| -> f64 {
            let pairs = x[i as usize].iter().zip(&x[j as usize]);
            pairs.map(|(a, b)| (a - b) * (a - b)).sum()
        };
        let mut larger = parts[0].clone();
        for part in &parts[1..] {
            let mut nearest = Vec::new();
            for &i in part {
                let mut best = (f64::INFINITY, larger[0]);
                for &j in &larger {
                    if squared(i, j) < best.0 {
                        best = (squared(i, j), j);
                    }
                }
                nearest.push((best.0, i, best.1));
            }
            nearest.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            for &(squared, i, j) in nearest.iter().take(edges_per_part) {
                let weight = radii.weight(squared, i as usize, j as usize).max(least) as f32;
                edges[i as usize].push((j, weight));
                edges[j as usize].push((i, weight));
            }
            larger.extend(part);
        }
    }

    #[test]
    fn parts_are_joined_as_one_after_the_other_however_many_there_are() {
        let seed = rand::random();
        println!("seed {seed}");
        let (fast, exact) = (Fast::new(2).expect("two threads"), Reference::<f64>::new());
        // Up to so many parts of up to so many rows: as many as have a call each, one more, and runs of runs of parts.
        for (parts, most) in [
            (2, 9),
            (RUNS, 5),
            (RUNS + 1, 5),
            (300, 40),
            (RUNS * RUNS + 800, 3),
        ] {
            let stream = Stream::new(seed, Purpose::Synthetic, parts as u32);
            let size = |part| 1 + stream.below(part as u64, most as u64) as usize;
            let sizes: Vec<usize> = (0..parts).map(size).collect();
            let n: usize = sizes.iter().sum();
            // Rows of different parts lie between each other.
            let of_part: Vec<usize> = (0..parts).flat_map(|part| vec![part; sizes[part]]).collect();
            let order = Permutation::new(seed, Purpose::Synthetic, parts as u32, n as u64);
            let of_row: Vec<usize> = (0..n as u64).map(|i| of_part[order.at(i) as usize]).collect();
            let normal = |at: usize| stream.normal((parts + at) as u64)[0];
            // On a grid of eighths distances are exact in f32, and many are equal.
            let value = |at: usize| (40.0 * normal(at)).round() / 8.0;
            let x: Vec<Vec<f64>> = (0..n).map(|i| (3 * i..3 * i + 3).map(value).collect()).collect();
            let mut edges = vec![Vec::new(); n];
            let mut last = vec![None; parts];
            for (i, &part) in of_row.iter().enumerate() {
                if let Some(before) = last[part].replace(i) {
                    let weight = 0.5 + 0.1 * normal(3 * n + i).tanh() as f32;
                    edges[i].push((before as u32, weight));
                    edges[before].push((i as u32, weight));
                }
            }
            let radii = Radii::Fixed(1.7);
            let mut expected = edges.clone();
            joined_part_by_part(&x, 3, &radii, &mut expected);
            let values = x.concat();
            let narrow = Matrix::from_rows(n, 3, values.iter().map(|&v| v as f32).collect());
            let wide = Matrix::from_rows(n, 3, values);
            let mut found = [edges.clone(), edges];
            join(&fast, &narrow, 3, &radii, &mut found[0], &Silent).expect("memory for a few rows");
            join(&exact, &wide, 3, &radii, &mut found[1], &Silent).expect("memory for a few rows");
            for found in found {
                assert!(found == expected, "{parts} parts, {n} rows");
                assert_eq!(components(&found).len(), 1);
            }
        }
    }
}

//! The nearest rows of each query.

use std::ops::Range;

use rayon::prelude::*;

use super::points::Points;
use super::product::BLOCK;
use super::simd::vectorised;
use crate::cpu::Matrix;
use crate::ops::{Nearest, Shape};

/// Columns, at most, of a tile that is formed and used up at once: with [`BLOCK`] rows it stays in the second-level cache.
const TILE: usize = 1024;

/// Rows and squared distances, nearest first.
pub type Neighbors = Vec<(u32, f32)>;

/// The columns of each tile of `n` columns. Nearly equal parts rather than whole ones and a rest: a rest of a single column
/// would go another way through the GEMM crate, whose sums round differently, and rows at equal distances would no
/// longer look so.
pub fn tiles(n: usize) -> impl Iterator<Item = Range<usize>> {
    let count = n.div_ceil(TILE);
    (0..count).map(move |i| i * n / count..(i + 1) * n / count)
}

/// The `count` rows of `x` that are nearest to each row of `queries`. Distances between long rows are compared as products take
/// them; those returned, and the order, are by differences.
pub fn nearest(queries: &Matrix<f32>, x: &Matrix<f32>, count: usize) -> Nearest {
    let (m, d) = (queries.rows(), x.cols());
    let mut points = Points::new(x.rows());
    points.set(x, d);
    let queried = points.beside(queries);
    let mut lists = vec![Neighbors::new(); m];
    keep_nearest_of(&queried, &points, count, |_| None, &mut lists);
    lists.par_iter_mut().enumerate().for_each(|(i, list)| {
        let query = queries.row(i);
        for (row, squared) in list.iter_mut() {
            let other = x.row(*row as usize);
            *squared = vectorised(|| query.iter().zip(other).map(|(a, b)| (a - b) * (a - b)).sum());
        }
        list.sort_by(|a, b| a.1.abs().total_cmp(&b.1.abs()).then(a.0.cmp(&b.0)));
    });
    let entries = || lists.iter().flatten();
    Nearest {
        count,
        rows: entries().map(|entry| entry.0).collect(),
        squared: entries().map(|entry| entry.1.into()).collect(),
    }
}

/// Fills `lists` with the nearest of `points` to each of `queries`, sorted by distance; `own` names the point that does not count
/// for a query.
pub fn keep_nearest_of(
    queries: &Points,
    points: &Points,
    count: usize,
    own: impl Fn(usize) -> Option<usize> + Sync,
    lists: &mut [Neighbors],
) {
    let n = points.len();
    lists
        .par_chunks_mut(BLOCK)
        .enumerate()
        .for_each(|(block, lists)| {
            let rows = block * BLOCK..block * BLOCK + lists.len();
            lists.iter_mut().for_each(Vec::clear);
            let mut tile = vec![0.0; rows.len() * TILE.min(n)];
            for columns in tiles(n) {
                let (first, width) = (columns.start, columns.len());
                let tile = &mut tile[..rows.len() * width];
                queries.squared_distances_to(points, rows.clone(), columns, tile, width);
                for ((i, list), row) in rows.clone().zip(lists.iter_mut()).zip(tile.chunks_exact(width)) {
                    keep_nearest(list, count, own(i), first, row);
                }
            }
        });
}

/// Merges a row's distances to the columns from `first` on into its list, which stays sorted by distance. Columns come in
/// rising order and only a strictly smaller distance displaces another, so the lower column wins among equals.
fn keep_nearest(list: &mut Neighbors, limit: usize, own: Option<usize>, first: usize, distances: &[f32]) {
    /// Looked at together: most groups hold nothing near once the list is full.
    const GROUP: usize = 32;
    if limit == 0 {
        return;
    }
    // NaN is further than all, and stays NaN: what is computed from it must be one too.
    let key = |distance: f32| {
        if distance.is_nan() {
            f32::INFINITY
        } else {
            distance
        }
    };
    let mut worst = if list.len() == limit {
        key(list[limit - 1].1)
    } else {
        f32::INFINITY
    };
    for (group, distances) in distances.chunks(GROUP).enumerate() {
        let near = vectorised(|| distances.iter().fold(false, |near, &d| near | (d < worst)));
        if !near && list.len() == limit {
            continue;
        }
        for (offset, &distance) in distances.iter().enumerate() {
            let column = first + group * GROUP + offset;
            if (distance < worst || list.len() < limit) && own != Some(column) {
                list.truncate(limit - 1);
                let place = list.partition_point(|&(_, other)| key(other) <= key(distance));
                list.insert(place, (column as u32, distance));
                if list.len() == limit {
                    worst = key(list[limit - 1].1);
                }
            }
        }
    }
}

//! The nearest rows of each query; `kernels/nearest.cu`.

use super::affinity::{select_neighbors, stride};
use super::driver::{Address, Driver};
use super::linear::{THREADS, TILE};
use super::points::{Pairs, Points, Rows};
use super::{Cuda, Matrix, arguments, gather, int};
use crate::error::Result;
use crate::ops::{Nearest, Precision, Shape};

/// The room for it in messages.
const WHAT: &str = "a search for nearest rows";

/// The longest list of the nearest so far: an entry for each lane of a warp.
const LISTED: usize = 32;

/// Blocks that a search is parted into, when there is so much to do: a few for each multiprocessor of a large card.
const BLOCKS: usize = 512;

/// Columns of a part, at least.
const PART: usize = 512;

/// Distances, at most, that are formed at a time where lists would be too long.
const NUMBERS: usize = 64 << 20;

/// Rows among which is sought at a time: a search makes them ready in memory of its own.
pub const SEGMENT: usize = 1 << 16;

/// The nearest rows of one query, and their squared distances.
type List = Vec<(u32, f32)>;

/// See [`Ops::nearest`](crate::ops::Ops::nearest).
pub fn nearest<D: Driver>(
    cuda: &Cuda<D>,
    queries: &Matrix<D>,
    x: &Matrix<D>,
    count: usize,
) -> Result<Nearest> {
    let (n, segment) = (x.rows(), cuda.searched_rows);
    let mut lists = vec![List::new(); queries.rows()];
    // Rows that the host holds come here a segment at a time.
    let mut brought = match x.host() {
        None => None,
        Some(_) => Some(Matrix::zeros(&cuda.memory, WHAT, segment.min(n), x.cols())?),
    };
    for first in (0..n).step_by(segment) {
        let rows = segment.min(n - first);
        let among = match &mut brought {
            None => Rows::part(x, first, rows),
            Some(brought) => {
                brought.set_rows(rows);
                gather::copy_rows(cuda, x, first, brought)?;
                Rows::of(brought)
            }
        };
        search(cuda, queries, among, count, first, &mut lists)?;
        for list in &mut lists {
            // NaN, of either sign, is further than all.
            list.sort_by(|a, b| a.1.abs().total_cmp(&b.1.abs()).then(a.0.cmp(&b.0)));
            list.truncate(count);
        }
    }
    let entries = || lists.iter().flatten();
    Ok(Nearest {
        count,
        rows: entries().map(|entry| entry.0).collect(),
        squared: entries().map(|entry| entry.1.into()).collect(),
    })
}

/// Adds to each list the `count` nearest of some rows, or all if there are fewer, as rows from `first` on.
fn search<D: Driver>(
    cuda: &Cuda<D>,
    queries: &Matrix<D>,
    among: Rows,
    count: usize,
    first: usize,
    lists: &mut [List],
) -> Result<()> {
    let (m, n, d) = (queries.rows(), among.count, queries.cols());
    let count = count.min(n);
    if count == 0 {
        return Ok(());
    }
    let precision = match cuda.precision {
        Precision::Fp32 => Precision::Fp32,
        // As exact as tensor cores are.
        _ => Precision::Tf32x3,
    };
    let rows = Points::new(cuda, WHAT, m, d, precision)?;
    let points = Points::new(cuda, WHAT, n, d, precision)?;
    let at = rows.set(cuda, Rows::of(queries), among)?;
    let points_at = points.set(cuda, among, among)?;
    let pairs = rows.pairs_with(at, m, &points, points_at, n);
    let product = rows.product();
    let found = Found {
        queries,
        among: among.at,
        count,
        first,
    };
    if count <= LISTED {
        return listed(cuda, product, pairs, &found, lists);
    }
    let most_rows = (NUMBERS / stride(n)).clamp(1, m.max(1));
    let distances = cuda.memory.zeros(WHAT, most_rows * stride(n) * 4)?;
    let limits = cuda.memory.zeros(WHAT, most_rows * 8)?;
    let columns = cuda.memory.zeros(WHAT, most_rows * count * 4)?;
    for first_row in (0..m).step_by(most_rows) {
        let part_rows = most_rows.min(m - first_row);
        let pairs = rows.part(pairs, first_row, part_rows);
        select_neighbors(cuda, product, pairs, count, distances.address(), limits.address())?;
        cuda.launch(
            "nearest",
            "nearest_within",
            [part_rows.div_ceil(8), 1, 1],
            256,
            arguments![
                distances.address(),
                int(stride(n)),
                limits.address(),
                int(part_rows),
                int(n),
                int(count),
                columns.address(),
            ],
        )?;
        let lists = &mut lists[first_row..first_row + part_rows];
        found.add_to(cuda, first_row, columns.address(), 1, lists)?;
    }
    Ok(())
}

/// The search by lists, parted over the columns so that there are enough blocks.
fn listed<D: Driver>(
    cuda: &Cuda<D>,
    product: &str,
    pairs: Pairs,
    found: &Found<D>,
    lists: &mut [List],
) -> Result<()> {
    let (m, n) = (lists.len(), pairs.columns as usize);
    let across = m.div_ceil(TILE);
    let parts = BLOCKS.div_ceil(across.max(1)).clamp(1, n.div_ceil(PART).max(1));
    let part_columns = n.div_ceil(parts).next_multiple_of(TILE);
    let parts = n.div_ceil(part_columns);
    let bytes = parts * m * found.count * 4;
    let bits = cuda.memory.zeros(WHAT, bytes)?;
    let columns = cuda.memory.zeros(WHAT, bytes)?;
    cuda.launch(
        "nearest",
        &format!("nearest_{product}"),
        [across, parts, 1],
        THREADS,
        arguments![
            pairs,
            int(part_columns),
            int(found.count),
            bits.address(),
            columns.address(),
        ],
    )?;
    found.add_to(cuda, 0, columns.address(), parts, lists)
}

/// What a search has found on the device.
struct Found<'a, D: Driver> {
    queries: &'a Matrix<D>,
    /// Where the first of the rows is that were sought among.
    among: Address,
    /// Entries of a list.
    count: usize,
    /// Its number.
    first: usize,
}

impl<D: Driver> Found<'_, D> {
    /// Takes the distances of the queries from `first_query` on to the rows in `columns`, `parts` times a list for each query, and adds
    /// both to the queries' lists.
    fn add_to(
        &self,
        cuda: &Cuda<D>,
        first_query: usize,
        columns: Address,
        parts: usize,
        lists: &mut [List],
    ) -> Result<()> {
        let entries = parts * lists.len() * self.count;
        let squared = cuda.memory.zeros(WHAT, entries * 4)?;
        let pitch = self.queries.stride() * size_of::<f32>();
        cuda.launch(
            "nearest",
            "nearest_squared",
            [entries.div_ceil(8), 1, 1],
            256,
            arguments![
                self.queries.address().offset(first_query * pitch),
                self.among,
                int(self.queries.stride()),
                int(self.queries.cols()),
                int(lists.len()),
                int(self.count),
                entries as u64,
                columns,
                squared.address(),
            ],
        )?;
        let mut rows = vec![0u32; entries];
        let mut distances = vec![0f32; entries];
        for (from, to) in [
            (columns, bytemuck::cast_slice_mut::<u32, u8>(&mut rows)),
            (
                squared.address(),
                bytemuck::cast_slice_mut::<f32, u8>(&mut distances),
            ),
        ] {
            cuda.driver.read(from, to.len(), to.len(), to)?;
        }
        let found = rows
            .chunks_exact(self.count)
            .zip(distances.chunks_exact(self.count));
        for (i, (rows, distances)) in found.enumerate() {
            let entries = rows.iter().zip(distances);
            // A part of few rows leaves places empty.
            let taken = entries.filter(|entry| *entry.0 != u32::MAX);
            let list = i % lists.len();
            let list = &mut lists[list];
            list.extend(taken.map(|(&row, &squared)| (row + self.first as u32, squared)));
        }
        Ok(())
    }
}

//! A weighted undirected graph as a sparse matrix in CSR form, in memory and in SciPy's `.npz` layout.

use std::collections::HashMap;
use std::path::Path;

use super::labels::whole;
use super::npz::{Archive, Writer};
use crate::error::{Error, Result};

/// A symmetric n x n matrix of which only the entries that are not 0 are kept, row by row.
#[derive(Clone, Debug, PartialEq)]
pub struct Csr {
    /// Where each row begins in the two vectors below, and where the last one ends: n + 1 numbers.
    pub starts: Vec<u64>,
    /// Columns, rising within a row.
    pub columns: Vec<u32>,
    /// Entries.
    pub values: Vec<f32>,
}

/// An entry and its mirror image may differ by this share of the larger: what a few roundings in f32 make.
const SYMMETRY: f64 = 1e-5;

const ADVICE: &str =
    "write it with scipy.sparse.save_npz(path, A.tocsr()), A square, symmetric and without negative entries";

impl Csr {
    /// Number of rows, and columns.
    pub fn rows(&self) -> usize {
        self.starts.len() - 1
    }

    /// Number of entries that are kept.
    pub fn entries(&self) -> usize {
        self.columns.len()
    }

    /// Columns and values of row `i`.
    pub fn row(&self, i: usize) -> impl ExactSizeIterator<Item = (usize, f32)> + Clone {
        let range = self.starts[i] as usize..self.starts[i + 1] as usize;
        let columns = self.columns[range.clone()].iter();
        columns
            .zip(&self.values[range])
            .map(|(&column, &value)| (column as usize, value))
    }

    /// From the entries of each row, in any order; those of the same column are added up.
    pub fn from_rows(rows: impl IntoIterator<Item = Vec<(u32, f32)>>) -> Self {
        let mut graph = Csr {
            starts: vec![0],
            columns: Vec::new(),
            values: Vec::new(),
        };
        for mut row in rows {
            row.sort_by_key(|entry| entry.0);
            for same in row.chunk_by(|a, b| a.0 == b.0) {
                graph.columns.push(same[0].0);
                graph.values.push(same.iter().map(|entry| entry.1).sum());
            }
            graph.starts.push(graph.columns.len() as u64);
        }
        graph
    }

    /// `D_i = sum_j A_ij`.
    pub fn degrees(&self) -> Vec<f64> {
        let degree = |i| self.row(i).map(|(_, value)| f64::from(value)).sum();
        (0..self.rows()).map(degree).collect()
    }

    /// Reads what SciPy's `save_npz` wrote of a CSR matrix (32-bit or 64-bit indices, any real element type).
    ///
    /// # Errors
    /// When it is no such file, or the matrix is not square, not symmetric (beyond 1e-5 of an entry), or has entries that are
    /// negative, not finite, or in no order of columns.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let wrong = |problem: String| Error::file(path, problem, ADVICE);
        let arrays = Arrays::read(path)?;
        if arrays.format != "csr" {
            return Err(wrong(format!(
                "a sparse matrix in the format {:?}",
                arrays.format
            )));
        }
        let [rows, columns] = arrays.shape;
        if rows != columns {
            return Err(wrong(format!(
                "an affinity of shape ({rows}, {columns}) is not square"
            )));
        }
        let (entries, starts) = (arrays.indices.len(), &arrays.indptr);
        let rising = starts.windows(2).all(|pair| pair[0] <= pair[1]);
        if starts.len() != rows + 1 || starts[0] != 0 || starts[rows] != entries as u64 || !rising {
            return Err(wrong(format!(
                "indptr does not part {entries} entries into {rows} rows"
            )));
        }
        if arrays.data.len() != entries {
            return Err(wrong(format!(
                "{} values for {entries} indices",
                arrays.data.len()
            )));
        }
        let mut sorted = Vec::with_capacity(rows);
        for i in 0..rows {
            let range = starts[i] as usize..starts[i + 1] as usize;
            let mut row = Vec::with_capacity(range.len());
            for (&column, &value) in arrays.indices[range.clone()].iter().zip(&arrays.data[range]) {
                if column >= rows as u64 {
                    return Err(wrong(format!(
                        "row {i} has an entry in column {column} of {rows}"
                    )));
                }
                if !(value >= 0.0 && f64::from(value as f32).is_finite()) {
                    return Err(wrong(format!("the entry ({i}, {column}) is {value}")));
                }
                row.push((column as u32, value as f32));
            }
            sorted.push(row);
        }
        let graph = Csr::from_rows(sorted);
        match graph.asymmetry() {
            None => Ok(graph),
            Some((i, j, here, there)) => Err(wrong(format!(
                "not symmetric: the entry ({i}, {j}) is {here}, but ({j}, {i}) is {there}"
            ))),
        }
    }

    /// An entry that differs from its mirror image.
    fn asymmetry(&self) -> Option<(usize, usize, f32, f32)> {
        let entry = |i: usize, j: usize| {
            let range = self.starts[i] as usize..self.starts[i + 1] as usize;
            let found = self.columns[range.clone()].binary_search(&(j as u32));
            found.map_or(0.0, |at| self.values[range.start + at])
        };
        (0..self.rows()).find_map(|i| {
            self.row(i).find_map(|(j, here)| {
                let there = entry(j, i);
                let apart = (f64::from(here) - f64::from(there)).abs();
                let alike = apart <= SYMMETRY * f64::from(here.max(there));
                (!alike).then_some((i, j, here, there))
            })
        })
    }

    /// Writes the matrix as SciPy's `save_npz` would, so that `scipy.sparse.load_npz` reads it; atomically.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let mut writer = Writer::create(path)?;
        let rows = self.rows() as i64;
        // SciPy counts in signed numbers; there are fewer than 2^31 rows.
        writer.start("indices", "<i4", &[self.columns.len()])?;
        writer.put(bytemuck::cast_slice(&self.columns))?;
        writer.start("indptr", "<i8", &[self.starts.len()])?;
        writer.put(bytemuck::cast_slice(&self.starts))?;
        writer.start("format", "|S3", &[])?;
        writer.put(b"csr")?;
        writer.start("shape", "<i8", &[2])?;
        writer.put(bytemuck::cast_slice(&[rows, rows]))?;
        writer.start("data", "<f4", &[self.values.len()])?;
        writer.put(bytemuck::cast_slice(&self.values))?;
        writer.commit()
    }

    /// The connected components, largest first (the one of the lowest row first among equals), and the component of each row.
    /// Entries of value 0 connect nothing.
    pub fn components(&self) -> Components {
        const NONE: u32 = u32::MAX;
        let n = self.rows();
        let mut of_row = vec![NONE; n];
        let mut sizes: Vec<usize> = Vec::new();
        let mut open = Vec::new();
        for first in 0..n {
            if of_row[first] != NONE {
                continue;
            }
            let component = sizes.len() as u32;
            of_row[first] = component;
            open.push(first);
            let mut size = 0;
            while let Some(i) = open.pop() {
                size += 1;
                for (j, value) in self.row(i) {
                    if value > 0.0 && of_row[j] == NONE {
                        of_row[j] = component;
                        open.push(j);
                    }
                }
            }
            sizes.push(size);
        }
        let mut order: Vec<usize> = (0..sizes.len()).collect();
        order.sort_by_key(|&component| std::cmp::Reverse(sizes[component]));
        let rank: HashMap<u32, u32> = order
            .iter()
            .enumerate()
            .map(|(rank, &component)| (component as u32, rank as u32))
            .collect();
        Components {
            sizes: order.iter().map(|&component| sizes[component]).collect(),
            of_row: of_row.iter().map(|component| rank[component]).collect(),
        }
    }
}

/// The arrays of a sparse matrix as SciPy stores them, in whichever compressed format.
struct Arrays {
    format: String,
    shape: [usize; 2],
    indptr: Vec<u64>,
    indices: Vec<u64>,
    data: Vec<f64>,
}

impl Arrays {
    fn read(path: &Path) -> Result<Self> {
        let mut archive = Archive::open(path)?;
        for needed in ["format", "shape", "indptr", "indices", "data"] {
            if !archive.names.iter().any(|name| name == needed) {
                let problem = format!("not a sparse matrix: no array {needed} in it");
                return Err(Error::file(path, problem, ADVICE));
            }
        }
        let shape = counts(&mut archive, "shape")?;
        let [rows, columns] = shape[..] else {
            let problem = format!("a sparse matrix of {} axes", shape.len());
            return Err(Error::file(path, problem, ADVICE));
        };
        Ok(Arrays {
            format: archive.text("format")?,
            shape: [rows as usize, columns as usize],
            indptr: counts(&mut archive, "indptr")?,
            indices: counts(&mut archive, "indices")?,
            data: archive.array("data")?.to_f64(),
        })
    }
}

/// An array of whole numbers from 0 up.
fn counts(archive: &mut Archive, name: &str) -> Result<Vec<u64>> {
    let matrix = archive.array(name)?;
    let mut numbers = Vec::with_capacity(matrix.rows());
    matrix.numbers(0..matrix.rows() * matrix.cols(), |value| {
        let number = whole(value).and_then(|number| u64::try_from(number).ok());
        numbers.push(number.ok_or_else(|| {
            let problem = format!("{value} is no index");
            matrix.origin().error(problem, ADVICE)
        })?);
        Ok(())
    })?;
    Ok(numbers)
}

/// The parts of a graph between which there are no edges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Components {
    /// Rows in each, largest first.
    pub sizes: Vec<usize>,
    /// The component of each row.
    pub of_row: Vec<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path_and_pair() -> Csr {
        // 0 - 1 - 2, and 3 - 4.
        Csr::from_rows([
            vec![(1, 0.5), (0, 1.0)],
            vec![(2, 0.25), (0, 0.5)],
            vec![(1, 0.25)],
            vec![(4, 2.0)],
            vec![(3, 1.0), (3, 1.0)],
        ])
    }

    #[test]
    fn rows_are_sorted_and_equal_columns_added() {
        let graph = path_and_pair();
        assert_eq!(graph.starts, [0, 2, 4, 5, 6, 7]);
        assert_eq!(graph.columns, [0, 1, 0, 2, 1, 4, 3]);
        assert_eq!(graph.row(4).collect::<Vec<_>>(), [(3, 2.0)]);
        assert_eq!(graph.degrees(), [1.5, 0.75, 0.25, 2.0, 2.0]);
    }

    #[test]
    fn components_are_found_largest_first() {
        let mut graph = path_and_pair();
        let found = graph.components();
        assert_eq!(found.sizes, [3, 2]);
        assert_eq!(found.of_row, [0, 0, 0, 1, 1]);
        // 1 - 2 falls apart.
        graph.values[3] = 0.0;
        graph.values[4] = 0.0;
        assert_eq!(graph.components().sizes, [2, 2, 1]);
    }

    #[test]
    fn what_is_saved_is_read_again() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let path = folder.path().join("graph.npz");
        let graph = path_and_pair();
        graph.save(&path).expect("a writable folder");
        assert_eq!(Csr::open(&path).expect("what was saved"), graph);
    }
}

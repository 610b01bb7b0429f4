//! Dense symmetric eigenproblems, in f64, by the library `faer` on one thread: the same bits everywhere.

use faer::{MatRef, Side};

/// Eigenvalues, rising, of the generalised problem `A u = lambda B u` for symmetric n x n `a` and `b`, with `b` positive
/// semi-definite. Directions in which `b` is below `1e-10` of its largest eigenvalue are left out.
pub fn generalised_eigenvalues(a: &[f64], b: &[f64], n: usize) -> Vec<f64> {
    let (b_values, b_vectors) = eigen(b, n);
    let largest = b_values.iter().copied().fold(0.0, f64::max);
    let kept: Vec<usize> = (0..n).filter(|&i| b_values[i] > 1e-10 * largest).collect();
    // W = U diag(b)^-1/2 turns the problem into W' A W u = lambda u.
    let w = |row: usize, i: usize| b_vectors[row * n + i] / b_values[i].sqrt();
    let p = kept.len();
    let mut reduced = vec![0.0; p * p];
    for (s, &i) in kept.iter().enumerate() {
        let product: Vec<f64> = (0..n)
            .map(|r| (0..n).map(|c| a[r * n + c] * w(c, i)).sum())
            .collect();
        for (t, &j) in kept.iter().enumerate() {
            reduced[s * p + t] = (0..n).map(|r| w(r, j) * product[r]).sum();
        }
    }
    eigen(&reduced, p).0
}

/// Bytes that [`eigen`] holds for an n x n matrix: itself, two copies that are worked on, and the vectors twice.
pub fn bytes_of_eigen(n: usize) -> f64 {
    5.0 * 8.0 * (n as f64).powi(2)
}

/// Eigenvalues, rising, and eigenvectors (columns of a row-major n x n matrix) of a symmetric matrix.
pub fn eigen(matrix: &[f64], n: usize) -> (Vec<f64>, Vec<f64>) {
    if !matrix.iter().all(|v| v.is_finite()) {
        return (vec![f64::NAN; n], vec![f64::NAN; n * n]);
    }
    let matrix = MatRef::from_row_major_slice(matrix, n, n);
    match matrix.self_adjoint_eigen(Side::Lower) {
        Ok(found) => {
            let (values, vectors) = (found.S().column_vector(), found.U());
            let entries = (0..n).flat_map(|i| (0..n).map(move |j| vectors[(i, j)]));
            ((0..n).map(|i| values[i]).collect(), entries.collect())
        }
        // Its iteration has never been seen not to end on finite numbers.
        Err(_) => (vec![f64::NAN; n], vec![f64::NAN; n * n]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Stream};

    fn random_symmetric(n: usize, seed: u64) -> Vec<f64> {
        let stream = Stream::new(seed, Purpose::Synthetic, 99);
        let mut a = vec![0.0; n * n];
        for i in 0..n {
            for j in 0..=i {
                let value = stream.normal((i * n + j) as u64)[0];
                a[i * n + j] = value;
                a[j * n + i] = value;
            }
        }
        a
    }

    #[test]
    fn eigenpairs_satisfy_their_equation() {
        let seed = rand::random();
        println!("seed {seed}");
        for n in [1, 2, 3, 7, 50] {
            let a = random_symmetric(n, seed);
            let (values, vectors) = eigen(&a, n);
            for i in 0..n {
                for r in 0..n {
                    let product: f64 = (0..n).map(|c| a[r * n + c] * vectors[c * n + i]).sum();
                    let residual = product - values[i] * vectors[r * n + i];
                    assert!(residual.abs() < 1e-11 * n as f64, "n {n}, pair {i}: {residual}");
                }
            }
        }
    }

    #[test]
    fn generalised_eigenvalues_of_a_product_are_known() {
        // With B = G' G and A = G' diag(1..n) G, the eigenvalues are 1..n.
        let n = 9;
        let stream = Stream::new(5, Purpose::Synthetic, 98);
        let g: Vec<f64> = (0..n * n).map(|i| stream.normal(i as u64)[0]).collect();
        let (mut a, mut b) = (vec![0.0; n * n], vec![0.0; n * n]);
        for i in 0..n {
            for j in 0..n {
                for r in 0..n {
                    b[i * n + j] += g[r * n + i] * g[r * n + j];
                    a[i * n + j] += (r + 1) as f64 * g[r * n + i] * g[r * n + j];
                }
            }
        }
        for (i, value) in generalised_eigenvalues(&a, &b, n).into_iter().enumerate() {
            assert!((value - (i + 1) as f64).abs() < 1e-7, "{i}: {value}");
        }
    }
}

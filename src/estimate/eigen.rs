//! Small dense symmetric eigenproblems, in f64.

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
    let (mut values, _) = eigen(&reduced, p);
    values.sort_by(f64::total_cmp);
    values
}

/// Eigenvalues and eigenvectors (columns of a row-major n x n matrix) of a symmetric matrix, by cyclic Jacobi rotations
/// (Golub and Van Loan, Matrix Computations, section 8.5). In no particular order.
pub fn eigen(matrix: &[f64], n: usize) -> (Vec<f64>, Vec<f64>) {
    let mut a = matrix.to_vec();
    let mut vectors = vec![0.0; n * n];
    for i in 0..n {
        vectors[i * n + i] = 1.0;
    }
    let scale: f64 = a.iter().map(|v| v * v).sum();
    for _sweep in 0..60 {
        let off: f64 = (0..n)
            .flat_map(|i| (0..i).map(move |j| (i, j)))
            .map(|(i, j)| a[i * n + j].powi(2))
            .sum();
        // Also ends for NaN, which then shows in the result.
        if off.partial_cmp(&(1e-28 * scale)) != Some(std::cmp::Ordering::Greater) {
            break;
        }
        for p in 0..n {
            for q in p + 1..n {
                rotate(&mut a, &mut vectors, n, p, q);
            }
        }
    }
    ((0..n).map(|i| a[i * n + i]).collect(), vectors)
}

/// Annihilates the entry (p, q).
fn rotate(a: &mut [f64], vectors: &mut [f64], n: usize, p: usize, q: usize) {
    let apq = a[p * n + q];
    if apq == 0.0 {
        return;
    }
    let theta = (a[q * n + q] - a[p * n + p]) / (2.0 * apq);
    let tangent = theta.signum() / (theta.abs() + (theta * theta + 1.0).sqrt());
    let cos = 1.0 / (tangent * tangent + 1.0).sqrt();
    let sin = tangent * cos;
    for r in 0..n {
        let (x, y) = (a[r * n + p], a[r * n + q]);
        a[r * n + p] = cos * x - sin * y;
        a[r * n + q] = sin * x + cos * y;
    }
    for c in 0..n {
        let (x, y) = (a[p * n + c], a[q * n + c]);
        a[p * n + c] = cos * x - sin * y;
        a[q * n + c] = sin * x + cos * y;
    }
    for r in 0..n {
        let (x, y) = (vectors[r * n + p], vectors[r * n + q]);
        vectors[r * n + p] = cos * x - sin * y;
        vectors[r * n + q] = sin * x + cos * y;
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

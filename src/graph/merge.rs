//! Clusters merged, two at a time, until there are few enough.

use crate::ops::{Cut, CutMatrix};

/// The clusters that the `clusters` ones of a cut matrix become when, again and again, the two are merged whose union raises the
/// cut least, until `wanted` are left: for each old cluster a number below `wanted`. `sizes` are the rows of each. Clusters without
/// rows cost nothing to merge and go first.
pub fn merge(matrix: &CutMatrix, sizes: &[u64], wanted: usize, cut: Cut) -> Vec<u32> {
    let mut clusters = Clusters::new(matrix, sizes, cut);
    let mut into: Vec<usize> = (0..sizes.len()).collect();
    // The best partner of each among those behind it. What a union costs hangs on the two alone, so that a merger changes it for few.
    let mut partners: Vec<Partner> = (0..sizes.len()).map(|at| clusters.partner(at)).collect();
    while clusters.left.len() > wanted.max(1) {
        let best = |a: &usize, b: &usize| partners[*a].rise.total_cmp(&partners[*b].rise);
        let at = (0..clusters.left.len() - 1).min_by(best);
        let at = at.expect("two are left at least");
        let behind = partners[at].at;
        let (a, b) = (clusters.left[at], clusters.left[behind]);
        clusters.left.remove(behind);
        partners.remove(behind);
        clusters.unite(a, b);
        into.iter_mut().filter(|l| **l == b).for_each(|l| *l = a);
        for (other, partner) in partners.iter_mut().enumerate() {
            if other == at || partner.at == at || partner.at == behind {
                *partner = clusters.partner(other);
                continue;
            }
            if partner.at > behind {
                partner.at -= 1;
            }
            if other < at {
                let rise = clusters.rise(clusters.left[other], a);
                if (rise, at) < (partner.rise, partner.at) {
                    *partner = Partner { rise, at };
                }
            }
        }
    }
    let place = |l: usize| clusters.left.iter().position(|&other| other == l).unwrap_or(0) as u32;
    into.into_iter().map(place).collect()
}

/// Whom a cluster is best merged with.
#[derive(Clone, Copy)]
struct Partner {
    /// What that adds to the cut.
    rise: f64,
    /// Its place among those left.
    at: usize,
}

/// What there is of clusters that are being merged.
struct Clusters {
    /// Affinities between any two, k x k; of those left.
    sums: Vec<f64>,
    /// Volumes or sizes.
    weights: Vec<f64>,
    /// Affinities to all others.
    cuts: Vec<f64>,
    /// Those left.
    left: Vec<usize>,
}

impl Clusters {
    fn new(matrix: &CutMatrix, sizes: &[u64], cut: Cut) -> Self {
        let k = sizes.len();
        let rows = || matrix.chunks_exact(k.max(1));
        let others = |(l, row): (usize, &[f64])| (0..k).filter(|&b| b != l).map(|b| row[b]).sum();
        Clusters {
            sums: matrix.clone(),
            weights: match cut {
                Cut::Ncut => rows().map(|row| row.iter().sum()).collect(),
                Cut::Rcut => sizes.iter().map(|&size| size as f64).collect(),
            },
            cuts: rows().enumerate().map(others).collect(),
            left: (0..k).collect(),
        }
    }

    /// What the union of two adds to the cut.
    fn rise(&self, a: usize, b: usize) -> f64 {
        let cost = |weight: f64, cut: f64| if weight > 0.0 { cut / weight } else { 0.0 };
        let Clusters { weights, cuts, .. } = self;
        match weights[a] > 0.0 && weights[b] > 0.0 {
            true => {
                cost(weights[a] + weights[b], self.cut_of_union(a, b))
                    - cost(weights[a], cuts[a])
                    - cost(weights[b], cuts[b])
            }
            // The union of any two others lowers the cut, so that nothing would be left for last.
            false => f64::NEG_INFINITY,
        }
    }

    fn cut_of_union(&self, a: usize, b: usize) -> f64 {
        self.cuts[a] + self.cuts[b] - 2.0 * self.sums[a * self.cuts.len() + b]
    }

    /// The best partner of the cluster at a place of those left among those behind it, of which the last has none.
    fn partner(&self, place: usize) -> Partner {
        let a = self.left[place];
        let next = Partner {
            rise: f64::INFINITY,
            at: place + 1,
        };
        (place + 1..self.left.len()).fold(next, |best, at| {
            let rise = self.rise(a, self.left[at]);
            match rise < best.rise {
                true => Partner { rise, at },
                false => best,
            }
        })
    }

    /// `b`, which is left no more, becomes part of `a`.
    fn unite(&mut self, a: usize, b: usize) {
        let k = self.cuts.len();
        self.weights[a] += self.weights[b];
        for l in 0..k {
            self.sums[a * k + l] += self.sums[b * k + l];
        }
        for l in 0..k {
            self.sums[l * k + a] += self.sums[l * k + b];
        }
        // Summed anew: what is cut from a union of many would carry the rounding of all of them.
        let others = self.left.iter().filter(|&&l| l != a);
        self.cuts[a] = others.map(|&l| self.sums[a * k + l]).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validate::Random;

    /// The same, looking at all pairs each time.
    fn one_by_one(matrix: &CutMatrix, sizes: &[u64], wanted: usize, cut: Cut) -> Vec<u32> {
        let k = sizes.len();
        let mut parts: Vec<Vec<usize>> = (0..k).map(|l| vec![l]).collect();
        let cost = |part: &[usize]| -> (f64, f64) {
            let others = |a: usize| {
                (0..k)
                    .filter(move |b| !part.contains(b))
                    .map(move |b| matrix[a * k + b])
            };
            let weight = |&a: &usize| match cut {
                Cut::Ncut => matrix[a * k..][..k].iter().sum(),
                Cut::Rcut => sizes[a] as f64,
            };
            let weight: f64 = part.iter().map(weight).sum();
            let cut: f64 = part.iter().flat_map(|&a| others(a)).sum();
            (weight, if weight > 0.0 { cut / weight } else { 0.0 })
        };
        while parts.len() > wanted {
            let mut best = (f64::INFINITY, 0, 0);
            for a in 0..parts.len() {
                for b in a + 1..parts.len() {
                    let union = [&parts[a][..], &parts[b]].concat();
                    let ((weight_a, of_a), (weight_b, of_b)) = (cost(&parts[a]), cost(&parts[b]));
                    let rise = match weight_a > 0.0 && weight_b > 0.0 {
                        true => cost(&union).1 - of_a - of_b,
                        false => f64::NEG_INFINITY,
                    };
                    if rise < best.0 {
                        best = (rise, a, b);
                    }
                }
            }
            let merged = parts.remove(best.2);
            parts[best.1].extend(merged);
        }
        let place = |l: usize| {
            parts
                .iter()
                .position(|part| part.contains(&l))
                .expect("somewhere") as u32
        };
        (0..k).map(place).collect()
    }

    #[test]
    fn the_best_of_all_pairs_is_merged_each_time() {
        let seed = rand::random::<u32>().into();
        println!("seed {seed}");
        let random = Random::new(seed, 0);
        for k in [1, 2, 3, 17, 30] {
            let drawn = random.normals(k * k, 1.0);
            let mut matrix: CutMatrix = (0..k * k)
                .map(|at| f64::from(drawn[at] * drawn[at] + drawn[at % k * k + at / k].powi(2)))
                .collect();
            (0..k).for_each(|l| matrix[l * k + l] *= 10.0);
            let mut sizes: Vec<u64> = (0..k as u64).map(|l| 1 + l * 7 % 11).collect();
            // Some have no rows.
            for empty in (4..k).step_by(9) {
                sizes[empty] = 0;
                for l in 0..k {
                    matrix[empty * k + l] = 0.0;
                    matrix[l * k + empty] = 0.0;
                }
            }
            for wanted in [1, 2, 5, k] {
                for cut in [Cut::Ncut, Cut::Rcut] {
                    let expected = one_by_one(&matrix, &sizes, wanted, cut);
                    let found = merge(&matrix, &sizes, wanted, cut);
                    assert_eq!(found, expected, "{k} clusters, {wanted} wanted, {cut:?}");
                }
            }
        }
    }
}

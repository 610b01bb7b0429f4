//! Weights of a neighbour graph's edges, and its symmetric form.

use super::neighbors::{Lists, Width};

/// The neighbour whose distance sets a row's width.
pub(super) const WIDTH_NEIGHBOR: usize = 7;

/// The widths of the heat kernel at each row.
pub(super) enum Radii {
    /// Distances to the 7th neighbour.
    Own(Vec<f64>),
    /// One sigma for all.
    Fixed(f64),
}

impl Radii {
    /// Those of rows with the given neighbours. A row whose 7th neighbour has its very place takes the first that has not.
    pub fn new(lists: &Lists, width: Width) -> Self {
        match width {
            Width::Fixed(sigma) => Radii::Fixed(sigma),
            Width::SelfTuning => {
                let radius = |i: usize| {
                    let squared: Vec<f64> = lists.row(i).map(|(_, squared)| squared).collect();
                    let own = squared.get((WIDTH_NEIGHBOR - 1).min(squared.len().saturating_sub(1)));
                    let apart = own.filter(|&&own| own > 0.0);
                    let apart = apart.or_else(|| squared.iter().find(|&&squared| squared > 0.0));
                    apart.map_or(1.0, |squared| squared.sqrt())
                };
                Radii::Own((0..lists.len()).map(radius).collect())
            }
        }
    }

    /// The weight of an edge between rows `i` and `j`.
    pub fn weight(&self, squared: f64, i: usize, j: usize) -> f64 {
        match self {
            Radii::Own(radii) => (-squared / (radii[i] * radii[j])).exp(),
            Radii::Fixed(sigma) => (-squared / (2.0 * sigma * sigma)).exp(),
        }
    }
}

/// The edges of each row: those that both ends chose, and, `one_sided` times as heavy, those that one did.
pub(super) fn symmetrise(lists: &Lists, radii: &Radii, one_sided: f64) -> Vec<Vec<(u32, f32)>> {
    let n = lists.len();
    let mut edges: Vec<Vec<(u32, f32)>> = vec![Vec::new(); n.max(1)];
    for i in 0..n {
        for (j, squared) in lists.row(i) {
            let mutual = lists.row(j as usize).any(|(back, _)| back as usize == i);
            let share = if mutual { 1.0 } else { one_sided };
            let weight = (share * radii.weight(squared, i, j as usize)) as f32;
            if weight == 0.0 {
                continue;
            }
            edges[i].push((j, weight));
            if !mutual {
                edges[j as usize].push((i as u32, weight));
            }
        }
    }
    edges
}

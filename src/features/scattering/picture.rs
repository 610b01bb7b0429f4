//! Pictures of 8-bit pixels, made as large as the transform needs them.

/// Bits after the point of the weights of a mean of pixels.
const BITS: u32 = 22;

/// The pixels that a pixel between them is a mean of: the first, and the weight of each.
type Means = Vec<(usize, Vec<u32>)>;

/// How a line of `from` pixels becomes one of `to`, no fewer, by linear interpolation between the centres of pixels.
fn means(from: usize, to: usize) -> Means {
    let scale = from as f64 / to as f64;
    (0..to)
        .map(|at| {
            let centre = (at as f64 + 0.5) * scale;
            let first = (centre - 0.5).max(0.0) as usize;
            let end = ((centre + 1.5) as usize).min(from);
            let weight = |pixel: usize| (1.0 - (pixel as f64 - centre + 0.5).abs()).max(0.0);
            let sum: f64 = (first..end).map(weight).sum();
            let whole = |pixel| (weight(pixel) / sum * f64::from(1 << BITS) + 0.5) as u32;
            (first, (first..end).map(whole).collect())
        })
        .collect()
}

/// Enlarges pictures as Pillow's `resize(.., BILINEAR)` does, to the bit: along rows, then along columns, rounded to 8 bits each time.
pub struct Enlarger {
    columns: Means,
    rows: Means,
    /// Columns of the pictures it is given.
    width: usize,
}

impl Enlarger {
    /// From pictures of `from` rows and columns to `to`, no fewer of either.
    pub fn new(from: (usize, usize), to: (usize, usize)) -> Self {
        Enlarger {
            columns: means(from.1, to.1),
            rows: means(from.0, to.0),
            width: from.1,
        }
    }

    /// Enlarges one; `between` is room to work in.
    pub fn enlarge(&self, picture: &[u8], between: &mut Vec<u8>, enlarged: &mut Vec<u8>) {
        let mean = |weights: &[u32], pixels: &mut dyn Iterator<Item = u8>| {
            let sum: u32 = weights.iter().zip(pixels).map(|(&w, p)| w * u32::from(p)).sum();
            ((sum + (1 << (BITS - 1))) >> BITS).min(255) as u8
        };
        between.clear();
        for row in picture.chunks_exact(self.width) {
            let pixels = self
                .columns
                .iter()
                .map(|(first, weights)| mean(weights, &mut row[*first..].iter().copied()));
            between.extend(pixels);
        }
        let width = self.columns.len();
        enlarged.clear();
        for (first, weights) in &self.rows {
            let pixels = (0..width).map(|column| {
                let mut below = between[first * width + column..].iter().step_by(width).copied();
                mean(weights, &mut below)
            });
            enlarged.extend(pixels);
        }
    }
}

/// For each pixel of a line with `margin` more at either end, the pixel of the bare line that it mirrors; the ends are not repeated.
pub fn mirrored(len: usize, margin: usize) -> Vec<usize> {
    let period = 2 * (len - 1);
    (0..len + 2 * margin)
        .map(|at| {
            let at = (at as isize - margin as isize).rem_euclid(period as isize) as usize;
            at.min(period - at)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_mirrored_without_their_ends_again_and_again() {
        assert_eq!(mirrored(4, 3), [3, 2, 1, 0, 1, 2, 3, 2, 1, 0]);
        assert_eq!(mirrored(2, 3), [1, 0, 1, 0, 1, 0, 1, 0]);
    }

    #[test]
    fn what_has_the_right_size_stays_as_it_is() {
        let picture: Vec<u8> = (0..35).map(|at| (at * 7) as u8).collect();
        let (mut between, mut enlarged) = (Vec::new(), Vec::new());
        Enlarger::new((5, 7), (5, 7)).enlarge(&picture, &mut between, &mut enlarged);
        assert_eq!(enlarged, picture);
    }

    #[test]
    fn means_weigh_1_and_never_leave_the_line() {
        for (from, to) in [(1, 2), (5, 8), (28, 32), (31, 32), (3, 64)] {
            for (first, weights) in means(from, to) {
                assert!(first + weights.len() <= from, "{from} to {to}");
                let sum: u32 = weights.iter().sum();
                assert!(sum.abs_diff(1 << BITS) <= 2, "{from} to {to}: {sum}");
            }
        }
    }
}

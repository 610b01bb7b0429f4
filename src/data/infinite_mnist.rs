//! As many digits as are wanted from those that there are: each a copy of one of them, bent by a smooth random field and moved by a
//! pixel at most (after Loosli, Canu and Bottou, "Training invariant support vector machines using selective sampling", 2007, whose
//! 8,100,000 digits are known as MNIST8M). The fields are this program's own: no image is that of the historical file to the bit.
//!
//! Row r is of image `r mod n` and depends on the seed, r and that image alone; rows below n are the images themselves. All arithmetic
//! is in whole numbers, so that every machine and every backend makes the same bits.

use rayon::prelude::*;

use super::Dataset;
use super::written::Rows;
use crate::error::{Error, Result};
use crate::random::{Purpose, Stream};

/// Reach of the Gaussian that smooths the noise, in pixels; its standard deviation is a third of that.
const REACH: usize = 12;

/// The Gaussian of standard deviation 4, in steps of 2^-10; both halves are alike, and all of it sums to 1024.
const GAUSSIAN: [i32; REACH + 1] = [102, 99, 90, 77, 62, 47, 33, 22, 14, 8, 5, 2, 2];

/// Noise is uniform on the odd numbers from -255 to 255. Smoothed along both axes it has this standard deviation: 2^20 sqrt(1/3) 256
/// times the sum of the squared weights.
const SPREAD: f64 = 1.0923e7;

/// Standard deviation of the displacement of a pixel along each axis, in pixels.
const DISPLACEMENT: f64 = 1.0;

/// Bits of a displacement behind the point.
const FRACTION: u32 = 8;

/// What smoothed noise, less 8 bits, is multiplied by to be a displacement that is 16 bits too long.
const SCALE: i32 = (DISPLACEMENT * (1u64 << (FRACTION + 8 + 16)) as f64 / SPREAD) as i32;

/// Digits to draw from.
pub struct InfiniteMnist {
    images: Vec<u8>,
    height: usize,
    width: usize,
    /// One for each image, if they are known.
    labels: Option<Vec<u32>>,
    stream: Stream,
}

impl InfiniteMnist {
    /// From the images of some data, grey and of 8 bits.
    ///
    /// # Errors
    /// When they are not, or cannot be read.
    pub fn new(data: &Dataset, seed: u64) -> Result<Self> {
        let image = data
            .image()
            .filter(|image| data.is_pixels() && image.channels == 1);
        let Some(image) = image else {
            return Err(Error::option(
                "--from",
                format!("{} is no set of grey 8-bit images", data.name()),
                "give a folder in MNIST's layout",
            ));
        };
        let mut images = Vec::with_capacity(data.rows() * data.cols());
        let mut row = vec![0.0; data.cols()];
        for at in 0..data.rows() {
            data.read_rows(at, &mut row)?;
            images.extend(row.iter().map(|&pixel| pixel as u8));
        }
        let label = |class: &i64| {
            u32::try_from(*class).map_err(|_| {
                let problem = format!("{} has a label {class}", data.name());
                Error::option("--from", problem, "number the classes from 0 on")
            })
        };
        let labels = data.labels().map(|labels| {
            let classes = labels.classes.iter().map(label).collect::<Result<Vec<u32>>>()?;
            Ok(labels.index.iter().map(|&at| classes[at as usize]).collect())
        });
        Ok(InfiniteMnist {
            images,
            height: image.height,
            width: image.width,
            labels: labels.transpose()?,
            stream: Stream::new(seed, Purpose::Deformation, 0),
        })
    }

    /// Images that there are.
    pub fn originals(&self) -> usize {
        self.images.len() / (self.height * self.width)
    }

    fn draw(&self, row: u64, scratch: &mut Scratch, out: &mut [u8]) {
        let (n, pixels) = (self.originals() as u64, self.height * self.width);
        let from = (row % n) as usize * pixels;
        let image = &self.images[from..from + pixels];
        if row < n {
            out.copy_from_slice(image);
            return;
        }
        let (h, w) = (self.height, self.width);
        let words = ((h + 2 * REACH) * (w + 2 * REACH)).div_ceil(WORDS) as u64;
        // For each row the words of two fields, and one more for the move.
        let begin = row * (2 * words + 1);
        let [along_y, along_x] = [0, 1].map(|field| self.field(begin + field * words, scratch));
        let [a, b, ..] = self.stream.words(begin + 2 * words);
        let third = |word: u32| ((u64::from(word) * 3) >> 32) as i64 - 1;
        let (down, right) = (third(a), third(b));
        for y in 0..h {
            for x in 0..w {
                let (from_y, from_x) = (y as i64 - down, x as i64 - right);
                let inside = (0..h as i64).contains(&from_y) && (0..w as i64).contains(&from_x);
                out[y * w + x] = match inside {
                    true => bent(
                        image,
                        [h, w],
                        [from_y as usize, from_x as usize],
                        &along_y,
                        &along_x,
                    ),
                    false => 0,
                };
            }
        }
    }

    /// A smooth random field, h x w, in steps of 2^-FRACTION pixels.
    fn field(&self, begin: u64, scratch: &mut Scratch) -> Vec<i32> {
        let (h, w) = (self.height, self.width);
        let wide = w + 2 * REACH;
        let Scratch { noise, columns } = scratch;
        noise.clear();
        for block in 0..((h + 2 * REACH) * wide).div_ceil(WORDS) as u64 {
            for word in self.stream.words(begin + block) {
                noise.extend(word.to_le_bytes().map(|byte| 2 * i32::from(byte) - 255));
            }
        }
        // Along the columns, then along the rows.
        columns.clear();
        columns.resize(h * wide, 0);
        for (y, sums) in columns.chunks_exact_mut(wide).enumerate() {
            let line = |at: usize| &noise[(y + at) * wide..][..wide];
            smooth(line, sums);
        }
        let mut field = vec![0; h * w];
        for (line, sums) in columns.chunks_exact(wide).zip(field.chunks_exact_mut(w)) {
            smooth(|at| &line[at..at + w], sums);
            sums.iter_mut().for_each(|sum| *sum = ((*sum >> 8) * SCALE) >> 16);
        }
        field
    }
}

impl Rows for InfiniteMnist {
    type Value = u8;

    fn shape(&self) -> Vec<usize> {
        vec![self.height, self.width]
    }

    fn fill(&self, first_row: u64, rows: &mut [u8]) {
        rows.par_chunks_exact_mut(self.height * self.width)
            .enumerate()
            .for_each_init(Scratch::default, |scratch, (i, out)| {
                self.draw(first_row + i as u64, scratch, out);
            });
    }

    fn label(&self, row: u64) -> Option<u32> {
        let labels = self.labels.as_ref()?;
        Some(labels[(row % labels.len() as u64) as usize])
    }
}

/// Bytes in a block of random words.
const WORDS: usize = 16;

/// Room for the noise of a field, and for that smoothed along the columns.
#[derive(Default)]
struct Scratch {
    noise: Vec<i32>,
    columns: Vec<i32>,
}

/// The Gaussian means of lines 0 to 2 REACH, times 1024, added to `sums`: line by line, as vector units like it.
fn smooth<'a>(line: impl Fn(usize) -> &'a [i32], sums: &mut [i32]) {
    for (sum, value) in sums.iter_mut().zip(line(REACH)) {
        *sum += GAUSSIAN[0] * value;
    }
    for (at, &weight) in GAUSSIAN.iter().enumerate().skip(1) {
        let sides = line(REACH - at).iter().zip(line(REACH + at));
        for (sum, (before, after)) in sums.iter_mut().zip(sides) {
            *sum += weight * (before + after);
        }
    }
}

/// A pixel moved along the image's tangents: `v + u_y dv/dy + u_x dv/dx`, derivatives by Sobel's weights, which sum to 8 pixels.
fn bent(image: &[u8], [h, w]: [usize; 2], [y, x]: [usize; 2], along_y: &[i32], along_x: &[i32]) -> u8 {
    let at = |y: usize, x: usize| -> i32 {
        // One row and column of blank pixels around: both begin at 1.
        match (1..=h).contains(&y) && (1..=w).contains(&x) {
            true => i32::from(image[(y - 1) * w + x - 1]),
            false => 0,
        }
    };
    let (v, u) = (y + 1, x + 1);
    let down = (at(v + 1, u - 1) + 2 * at(v + 1, u) + at(v + 1, u + 1))
        - (at(v - 1, u - 1) + 2 * at(v - 1, u) + at(v - 1, u + 1));
    let right = (at(v - 1, u + 1) + 2 * at(v, u + 1) + at(v + 1, u + 1))
        - (at(v - 1, u - 1) + 2 * at(v, u - 1) + at(v + 1, u - 1));
    let sum = along_y[y * w + x] * down + along_x[y * w + x] * right;
    let bits = FRACTION + 3;
    let change = (sum + (1 << (bits - 1))) >> bits;
    (at(v, u) + change).clamp(0, 255) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIXELS: usize = 28 * 28;

    fn digits(seed: u64) -> InfiniteMnist {
        let data = Dataset::open("mnist-t10k").expect("built in");
        InfiniteMnist::new(&data, seed).expect("grey images")
    }

    fn drawn(digits: &InfiniteMnist, first_row: u64, rows: usize) -> Vec<u8> {
        let mut out = vec![77; rows * PIXELS];
        digits.fill(first_row, &mut out);
        out
    }

    #[test]
    fn the_gaussian_has_deviation_4_and_the_noise_its_spread() {
        let density = |at: usize| (-(at as f64 / 4.0).powi(2) / 2.0).exp();
        let total: f64 = density(0) + 2.0 * (1..=REACH).map(density).sum::<f64>();
        assert_eq!(GAUSSIAN[0] + 2 * GAUSSIAN[1..].iter().sum::<i32>(), 1024);
        for (at, &weight) in GAUSSIAN.iter().enumerate() {
            let exact = 1024.0 * density(at) / total;
            assert!(
                (f64::from(weight) - exact).abs() < 1.0,
                "{at}: {weight} for {exact}"
            );
        }
        let squares = GAUSSIAN.map(|weight| f64::from(weight * weight));
        let squares = 2.0 * squares.iter().sum::<f64>() - squares[0];
        // The odd numbers from -255 to 255 have variance (256^2 - 1) / 3.
        let spread = (f64::from((1 << 16) - 1) / 3.0).sqrt() * squares;
        assert!((SPREAD / spread - 1.0).abs() < 1e-3, "{SPREAD} for {spread}");
    }

    #[test]
    fn the_first_rows_are_the_images_and_any_slice_is_the_same() {
        let digits = digits(3);
        let n = digits.originals();
        assert_eq!(n, 10_000);
        assert_eq!(drawn(&digits, 0, n), digits.images);
        let whole = drawn(&digits, n as u64 - 2, 40);
        for (first, rows) in [(0, 1), (1, 3), (7, 33)] {
            let part = drawn(&digits, (n - 2 + first) as u64, rows);
            assert_eq!(part, whole[first * PIXELS..][..rows * PIXELS]);
        }
        assert_eq!(digits.label(n as u64 + 5), digits.label(5));
        let far = 8_099_999;
        assert_ne!(
            drawn(&digits, far, 1),
            drawn(&self::digits(4), far, 1),
            "another seed"
        );
        assert_ne!(
            drawn(&digits, far, 1),
            drawn(&digits, far - n as u64, 1),
            "another row of the image"
        );
    }

    #[test]
    fn fields_have_their_spread_and_moves_go_everywhere() {
        let digits = digits(5);
        let (mut sum, mut squares, mut count) = (0.0, 0.0, 0.0);
        for row in 0..400 {
            for step in digits.field(1 << 40 | row << 20, &mut Scratch::default()) {
                let pixels = f64::from(step) / f64::from(1 << FRACTION);
                sum += pixels;
                squares += pixels * pixels;
                count += 1.0;
            }
        }
        // A field has some (28 / (2 sqrt(pi) 4))^2, about 4, independent values: of 1,600 the mean is within 4 / 40 and the mean
        // square within 4 sqrt(2) / 40 with near certainty.
        let (mean, square) = (sum / count, squares / count);
        assert!(mean.abs() < 0.1 * DISPLACEMENT, "mean {mean}");
        assert!(
            (square / DISPLACEMENT.powi(2) - 1.0).abs() < 0.142,
            "mean square {square}"
        );

        // The centre of gravity moves by a third of all moves' width: variance 2/3 of a pixel, and what bending adds.
        let centre = |image: &[u8]| {
            let weigh = |at: usize| f64::from(image[at]);
            let total: f64 = (0..PIXELS).map(weigh).sum();
            (0..PIXELS).map(|at| weigh(at) * (at % 28) as f64).sum::<f64>() / total
        };
        let moves: Vec<f64> = (0..600)
            .map(|row| {
                let image = drawn(&digits, 10_000 + row, 1);
                centre(&image) - centre(&digits.images[row as usize * PIXELS..][..PIXELS])
            })
            .collect();
        let variance = moves.iter().map(|m| m * m).sum::<f64>() / moves.len() as f64;
        assert!(
            (2.0 / 3.0 - 0.15..2.0 / 3.0 + 1.0).contains(&variance),
            "variance {variance}"
        );
    }

    #[test]
    fn without_a_field_nothing_is_bent() {
        let digits = digits(1);
        let image = &digits.images[..PIXELS];
        let none = vec![0; PIXELS];
        for at in 0..PIXELS {
            assert_eq!(bent(image, [28, 28], [at / 28, at % 28], &none, &none), image[at]);
        }
        // One pixel to the left on a ramp along x is the ramp's slope more, but for the edges.
        let ramp: Vec<u8> = (0..PIXELS).map(|at| (at % 28) as u8 * 3).collect();
        let one = vec![1 << FRACTION; PIXELS];
        for (y, x) in [(1, 1), (13, 20), (26, 26)] {
            assert_eq!(bent(&ramp, [28, 28], [y, x], &none, &one), ramp[y * 28 + x] + 3);
            assert_eq!(bent(&ramp, [28, 28], [y, x], &one, &none), ramp[y * 28 + x]);
        }
    }
}

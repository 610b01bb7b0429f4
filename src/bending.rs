//! How images are bent: by a smooth random field, along their tangents, and moved by a pixel at most (after Loosli, Canu and Bottou,
//! "Training invariant support vector machines using selective sampling", 2007).
//!
//! All arithmetic is in whole numbers, so that every machine and every backend makes the same bits. [`Ops::bend`](crate::ops::Ops::bend)
//! has the equations; here are their numbers, which `kernels/bend.cu` repeats.

use crate::random::{Purpose, Stream};

/// Reach of the Gaussian that smooths the noise, in pixels; its standard deviation is a third of that.
pub const REACH: usize = 12;

/// The Gaussian of standard deviation 4, in steps of 2^-10; both halves are alike, and all of it sums to 1024.
pub const GAUSSIAN: [i32; REACH + 1] = [102, 99, 90, 77, 62, 47, 33, 22, 14, 8, 5, 2, 2];

/// Noise is uniform on the odd numbers from -255 to 255. Smoothed along both axes it has this standard deviation: 2^20 sqrt(1/3) 256
/// times the sum of the squared weights.
const SPREAD: f64 = 1.0923e7;

/// Standard deviation of the displacement of a pixel along each axis, in pixels.
const DISPLACEMENT: f64 = 1.0;

/// Bits of a displacement behind the point.
pub const FRACTION: u32 = 8;

/// What smoothed noise, less 8 bits, is multiplied by to be a displacement that is 16 bits too long.
pub const SCALE: i32 = (DISPLACEMENT * (1u64 << (FRACTION + 8 + 16)) as f64 / SPREAD) as i32;

/// Bytes in a block of random words.
const BYTES: usize = 16;

/// The random numbers that bend images of one size.
#[derive(Clone, Copy, Debug)]
pub struct Bending {
    /// Rows and columns of an image.
    pub image: [usize; 2],
    /// Where the numbers are from.
    pub stream: Stream,
}

impl Bending {
    /// That of `seed`.
    pub fn new(seed: u64, image: [usize; 2]) -> Self {
        Bending {
            image,
            stream: Stream::new(seed, Purpose::Deformation, 0),
        }
    }

    /// Rows and columns of the noise that is smoothed to a field.
    pub fn noisy(&self) -> [usize; 2] {
        self.image.map(|side| side + 2 * REACH)
    }

    /// Blocks of random words that hold the noise of a field, a byte for each number.
    pub fn blocks(&self) -> u64 {
        let [height, width] = self.noisy();
        (height * width).div_ceil(BYTES) as u64
    }

    /// Where in the stream the words of an image begin: those of two fields, and one more block for the move.
    fn begin(&self, number: u64) -> u64 {
        number * (2 * self.blocks() + 1)
    }

    /// The noise of a field of image `number`, the one along y (0) or along x (1), row by row, and a few numbers beyond: odd ones from
    /// -255 to 255.
    pub fn noise(&self, number: u64, field: u64) -> impl Iterator<Item = i32> + use<> {
        let (stream, blocks) = (self.stream, self.blocks());
        let begin = self.begin(number) + field * blocks;
        (begin..begin + blocks)
            .flat_map(move |block| stream.words(block))
            .flat_map(|word| word.to_le_bytes())
            .map(|byte| 2 * i32::from(byte) - 255)
    }

    /// By how many pixels image `number` is moved, down and to the right: -1, 0 or 1 each.
    pub fn moved(&self, number: u64) -> [i64; 2] {
        let [down, right, ..] = self.stream.words(self.begin(number) + 2 * self.blocks());
        [down, right].map(|word| ((u64::from(word) * 3) >> 32) as i64 - 1)
    }

    /// Smoothed noise as a displacement, in steps of 2^-[`FRACTION`] pixels.
    pub fn displacement(smoothed: i32) -> i32 {
        ((smoothed >> 8) * SCALE) >> 16
    }

    /// A pixel `v` after displacements of so much, where Sobel's weights, which sum to 8 pixels, make these of the pixels around.
    pub fn bent(v: i32, [along_y, along_x]: [i32; 2], [down, right]: [i32; 2]) -> i32 {
        let bits = FRACTION + 3;
        let change = (along_y * down + along_x * right + (1 << (bits - 1))) >> bits;
        (v + change).clamp(0, 255)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn noise_and_moves_take_words_of_their_own() {
        let bending = Bending::new(7, [3, 5]);
        // 27 x 29 bytes are 48.9 blocks; an image has two fields of 49, and one block more.
        assert_eq!(bending.blocks(), 49);
        assert_eq!(bending.begin(2) - bending.begin(1), 99);
        let bytes = |block: u64| bending.stream.words(block).map(u32::to_le_bytes).concat();
        for (number, field, first) in [(0, 0, 0), (0, 1, 49), (5, 0, 495), (5, 1, 544)] {
            let noise: Vec<i32> = bending.noise(number, field).collect();
            let expected: Vec<i32> = (first..first + 49)
                .flat_map(bytes)
                .map(|byte| 2 * i32::from(byte) - 255)
                .collect();
            assert_eq!(noise, expected, "image {number}, field {field}");
        }
        // A third of the moves each way: 3,000 draws are within 5 deviations, of sqrt(3000 * 2/9) = 26 each.
        let mut counts = [[0i32; 3]; 2];
        for number in 0..3000 {
            for (counts, step) in counts.iter_mut().zip(bending.moved(number)) {
                counts[(step + 1) as usize] += 1;
            }
        }
        let far = |count: &i32| (count - 1000).abs() > 130;
        assert!(!counts.as_flattened().iter().any(far), "{counts:?}");
    }
}

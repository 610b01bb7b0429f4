//! As many digits as are wanted from those that there are: each a copy of one of them, bent by a smooth random field and moved by a
//! pixel at most (after Loosli, Canu and Bottou, "Training invariant support vector machines using selective sampling", 2007, whose
//! 8,100,000 digits are known as MNIST8M). The fields are this program's own: no image is that of the historical file to the bit.
//!
//! Row r is of image `r mod n` and depends on the seed, r and that image alone, whatever makes it; rows below n are the images themselves.

use std::cell::RefCell;

use rayon::prelude::*;

use crate::bending::Bending;
use crate::data::Dataset;
use crate::data::written::Rows;
use crate::error::{Error, Result};
use crate::network::to_real;
use crate::ops::{Ops, Real, Shape};

/// Images made at a time: while the backend makes some, those before become bytes.
const PIECE: usize = 1024;

/// Numbers that become bytes as one task.
const NUMBERS: usize = 1 << 16;

/// Digits to draw from, and what draws them.
pub struct InfiniteMnist<'a, O: Ops> {
    ops: &'a O,
    images: O::Matrix,
    /// One for each image, if they are known.
    labels: Option<Vec<u32>>,
    bending: Bending,
    /// Room for a piece.
    piece: RefCell<O::Matrix>,
}

impl<'a, O: Ops> InfiniteMnist<'a, O> {
    /// From the images of some data, grey and of 8 bits, which go to the backend that is to make others of them.
    ///
    /// # Errors
    /// When they are not, or cannot be read; when they are too large for the backend, or it has no room for them.
    pub fn new(ops: &'a O, data: &Dataset, seed: u64) -> Result<Self> {
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
        let image = [image.height, image.width];
        if !ops.bends(image) {
            let [height, width] = image;
            return Err(Error::option(
                "--from",
                format!(
                    "images of {height} x {width} pixels are too large for {}",
                    ops.name()
                ),
                "make them on the CPU (--device cpu)",
            ));
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
        let (rows, cols) = (data.rows(), data.cols());
        let mut images = ops.matrix("the images to draw from", rows, cols)?;
        let mut read = vec![0.0; PIECE * cols];
        for first in (0..rows).step_by(PIECE) {
            let read = &mut read[..PIECE.min(rows - first) * cols];
            data.read_rows(first, read)?;
            ops.upload(&to_real::<O>(read), &mut images, first)?;
        }
        Ok(InfiniteMnist {
            ops,
            images,
            labels: labels.transpose()?,
            bending: Bending::new(seed, image),
            piece: RefCell::new(ops.matrix("images that are made", PIECE, cols)?),
        })
    }

    /// Images that there are.
    pub fn originals(&self) -> usize {
        self.images.rows()
    }

    /// Waits for images, and makes them bytes.
    fn collect(&self, coming: O::Coming<O::Real>, to: &mut [u8]) -> Result<()> {
        let found = self.ops.collect(coming)?;
        self.ops.on_host(|| {
            to.par_chunks_mut(NUMBERS)
                .zip(found.par_chunks(NUMBERS))
                .for_each(|(to, found)| {
                    for (to, pixel) in to.iter_mut().zip(found) {
                        *to = pixel.to_f64() as u8;
                    }
                });
        });
        Ok(())
    }
}

impl<O: Ops> Rows for InfiniteMnist<'_, O> {
    type Value = u8;

    fn shape(&self) -> Vec<usize> {
        self.bending.image.to_vec()
    }

    fn fill(&self, first_row: u64, rows: &mut [u8]) -> Result<()> {
        let cols = self.images.cols();
        let mut piece = self.piece.borrow_mut();
        let mut before = None;
        for (i, to) in rows.chunks_mut(PIECE * cols).enumerate() {
            piece.set_rows(to.len() / cols);
            let first = first_row + (i * PIECE) as u64;
            self.ops.bend(&self.bending, &self.images, first, &mut piece)?;
            if let Some((coming, to)) = before.replace((self.ops.post(&piece)?, to)) {
                self.collect(coming, to)?;
            }
        }
        match before {
            Some((coming, to)) => self.collect(coming, to),
            None => Ok(()),
        }
    }

    fn label(&self, row: u64) -> Option<u32> {
        let labels = self.labels.as_ref()?;
        Some(labels[(row % labels.len() as u64) as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::Fast;

    const PIXELS: usize = 28 * 28;

    fn digits(ops: &Fast, seed: u64) -> InfiniteMnist<'_, Fast> {
        let data = Dataset::open("mnist-t10k").expect("built in");
        InfiniteMnist::new(ops, &data, seed).expect("grey images")
    }

    fn cpu() -> Fast {
        Fast::new(2).expect("threads")
    }

    fn drawn(digits: &InfiniteMnist<Fast>, first_row: u64, rows: usize) -> Vec<u8> {
        let mut out = vec![77; rows * PIXELS];
        digits.fill(first_row, &mut out).expect("digits");
        out
    }

    #[test]
    fn the_first_rows_are_the_images_and_any_slice_is_the_same() {
        let cpu = cpu();
        let digits = digits(&cpu, 3);
        let n = digits.originals();
        assert_eq!(n, 10_000);
        let pixels: Vec<f32> = drawn(&digits, 0, n).into_iter().map(f32::from).collect();
        let mut images = vec![0.0; n * PIXELS];
        cpu.download(&digits.images, &mut images).expect("images");
        assert_eq!(pixels, images);
        // More than two pieces.
        let whole = drawn(&digits, n as u64 - 2, 2 * PIECE + 40);
        for (first, rows) in [(0, 1), (1, 3), (7, 33), (PIECE - 1, PIECE + 2)] {
            let part = drawn(&digits, (n - 2 + first) as u64, rows);
            assert_eq!(part, whole[first * PIXELS..][..rows * PIXELS]);
        }
        assert_eq!(digits.label(n as u64 + 5), digits.label(5));
        let far = 8_099_999;
        assert_ne!(
            drawn(&digits, far, 1),
            drawn(&self::digits(&cpu, 4), far, 1),
            "another seed"
        );
        assert_ne!(
            drawn(&digits, far, 1),
            drawn(&digits, far - n as u64, 1),
            "another row of the image"
        );
    }

    #[test]
    fn moves_go_everywhere() {
        let cpu = cpu();
        let digits = digits(&cpu, 5);
        let originals = drawn(&digits, 0, 600);
        // The centre of gravity moves by a third of all moves' width: variance 2/3 of a pixel, and what bending adds.
        let centre = |image: &[u8]| {
            let weigh = |at: usize| f64::from(image[at]);
            let total: f64 = (0..PIXELS).map(weigh).sum();
            (0..PIXELS).map(|at| weigh(at) * (at % 28) as f64).sum::<f64>() / total
        };
        let bent = drawn(&digits, 10_000, 600);
        let moves: Vec<f64> = bent
            .chunks_exact(PIXELS)
            .zip(originals.chunks_exact(PIXELS))
            .map(|(bent, original)| centre(bent) - centre(original))
            .collect();
        let variance = moves.iter().map(|m| m * m).sum::<f64>() / moves.len() as f64;
        assert!(
            (2.0 / 3.0 - 0.15..2.0 / 3.0 + 1.0).contains(&variance),
            "variance {variance}"
        );
    }
}

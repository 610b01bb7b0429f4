//! Images bent by smooth random fields, and moved: rows side by side, noise smoothed along one axis after the other.

use rayon::prelude::*;

use crate::bending::{Bending, GAUSSIAN, REACH};
use crate::cpu::Matrix;
use crate::ops::Shape;

/// `to_i` becomes image `first_row + i` of those without end that begin with `images`.
pub fn bend(bending: &Bending, images: &Matrix<f32>, first_row: u64, to: &mut Matrix<f32>) {
    let n = images.rows() as u64;
    let pixels = images.cols();
    to.par_chunks_exact_mut(pixels)
        .enumerate()
        .for_each_init(Scratch::default, |scratch, (i, out)| {
            let number = first_row + i as u64;
            let image = &images[(number % n) as usize * pixels..][..pixels];
            match number < n {
                true => out.copy_from_slice(image),
                false => draw(bending, image, number, scratch, out),
            }
        });
}

/// Room for a framed image, the noise of a field, that smoothed along the columns, and two fields.
#[derive(Default)]
struct Scratch {
    framed: Vec<i32>,
    noise: Vec<i32>,
    columns: Vec<i32>,
    fields: [Vec<i32>; 2],
}

fn draw(bending: &Bending, image: &[f32], number: u64, scratch: &mut Scratch, out: &mut [f32]) {
    let [h, w] = bending.image;
    let Scratch {
        framed,
        noise,
        columns,
        fields,
    } = scratch;
    frame(image, w, framed);
    for (along, field) in fields.iter_mut().enumerate() {
        noise.clear();
        noise.extend(bending.noise(number, along as u64));
        smoothed(bending, noise, columns, field);
    }
    let [along_y, along_x] = fields;
    let moved = bending.moved(number);
    for (y, line) in out.chunks_exact_mut(w).enumerate() {
        let from_y = y.checked_add_signed(-moved[0] as isize).filter(|&y| y < h);
        for (x, out) in line.iter_mut().enumerate() {
            let from_x = x.checked_add_signed(-moved[1] as isize).filter(|&x| x < w);
            let (Some(y), Some(x)) = (from_y, from_x) else {
                *out = 0.0;
                continue;
            };
            let steps = [along_y[y * w + x], along_x[y * w + x]];
            *out = bent(framed, w, [y, x], steps) as f32;
        }
    }
}

/// An image as whole numbers, with a row and a column of blank pixels on each side.
fn frame(image: &[f32], w: usize, framed: &mut Vec<i32>) {
    framed.clear();
    framed.resize((image.len() / w + 2) * (w + 2), 0);
    let lines = framed.chunks_exact_mut(w + 2).skip(1);
    for (to, from) in lines.zip(image.chunks_exact(w)) {
        for (to, &pixel) in to[1..].iter_mut().zip(from) {
            *to = pixel as i32;
        }
    }
}

/// A pixel after displacements of so much.
fn bent(framed: &[i32], w: usize, [y, x]: [usize; 2], steps: [i32; 2]) -> i32 {
    // The pixel itself is one line and one column further in the frame.
    let line = |v: usize| &framed[(y + v) * (w + 2) + x..][..3];
    let (above, at, below) = (line(0), line(1), line(2));
    let along_y = (below[0] + 2 * below[1] + below[2]) - (above[0] + 2 * above[1] + above[2]);
    let along_x = (above[2] + 2 * at[2] + below[2]) - (above[0] + 2 * at[0] + below[0]);
    Bending::bent(at[1], steps, [along_y, along_x])
}

/// A field, h x w: noise smoothed along the columns, then along the rows.
fn smoothed(bending: &Bending, noise: &[i32], columns: &mut Vec<i32>, field: &mut Vec<i32>) {
    let ([h, w], [_, wide]) = (bending.image, bending.noisy());
    columns.clear();
    columns.resize(h * wide, 0);
    for (y, sums) in columns.chunks_exact_mut(wide).enumerate() {
        add_mean(|at| &noise[(y + at) * wide..][..wide], sums);
    }
    field.clear();
    field.resize(h * w, 0);
    for (line, sums) in columns.chunks_exact(wide).zip(field.chunks_exact_mut(w)) {
        add_mean(|at| &line[at..at + w], sums);
        sums.iter_mut().for_each(|sum| *sum = Bending::displacement(*sum));
    }
}

/// The Gaussian means of lines 0 to 2 REACH, times 1024, added to `sums`: line by line, as vector units like it.
fn add_mean<'a>(line: impl Fn(usize) -> &'a [i32], sums: &mut [i32]) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bending::FRACTION;

    const SIDE: usize = 28;
    const PIXELS: usize = SIDE * SIDE;

    #[test]
    fn fields_have_their_spread() {
        let bending = Bending::new(5, [SIDE, SIDE]);
        let (mut sum, mut squares, mut count) = (0.0, 0.0, 0.0);
        let (mut columns, mut field) = Default::default();
        for number in 0..400 {
            let noise: Vec<i32> = bending.noise(1 << 30 | number, number % 2).collect();
            smoothed(&bending, &noise, &mut columns, &mut field);
            for &step in &field {
                let pixels = f64::from(step) / f64::from(1 << FRACTION);
                sum += pixels;
                squares += pixels * pixels;
                count += 1.0;
            }
        }
        // A field has some (28 / (2 sqrt(pi) 4))^2, about 4, independent values: of 1,600 the mean is within 4 / 40 and the mean
        // square within 4 sqrt(2) / 40 with near certainty. One pixel is what the deviation should be.
        let (mean, square): (f64, f64) = (sum / count, squares / count);
        assert!(mean.abs() < 0.1, "mean {mean}");
        assert!((square - 1.0).abs() < 0.142, "mean square {square}");
    }

    #[test]
    fn without_a_field_nothing_is_bent() {
        let framed = |pixel: &dyn Fn(usize) -> f32| {
            let (image, mut framed): (Vec<f32>, _) = ((0..PIXELS).map(pixel).collect(), Vec::new());
            frame(&image, SIDE, &mut framed);
            framed
        };
        let noisy = |at: usize| (at * 7919 % 256) as f32;
        let image = framed(&noisy);
        for at in 0..PIXELS {
            let found = bent(&image, SIDE, [at / SIDE, at % SIDE], [0, 0]);
            assert_eq!(found, noisy(at) as i32);
        }
        // One pixel to the left on a ramp along x is the ramp's slope more, but for the edges.
        let ramp = framed(&|at| (at % SIDE * 3) as f32);
        let one = 1 << FRACTION;
        for (y, x) in [(1, 1), (13, 20), (26, 26)] {
            let here = 3 * x as i32;
            assert_eq!(bent(&ramp, SIDE, [y, x], [0, one]), here + 3);
            assert_eq!(bent(&ramp, SIDE, [y, x], [one, 0]), here);
        }
    }
}

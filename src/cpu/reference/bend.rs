//! Images bent by smooth random fields, and moved.

use crate::bending::{Bending, GAUSSIAN, REACH};
use crate::cpu::Matrix;
use crate::ops::{Real, Shape};

/// `to_i` becomes image `first_row + i` of those without end that begin with `images`.
pub fn bend<T: Real>(bending: &Bending, images: &Matrix<T>, first_row: u64, to: &mut Matrix<T>) {
    let [h, w] = bending.image;
    let n = images.rows() as u64;
    for i in 0..to.rows() {
        let number = first_row + i as u64;
        let from = (number % n) as usize * h * w;
        let image = &images[from..from + h * w];
        let out = &mut to[i * h * w..(i + 1) * h * w];
        if number < n {
            out.copy_from_slice(image);
            continue;
        }
        let at = |y: i64, x: i64| -> i32 {
            match (0..h as i64).contains(&y) && (0..w as i64).contains(&x) {
                true => image[y as usize * w + x as usize].to_f64() as i32,
                false => 0,
            }
        };
        let noise = [0, 1].map(|field| bending.noise(number, field).collect::<Vec<i32>>());
        let displacements = |y: usize, x: usize| noise.each_ref().map(|noise| displacement(noise, w, y, x));
        let [down, right] = bending.moved(number);
        for y in 0..h as i64 {
            for x in 0..w as i64 {
                let (v, u) = (y - down, x - right);
                let inside = (0..h as i64).contains(&v) && (0..w as i64).contains(&u);
                let value = match inside {
                    true => {
                        let along_y = at(v + 1, u - 1) + 2 * at(v + 1, u) + at(v + 1, u + 1)
                            - at(v - 1, u - 1)
                            - 2 * at(v - 1, u)
                            - at(v - 1, u + 1);
                        let along_x = at(v - 1, u + 1) + 2 * at(v, u + 1) + at(v + 1, u + 1)
                            - at(v - 1, u - 1)
                            - 2 * at(v, u - 1)
                            - at(v + 1, u - 1);
                        let steps = displacements(v as usize, u as usize);
                        Bending::bent(at(v, u), steps, [along_y, along_x])
                    }
                    false => 0,
                };
                out[y as usize * w + x as usize] = T::of(value.into());
            }
        }
    }
}

/// The field at a pixel of images of `w` columns: the Gaussian mean of the noise around it.
fn displacement(noise: &[i32], w: usize, y: usize, x: usize) -> i32 {
    let mut sum = 0;
    for a in 0..=2 * REACH {
        for b in 0..=2 * REACH {
            let weight = GAUSSIAN[a.abs_diff(REACH)] * GAUSSIAN[b.abs_diff(REACH)];
            sum += weight * noise[(y + a) * (w + 2 * REACH) + x + b];
        }
    }
    Bending::displacement(sum)
}

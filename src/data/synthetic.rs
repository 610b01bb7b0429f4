//! Synthetic data of known structure, in any number of rows.
//!
//! Row i is a pure function of the seed and i, so that any slice can be made by itself, by any number of threads, and
//! ten million rows can be written in constant memory.

use std::f64::consts::{FRAC_PI_2, PI, TAU};

use rayon::prelude::*;

use super::written::Rows;
use crate::error::{Error, Result};
use crate::random::{Purpose, Stream};

/// Standard deviation of the noise on each coordinate of the plane figures.
const PLANE_NOISE: f64 = 0.05;

/// Blobs: axes, and how far their centres are from the origin (the standard deviation of their points is 1).
const BLOB_DIMS: usize = 8;
const BLOB_DISTANCE: f64 = 7.0;

/// Subspaces: axes of the whole, axes of each, and the standard deviation of the noise on each coordinate.
const AMBIENT_DIMS: usize = 30;
const SUBSPACE_DIMS: usize = 3;
const SUBSPACE_NOISE: f64 = 0.02;

/// A figure to draw points from. Row i belongs to class i modulo the number of classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Generator {
    /// Two circles around the origin, of radius 1 and 2, with noise of standard deviation 0.05.
    Rings = 1,
    /// Two letters C, half circles of radius 1: the first around the origin, open to the right; the second, the first
    /// turned by half a turn, around (-0.5, 1), open to the left. Each has one end in the other's opening, 0.5 from its
    /// arc; the noise has standard deviation 0.05.
    DoubleC = 2,
    /// Two half circles of radius 1, each ending under the middle of the other; noise of standard deviation 0.05.
    Moons = 3,
    /// Five normal clouds of standard deviation 1 in 8 dimensions. Their centres lie 7 from the origin in random
    /// directions at right angles, so that any two are 9.9 apart.
    Blobs = 4,
    /// Five random 3-dimensional subspaces of 30 dimensions: points uniform on the unit sphere of each, with noise
    /// of standard deviation 0.02 on each coordinate.
    Subspaces = 5,
    /// Two interleaved spirals of one and a half turns, radius `angle / 2 pi` from 0.25 to 1.75, so that their arms are 0.5 apart;
    /// points uniform along them, with noise of standard deviation 0.05.
    Spirals = 6,
}

impl Generator {
    /// All of them.
    pub const ALL: [Generator; 6] = [
        Generator::Rings,
        Generator::DoubleC,
        Generator::Moons,
        Generator::Blobs,
        Generator::Subspaces,
        Generator::Spirals,
    ];

    /// The generator of that name.
    pub fn parse(name: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|generator| generator.name() == name)
            .ok_or_else(|| {
                let advice = format!("choose one of {}", Self::names().join(", "));
                Error::option("generate", format!("unknown figure {name:?}"), advice)
            })
    }

    /// The names [`parse`](Self::parse) knows.
    pub fn names() -> [&'static str; 6] {
        Self::ALL.map(Self::name)
    }

    /// The name of this one.
    pub fn name(self) -> &'static str {
        match self {
            Generator::Rings => "rings",
            Generator::DoubleC => "double-c",
            Generator::Moons => "moons",
            Generator::Blobs => "blobs",
            Generator::Subspaces => "subspaces",
            Generator::Spirals => "spirals",
        }
    }

    /// Numbers in each row.
    pub fn dims(self) -> usize {
        match self {
            Generator::Rings | Generator::DoubleC | Generator::Moons | Generator::Spirals => 2,
            Generator::Blobs => BLOB_DIMS,
            Generator::Subspaces => AMBIENT_DIMS,
        }
    }

    /// Number of classes.
    pub fn classes(self) -> usize {
        match self {
            Generator::Rings | Generator::DoubleC | Generator::Moons | Generator::Spirals => 2,
            Generator::Blobs | Generator::Subspaces => 5,
        }
    }

    /// The class of row `row`.
    fn label(self, row: u64) -> u32 {
        (row % self.classes() as u64) as u32
    }
}

/// A generator with what it draws once for all rows.
pub struct Figure {
    generator: Generator,
    /// Numbers for the rows.
    points: Stream,
    /// Blobs: the centre of each class. Subspaces: the orthonormal basis of each class, vector after vector.
    structure: Vec<Vec<f64>>,
}

impl Rows for Figure {
    type Value = f32;

    fn shape(&self) -> Vec<usize> {
        vec![self.generator.dims()]
    }

    fn fill(&self, first_row: u64, rows: &mut [f32]) -> Result<()> {
        let rows = rows.par_chunks_exact_mut(self.generator.dims());
        rows.enumerate().with_min_len(256).for_each(|(i, row)| {
            let i = first_row + i as u64;
            self.draw(i, self.generator.label(i) as usize, row);
        });
        Ok(())
    }

    fn label(&self, row: u64) -> Option<u32> {
        Some(self.generator.label(row))
    }
}

impl Figure {
    /// The figure that belongs to a seed.
    pub fn new(generator: Generator, seed: u64) -> Self {
        let sub = 2 * generator as u32;
        let structure = Stream::new(seed, Purpose::Synthetic, sub);
        let frame = |which: usize, vectors: usize, dims: usize| {
            let first = (which * (vectors * dims).div_ceil(2)) as u64;
            let normals = (first..).flat_map(|index| structure.normal(index));
            orthonormal(normals.take(vectors * dims).collect(), dims)
        };
        let classes = generator.classes();
        let structure = match generator {
            Generator::Rings | Generator::DoubleC | Generator::Moons | Generator::Spirals => Vec::new(),
            Generator::Blobs => {
                let directions = frame(0, classes, BLOB_DIMS);
                let scaled = |vector: &[f64]| vector.iter().map(|v| v * BLOB_DISTANCE).collect();
                directions.chunks_exact(BLOB_DIMS).map(scaled).collect()
            }
            Generator::Subspaces => (0..classes)
                .map(|class| frame(class, SUBSPACE_DIMS, AMBIENT_DIMS))
                .collect(),
        };
        Figure {
            generator,
            points: Stream::new(seed, Purpose::Synthetic, sub + 1),
            structure,
        }
    }

    fn draw(&self, i: u64, class: usize, row: &mut [f32]) {
        match self.generator {
            Generator::Rings | Generator::DoubleC | Generator::Moons | Generator::Spirals => {
                let [t, _] = self.points.uniform_f64(2 * i);
                let [x, y] = self.on_curve(class, t);
                let [u, v] = self.points.normal(2 * i + 1);
                row[0] = (x + PLANE_NOISE * u) as f32;
                row[1] = (y + PLANE_NOISE * v) as f32;
            }
            Generator::Blobs => {
                let noise = self.normals(i * BLOB_DIMS as u64 / 2);
                for ((out, centre), z) in row.iter_mut().zip(&self.structure[class]).zip(noise) {
                    *out = (centre + z) as f32;
                }
            }
            Generator::Subspaces => {
                let pairs = (SUBSPACE_DIMS.div_ceil(2) + AMBIENT_DIMS.div_ceil(2)) as u64;
                let mut z = [0.0; SUBSPACE_DIMS];
                z.iter_mut()
                    .zip(self.normals(i * pairs))
                    .for_each(|(z, normal)| *z = normal);
                let norm = z.iter().map(|z| z * z).sum::<f64>().sqrt();
                let noise = self.normals(i * pairs + SUBSPACE_DIMS.div_ceil(2) as u64);
                let basis = &self.structure[class];
                for ((axis, out), noise) in row.iter_mut().enumerate().zip(noise) {
                    let along: f64 = (0..SUBSPACE_DIMS)
                        .map(|b| z[b] * basis[b * AMBIENT_DIMS + axis])
                        .sum();
                    *out = (along / norm + SUBSPACE_NOISE * noise) as f32;
                }
            }
        }
    }

    /// The point of a plane figure at `t` in [0, 1) along the curve of its class.
    fn on_curve(&self, class: usize, t: f64) -> [f64; 2] {
        let on_circle = |angle: f64, radius: f64| [radius * angle.cos(), radius * angle.sin()];
        match self.generator {
            Generator::Rings => on_circle(TAU * t, 1.0 + class as f64),
            Generator::Spirals => {
                // Arc length grows with the square of the angle.
                let (first, last) = (FRAC_PI_2, 3.5 * PI);
                let angle = (first * first + t * (last * last - first * first)).sqrt();
                on_circle(angle + PI * class as f64, angle / TAU)
            }
            Generator::Moons => {
                let [x, y] = on_circle(PI * t, 1.0);
                if class == 0 { [x, y] } else { [1.0 - x, 0.5 - y] }
            }
            _ => {
                let [x, y] = on_circle(FRAC_PI_2 + PI * t, 1.0);
                if class == 0 { [x, y] } else { [-0.5 - x, 1.0 - y] }
            }
        }
    }

    fn normals(&self, first: u64) -> impl Iterator<Item = f64> {
        (first..).flat_map(|index| self.points.normal(index))
    }
}

/// Gram and Schmidt's orthonormal basis of the given vectors of `dims` numbers.
fn orthonormal(mut vectors: Vec<f64>, dims: usize) -> Vec<f64> {
    for begin in (0..vectors.len()).step_by(dims) {
        let (done, rest) = vectors.split_at_mut(begin);
        let vector = &mut rest[..dims];
        for earlier in done.chunks_exact(dims) {
            let along: f64 = earlier.iter().zip(&*vector).map(|(a, b)| a * b).sum();
            vector.iter_mut().zip(earlier).for_each(|(v, e)| *v -= along * e);
        }
        let norm = vector.iter().map(|v| v * v).sum::<f64>().sqrt();
        vector.iter_mut().for_each(|v| *v /= norm);
    }
    vectors
}

//! Random inputs of checks.

use std::cell::Cell;

use crate::random::{Purpose, Stream};

/// A stream of random numbers that are drawn one after the other.
pub struct Random {
    stream: Stream,
    next: Cell<u64>,
}

impl Random {
    /// The stream of this number for a seed.
    pub fn new(seed: u64, stream: u32) -> Self {
        Random {
            stream: Stream::new(seed, Purpose::Synthetic, stream),
            next: Cell::new(0),
        }
    }

    fn index(&self) -> u64 {
        self.next.replace(self.next.get() + 1)
    }

    /// A standard normal number.
    pub fn normal(&self) -> f64 {
        self.stream.normal(self.index())[0]
    }

    /// A number uniform in [0, 1).
    pub fn uniform(&self) -> f64 {
        self.stream.uniform_f64(self.index())[0]
    }

    /// A whole number below `bound`.
    pub fn below(&self, bound: usize) -> usize {
        self.stream.below(self.index(), bound as u64) as usize
    }

    /// `len` normal numbers of this standard deviation.
    pub fn normals(&self, len: usize, deviation: f64) -> Vec<f32> {
        (0..len).map(|_| (deviation * self.normal()) as f32).collect()
    }

    /// The numbers 0 to `len` in random order.
    pub fn order(&self, len: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..len).collect();
        for i in (1..len).rev() {
            order.swap(i, self.below(i + 1));
        }
        order
    }
}

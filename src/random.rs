//! Counter-based random numbers: the n-th number of a stream is a pure function of seed, purpose and n.
//!
//! The generator is Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
//! Because nothing is carried from one number to the next, every backend, thread and GPU block can
//! produce any part of a stream by itself, and all of them produce the same one.

/// What a stream is for. Streams of different purposes never overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Purpose {
    /// Initial weights; the sub-stream is the layer.
    Weights = 1,
    /// Order of the training rows; the sub-stream is the epoch.
    Shuffle = 2,
    /// Choice of the training rows out of all rows.
    TrainRows = 3,
    /// Directions and rows that only estimates and reports look at.
    Estimate = 4,
    /// Synthetic data; the sub-stream is the generator.
    Synthetic = 5,
    /// Neighbours that seed rows bring into mini-batches; the sub-stream is the epoch.
    Neighbors = 6,
    /// Starts of k-means and eigensolvers; the sub-stream tells them apart.
    Start = 7,
    /// Fields that bend images, and moves.
    Deformation = 8,
    /// Seeds of auto-encoders; the sub-stream is the position in a chain of transforms.
    Autoencoder = 9,
}

/// Ten rounds of Philox4x32 on one counter.
pub fn philox(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let [mut c0, mut c1, mut c2, mut c3] = counter;
    let [mut k0, mut k1] = key;
    for _ in 0..10 {
        let p0 = u64::from(c0) * 0xD251_1F53;
        let p1 = u64::from(c2) * 0xCD9E_8D57;
        (c0, c1, c2, c3) = (
            (p1 >> 32) as u32 ^ c1 ^ k0,
            p1 as u32,
            (p0 >> 32) as u32 ^ c3 ^ k1,
            p0 as u32,
        );
        k0 = k0.wrapping_add(0x9E37_79B9);
        k1 = k1.wrapping_add(0xBB67_AE85);
    }
    [c0, c1, c2, c3]
}

/// One stream of random numbers, addressed by index.
#[derive(Clone, Copy, Debug)]
#[repr(C)] // as `kernels/philox.cuh` has it
pub struct Stream {
    key: [u32; 2],
    purpose: u32,
    sub: u32,
}

impl Stream {
    /// The stream of `seed` for `purpose`; `sub` tells apart layers, epochs or generators.
    pub fn new(seed: u64, purpose: Purpose, sub: u32) -> Self {
        Stream {
            key: [seed as u32, (seed >> 32) as u32],
            purpose: purpose as u32,
            sub,
        }
    }

    /// The four 32-bit words at `index`.
    pub fn words(&self, index: u64) -> [u32; 4] {
        philox(
            [index as u32, (index >> 32) as u32, self.sub, self.purpose],
            self.key,
        )
    }

    /// Four numbers, uniform in [0, 1), on a grid of 2^-24 (exact in f32).
    pub fn uniform(&self, index: u64) -> [f32; 4] {
        self.words(index).map(|w| (w >> 8) as f32 / (1 << 24) as f32)
    }

    /// Two numbers, uniform in [0, 1), on a grid of 2^-53.
    pub fn uniform_f64(&self, index: u64) -> [f64; 2] {
        let [a, b, c, d] = self.words(index);
        let pair =
            |hi: u32, lo: u32| ((u64::from(hi) << 32 | u64::from(lo)) >> 11) as f64 / (1u64 << 53) as f64;
        [pair(a, b), pair(c, d)]
    }

    /// Two independent standard normal numbers (Box and Muller).
    pub fn normal(&self, index: u64) -> [f64; 2] {
        let [u, v] = self.uniform_f64(index);
        // 1 - u lies in (0, 1], so the logarithm is finite.
        let radius = (-2.0 * (1.0 - u).ln()).sqrt();
        let (sin, cos) = (std::f64::consts::TAU * v).sin_cos();
        [radius * cos, radius * sin]
    }

    /// A whole number in [0, bound), unbiased to 2^-32 relative.
    pub fn below(&self, index: u64, bound: u64) -> u64 {
        let [a, b, ..] = self.words(index);
        let word = u64::from(a) << 32 | u64::from(b);
        ((u128::from(word) * u128::from(bound)) >> 64) as u64
    }
}

/// A random permutation of 0..n that is evaluated point by point, never stored.
///
/// A Feistel network over the smallest power of two that holds n permutes that power; images outside 0..n
/// are sent through again until they fall inside (cycle walking), which leaves a permutation of 0..n. An
/// epoch's order therefore needs no sort, no memory and no communication, on any backend.
#[derive(Clone, Copy, Debug)]
pub struct Permutation {
    len: u64,
    low_bits: u32,
    high_bits: u32,
    keys: [u32; Permutation::ROUNDS],
}

impl Permutation {
    /// Rounds of the Feistel network; even, so that halves of unequal width end where they began.
    pub const ROUNDS: usize = 12;

    /// The permutation of `0..len` for `seed`, `purpose` and sub-stream `sub`.
    pub fn new(seed: u64, purpose: Purpose, sub: u32, len: u64) -> Self {
        assert!(len <= 1 << 62, "a permutation of {len} elements");
        let bits = (64 - len.saturating_sub(1).leading_zeros()).max(2);
        let stream = Stream::new(seed, purpose, sub);
        let mut keys = [0; Self::ROUNDS];
        for (block, chunk) in keys.chunks_mut(4).enumerate() {
            chunk.copy_from_slice(&stream.words(block as u64)[..chunk.len()]);
        }
        Permutation {
            len,
            low_bits: bits / 2,
            high_bits: bits - bits / 2,
            keys,
        }
    }

    /// Number of elements permuted.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is nothing to permute.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The image of `position`, which must lie below [`len`](Self::len).
    pub fn at(&self, position: u64) -> u64 {
        assert!(position < self.len, "position {position} of {}", self.len);
        let mut value = position;
        loop {
            value = self.encipher(value);
            if value < self.len {
                return value;
            }
        }
    }

    fn encipher(&self, value: u64) -> u64 {
        let (mut low_bits, mut high_bits) = (self.low_bits, self.high_bits);
        let (mut low, mut high) = (value & ((1 << low_bits) - 1), value >> low_bits);
        for key in self.keys {
            // high' = low; low' = high + F(low), in as many bits as high had.
            let mixed = high.wrapping_add(round(low, key)) & ((1 << high_bits) - 1);
            (high, low) = (low, mixed);
            (high_bits, low_bits) = (low_bits, high_bits);
        }
        high << low_bits | low
    }
}

/// The round function: a 32-bit finaliser (multiply, xor-shift) of one half and the round's key.
fn round(half: u64, key: u32) -> u64 {
    let mut x = half as u32 ^ key;
    x = (x ^ x >> 16).wrapping_mul(0x7FEB_352D);
    x = (x ^ x >> 15).wrapping_mul(0x846C_A68B);
    u64::from(x ^ x >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known-answer vectors published with Random123.
    #[test]
    fn philox_gives_the_published_vectors() {
        assert_eq!(
            philox([0; 4], [0; 2]),
            [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]
        );
        assert_eq!(
            philox([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
        assert_eq!(
            philox(
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0]
            ),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn a_permutation_hits_every_element_once() {
        for len in [1, 2, 3, 4, 5, 7, 64, 65, 129, 1021, 10_000] {
            let permutation = Permutation::new(7, Purpose::Shuffle, 3, len);
            let mut seen = vec![false; len as usize];
            for i in 0..len {
                let j = permutation.at(i) as usize;
                assert!(!seen[j], "{j} twice in a permutation of {len}");
                seen[j] = true;
            }
        }
    }

    /// Over many seeds each element lands on each place equally often, and so does each pair.
    #[test]
    fn permutations_are_uniform() {
        let (len, trials) = (7u64, 20_000u64);
        let mut single = vec![0f64; 49];
        let mut pair = vec![0f64; 49];
        for seed in 0..trials {
            let permutation = Permutation::new(seed, Purpose::Shuffle, 0, len);
            for i in 0..len {
                single[(i * len + permutation.at(i)) as usize] += 1.0;
            }
            pair[(permutation.at(0) * len + permutation.at(1)) as usize] += 1.0;
        }
        let chi = |counts: &[f64], expected: f64| -> f64 {
            let cells = counts.iter().filter(|&&c| c > 0.0);
            cells.map(|c| (c - expected).powi(2) / expected).sum()
        };
        // 36 degrees of freedom (6 x 6) and 41 (42 - 1): the 1 - 1e-9 quantiles are 104 and 112.
        let single = chi(&single, trials as f64 / 7.0);
        let pair = chi(&pair, trials as f64 / 42.0);
        assert!(single < 104.0 && pair < 112.0, "chi-square {single} and {pair}");
    }

    #[test]
    fn uniform_and_normal_have_their_moments() {
        let stream = Stream::new(11, Purpose::Synthetic, 0);
        let n = 100_000u64;
        let (mut mean, mut square, mut normal_square) = (0.0, 0.0, 0.0);
        for i in 0..n {
            let u = f64::from(stream.uniform(i)[0]);
            assert!((0.0..1.0).contains(&u));
            mean += u / n as f64;
            square += u * u / n as f64;
            normal_square += stream.normal(i)[0].powi(2) / n as f64;
        }
        // Six standard errors each.
        assert!((mean - 0.5).abs() < 6.0 * (1.0f64 / 12.0 / n as f64).sqrt());
        assert!((square - 1.0 / 3.0).abs() < 6.0 * (4.0f64 / 45.0 / n as f64).sqrt());
        assert!((normal_square - 1.0).abs() < 6.0 * (2.0 / n as f64).sqrt());
    }
}

//! Every function of `gpu.cuh` against what NVIDIA's manual of PTX says it does. Emulator and kernels have the same author, so that a
//! mistake in both could cancel out: what is expected is stated here anew, from the manual, and the tests would run on a card as well.

use crate::common::{download, room, upload};
use half::{bf16, f16};
use neuncut::cuda::Driver;
use neuncut_emulator::Emulator;

const LANES: usize = 32;

/// The orders of threads that each test goes through.
fn devices() -> impl Iterator<Item = Emulator> {
    (0..4).map(|seed| Emulator::new().with_seed(seed))
}

/// Numbers in [0, 2^32) that look random; the same for the same seed.
fn random_bits(seed: u64) -> impl Iterator<Item = u32> {
    let mut state = seed;
    std::iter::repeat_with(move || {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (state >> 32) as u32
    })
}

#[test]
fn copy_async_of_each_number_of_bytes() {
    let from: Vec<u32> = random_bits(1).take(4 * LANES).collect();
    for driver in devices() {
        let (from_at, to_at) = (upload(&driver, &from), room::<u32>(&driver, from.len()));
        for bytes in 0..=16 {
            launch!(
                &driver,
                "wrappers",
                "copy_async_16_of",
                [1, 1, 1],
                32,
                from_at,
                to_at,
                bytes as i32
            )
            .unwrap();
            let mut expected: Vec<u8> = bytemuck::cast_slice(&from).to_vec();
            expected.chunks_mut(16).for_each(|piece| piece[bytes..].fill(0));
            assert_eq!(
                download::<u8>(&driver, to_at, expected.len()),
                expected,
                "{bytes} bytes"
            );
        }
    }
}

#[test]
fn copy_async_groups_land_in_their_order() {
    let from: Vec<f32> = (0..3 * 4 * LANES).map(|i| i as f32).collect();
    let expected: Vec<f32> = from.iter().skip(3).step_by(4).copied().collect();
    for driver in devices() {
        let (from, to) = (upload(&driver, &from), room::<f32>(&driver, expected.len()));
        launch!(&driver, "wrappers", "copy_async_groups", [1, 1, 1], 32, from, to).unwrap();
        assert_eq!(download::<f32>(&driver, to, expected.len()), expected);
    }
}

/// A format of operands: which numbers it holds, and how a fragment's elements lie in registers.
struct Operands {
    kernel: &'static str,
    /// Columns of A and rows of B.
    k: usize,
    /// The bits of a number of the format.
    bits: fn(f32) -> u32,
    /// The bits that a number has in a register; the first is lowest.
    width: u32,
}

const TF32: Operands = Operands {
    kernel: "mma_tf32_of",
    k: 8,
    bits: f32::to_bits,
    width: 32,
};
const BF16: Operands = Operands {
    kernel: "mma_bf16_of",
    k: 16,
    bits: |x| bf16::from_f32(x).to_bits() as u32,
    width: 16,
};
const F16: Operands = Operands {
    kernel: "mma_f16_of",
    k: 16,
    bits: |x| f16::from_f32(x).to_bits() as u32,
    width: 16,
};

/// Row and column of element a_i of a lane: section "Matrix Fragments for mma.m16n8k8" (.tf32) and "... mma.m16n8k16" (.f16, .bf16).
fn position_of_a(k: usize, lane: usize, i: usize) -> (usize, usize) {
    let (group, thread_in_group) = (lane >> 2, lane % 4);
    match k {
        8 => (
            if i == 0 || i == 2 { group } else { group + 8 },
            if i < 2 {
                thread_in_group
            } else {
                thread_in_group + 4
            },
        ),
        _ => (
            if i < 2 || (4..6).contains(&i) {
                group
            } else {
                group + 8
            },
            thread_in_group * 2 + (i & 1) + if i < 4 { 0 } else { 8 },
        ),
    }
}

/// Row and column of element b_i of a lane, from the same sections.
fn position_of_b(k: usize, lane: usize, i: usize) -> (usize, usize) {
    let (group, thread_in_group) = (lane >> 2, lane % 4);
    match k {
        8 => (
            if i == 0 {
                thread_in_group
            } else {
                thread_in_group + 4
            },
            group,
        ),
        _ => (thread_in_group * 2 + (i & 1) + if i < 2 { 0 } else { 8 }, group),
    }
}

/// Row and column of element c_i of a lane; all three formats have the same.
fn position_of_c(lane: usize, i: usize) -> (usize, usize) {
    let (group, thread_in_group) = (lane >> 2, lane % 4);
    (
        if i < 2 { group } else { group + 8 },
        thread_in_group * 2 + (i & 1),
    )
}

impl Operands {
    /// D + A B by the device, from matrices of values; A is 16 x k, B k x 8, D 16 x 8, all row by row.
    fn multiply(&self, driver: &impl Driver, a: &[f32], b: &[f32], d: &[f32], low_bits: u32) -> Vec<f32> {
        let per_register = 32 / self.width as usize;
        let registers = |per_lane: usize, at: &dyn Fn(usize, usize) -> f32| -> Vec<u32> {
            let element = |lane, i| (self.bits)(at(lane, i));
            (0..LANES * per_lane)
                .map(|register| {
                    let (lane, first) = (register / per_lane, register % per_lane * per_register);
                    (0..per_register).fold(low_bits, |bits, j| {
                        bits | element(lane, first + j) << (j as u32 * self.width)
                    })
                })
                .collect()
        };
        let a = registers(4, &|lane, i| {
            let (row, column) = position_of_a(self.k, lane, i);
            a[row * self.k + column]
        });
        let b = registers(2, &|lane, i| {
            let (row, column) = position_of_b(self.k, lane, i);
            b[row * 8 + column]
        });
        let place = |register: usize| {
            let (row, column) = position_of_c(register / 4, register % 4);
            row * 8 + column
        };
        let d: Vec<f32> = (0..4 * LANES).map(|register| d[place(register)]).collect();
        let (a, b, d) = (upload(driver, &a), upload(driver, &b), upload(driver, &d));
        launch!(driver, "wrappers", self.kernel, [1, 1, 1], 32, a, b, d).unwrap();
        let mut product = vec![f32::NAN; 128];
        for (register, value) in download::<f32>(driver, d, 128).into_iter().enumerate() {
            product[place(register)] = value;
        }
        product
    }

    /// The same in f64, and the sum of the magnitudes that each element is made of.
    fn reference(&self, a: &[f32], b: &[f32], d: &[f32]) -> Vec<(f64, f64)> {
        (0..128)
            .map(|i| {
                let (row, column) = (i / 8, i % 8);
                let products = (0..self.k).map(|k| a[row * self.k + k] as f64 * b[k * 8 + column] as f64);
                products.fold((d[i] as f64, d[i].abs() as f64), |(sum, size), x| {
                    (sum + x, size + x.abs())
                })
            })
            .collect()
    }
}

/// Section "Warp-level matrix instructions: ldmatrix", .x4: threads 0 to 7 give the rows of the first matrix, 8 to 15 those of the second, and so
/// on; thread i holds of each matrix row i / 4, from element 2 (i % 4) on, and with .trans the same of the matrix turned.
#[test]
fn matrices_are_loaded_as_fragments() {
    // A number for each place: 32 rows of 8.
    let rows: Vec<u16> = (0..256).collect();
    for (seed, driver) in devices().enumerate() {
        let mut order: Vec<u32> = (0..LANES as u32).collect();
        order.rotate_left(5 * seed);
        order.swap(seed, 31);
        let (from, order_at) = (upload(&driver, &rows), upload(&driver, &order));
        let to = room::<u32>(&driver, 256);
        launch!(
            &driver,
            "wrappers",
            "load_matrices_of",
            [1, 1, 1],
            32,
            from,
            order_at,
            to
        )
        .unwrap();
        let loaded = download::<u32>(&driver, to, 256);
        for lane in 0..LANES {
            for matrix in 0..4 {
                let at = |row: usize, column: usize| order[8 * matrix + row] * 8 + column as u32;
                let (row, column) = (lane / 4, lane % 4 * 2);
                let word = |low: u32, high: u32| low | high << 16;
                let place = 4 * lane + matrix;
                assert_eq!(loaded[place], word(at(row, column), at(row, column + 1)));
                assert_eq!(
                    loaded[128 + place],
                    word(at(column, row), at(column + 1, row)),
                    "turned"
                );
            }
        }
    }
}

#[test]
fn mma_puts_every_element_in_its_place() {
    // Whole numbers that every format holds, and whose sums f32 holds: no rounding, so the result must be exact.
    for operands in [TF32, BF16, F16] {
        for (seed, driver) in devices().enumerate() {
            let mut numbers = random_bits(seed as u64).map(|bits| (bits % 255) as f32 - 127.0);
            let mut take = |count| numbers.by_ref().take(count).collect::<Vec<_>>();
            let (a, b, d) = (take(16 * operands.k), take(operands.k * 8), take(128));
            let expected: Vec<f32> = operands
                .reference(&a, &b, &d)
                .iter()
                .map(|&(sum, _)| sum as f32)
                .collect();
            assert_eq!(
                operands.multiply(&driver, &a, &b, &d, 0),
                expected,
                "{}",
                operands.kernel
            );
        }
    }
}

#[test]
fn mma_adds_in_f32() {
    let driver = Emulator::new();
    for operands in [TF32, BF16, F16] {
        // Values with as many bits as the narrowest format has, of different magnitudes.
        let mut numbers = random_bits(7)
            .map(|bits| ((bits >> 8) % 255) as f32 - 127.0)
            .zip(random_bits(8))
            .map(|(x, bits)| x * (-((bits >> 8) as i32 % 8) as f32).exp2());
        let mut take = |count| numbers.by_ref().take(count).collect::<Vec<_>>();
        let (a, b, d) = (take(16 * operands.k), take(operands.k * 8), take(128));
        let result = operands.multiply(&driver, &a, &b, &d, 0);
        for (value, (exact, size)) in result.iter().zip(operands.reference(&a, &b, &d)) {
            // Each of the k + 1 terms loses at most a unit of the last of 24 bits of the sum of magnitudes: it is cut, not rounded.
            let allowed = (operands.k + 1) as f64 * size * (0.5f64).powi(23);
            assert!(
                (*value as f64 - exact).abs() <= allowed,
                "{}: {value} is not {exact}",
                operands.kernel
            );
        }
    }
}

#[test]
fn mma_cuts_sums_towards_zero() {
    let driver = Emulator::new();
    let unit = f32::EPSILON;
    for operands in [TF32, BF16, F16] {
        // One product of 2^-12 with `times` 2^-12: so many halves of the last bit of 1.
        for (times, d, expected) in [
            (1.0, 1.0, 1.0),
            (1.5, 1.0, 1.0),
            (2.0, 1.0, 1.0 + unit),
            (3.5, 1.0, 1.0 + unit),
            (-1.5, -1.0, -1.0),
            (-3.5, -1.0, -1.0 - unit),
        ] {
            let mut a = vec![0.0; 16 * operands.k];
            let mut b = vec![0.0; operands.k * 8];
            (a[0], b[0]) = ((-12f32).exp2(), times * (-12f32).exp2());
            let mut all = vec![0.0; 128];
            all[0] = d;
            let found = operands.multiply(&driver, &a, &b, &all, 0);
            assert_eq!(found[0], expected, "{}: {times} on {d}", operands.kernel);
        }
    }
}

#[test]
fn mma_tf32_ignores_the_low_bits() {
    let driver = Emulator::new();
    let mut numbers = random_bits(9).map(|bits| (bits % 255) as f32 - 127.0);
    let mut take = |count| numbers.by_ref().take(count).collect::<Vec<_>>();
    let (a, b, d) = (take(128), take(64), take(128));
    assert_eq!(
        TF32.multiply(&driver, &a, &b, &d, 0x1fff),
        TF32.multiply(&driver, &a, &b, &d, 0)
    );
}

#[test]
fn mma_keeps_what_is_not_a_number() {
    let driver = Emulator::new();
    for operands in [TF32, BF16, F16] {
        let (mut a, b, d) = (
            vec![1.0; 16 * operands.k],
            vec![1.0; operands.k * 8],
            vec![0.0; 128],
        );
        a[3 * operands.k + 5] = f32::NAN;
        a[12 * operands.k + 1] = f32::INFINITY;
        for (i, value) in operands.multiply(&driver, &a, &b, &d, 0).into_iter().enumerate() {
            match i / 8 {
                3 => assert!(value.is_nan()),
                12 => assert_eq!(value, f32::INFINITY),
                _ => assert_eq!(value, operands.k as f32),
            }
        }
    }
}

/// f32 numbers with every pattern of the upper half, and in the lower half what decides on rounding.
fn f32_patterns() -> Vec<f32> {
    const LOW: [u32; 14] = [
        0x0000, 0x0001, 0x0fff, 0x1000, 0x1001, 0x1fff, 0x2000, 0x3000, 0x7fff, 0x8000, 0x8001, 0xc000,
        0xf000, 0xffff,
    ];
    (0..=0xffff)
        .flat_map(|high: u32| LOW.map(|low| f32::from_bits(high << 16 | low)))
        .collect()
}

fn convert<T: bytemuck::Pod, U: bytemuck::Pod>(kernel: &str, from: &[T]) -> Vec<U> {
    let driver = Emulator::new();
    let (x, y) = (upload(&driver, from), room::<U>(&driver, from.len()));
    launch!(
        &driver,
        "wrappers",
        kernel,
        [7, 1, 1],
        256,
        x,
        y,
        from.len() as i32
    )
    .unwrap();
    download(&driver, y, from.len())
}

/// Whether two numbers are the same, zeros with their sign and NaN with NaN of any kind.
fn same(a: f32, b: f32) -> bool {
    a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan()
}

#[test]
fn to_tf32_rounds_halves_away_from_zero() {
    let patterns = f32_patterns();
    for (&x, bits) in patterns.iter().zip(convert::<f32, u32>("to_tf32_of", &patterns)) {
        let y = f32::from_bits(bits);
        assert_eq!(bits & 0x1fff, 0, "{x:e}");
        if x.is_nan() {
            assert!(y.is_nan(), "{x}");
            continue;
        }
        // The two neighbours; the one further from zero is infinity where there is none.
        let below = f32::from_bits(x.to_bits() & !0x1fff);
        let above = f32::from_bits((x.to_bits() & !0x1fff) + 0x2000);
        let nearest = if x.to_bits() & 0x1fff < 0x1000 {
            below
        } else {
            above
        };
        assert!(
            same(y, if x.is_infinite() { x } else { nearest }),
            "{x:e} became {y:e}"
        );
    }
}

#[test]
fn pack_bf16_is_exact() {
    let patterns = f32_patterns();
    for (&x, bits) in patterns
        .iter()
        .zip(convert::<f32, u32>("pack_bf16_of", &patterns))
    {
        let (low, high) = (
            bf16::from_bits(bits as u16).to_f32(),
            bf16::from_bits((bits >> 16) as u16).to_f32(),
        );
        assert!(same(low, bf16::from_f32(x).to_f32()), "{x:e} became {low:e}");
        assert!(same(high, bf16::from_f32(-x).to_f32()), "-{x:e} became {high:e}");
    }
}

#[test]
fn pack_f16_and_to_f16_are_exact() {
    let patterns = f32_patterns();
    let packed = convert::<f32, u32>("pack_f16_of", &patterns);
    let single = convert::<f32, u32>("to_f16_of", &patterns);
    for ((&x, bits), alone) in patterns.iter().zip(packed).zip(single) {
        let (low, high) = (
            f16::from_bits(bits as u16).to_f32(),
            f16::from_bits((bits >> 16) as u16).to_f32(),
        );
        assert!(same(low, f16::from_f32(x).to_f32()), "{x:e} became {low:e}");
        assert!(same(high, f16::from_f32(-x).to_f32()), "-{x:e} became {high:e}");
        assert_eq!(alone, bits & 0xffff, "{x:e}");
    }
}

#[test]
fn from_f16_and_from_bf16_are_exact() {
    let patterns: Vec<u32> = (0..=0xffff).collect();
    for (&bits, x) in patterns.iter().zip(convert::<u32, f32>("from_f16_of", &patterns)) {
        assert!(
            same(x, f16::from_bits(bits as u16).to_f32()),
            "{bits:04x} became {x:e}"
        );
    }
    for (&bits, x) in patterns
        .iter()
        .zip(convert::<u32, f32>("from_bf16_of", &patterns))
    {
        assert!(
            same(x, bf16::from_bits(bits as u16).to_f32()),
            "{bits:04x} became {x:e}"
        );
    }
}

#[test]
fn lanes_exchange_values() {
    let x: Vec<u32> = random_bits(3).take(64).collect();
    let expected = |row: usize, thread: usize| {
        let (warp, lane) = (thread / LANES * LANES, thread % LANES);
        match row {
            0 => x[warp + 5],
            1 => x[warp + lane / 8 * 8 + 3],
            2 => x[warp + (lane ^ 16)],
            3 => x[warp + if lane + 3 < 32 { lane + 3 } else { lane }],
            4 => x[warp + if lane % 16 >= 3 { lane - 3 } else { lane }],
            5 => (0..LANES).map(|other| (x[warp + other] & 1) << other).sum(),
            _ if lane < 7 => x[warp + lane + 1],
            _ if lane == 7 => x[warp + 7],
            _ => u32::MAX,
        }
    };
    for driver in devices() {
        let (from, to) = (upload(&driver, &x), upload(&driver, &[u32::MAX; 7 * 64]));
        launch!(&driver, "wrappers", "lanes", [1, 1, 1], 64, from, to).unwrap();
        for (i, value) in download::<u32>(&driver, to, 7 * 64).into_iter().enumerate() {
            assert_eq!(
                value,
                expected(i / 64, i % 64),
                "row {}, thread {}",
                i / 64,
                i % 64
            );
        }
    }
}

#[test]
fn blocks_of_a_grid_have_their_indices() {
    let blocks = [2, 3, 4];
    let x: Vec<u32> = (0..24 * 96).collect();
    for driver in devices() {
        let (from, sum, seen) = (
            upload(&driver, &x),
            upload(&driver, &[0u32]),
            upload(&driver, &[0u32; 24]),
        );
        launch!(&driver, "wrappers", "count", blocks, 96, from, sum, seen).unwrap();
        assert_eq!(download::<u32>(&driver, sum, 1), [x.iter().sum::<u32>()]);
        assert_eq!(download::<u32>(&driver, seen, 24), [1; 24]);
    }
}

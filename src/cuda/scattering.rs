//! Steps of a scattering transform; `kernels/scattering.cu`.

use super::driver::{Address, Driver};
use super::{Cuda, Matrix, arguments, int};
use crate::error::Result;
use crate::ops::{ScatteringStep, Shape};

const THREADS: u32 = 192;

/// Points of a grid, and of the filtered pictures that a block holds at a time; `MOST_POINTS` in the kernel.
const MOST_POINTS: usize = 2304;

/// Points of a side of a grid; `MOST_SIDE` in the kernel.
const MOST_SIDE: usize = 96;

/// `MOST_RADICES` in the kernel.
const MOST_RADICES: usize = 6;

/// What a transform is made of: twos are taken two at a time where that is possible.
const RADICES: [usize; 5] = [4, 2, 3, 5, 7];

/// A side of a grid: `Side` in the kernel.
#[derive(Clone, Copy)]
#[repr(C)]
struct Side {
    length: i32,
    radices: [i32; MOST_RADICES],
}

impl Side {
    /// `None` where it is too long or the product of other primes.
    fn new(length: usize) -> Option<Self> {
        let (mut radices, mut count, mut rest) = ([0; MOST_RADICES], 0, length);
        for radix in RADICES {
            while rest.is_multiple_of(radix) && count < MOST_RADICES {
                radices[count] = int(radix);
                count += 1;
                rest /= radix;
            }
        }
        (rest == 1 && length <= MOST_SIDE).then_some(Side {
            length: int(length),
            radices,
        })
    }
}

/// `Step` in the kernel.
#[derive(Clone, Copy)]
#[repr(C)]
struct Step {
    fine: [Side; 2],
    coarse: [Side; 2],
    picture: [i32; 2],
    margin: i32,
    group: i32,
    filters: i32,
    first_path: i32,
    path_step: i32,
    heights: i32,
    widths: i32,
    unused: i32,
    turns: [[[f32; 2]; MOST_SIDE]; 2],
}

/// See [`Ops::scatters`](crate::ops::Ops::scatters).
pub fn scatters(grid: [usize; 2]) -> bool {
    grid[0] * grid[1] <= MOST_POINTS && grid.iter().all(|&side| side > 0 && Side::new(side).is_some())
}

/// See [`Ops::scatter`](crate::ops::Ops::scatter).
///
/// # Panics
/// For grids that it does [not take](scatters).
pub fn scatter<D: Driver>(
    cuda: &Cuda<D>,
    step: &ScatteringStep,
    pictures: &Matrix<D>,
    filters: &Matrix<D>,
    low_pass: [&Matrix<D>; 2],
    moduli: Option<&mut Matrix<D>>,
    paths: &mut Matrix<D>,
) -> Result<()> {
    let (fine, coarse, group) = (step.fine(), step.coarse, step.group);
    assert!(scatters(fine), "pictures on {fine:?} points");
    // Pictures of a group share a block by twos.
    let held = coarse[0] * coarse[1] * group.min(2);
    assert!(held <= MOST_POINTS, "{held} points of filtered pictures");
    let heights = low_pass[0].rows();
    assert!(
        2 * heights <= coarse[0],
        "{heights} rows of a path of {coarse:?} points"
    );
    let side = |length: usize| Side::new(length).expect("a divisor of a side that is taken");
    let mut turns = [[[0.0; 2]; MOST_SIDE]; 2];
    for (turns, length) in turns.iter_mut().zip(fine) {
        for (t, turn) in turns[..length].iter_mut().enumerate() {
            let angle = -std::f64::consts::TAU * t as f64 / length as f64;
            *turn = [angle.cos() as f32, angle.sin() as f32];
        }
    }
    let described = Step {
        fine: fine.map(side),
        coarse: coarse.map(side),
        picture: step.picture.map(int),
        margin: int(step.margin),
        group: int(group),
        filters: int(filters.rows()),
        first_path: int(step.first_path),
        path_step: int(step.path_step),
        heights: int(heights),
        widths: int(low_pass[1].rows()),
        unused: 0,
        turns,
    };
    let (moduli, modulus_stride) = match moduli {
        Some(moduli) => (moduli.address(), moduli.stride()),
        None => (Address(0), 0),
    };
    cuda.launch(
        "scattering",
        "scatter",
        [pictures.rows() / group * group.div_ceil(2), 1, 1],
        THREADS,
        arguments![
            described,
            pictures.address(),
            int(pictures.stride()),
            filters.address(),
            int(filters.stride()),
            low_pass[0].address(),
            int(low_pass[0].stride()),
            low_pass[1].address(),
            int(low_pass[1].stride()),
            moduli,
            int(modulus_stride),
            paths.address(),
            int(paths.stride()),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_are_products_of_small_primes_and_grids_fit_into_a_block() {
        for (length, radices) in [
            (1, [0; MOST_RADICES]),
            (48, [4, 4, 3, 0, 0, 0]),
            (24, [4, 2, 3, 0, 0, 0]),
            (70, [2, 5, 7, 0, 0, 0]),
            (96, [4, 4, 2, 3, 0, 0]),
        ] {
            assert_eq!(
                Side::new(length).map(|side| side.radices),
                Some(radices),
                "{length}"
            );
        }
        for (grid, taken) in [
            ([48, 48], true),
            ([24, 96], true),
            ([49, 48], false),
            ([12, 108], false),
            ([44, 44], false),
            ([0, 48], false),
        ] {
            assert_eq!(scatters(grid), taken, "{grid:?}");
        }
    }
}

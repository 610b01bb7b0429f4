//! Images bent by smooth random fields, and moved; `kernels/bend.cu`.

use super::driver::Driver;
use super::{Cuda, Matrix, arguments, int};
use crate::bending::Bending;
use crate::error::Result;
use crate::ops::Shape;

const THREADS: u32 = 256;

/// The longest side of an image; `MOST_SIDE` in the kernel.
const MOST_SIDE: usize = 64;

/// See [`Ops::bends`](crate::ops::Ops::bends).
pub fn bends(image: [usize; 2]) -> bool {
    image.iter().all(|side| (1..=MOST_SIDE).contains(side))
}

/// See [`Ops::bend`](crate::ops::Ops::bend).
///
/// # Panics
/// For images that it does [not take](bends).
pub fn bend<D: Driver>(
    cuda: &Cuda<D>,
    bending: &Bending,
    images: &Matrix<D>,
    first_row: u64,
    to: &mut Matrix<D>,
) -> Result<()> {
    assert!(bends(bending.image), "images of {:?} pixels", bending.image);
    let [height, width] = bending.image.map(int);
    cuda.launch(
        "bend",
        "bend",
        [to.rows(), 1, 1],
        THREADS,
        arguments![
            images.address(),
            int(images.stride()),
            images.rows() as u64,
            bending.stream,
            first_row,
            height,
            width,
            to.address(),
            int(to.stride()),
        ],
    )
}

//! Numbers on their way to the host, in page-locked buffers: the queue goes on meanwhile.

use std::marker::PhantomData;

use bytemuck::Pod;

use super::driver::{Address, Driver};
use super::staging::page_locked;
use super::{Cuda, Labels, Matrix};
use crate::error::Result;
use crate::ops::Shape;

/// See [`Ops::Coming`](crate::ops::Ops::Coming).
pub struct Coming<D: Driver, T> {
    buffer: Spare<D>,
    numbers: PhantomData<T>,
}

/// A page-locked buffer, and how many bytes it holds. Such buffers are slow to make, so that they are used again and again.
pub type Spare<D> = (usize, <D as Driver>::Staging);

/// See [`Ops::post`](crate::ops::Ops::post).
pub fn post<D: Driver>(cuda: &Cuda<D>, from: &Matrix<D>) -> Result<Coming<D, f32>> {
    let width = from.cols() * size_of::<f32>();
    let pitch = from.stride() * size_of::<f32>();
    start(cuda, from.address(), pitch, width, from.rows() * width)
}

/// See [`Ops::post_labels`](crate::ops::Ops::post_labels).
pub fn post_labels<D: Driver>(cuda: &Cuda<D>, from: &Labels<D>, count: usize) -> Result<Coming<D, u32>> {
    assert!(count <= from.len, "{count} labels of {}", from.len);
    let bytes = count * size_of::<u32>();
    start(cuda, from.buffer.address(), bytes, bytes, bytes)
}

fn start<D: Driver, T>(
    cuda: &Cuda<D>,
    from: Address,
    pitch: usize,
    width: usize,
    bytes: usize,
) -> Result<Coming<D, T>> {
    let mut buffer = spare(cuda, bytes)?;
    cuda.driver.fetch(from, pitch, width, bytes, &mut buffer.1)?;
    Ok(Coming {
        buffer,
        numbers: PhantomData,
    })
}

/// The smallest spare buffer that is large enough, or a new one.
fn spare<D: Driver>(cuda: &Cuda<D>, bytes: usize) -> Result<Spare<D>> {
    let mut spare = cuda.spare.borrow_mut();
    let fits = spare.iter().enumerate().filter(|(_, (holds, _))| *holds >= bytes);
    if let Some((at, _)) = fits.min_by_key(|(_, (holds, _))| *holds) {
        return Ok(spare.swap_remove(at));
    }
    let advice = "compute on the CPU (--device cpu)";
    Ok((bytes, page_locked(&*cuda.driver, "results", bytes, advice)?))
}

/// See [`Ops::collect`](crate::ops::Ops::collect).
pub fn collect<D: Driver, T: Pod>(cuda: &Cuda<D>, coming: Coming<D, T>) -> Result<Vec<T>> {
    let mut buffer = coming.buffer;
    let bytes = cuda.driver.fetched(&mut buffer.1)?;
    let mut numbers = vec![T::zeroed(); bytes.len() / size_of::<T>()];
    bytemuck::cast_slice_mut(&mut numbers).copy_from_slice(bytes);
    cuda.spare.borrow_mut().push(buffer);
    Ok(numbers)
}

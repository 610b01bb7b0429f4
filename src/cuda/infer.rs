//! The hard label of each row under a network, in one pass; `kernels/infer.cu`.

use super::driver::{Address, Driver};
use super::{Cuda, Labels, Matrix, arguments, int, linear};
use crate::error::Result;
use crate::ops::{self, Ops, Shape};

/// Rows that a block takes through all layers.
const ROWS: usize = 32;

/// Layers of a network at most; `MOST_LAYERS` in the kernel.
const MOST_LAYERS: usize = 8;

/// Outputs of a hidden layer at most, `WIDEST` in the kernel: what was compiled goes by the shared memory that a block can have.
fn widest(most_shared: usize) -> usize {
    if most_shared < 227 << 10 { 320 } else { 512 }
}

/// One layer: `Layer` in the kernel.
#[derive(Clone, Copy)]
#[repr(C)]
struct Layer {
    weight: Address,
    bias: Address,
    stride: i32,
    outputs: i32,
    inputs: i32,
    unused: i32,
}

/// See [`Ops::infer`]. Networks that the kernel is too small for go layer by layer.
pub fn infer<D: Driver>(
    cuda: &Cuda<D>,
    x: &Matrix<D>,
    layers: &[ops::Layer<Matrix<D>>],
    outputs: &mut [Matrix<D>],
    labels: &mut Labels<D>,
    first: usize,
) -> Result<()> {
    let hidden = &layers[..layers.len() - 1];
    let widest = widest(cuda.driver.most_shared());
    if layers.len() > MOST_LAYERS || hidden.iter().any(|layer| layer.weight.rows() > widest) {
        cuda.forward(x, layers, outputs)?;
        return cuda.argmax(&outputs[hidden.len()], labels, first);
    }
    let described = |layer: &ops::Layer<Matrix<D>>| Layer {
        weight: layer.weight.address(),
        bias: layer.bias.address(),
        stride: int(layer.weight.stride()),
        outputs: int(layer.weight.rows()),
        inputs: int(layer.weight.cols()),
        unused: 0,
    };
    let mut all = [described(&layers[0]); MOST_LAYERS];
    for (to, layer) in all.iter_mut().zip(layers) {
        *to = described(layer);
    }
    let m = x.rows();
    cuda.launch(
        "infer",
        &cuda.in_precision("infer"),
        [m.div_ceil(ROWS), 1, 1],
        linear::DEEP_THREADS,
        arguments![
            x.address(),
            int(x.stride()),
            all,
            int(layers.len()),
            labels.part(first, m),
            int(m),
        ],
    )
}

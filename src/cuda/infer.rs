//! The hard label of each row under a network, in one pass; `kernels/infer.cu`.

use super::driver::{Address, Driver};
use super::round::Rounded;
use super::{Cuda, Labels, Matrix, arguments, int, linear};
use crate::error::Result;
use crate::ops::{self, Ops, Shape};

/// Layers of a network at most; `MOST_LAYERS` in the kernels.
const MOST_LAYERS: usize = 8;

/// A kernel, and what it takes: what was compiled goes by the shared memory that a block can have.
struct Kernel {
    name: &'static str,
    /// Rows that a block takes through all layers.
    rows: usize,
    /// Numbers of a row at most.
    inputs: usize,
    /// Outputs of a hidden layer at most.
    widest: usize,
}

impl Kernel {
    /// From operands in f32; `WIDEST` in the kernels.
    fn plain(most_shared: usize) -> Self {
        Kernel {
            name: "infer",
            rows: 32,
            inputs: usize::MAX,
            widest: if is_small(most_shared) { 320 } else { 512 },
        }
    }

    /// From rounded weights; `ROUNDED_ROWS`, `ROUNDED_INPUTS` and `ROUNDED_WIDEST`.
    fn rounded(most_shared: usize) -> Self {
        let (rows, inputs) = if is_small(most_shared) {
            (32, 512)
        } else {
            (64, 768)
        };
        Kernel {
            name: "infer_rounded",
            rows,
            inputs,
            widest: 512,
        }
    }

    /// Whether it takes rows of so many numbers through these layers.
    fn takes<D: Driver>(&self, inputs: usize, layers: &[ops::Layer<Matrix<D>>]) -> bool {
        let hidden = &layers[..layers.len() - 1];
        layers.len() <= MOST_LAYERS
            && inputs <= self.inputs
            && hidden.iter().all(|layer| layer.weight.rows() <= self.widest)
    }
}

/// Whether a block can have less than on Hopper.
fn is_small(most_shared: usize) -> bool {
    most_shared < 227 << 10
}

/// One layer: `Layer` in the kernel.
#[derive(Clone, Copy)]
#[repr(C)]
struct Layer {
    weight: Address,
    rounded: Address,
    bias: Address,
    stride: i32,
    rounded_stride: i32,
    outputs: i32,
    inputs: i32,
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
    let most_shared = cuda.driver.most_shared();
    let are_rounded = layers.iter().all(|layer| layer.weight.rounded().is_some());
    let rounded = are_rounded.then(|| Kernel::rounded(most_shared));
    let mut kernels = rounded.into_iter().chain([Kernel::plain(most_shared)]);
    let Some(kernel) = kernels.find(|kernel| kernel.takes(x.cols(), layers)) else {
        cuda.forward(x, layers, outputs)?;
        return cuda.argmax(&outputs[layers.len() - 1], labels, first);
    };
    let described = |layer: &ops::Layer<Matrix<D>>| {
        let rounded = Rounded::of(&layer.weight);
        Layer {
            weight: layer.weight.address(),
            rounded: rounded.at,
            bias: layer.bias.address(),
            stride: int(layer.weight.stride()),
            rounded_stride: rounded.stride,
            outputs: int(layer.weight.rows()),
            inputs: int(layer.weight.cols()),
        }
    };
    let mut all = [described(&layers[0]); MOST_LAYERS];
    for (to, layer) in all.iter_mut().zip(layers) {
        *to = described(layer);
    }
    let m = x.rows();
    cuda.launch(
        "infer",
        &cuda.in_precision(kernel.name),
        [m.div_ceil(kernel.rows), 1, 1],
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

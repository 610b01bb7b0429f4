//! Fully connected layers, forward and backward, and their update; `kernels/linear.cu`.

use super::adam::Rule;
use super::driver::{Address, Driver};
use super::{Cuda, Matrix, State, arguments, int};
use crate::error::Result;
use crate::ops::{AdamRule, LayerUpdate, Shape};

/// Threads of a block of the matrix main loop in plain tiling; `GEMM_THREADS` in the kernels.
pub const THREADS: u32 = 128;

/// The same in the tiling of the products that steps are made of.
pub const DEEP_THREADS: u32 = 256;

/// Rows of a tile of the main loop, and its columns unless it is narrow.
pub const TILE: usize = 64;

/// Rows and columns of a wide tile; `Wide` in the kernels.
pub const WIDE: usize = 128;

/// From so many wide tiles on they are used: nearly one for each multiprocessor of a large card.
pub const WIDE_TILES: usize = 100;

/// Whether a product of so many rows and columns is computed in wide tiles.
pub fn is_wide<D: Driver>(cuda: &Cuda<D>, rows: usize, columns: usize) -> bool {
    rows.div_ceil(WIDE) * columns.div_ceil(WIDE) >= cuda.wide_tiles
}

/// Columns of a narrow tile, for outputs that would leave most of a square one empty.
pub const NARROW: usize = 16;

/// Rows of a tile where an update has few tiles: up to so many of the usual ones. Measured with 136, which gain, and 288, which lose.
const SHORT: usize = 32;
const FEW_TILES: usize = 192;

/// Layers that one launch updates; `MOST_LAYERS` in the kernel.
const MOST_LAYERS: usize = 8;

/// See [`Ops::linear`](crate::ops::Ops::linear).
pub fn linear<D: Driver>(
    cuda: &Cuda<D>,
    x: &Matrix<D>,
    weight: &Matrix<D>,
    bias: &Matrix<D>,
    relu: bool,
    z: &mut Matrix<D>,
) -> Result<()> {
    let (m, n, d) = (x.rows(), weight.rows(), x.cols());
    let (kernel, columns) = if n <= NARROW {
        ("linear_narrow", NARROW)
    } else {
        ("linear", TILE)
    };
    cuda.launch(
        "linear",
        &cuda.in_precision(kernel),
        [m.div_ceil(TILE), n.div_ceil(columns), 1],
        DEEP_THREADS,
        arguments![
            x.address(),
            int(x.stride()),
            weight.address(),
            int(weight.stride()),
            bias.address(),
            i32::from(relu),
            z.address(),
            int(z.stride()),
            int(m),
            int(n),
            int(d),
        ],
    )
}

/// See [`Ops::linear_backward_data`](crate::ops::Ops::linear_backward_data).
pub fn linear_backward_data<D: Driver>(
    cuda: &Cuda<D>,
    d_z: &Matrix<D>,
    weight: &Matrix<D>,
    x: &Matrix<D>,
    d_x: &mut Matrix<D>,
) -> Result<()> {
    let (m, n, d) = (d_z.rows(), weight.cols(), d_z.cols());
    cuda.launch(
        "linear",
        &cuda.in_precision("linear_backward_data"),
        [m.div_ceil(TILE), n.div_ceil(TILE), 1],
        DEEP_THREADS,
        arguments![
            d_z.address(),
            int(d_z.stride()),
            weight.address(),
            int(weight.stride()),
            x.address(),
            d_x.address(),
            int(x.stride()),
            int(m),
            int(n),
            int(d),
        ],
    )
}

/// One layer's share of an update: `Layer` in the kernel.
#[derive(Clone, Copy)]
#[repr(C)]
struct Layer {
    d_z: Address,
    x: Address,
    weight_gradient: Address,
    bias_gradient: Address,
    weight: Address,
    weight_first: Address,
    weight_second: Address,
    bias: Address,
    bias_first: Address,
    bias_second: Address,
    d_z_stride: i32,
    x_stride: i32,
    outputs: i32,
    inputs: i32,
    first_block: i32,
    unused: i32,
}

const NULL: Address = Address(0);

impl Layer {
    /// A layer of which nothing is written yet.
    fn new<D: Driver>(d_z: &Matrix<D>, x: &Matrix<D>) -> Self {
        Layer {
            d_z: d_z.address(),
            x: x.address(),
            weight_gradient: NULL,
            bias_gradient: NULL,
            weight: NULL,
            weight_first: NULL,
            weight_second: NULL,
            bias: NULL,
            bias_first: NULL,
            bias_second: NULL,
            d_z_stride: int(d_z.stride()),
            x_stride: int(x.stride()),
            outputs: int(d_z.cols()),
            inputs: int(x.cols()),
            first_block: 0,
            unused: 0,
        }
    }

    /// Tiles of `rows` rows.
    fn tiles(&self, rows: usize) -> usize {
        (self.outputs as usize).div_ceil(rows) * (self.inputs as usize).div_ceil(TILE)
    }
}

/// One launch for up to [`MOST_LAYERS`] layers.
fn launch<D: Driver>(
    cuda: &Cuda<D>,
    layers: &[Layer],
    m: usize,
    rule: AdamRule,
    state: Address,
) -> Result<()> {
    let few = layers.iter().map(|layer| layer.tiles(TILE)).sum::<usize>() <= FEW_TILES;
    let (kernel, rows) = if few {
        ("linear_update_short", SHORT)
    } else {
        ("linear_update", TILE)
    };
    let mut all = [layers[0]; MOST_LAYERS];
    let mut blocks = 0;
    for (to, layer) in all.iter_mut().zip(layers) {
        *to = Layer {
            first_block: int(blocks),
            ..*layer
        };
        blocks += layer.tiles(rows);
    }
    cuda.launch(
        "linear",
        &cuda.in_precision(kernel),
        [blocks, 1, 1],
        DEEP_THREADS,
        arguments![all, int(layers.len()), int(m), Rule::from(rule), state],
    )
}

/// See [`Ops::linear_backward_weights`](crate::ops::Ops::linear_backward_weights).
pub fn linear_backward_weights<D: Driver>(
    cuda: &Cuda<D>,
    d_z: &Matrix<D>,
    x: &Matrix<D>,
    d_weight: &mut Matrix<D>,
    d_bias: &mut Matrix<D>,
) -> Result<()> {
    let layer = Layer {
        weight_gradient: d_weight.address(),
        bias_gradient: d_bias.address(),
        ..Layer::new(d_z, x)
    };
    launch(cuda, &[layer], d_z.rows(), AdamRule::new(0.0), NULL)
}

/// See [`Ops::update_layers`](crate::ops::Ops::update_layers).
pub fn update_layers<D: Driver>(
    cuda: &Cuda<D>,
    rule: AdamRule,
    state: &State<D>,
    layers: &mut [LayerUpdate<Matrix<D>>],
) -> Result<()> {
    for layers in layers.chunks(MOST_LAYERS) {
        let described: Vec<Layer> = layers
            .iter()
            .map(|update| {
                let training = &update.training;
                let (parameters, first, second) = (
                    &training.parameters,
                    &training.first_moments,
                    &training.second_moments,
                );
                let gradients = |matrix: &Matrix<D>| {
                    if cuda.keeps_gradients {
                        matrix.address()
                    } else {
                        NULL
                    }
                };
                Layer {
                    weight_gradient: gradients(&update.gradients.weight),
                    bias_gradient: gradients(&update.gradients.bias),
                    weight: parameters.weight.address(),
                    weight_first: first.weight.address(),
                    weight_second: second.weight.address(),
                    bias: parameters.bias.address(),
                    bias_first: first.bias.address(),
                    bias_second: second.bias.address(),
                    ..Layer::new(update.d_z, update.x)
                }
            })
            .collect();
        launch(
            cuda,
            &described,
            layers[0].d_z.rows(),
            rule,
            state.buffer.address(),
        )?;
    }
    Ok(())
}

//! Fully connected layers, forward and backward, and their update; `kernels/linear.cu`.

use super::adam::Rule;
use super::driver::{Address, Driver};
use super::round::Rounded;
use super::{Cuda, Matrix, State, arguments, int};
use crate::error::Result;
use crate::ops::{AdamRule, LayerUpdate, Precision, Shape};

/// Threads of a block of the matrix main loop in plain tiling; `GEMM_THREADS` in the kernels.
pub const THREADS: u32 = 128;

/// The same in the tiling of the products that steps are made of.
pub const DEEP_THREADS: u32 = 256;

/// Rows of a tile of the main loop, and its columns unless it is narrow.
pub const TILE: usize = 64;

/// Rows and columns of a wide tile; `Wide` in the kernels.
pub const WIDE: usize = 128;

/// From so many wide tiles on they are used: one for most of the multiprocessors of a large card. Not measured.
pub const WIDE_TILES: usize = 96;

/// Whether a product of so many rows and columns is computed in wide tiles.
pub fn is_wide<D: Driver>(cuda: &Cuda<D>, rows: usize, columns: usize) -> bool {
    rows.min(columns) > TILE && rows.div_ceil(WIDE) * columns.div_ceil(WIDE) >= cuda.wide_tiles
}

/// Columns of a narrow tile, for outputs that would leave most of a square one empty.
pub const NARROW: usize = 16;

/// Rows of a tile where an update has few tiles: up to so many of the usual ones. Measured with 136, which gain, and 288, which lose.
const SHORT: usize = 32;
const FEW_TILES: usize = 192;

/// Outputs whose biases a block sums where operands are rounded copies; `BIASES` in the kernel.
const BIASES: usize = 32;

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
    let product = match n <= NARROW {
        // Their tiles are too small to be brought in pieces of 16 bytes by all threads, were they of 16-bit numbers.
        true => Product::plain("linear_narrow", NARROW, x, weight),
        false => Product::of(cuda, "linear", x, weight, [m, n]),
    };
    cuda.launch(
        "linear",
        &cuda.in_precision(&product.kernel),
        [m.div_ceil(product.rows), n.div_ceil(product.columns), 1],
        DEEP_THREADS,
        arguments![
            product.a.0,
            product.a.1,
            product.b.0,
            product.b.1,
            bias.address(),
            i32::from(relu),
            z.address(),
            int(z.stride()),
            Rounded::of(z),
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
    let product = Product::of(cuda, "linear_backward_data", d_z, weight, [m, n]);
    assert!(
        product.is_rounded == (cuda.precision == Precision::Bf16),
        "in bf16, and there alone, both are operands"
    );
    cuda.launch(
        "linear",
        &cuda.in_precision(&product.kernel),
        [m.div_ceil(product.rows), n.div_ceil(product.columns), 1],
        DEEP_THREADS,
        arguments![
            product.a.0,
            product.a.1,
            product.b.0,
            product.b.1,
            x.address(),
            d_x.address(),
            int(x.stride()),
            Rounded::of(d_x),
            int(m),
            int(n),
            int(d),
        ],
    )
}

/// Which kernel multiplies two matrices, in which tiles, and from which of their copies.
struct Product {
    kernel: String,
    rows: usize,
    columns: usize,
    /// The operands, and from one of their rows to the next, in numbers.
    a: (Address, i32),
    b: (Address, i32),
    is_rounded: bool,
}

impl Product {
    /// From the matrices themselves.
    fn plain<D: Driver>(kernel: &str, columns: usize, a: &Matrix<D>, b: &Matrix<D>) -> Self {
        Product {
            kernel: kernel.to_string(),
            rows: TILE,
            columns,
            a: (a.address(), int(a.stride())),
            b: (b.address(), int(b.stride())),
            is_rounded: false,
        }
    }

    /// From rounded copies, where there are; the product is of `size`.
    fn of<D: Driver>(cuda: &Cuda<D>, kernel: &str, a: &Matrix<D>, b: &Matrix<D>, size: [usize; 2]) -> Self {
        let (rounded_a, rounded_b) = (Rounded::of(a), Rounded::of(b));
        if !rounded_a.is_some() || !rounded_b.is_some() {
            return Product::plain(kernel, TILE, a, b);
        }
        let (suffix, tile) = match is_wide(cuda, size[0], size[1]) {
            true => ("wide", WIDE),
            false => ("rounded", TILE),
        };
        Product {
            kernel: format!("{kernel}_{suffix}"),
            rows: tile,
            columns: tile,
            a: (rounded_a.at, rounded_a.stride),
            b: (rounded_b.at, rounded_b.stride),
            is_rounded: true,
        }
    }
}

/// One layer's share of an update: `Layer` in the kernel.
#[derive(Clone, Copy)]
#[repr(C)]
struct Layer {
    d_z: Address,
    x: Address,
    d_z_rounded: Address,
    x_rounded: Address,
    weight_gradient: Address,
    bias_gradient: Address,
    weight: Address,
    weight_first: Address,
    weight_second: Address,
    bias: Address,
    bias_first: Address,
    bias_second: Address,
    rounded_weight: Rounded,
    d_z_stride: i32,
    x_stride: i32,
    d_z_rounded_stride: i32,
    x_rounded_stride: i32,
    outputs: i32,
    inputs: i32,
    first_block: i32,
    unused: i32,
}

const NULL: Address = Address(0);

impl Layer {
    /// A layer of which nothing is written yet.
    fn new<D: Driver>(d_z: &Matrix<D>, x: &Matrix<D>) -> Self {
        let (rounded_d_z, rounded_x) = (Rounded::of(d_z), Rounded::of(x));
        Layer {
            d_z: d_z.address(),
            x: x.address(),
            d_z_rounded: rounded_d_z.at,
            x_rounded: rounded_x.at,
            weight_gradient: NULL,
            bias_gradient: NULL,
            weight: NULL,
            weight_first: NULL,
            weight_second: NULL,
            bias: NULL,
            bias_first: NULL,
            bias_second: NULL,
            rounded_weight: Rounded::NONE,
            d_z_stride: int(d_z.stride()),
            x_stride: int(x.stride()),
            d_z_rounded_stride: rounded_d_z.stride,
            x_rounded_stride: rounded_x.stride,
            outputs: int(d_z.cols()),
            inputs: int(x.cols()),
            first_block: 0,
            unused: 0,
        }
    }

    /// Tiles of so many rows and columns.
    fn tiles(&self, rows: usize, columns: usize) -> usize {
        (self.outputs as usize).div_ceil(rows) * (self.inputs as usize).div_ceil(columns)
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
    let tiles = |rows, columns| {
        layers
            .iter()
            .map(|layer| layer.tiles(rows, columns))
            .sum::<usize>()
    };
    let few = tiles(TILE, TILE) <= FEW_TILES;
    let rounded = layers
        .iter()
        .all(|layer| layer.d_z_rounded != NULL && layer.x_rounded != NULL);
    assert!(
        rounded == (cuda.precision == Precision::Bf16),
        "in bf16, and there alone, both are operands"
    );
    let (kernel, rows, columns) = match (rounded, few) {
        (true, _) if tiles(WIDE, WIDE) >= cuda.wide_tiles => ("linear_update_wide", WIDE, WIDE),
        (true, true) => ("linear_update_rounded_short", SHORT, TILE),
        (true, false) => ("linear_update_rounded", TILE, TILE),
        (false, true) => ("linear_update_short", SHORT, TILE),
        (false, false) => ("linear_update", TILE, TILE),
    };
    let mut all = [layers[0]; MOST_LAYERS];
    let mut blocks = 0;
    for (to, layer) in all.iter_mut().zip(layers) {
        *to = Layer {
            first_block: int(blocks),
            ..*layer
        };
        blocks += layer.tiles(rows, columns);
        if rounded {
            blocks += (layer.outputs as usize).div_ceil(BIASES);
        }
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
                    rounded_weight: Rounded::of(&parameters.weight),
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

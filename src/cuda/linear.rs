//! Fully connected layers, forward and backward, and their update; `kernels/linear.cu`.

use super::adam::Rule;
use super::driver::{Address, Driver};
use super::memory::{Buffer, stride};
use super::round::Rounded;
use super::tiles::{Product, Tiles, WIDE_TILES, choose, multiply};
use super::{Cuda, Matrix, State, arguments, int};
use crate::error::Result;
use crate::ops::{AdamRule, LayerUpdate, Precision, Shape};

/// Threads of a block of the matrix main loop in plain tiling; `GEMM_THREADS` in the kernels.
pub const THREADS: u32 = 128;

/// The same in the tiling of the products that steps are made of, but in wide tiles.
pub const DEEP_THREADS: u32 = 256;

/// Rows of a tile of the main loop, and its columns unless it is narrow, where there is no choice.
pub const TILE: usize = 64;

/// Columns of a narrow tile, for outputs that would leave most of a square one empty.
pub const NARROW: usize = 16;

/// Up to so many square tiles of an update the rule takes short ones. Measured with 136, which gain, and 288, which lose.
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
    let run = |kernel: &str, [down, across]: [usize; 2], threads: u32, operands: &Operands| {
        cuda.launch(
            "linear",
            &cuda.in_precision(kernel),
            [down, across, 1],
            threads,
            arguments![
                operands.a.0,
                operands.a.1,
                operands.b.0,
                operands.b.1,
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
    };
    if n <= NARROW {
        // Their tiles are too small to be brought in pieces of 16 bytes by all threads, were they of 16-bit numbers.
        let grid = [m.div_ceil(TILE), n.div_ceil(NARROW)];
        return run("linear_narrow", grid, DEEP_THREADS, &Operands::plain(x, weight));
    }
    let operands = Operands::of(x, weight);
    operands.multiply(cuda, "linear", [m, n, d], &mut |kernel, tiles| {
        run(kernel, tiles.grid(m, n), tiles.threads(), &operands)
    })
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
    let operands = Operands::of(d_z, weight);
    assert!(
        operands.are_rounded == (cuda.precision == Precision::Bf16),
        "in bf16, and there alone, both are operands"
    );
    operands.multiply(cuda, "linear_backward_data", [m, n, d], &mut |kernel, tiles| {
        let [down, across] = tiles.grid(m, n);
        cuda.launch(
            "linear",
            &cuda.in_precision(kernel),
            [down, across, 1],
            tiles.threads(),
            arguments![
                operands.a.0,
                operands.a.1,
                operands.b.0,
                operands.b.1,
                x.address(),
                d_x.address(),
                int(x.stride()),
                Rounded::of(d_x),
                int(m),
                int(n),
                int(d),
            ],
        )
    })
}

/// What is multiplied, and from which copies.
struct Operands {
    /// The operands, and from one of their rows to the next, in numbers.
    a: (Address, i32),
    b: (Address, i32),
    are_rounded: bool,
}

impl Operands {
    /// The matrices themselves.
    fn plain<D: Driver>(a: &Matrix<D>, b: &Matrix<D>) -> Self {
        Operands {
            a: (a.address(), int(a.stride())),
            b: (b.address(), int(b.stride())),
            are_rounded: false,
        }
    }

    /// Rounded copies, where both have one.
    fn of<D: Driver>(a: &Matrix<D>, b: &Matrix<D>) -> Self {
        let (rounded_a, rounded_b) = (Rounded::of(a), Rounded::of(b));
        match rounded_a.is_some() && rounded_b.is_some() {
            false => Operands::plain(a, b),
            true => Operands {
                a: (rounded_a.at, rounded_a.stride),
                b: (rounded_b.at, rounded_b.stride),
                are_rounded: true,
            },
        }
    }

    /// Launches the kernel for them, which `launch` gets by its name without the precision, in tiles of a product of rows x columns x depth.
    fn multiply<D: Driver>(
        &self,
        cuda: &Cuda<D>,
        kernel: &str,
        size: [usize; 3],
        launch: &mut dyn FnMut(&str, Tiles) -> Result<()>,
    ) -> Result<()> {
        let kernel = match self.are_rounded {
            true => format!("{kernel}_rounded"),
            false => kernel.to_string(),
        };
        let has: &[Tiles] = match self.are_rounded {
            true => &Tiles::ALL,
            false => &[Tiles::Square],
        };
        multiply(cuda, &kernel, size, has, &mut |tiles| {
            launch(&format!("{kernel}{}", tiles.suffix()), tiles)
        })
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

    /// Tiles of its weights.
    fn count(&self, tiles: Tiles) -> usize {
        tiles.count(self.outputs as usize, self.inputs as usize)
    }
}

/// Whether all layers have rounded copies of what is multiplied.
fn are_rounded(layers: &[Layer]) -> bool {
    let is_rounded = |layer: &Layer| layer.d_z_rounded != NULL && layer.x_rounded != NULL;
    layers.iter().all(is_rounded)
}

/// One launch for up to [`MOST_LAYERS`] layers.
fn launch<D: Driver>(
    cuda: &Cuda<D>,
    layers: &[Layer],
    m: usize,
    tiles: Tiles,
    rule: AdamRule,
    state: Address,
) -> Result<()> {
    let rounded = are_rounded(layers);
    assert!(
        rounded == (cuda.precision == Precision::Bf16),
        "in bf16, and there alone, both are operands"
    );
    let mut all = [layers[0]; MOST_LAYERS];
    let mut blocks = 0;
    for (to, layer) in all.iter_mut().zip(layers) {
        *to = Layer {
            first_block: int(blocks),
            ..*layer
        };
        blocks += layer.count(tiles);
        if rounded {
            blocks += (layer.outputs as usize).div_ceil(BIASES);
        }
    }
    let kernel = match rounded {
        true => format!("linear_update_rounded{}", tiles.suffix()),
        false => format!("linear_update{}", tiles.suffix()),
    };
    cuda.launch(
        "linear",
        &cuda.in_precision(&kernel),
        [blocks, 1, 1],
        tiles.threads(),
        arguments![all, int(layers.len()), int(m), Rule::from(rule), state],
    )
}

/// The tiles of gradients, or of an update, as `what` says. `rehearse` is that of [`choose`].
fn tiles_of<D: Driver>(
    cuda: &Cuda<D>,
    what: &str,
    layers: &[Layer],
    m: usize,
    rehearse: &mut dyn FnMut(Tiles) -> Result<bool>,
) -> Result<Tiles> {
    let count = |tiles| layers.iter().map(|layer| layer.count(tiles)).sum::<usize>();
    let has = match are_rounded(layers) {
        true => &Tiles::ALL[..],
        false => &[Tiles::Short, Tiles::Square],
    };
    let rule = match () {
        () if has.contains(&Tiles::Wide) && count(Tiles::Wide) >= WIDE_TILES => Tiles::Wide,
        () if count(Tiles::Square) <= FEW_TILES => Tiles::Short,
        () => Tiles::Square,
    };
    let sizes = layers
        .iter()
        .map(|layer| format!(" {} x {},", layer.outputs, layer.inputs));
    let product = Product {
        name: format!("{what} of{} {m} rows", sizes.collect::<String>()),
        has,
        rule,
    };
    choose(cuda, product, rehearse)
}

/// See [`Ops::linear_backward_weights`](crate::ops::Ops::linear_backward_weights).
pub fn linear_backward_weights<D: Driver>(
    cuda: &Cuda<D>,
    d_z: &Matrix<D>,
    x: &Matrix<D>,
    d_weight: &mut Matrix<D>,
    d_bias: &mut Matrix<D>,
) -> Result<()> {
    let layers = [Layer {
        weight_gradient: d_weight.address(),
        bias_gradient: d_bias.address(),
        ..Layer::new(d_z, x)
    }];
    let run = |tiles| launch(cuda, &layers, d_z.rows(), tiles, AdamRule::new(0.0), NULL);
    let tiles = tiles_of(cuda, "gradients", &layers, d_z.rows(), &mut |tiles| {
        run(tiles).map(|()| true)
    })?;
    run(tiles)
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
        let (m, state) = (layers[0].d_z.rows(), state.buffer.address());
        let mut stand_ins = None;
        let tiles = tiles_of(cuda, "update", &described, m, &mut |tiles| {
            if stand_ins.is_none() {
                stand_ins = StandIns::new(cuda, &described)?;
            }
            let Some(stand_ins) = &stand_ins else {
                return Ok(false);
            };
            launch(cuda, &stand_ins.layers, m, tiles, rule, state)?;
            Ok(true)
        })?;
        launch(cuda, &described, m, tiles, rule, state)?;
    }
    Ok(())
}

/// Layers whose parameters an update may change, while it is only rehearsed.
struct StandIns<D: Driver> {
    layers: Vec<Layer>,
    /// Where their parameters are.
    _room: Buffer<D>,
}

impl<D: Driver> StandIns<D> {
    /// For layers of these sizes, if there is room.
    fn new(cuda: &Cuda<D>, layers: &[Layer]) -> Result<Option<Self>> {
        // Once to count, once to hand out.
        let mut bytes = 0;
        Self::layers(layers, Address(0), &mut bytes);
        let Some(room) = cuda.memory.if_free(bytes)? else {
            return Ok(None);
        };
        let layers = Self::layers(layers, room.address(), &mut 0);
        Ok(Some(StandIns { layers, _room: room }))
    }

    /// The same layers, their parameters one behind the other from `start` on; `used` counts bytes.
    fn layers(layers: &[Layer], start: Address, used: &mut usize) -> Vec<Layer> {
        let mut take = |bytes: usize| {
            let at = start.offset(*used);
            *used += bytes.next_multiple_of(256);
            at
        };
        let stand_in = |layer: &Layer| {
            let (outputs, inputs) = (layer.outputs as usize, layer.inputs as usize);
            let weights = outputs * stride(inputs, size_of::<f32>()) * size_of::<f32>();
            let biases = outputs * size_of::<f32>();
            let copy = stride(inputs, size_of::<u16>());
            Layer {
                weight_gradient: NULL,
                bias_gradient: NULL,
                weight: take(weights),
                weight_first: take(weights),
                weight_second: take(weights),
                rounded_weight: match layer.rounded_weight.is_some() {
                    true => Rounded::at(take(outputs * copy * size_of::<u16>()), copy),
                    false => Rounded::NONE,
                },
                bias: take(biases),
                bias_first: take(biases),
                bias_second: take(biases),
                ..*layer
            }
        };
        layers.iter().map(stand_in).collect()
    }
}

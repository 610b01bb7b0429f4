//! The contract of a backend: one method per operation of a NeuNcut training step, and the memory they work on.
//!
//! Symbols, as everywhere: `m` rows in the mini-batch, `d` input features, `h` hidden units, `k` clusters; `X` m x d,
//! `Z` m x k logits, `Y` = softmax(Z) memberships, `A` m x m affinity, `D` = diag(A 1) degrees, `S` = A Y.
//! "The paper" is He et al., "Neural Normalized Cut", Pattern Recognition 2025.
//!
//! Three rules let one training loop drive a CPU and a GPU alike:
//!
//! * **Memory is opaque and allocated before training.** The loop only names matrices; numbers cross to the host through
//!   [`Ops::upload`] and the downloads, never inside a step. Rows that only pass through come by [`Ops::widen`] and go by
//!   [`Ops::post`], for which the device need not stand still.
//! * **What changes from step to step lives in [`Ops::State`]**, on the device: batch number, step number, learning rate.
//!   The calls of a step are always the same ([`Ops::step`]), so that a backend may record them once and replay them.
//! * **Sums are ordered.** The same input gives the same bits, whatever the number of threads.

use std::fmt::{Debug, Display};
use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, Mul, Neg, Sub};

use bytemuck::Pod;
use serde::{Deserialize, Serialize};

use crate::bending::Bending;
use crate::data::csr::Csr;
use crate::data::raw::Raw;
use crate::data::safetensors::Stored;
use crate::error::Result;

/// A floating-point number of the precision a backend computes in.
pub trait Real:
    Stored
    + PartialOrd
    + Debug
    + Display
    + Send
    + Sync
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + Sum
{
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
    /// The nearest number of this type.
    fn of(value: f64) -> Self;
    /// The same number as f64.
    fn to_f64(self) -> f64;
    /// e to this power.
    fn exp(self) -> Self;
    /// The natural logarithm.
    fn ln(self) -> Self;
    /// The square root.
    fn sqrt(self) -> Self;
}

macro_rules! real {
    ($t:ty) => {
        impl Real for $t {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            fn of(value: f64) -> Self {
                value as $t
            }
            fn to_f64(self) -> f64 {
                f64::from(self)
            }
            fn exp(self) -> Self {
                <$t>::exp(self)
            }
            fn ln(self) -> Self {
                <$t>::ln(self)
            }
            fn sqrt(self) -> Self {
                <$t>::sqrt(self)
            }
        }
    };
}
real!(f32);
real!(f64);

/// A row-major matrix in a backend's memory. A vector is a matrix of one row.
pub trait Shape {
    /// Rows in use.
    fn rows(&self) -> usize;
    /// Columns.
    fn cols(&self) -> usize;
    /// Uses only the first `rows` rows from now on; at most as many as were allocated.
    fn set_rows(&mut self, rows: usize);
}

/// Which graph cut is relaxed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cut {
    /// Normalised cut: clusters are measured by their volume, the sum of degrees (eq. 11 of the paper).
    Ncut,
    /// Ratio cut: clusters are measured by their size (NeuRcut, eq. 17 and 18).
    Rcut,
}

/// The form of the orthogonality penalty `L_orth` of `M = H' D H - I`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Penalty {
    /// `|M|_F^2` (eq. 10).
    Squared,
    /// `|M|_F / k` (the authors' code).
    Frobenius,
}

/// Whether the gradient passes through the volumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Volumes {
    /// It does: the true gradient of the loss.
    Through,
    /// Volumes count as constants (the EM reading, Remark 3).
    Fixed,
}

/// The loss of a mini-batch: `L_lap + gamma / 2 * L_orth` and its options.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Objective {
    /// Weight of the orthogonality penalty.
    pub gamma: f64,
    /// Its form.
    pub penalty: Penalty,
    /// Gradient through the volumes or not.
    pub volumes: Volumes,
    /// Normalised or ratio cut.
    pub cut: Cut,
}

/// Added to every volume so that an empty cluster divides by something (the authors' value).
pub const VOLUME_FLOOR: f64 = 1e-6;

/// Up to so many clusters the products of [`Ops::ncut`] are nearly f32 in every precision: they take next to no time.
pub const FEW_CLUSTERS: usize = 32;

/// The least membership whose logarithm the cross-entropy takes; lower ones count as this.
pub const LEAST_MEMBERSHIP: f64 = 1e-30;

/// The heat kernel `A_ij = exp(-|x_i - x_j|^2 / (2 sigma^2))`, diagonal exactly 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeatKernel {
    /// Width, in the unit of the features.
    pub sigma: f64,
    /// Keep only the diagonal and the entries of this many nearest other rows in each row (the lower column first among
    /// equal distances), then symmetrise as `(A + A') / 2`. `None` keeps all.
    pub neighbors: Option<usize>,
}

/// How the affinity of a mini-batch that is a part of a graph is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GraphForm {
    /// As the edges of the graph between rows of the mini-batch.
    Sparse,
    /// As a full m x m matrix.
    Dense,
}

/// Where the affinity of a mini-batch comes from.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum AffinityRule {
    /// Computed from its rows, [`Ops::pairwise`].
    Heat(HeatKernel),
    /// A part of the graph of all training rows, [`Ops::subgraph`].
    Graph(GraphForm),
}

/// The nearest rows of each query, nearest first; the lower row first among equals.
#[derive(Clone, Debug, PartialEq)]
pub struct Nearest {
    /// Rows kept for each query.
    pub count: usize,
    /// Their numbers, queries x count.
    pub rows: Vec<u32>,
    /// Their squared distances, taken by differences.
    pub squared: Vec<f64>,
}

/// A step of a scattering transform; see [`Ops::scatter`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScatteringStep {
    /// Rows and columns of a picture.
    pub picture: [usize; 2],
    /// By how much it is mirrored on all sides, its outermost pixels not repeated, to fill the grid that it is filtered on.
    pub margin: usize,
    /// Rows and columns of the grid of the moduli, each a divisor of those of that grid.
    pub coarse: [usize; 2],
    /// Pictures whose paths lie in one row.
    pub group: usize,
    /// The path that the first filter makes of the first picture of a row, counted in paths.
    pub first_path: usize,
    /// From there to that of the next picture.
    pub path_step: usize,
}

impl ScatteringStep {
    /// Rows and columns of the grid that pictures are filtered on.
    pub fn fine(&self) -> [usize; 2] {
        self.picture.map(|side| side + 2 * self.margin)
    }

    /// The path that `filter` makes of picture `row`, counted from the beginning of its row of paths.
    pub fn path(&self, row: usize, filter: usize) -> usize {
        self.first_path + row % self.group * self.path_step + filter
    }
}

/// Adam's constants. Weight decay is added to the gradient, as in `torch.optim.Adam`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamRule {
    /// Decay of the mean of gradients.
    pub beta1: f64,
    /// Decay of the mean of squared gradients.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Coupled L2: `g + weight_decay * w` is the gradient that Adam sees.
    pub weight_decay: f64,
}

impl AdamRule {
    /// PyTorch's defaults with the given weight decay.
    pub fn new(weight_decay: f64) -> Self {
        AdamRule {
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay,
        }
    }

    /// The bias corrections of step `t = state.step + 1`: `lr / (1 - beta1^t)`, by which the first moment is multiplied,
    /// and `sqrt(1 - beta2^t)`, by which the root of the second is divided.
    pub fn corrections(&self, state: &StepState) -> (f64, f64) {
        let t = state.step as f64 + 1.0;
        (
            state.learning_rate / (1.0 - self.beta1.powf(t)),
            (1.0 - self.beta2.powf(t)).sqrt(),
        )
    }
}

/// All that changes from one step to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StepState {
    /// Seed of the run.
    pub seed: u64,
    /// Epoch, from 0: selects the shuffle.
    pub epoch: u32,
    /// Mini-batch within the epoch, from 0.
    pub batch: u32,
    /// Steps finished since training began; Adam's bias corrections use `step + 1`.
    pub step: u64,
    /// Learning rate of the epoch.
    pub learning_rate: f64,
}

/// What the operands of matrix products are rounded to. Parameters, optimiser state, memberships, losses and all sums are
/// f32 in each of them (f64 in the reference, when it computes in f64).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Not at all.
    Fp32,
    /// Split into two TF32 numbers each, of whose four products the smallest is left out: nearly f32, on tensor cores.
    Tf32x3,
    /// To TF32: 10 bits of mantissa, halves away from zero. Affinities are stored as f16.
    Tf32,
    /// To bfloat16: 7 bits of mantissa, halves to even. Affinities are stored as f16.
    Bf16,
}

impl Precision {
    /// All, from the most exact on.
    pub const ALL: [Precision; 4] = [
        Precision::Fp32,
        Precision::Tf32x3,
        Precision::Tf32,
        Precision::Bf16,
    ];

    /// As typed on the command line, and at the end of a kernel's name.
    pub fn name(self) -> &'static str {
        match self {
            Precision::Fp32 => "fp32",
            Precision::Tf32x3 => "tf32x3",
            Precision::Tf32 => "tf32",
            Precision::Bf16 => "bf16",
        }
    }
}

/// The most that a device does, as measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ceilings {
    /// Bytes per second of a copy too large for the caches, those read and those written together.
    pub copy: f64,
    /// FLOP per second of a large matrix product in the backend's precision.
    pub matrix: f64,
    /// Bytes per second from page-locked memory of the host to the device; `None` where both are one.
    pub host_to_device: Option<f64>,
}

/// Sums over cluster pairs of a graph with hard labels: `C_ab = sum of A_ij over i in a, j in b`, row-major k x k.
/// Its row sums are the volumes, its diagonal what is not cut.
pub type CutMatrix = Vec<f64>;

/// What belongs to one layer: its parameters, or their gradients or moments.
pub struct Layer<M> {
    /// outputs x inputs.
    pub weight: M,
    /// 1 x outputs.
    pub bias: M,
}

/// A layer in training.
pub struct TrainedLayer<'a, M> {
    /// Weight and bias.
    pub parameters: &'a mut Layer<M>,
    /// Adam's running means of their gradients.
    pub first_moments: &'a mut Layer<M>,
    /// Adam's running means of the squares.
    pub second_moments: &'a mut Layer<M>,
}

/// The last part of a step for one layer: gradients of its parameters from `d_z` (m x out) and `x` (m x in), and Adam.
pub struct LayerUpdate<'a, M> {
    /// Gradient with respect to the layer's outputs.
    pub d_z: &'a M,
    /// The layer's inputs.
    pub x: &'a M,
    /// Where the gradients of the parameters go, if the backend writes them out.
    pub gradients: &'a mut Layer<M>,
    /// What is updated.
    pub training: TrainedLayer<'a, M>,
}

/// A backend. See the module's head for the symbols and the rules.
pub trait Ops {
    /// The precision computed in; also what [`upload`](Self::upload) and [`download`](Self::download) exchange.
    type Real: Real;
    /// A matrix of reals.
    type Matrix: Shape;
    /// A vector of `u32` labels.
    type Labels;
    /// The affinity of one mini-batch, in whatever form the backend keeps it: dense, sparse, or only what is needed
    /// to form its tiles again.
    type Affinity;
    /// A graph of all training rows.
    type Graph;
    /// The [`StepState`], where the operations can read it.
    type State;
    /// Intermediate results of [`ncut`](Self::ncut).
    type Workspace;
    /// The calls of a step, once recorded.
    type Recording: Default;
    /// What rows pass through on their way to [`widen`](Self::widen).
    type Inbox;
    /// Numbers on their way to the host.
    type Coming<T: Pod>;

    /// Whether matrices are in the host's memory.
    const ON_HOST: bool = true;

    /// Name of the device and precision, for logs.
    fn name(&self) -> String;

    /// What decides the last bits of results, but for the processor that does the host's share: the [name](Self::name) without what does
    /// not matter, as the number of threads.
    fn arithmetic(&self) -> String {
        self.name()
    }

    /// A handle that works beside this one: neither waits for what the other was asked to do. What was made here until now, the
    /// training rows `rows` among it, can be read there. `None` where one alone keeps the device busy, or where these rows can be
    /// read by one alone.
    fn beside(&self, rows: &Self::Matrix) -> Result<Option<Self>>
    where
        Self: Sized,
    {
        let _ = rows;
        Ok(None)
    }

    // ---- memory: all of it allocated before training -------------------------------------------------------------

    /// Makes all allocations that `allocate` makes, as one: a backend with little memory learns the sum before it takes any, and
    /// says what is missing. `allocate` may be called twice, and only allocates and uploads.
    fn plan<T>(&self, what: &str, allocate: &dyn Fn() -> Result<T>) -> Result<T> {
        let _ = what;
        allocate()
    }
    /// A matrix of zeros; `what` names it in the error when there is no room.
    fn matrix(&self, what: &str, rows: usize, cols: usize) -> Result<Self::Matrix>;
    /// The same for a matrix that is an operand of one product after another, of which a backend may keep a rounded copy. What
    /// [`linear_backward_data`](Self::linear_backward_data), [`linear_backward_weights`](Self::linear_backward_weights) and
    /// [`update_layers`](Self::update_layers) multiply must be of this kind, and the memberships of [`ncut`](Self::ncut).
    fn operand(&self, what: &str, rows: usize, cols: usize) -> Result<Self::Matrix> {
        self.matrix(what, rows, cols)
    }
    /// The training rows: a matrix that only [`upload`](Self::upload), [`gather_rows`](Self::gather_rows),
    /// [`copy_rows`](Self::copy_rows), [`download`](Self::download), and, to be sought among, [`nearest`](Self::nearest) take. A backend keeps it in the host's memory when its own has no room.
    fn training_rows(&self, rows: usize, cols: usize) -> Result<Self::Matrix> {
        self.matrix("the training rows", rows, cols)
    }
    /// A vector of `len` labels.
    fn labels(&self, what: &str, len: usize) -> Result<Self::Labels>;
    /// Room for the affinity of mini-batches of `rows` rows of `cols` columns under `kernel`, and for its contraction with memberships
    /// in up to `clusters` clusters.
    fn affinity(
        &self,
        rows: usize,
        cols: usize,
        clusters: usize,
        kernel: HeatKernel,
    ) -> Result<Self::Affinity>;
    /// A graph in the backend's memory; `what` names it in the error when there is no room.
    fn graph(&self, what: &str, graph: &Csr) -> Result<Self::Graph>;
    /// Room for the affinity of mini-batches of `rows` rows that are a part of `graph`.
    fn graph_affinity(&self, graph: &Self::Graph, rows: usize, form: GraphForm) -> Result<Self::Affinity>;
    /// The affinity last prepared as a full matrix, m x m row-major, on the host: for checks, not for training.
    fn download_affinity(&self, from: &Self::Affinity) -> Result<Vec<Self::Real>>;
    /// Room for [`ncut`](Self::ncut) on mini-batches of `rows` rows and `clusters` clusters.
    fn workspace(&self, rows: usize, clusters: usize) -> Result<Self::Workspace>;
    /// A state at the beginning of training.
    fn state(&self, start: StepState) -> Result<Self::State>;
    /// Replaces the state, at the start of an epoch.
    fn set_state(&self, value: StepState, state: &mut Self::State) -> Result<()>;
    /// Copies from the host into the rows of `to` from `first_row` on; `from` holds whole rows.
    fn upload(&self, from: &[Self::Real], to: &mut Self::Matrix, first_row: usize) -> Result<()>;
    /// Copies the rows in use to the host; `to` holds as many numbers as they do.
    fn download(&self, from: &Self::Matrix, to: &mut [Self::Real]) -> Result<()>;
    /// Copies labels from the host to the first places of `to`.
    fn upload_labels(&self, from: &[u32], to: &mut Self::Labels) -> Result<()>;
    /// Copies the first `to.len()` labels to the host.
    fn download_labels(&self, from: &Self::Labels, to: &mut [u32]) -> Result<()>;

    // ---- rows that pass through: they travel while the device computes --------------------------------------------------

    /// A way for up to `numbers` numbers at a time; `what` names it in the error when there is no room.
    fn inbox(&self, what: &str, numbers: usize) -> Result<Self::Inbox>;
    /// `x` becomes `rows`, as many as it uses, widened from the type that they are stored as. Returns when `rows` may be changed: a
    /// backend may bring them to the device while it does what it was asked before.
    fn widen(&self, rows: Raw, inbox: &mut Self::Inbox, x: &mut Self::Matrix) -> Result<()>;
    /// Starts to bring the rows in use to the host, as they are after all calls made so far; what is asked of the backend from now on
    /// does not change them.
    fn post(&self, from: &Self::Matrix) -> Result<Self::Coming<Self::Real>>;
    /// The same for the first `count` labels.
    fn post_labels(&self, from: &Self::Labels, count: usize) -> Result<Self::Coming<u32>>;
    /// Waits for numbers that were posted.
    fn collect<T: Pod>(&self, coming: Self::Coming<T>) -> Result<Vec<T>>;

    /// Microseconds that `calls` take, without the time to start them where the device keeps its own clock.
    fn time(&self, calls: &mut dyn FnMut() -> Result<()>) -> Result<f64> {
        let begin = std::time::Instant::now();
        calls()?;
        Ok(begin.elapsed().as_secs_f64() * 1e6)
    }

    /// Microseconds that each kernel takes which `calls` launch, by name, in order. A [`step`](Self::step) among the calls is neither
    /// recorded nor replayed. Empty, and nothing is run, where a backend has no kernels to time.
    fn profile(&self, calls: &mut dyn FnMut() -> Result<()>) -> Result<Vec<(String, f64)>> {
        let _ = calls;
        Ok(Vec::new())
    }

    /// Measures what the device does at most; `None` where there is no such measurement.
    fn ceilings(&self) -> Result<Option<Ceilings>> {
        Ok(None)
    }

    /// Does work of the host on the threads that this backend leaves to it.
    fn on_host<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        work()
    }

    // ---- features -------------------------------------------------------------------------------------------------

    /// `X <- factor X`.
    fn scale(&self, factor: f64, x: &mut Self::Matrix) -> Result<()>;
    /// `x_i <- x_i - mean`, `mean` 1 x d.
    fn center_rows(&self, mean: &Self::Matrix, x: &mut Self::Matrix) -> Result<()>;
    /// `x_ij <- factors_j x_ij`, `factors` 1 x d.
    fn scale_columns(&self, factors: &Self::Matrix, x: &mut Self::Matrix) -> Result<()>;
    /// `x_i <- length x_i / (|x_i| + 1e-6)` (section 4.1 of the paper, with length 1).
    fn normalize_rows(&self, length: f64, x: &mut Self::Matrix) -> Result<()>;
    /// `to_i = (x_i, q_1(x_i1), ..., q_d(x_id))`, 2 d numbers: q_j is linear between the knots of column j, at which it has the levels,
    /// and constant beyond the first and the last. `knots` and `levels` are t x d, t at least 2, knots rising down a column until they
    /// stay the last.
    fn append_quantiles(
        &self,
        knots: &Self::Matrix,
        levels: &Self::Matrix,
        x: &Self::Matrix,
        to: &mut Self::Matrix,
    ) -> Result<()>;

    /// Whether [`scatter`](Self::scatter) takes pictures on a grid of so many rows and columns, and is a better place to scatter them
    /// than the host.
    fn scatters(&self, grid: [usize; 2]) -> bool {
        let _ = grid;
        false
    }
    /// A step of a scattering transform, in nearly f32 whatever the precision: `U_if = |x_i * psi_f|` on the coarse grid for all pictures
    /// x_i, rows of `pictures`, and all filters psi_f; and the paths `P U_if Q'` of these.
    ///
    /// `filters` holds them in the Fourier domain, where they are real: filters x frequencies of the fine grid, rows by columns, times
    /// what the inverse transform, a plain sum over the frequencies of the coarse grid, lacks. `low_pass` are P, rows of a path x rows of
    /// the coarse grid, at most half as many, and Q, the same for columns.
    ///
    /// Row `i filters + f` of `moduli`, if they are asked for, becomes `U_if`. The paths of [`group`](ScatteringStep::group) pictures
    /// go into one row of `paths`, where [`path`](ScatteringStep::path) says; what else that row holds stays.
    fn scatter(
        &self,
        step: &ScatteringStep,
        pictures: &Self::Matrix,
        filters: &Self::Matrix,
        low_pass: [&Self::Matrix; 2],
        moduli: Option<&mut Self::Matrix>,
        paths: &mut Self::Matrix,
    ) -> Result<()>;
    /// Divides each path, `positions` numbers, by its largest absolute value. Paths in which that is at most `least` times that of the
    /// first path of their row become 0. They go into the rows of `to` from `first_row` on, as many rows of `paths` one after the other
    /// into each as are as long as it.
    fn normalize_paths(
        &self,
        positions: usize,
        least: f64,
        paths: &Self::Matrix,
        to: &mut Self::Matrix,
        first_row: usize,
    ) -> Result<()>;

    // ---- images without end ---------------------------------------------------------------------------------------------

    /// Whether [`bend`](Self::bend) takes images of so many rows and columns.
    fn bends(&self, image: [usize; 2]) -> bool {
        let _ = image;
        true
    }
    /// Row `i` of `to` becomes image `r = first_row + i` of those without end that begin with the n rows of `images`, pixels being whole
    /// numbers from 0 to 255. The first n are these. Any other is image `v = r mod n`, bent by two smooth random fields and moved, all
    /// in whole numbers (of [`bending`](crate::bending)), so that every backend makes the same bits:
    ///
    /// * `noise(y, x)`, of (height + 24) x (width + 24), is odd, from -255 to 255, and [drawn](Bending::noise) for r and each field;
    /// * `u(y, x) = ((sum_ab G(a - 12) G(b - 12) noise(y + a, x + b) >> 8) SCALE) >> 16`, a and b from 0 to 24, a [displacement](Bending::displacement) in steps
    ///   of 2^-8 pixels;
    /// * `bent(y, x) = clamp(v + (u_y V_y + u_x V_x + 2^10 >> 11))`, from 0 to 255, V_y and V_x being Sobel's derivatives of v, blank
    ///   around its edges, times 8;
    /// * `to(y, x) = bent(y - down, x - right)`, and 0 where that is outside, [down and right](Bending::moved) from -1 to 1.
    fn bend(
        &self,
        bending: &Bending,
        images: &Self::Matrix,
        first_row: u64,
        to: &mut Self::Matrix,
    ) -> Result<()>;

    // ---- one step, in order -----------------------------------------------------------------------------------------

    /// Runs a step. `calls` makes the same calls on the same memory every time, so a backend may record them the first
    /// time and afterwards replay the recording instead; this default just makes them.
    fn step(&self, recording: &mut Self::Recording, calls: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        let _ = recording;
        calls()
    }

    /// The mini-batch: row `i` of `x` is row `order[batch m + i]` of `data`. `order` holds the epoch's mini-batches, m rows each,
    /// one after the other (Algorithm 1, line 3).
    fn gather_rows(
        &self,
        data: &Self::Matrix,
        order: &Self::Labels,
        state: &Self::State,
        x: &mut Self::Matrix,
    ) -> Result<()>;
    /// Row `i` of `x` is row `first_row + i` of `data`.
    fn copy_rows(&self, data: &Self::Matrix, first_row: usize, x: &mut Self::Matrix) -> Result<()>;
    /// The heat kernel between all rows of `x`. Does not depend on the weights, so a backend may run it beside
    /// the forward pass.
    fn pairwise(&self, x: &Self::Matrix, affinity: &mut Self::Affinity) -> Result<()>;
    /// The part of a graph that lies between the rows of the mini-batch: `A_ij` is the graph's entry of the rows that `order` names
    /// at `batch m + i` and `batch m + j`; a mini-batch has no row twice.
    fn subgraph(
        &self,
        graph: &Self::Graph,
        order: &Self::Labels,
        state: &Self::State,
        affinity: &mut Self::Affinity,
    ) -> Result<()>;
    /// `[S | D] = A [Y | 1]`: `contraction` m x k and `degrees` 1 x m, all that the loss needs of A.
    fn contract(
        &self,
        x: &Self::Matrix,
        affinity: &Self::Affinity,
        membership: &Self::Matrix,
        contraction: &mut Self::Matrix,
        degrees: &mut Self::Matrix,
    ) -> Result<()>;
    /// `Z = X W' + b`, `W` out x in, `b` 1 x out; negative entries become 0 where `relu`.
    fn linear(
        &self,
        x: &Self::Matrix,
        weight: &Self::Matrix,
        bias: &Self::Matrix,
        relu: bool,
        z: &mut Self::Matrix,
    ) -> Result<()>;
    /// `X -> ReLU(X W' + b) -> ... -> Z`, [`linear`](Self::linear) layer by layer, no ReLU after the last. `outputs` take what each of them
    /// puts out.
    fn forward(
        &self,
        x: &Self::Matrix,
        layers: &[Layer<Self::Matrix>],
        outputs: &mut [Self::Matrix],
    ) -> Result<()> {
        for (i, layer) in layers.iter().enumerate() {
            let (before, rest) = outputs.split_at_mut(i);
            rest[0].set_rows(x.rows());
            let relu = i + 1 < layers.len();
            self.linear(
                before.last().unwrap_or(x),
                &layer.weight,
                &layer.bias,
                relu,
                &mut rest[0],
            )?;
        }
        Ok(())
    }
    /// `Y = softmax(Z)`, row by row (eq. 8).
    fn softmax(&self, logits: &Self::Matrix, membership: &mut Self::Matrix) -> Result<()>;
    /// The loss and its gradient with respect to the logits.
    ///
    /// With weights `w_i = D_i` (Ncut) or 1 (Rcut): volumes `v_l = sum_i w_i y_il + 1e-6` (eq. 11),
    /// `q_l = sum_i y_il (D_i y_il - S_il)`, `L_lap = sum_l q_l / v_l`, `M_ab = sum_i w_i y_ia y_ib / sqrt(v_a v_b) - [a = b]`,
    /// `L_orth` as [`Penalty`] says (eq. 10), loss `L_lap + gamma / 2 L_orth`. The gradient is pulled back through the soft-max.
    ///
    /// Writes `volumes` 1 x k, `d_logits` m x k, and `(L_lap, L_orth, loss)` into row `state.batch` of `losses`.
    #[allow(clippy::too_many_arguments)] // the equation has this many
    fn ncut(
        &self,
        membership: &Self::Matrix,
        contraction: &Self::Matrix,
        degrees: &Self::Matrix,
        objective: Objective,
        state: &Self::State,
        workspace: &mut Self::Workspace,
        volumes: &mut Self::Matrix,
        d_logits: &mut Self::Matrix,
        losses: &mut Self::Matrix,
    ) -> Result<()>;
    /// The mean cross-entropy between memberships and given labels, and its gradient with respect to the logits:
    /// `L = -1/m sum_i log y_(i, t_i)`, `dZ = (Y - onehot(t)) / m`, `t_i` the target of the row that `order` names at
    /// `batch m + i`. Memberships below [`LEAST_MEMBERSHIP`] count as that.
    ///
    /// Writes `d_logits` m x k, and `(0, 0, L)` into row `state.batch` of `losses`.
    fn cross_entropy(
        &self,
        membership: &Self::Matrix,
        targets: &Self::Labels,
        order: &Self::Labels,
        state: &Self::State,
        d_logits: &mut Self::Matrix,
        losses: &mut Self::Matrix,
    ) -> Result<()>;
    /// The mean squared error between rows `x` and what a network made of them, `z`, both m x d, and its gradient:
    /// `errors_i = |z_i - x_i|^2`, `L = 1 / (m d) sum_i errors_i`, `dZ = 2 (Z - X) / (m d)`.
    ///
    /// Writes `errors` 1 x m, `d_z` m x d, and L into row `state.batch` of `losses`, one number a row.
    fn squared_error(
        &self,
        z: &Self::Matrix,
        x: &Self::Matrix,
        state: &Self::State,
        errors: &mut Self::Matrix,
        d_z: &mut Self::Matrix,
        losses: &mut Self::Matrix,
    ) -> Result<()>;
    /// Gradient with respect to a layer's input: `dX = (dZ W) * [X > 0]`, the mask being that of the ReLU that made `x`.
    fn linear_backward_data(
        &self,
        d_z: &Self::Matrix,
        weight: &Self::Matrix,
        x: &Self::Matrix,
        d_x: &mut Self::Matrix,
    ) -> Result<()>;
    /// Gradients of a layer's parameters: `dW = dZ' X`, `db = dZ' 1`.
    fn linear_backward_weights(
        &self,
        d_z: &Self::Matrix,
        x: &Self::Matrix,
        d_weight: &mut Self::Matrix,
        d_bias: &mut Self::Matrix,
    ) -> Result<()>;
    /// One Adam step (Kingma and Ba, Algorithm 1) with coupled weight decay, at the state's learning rate.
    fn adam(
        &self,
        gradient: &Self::Matrix,
        rule: AdamRule,
        state: &Self::State,
        parameter: &mut Self::Matrix,
        first_moment: &mut Self::Matrix,
        second_moment: &mut Self::Matrix,
    ) -> Result<()>;
    /// Gradients of the parameters of all layers and the Adam step on them. A backend may fuse the two, and do all layers at
    /// once; this default computes one after the other and leaves the gradients in [`LayerUpdate::gradients`].
    fn update_layers(
        &self,
        rule: AdamRule,
        state: &Self::State,
        layers: &mut [LayerUpdate<Self::Matrix>],
    ) -> Result<()> {
        for LayerUpdate {
            d_z,
            x,
            gradients: g,
            training,
        } in layers
        {
            let TrainedLayer {
                parameters: p,
                first_moments: m,
                second_moments: v,
            } = training;
            self.linear_backward_weights(d_z, x, &mut g.weight, &mut g.bias)?;
            self.adam(
                &g.weight,
                rule,
                state,
                &mut p.weight,
                &mut m.weight,
                &mut v.weight,
            )?;
            self.adam(&g.bias, rule, state, &mut p.bias, &mut m.bias, &mut v.bias)?;
        }
        Ok(())
    }
    /// The next mini-batch: `batch` and `step` grow by one.
    fn advance(&self, state: &mut Self::State) -> Result<()>;

    // ---- graphs of all training rows: nearly f32, whatever the precision ---------------------------------------------

    /// The `count` nearest rows of `x` to each row of `queries` by tiles: no matrix of all distances is formed. `count` is at most the
    /// number of rows of `x`. Backends may choose by distances from products, which rounding can make another choice of than
    /// differences; the distances that are told are from differences, and in their order.
    fn nearest(&self, queries: &Self::Matrix, x: &Self::Matrix, count: usize) -> Result<Nearest>;
    /// `Y = A X` for a sparse A, n x n; X and Y n x p.
    fn sparse_product(&self, graph: &Self::Graph, x: &Self::Matrix, y: &mut Self::Matrix) -> Result<()>;
    /// `A' B`, p x q row-major, of two tall matrices n x p and n x q, parts of rows in f32 or f64, the sums
    /// of parts in f64.
    fn gram(&self, a: &Self::Matrix, b: &Self::Matrix) -> Result<Vec<f64>>;
    /// `Y <- keep Y + X C` for a tall X, n x p, and a small C, p x q.
    fn combine(
        &self,
        x: &Self::Matrix,
        coefficients: &Self::Matrix,
        keep: f64,
        y: &mut Self::Matrix,
    ) -> Result<()>;

    // ---- labels -----------------------------------------------------------------------------------------------------

    /// The column of each row's largest entry, the first among equals, into the labels from `first` on.
    fn argmax(&self, logits: &Self::Matrix, labels: &mut Self::Labels, first: usize) -> Result<()>;
    /// The label of each row of `x` under a network, into the labels from `first` on: exactly those that [`forward`](Self::forward) and
    /// [`argmax`](Self::argmax) give. A backend may take some rows at a time through all layers and keep to itself what they put out;
    /// `outputs`, which is room for it, then stays as it was.
    fn infer(
        &self,
        x: &Self::Matrix,
        layers: &[Layer<Self::Matrix>],
        outputs: &mut [Self::Matrix],
        labels: &mut Self::Labels,
        first: usize,
    ) -> Result<()>;
    /// The exact cut matrix of hard labels over all rows of `x`, by streaming the tiles of A: memory O(n (d + k)).
    /// `labels` holds one number below `clusters` per row.
    fn cut_matrix(
        &self,
        x: &Self::Matrix,
        labels: &[u32],
        clusters: usize,
        kernel: HeatKernel,
    ) -> Result<CutMatrix>;
}

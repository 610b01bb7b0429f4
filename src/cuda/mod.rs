//! The CUDA backend: every operation as a hand-written kernel of `kernels/`, driven by host code that is the same for
//! a card and for the emulator of the tests.

pub mod driver;
pub mod kernels;
mod context;
mod card;
mod memory;
mod recording;
mod round;
mod staging;
mod widen;
mod coming;
mod gather;
mod normalize;
mod scattering;
mod bend;
mod adam;
pub mod tiles;
mod linear;
mod softmax;
mod points;
mod sparse;
mod squared_error;
mod subgraph;
mod affinity;
mod ncut;
mod cross_entropy;
mod nearest;
mod tall;
mod argmax;
mod infer;
mod ceilings;

use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::rc::Rc;

pub use affinity::Affinity;
pub use card::Card;
pub use coming::Coming;
pub use context::{Description, describe_all};
pub use driver::{Address, Driver, Launch};
pub use memory::{Labels, Matrix, State};
pub use ncut::Workspace;
pub use recording::Recording;
pub use sparse::Graph;
pub use widen::Inbox;

use bytemuck::Pod;

use crate::bending::Bending;
use crate::data::csr::Csr;
use crate::data::raw::Raw;
use crate::error::{Error, Result};
use crate::ops::{
    AdamRule, Ceilings, CutMatrix, GraphForm, HeatKernel, Layer, LayerUpdate, Nearest, Objective, Ops,
    Precision, ScatteringStep, StepState,
};
use memory::{DeviceState, Memory};
use tiles::Tiling;

/// Pointers to the values of a kernel's parameters. They live as long as the statement that this stands in.
macro_rules! arguments {
    ($($value:expr),* $(,)?) => {
        &mut [$(std::ptr::from_mut(&mut { $value }).cast::<std::ffi::c_void>()),*]
    };
}
pub(crate) use arguments;

/// The CUDA backend on a device, in one precision.
pub struct Cuda<D: Driver> {
    driver: Rc<D>,
    memory: Memory<D>,
    precision: Precision,
    /// What a step that is being recorded needs done on the host.
    recorder: RefCell<Option<recording::Recorder<D>>>,
    /// Something that is being recorded runs aside, and nothing waits for it yet.
    aside: Cell<bool>,
    /// Names of launches, and the moments before and after each, while they are profiled.
    profile: RefCell<Option<Vec<Profiled<D>>>>,
    /// Page-locked buffers that nothing is coming in.
    spare: RefCell<Vec<coming::Spare<D>>>,
    keeps_gradients: bool,
    /// Affinities of more rows are formed tile by tile.
    stored_rows: usize,
    /// Training rows stay on the host however much room the device has.
    feeds_rows: bool,
    /// Rows among which the nearest are sought at a time.
    searched_rows: usize,
    tiling: Tiling,
}

impl<D: Driver> Cuda<D> {
    /// The backend on `driver`.
    pub fn new(driver: D, precision: Precision) -> Self {
        let driver = Rc::new(driver);
        Cuda {
            memory: Memory::new(driver.clone()),
            driver,
            precision,
            recorder: RefCell::new(None),
            aside: Cell::new(false),
            profile: RefCell::new(None),
            spare: RefCell::default(),
            keeps_gradients: false,
            stored_rows: affinity::STORED_ROWS,
            feeds_rows: false,
            searched_rows: nearest::SEGMENT,
            tiling: Tiling::Rule,
        }
    }

    /// The same, but [`Ops::update_layers`] also writes the gradients of the parameters out.
    pub fn keeping_gradients(self) -> Self {
        Cuda {
            keeps_gradients: true,
            ..self
        }
    }

    /// The same, but affinities of more than `rows` rows are formed tile by tile in each contraction, never stored.
    pub fn storing_at_most(self, rows: usize) -> Self {
        Cuda {
            stored_rows: rows,
            ..self
        }
    }

    /// The same, but training rows are held by the host and fed batch by batch, as those are that the device has no room for.
    pub fn feeding_rows(self) -> Self {
        Cuda {
            feeds_rows: true,
            ..self
        }
    }

    /// The same, but the nearest rows are sought among at most `rows` at a time.
    pub fn searching_at_most(self, rows: usize) -> Self {
        Cuda {
            searched_rows: rows,
            ..self
        }
    }

    /// The same, but the tiles of matrix products are chosen in this way. It changes how long they take, and no bits but those of heat kernels, which
    /// [`Tiling::Always`] changes.
    pub fn tiling(self, tiling: Tiling) -> Self {
        Cuda { tiling, ..self }
    }

    /// What matrix products are computed in.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// The device.
    pub fn driver(&self) -> &D {
        &self.driver
    }

    /// Bytes per second that large copies from page-locked memory of the host reach, through two buffers by turns, as rows come that
    /// stream.
    ///
    /// # Errors
    /// [`Error::Memory`] when the host or the device has no room for the buffers.
    pub fn host_to_device(&self) -> Result<f64> {
        ceilings::host_to_device(self)
    }

    /// Runs a kernel of `kernels/{file}.cu`, `threads` threads a block.
    fn launch(
        &self,
        file: &'static str,
        kernel: &str,
        grid: [usize; 3],
        threads: u32,
        arguments: &mut [*mut c_void],
    ) -> Result<()> {
        if grid.contains(&0) {
            return Ok(());
        }
        let launch = Launch {
            file,
            kernel,
            grid: grid.map(|blocks| blocks as u32),
            threads,
            arguments,
        };
        if self.profile.borrow().is_none() {
            return self.driver.launch(launch);
        }
        // Nobody waits in between: the device would stand still, and the way to it be counted.
        let before = self.driver.mark()?;
        self.driver.launch(launch)?;
        let after = self.driver.mark()?;
        if let Some(profile) = &mut *self.profile.borrow_mut() {
            profile.push((kernel.to_string(), before, after));
        }
        Ok(())
    }

    /// Makes calls that nothing depends on before [`join`](Self::join), so that a recorded step may run them beside what comes next.
    fn aside(&self, calls: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        if self.recorder.borrow().is_none() {
            return calls();
        }
        self.join()?;
        self.driver.aside(calls)?;
        self.aside.set(true);
        Ok(())
    }

    /// What comes next depends on what runs [`aside`](Self::aside).
    fn join(&self) -> Result<()> {
        match self.aside.replace(false) {
            true => self.driver.join(),
            false => Ok(()),
        }
    }

    /// The name of a kernel that exists in each precision.
    fn in_precision(&self, kernel: &str) -> String {
        format!("{kernel}_{}", self.precision.name())
    }
}

/// A launch, and the moments before and after it.
type Profiled<D> = (String, <D as Driver>::Event, <D as Driver>::Event);

/// A size as the kernels take it.
fn int(size: usize) -> i32 {
    i32::try_from(size).expect("sizes are checked when matrices are made")
}

impl<D: Driver> Ops for Cuda<D> {
    type Real = f32;
    type Matrix = Matrix<D>;
    type Labels = Labels<D>;
    type Affinity = Affinity<D>;
    type Graph = Graph<D>;
    type State = State<D>;
    type Workspace = Workspace<D>;
    type Recording = Recording<D>;
    type Inbox = Inbox<D>;
    type Coming<T: Pod> = Coming<D, T>;

    const ON_HOST: bool = false;

    fn name(&self) -> String {
        format!("{} ({})", self.driver.name(), self.precision.name())
    }

    fn beside(&self, rows: &Matrix<D>) -> Result<Option<Self>> {
        // Rows on the host are fed in the order of one training at a time.
        if rows.host().is_some() {
            return Ok(None);
        }
        let driver = Rc::new(self.driver.beside()?);
        Ok(Some(Cuda {
            memory: Memory::new(driver.clone()),
            driver,
            recorder: RefCell::new(None),
            aside: Cell::new(false),
            profile: RefCell::new(None),
            spare: RefCell::default(),
            tiling: self.tiling.clone(),
            ..*self
        }))
    }

    fn plan<T>(&self, what: &str, allocate: &dyn Fn() -> Result<T>) -> Result<T> {
        self.memory.plan(what, allocate)
    }
    fn matrix(&self, what: &str, rows: usize, cols: usize) -> Result<Matrix<D>> {
        check_size(what, rows, cols)?;
        Matrix::zeros(&self.memory, what, rows, cols)
    }
    fn operand(&self, what: &str, rows: usize, cols: usize) -> Result<Matrix<D>> {
        check_size(what, rows, cols)?;
        match self.precision {
            Precision::Bf16 => Matrix::with_copy(&self.memory, what, rows, cols),
            _ => Matrix::zeros(&self.memory, what, rows, cols),
        }
    }
    fn training_rows(&self, rows: usize, cols: usize) -> Result<Matrix<D>> {
        gather::training_rows(self, rows, cols)
    }
    fn labels(&self, what: &str, len: usize) -> Result<Labels<D>> {
        Labels::zeros(&self.memory, what, len)
    }
    fn affinity(&self, rows: usize, cols: usize, clusters: usize, kernel: HeatKernel) -> Result<Affinity<D>> {
        Affinity::new(self, rows, cols, clusters, kernel)
    }
    fn graph(&self, what: &str, graph: &Csr) -> Result<Graph<D>> {
        Graph::new(self, what, graph)
    }
    fn graph_affinity(&self, graph: &Graph<D>, rows: usize, form: GraphForm) -> Result<Affinity<D>> {
        Affinity::of_graph(self, graph, rows, form)
    }
    fn download_affinity(&self, from: &Affinity<D>) -> Result<Vec<f32>> {
        affinity::download(self, from)
    }
    fn workspace(&self, rows: usize, clusters: usize) -> Result<Workspace<D>> {
        Workspace::new(self, rows, clusters)
    }
    fn state(&self, start: StepState) -> Result<State<D>> {
        let buffer = self.memory.zeros("the step state", size_of::<DeviceState>())?;
        let mut state = State {
            buffer,
            mirror: Rc::new(Cell::new(start)),
        };
        self.set_state(start, &mut state)?;
        Ok(state)
    }
    fn set_state(&self, value: StepState, state: &mut State<D>) -> Result<()> {
        state.mirror.set(value);
        if !state.buffer.is_real() {
            return Ok(());
        }
        let value = DeviceState::from(value);
        let bytes = bytemuck::bytes_of(&value);
        self.driver
            .write(bytes, bytes.len(), state.buffer.address(), bytes.len())
    }
    fn upload(&self, from: &[f32], to: &mut Matrix<D>, first_row: usize) -> Result<()> {
        to.write(&self.driver, from, first_row)?;
        round::round(self, to)
    }
    fn download(&self, from: &Matrix<D>, to: &mut [f32]) -> Result<()> {
        from.read(&self.driver, to)
    }
    fn upload_labels(&self, from: &[u32], to: &mut Labels<D>) -> Result<()> {
        to.write(&self.driver, from)
    }
    fn download_labels(&self, from: &Labels<D>, to: &mut [u32]) -> Result<()> {
        assert!(to.len() <= from.len, "{} labels of {}", to.len(), from.len);
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(to);
        self.driver
            .read(from.buffer.address(), bytes.len(), bytes.len(), bytes)
    }
    fn inbox(&self, what: &str, numbers: usize) -> Result<Inbox<D>> {
        widen::inbox(self, what, numbers)
    }
    fn widen(&self, rows: Raw, inbox: &mut Inbox<D>, x: &mut Matrix<D>) -> Result<()> {
        widen::widen(self, rows, inbox, x)?;
        round::round(self, x)
    }
    fn post(&self, from: &Matrix<D>) -> Result<Coming<D, f32>> {
        coming::post(self, from)
    }
    fn post_labels(&self, from: &Labels<D>, count: usize) -> Result<Coming<D, u32>> {
        coming::post_labels(self, from, count)
    }
    fn collect<T: Pod>(&self, coming: Coming<D, T>) -> Result<Vec<T>> {
        coming::collect(self, coming)
    }
    fn time(&self, calls: &mut dyn FnMut() -> Result<()>) -> Result<f64> {
        let before = self.driver.mark()?;
        calls()?;
        let after = self.driver.mark()?;
        self.driver.microseconds(&before, &after)
    }
    fn profile(&self, calls: &mut dyn FnMut() -> Result<()>) -> Result<Vec<(String, f64)>> {
        self.profile.replace(Some(Vec::new()));
        let done = calls();
        let profile = self.profile.take().unwrap_or_default();
        done?;
        let timed = |(kernel, before, after): Profiled<D>| {
            self.driver
                .microseconds(&before, &after)
                .map(|time| (kernel, time))
        };
        profile.into_iter().map(timed).collect()
    }
    fn ceilings(&self) -> Result<Option<Ceilings>> {
        ceilings::measure(self).map(Some)
    }

    fn scale(&self, factor: f64, x: &mut Matrix<D>) -> Result<()> {
        normalize::scale(self, factor, x)?;
        round::round(self, x)
    }
    fn center_rows(&self, mean: &Matrix<D>, x: &mut Matrix<D>) -> Result<()> {
        normalize::center_rows(self, mean, x)?;
        round::round(self, x)
    }
    fn scale_columns(&self, factors: &Matrix<D>, x: &mut Matrix<D>) -> Result<()> {
        normalize::scale_columns(self, factors, x)?;
        round::round(self, x)
    }
    fn normalize_rows(&self, length: f64, x: &mut Matrix<D>) -> Result<()> {
        normalize::normalize_rows(self, length, x)?;
        round::round(self, x)
    }
    fn append_quantiles(
        &self,
        knots: &Matrix<D>,
        levels: &Matrix<D>,
        x: &Matrix<D>,
        to: &mut Matrix<D>,
    ) -> Result<()> {
        normalize::append_quantiles(self, knots, levels, x, to)?;
        round::round(self, to)
    }
    fn scatters(&self, grid: [usize; 2]) -> bool {
        scattering::scatters(grid)
    }
    fn scatter(
        &self,
        step: &ScatteringStep,
        pictures: &Matrix<D>,
        filters: &Matrix<D>,
        low_pass: [&Matrix<D>; 2],
        moduli: Option<&mut Matrix<D>>,
        paths: &mut Matrix<D>,
    ) -> Result<()> {
        scattering::scatter(self, step, pictures, filters, low_pass, moduli, paths)
    }
    fn normalize_paths(
        &self,
        positions: usize,
        least: f64,
        paths: &Matrix<D>,
        to: &mut Matrix<D>,
        first_row: usize,
    ) -> Result<()> {
        normalize::normalize_paths(self, positions, least, paths, to, first_row)?;
        round::round(self, to)
    }

    fn step(&self, recording: &mut Recording<D>, calls: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        recording::step(self, recording, calls)
    }
    fn bends(&self, image: [usize; 2]) -> bool {
        bend::bends(image)
    }
    fn bend(&self, bending: &Bending, images: &Matrix<D>, first_row: u64, to: &mut Matrix<D>) -> Result<()> {
        bend::bend(self, bending, images, first_row, to)?;
        round::round(self, to)
    }

    fn gather_rows(
        &self,
        data: &Matrix<D>,
        order: &Labels<D>,
        state: &State<D>,
        x: &mut Matrix<D>,
    ) -> Result<()> {
        gather::gather_rows(self, data, order, state, x)
    }
    fn copy_rows(&self, data: &Matrix<D>, first_row: usize, x: &mut Matrix<D>) -> Result<()> {
        gather::copy_rows(self, data, first_row, x)?;
        round::round(self, x)
    }
    fn pairwise(&self, x: &Matrix<D>, affinity: &mut Affinity<D>) -> Result<()> {
        self.aside(&mut || affinity::pairwise(self, x, affinity))
    }
    fn subgraph(
        &self,
        graph: &Graph<D>,
        order: &Labels<D>,
        state: &State<D>,
        affinity: &mut Affinity<D>,
    ) -> Result<()> {
        self.aside(&mut || affinity::subgraph(self, graph, order, state, affinity))
    }
    fn contract(
        &self,
        _x: &Matrix<D>,
        affinity: &Affinity<D>,
        membership: &Matrix<D>,
        contraction: &mut Matrix<D>,
        degrees: &mut Matrix<D>,
    ) -> Result<()> {
        self.join()?;
        affinity::contract(self, affinity, membership, contraction, degrees)
    }
    fn linear(
        &self,
        x: &Matrix<D>,
        weight: &Matrix<D>,
        bias: &Matrix<D>,
        relu: bool,
        z: &mut Matrix<D>,
    ) -> Result<()> {
        linear::linear(self, x, weight, bias, relu, z)
    }
    fn softmax(&self, logits: &Matrix<D>, membership: &mut Matrix<D>) -> Result<()> {
        softmax::softmax(self, logits, membership)
    }
    fn ncut(
        &self,
        membership: &Matrix<D>,
        contraction: &Matrix<D>,
        degrees: &Matrix<D>,
        objective: Objective,
        state: &State<D>,
        workspace: &mut Workspace<D>,
        volumes: &mut Matrix<D>,
        d_logits: &mut Matrix<D>,
        losses: &mut Matrix<D>,
    ) -> Result<()> {
        ncut::ncut(
            self,
            membership,
            contraction,
            degrees,
            objective,
            state,
            workspace,
            volumes,
            d_logits,
            losses,
        )
    }
    fn cross_entropy(
        &self,
        membership: &Matrix<D>,
        targets: &Labels<D>,
        order: &Labels<D>,
        state: &State<D>,
        d_logits: &mut Matrix<D>,
        losses: &mut Matrix<D>,
    ) -> Result<()> {
        cross_entropy::cross_entropy(self, membership, targets, order, state, d_logits, losses)
    }
    fn squared_error(
        &self,
        z: &Matrix<D>,
        x: &Matrix<D>,
        state: &State<D>,
        errors: &mut Matrix<D>,
        d_z: &mut Matrix<D>,
        losses: &mut Matrix<D>,
    ) -> Result<()> {
        squared_error::squared_error(self, z, x, state, errors, d_z, losses)
    }
    fn linear_backward_data(
        &self,
        d_z: &Matrix<D>,
        weight: &Matrix<D>,
        x: &Matrix<D>,
        d_x: &mut Matrix<D>,
    ) -> Result<()> {
        linear::linear_backward_data(self, d_z, weight, x, d_x)
    }
    fn linear_backward_weights(
        &self,
        d_z: &Matrix<D>,
        x: &Matrix<D>,
        d_weight: &mut Matrix<D>,
        d_bias: &mut Matrix<D>,
    ) -> Result<()> {
        linear::linear_backward_weights(self, d_z, x, d_weight, d_bias)
    }
    fn adam(
        &self,
        gradient: &Matrix<D>,
        rule: AdamRule,
        state: &State<D>,
        parameter: &mut Matrix<D>,
        first_moment: &mut Matrix<D>,
        second_moment: &mut Matrix<D>,
    ) -> Result<()> {
        adam::adam(
            self,
            gradient,
            rule,
            state,
            parameter,
            first_moment,
            second_moment,
        )?;
        round::round(self, parameter)
    }
    fn update_layers(
        &self,
        rule: AdamRule,
        state: &State<D>,
        layers: &mut [LayerUpdate<Matrix<D>>],
    ) -> Result<()> {
        linear::update_layers(self, rule, state, layers)
    }
    fn advance(&self, state: &mut State<D>) -> Result<()> {
        gather::advance(self, state)
    }

    fn nearest(&self, queries: &Matrix<D>, x: &Matrix<D>, count: usize) -> Result<Nearest> {
        nearest::nearest(self, queries, x, count)
    }
    fn sparse_product(&self, graph: &Graph<D>, x: &Matrix<D>, y: &mut Matrix<D>) -> Result<()> {
        sparse::sparse_product(self, graph, x, y)
    }
    fn gram(&self, a: &Matrix<D>, b: &Matrix<D>) -> Result<Vec<f64>> {
        tall::gram(self, a, b)
    }
    fn combine(&self, x: &Matrix<D>, coefficients: &Matrix<D>, keep: f64, y: &mut Matrix<D>) -> Result<()> {
        tall::combine(self, x, coefficients, keep, y)?;
        round::round(self, y)
    }

    fn argmax(&self, logits: &Matrix<D>, labels: &mut Labels<D>, first: usize) -> Result<()> {
        argmax::argmax(self, logits, labels, first)
    }
    fn infer(
        &self,
        x: &Matrix<D>,
        layers: &[Layer<Matrix<D>>],
        outputs: &mut [Matrix<D>],
        labels: &mut Labels<D>,
        first: usize,
    ) -> Result<()> {
        infer::infer(self, x, layers, outputs, labels, first)
    }
    fn cut_matrix(
        &self,
        x: &Matrix<D>,
        labels: &[u32],
        clusters: usize,
        kernel: HeatKernel,
    ) -> Result<CutMatrix> {
        affinity::cut_matrix(self, x, labels, clusters, kernel)
    }
}

/// Rows and columns are 32-bit numbers in the kernels; offsets are 64-bit,
const MOST_ROWS: usize = i32::MAX as usize;

/// but those within the lines of a tile, of which there are so many at most.
const TILE_LINES: usize = 128;

/// Whether kernels can find their way in a matrix.
fn check_size(what: &str, rows: usize, cols: usize) -> Result<()> {
    let within_a_tile = rows.min(TILE_LINES).saturating_mul(cols);
    if rows <= MOST_ROWS && cols <= MOST_ROWS && within_a_tile <= MOST_ROWS {
        return Ok(());
    }
    Err(Error::Shape {
        what: what.to_string(),
        found: format!("{rows} x {cols}"),
        expected: format!(
            "at most {MOST_ROWS} rows, and as many columns by {} rows",
            rows.min(TILE_LINES)
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matrices_that_kernels_cannot_find_their_way_in_are_refused() {
        for (rows, cols) in [
            (MOST_ROWS, 1),
            (1, MOST_ROWS),
            (128, 16_777_215),
            (MOST_ROWS, 16_777_215),
        ] {
            assert!(check_size("x", rows, cols).is_ok(), "{rows} x {cols}");
        }
        for (rows, cols) in [
            (MOST_ROWS + 1, 1),
            (1, MOST_ROWS + 1),
            (128, 1 << 24),
            (2, 1 << 30),
            (MOST_ROWS, 1 << 24),
        ] {
            let told = check_size("x", rows, cols).unwrap_err().to_string();
            assert!(told.contains(&format!("{rows} x {cols}")), "{told}");
        }
    }
}

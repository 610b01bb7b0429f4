//! The rows of a mini-batch: gathered on the device, or on the host one batch ahead when the training rows have no room on the
//! device; `kernels/gather.cu`.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use rayon::prelude::*;

use super::driver::Driver;
use super::memory::{Uploaded, stride};
use super::round::{Rounded, round};
use super::staging::Stages;
use super::{Cuda, Labels, Matrix, State, arguments, int};
use crate::error::{Error, Result};
use crate::ops::{Shape, StepState};

const THREADS: u32 = 256;

/// Rows that a block copies: one for each warp.
const ROWS: usize = 8;

/// Share of the free memory, in percent, that training rows may take: the network, the mini-batch and other processes
/// need some as well.
const MOST_PERCENT: u64 = 80;

/// Training rows that the host holds.
pub struct HostRows<D: Driver> {
    values: Rc<RefCell<Vec<f32>>>,
    cols: usize,
    /// What brings them to the device, made when the size of a mini-batch is known.
    feed: RefCell<Option<Rc<Feed<D>>>>,
}

impl<D: Driver> HostRows<D> {
    /// Takes numbers in, from the `first` on.
    pub fn write(&self, from: &[f32], first: usize) {
        self.values.borrow_mut()[first..first + from.len()].copy_from_slice(from);
    }

    /// Gives numbers out, from the `first` on.
    pub fn read(&self, first: usize, to: &mut [f32]) {
        to.copy_from_slice(&self.values.borrow()[first..first + to.len()]);
    }
}

/// See [`Ops::training_rows`](crate::ops::Ops::training_rows).
pub fn training_rows<D: Driver>(cuda: &Cuda<D>, rows: usize, cols: usize) -> Result<Matrix<D>> {
    let what = "the training rows";
    let bytes = rows as u64 * stride(cols, 4) as u64 * 4;
    if !cuda.feeds_rows && bytes <= cuda.driver.free_memory()? / 100 * MOST_PERCENT {
        return Matrix::zeros(&cuda.memory, what, rows, cols);
    }
    let mut values = Vec::new();
    values.try_reserve_exact(rows * cols).map_err(|_| Error::Memory {
        what: what.into(),
        mib: bytes.div_ceil(1 << 20),
        advice: "train on fewer rows (--train-rows)",
    })?;
    values.resize(rows * cols, 0.0);
    let host = HostRows {
        values: Rc::new(RefCell::new(values)),
        cols,
        feed: RefCell::new(None),
    };
    Ok(Matrix::on_host(host, rows, cols))
}

/// Brings mini-batches from the host to the device: one is collected and copied while the one before is computed on.
pub struct Feed<D: Driver> {
    values: Rc<RefCell<Vec<f32>>>,
    cols: usize,
    /// Rows of a batch, numbers from one row of a place to the next.
    batch_rows: usize,
    stride: usize,
    stages: Stages<D>,
    /// The order and the number of the batch in each place.
    staged: Cell<[Option<(u64, u32)>; 2]>,
    /// The rows of all batches.
    order: Rc<RefCell<Uploaded>>,
    /// The state that says which batch is next.
    state: Rc<Cell<StepState>>,
}

impl<D: Driver> Feed<D> {
    fn new(
        cuda: &Cuda<D>,
        data: &HostRows<D>,
        order: &Labels<D>,
        x: &Matrix<D>,
        state: &State<D>,
    ) -> Result<Self> {
        let bytes = x.rows() * x.stride() * size_of::<f32>();
        let advice = "choose smaller mini-batches (--batch)";
        Ok(Feed {
            values: data.values.clone(),
            cols: data.cols,
            batch_rows: x.rows(),
            stride: x.stride(),
            stages: Stages::new(cuda, "mini-batches", bytes, advice)?,
            staged: Cell::new([None; 2]),
            order: order.uploaded.clone(),
            state: state.mirror.clone(),
        })
    }

    /// Whether it feeds mini-batches of this order, as this state tells.
    fn is_of(&self, order: &Labels<D>, state: &State<D>) -> bool {
        Rc::ptr_eq(&self.order, &order.uploaded) && Rc::ptr_eq(&self.state, &state.mirror)
    }

    /// Starts to bring the batch of `state`, unless it is there or does not exist.
    fn bring(&self, driver: &D, state: StepState) -> Result<()> {
        let order = self.order.borrow();
        let key = (order.generation, state.batch);
        let slot = (state.batch % 2) as usize;
        let first = state.batch as usize * self.batch_rows;
        let mut staged = self.staged.get();
        let Some(batch) = order.labels.get(first..first + self.batch_rows) else {
            return Ok(());
        };
        if staged[slot] == Some(key) {
            return Ok(());
        }
        let values = self.values.borrow();
        let (values, cols, stride) = (&values[..], self.cols, self.stride);
        let mut fill = |bytes: &mut [u8]| {
            let to: &mut [f32] = bytemuck::cast_slice_mut(bytes);
            to.par_chunks_mut(stride).enumerate().for_each(|(i, to)| {
                let row = batch[i] as usize;
                to[..cols].copy_from_slice(&values[row * cols..][..cols]);
                to[cols..].fill(0.0);
            });
        };
        let bytes = self.batch_rows * stride * size_of::<f32>();
        self.stages.send(driver, slot, bytes, &mut fill)?;
        staged[slot] = Some(key);
        self.staged.set(staged);
        Ok(())
    }

    /// Before a step: its batch will be there when the queue comes to it.
    pub fn before_step(&self, driver: &D) -> Result<()> {
        let state = self.state.get();
        self.bring(driver, state)?;
        self.stages.receive(driver, (state.batch % 2) as usize)
    }

    /// After a step was queued, the state not yet advanced: the next batch starts on its way.
    pub fn after_step(&self, driver: &D) -> Result<()> {
        let state = self.state.get();
        self.stages.release(driver, (state.batch % 2) as usize)?;
        self.bring(
            driver,
            StepState {
                batch: state.batch + 1,
                ..state
            },
        )
    }
}

/// See [`Ops::gather_rows`](crate::ops::Ops::gather_rows).
pub fn gather_rows<D: Driver>(
    cuda: &Cuda<D>,
    data: &Matrix<D>,
    order: &Labels<D>,
    state: &State<D>,
    x: &mut Matrix<D>,
) -> Result<()> {
    let (m, stride) = (x.rows(), x.stride());
    if let Some(host) = data.host() {
        let feed = {
            let mut feed = host.feed.borrow_mut();
            if !feed
                .as_ref()
                .is_some_and(|f| f.batch_rows == m && f.is_of(order, state))
            {
                *feed = Some(Rc::new(Feed::new(cuda, host, order, x, state)?));
            }
            feed.clone().expect("made above")
        };
        let recording = cuda.recorder.borrow().is_some();
        if !recording {
            feed.before_step(&cuda.driver)?;
        }
        let numbers = m * stride;
        cuda.launch(
            "gather",
            "gather_staged",
            [(numbers / 4).div_ceil(THREADS as usize), 1, 1],
            THREADS,
            arguments![
                feed.stages.place(0),
                feed.stages.place(1),
                state.buffer.address(),
                x.address(),
                (numbers / 4) as u64,
            ],
        )?;
        round(cuda, x)?;
        match &mut *cuda.recorder.borrow_mut() {
            Some(recorder) => recorder.feeds.push(feed),
            None => feed.after_step(&cuda.driver)?,
        }
        return Ok(());
    }
    cuda.launch(
        "gather",
        "gather_rows",
        [m.div_ceil(ROWS), 1, 1],
        THREADS,
        arguments![
            data.address(),
            order.buffer.address(),
            state.buffer.address(),
            x.address(),
            Rounded::of(x),
            int(m),
            int(stride),
        ],
    )
}

/// See [`Ops::copy_rows`](crate::ops::Ops::copy_rows).
pub fn copy_rows<D: Driver>(
    cuda: &Cuda<D>,
    data: &Matrix<D>,
    first_row: usize,
    x: &mut Matrix<D>,
) -> Result<()> {
    if let Some(host) = data.host() {
        let mut values = vec![0.0; x.rows() * x.cols()];
        host.read(first_row * x.cols(), &mut values);
        return x.write(&cuda.driver, &values, 0);
    }
    let numbers = x.rows() * x.stride();
    cuda.launch(
        "gather",
        "copy_rows",
        [(numbers / 4).div_ceil(THREADS as usize), 1, 1],
        THREADS,
        arguments![
            data.address()
                .offset(first_row * data.stride() * size_of::<f32>()),
            x.address(),
            (numbers / 4) as u64,
        ],
    )
}

/// See [`Ops::advance`](crate::ops::Ops::advance).
pub fn advance<D: Driver>(cuda: &Cuda<D>, state: &mut State<D>) -> Result<()> {
    cuda.launch(
        "gather",
        "advance",
        [1, 1, 1],
        32,
        arguments![state.buffer.address()],
    )?;
    match &mut *cuda.recorder.borrow_mut() {
        Some(recorder) => recorder.advanced.push(state.mirror.clone()),
        None => advance_mirror(&state.mirror),
    }
    Ok(())
}

/// What the kernel does to the device's state, to what the host knows of it.
pub fn advance_mirror(state: &Cell<StepState>) {
    let mut value = state.get();
    value.batch += 1;
    value.step += 1;
    state.set(value);
}

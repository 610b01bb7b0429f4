//! Device memory: blocks, what lies in them, and plans that take one block for everything at once.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::driver::{Address, Driver};
use super::gather::HostRows;
use crate::error::{Error, Result};
use crate::ops::Shape;

/// Every allocation begins at a multiple of this many bytes, as CUDA's own do.
const ALIGNMENT: usize = 256;

/// From one row of `cols` numbers, of `bytes` bytes each, to the next, in numbers: whole pieces of 16 bytes, what one asynchronous copy
/// moves.
pub fn stride(cols: usize, bytes: usize) -> usize {
    cols.next_multiple_of(16 / bytes)
}

/// Where allocations come from.
pub struct Memory<D: Driver> {
    driver: Rc<D>,
    source: RefCell<Source<D>>,
}

enum Source<D: Driver> {
    /// A block of its own for each.
    Own,
    /// Nowhere: a plan is being added up.
    Counted(usize),
    /// One block, one after the other.
    Shared {
        block: Rc<Block<D>>,
        bytes: usize,
        used: usize,
    },
}

/// Memory that goes back to the driver when its last user is gone.
struct Block<D: Driver> {
    driver: Rc<D>,
    at: Address,
}

impl<D: Driver> Drop for Block<D> {
    fn drop(&mut self) {
        self.driver.free(self.at);
    }
}

/// A piece of device memory.
pub struct Buffer<D: Driver> {
    at: Address,
    /// `None` while a plan is only added up.
    block: Option<Rc<Block<D>>>,
}

impl<D: Driver> Clone for Buffer<D> {
    /// The same memory, once more.
    fn clone(&self) -> Self {
        Buffer {
            at: self.at,
            block: self.block.clone(),
        }
    }
}

impl<D: Driver> Buffer<D> {
    /// Where it begins.
    pub fn address(&self) -> Address {
        self.at
    }

    /// Whether there is memory behind it.
    pub fn is_real(&self) -> bool {
        self.block.is_some()
    }
}

impl<D: Driver> Memory<D> {
    /// Memory of a driver.
    pub fn new(driver: Rc<D>) -> Self {
        Memory {
            driver,
            source: RefCell::new(Source::Own),
        }
    }

    /// `bytes` bytes of zeros.
    pub fn zeros(&self, what: &str, bytes: usize) -> Result<Buffer<D>> {
        let bytes = bytes.max(1).next_multiple_of(ALIGNMENT);
        let buffer = match &mut *self.source.borrow_mut() {
            Source::Counted(sum) => {
                *sum += bytes;
                return Ok(Buffer {
                    at: Address(0),
                    block: None,
                });
            }
            Source::Own => Buffer::whole(self.block(what, bytes)?),
            Source::Shared {
                block,
                bytes: planned,
                used,
            } => {
                let at = block.at.offset(*used);
                *used += bytes;
                assert!(*used <= *planned, "{what} was not in the plan");
                Buffer {
                    at,
                    block: Some(block.clone()),
                }
            }
        };
        self.driver.clear(buffer.at, bytes)?;
        Ok(buffer)
    }

    /// `bytes` bytes of zeros, a block of their own, if there are so many.
    pub fn if_free(&self, bytes: usize) -> Result<Option<Buffer<D>>> {
        let Some(at) = self.driver.allocate(bytes)? else {
            return Ok(None);
        };
        let driver = self.driver.clone();
        let buffer = Buffer::whole(Rc::new(Block { driver, at }));
        self.driver.clear(at, bytes)?;
        Ok(Some(buffer))
    }

    /// Runs `allocate` twice: to add up what it takes, and, when there is room, to give it that.
    pub fn plan<T>(&self, what: &str, allocate: &dyn Fn() -> Result<T>) -> Result<T> {
        self.source.replace(Source::Counted(0));
        let counted = allocate();
        let Source::Counted(bytes) = self.source.replace(Source::Own) else {
            unreachable!("a plan within a plan");
        };
        // Dropped before anything is allocated.
        drop(counted?);
        let block = self.block(what, bytes.max(ALIGNMENT))?;
        self.source.replace(Source::Shared {
            block,
            bytes,
            used: 0,
        });
        let result = allocate();
        self.source.replace(Source::Own);
        result
    }

    fn block(&self, what: &str, bytes: usize) -> Result<Rc<Block<D>>> {
        let free = self.driver.free_memory()?;
        match self.driver.allocate(bytes)? {
            Some(at) => Ok(Rc::new(Block {
                driver: self.driver.clone(),
                at,
            })),
            None => Err(missing(&self.driver.name(), what, bytes as u64, free)),
        }
    }
}

impl<D: Driver> Buffer<D> {
    fn whole(block: Rc<Block<D>>) -> Self {
        Buffer {
            at: block.at,
            block: Some(block),
        }
    }
}

/// The error when `bytes` bytes cannot be had.
fn missing(device: &str, what: &str, bytes: u64, free: u64) -> Error {
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    Error::device(
        device,
        format!(
            "{what} needs {} MiB, of which {} are missing ({} MiB are free)",
            mib(bytes),
            mib(bytes.saturating_sub(free)).max(1),
            free >> 20
        ),
        "choose smaller mini-batches (--batch), stop what else uses the device, or compute on the CPU (--device cpu)",
    )
}

/// A row-major f32 matrix, rows padded to 16 bytes; the padding holds zeros.
pub struct Matrix<D: Driver> {
    place: Place<D>,
    /// Its numbers in bfloat16, where products read it often.
    rounded: Option<Buffer<D>>,
    rows: usize,
    allocated: usize,
    cols: usize,
}

enum Place<D: Driver> {
    Device(Buffer<D>),
    Host(Rc<HostRows<D>>),
}

impl<D: Driver> Shape for Matrix<D> {
    fn rows(&self) -> usize {
        self.rows
    }
    fn cols(&self) -> usize {
        self.cols
    }
    fn set_rows(&mut self, rows: usize) {
        assert!(rows <= self.allocated, "{rows} rows of {}", self.allocated);
        self.rows = rows;
    }
}

impl<D: Driver> Matrix<D> {
    /// A matrix of zeros on the device.
    pub fn zeros(memory: &Memory<D>, what: &str, rows: usize, cols: usize) -> Result<Self> {
        let bytes = rows * stride(cols, 4) * size_of::<f32>();
        let place = Place::Device(memory.zeros(what, bytes)?);
        Ok(Matrix {
            place,
            rounded: None,
            rows,
            allocated: rows,
            cols,
        })
    }

    /// The same with a copy in bfloat16 beside it, rows `stride(cols, 2)` numbers apart.
    pub fn with_copy(memory: &Memory<D>, what: &str, rows: usize, cols: usize) -> Result<Self> {
        let bytes = rows * stride(cols, 2) * size_of::<u16>();
        Ok(Matrix {
            rounded: Some(memory.zeros(what, bytes)?),
            ..Matrix::zeros(memory, what, rows, cols)?
        })
    }

    /// A matrix that stays on the host.
    pub fn on_host(host: HostRows<D>, rows: usize, cols: usize) -> Self {
        Matrix {
            place: Place::Host(Rc::new(host)),
            rounded: None,
            rows,
            allocated: rows,
            cols,
        }
    }

    /// Where it begins on the device.
    ///
    /// # Panics
    /// When it is held by the host: only training rows may be, and they are gathered and copied, nothing else.
    pub fn address(&self) -> Address {
        match &self.place {
            Place::Device(buffer) => buffer.address(),
            Place::Host(_) => panic!("training rows on the host are gathered and copied, nothing else"),
        }
    }

    /// Its copy in bfloat16.
    pub fn rounded(&self) -> Option<&Buffer<D>> {
        self.rounded.as_ref()
    }

    /// The rows on the host, when they are there.
    pub fn host(&self) -> Option<&Rc<HostRows<D>>> {
        match &self.place {
            Place::Device(_) => None,
            Place::Host(rows) => Some(rows),
        }
    }

    /// From one row to the next, in f32.
    pub fn stride(&self) -> usize {
        stride(self.cols, 4)
    }

    /// Copies whole rows from the host, to `first_row` and on.
    pub fn write(&self, driver: &D, from: &[f32], first_row: usize) -> Result<()> {
        let rows = from.len() / self.cols.max(1);
        if from.len() != rows * self.cols || first_row + rows > self.allocated {
            return Err(Error::Shape {
                what: "the rows to be uploaded".into(),
                found: format!("{} numbers to row {first_row}", from.len()),
                expected: format!("whole rows of {} for {} rows", self.cols, self.allocated),
            });
        }
        match &self.place {
            Place::Host(host) => host.write(from, first_row * self.cols),
            Place::Device(buffer) if buffer.is_real() => {
                let pitch = self.stride() * size_of::<f32>();
                let to = buffer.address().offset(first_row * pitch);
                driver.write(
                    bytemuck::cast_slice(from),
                    self.cols * size_of::<f32>(),
                    to,
                    pitch,
                )?;
            }
            Place::Device(_) => {}
        }
        Ok(())
    }

    /// Copies the rows in use to the host.
    pub fn read(&self, driver: &D, to: &mut [f32]) -> Result<()> {
        if to.len() != self.rows * self.cols {
            return Err(Error::Shape {
                what: "the room for a download".into(),
                found: format!("{} numbers", to.len()),
                expected: format!("{} x {}", self.rows, self.cols),
            });
        }
        match &self.place {
            Place::Host(host) => {
                host.read(0, to);
                Ok(())
            }
            Place::Device(buffer) => {
                let width = self.cols * size_of::<f32>();
                let pitch = self.stride() * size_of::<f32>();
                driver.read(buffer.address(), pitch, width, bytemuck::cast_slice_mut(to))
            }
        }
    }
}

/// A vector of labels on the device.
pub struct Labels<D: Driver> {
    /// Where they are.
    pub buffer: Buffer<D>,
    /// How many there is room for.
    pub len: usize,
    /// What was uploaded last: rows that the host holds are fed in this order.
    pub uploaded: Rc<RefCell<Uploaded>>,
}

/// Labels as the host knows them.
#[derive(Default)]
pub struct Uploaded {
    /// The labels.
    pub labels: Vec<u32>,
    /// How often others took their place.
    pub generation: u64,
}

impl<D: Driver> Labels<D> {
    /// Room for `len` labels.
    pub fn zeros(memory: &Memory<D>, what: &str, len: usize) -> Result<Self> {
        Ok(Labels {
            buffer: memory.zeros(what, len * size_of::<u32>())?,
            len,
            uploaded: Rc::default(),
        })
    }

    /// Where `count` labels from `first` on begin.
    pub fn part(&self, first: usize, count: usize) -> Address {
        assert!(
            first + count <= self.len,
            "{count} labels from {first} on of {}",
            self.len
        );
        self.buffer.address().offset(first * size_of::<u32>())
    }

    /// Copies labels from the host.
    pub fn write(&mut self, driver: &D, from: &[u32]) -> Result<()> {
        assert!(from.len() <= self.len, "{} labels for {}", from.len(), self.len);
        let mut uploaded = self.uploaded.borrow_mut();
        uploaded.labels.clear();
        uploaded.labels.extend_from_slice(from);
        uploaded.generation += 1;
        if !self.buffer.is_real() || from.is_empty() {
            return Ok(());
        }
        let bytes: &[u8] = bytemuck::cast_slice(from);
        driver.write(bytes, bytes.len(), self.buffer.address(), bytes.len())
    }
}

/// The step state on the device, and what it is known to be.
pub struct State<D: Driver> {
    /// A `DeviceState`.
    pub buffer: Buffer<D>,
    /// The same on the host: the batch to be fed next.
    pub mirror: Rc<Cell<crate::ops::StepState>>,
}

/// The step state as the kernels read it: `StepState` in `kernels/state.cuh`.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct DeviceState {
    seed: u64,
    step: u64,
    learning_rate: f64,
    epoch: u32,
    batch: u32,
}

impl From<crate::ops::StepState> for DeviceState {
    fn from(from: crate::ops::StepState) -> Self {
        DeviceState {
            seed: from.seed,
            step: from.step,
            learning_rate: from.learning_rate,
            epoch: from.epoch,
            batch: from.batch,
        }
    }
}

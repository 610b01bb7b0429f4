//! Two page-locked buffers of the host and two places on the device, by turns: what is in one travels while what came in the other is
//! computed on.

use std::cell::RefCell;

use super::Cuda;
use super::driver::{Address, Driver};
use super::memory::Buffer;
use crate::error::{Error, Result};

/// Buffers and places, numbered 0 and 1.
pub struct Stages<D: Driver> {
    buffers: RefCell<[D::Staging; 2]>,
    places: [Buffer<D>; 2],
}

impl<D: Driver> Stages<D> {
    /// Of `bytes` bytes each; `what` names them in errors, and `advice` says what to do about these.
    pub fn new(cuda: &Cuda<D>, what: &str, bytes: usize, advice: &'static str) -> Result<Self> {
        let place = || cuda.memory.zeros(&format!("{what} on their way"), bytes);
        let places = [place()?, place()?];
        let buffer = || {
            let mut buffer = page_locked(&*cuda.driver, what, bytes, advice)?;
            // The places are cleared in the queue, and copies go beside it: the first ones must not overtake.
            cuda.driver.release(&mut buffer)?;
            Ok(buffer)
        };
        Ok(Stages {
            buffers: RefCell::new([buffer()?, buffer()?]),
            places,
        })
    }

    /// The place on the device.
    pub fn place(&self, slot: usize) -> Address {
        self.places[slot].address()
    }

    /// Lets `fill` write the first `bytes` bytes of the buffer and starts to bring them to the place, as [`Driver::stage`].
    pub fn send(&self, driver: &D, slot: usize, bytes: usize, fill: &mut dyn FnMut(&mut [u8])) -> Result<()> {
        driver.stage(
            &mut self.buffers.borrow_mut()[slot],
            bytes,
            fill,
            self.place(slot),
        )
    }

    /// What is queued from now on finds at the place what was sent.
    pub fn receive(&self, driver: &D, slot: usize) -> Result<()> {
        driver.receive(&mut self.buffers.borrow_mut()[slot])
    }

    /// What was queued up to now has read it.
    pub fn release(&self, driver: &D, slot: usize) -> Result<()> {
        driver.release(&mut self.buffers.borrow_mut()[slot])
    }
}

/// A page-locked buffer of `bytes` bytes.
pub fn page_locked<D: Driver>(
    driver: &D,
    what: &str,
    bytes: usize,
    advice: &'static str,
) -> Result<D::Staging> {
    driver.staging(bytes)?.ok_or_else(|| Error::Memory {
        what: format!("page-locked buffers for {what}"),
        mib: bytes.div_ceil(1 << 20) as u64,
        advice,
    })
}

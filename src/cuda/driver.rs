//! What the engine asks of a device. One implementation speaks to the CUDA driver (`Card`); the other, of the
//! tests, runs the very same kernels with the very same arguments on the CPU.

use std::ffi::c_void;

use crate::error::Result;

/// A place in a driver's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Address(pub u64);

impl Address {
    /// The place `bytes` further on.
    pub fn offset(self, bytes: usize) -> Address {
        Address(self.0 + bytes as u64)
    }
}

/// A kernel to run.
pub struct Launch<'a> {
    /// The file under `kernels/` that it stands in, without the extension.
    pub file: &'static str,
    /// Its name.
    pub kernel: &'a str,
    /// Blocks in x, y and z.
    pub grid: [u32; 3],
    /// Threads per block, all in x.
    pub threads: u32,
    /// One pointer to each parameter's value, in order, as `cuLaunchKernel` takes them.
    pub arguments: &'a mut [*mut c_void],
}

/// A device: memory, kernels, and one queue in which they run in the order of the calls. Handles that are opened
/// [`beside`](Self::beside) each other share the memory and the kernels; each has a queue of its own.
///
/// Every call may report an error of an earlier one, as CUDA does.
pub trait Driver {
    /// Calls recorded once, to be replayed as a whole.
    type Graph;
    /// A moment in the queue.
    type Event;
    /// A page-locked buffer on the host, through which data reaches the device beside the queue, or comes back in it.
    type Staging;

    /// Name of the device, for logs and errors.
    fn name(&self) -> String;
    /// Another queue of the same device, which sees what was written by all calls made so far: they are waited for. From then on
    /// neither queue waits for the other.
    fn beside(&self) -> Result<Self>
    where
        Self: Sized;
    /// Bytes of shared memory that a block of its kernels can have; `MOST_SHARED` in kernels/gpu.cuh.
    fn most_shared(&self) -> usize;
    /// Bytes that could be allocated now.
    fn free_memory(&self) -> Result<u64>;
    /// Memory of this many bytes, aligned to 256, its contents undefined; `None` when there is not enough.
    fn allocate(&self, bytes: usize) -> Result<Option<Address>>;
    /// Gives memory back, after all calls made so far are done, those of queues beside this one too. Never fails: there is nothing
    /// to do about it.
    fn free(&self, at: Address);
    /// Sets bytes to 0.
    fn clear(&self, at: Address, bytes: usize) -> Result<()>;
    /// Copies `from`, lines of `width` bytes, to lines `pitch` bytes apart. Returns when `from` may be changed.
    fn write(&self, from: &[u8], width: usize, to: Address, pitch: usize) -> Result<()>;
    /// Copies lines of `width` bytes, `pitch` bytes apart, into `to`, and waits for it.
    fn read(&self, from: Address, pitch: usize, width: usize, to: &mut [u8]) -> Result<()>;
    /// Runs a kernel.
    fn launch(&self, launch: Launch) -> Result<()>;
    /// Waits until all calls are done, those of queues beside this one too.
    fn synchronize(&self) -> Result<()>;

    /// Records the launches that `calls` makes, without running them.
    fn capture(&self, calls: &mut dyn FnMut() -> Result<()>) -> Result<Self::Graph>;
    /// While a recording is made: what `calls` launches waits for all launched before, and what is launched later does not wait for it,
    /// until [`join`](Self::join). One such branch at a time.
    fn aside(&self, calls: &mut dyn FnMut() -> Result<()>) -> Result<()>;
    /// What is launched from now on waits for what was launched [`aside`](Self::aside).
    fn join(&self) -> Result<()>;
    /// Runs what was recorded.
    fn replay(&self, graph: &Self::Graph) -> Result<()>;

    /// Marks this moment.
    fn mark(&self) -> Result<Self::Event>;
    /// Microseconds on the device between two moments; waits for the second.
    fn microseconds(&self, from: &Self::Event, to: &Self::Event) -> Result<f64>;

    /// A staging buffer; `None` when the host has no room for it.
    fn staging(&self, bytes: usize) -> Result<Option<Self::Staging>>;
    /// Waits until the buffer's last copy is done, lets `fill` write its first `bytes` bytes, and starts to copy these to `to` beside the
    /// queue, once what was queued before the last [`release`](Self::release) of this buffer is done.
    fn stage(
        &self,
        buffer: &mut Self::Staging,
        bytes: usize,
        fill: &mut dyn FnMut(&mut [u8]),
        to: Address,
    ) -> Result<()>;
    /// What is queued from now on waits for the copy that [`stage`](Self::stage) started.
    fn receive(&self, buffer: &mut Self::Staging) -> Result<()>;
    /// What was queued up to now has read what was staged.
    fn release(&self, buffer: &mut Self::Staging) -> Result<()>;
    /// Queues a copy of `bytes` bytes, lines of `width` that are `pitch` bytes apart, into the buffer, which nothing else is on its way
    /// from or to.
    fn fetch(
        &self,
        from: Address,
        pitch: usize,
        width: usize,
        bytes: usize,
        buffer: &mut Self::Staging,
    ) -> Result<()>;
    /// Waits for what [`fetch`](Self::fetch) brings, and no longer: what was queued later goes on.
    fn fetched<'a>(&self, buffer: &'a mut Self::Staging) -> Result<&'a [u8]>;
}

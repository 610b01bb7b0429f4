//! A real card, through the CUDA driver.
//!
//! All unsafe calls below rest on this: every handle was made by CUDA in the context that is current when it is used, and is
//! destroyed once, by the `Drop` of the one value that owns it; whatever owns a handle keeps the context alive.

use std::cell::Cell;
use std::collections::HashMap;
use std::ffi::{CString, c_void};
use std::rc::Rc;

use cudarc::driver::result::{self, DriverError, event, graph, module, stream};
use cudarc::driver::sys::{self, CUresult as Code};

use super::context::{self, Context, Description};
use super::kernels::{self, Module};
use super::{Address, Driver, Launch};
use crate::error::{Error, Result};

/// A CUDA card: all kernels, a queue, a second one for copies beside it, and a third for branches of recordings.
///
/// Nothing is exclusive: other processes can use the card at the same time. Like its graphs, events and buffers it stays on the
/// thread that made it.
#[derive(Clone)]
pub struct Card(Rc<Device>);

impl Card {
    /// How many cards there are.
    ///
    /// # Errors
    /// When there is no driver, or it is too old.
    pub fn count() -> Result<usize> {
        context::count()
    }

    /// The first card that has kernels in this binary, and a driver that runs them.
    pub fn first_usable() -> Option<usize> {
        context::first_usable()
    }

    /// Opens a card and loads all kernels.
    ///
    /// # Errors
    /// When there is no driver, no such card, no kernels in this binary, or none for such a card.
    pub fn open(ordinal: usize) -> Result<Card> {
        let context = Rc::new(Context::open(ordinal)?);
        let wanted = context.architecture()?;
        let mut loaded = Kernels {
            architecture: wanted,
            functions: HashMap::new(),
            modules: Vec::new(),
        };
        // All of them now: a kernel that the driver loads at its first launch would spoil a capture.
        for module in kernels::MODULES.iter().filter(|module| module.arch == wanted) {
            loaded.load(&context, module)?;
        }
        Card::with(Rc::new(loaded), context)
    }

    /// Queues for kernels that are loaded.
    fn with(kernels: Rc<Kernels>, context: Rc<Context>) -> Result<Card> {
        Ok(Card(Rc::new(Device {
            queue: Stream::new(&context)?,
            copies: Stream::new(&context)?,
            branch: Stream::new(&context)?,
            aside: Cell::new(false),
            kernels,
            context,
        })))
    }

    /// What there is to know of this card.
    pub fn describe(&self) -> Result<Description> {
        self.current()?.context.describe()
    }

    /// What its maker calls it.
    pub fn model(&self) -> &str {
        &self.0.context.model
    }

    /// A number that changes with the code of any kernel that it runs.
    pub fn fingerprint(&self) -> u64 {
        kernels::fingerprint(self.0.kernels.architecture)
    }

    /// The device, its context current on this thread: the call before may have been about another card.
    fn current(&self) -> Result<&Device> {
        self.0.context.make_current()?;
        Ok(&self.0)
    }
}

// ---- handles and their owners ---------------------------------------------------------------------------------------------

/// A queue that does not wait for the default one.
struct Stream {
    handle: sys::CUstream,
    context: Rc<Context>,
}

impl Stream {
    fn new(context: &Rc<Context>) -> Result<Stream> {
        let handle = context.check("make a queue", stream::create(stream::StreamKind::NonBlocking))?;
        Ok(Stream {
            handle,
            context: context.clone(),
        })
    }

    fn synchronize(&self) -> Result<()> {
        self.context
            .check("wait for the card", unsafe { stream::synchronize(self.handle) })
    }

    /// What is queued from now on waits for `event`; for one that never happened, not at all.
    fn wait_for(&self, event: &Event) -> Result<()> {
        let flags = sys::CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT;
        self.context.check("queue a wait", unsafe {
            stream::wait_event(self.handle, event.handle, flags)
        })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let _ = self.context.make_current();
        let _ = unsafe { stream::destroy(self.handle) };
    }
}

/// A moment in a queue.
pub struct Event {
    handle: sys::CUevent,
    context: Rc<Context>,
}

impl Event {
    fn new(context: &Rc<Context>, flags: sys::CUevent_flags) -> Result<Event> {
        let handle = context.check("make an event", event::create(flags))?;
        Ok(Event {
            handle,
            context: context.clone(),
        })
    }

    fn record(&self, stream: &Stream) -> Result<()> {
        self.context.check("mark a moment", unsafe {
            event::record(self.handle, stream.handle)
        })
    }

    fn synchronize(&self) -> Result<()> {
        self.context
            .check("wait for the card", unsafe { event::synchronize(self.handle) })
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        let _ = self.context.make_current();
        let _ = unsafe { event::destroy(self.handle) };
    }
}

/// Recorded launches. Keeps the device, whose kernels it runs.
pub struct Graph {
    handle: sys::CUgraphExec,
    device: Rc<Device>,
}

impl Drop for Graph {
    fn drop(&mut self) {
        let _ = self.device.context.make_current();
        let _ = unsafe { graph::exec_destroy(self.handle) };
    }
}

/// Launches being recorded; ends the recording, whatever becomes of it, so that the queue can be used again.
struct Recording<'a>(&'a Device);

impl<'a> Recording<'a> {
    fn begin(device: &'a Device) -> Result<Self> {
        // Thread-local: what other threads do with the driver does not disturb it.
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        device.check("begin a recording", unsafe {
            stream::begin_capture(device.queue.handle, mode)
        })?;
        Ok(Recording(device))
    }

    /// Ends it and makes it ready to run.
    fn finish(self) -> Result<sys::CUgraphExec> {
        let device = self.0;
        // Ended here, so not by Drop.
        std::mem::forget(self);
        let recorded = device.check("end a recording", unsafe {
            stream::end_capture(device.queue.handle)
        })?;
        let exec = unsafe { graph::instantiate(recorded, sys::CUgraphInstantiate_flags_enum(0)) };
        let _ = unsafe { graph::destroy(recorded) };
        device.check("prepare the recorded launches", exec)
    }
}

impl Drop for Recording<'_> {
    fn drop(&mut self) {
        // An error already says why there is no graph.
        if let Ok(recorded) = unsafe { stream::end_capture(self.0.queue.handle) }
            && !recorded.is_null()
        {
            let _ = unsafe { graph::destroy(recorded) };
        }
    }
}

/// Sends launches to the queue again.
struct Back<'a>(&'a Device);

impl Drop for Back<'_> {
    fn drop(&mut self) {
        self.0.aside.set(false);
    }
}

/// A page-locked buffer, and how far its copying and its use have come.
pub struct Staging {
    at: *mut u8,
    bytes: usize,
    /// Bytes that were last fetched.
    fetched: usize,
    /// The last copy from it or to it is done.
    copied: Event,
    /// What was copied was read.
    released: Event,
}

impl Staging {
    /// The first `bytes` bytes. No copy may be on its way from or to them, but one that is about to be queued.
    fn part(&mut self, bytes: usize) -> &mut [u8] {
        assert!(bytes <= self.bytes, "{bytes} bytes in a buffer of {}", self.bytes);
        // SAFETY: the buffer is that long at least, initialised, and borrowed by nobody else.
        unsafe { std::slice::from_raw_parts_mut(self.at, bytes) }
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        let _ = self.copied.context.make_current();
        // The card may still be reading or writing.
        let _ = self.copied.synchronize();
        let _ = unsafe { result::free_host(self.at.cast()) };
    }
}

/// A module in the card's memory.
struct Loaded {
    handle: sys::CUmodule,
    context: Rc<Context>,
}

impl Drop for Loaded {
    fn drop(&mut self) {
        let _ = self.context.make_current();
        let _ = unsafe { module::unload(self.handle) };
    }
}

/// A kernel that can be launched.
#[derive(Clone, Copy)]
struct Function {
    handle: sys::CUfunction,
    /// Bytes of its `LARGE_SHARED`.
    large_shared: u32,
}

impl Function {
    /// A kernel of a loaded module. What it needs beside is in a variable of the module, `LARGE_SHARED_OF` in kernels/gpu.cuh.
    fn find(context: &Context, what: &str, module: sys::CUmodule, kernel: &str) -> Result<Self> {
        let name = |text: String| CString::new(text).expect("a C identifier");
        let handle = context.check(what, unsafe {
            module::get_function(module, name(kernel.to_string()))
        })?;
        let variable = name(format!("{kernel}_large_shared"));
        let mut large_shared = 0u32;
        let (mut at, mut bytes) = (0, 0);
        // SAFETY: the module is loaded; both places are written when the call succeeds.
        match unsafe { sys::cuModuleGetGlobal_v2(&mut at, &mut bytes, module, variable.as_ptr()) }.result() {
            Err(DriverError(Code::CUDA_ERROR_NOT_FOUND)) => {}
            found => {
                context.check(what, found)?;
                let to = bytemuck::bytes_of_mut(&mut large_shared);
                if bytes != to.len() {
                    return Err(Error::device(
                        context.name.clone(),
                        format!("{kernel}_large_shared is no number"),
                        "this is a mistake of this program: please report it",
                    ));
                }
                context.check(what, unsafe { result::memcpy_dtoh_sync(to, at) })?;
                use sys::CUfunction_attribute::*;
                // The multiprocessor's memory is to be shared memory before it is cache, so that as many blocks fit as can.
                for (attribute, value) in [
                    (
                        CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                        large_shared as i32,
                    ),
                    (CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT, 100),
                ] {
                    context.check(what, unsafe {
                        result::function::set_function_attribute(handle, attribute, value)
                    })?;
                }
            }
        }
        context.check(what, unsafe { sys::cuFuncLoad(handle) }.result())?;
        Ok(Function { handle, large_shared })
    }
}

/// All kernels, which several queues run.
struct Kernels {
    /// What they were compiled for.
    architecture: &'static str,
    /// By file and name.
    functions: HashMap<(&'static str, &'static str), Function>,
    modules: Vec<Loaded>,
}

impl Kernels {
    /// Loads a module and all its kernels.
    fn load(&mut self, context: &Rc<Context>, source: &'static Module) -> Result<()> {
        let what = format!("load {} for {}", source.file, source.arch);
        // The driver reads machine code as it lies; embedded bytes have no alignment.
        let mut image = vec![0u64; source.image.len().div_ceil(8)];
        bytemuck::cast_slice_mut(&mut image)[..source.image.len()].copy_from_slice(source.image);
        // SAFETY: the image is whole, and PTX ends in a 0 byte; the driver keeps no reference to it.
        let handle = context.check(&what, unsafe { module::load_data(image.as_ptr().cast()) })?;
        self.modules.push(Loaded {
            handle,
            context: context.clone(),
        });
        for kernel in source.kernels {
            let function = Function::find(context, &what, handle, kernel.name)?;
            self.functions.insert((source.file, kernel.name), function);
        }
        Ok(())
    }
}

/// What a card is made of. Fields are dropped in this order.
struct Device {
    queue: Stream,
    /// For copies beside the queue.
    copies: Stream,
    /// For what is recorded aside.
    branch: Stream,
    /// Launches go to the branch.
    aside: Cell<bool>,
    kernels: Rc<Kernels>,
    context: Rc<Context>,
}

impl Device {
    fn check<T>(&self, what: &str, result: std::result::Result<T, DriverError>) -> Result<T> {
        self.context.check(what, result)
    }

    fn synchronize(&self) -> Result<()> {
        self.queue.synchronize()?;
        self.branch.synchronize()?;
        self.copies.synchronize()
    }

    /// Where launches go.
    fn line(&self) -> &Stream {
        match self.aside.get() {
            true => &self.branch,
            false => &self.queue,
        }
    }

    /// `after` waits for what `before` was given so far.
    fn wait(&self, after: &Stream, before: &Stream) -> Result<()> {
        let event = Event::new(&self.context, sys::CUevent_flags::CU_EVENT_DISABLE_TIMING)?;
        event.record(before)?;
        after.wait_for(&event)
    }

    /// Queues a copy of lines of `width` bytes, `pitch` bytes apart.
    ///
    /// # Safety
    /// Nobody touches `to`, and it is not given back, until the queue has come to the end of the copy.
    unsafe fn copy_to_host(&self, from: Address, pitch: usize, width: usize, to: &mut [u8]) -> Result<()> {
        let queue = self.queue.handle;
        if to.is_empty() {
            return Ok(());
        }
        let result = match lines(to.len(), width, pitch) {
            None => unsafe { result::memcpy_dtoh_async(to, from.0, queue) },
            Some(copy) => {
                let copy = sys::CUDA_MEMCPY2D {
                    srcMemoryType: sys::CUmemorytype::CU_MEMORYTYPE_DEVICE,
                    srcDevice: from.0,
                    srcPitch: pitch,
                    dstMemoryType: sys::CUmemorytype::CU_MEMORYTYPE_HOST,
                    dstHost: to.as_mut_ptr().cast(),
                    dstPitch: width,
                    ..copy
                };
                unsafe { sys::cuMemcpy2DAsync_v2(&copy, queue) }.result()
            }
        };
        self.check("copy from the card", result)
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        let _ = self.context.make_current();
        let _ = self.synchronize();
    }
}

// ---- the contract ---------------------------------------------------------------------------------------------------------

impl Driver for Card {
    type Graph = Graph;
    type Event = Event;
    type Staging = Staging;

    fn name(&self) -> String {
        self.0.context.name.clone()
    }

    fn beside(&self) -> Result<Card> {
        let device = self.current()?;
        device.synchronize()?;
        Card::with(device.kernels.clone(), device.context.clone())
    }

    fn most_shared(&self) -> usize {
        match self.0.kernels.architecture {
            "sm_90a" => 227 << 10,
            // Of the cards that these are for, some have no more.
            _ => 99 << 10,
        }
    }

    fn free_memory(&self) -> Result<u64> {
        Ok(self.current()?.context.memory()?.0 as u64)
    }

    fn allocate(&self, bytes: usize) -> Result<Option<Address>> {
        let device = self.current()?;
        // CUDA aligns to 256 or more, and refuses to allocate nothing.
        match unsafe { result::malloc_sync(bytes.max(1)) } {
            Err(DriverError(Code::CUDA_ERROR_OUT_OF_MEMORY)) => Ok(None),
            result => device
                .check("allocate memory", result)
                .map(|at| Some(Address(at))),
        }
    }

    fn free(&self, at: Address) {
        if self.current().is_ok() {
            // All queues of the card. An error of earlier work is reported by whoever waits for its results.
            let _ = result::ctx::synchronize();
            let _ = unsafe { result::free_sync(at.0) };
        }
    }

    fn clear(&self, at: Address, bytes: usize) -> Result<()> {
        let device = self.current()?;
        if bytes == 0 {
            return Ok(());
        }
        device.check("clear memory", unsafe {
            result::memset_d8_async(at.0, 0, bytes, device.line().handle)
        })
    }

    fn write(&self, from: &[u8], width: usize, to: Address, pitch: usize) -> Result<()> {
        let device = self.current()?;
        let queue = device.queue.handle;
        if from.is_empty() {
            return Ok(());
        }
        // SAFETY: `from` is read before this function returns.
        let result = match lines(from.len(), width, pitch) {
            None => unsafe { result::memcpy_htod_async(to.0, from, queue) },
            Some(copy) => {
                let copy = sys::CUDA_MEMCPY2D {
                    srcMemoryType: sys::CUmemorytype::CU_MEMORYTYPE_HOST,
                    srcHost: from.as_ptr().cast(),
                    srcPitch: width,
                    dstMemoryType: sys::CUmemorytype::CU_MEMORYTYPE_DEVICE,
                    dstDevice: to.0,
                    dstPitch: pitch,
                    ..copy
                };
                unsafe { sys::cuMemcpy2DAsync_v2(&copy, queue) }.result()
            }
        };
        device.check("copy to the card", result)?;
        // CUDA leaves open whether the driver has read all of pageable memory when the call returns.
        device.queue.synchronize()
    }

    fn read(&self, from: Address, pitch: usize, width: usize, to: &mut [u8]) -> Result<()> {
        let device = self.current()?;
        // SAFETY: this function waits for the copy, also when an error of an earlier call is what it is told.
        let copied = unsafe { device.copy_to_host(from, pitch, width, to) };
        device.queue.synchronize()?;
        copied
    }

    fn launch(&self, launch: Launch) -> Result<()> {
        let device = self.current()?;
        let Launch {
            file,
            kernel,
            grid: [x, y, z],
            threads,
            arguments,
        } = launch;
        let function = device
            .kernels
            .functions
            .get(&(file, kernel))
            .copied()
            .ok_or_else(|| {
                Error::device(
                    self.name(),
                    format!("kernels/{file}.cu has no kernel {kernel}"),
                    "this is a mistake of this program: please report it",
                )
            })?;
        // SAFETY: the caller's arguments are those of the kernel; the driver copies them before it returns.
        let result = unsafe {
            result::launch_kernel(
                function.handle,
                (x, y, z),
                (threads, 1, 1),
                function.large_shared,
                device.line().handle,
                arguments,
            )
        };
        device.check(
            &format!("launch {kernel} on {x} x {y} x {z} blocks of {threads}"),
            result,
        )
    }

    fn synchronize(&self) -> Result<()> {
        self.current()?
            .check("wait for the card", result::ctx::synchronize())
    }

    fn capture(&self, calls: &mut dyn FnMut() -> Result<()>) -> Result<Graph> {
        let recording = Recording::begin(self.current()?)?;
        calls()?;
        let handle = recording.finish()?;
        Ok(Graph {
            handle,
            device: self.0.clone(),
        })
    }

    fn aside(&self, calls: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        let device = self.current()?;
        device.wait(&device.branch, &device.queue)?;
        device.aside.set(true);
        // However the calls end.
        let _back = Back(device);
        calls()
    }

    fn join(&self) -> Result<()> {
        let device = self.current()?;
        device.wait(&device.queue, &device.branch)
    }

    fn replay(&self, graph: &Graph) -> Result<()> {
        let device = self.current()?;
        device.check("run the recorded launches", unsafe {
            graph::launch(graph.handle, device.queue.handle)
        })
    }

    fn mark(&self) -> Result<Event> {
        let device = self.current()?;
        let event = Event::new(&device.context, sys::CUevent_flags::CU_EVENT_DEFAULT)?;
        event.record(&device.queue)?;
        Ok(event)
    }

    fn microseconds(&self, from: &Event, to: &Event) -> Result<f64> {
        let device = self.current()?;
        to.synchronize()?;
        let milliseconds =
            device.check("read the time", unsafe { event::elapsed(from.handle, to.handle) })?;
        Ok(f64::from(milliseconds) * 1000.0)
    }

    fn staging(&self, bytes: usize) -> Result<Option<Staging>> {
        let device = self.current()?;
        let flags = sys::CUevent_flags::CU_EVENT_DISABLE_TIMING;
        let (copied, released) = (
            Event::new(&device.context, flags)?,
            Event::new(&device.context, flags)?,
        );
        let at: *mut c_void = match unsafe { result::malloc_host(bytes.max(1), 0) } {
            Err(DriverError(Code::CUDA_ERROR_OUT_OF_MEMORY)) => return Ok(None),
            result => device.check("page-lock host memory", result)?,
        };
        // SAFETY: CUDA gave this many bytes; what they hold is undefined until written.
        unsafe { at.cast::<u8>().write_bytes(0, bytes) };
        Ok(Some(Staging {
            at: at.cast(),
            bytes,
            fetched: 0,
            copied,
            released,
        }))
    }

    fn stage(
        &self,
        buffer: &mut Staging,
        bytes: usize,
        fill: &mut dyn FnMut(&mut [u8]),
        to: Address,
    ) -> Result<()> {
        let device = self.current()?;
        buffer.copied.synchronize()?;
        fill(buffer.part(bytes));
        if bytes == 0 {
            return Ok(());
        }
        device.copies.wait_for(&buffer.released)?;
        let copies = device.copies.handle;
        // SAFETY: the buffer outlives the copy: `Drop` and the next `stage` wait for `copied`.
        let result = unsafe { result::memcpy_htod_async(to.0, buffer.part(bytes), copies) };
        device.check("copy to the card", result)?;
        buffer.copied.record(&device.copies)
    }

    fn receive(&self, buffer: &mut Staging) -> Result<()> {
        self.current()?.queue.wait_for(&buffer.copied)
    }

    fn release(&self, buffer: &mut Staging) -> Result<()> {
        buffer.released.record(&self.current()?.queue)
    }

    fn fetch(
        &self,
        from: Address,
        pitch: usize,
        width: usize,
        bytes: usize,
        buffer: &mut Staging,
    ) -> Result<()> {
        let device = self.current()?;
        buffer.fetched = bytes;
        // SAFETY: the buffer outlives the copy, and nobody sees it before: `Drop`, `stage` and `fetched` wait for `copied`.
        unsafe { device.copy_to_host(from, pitch, width, buffer.part(bytes)) }?;
        buffer.copied.record(&device.queue)
    }

    fn fetched<'a>(&self, buffer: &'a mut Staging) -> Result<&'a [u8]> {
        self.current()?;
        buffer.copied.synchronize()?;
        let bytes = buffer.fetched;
        Ok(buffer.part(bytes))
    }
}

/// A copy of `bytes` in lines of `width`, its places still to be named; `None` when they lie in one piece on both sides, which may
/// be longer than CUDA allows a line to be.
fn lines(bytes: usize, width: usize, pitch: usize) -> Option<sys::CUDA_MEMCPY2D> {
    let whole = width > 0 && bytes.is_multiple_of(width);
    assert!(whole, "{bytes} bytes are no whole lines of {width}");
    (width != pitch && width != bytes).then(|| sys::CUDA_MEMCPY2D {
        srcXInBytes: 0,
        srcY: 0,
        srcMemoryType: sys::CUmemorytype::CU_MEMORYTYPE_HOST,
        srcHost: std::ptr::null(),
        srcDevice: 0,
        srcArray: std::ptr::null_mut(),
        srcPitch: 0,
        dstXInBytes: 0,
        dstY: 0,
        dstMemoryType: sys::CUmemorytype::CU_MEMORYTYPE_HOST,
        dstHost: std::ptr::null_mut(),
        dstDevice: 0,
        dstArray: std::ptr::null_mut(),
        dstPitch: 0,
        WidthInBytes: width,
        Height: bytes / width,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_that_is_not_there_is_an_error_of_one_line() {
        let message = |result: Result<Card>| result.err().expect("no machine has so many").to_string();
        let told = message(Card::open(999));
        assert!(
            told.starts_with("cuda:999: ") && told.ends_with("--device cpu") && !told.contains('\n'),
            "{told}"
        );
        match Card::count() {
            Ok(count) => assert!(told.contains(&format!("the driver shows {count}")), "{told}"),
            Err(reason) => assert_eq!(told, reason.to_string().replacen("cuda", "cuda:999", 1)),
        }
    }
}

//! A real card, through the CUDA driver. The driver's library is opened when a card is asked for, so that one program serves
//! machines with and without one.
//!
//! All unsafe calls below rest on this: every handle was made by CUDA in the context that is current when it is used, and is
//! destroyed once, by the `Drop` of the one value that owns it; whatever owns a handle keeps the context alive.

use std::collections::HashMap;
use std::ffi::{CString, c_void};
use std::rc::Rc;

use cudarc::driver::result::{self, DriverError, ctx, device, event, graph, module, primary_ctx, stream};
use cudarc::driver::sys::{self, CUdevice_attribute as Attribute, CUresult as Code};

use super::kernels::{self, Module};
use super::{Address, Driver, Launch};
use crate::error::{Error, Result};

/// The first driver that has every function called here, as CUDA numbers versions: 12.8.
const OLDEST_DRIVER: i32 = 12080;

/// A CUDA card: all kernels, a queue, and a second queue for copies beside it.
///
/// Nothing is exclusive: other processes can use the card at the same time.
#[derive(Clone)]
pub struct Card(Rc<Device>);

/// What there is to know of a card.
#[derive(Clone, Debug)]
pub struct Description {
    /// Its number, as in `cuda:0`.
    pub ordinal: usize,
    /// What its maker calls it.
    pub model: String,
    /// Compute capability, major and minor.
    pub capability: (i32, i32),
    /// Multiprocessors.
    pub multiprocessors: i32,
    /// Bytes of second-level cache.
    pub l2_bytes: i32,
    /// Bytes of memory that could be allocated now.
    pub memory_free: u64,
    /// Bytes of memory in all.
    pub memory_total: u64,
    /// CUDA version of the driver, major and minor.
    pub driver: (i32, i32),
}

impl Card {
    /// How many cards there are.
    ///
    /// # Errors
    /// When there is no driver, or it is too old.
    pub fn count() -> Result<usize> {
        start("cuda").map(|(count, _)| count)
    }

    /// Opens a card and loads all kernels.
    ///
    /// # Errors
    /// When there is no driver, no such card, no kernels in this binary, or none for such a card.
    pub fn open(ordinal: usize) -> Result<Card> {
        let context = Rc::new(Context::open(ordinal)?);
        let wanted = context.architecture()?;
        let (queue, copies) = (Stream::new(&context)?, Stream::new(&context)?);
        let mut device = Device {
            queue,
            copies,
            functions: HashMap::new(),
            modules: Vec::new(),
            context,
        };
        // All of them now: a kernel that the driver loads at its first launch would spoil a capture.
        for module in kernels::MODULES.iter().filter(|module| module.arch == wanted) {
            device.load(module)?;
        }
        Ok(Card(Rc::new(device)))
    }

    /// What there is to know of this card.
    pub fn describe(&self) -> Result<Description> {
        self.current()?.context.describe()
    }

    /// The device, its context current on this thread.
    fn current(&self) -> Result<&Device> {
        self.0.context.make_current()?;
        Ok(&self.0)
    }
}

/// All cards that the driver shows, whether or not this binary has kernels for them.
///
/// # Errors
/// When there is no driver, or it is too old.
pub fn describe_all() -> Result<Vec<Description>> {
    (0..Card::count()?)
        .map(|ordinal| Context::open(ordinal)?.describe())
        .collect()
}

/// Starts the driver and returns the number of cards and the driver's version. `asked` is what the user asked for.
fn start(asked: &str) -> Result<(usize, i32)> {
    // Without the library, the first call would panic.
    // SAFETY: opens and closes the driver's library, which runs its initialisers.
    if !unsafe { sys::is_culib_present() } {
        return Err(Error::device(
            asked,
            "NVIDIA's driver library, libcuda.so.1, was not found",
            "install NVIDIA's driver, or use --device cpu",
        ));
    }
    let failed = |what, code| failure(asked, what, code);
    let mut version = 0;
    // SAFETY: writes one integer; may be called before cuInit.
    unsafe { sys::cuDriverGetVersion(&mut version) }
        .result()
        .map_err(|code| failed("ask for the driver's version", code))?;
    // A function that an older driver lacks would panic too.
    if version < OLDEST_DRIVER {
        return Err(too_old(asked, version, OLDEST_DRIVER));
    }
    match result::init() {
        Err(DriverError(Code::CUDA_ERROR_NO_DEVICE)) => Ok((0, version)),
        Err(code) => Err(failed("start the driver", code)),
        Ok(()) => {
            let count = device::get_count().map_err(|code| failed("count the cards", code))?;
            Ok((count as usize, version))
        }
    }
}

/// The modules for a card of this compute capability.
fn architecture(capability: (i32, i32)) -> Option<&'static str> {
    match capability {
        // Code for sm_90a runs on 9.0 only; code for sm_80 on every 8.x.
        (9, 0) => Some("sm_90a"),
        (8, _) => Some("sm_80"),
        (9.., _) => Some("ptx_80"),
        _ => None,
    }
}

// ---- errors ---------------------------------------------------------------------------------------------------------------

/// The error of a call that failed: what was tried, CUDA's own words, and what can be done.
fn failure(device: &str, what: &str, error: DriverError) -> Error {
    let text = |found: std::result::Result<&std::ffi::CStr, DriverError>| match found {
        Ok(text) => text.to_string_lossy().into_owned(),
        Err(_) => "unknown to the driver".into(),
    };
    let (name, meaning) = (text(error.error_name()), text(error.error_string()));
    Error::device(
        device,
        format!("cannot {what}: {name} ({meaning})"),
        advice(error.0),
    )
}

/// What the user can do.
fn advice(code: Code) -> &'static str {
    use Code::*;
    match code {
        CUDA_ERROR_OUT_OF_MEMORY => {
            "nvidia-smi shows what else uses the card's memory; end it, lower --batch, or use --device cpu"
        }
        CUDA_ERROR_ILLEGAL_ADDRESS
        | CUDA_ERROR_ILLEGAL_INSTRUCTION
        | CUDA_ERROR_MISALIGNED_ADDRESS
        | CUDA_ERROR_INVALID_ADDRESS_SPACE
        | CUDA_ERROR_INVALID_PC
        | CUDA_ERROR_HARDWARE_STACK_ERROR
        | CUDA_ERROR_LAUNCH_FAILED => {
            "a kernel failed, and the card is lost to this process: start again; if it fails again it is a mistake of \
             this program: please report it, and use --device cpu"
        }
        CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES => {
            "this card cannot hold the kernel: please report it, and use --device cpu"
        }
        CUDA_ERROR_LAUNCH_TIMEOUT => {
            "a card that drives a screen ends long kernels: lower --batch, or use another card or --device cpu"
        }
        CUDA_ERROR_INVALID_IMAGE
        | CUDA_ERROR_INVALID_PTX
        | CUDA_ERROR_NO_BINARY_FOR_GPU
        | CUDA_ERROR_UNSUPPORTED_PTX_VERSION => {
            "the driver is too old for this binary: update NVIDIA's driver, or use --device cpu"
        }
        CUDA_ERROR_JIT_COMPILER_NOT_FOUND => {
            "libnvidia-ptxjitcompiler is missing: install NVIDIA's driver whole, or use --device cpu"
        }
        CUDA_ERROR_DEVICE_UNAVAILABLE => {
            "another process has the card for itself: wait for it, set its compute mode to default, or use --device cpu"
        }
        CUDA_ERROR_SYSTEM_DRIVER_MISMATCH => {
            "the driver was updated under a running system: restart the machine, or use --device cpu"
        }
        CUDA_ERROR_ECC_UNCORRECTABLE => {
            "the card's memory failed: see nvidia-smi -q; use another card or --device cpu"
        }
        _ => "see whether nvidia-smi works, and start again, or use --device cpu",
    }
}

fn too_old(device: &str, version: i32, needed: i32) -> Error {
    let text = |(major, minor)| format!("{major}.{minor}");
    let (has, needs) = (text(version_of(version)), text(version_of(needed)));
    Error::device(
        device,
        format!("NVIDIA's driver is of CUDA {has}, and this binary needs {needs} or newer"),
        "update the driver, or use --device cpu",
    )
}

/// Major and minor of a version as the driver numbers it.
fn version_of(number: i32) -> (i32, i32) {
    (number / 1000, number % 1000 / 10)
}

// ---- handles and their owners ---------------------------------------------------------------------------------------------

/// The primary context of a device, shared with whatever else this process computes on it.
struct Context {
    ordinal: usize,
    /// For errors.
    name: String,
    model: String,
    driver: i32,
    device: sys::CUdevice,
    handle: sys::CUcontext,
}

impl Context {
    fn open(ordinal: usize) -> Result<Context> {
        let name = format!("cuda:{ordinal}");
        let (count, driver) = start(&name)?;
        if ordinal >= count {
            return Err(Error::device(
                name,
                format!("there is no such device; the driver shows {count}"),
                "see nvidia-smi -L and CUDA_VISIBLE_DEVICES, or use --device cpu",
            ));
        }
        let device = device::get(ordinal as i32).map_err(|code| failure(&name, "find the card", code))?;
        let model =
            device::get_name(device).map_err(|code| failure(&name, "ask for the card's name", code))?;
        let name = format!("{name} ({model})");
        // SAFETY: `device` comes from the driver.
        let handle =
            unsafe { primary_ctx::retain(device) }.map_err(|code| failure(&name, "open the card", code))?;
        let context = Context {
            ordinal,
            name,
            model,
            driver,
            device,
            handle,
        };
        context.make_current()?;
        Ok(context)
    }

    /// Later calls of this thread are about this device.
    fn make_current(&self) -> Result<()> {
        self.check("use the card", unsafe { ctx::set_current(self.handle) })
    }

    /// The result of a call, its error in words.
    fn check<T>(&self, what: &str, result: std::result::Result<T, DriverError>) -> Result<T> {
        result.map_err(|code| failure(&self.name, what, code))
    }

    fn attribute(&self, attribute: Attribute) -> Result<i32> {
        self.check("ask what the card can do", unsafe {
            device::get_attribute(self.device, attribute)
        })
    }

    fn capability(&self) -> Result<(i32, i32)> {
        Ok((
            self.attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            self.attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        ))
    }

    /// Which of the embedded modules are for this card.
    fn architecture(&self) -> Result<&'static str> {
        let Some((major, _)) = kernels::NVRTC else {
            return Err(Error::device(
                &self.name,
                "this binary was built without kernels",
                "run .ci/install-nvrtc and build again, or use --device cpu",
            ));
        };
        // Within a major version an older driver runs newer machine code.
        if self.driver < 1000 * major {
            return Err(too_old(&self.name, self.driver, 1000 * major));
        }
        let (major, minor) = self.capability()?;
        architecture((major, minor)).ok_or_else(|| {
            Error::device(
                &self.name,
                format!("its compute capability is {major}.{minor}, and 8.0 is needed"),
                "use a card of the Ampere generation or newer, or --device cpu",
            )
        })
    }

    fn memory(&self) -> Result<(usize, usize)> {
        self.check("ask for free memory", result::mem_get_info())
    }

    fn describe(&self) -> Result<Description> {
        let (free, total) = self.memory()?;
        Ok(Description {
            ordinal: self.ordinal,
            model: self.model.clone(),
            capability: self.capability()?,
            multiprocessors: self.attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
            l2_bytes: self.attribute(Attribute::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE)?,
            memory_free: free as u64,
            memory_total: total as u64,
            driver: version_of(self.driver),
        })
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        let _ = unsafe { primary_ctx::release(self.device) };
    }
}

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

/// A page-locked buffer, and how far its copying and its use have come.
pub struct Staging {
    at: *mut u8,
    bytes: usize,
    /// The last copy from it is done.
    copied: Event,
    /// What was copied was read.
    released: Event,
}

impl Drop for Staging {
    fn drop(&mut self) {
        let _ = self.copied.context.make_current();
        // The card may still be reading.
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

/// What a card is made of. Fields are dropped in this order.
struct Device {
    queue: Stream,
    /// For copies beside the queue.
    copies: Stream,
    /// By file and name.
    functions: HashMap<(&'static str, &'static str), sys::CUfunction>,
    modules: Vec<Loaded>,
    context: Rc<Context>,
}

impl Device {
    fn check<T>(&self, what: &str, result: std::result::Result<T, DriverError>) -> Result<T> {
        self.context.check(what, result)
    }

    /// Loads a module and all its kernels.
    fn load(&mut self, source: &'static Module) -> Result<()> {
        let what = format!("load {} for {}", source.file, source.arch);
        // The driver reads machine code as it lies; embedded bytes have no alignment.
        let mut image = vec![0u64; source.image.len().div_ceil(8)];
        bytemuck::cast_slice_mut(&mut image)[..source.image.len()].copy_from_slice(source.image);
        // SAFETY: the image is whole, and PTX ends in a 0 byte; the driver keeps no reference to it.
        let handle = self.check(&what, unsafe { module::load_data(image.as_ptr().cast()) })?;
        self.modules.push(Loaded {
            handle,
            context: self.context.clone(),
        });
        for kernel in source.kernels {
            let name = CString::new(kernel.name).expect("a C identifier");
            let function = self.check(&what, unsafe { module::get_function(handle, name) })?;
            self.check(&what, unsafe { sys::cuFuncLoad(function) }.result())?;
            self.functions.insert((source.file, kernel.name), function);
        }
        Ok(())
    }

    fn synchronize(&self) -> Result<()> {
        self.queue.synchronize()?;
        self.copies.synchronize()
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
        if let Ok(device) = self.current() {
            // An error of earlier work is reported by whoever waits for its results.
            let _ = device.synchronize();
            let _ = unsafe { result::free_sync(at.0) };
        }
    }

    fn clear(&self, at: Address, bytes: usize) -> Result<()> {
        let device = self.current()?;
        if bytes == 0 {
            return Ok(());
        }
        device.check("clear memory", unsafe {
            result::memset_d8_async(at.0, 0, bytes, device.queue.handle)
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
        let queue = device.queue.handle;
        if to.is_empty() {
            return Ok(());
        }
        // SAFETY: `to` is written before this function returns.
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
        device.check("copy from the card", result)?;
        device.queue.synchronize()
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
        let function = device.functions.get(&(file, kernel)).copied().ok_or_else(|| {
            Error::device(
                self.name(),
                format!("kernels/{file}.cu has no kernel {kernel}"),
                "this is a mistake of this program: please report it",
            )
        })?;
        // SAFETY: the caller's arguments are those of the kernel; the driver copies them before it returns.
        let result = unsafe {
            result::launch_kernel(
                function,
                (x, y, z),
                (threads, 1, 1),
                0,
                device.queue.handle,
                arguments,
            )
        };
        device.check(
            &format!("launch {kernel} on {x} x {y} x {z} blocks of {threads}"),
            result,
        )
    }

    fn synchronize(&self) -> Result<()> {
        self.current()?.synchronize()
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
            copied,
            released,
        }))
    }

    fn stage(&self, buffer: &mut Staging, fill: &mut dyn FnMut(&mut [u8]), to: Address) -> Result<()> {
        let device = self.current()?;
        buffer.copied.synchronize()?;
        // SAFETY: the buffer is this long, initialised, borrowed by nobody else, and no copy reads it now.
        let host = unsafe { std::slice::from_raw_parts_mut(buffer.at, buffer.bytes) };
        fill(host);
        if host.is_empty() {
            return Ok(());
        }
        device.copies.wait_for(&buffer.released)?;
        // SAFETY: the buffer outlives the copy: `Drop` and the next `stage` wait for `copied`.
        let result = unsafe { result::memcpy_htod_async(to.0, host, device.copies.handle) };
        device.check("copy to the card", result)?;
        buffer.copied.record(&device.copies)
    }

    fn receive(&self, buffer: &mut Staging) -> Result<()> {
        self.current()?.queue.wait_for(&buffer.copied)
    }

    fn release(&self, buffer: &mut Staging) -> Result<()> {
        buffer.released.record(&self.current()?.queue)
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
    fn each_generation_gets_code_it_can_run() {
        let expected = [
            ((7, 5), None),
            ((8, 0), Some("sm_80")),
            ((8, 9), Some("sm_80")),
            ((9, 0), Some("sm_90a")),
            ((9, 1), Some("ptx_80")),
            ((10, 0), Some("ptx_80")),
            ((12, 1), Some("ptx_80")),
        ];
        for (capability, wanted) in expected {
            assert_eq!(architecture(capability), wanted, "{capability:?}");
        }
    }

    #[test]
    fn versions_are_told_as_people_write_them() {
        assert_eq!(version_of(12080), (12, 8));
        assert_eq!(
            too_old("cuda:0", 12040, 13000).to_string(),
            "cuda:0: NVIDIA's driver is of CUDA 12.4, and this binary needs 13.0 or newer; update the driver, or use --device cpu"
        );
    }

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

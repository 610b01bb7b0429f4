//! The emulated device: [`Driver`] on top of the compiled kernels.
//!
//! Its queue is always empty, because every call does its work at once. Only the copies beside the queue are put off, until somebody
//! waits for them, and what is fetched is not seen before.

use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::rc::Rc;
use std::time::Instant;

use neuncut::cuda::{Address, Driver, Launch};
use neuncut::{Error, Result};

use crate::kernels::{self, Kernel};
use crate::memory::Memory;

const NAME: &str = "the emulator";
/// What Hopper gives a block; `MOST_SHARED` in `runtime/emulated_gpu.h`.
const MOST_SHARED: usize = 227 << 10;
/// What `cuLaunchKernel` allows.
const GRID_LIMITS: [u32; 3] = [i32::MAX as u32, 65535, 65535];

/// A GPU on the CPU.
pub struct Emulator {
    memory: Rc<RefCell<Memory>>,
    /// Order of the threads; 0 is the natural one.
    seed: u64,
    /// The graph that is being recorded.
    recording: RefCell<Option<Vec<Call>>>,
    /// What was cleared in the queue since somebody last waited for it. On a card it may not be clear yet.
    cleared: RefCell<Vec<Cleared>>,
    /// Clears so far.
    clears: Cell<u64>,
    /// Of all queues of the device.
    counts: Rc<Cell<Counts>>,
    /// Fetches that nobody has waited for, now and at most so far.
    awaited: Cell<(usize, usize)>,
    /// Launches until the device is lost.
    lost_after: Option<usize>,
    /// Receipts wait for nothing.
    careless: bool,
}

/// Memory that was cleared, and by which of all clears.
struct Cleared {
    number: u64,
    at: Address,
    bytes: usize,
}

/// How often a device was called, but for what is only recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Queues opened beside the first.
    pub queues: usize,
    /// Kernels launched one by one.
    pub launches: usize,
    /// Graphs run.
    pub replays: usize,
    /// Kernels run in graphs.
    pub replayed_launches: usize,
    /// Allocations, reads, writes, clears and waits.
    pub others: usize,
}

/// Recorded calls.
pub struct Graph(Vec<Call>);

enum Call {
    Launch {
        kernel: &'static Kernel,
        file: &'static str,
        grid: [u32; 3],
        /// The value of each argument, in words that suit any alignment.
        values: Vec<Vec<u128>>,
    },
    Clear(Address, usize),
    /// What runs aside, until the next `Join`.
    Aside(Vec<Call>),
    Join,
}

/// A moment in the queue.
pub struct Event(Instant);

/// A staging buffer.
pub struct Staging {
    bytes: Vec<u8>,
    /// Where what it holds belongs, how many bytes of it, and how far they are on their way.
    copy: Option<(Address, usize, Progress)>,
    /// Clears that its copies wait for.
    after: u64,
    /// What was fetched, until somebody waits for it.
    coming: Option<Vec<u8>>,
}

#[derive(PartialEq)]
enum Progress {
    Started,
    Received,
    Released,
}

impl Default for Emulator {
    fn default() -> Self {
        Self::new()
    }
}

impl Emulator {
    /// A device with 16 GiB that runs threads in their natural order.
    pub fn new() -> Self {
        Emulator {
            memory: Rc::new(RefCell::new(Memory::new(16 << 30))),
            seed: 0,
            recording: RefCell::new(None),
            cleared: RefCell::new(Vec::new()),
            clears: Cell::new(0),
            counts: Rc::default(),
            awaited: Cell::default(),
            lost_after: None,
            careless: false,
        }
    }

    /// The same with so many bytes of memory, all of them free.
    pub fn with_memory(self, bytes: u64) -> Self {
        Emulator {
            memory: Rc::new(RefCell::new(Memory::new(bytes))),
            ..self
        }
    }

    /// The same with another order of warps and lanes for each seed but 0.
    pub fn with_seed(self, seed: u64) -> Self {
        Emulator { seed, ..self }
    }

    /// The same, but each launch after so many fails, as on a card that was lost.
    pub fn lost_after(self, launches: usize) -> Self {
        Emulator {
            lost_after: Some(launches),
            ..self
        }
    }

    /// The same, but [`receive`](Driver::receive) waits for nothing, as if the host had forgotten to call it.
    pub fn without_receipts(self) -> Self {
        Emulator {
            careless: true,
            ..self
        }
    }

    /// The calls so far.
    pub fn counts(&self) -> Counts {
        self.counts.get()
    }

    /// How many [fetches](Driver::fetch) nobody had waited for yet, at most.
    pub fn most_awaited(&self) -> usize {
        self.awaited.get().1
    }

    fn count(&self, change: impl FnOnce(&mut Counts)) {
        let mut counts = self.counts.get();
        change(&mut counts);
        self.counts.set(counts);
    }

    fn pointer(&self, what: &str, at: Address, bytes: usize) -> Result<*mut u8> {
        self.memory
            .borrow()
            .range(at, bytes)
            .map_err(|problem| mistake(format!("{what}: {problem}")))
    }

    /// Some calls cannot be part of a graph.
    fn refuse_while_recording(&self, what: &str) -> Result<()> {
        match *self.recording.borrow() {
            Some(_) => Err(mistake(format!("{what} cannot be recorded"))),
            None => Ok(()),
        }
    }

    /// Everything queued is done, unless a graph is being recorded.
    fn synchronize_for(&self, what: &str) -> Result<()> {
        self.refuse_while_recording(what)?;
        self.count(|counts| counts.others += 1);
        self.cleared.borrow_mut().clear();
        Ok(())
    }

    fn run(&self, file: &str, kernel: &Kernel, grid: [u32; 3], arguments: &[*mut c_void]) -> Result<()> {
        let problem = |what| mistake(format!("kernel {} of {file}.cu: {what}", kernel.name()));
        // SAFETY: the number of arguments was compared with that of the parameters. That their types fit, nobody can check:
        // it is what tests of the host code are for.
        unsafe { kernel.run(grid, arguments, self.seed) }.map_err(problem)?;
        self.memory
            .borrow()
            .trespass()
            .map_or(Ok(()), |what| Err(problem(what)))
    }

    fn replay_one(&self, call: &Call) -> Result<()> {
        match call {
            Call::Launch {
                kernel,
                file,
                grid,
                values,
            } => {
                let arguments: Vec<_> = values.iter().map(|words| words.as_ptr() as *mut c_void).collect();
                self.count(|counts| counts.replayed_launches += 1);
                self.run(file, kernel, *grid, &arguments)
            }
            Call::Clear(at, bytes) => self.clear_now(*at, *bytes),
            Call::Aside(_) | Call::Join => Err(mistake("a branch of a branch".to_string())),
        }
    }

    fn clear_now(&self, at: Address, bytes: usize) -> Result<()> {
        let to = self.pointer("clear", at, bytes)?;
        // SAFETY: the range is inside an allocation.
        unsafe { to.write_bytes(0, bytes) };
        Ok(())
    }

    /// Copies lines to the host.
    fn copy_out(&self, from: Address, pitch: usize, width: usize, to: &mut [u8]) -> Result<()> {
        if to.is_empty() {
            return Ok(());
        }
        let lines = lines("read", to.len(), width, pitch)?;
        let from = self.pointer("read", from, (lines - 1) * pitch + width)?;
        for (line, values) in to.chunks_exact_mut(width).enumerate() {
            // SAFETY: every line is inside the range just checked.
            unsafe {
                from.add(line * pitch)
                    .copy_to_nonoverlapping(values.as_mut_ptr(), width)
            };
        }
        Ok(())
    }

    /// Lets a copy that was started land.
    fn land(&self, buffer: &mut Staging) -> Result<()> {
        if let Some((to, bytes, progress @ Progress::Started)) = &mut buffer.copy {
            let pointer = self.pointer("receive", *to, *bytes)?;
            // SAFETY: the range is inside an allocation, which no buffer of ours overlaps.
            unsafe { pointer.copy_from_nonoverlapping(buffer.bytes.as_ptr(), *bytes) };
            *progress = Progress::Received;
        }
        Ok(())
    }
}

impl Driver for Emulator {
    type Graph = Graph;
    type Event = Event;
    type Staging = Staging;

    fn name(&self) -> String {
        NAME.to_string()
    }

    fn beside(&self) -> Result<Self> {
        self.synchronize_for("another queue")?;
        self.count(|counts| counts.queues += 1);
        Ok(Emulator {
            memory: self.memory.clone(),
            counts: self.counts.clone(),
            seed: self.seed,
            ..Emulator::new()
        })
    }

    fn most_shared(&self) -> usize {
        MOST_SHARED
    }

    fn free_memory(&self) -> Result<u64> {
        Ok(self.memory.borrow().available())
    }

    fn allocate(&self, bytes: usize) -> Result<Option<Address>> {
        self.refuse_while_recording("an allocation")?;
        self.count(|counts| counts.others += 1);
        Ok(self.memory.borrow_mut().allocate(bytes))
    }

    fn free(&self, at: Address) {
        self.cleared.borrow_mut().clear();
        self.count(|counts| counts.others += 1);
        self.memory.borrow_mut().free(at);
    }

    fn clear(&self, at: Address, bytes: usize) -> Result<()> {
        if let Some(calls) = &mut *self.recording.borrow_mut() {
            calls.push(Call::Clear(at, bytes));
            return Ok(());
        }
        let number = self.clears.get();
        self.clears.set(number + 1);
        self.cleared.borrow_mut().push(Cleared { number, at, bytes });
        self.count(|counts| counts.others += 1);
        self.clear_now(at, bytes)
    }

    fn write(&self, from: &[u8], width: usize, to: Address, pitch: usize) -> Result<()> {
        self.synchronize_for("a write")?;
        if from.is_empty() {
            return Ok(());
        }
        let lines = lines("write", from.len(), width, pitch)?;
        let to = self.pointer("write", to, (lines - 1) * pitch + width)?;
        for (line, values) in from.chunks_exact(width).enumerate() {
            // SAFETY: every line is inside the range just checked.
            unsafe {
                to.add(line * pitch)
                    .copy_from_nonoverlapping(values.as_ptr(), width)
            };
        }
        Ok(())
    }

    fn read(&self, from: Address, pitch: usize, width: usize, to: &mut [u8]) -> Result<()> {
        self.synchronize_for("a read")?;
        self.copy_out(from, pitch, width, to)
    }

    fn launch(&self, launch: Launch) -> Result<()> {
        let Launch {
            file,
            kernel: name,
            grid,
            threads,
            arguments,
        } = launch;
        let problem = |what: String| mistake(format!("kernel {name} of {file}.cu: {what}"));
        let kernel = kernels::files()
            .filter(|&(found, _)| found == file)
            .flat_map(|(_, kernels)| kernels)
            .find(|kernel| kernel.name() == name)
            .ok_or_else(|| problem("there is no such kernel".to_string()))?;
        if threads != kernel.threads {
            return Err(problem(format!(
                "launched with {threads} threads, declared for {}",
                kernel.threads
            )));
        }
        if arguments.len() != kernel.parameter_sizes().len() {
            return Err(problem(format!(
                "launched with {} arguments, declared with {}",
                arguments.len(),
                kernel.parameter_sizes().len()
            )));
        }
        if (0..3).any(|axis| !(1..=GRID_LIMITS[axis]).contains(&grid[axis])) {
            return Err(problem(format!(
                "a grid of {grid:?} blocks, where 1 to {GRID_LIMITS:?} are allowed"
            )));
        }
        if let Some(calls) = &mut *self.recording.borrow_mut() {
            let value = |(&argument, &size): (&*mut c_void, &usize)| {
                let mut words = vec![0u128; size.div_ceil(size_of::<u128>())];
                // SAFETY: the argument points to a value of the parameter's size, for which there are words enough.
                unsafe {
                    words
                        .as_mut_ptr()
                        .cast::<u8>()
                        .copy_from_nonoverlapping(argument.cast(), size)
                };
                words
            };
            calls.push(Call::Launch {
                kernel,
                file,
                grid,
                values: arguments
                    .iter()
                    .zip(kernel.parameter_sizes())
                    .map(value)
                    .collect(),
            });
            return Ok(());
        }
        self.count(|counts| counts.launches += 1);
        if self.lost_after.is_some_and(|most| self.counts().launches > most) {
            let advice = "this is what the test asked for";
            return Err(Error::device(NAME, "the device is lost", advice));
        }
        self.run(file, kernel, grid, arguments)
    }

    fn synchronize(&self) -> Result<()> {
        self.synchronize_for("a wait")
    }

    fn capture(&self, calls: &mut dyn FnMut() -> Result<()>) -> Result<Graph> {
        self.refuse_while_recording("a recording")?;
        *self.recording.borrow_mut() = Some(Vec::new());
        let done = calls();
        let recorded = self
            .recording
            .borrow_mut()
            .take()
            .expect("nobody else ends the recording");
        done?;
        if is_branched(&recorded) {
            return Err(mistake(
                "a recording ends before its branch is joined".to_string(),
            ));
        }
        Ok(Graph(recorded))
    }

    fn aside(&self, calls: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        match &mut *self.recording.borrow_mut() {
            None => return Err(mistake("a branch without a recording".to_string())),
            Some(calls) if is_branched(calls) => return Err(mistake("a branch beside another".to_string())),
            Some(calls) => calls.push(Call::Aside(Vec::new())),
        }
        // What is recorded meanwhile belongs to the branch.
        let before = self.recording.replace(Some(Vec::new()));
        let done = calls();
        let recorded = self.recording.replace(before);
        if let Some([.., Call::Aside(branch)]) = self.recording.borrow_mut().as_deref_mut() {
            *branch = recorded.unwrap_or_default();
        }
        done
    }

    fn join(&self) -> Result<()> {
        match &mut *self.recording.borrow_mut() {
            Some(calls) => calls.push(Call::Join),
            None => return Err(mistake("a branch is joined without a recording".to_string())),
        }
        Ok(())
    }

    /// What runs aside runs as early as it may by turns, and as late as it may: a card does either, or anything in between.
    fn replay(&self, graph: &Graph) -> Result<()> {
        self.refuse_while_recording("a replay")?;
        self.count(|counts| counts.replays += 1);
        let late = self.counts().replays.is_multiple_of(2);
        let mut branch: &[Call] = &[];
        for call in &graph.0 {
            match call {
                Call::Aside(calls) if late => branch = calls,
                Call::Aside(calls) => calls.iter().try_for_each(|call| self.replay_one(call))?,
                Call::Join => {
                    std::mem::take(&mut branch)
                        .iter()
                        .try_for_each(|call| self.replay_one(call))?;
                }
                call => self.replay_one(call)?,
            }
        }
        Ok(())
    }

    fn mark(&self) -> Result<Event> {
        self.refuse_while_recording("an event")?;
        Ok(Event(Instant::now()))
    }

    fn microseconds(&self, from: &Event, to: &Event) -> Result<f64> {
        self.count(|counts| counts.others += 1);
        Ok(to.0.duration_since(from.0).as_secs_f64() * 1e6)
    }

    fn staging(&self, bytes: usize) -> Result<Option<Staging>> {
        Ok(Some(Staging {
            bytes: vec![0; bytes],
            copy: None,
            after: 0,
            coming: None,
        }))
    }

    fn stage(
        &self,
        buffer: &mut Staging,
        length: usize,
        fill: &mut dyn FnMut(&mut [u8]),
        to: Address,
    ) -> Result<()> {
        self.refuse_while_recording("a staged copy")?;
        self.land(buffer)?;
        let room = buffer.bytes.len();
        let Some(host) = buffer.bytes.get_mut(..length) else {
            return Err(mistake(format!("stage: {length} bytes in a buffer of {room}")));
        };
        if let Some((last, bytes, Progress::Received)) = buffer.copy
            && to.0 < last.0 + bytes as u64
            && last.0 < to.0 + length as u64
        {
            return Err(mistake(
                "stage: what was staged there last has been received but not released".to_string(),
            ));
        }
        let overtakes = |cleared: &Cleared| {
            let (begin, end) = (cleared.at.0, cleared.at.0 + cleared.bytes as u64);
            cleared.number >= buffer.after && to.0 < end && begin < to.0 + length as u64
        };
        if self.cleared.borrow().iter().any(overtakes) {
            return Err(mistake(
                "stage: the place was cleared in the queue, for which the copy does not wait".to_string(),
            ));
        }
        fill(host);
        let pointer = self.pointer("stage", to, length)?;
        // From now on until the copy is received, what is there is undefined.
        // SAFETY: the range is inside an allocation.
        unsafe { pointer.write_bytes(0xff, length) };
        buffer.copy = Some((to, length, Progress::Started));
        Ok(())
    }

    fn receive(&self, buffer: &mut Staging) -> Result<()> {
        self.refuse_while_recording("the receipt of a staged copy")?;
        match self.careless {
            true => Ok(()),
            false => self.land(buffer),
        }
    }

    fn release(&self, buffer: &mut Staging) -> Result<()> {
        self.refuse_while_recording("the release of a staged copy")?;
        buffer.after = self.clears.get();
        if let Some((_, _, progress @ Progress::Received)) = &mut buffer.copy {
            *progress = Progress::Released;
        }
        Ok(())
    }

    fn fetch(
        &self,
        from: Address,
        pitch: usize,
        width: usize,
        bytes: usize,
        buffer: &mut Staging,
    ) -> Result<()> {
        self.refuse_while_recording("a fetch")?;
        if buffer.coming.is_some() {
            return Err(mistake(
                "fetch: nobody has waited for what was fetched there last".to_string(),
            ));
        }
        let room = buffer.bytes.len();
        let Some(host) = buffer.bytes.get_mut(..bytes) else {
            return Err(mistake(format!("fetch: {bytes} bytes in a buffer of {room}")));
        };
        host.fill(0xff);
        let mut coming = vec![0; bytes];
        self.copy_out(from, pitch, width, &mut coming)?;
        buffer.coming = Some(coming);
        let (now, most) = self.awaited.get();
        self.awaited.set((now + 1, most.max(now + 1)));
        Ok(())
    }

    fn fetched<'a>(&self, buffer: &'a mut Staging) -> Result<&'a [u8]> {
        self.refuse_while_recording("a wait")?;
        let Some(coming) = buffer.coming.take() else {
            return Err(mistake("fetched: nothing is coming".to_string()));
        };
        let (now, most) = self.awaited.get();
        self.awaited.set((now - 1, most));
        let host = &mut buffer.bytes[..coming.len()];
        host.copy_from_slice(&coming);
        Ok(host)
    }
}

/// Whether nothing waits yet for a branch among the calls.
fn is_branched(calls: &[Call]) -> bool {
    let last = calls
        .iter()
        .rfind(|call| matches!(call, Call::Aside(_) | Call::Join));
    matches!(last, Some(Call::Aside(_)))
}

/// How many lines of `width` bytes make up `bytes`.
fn lines(what: &str, bytes: usize, width: usize, pitch: usize) -> Result<usize> {
    if width == 0 || !bytes.is_multiple_of(width) || width > pitch {
        return Err(mistake(format!(
            "{what}: {bytes} bytes in lines of {width}, {pitch} bytes apart"
        )));
    }
    Ok(bytes / width)
}

/// An error of the program under test.
fn mistake(problem: String) -> Error {
    Error::device(NAME, problem, "this is a mistake in neuncut itself")
}

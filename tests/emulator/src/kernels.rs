//! The compiled kernels, and the runtime that runs them.

use std::ffi::{CStr, c_char, c_void};

/// A compiled kernel; the fields are those of `Kernel` in `runtime/emulated_gpu.h`.
#[repr(C)]
pub struct Kernel {
    name: *const c_char,
    /// Threads of a block, as `KERNEL(threads)` declares them.
    pub threads: u32,
    parameters: usize,
    parameter_sizes: *const usize,
    call: unsafe extern "C" fn(*const *mut c_void),
}

#[repr(C)]
struct File {
    name: *const c_char,
    kernels: *const Kernel,
    count: usize,
}

// SAFETY: the tables are constants of the program.
unsafe impl Sync for Kernel {}

unsafe extern "C" {
    /// Ends with an entry whose name is null.
    safe static emulator_files: EndOfFiles;
    fn emulator_launch(
        kernel: *const Kernel,
        blocks: *const u32,
        arguments: *const *mut c_void,
        seed: u64,
        message: *mut c_char,
        capacity: usize,
    ) -> bool;
    fn emulator_poison(start: *mut c_void, bytes: usize, forbid: bool);
}

/// The first of an unknown number of [`File`]s.
#[repr(C)]
struct EndOfFiles(File);

// SAFETY: as above.
unsafe impl Sync for EndOfFiles {}

impl Kernel {
    /// Its name.
    pub fn name(&self) -> &'static str {
        // SAFETY: every table entry has a name that is a constant of the program.
        unsafe { text(self.name) }
    }

    /// The size in bytes of each parameter.
    pub fn parameter_sizes(&self) -> &'static [usize] {
        // SAFETY: the runtime's table has this many sizes.
        unsafe { std::slice::from_raw_parts(self.parameter_sizes, self.parameters) }
    }

    /// Runs all blocks, and answers with the runtime's line on what went wrong, if something did.
    ///
    /// # Safety
    ///
    /// There is one argument for each parameter, each points to a value of the parameter's type, and what those values point to is
    /// memory that the kernel may use.
    pub unsafe fn run(&self, grid: [u32; 3], arguments: &[*mut c_void], seed: u64) -> Result<(), String> {
        let mut message = [0 as c_char; 1024];
        // SAFETY: the pointers are to live values of the types that the runtime expects; the rest is the caller's promise.
        let done = unsafe {
            emulator_launch(
                self,
                grid.as_ptr(),
                arguments.as_ptr(),
                seed,
                message.as_mut_ptr(),
                message.len(),
            )
        };
        if done {
            return Ok(());
        }
        // SAFETY: the runtime ends its message with a 0.
        Err(unsafe { CStr::from_ptr(message.as_ptr()) }
            .to_string_lossy()
            .into_owned())
    }
}

/// The kernels of each file, by the file's name without its extension.
pub fn files() -> impl Iterator<Item = (&'static str, &'static [Kernel])> {
    let first: *const File = &raw const emulator_files.0;
    (0..)
        // SAFETY: the table goes on until the entry without a name.
        .map(move |i| unsafe { &*first.add(i) })
        .take_while(|file| !file.name.is_null())
        // SAFETY: the runtime's table of a file has this many kernels.
        .map(|file| unsafe {
            (
                text(file.name),
                std::slice::from_raw_parts(file.kernels, file.count),
            )
        })
}

/// Forbids access by kernels to memory, or allows it again. Only the mode with sanitizers heeds it.
///
/// # Safety
///
/// The memory belongs to the caller.
pub unsafe fn poison(start: *mut u8, bytes: usize, forbid: bool) {
    // SAFETY: the caller's promise.
    unsafe { emulator_poison(start.cast(), bytes, forbid) }
}

/// # Safety
///
/// `constant` is a text that ends with 0, in UTF-8, and lives as long as the program.
unsafe fn text(constant: *const c_char) -> &'static str {
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(constant) }
        .to_str()
        .expect("names in C are ASCII")
}

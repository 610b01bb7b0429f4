//! The kernels inside this binary: `kernels/*.cu` as compiled by `build.rs`.

use std::hash::Hasher as _;

use twox_hash::xxhash3_64::Hasher;

/// A file of `kernels/`, compiled for one kind of card.
pub struct Module {
    /// File name without extension.
    pub file: &'static str,
    /// What it was compiled for: `sm_90a` and `sm_80` are machine code; `ptx_80` is assembly, ended by a 0 byte, that the driver
    /// of any newer card translates when it loads it.
    pub arch: &'static str,
    /// What the driver loads.
    pub image: &'static [u8],
    /// The kernels in it, by name. Those of `ptx_80` are as the compiler translates them for sm_80; the driver may do otherwise.
    pub kernels: &'static [Kernel],
}

/// A kernel, and what one thread or block of it occupies.
pub struct Kernel {
    /// Its name, as in [`Launch`](super::Launch).
    pub name: &'static str,
    /// Registers of a thread.
    pub registers: u32,
    /// Bytes a thread stores and loads because registers ran out; counted once per instruction.
    pub spill_bytes: u32,
    /// Bytes of shared memory of a block.
    pub shared_bytes: u32,
    /// Bytes of local memory of a thread.
    pub stack_bytes: u32,
}

/// A number that changes with the code of any kernel for `arch`.
pub fn fingerprint(arch: &str) -> u64 {
    let mut hasher = Hasher::new();
    for module in MODULES.iter().filter(|module| module.arch == arch) {
        hasher.write(module.image);
    }
    hasher.finish()
}

// Defines the two statics below.
include!(concat!(env!("OUT_DIR"), "/kernels.rs"));

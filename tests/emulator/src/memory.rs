//! The memory of the emulated device: allocations of the host, full of NaN, between red zones that nobody may touch.

use std::alloc::{Layout, alloc, dealloc};
use std::collections::BTreeMap;

use neuncut::cuda::Address;

use crate::kernels::poison;
use crate::{MODE, Mode};

/// As `cuMemAlloc` aligns.
const ALIGNMENT: usize = 256;
/// Bytes before and after each allocation.
const RED_ZONE: usize = 1024;
/// What fresh memory and red zones are filled with. As f32, bfloat16 or f16 it is NaN.
const UNDEFINED: u8 = 0xff;

/// All allocations of a device.
pub struct Memory {
    /// Bytes that may be allocated in all.
    limit: u64,
    used: u64,
    /// Bytes of each allocation by its first byte.
    allocations: BTreeMap<u64, usize>,
}

impl Memory {
    /// Memory of `limit` bytes.
    pub fn new(limit: u64) -> Self {
        Memory {
            limit,
            used: 0,
            allocations: BTreeMap::new(),
        }
    }

    /// Bytes that are left.
    pub fn available(&self) -> u64 {
        self.limit - self.used
    }

    /// Memory of so many bytes, or `None` when fewer are left.
    pub fn allocate(&mut self, bytes: usize) -> Option<Address> {
        if bytes as u64 > self.available() {
            return None;
        }
        let layout = layout(bytes);
        // SAFETY: the size is not 0, and everything written lies within the allocation.
        let start = unsafe {
            let start = alloc(layout);
            if start.is_null() {
                return None;
            }
            start.write_bytes(UNDEFINED, layout.size());
            poison(start, RED_ZONE, true);
            poison(start.add(RED_ZONE + bytes), RED_ZONE, true);
            start.add(RED_ZONE)
        };
        self.used += bytes as u64;
        self.allocations.insert(start as u64, bytes);
        Some(Address(start as u64))
    }

    /// Takes an allocation back. Panics when `at` is none: that is a mistake in the program under test.
    pub fn free(&mut self, at: Address) {
        let bytes = self
            .allocations
            .remove(&at.0)
            .expect("memory is freed once, by the address it was given");
        self.used -= bytes as u64;
        release(at.0, bytes);
    }

    /// A pointer to `bytes` bytes at an address, or what is wrong with them.
    pub fn range(&self, at: Address, bytes: usize) -> Result<*mut u8, String> {
        let inside = self
            .allocations
            .range(..=at.0)
            .next_back()
            .is_some_and(|(&start, &size)| at.0 - start + bytes as u64 <= size as u64);
        if inside || bytes == 0 {
            Ok(at.0 as *mut u8)
        } else {
            Err(format!(
                "{bytes} bytes at {:#x} are not inside any allocation",
                at.0
            ))
        }
    }

    /// What was written to a red zone, if anything was.
    pub fn trespass(&self) -> Option<String> {
        // The sanitizer sees trespasses as they happen, and the zones are closed to us too.
        if MODE == Mode::Sanitize {
            return None;
        }
        self.allocations.iter().find_map(|(&start, &bytes)| {
            let intact = |zone: u64| {
                // SAFETY: the red zones belong to the allocation, and no kernel runs now.
                let zone = unsafe { std::slice::from_raw_parts(zone as *const u8, RED_ZONE) };
                zone.iter().all(|&byte| byte == UNDEFINED)
            };
            let side = if !intact(start - RED_ZONE as u64) {
                "before"
            } else if !intact(start + bytes as u64) {
                "after"
            } else {
                return None;
            };
            Some(format!(
                "it wrote {side} an allocation of {bytes} bytes at {start:#x}"
            ))
        })
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        for (&start, &bytes) in &self.allocations {
            release(start, bytes);
        }
    }
}

fn layout(bytes: usize) -> Layout {
    Layout::from_size_align(bytes + 2 * RED_ZONE, ALIGNMENT)
        .expect("no allocation is near the size of the address space")
}

fn release(start: u64, bytes: usize) {
    let layout = layout(bytes);
    // SAFETY: `start` is a red zone after the beginning of an allocation of this layout.
    unsafe {
        let start = (start as *mut u8).sub(RED_ZONE);
        poison(start, layout.size(), false);
        dealloc(start, layout);
    }
}

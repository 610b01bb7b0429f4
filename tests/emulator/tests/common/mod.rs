//! What the tests share: an emulator whose schedule is random, and arrays to and from a device in one line each.

use bytemuck::{Pod, Zeroable};
use neuncut::cuda::{Address, Driver};
use neuncut_emulator::{Emulator, MODE, Mode};

/// A fresh seed for a test, printed; `NEUNCUT_TEST_SEED` repeats a run.
pub fn seed(test: &str) -> u64 {
    let seed = match std::env::var("NEUNCUT_TEST_SEED") {
        Ok(text) => text.parse().expect("NEUNCUT_TEST_SEED is a whole number"),
        Err(_) => rand::random::<u32>().into(),
    };
    println!("{test}: NEUNCUT_TEST_SEED={seed}");
    seed
}

/// An emulator that runs warps and threads in an order of its own.
pub fn emulator() -> Emulator {
    Emulator::new().with_seed(seed("the emulator's schedule"))
}

/// Values in new memory of the device.
pub fn upload<T: Pod>(driver: &impl Driver, values: &[T]) -> Address {
    let bytes: &[u8] = bytemuck::cast_slice(values);
    let at = room::<u8>(driver, bytes.len());
    driver.write(bytes, bytes.len(), at, bytes.len()).unwrap();
    at
}

/// New memory of the device for so many values.
pub fn room<T>(driver: &impl Driver, count: usize) -> Address {
    driver
        .allocate(count * size_of::<T>())
        .unwrap()
        .expect("the device has room")
}

/// Values from the device.
pub fn download<T: Pod + Zeroable>(driver: &impl Driver, from: Address, count: usize) -> Vec<T> {
    let mut values = vec![T::zeroed(); count];
    let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut values);
    let length = bytes.len();
    driver.read(from, length, length, bytes).unwrap();
    values
}

/// `launch!(driver, file, kernel, blocks, threads, argument, ...)`: runs a kernel; a `Result`.
macro_rules! launch {
    ($driver:expr, $file:expr, $kernel:expr, $blocks:expr, $threads:expr $(, $argument:expr)* $(,)?) => {
        neuncut::cuda::Driver::launch($driver, neuncut::cuda::Launch {
            file: $file,
            kernel: $kernel,
            grid: $blocks,
            threads: $threads,
            arguments: &mut [$(std::ptr::from_mut(&mut { $argument }).cast::<std::ffi::c_void>()),*],
        })
    };
}

/// All cases; in the watched modes the first `few`, where the others run the same kernels again and differ in what the host does.
pub fn cases<T>(all: &[T], few: usize) -> &[T] {
    match MODE {
        Mode::Plain => all,
        Mode::Sanitize | Mode::Race => &all[..few],
    }
}

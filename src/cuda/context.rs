//! The CUDA driver as it is found: its library, opened when a card is asked for, so that one program serves machines with and
//! without one; its cards and what they can do; its errors in words.

use std::ffi::CStr;

use cudarc::driver::result::{self, DriverError, ctx, device, primary_ctx};
use cudarc::driver::sys::{self, CUdevice_attribute as Attribute, CUresult as Code};

use super::kernels;
use crate::error::{Error, Result};

/// The first driver that has every function called here, as CUDA numbers versions: 12.8.
const OLDEST_DRIVER: i32 = 12080;

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

/// All cards that the driver shows, whether or not this binary has kernels for them.
///
/// # Errors
/// When there is no driver, or it is too old.
pub fn describe_all() -> Result<Vec<Description>> {
    (0..count()?)
        .map(|ordinal| Context::open(ordinal)?.describe())
        .collect()
}

/// How many cards the driver shows.
///
/// # Errors
/// When there is no driver, or it is too old.
pub fn count() -> Result<usize> {
    start("cuda").map(|(count, _)| count)
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

/// The first card that this binary has kernels for, under a driver that runs them.
pub fn first_usable() -> Option<usize> {
    let (count, driver) = start("cuda").ok()?;
    (0..count).find(|&ordinal| {
        device::get(ordinal as i32).is_ok_and(|card| architecture_of("cuda", card, driver).is_ok())
    })
}

fn attribute_of(name: &str, card: sys::CUdevice, attribute: Attribute) -> Result<i32> {
    // SAFETY: `card` comes from the driver.
    unsafe { device::get_attribute(card, attribute) }
        .map_err(|code| failure(name, "ask what the card can do", code))
}

fn capability_of(name: &str, card: sys::CUdevice) -> Result<(i32, i32)> {
    let attribute = |which| attribute_of(name, card, which);
    Ok((
        attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
        attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
    ))
}

/// Which of the embedded modules are for a card, or why none is.
fn architecture_of(name: &str, card: sys::CUdevice, driver: i32) -> Result<&'static str> {
    let Some((major, _)) = kernels::NVRTC else {
        return Err(Error::device(
            name,
            "this binary was built without kernels",
            "run .ci/install-nvrtc and build again, or use --device cpu",
        ));
    };
    // Within a major version an older driver runs newer machine code.
    if driver < 1000 * major {
        return Err(too_old(name, driver, 1000 * major));
    }
    let (major, minor) = capability_of(name, card)?;
    architecture((major, minor)).ok_or_else(|| {
        Error::device(
            name,
            format!("its compute capability is {major}.{minor}, and 8.0 is needed"),
            "use a card of the Ampere generation or newer, or --device cpu",
        )
    })
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

/// The primary context of a device, shared with whatever else this process computes on it.
pub struct Context {
    ordinal: usize,
    /// Number and model, for errors.
    pub name: String,
    /// What its maker calls it.
    pub model: String,
    driver: i32,
    device: sys::CUdevice,
    handle: sys::CUcontext,
}

impl Context {
    /// Finds a card and makes it current on this thread.
    pub fn open(ordinal: usize) -> Result<Context> {
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
    pub fn make_current(&self) -> Result<()> {
        self.check("use the card", unsafe { ctx::set_current(self.handle) })
    }

    /// The result of a call, its error in words.
    pub fn check<T>(&self, what: &str, result: std::result::Result<T, DriverError>) -> Result<T> {
        result.map_err(|code| failure(&self.name, what, code))
    }

    fn attribute(&self, attribute: Attribute) -> Result<i32> {
        attribute_of(&self.name, self.device, attribute)
    }

    fn capability(&self) -> Result<(i32, i32)> {
        capability_of(&self.name, self.device)
    }

    /// Which of the embedded modules are for this card.
    pub fn architecture(&self) -> Result<&'static str> {
        architecture_of(&self.name, self.device, self.driver)
    }

    /// Free bytes, and bytes in all.
    pub fn memory(&self) -> Result<(usize, usize)> {
        self.check("ask for free memory", result::mem_get_info())
    }

    /// What there is to know of the card.
    pub fn describe(&self) -> Result<Description> {
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

// ---- errors ---------------------------------------------------------------------------------------------------------------

/// The error of a call that failed: what was tried, CUDA's own words, and what can be done.
fn failure(device: &str, what: &str, error: DriverError) -> Error {
    let text = |found: std::result::Result<&CStr, DriverError>| match found {
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
}

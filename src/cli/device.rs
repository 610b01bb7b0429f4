//! Where a command computes. Only this file knows which backends there are, and what each can compute in.

use std::env;
use std::path::PathBuf;
use std::rc::Rc;

use clap::Args;
use neuncut::cpu::fast::MOST_THREADS;
use neuncut::cpu::{Fast, Reference};
use neuncut::cuda::tiles::{Measured, Tiling};
use neuncut::cuda::{Card, Cuda};
use neuncut::ops::{Ops, Precision};
use neuncut::options::{Arithmetic, Device};
use neuncut::{Error, Result};

/// Options of every command that computes.
#[derive(Args, Clone, Copy)]
pub struct DeviceArgs {
    /// Where to compute: auto (the first GPU that works, else the CPU), cpu, cuda, cuda:1 (and so on), or reference (plain
    /// loops, for checks)
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub device: Device,

    /// What to compute in: fp32, tf32x3, tf32, bf16; the reference also in f64; or auto: fp32 on the CPU, tf32x3 on a GPU, f64 in
    /// the reference
    #[arg(long, value_name = "PRECISION", default_value = "auto")]
    pub precision: Arithmetic,

    /// CPU threads; 0 for one per core
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub threads: usize,
}

/// Work for any backend. A closure would not do, since it cannot be generic.
pub trait Job {
    /// What comes of it.
    type Output;
    /// Does it on this backend.
    fn run<O: Ops>(self, ops: &O) -> Result<Self::Output>;
}

/// The first GPU that can be used in place of `auto`, if there is one.
pub fn or_first_gpu(device: Device) -> Device {
    match device {
        Device::Auto => Card::first_usable().map_or(Device::Auto, Device::Cuda),
        device => device,
    }
}

/// What was measured on a card, kept in the user's cache.
fn measured(card: &Card) -> Measured {
    let folder = |variable: &str| {
        env::var_os(variable)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let cache = folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache")));
    match cache {
        Some(cache) => Measured::kept_in(
            cache.join("neuncut/tiles.json"),
            card.model().to_string(),
            format!("{:016x}", card.fingerprint()),
        ),
        None => Measured::new(),
    }
}

impl DeviceArgs {
    /// Does `job` where and as the options say.
    ///
    /// # Errors
    /// [`Error::Option`] for a precision that the device does not have, [`Error::Device`] when the device cannot be used, and
    /// the job's own.
    pub fn run<J: Job>(self, job: J) -> Result<J::Output> {
        self.dispatch(job, None, false)
    }

    /// The same in tiles that are not the fastest, but chosen as is said.
    pub fn run_tiled<J: Job>(self, job: J, tiling: Tiling) -> Result<J::Output> {
        self.dispatch(job, Some(tiling), false)
    }

    /// The same on a backend that leaves the gradients of the parameters behind after each step.
    pub fn run_keeping_gradients<J: Job>(self, job: J) -> Result<J::Output> {
        self.dispatch(job, None, true)
    }

    fn dispatch<J: Job>(self, job: J, tiling: Option<Tiling>, keep_gradients: bool) -> Result<J::Output> {
        let DeviceArgs {
            device,
            precision,
            threads,
        } = self.resolve();
        if (1..=MOST_THREADS).contains(&threads) {
            // What is done beside the device, as reading is, keeps to as many. The first call in a process decides.
            let _ = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build_global();
        }
        match (device, precision) {
            (Device::Reference, Arithmetic::F64) => job.run(&Reference::<f64>::new()),
            (Device::Reference, Arithmetic::Single(precision)) => {
                job.run(&Reference::<f32>::rounding(precision))
            }
            (Device::Cuda(_), Arithmetic::F64) => Err(Error::option(
                "--precision",
                "a GPU computes in fp32, tf32x3, tf32 or bf16",
                "use --device reference for f64",
            )),
            (Device::Cuda(ordinal), Arithmetic::Single(precision)) => {
                let card = Card::open(ordinal)?;
                let tiling = tiling.unwrap_or_else(|| Tiling::Fastest(Rc::new(measured(&card))));
                let cuda = Cuda::new(card, precision).tiling(tiling);
                match keep_gradients {
                    true => job.run(&cuda.keeping_gradients()),
                    false => job.run(&cuda),
                }
            }
            (_, Arithmetic::Single(Precision::Fp32)) => job.run(&Fast::new(threads)?),
            (_, Arithmetic::F64) => Err(Error::option(
                "--precision",
                "the CPU backend computes in fp32",
                "use --device reference for f64",
            )),
            _ => Err(Error::option(
                "--precision",
                format!("the CPU backend computes in fp32, not in {precision}"),
                "leave --precision away, or use --device cuda",
            )),
        }
    }

    /// With the device and the precision that `auto` stands for.
    pub fn resolve(self) -> DeviceArgs {
        let device = match (self.device, self.precision) {
            (Device::Auto, Arithmetic::F64) => Device::Reference,
            (device, _) => match or_first_gpu(device) {
                Device::Auto => Device::Cpu,
                device => device,
            },
        };
        let precision = match (self.precision, device) {
            (Arithmetic::Auto, Device::Reference) => Arithmetic::F64,
            (Arithmetic::Auto, Device::Cuda(_)) => Arithmetic::Single(Precision::Tf32x3),
            (Arithmetic::Auto, _) => Arithmetic::Single(Precision::Fp32),
            (precision, _) => precision,
        };
        DeviceArgs {
            device,
            precision,
            ..self
        }
    }
}

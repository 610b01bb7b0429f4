//! `neuncut-emulator step`: `neuncut step` through the very kernels of a card, on a machine without one.

#[path = "../../../src/cli/parse.rs"]
mod parse;

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use neuncut::cuda::Cuda;
use neuncut::ops::Precision;
use neuncut::options::Arithmetic;
use neuncut::problem::{self, Problem, make_step};
use neuncut::{Error, Result};
use neuncut_emulator::Emulator;

/// Runs the CUDA kernels of neuncut on the CPU.
#[derive(Parser)]
#[command(version, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Print one JSON object on standard output
    #[arg(long, global = true, help_heading = "Output")]
    json: bool,
    /// Print nothing but the result (with --json) or errors
    #[arg(long, short, global = true, help_heading = "Output")]
    quiet: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Make one training step on a given problem and write out everything in it
    Step {
        #[command(flatten)]
        step: problem::StepArgs,
        /// What to compute in: fp32, tf32x3, tf32, bf16; or auto: tf32x3, as on a GPU
        #[arg(long, value_name = "PRECISION", default_value = "auto")]
        precision: Arithmetic,
        /// Order in which warps and threads run, another one for each number; 0 for the natural one
        #[arg(long, value_name = "N", default_value_t = 0)]
        seed: u64,
    },
}

fn main() -> ExitCode {
    let (problem, code) = match parse::parse() {
        Ok(cli) => match run(cli) {
            Ok(()) => return ExitCode::SUCCESS,
            Err(error) => (error.to_string(), error.exit_code()),
        },
        Err(complaint) => (complaint, 2),
    };
    eprintln!("neuncut-emulator: {problem}");
    ExitCode::from(code)
}

fn run(cli: Cli) -> Result<()> {
    let Command::Step {
        step,
        precision,
        seed,
    } = cli.command;
    let precision = match precision {
        Arithmetic::Auto => Precision::Tf32x3,
        Arithmetic::Single(precision) => precision,
        Arithmetic::F64 => {
            return Err(Error::option(
                "--precision",
                "the kernels compute in fp32, tf32x3, tf32 or bf16",
                "use neuncut step --device reference for f64",
            ));
        }
    };
    let problem = Problem::read(&step)?;
    let cuda = Cuda::new(Emulator::new().with_seed(seed), precision).keeping_gradients();
    let result = make_step(&cuda, &step, &problem)?;
    let told = match (cli.json, cli.quiet) {
        (true, _) => result.json.to_string(),
        (false, true) => return Ok(()),
        (false, false) => result.text,
    };
    writeln!(std::io::stdout(), "{told}").map_err(|e| Error::io("standard output", "write the result", e))
}

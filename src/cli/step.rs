//! `neuncut step`

use clap::Args;
use neuncut::Result;
use neuncut::ops::Ops;
use neuncut::problem::{self, Problem, StepResult, make_step};

use super::console::Console;
use super::device::{DeviceArgs, Job};

/// Arguments of `step`.
#[derive(Args)]
pub struct StepArgs {
    #[command(flatten)]
    step: problem::StepArgs,
    #[command(flatten)]
    device: DeviceArgs,
}

/// Makes the step.
pub fn run(args: StepArgs, console: &mut Console) -> Result<()> {
    let problem = Problem::read(&args.step)?;
    let result = args.device.run_keeping_gradients(Step {
        args: &args.step,
        problem,
    })?;
    console.result(result.json, &result.text)
}

struct Step<'a> {
    args: &'a problem::StepArgs,
    problem: Problem,
}

impl Job for Step<'_> {
    type Output = StepResult;
    fn run<O: Ops>(self, ops: &O) -> Result<StepResult> {
        make_step(ops, self.args, &self.problem)
    }
}

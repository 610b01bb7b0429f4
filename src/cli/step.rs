//! `neuncut step`

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use neuncut::cpu::{Fast, Reference};
use neuncut::data::npz::{self, Array, Values};
use neuncut::model::{Dense, Model};
use neuncut::network::Network;
use neuncut::ops::{AdamRule, Cut, HeatKernel, Objective, Ops, Penalty, Real, Shape, StepState, Volumes};
use neuncut::options::{Device, Neighbors};
use neuncut::train::{Step, StepRule};
use neuncut::{Error, Result};
use serde_json::{Map, json};

use super::console::Console;
use super::values;

/// Largest mini-batch whose affinity is written out.
const AFFINITY_ROWS: usize = 4096;

/// What the step is computed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Precision {
    /// Double precision, by the reference
    F64,
    /// Single precision
    Fp32,
}

/// Arguments of `step`.
#[derive(Args)]
pub struct StepArgs {
    /// The problem: `x` [m, d], `w0` [h, d], `b0` [h], `w1`, `b1`, ... in PyTorch's layout, and if need be Adam's moments `m_w0`,
    /// `v_w0`, `m_b0`, ...
    #[arg(long, value_name = "IN.npz")]
    problem: PathBuf,

    /// Where everything computed goes: affinity (up to 4096 rows), degrees, contraction, logits, membership, volumes, l_lap,
    /// l_orth, loss, d_logits, d_w0, d_b0, ..., new_w0, new_b0, ..., new_m_w0, new_v_w0, ...
    #[arg(long, short, value_name = "OUT.npz")]
    output: PathBuf,

    /// Where to compute: auto, cpu (fp32), or reference (plain loops)
    #[arg(long, value_name = "DEVICE", value_parser = values::device, default_value = "auto")]
    device: Device,

    /// What to compute in [default: fp32 on the CPU, f64 by the reference]
    #[arg(long, value_name = "PRECISION")]
    precision: Option<Precision>,

    /// Width of the heat kernel
    #[arg(long, value_name = "S", default_value_t = 1.0)]
    sigma: f64,

    /// Entries kept in each row of the affinity, besides the diagonal; or all
    #[arg(long, value_name = "S|all", default_value = "all")]
    neighbors: Neighbors,

    /// Weight of the orthogonality penalty
    #[arg(long, value_name = "G", default_value_t = 1.0)]
    gamma: f64,

    /// Form of the penalty: squared or frobenius
    #[arg(long, value_name = "FORM", value_parser = values::penalty, default_value = "squared")]
    penalty: Penalty,

    /// Whether gradients pass through the volumes: through or fixed
    #[arg(long, value_name = "MODE", value_parser = values::volumes, default_value = "through")]
    volumes: Volumes,

    /// Cut that is relaxed: ncut or rcut
    #[arg(long, value_name = "CUT", value_parser = values::cut, default_value = "ncut")]
    cut: Cut,

    /// Learning rate of Adam
    #[arg(long, value_name = "RATE", default_value_t = 1e-3)]
    lr: f64,

    /// L2 penalty on the weights, as part of the gradient
    #[arg(long, value_name = "L2", default_value_t = 0.0)]
    weight_decay: f64,

    /// Number of this step, from 1, for Adam's bias corrections
    #[arg(long, value_name = "N", default_value_t = 1)]
    step: u64,

    /// CPU threads; 0 for one per core
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: usize,
}

/// Makes the step.
pub fn run(args: StepArgs, console: &mut Console) -> Result<()> {
    values::positive("--sigma", args.sigma)?;
    values::not_negative("--gamma", args.gamma)?;
    values::positive("--lr", args.lr)?;
    values::neighbors(args.neighbors)?;
    values::not_negative("--weight-decay", args.weight_decay)?;
    values::at_least("--step", 1, args.step as usize)?;
    values::output(&args.output, "npz", &[&args.problem])?;
    let problem = Problem::read(&args.problem)?;
    match (args.device, args.precision) {
        (Device::Auto | Device::Cpu, None | Some(Precision::Fp32)) => {
            step(&Fast::new(args.threads)?, &args, problem, console)
        }
        (Device::Auto | Device::Reference, Some(Precision::F64)) | (Device::Reference, None) => {
            step(&Reference::<f64>::new(), &args, problem, console)
        }
        (Device::Reference, Some(Precision::Fp32)) => step(&Reference::<f32>::new(), &args, problem, console),
        (Device::Cpu, Some(Precision::F64)) => Err(Error::option(
            "--precision",
            "the CPU backend computes in fp32",
            "use --device reference for f64",
        )),
    }
}

/// A problem as read.
struct Problem {
    x: Array,
    layers: Vec<[Array; 2]>,
    moments: BTreeMap<String, Array>,
}

impl Problem {
    fn read(path: &Path) -> Result<Self> {
        let mut arrays = npz::read_arrays(path)?;
        let bad = |problem: String| {
            Error::file(
                path,
                problem,
                "a problem holds x [m, d], w0 [h, d], b0 [h], w1 [k, h], b1 [k], ...",
            )
        };
        if let Some((name, _)) = arrays
            .iter()
            .find(|(_, array)| array.values.iter().any(|value| !value.is_finite()))
        {
            return Err(bad(format!("{name} holds a value that is not finite")));
        }
        let x = arrays
            .remove("x")
            .ok_or_else(|| bad("there is no array x".into()))?;
        let &[rows, mut width] = &x.shape[..] else {
            return Err(bad(format!("x has {} axes, not 2", x.shape.len())));
        };
        if rows == 0 || width == 0 {
            return Err(bad(format!("x is {rows} x {width}")));
        }
        let mut layers = Vec::new();
        let mut moments = BTreeMap::new();
        while let Some(weight) = arrays.remove(&format!("w{}", layers.len())) {
            let i = layers.len();
            let bias = arrays
                .remove(&format!("b{i}"))
                .ok_or_else(|| bad(format!("there is w{i} but no b{i}")))?;
            match (&weight.shape[..], &bias.shape[..]) {
                (&[outputs, inputs], &[biases]) if inputs == width && biases == outputs && outputs > 0 => {
                    width = outputs;
                }
                (w, b) => {
                    return Err(bad(format!(
                        "w{i} is {w:?} and b{i} is {b:?}, after {width} columns"
                    )));
                }
            }
            for (name, like) in [(format!("w{i}"), &weight), (format!("b{i}"), &bias)] {
                for moment in [format!("m_{name}"), format!("v_{name}")] {
                    if let Some(array) = arrays.remove(&moment) {
                        if array.shape != like.shape {
                            return Err(bad(format!(
                                "{moment} is {:?}, {name} {:?}",
                                array.shape, like.shape
                            )));
                        }
                        if moment.starts_with('v') && array.values.iter().any(|&v| v < 0.0) {
                            return Err(bad(format!("{moment}, a mean of squares, is negative somewhere")));
                        }
                        moments.insert(moment, array);
                    }
                }
            }
            layers.push([weight, bias]);
        }
        if layers.is_empty() {
            return Err(bad("there is no array w0".into()));
        }
        if width < 2 {
            return Err(bad(format!(
                "the last layer gives {width} cluster, not 2 or more"
            )));
        }
        Ok(Problem { x, layers, moments })
    }

    /// The network's shape, with zeros for parameters.
    fn blank(&self) -> Model {
        let layers = self.layers.iter().map(|[weight, bias]| Dense {
            inputs: weight.shape[1],
            outputs: weight.shape[0],
            weight: vec![0.0; weight.values.len()],
            bias: vec![0.0; bias.values.len()],
        });
        Model {
            layers: layers.collect(),
        }
    }
}

fn step<O: Ops>(ops: &O, args: &StepArgs, problem: Problem, console: &mut Console) -> Result<()> {
    let began = std::time::Instant::now();
    let m = problem.x.shape[0];
    let rule = StepRule {
        kernel: HeatKernel {
            sigma: args.sigma,
            neighbors: args.neighbors.limit(),
        },
        objective: Objective {
            gamma: args.gamma,
            penalty: args.penalty,
            volumes: args.volumes,
            cut: args.cut,
        },
        adam: AdamRule::new(args.weight_decay),
    };
    let state = StepState {
        seed: 0,
        epoch: 0,
        batch: 0,
        step: args.step - 1,
        learning_rate: args.lr,
    };
    let mut step = Step::new(ops, &problem.blank(), rule, m, 1, state)?;
    upload(ops, &problem.x, &mut step.x)?;
    for (i, [weight, bias]) in problem.layers.iter().enumerate() {
        upload(ops, weight, &mut step.network.layers[i].weight)?;
        upload(ops, bias, &mut step.network.layers[i].bias)?;
        let moments = [("m", &mut step.first_moments), ("v", &mut step.second_moments)];
        for (moment, network) in moments {
            let layer = &mut network.layers[i];
            for (name, matrix) in [("w", &mut layer.weight), ("b", &mut layer.bias)] {
                if let Some(array) = problem.moments.get(&format!("{moment}_{name}{i}")) {
                    upload(ops, array, matrix)?;
                }
            }
        }
    }

    step.run_on_batch(ops)?;

    let losses = values_of(ops, &step.losses)?;
    let k = step.volumes.cols();
    let mut out = Output::default();
    if m <= AFFINITY_ROWS {
        out.push(
            "affinity",
            vec![m, m],
            to_f64(ops.download_affinity(&step.affinity)?),
        );
    }
    out.push("degrees", vec![m], values_of(ops, &step.degrees)?);
    out.push("contraction", vec![m, k], values_of(ops, &step.contraction)?);
    out.push("logits", vec![m, k], values_of(ops, step.activations.logits())?);
    out.push("membership", vec![m, k], values_of(ops, &step.membership)?);
    out.push("volumes", vec![k], values_of(ops, &step.volumes)?);
    for (name, value) in ["l_lap", "l_orth", "loss"].into_iter().zip(&losses) {
        out.push(name, vec![], vec![*value]);
    }
    out.push("d_logits", vec![m, k], values_of(ops, step.d_logits())?);
    out.push_network(ops, "d_", &step.gradients)?;
    out.push_network(ops, "new_", &step.network)?;
    out.push_network(ops, "new_m_", &step.first_moments)?;
    out.push_network(ops, "new_v_", &step.second_moments)?;
    out.write(&args.output, size_of::<O::Real>())?;

    let text = format!(
        "L_lap {:.8}  L_orth {:.8}  loss {:.8}\n{}",
        losses[0],
        losses[1],
        losses[2],
        args.output.display()
    );
    let mut value = Map::new();
    for (name, loss) in ["l_lap", "l_orth", "loss"].into_iter().zip(&losses) {
        value.insert(name.into(), json!(loss));
    }
    value.insert("device".into(), json!(ops.name()));
    value.insert("output".into(), json!(args.output));
    value.insert("seconds".into(), json!(began.elapsed().as_secs_f64()));
    console.result(value.into(), &text)
}

fn upload<O: Ops>(ops: &O, from: &Array, to: &mut O::Matrix) -> Result<()> {
    let values: Vec<O::Real> = from.values.iter().map(|&value| O::Real::of(value)).collect();
    ops.upload(&values, to, 0)
}

fn values_of<O: Ops>(ops: &O, matrix: &O::Matrix) -> Result<Vec<f64>> {
    let mut values = vec![O::Real::ZERO; matrix.rows() * matrix.cols()];
    ops.download(matrix, &mut values)?;
    Ok(to_f64(values))
}

fn to_f64<T: Real>(values: Vec<T>) -> Vec<f64> {
    values.into_iter().map(Real::to_f64).collect()
}

/// What the step computed, by name.
#[derive(Default)]
struct Output(Vec<(String, Vec<usize>, Vec<f64>)>);

impl Output {
    fn push(&mut self, name: &str, shape: Vec<usize>, values: Vec<f64>) {
        self.0.push((name.to_string(), shape, values));
    }

    fn push_network<O: Ops>(&mut self, ops: &O, prefix: &str, network: &Network<O>) -> Result<()> {
        for (i, layer) in network.layers.iter().enumerate() {
            let shape = vec![layer.weight.rows(), layer.weight.cols()];
            self.push(&format!("{prefix}w{i}"), shape, values_of(ops, &layer.weight)?);
            self.push(
                &format!("{prefix}b{i}"),
                vec![layer.bias.cols()],
                values_of(ops, &layer.bias)?,
            );
        }
        Ok(())
    }

    /// Writes f32 or f64, as computed.
    fn write(&self, path: &Path, bytes: usize) -> Result<()> {
        let narrow: Vec<Vec<f32>> = match bytes {
            4 => self
                .0
                .iter()
                .map(|(_, _, values)| values.iter().map(|&v| v as f32).collect())
                .collect(),
            _ => Vec::new(),
        };
        let arrays: Vec<(&str, &[usize], Values)> = self
            .0
            .iter()
            .enumerate()
            .map(|(i, (name, shape, values))| {
                let values = narrow
                    .get(i)
                    .map_or(Values::F64(values), |values| Values::F32(values));
                (&name[..], &shape[..], values)
            })
            .collect();
        npz::write_arrays(path, &arrays)
    }
}

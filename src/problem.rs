//! A single training step on a problem from a file, with everything computed in it written out: how an engine is compared with
//! others. Any backend can make it; `neuncut step` is this on those that the program can choose from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Map, Value, json};

use crate::data::npz::{self, Array, Values};
use crate::error::{Error, Result};
use crate::model::{Dense, Model};
use crate::network::{Network, to_real};
use crate::ops::{
    AdamRule, AffinityRule, Cut, HeatKernel, Objective, Ops, Penalty, Real, Shape, StepState, Volumes,
};
use crate::options::Neighbors;
use crate::train::{Step, StepRule, StepSize};
use crate::values;

/// Largest mini-batch whose affinity is written out.
const AFFINITY_ROWS: usize = 4096;

/// Options of the step, but for the device.
#[derive(Args)]
#[group(skip)] // a group would forbid the command that holds these its own `StepArgs`
pub struct StepArgs {
    /// The problem: `x` [m, d], `w0` [h, d], `b0` [h], `w1`, `b1`, ... in PyTorch's layout, and if need be Adam's moments `m_w0`,
    /// `v_w0`, `m_b0`, ...
    #[arg(long, value_name = "IN.npz")]
    problem: PathBuf,

    /// Where everything computed goes: affinity (up to 4096 rows), degrees, contraction, logits, membership, volumes, l_lap,
    /// l_orth, loss, d_logits, d_w0, d_b0, ..., new_w0, new_b0, ..., new_m_w0, new_v_w0, ...
    #[arg(long, short, value_name = "OUT.npz")]
    output: PathBuf,

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
    #[arg(long, value_name = "FORM", default_value = "squared")]
    penalty: Penalty,

    /// Whether gradients pass through the volumes: through or fixed
    #[arg(long, value_name = "MODE", default_value = "through")]
    volumes: Volumes,

    /// Cut that is relaxed: ncut or rcut
    #[arg(long, value_name = "CUT", default_value = "ncut")]
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
}

/// A problem as read.
pub struct Problem {
    x: Array,
    layers: Vec<[Array; 2]>,
    moments: BTreeMap<String, Array>,
}

impl Problem {
    /// Checks the options, and reads the problem that they name.
    ///
    /// # Errors
    /// When an option is out of its range, or the file cannot be read or is no problem as [`StepArgs`] describes it.
    pub fn read(args: &StepArgs) -> Result<Self> {
        values::positive("--sigma", args.sigma)?;
        values::not_negative("--gamma", args.gamma)?;
        values::positive("--lr", args.lr)?;
        values::neighbors(args.neighbors)?;
        values::not_negative("--weight-decay", args.weight_decay)?;
        values::at_least("--step", 1, args.step as usize)?;
        values::output(&args.output, "npz", &[&args.problem])?;
        let path = &args.problem;
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

/// What a step tells, beside the file it writes.
pub struct StepResult {
    /// L_lap, L_orth, loss.
    pub losses: [f64; 3],
    /// For people.
    pub text: String,
    /// The same for programs: `l_lap`, `l_orth`, `loss`, `device`, `output`, `seconds`.
    pub json: Value,
}

/// Makes the step on `ops`, and writes all that it computed to the file that `args` name.
pub fn make_step<O: Ops>(ops: &O, args: &StepArgs, problem: &Problem) -> Result<StepResult> {
    let began = std::time::Instant::now();
    let m = problem.x.shape[0];
    let rule = StepRule {
        affinity: AffinityRule::Heat(HeatKernel {
            sigma: args.sigma,
            neighbors: args.neighbors.limit(),
        }),
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
    let size = StepSize {
        rows: m,
        batches: 1,
        training_rows: m,
    };
    let mut step = Step::new(ops, &problem.blank(), rule, size, None, state)?;
    upload(ops, &problem.x, &mut step.x)?;
    for (i, [weight, bias]) in problem.layers.iter().enumerate() {
        upload(ops, weight, &mut step.learner.network.layers[i].weight)?;
        upload(ops, bias, &mut step.learner.network.layers[i].bias)?;
        let moments = [
            ("m", &mut step.learner.first_moments),
            ("v", &mut step.learner.second_moments),
        ];
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

    let mut losses = [O::Real::ZERO; 3];
    ops.download(&step.losses, &mut losses)?;
    let losses = losses.map(Real::to_f64);
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
    out.push(
        "logits",
        vec![m, k],
        values_of(ops, step.learner.activations.logits())?,
    );
    out.push("membership", vec![m, k], values_of(ops, &step.membership)?);
    out.push("volumes", vec![k], values_of(ops, &step.volumes)?);
    for (name, value) in ["l_lap", "l_orth", "loss"].into_iter().zip(&losses) {
        out.push(name, vec![], vec![*value]);
    }
    out.push("d_logits", vec![m, k], values_of(ops, step.learner.d_logits())?);
    out.push_network(ops, "d_", &step.learner.gradients)?;
    out.push_network(ops, "new_", &step.learner.network)?;
    out.push_network(ops, "new_m_", &step.learner.first_moments)?;
    out.push_network(ops, "new_v_", &step.learner.second_moments)?;
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
    Ok(StepResult {
        losses,
        text,
        json: value.into(),
    })
}

fn upload<O: Ops>(ops: &O, from: &Array, to: &mut O::Matrix) -> Result<()> {
    ops.upload(&to_real::<O>(&from.values), to, 0)
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

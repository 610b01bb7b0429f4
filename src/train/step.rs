//! One training step on a mini-batch: affinity, forward pass, loss, backward pass, update.

use crate::error::Result;
use crate::learner::Learner;
use crate::model::Model;
use crate::ops::{AdamRule, AffinityRule, Objective, Ops, Real, StepState};

/// What does not change from step to step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepRule {
    /// The affinity between the rows of a mini-batch.
    pub affinity: AffinityRule,
    /// The loss.
    pub objective: Objective,
    /// The optimiser.
    pub adam: AdamRule,
}

/// How much memory steps need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepSize {
    /// Rows of a mini-batch.
    pub rows: usize,
    /// Mini-batches of an epoch.
    pub batches: usize,
    /// All training rows.
    pub training_rows: usize,
}

/// A network in training, with all the memory that its steps need.
pub struct Step<O: Ops> {
    /// The affinity, the loss and the optimiser.
    pub rule: StepRule,
    /// The network.
    pub learner: Learner<O>,
    /// Batch number, step number, learning rate.
    pub state: O::State,
    /// The rows of the epoch's mini-batches, one after the other.
    pub order: O::Labels,
    /// The label that each training row should get, where the network is fitted to labels.
    pub targets: O::Labels,
    /// The mini-batch, m x d.
    pub x: O::Matrix,
    /// Its affinity.
    pub affinity: O::Affinity,
    /// Y, m x k.
    pub membership: O::Matrix,
    /// S = A Y, m x k.
    pub contraction: O::Matrix,
    /// D, 1 x m.
    pub degrees: O::Matrix,
    /// v, 1 x k.
    pub volumes: O::Matrix,
    /// (L_lap, L_orth, loss) of each mini-batch of the epoch.
    pub losses: O::Matrix,
    workspace: O::Workspace,
    /// Of steps that lower the cut, and of those that fit labels.
    recordings: [O::Recording; 2],
}

impl<O: Ops> Step<O> {
    /// Allocates steps; moments start at 0, and mini-batches are those of an epoch in the rows' own order. `graph` is that of the
    /// training rows, where mini-batches are parts of one.
    pub fn new(
        ops: &O,
        model: &Model<impl Real>,
        rule: StepRule,
        size: StepSize,
        graph: Option<&O::Graph>,
        state: StepState,
    ) -> Result<Self> {
        let StepSize { rows, batches, .. } = size;
        let affinity = match (rule.affinity, graph) {
            (AffinityRule::Heat(kernel), _) => {
                ops.affinity(rows, model.inputs(), model.clusters(), kernel)?
            }
            (AffinityRule::Graph(form), Some(graph)) => ops.graph_affinity(graph, rows, form)?,
            (AffinityRule::Graph(_), None) => panic!("mini-batches of a graph that is not there"),
        };
        let mut order = ops.labels("the order of an epoch", rows * batches)?;
        let in_order = (0..rows * batches).map(|row| (row % size.training_rows) as u32);
        ops.upload_labels(&in_order.collect::<Vec<u32>>(), &mut order)?;
        let k = model.clusters();
        Ok(Step {
            rule,
            learner: Learner::new(ops, model, rows)?,
            state: ops.state(state)?,
            x: ops.operand("a mini-batch", rows, model.inputs())?,
            affinity,
            order,
            targets: ops.labels("labels of the training rows", size.training_rows)?,
            membership: ops.operand("the memberships", rows, k)?,
            contraction: ops.matrix("the contraction A Y", rows, k)?,
            degrees: ops.matrix("the degrees", 1, rows)?,
            volumes: ops.matrix("the volumes", 1, k)?,
            losses: ops.matrix("the losses of an epoch", batches, 3)?,
            workspace: ops.workspace(rows, k)?,
            recordings: Default::default(),
        })
    }

    /// One step down the loss of the cut, on the next mini-batch of `data`.
    pub fn run(&mut self, ops: &O, data: &O::Matrix, graph: Option<&O::Graph>) -> Result<()> {
        let mut recording = std::mem::take(&mut self.recordings[0]);
        let done = ops.step(&mut recording, &mut || {
            ops.gather_rows(data, &self.order, &self.state, &mut self.x)?;
            match graph {
                Some(graph) => ops.subgraph(graph, &self.order, &self.state, &mut self.affinity)?,
                None => ops.pairwise(&self.x, &mut self.affinity)?,
            }
            self.lower_cut(ops)?;
            ops.advance(&mut self.state)
        });
        self.recordings[0] = recording;
        done
    }

    /// One step towards the targets, on the next mini-batch of `data`.
    pub fn run_to_targets(&mut self, ops: &O, data: &O::Matrix) -> Result<()> {
        let mut recording = std::mem::take(&mut self.recordings[1]);
        let done = ops.step(&mut recording, &mut || {
            ops.gather_rows(data, &self.order, &self.state, &mut self.x)?;
            ops.softmax(self.learner.forward(ops, &self.x)?, &mut self.membership)?;
            ops.cross_entropy(
                &self.membership,
                &self.targets,
                &self.order,
                &self.state,
                self.learner.at_loss().1,
                &mut self.losses,
            )?;
            self.backward(ops)?;
            ops.advance(&mut self.state)
        });
        self.recordings[1] = recording;
        done
    }

    /// One step on the rows that `x` holds, the affinity computed from them; the state stays.
    pub fn run_on_batch(&mut self, ops: &O) -> Result<()> {
        ops.pairwise(&self.x, &mut self.affinity)?;
        self.lower_cut(ops)
    }

    /// Forward, loss and backward on a mini-batch whose affinity is ready.
    fn lower_cut(&mut self, ops: &O) -> Result<()> {
        ops.softmax(self.learner.forward(ops, &self.x)?, &mut self.membership)?;
        ops.contract(
            &self.x,
            &self.affinity,
            &self.membership,
            &mut self.contraction,
            &mut self.degrees,
        )?;
        ops.ncut(
            &self.membership,
            &self.contraction,
            &self.degrees,
            self.rule.objective,
            &self.state,
            &mut self.workspace,
            &mut self.volumes,
            self.learner.at_loss().1,
            &mut self.losses,
        )?;
        self.backward(ops)
    }

    /// From the gradient of the logits to that of all parameters, and the update.
    fn backward(&mut self, ops: &O) -> Result<()> {
        self.learner.backward(ops)?;
        self.learner.update(ops, self.rule.adam, &self.x, &self.state)
    }
}

//! One stage of training, epoch by epoch. The steps of an epoch are queued without waiting for them, and judged when they are done:
//! in between, the device has work and the host is free for other trainings.

use std::time::Instant;

use super::checkpoint::check_losses;
use super::{
    Best, Checkpoint, EpochRecord, Goal, Patience, Plan, Stage, Step, StepSize, Targets, Trained,
    TrainingRows, Watch,
};
use crate::error::{Error, Result};
use crate::graph::{Sampler, count as count_labels, ranking};
use crate::network::{Activations, download, to_host};
use crate::ops::{Ops, Shape, StepState};
use crate::scores::Scores;

/// Targets are learned when the cut is theirs up to this share of it, or, without a graph, when this share of the rows is given theirs.
const SAME_CUT: f64 = 1e-3;
const AGREEMENT: f64 = 0.999;

/// A stage of training under way.
pub struct Training<'a, O: Ops> {
    ops: &'a O,
    plan: Plan,
    rows: &'a TrainingRows<'a, O>,
    sampler: Sampler<'a>,
    /// The training rows, as their fingerprint tells them from others.
    data: String,
    stage: Stage,
    targets: Option<Targets>,
    /// The cut of the targets.
    targets_cut: Option<f64>,
    step: Step<O>,
    labeller: Labeller<O>,
    /// Seconds of this attempt before, and since when this part of it runs.
    seconds: f64,
    clock: Instant,
    /// Epochs judged.
    epoch: usize,
    /// Mini-batches queued of the epoch begun.
    batch: usize,
    /// Steps queued in all.
    steps: u64,
    patience: Patience,
    best: Option<Best<O::Real>>,
    /// Of all training rows, after the last epoch judged.
    labels: Vec<u32>,
    over: bool,
}

impl<'a, O: Ops> Training<'a, O> {
    /// Takes up a stage where `start` has come to; what is queued is queued on `ops`.
    ///
    /// # Errors
    /// When `start` is of another plan; [`Error::Memory`] and its like.
    pub fn begin(
        ops: &'a O,
        plan: Plan,
        rows: &'a TrainingRows<'a, O>,
        start: &Checkpoint<O::Real>,
        watch: &mut dyn Watch<O::Real>,
    ) -> Result<Self> {
        let count = rows.x.rows();
        if plan.batch == 0 || plan.batch > count {
            return Err(Error::option(
                "--batch",
                format!("{} rows, but there are {count} training rows", plan.batch),
                "choose a smaller mini-batch or more rows",
            ));
        }
        let sampler = plan.sampler(rows);
        let batches = sampler.batches();
        start.check(&plan, rows.x.cols(), batches)?;
        let state = StepState {
            batch: start.batch as u32,
            ..plan.state_at(start.epoch, start.step)
        };
        let graph = rows.graph.map(|graph| graph.resident);
        let size = StepSize {
            rows: plan.batch,
            batches,
            training_rows: count,
        };
        let (mut step, labeller) = ops.plan("training", &|| {
            let step = Step::new(ops, &start.model, plan.rule, size, graph, state)?;
            let labeller = Labeller::new(ops, &step, count, plan.batch)?;
            Ok((step, labeller))
        })?;
        start.restore(ops, &mut step)?;
        if let Some(targets) = &start.targets {
            ops.upload_labels(&targets.labels, &mut step.targets)?;
        }
        watch.stage(&plan, start.stage);
        let mut training = Training {
            ops,
            rows,
            sampler,
            data: start.data.clone(),
            stage: start.stage,
            targets: start.targets.clone(),
            targets_cut: None,
            step,
            labeller,
            seconds: start.seconds,
            clock: Instant::now(),
            epoch: start.epoch,
            batch: start.batch,
            steps: start.step,
            patience: start.patience,
            best: start.best.clone(),
            labels: vec![0; count],
            over: start.epoch >= plan.epochs,
            plan,
        };
        if let (Goal::Targets, Some(targets)) = (training.plan.goal, &training.targets) {
            training.targets_cut = training.cut_of(&targets.labels);
        }
        Ok(training)
    }

    /// What its steps are queued on.
    pub fn ops(&self) -> &'a O {
        self.ops
    }

    /// Which stage it is.
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// Whether the stage has come to its end.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Queues the steps that the epoch begun lacks, and the labelling after them; `false` when it was asked to stop before.
    pub fn queue_epoch(&mut self, watch: &mut dyn Watch<O::Real>) -> Result<bool> {
        let (ops, rows, batches) = (self.ops, self.rows, self.sampler.batches());
        let state = StepState {
            batch: self.batch as u32,
            ..self.plan.state_at(self.epoch, self.steps)
        };
        ops.upload_labels(&self.sampler.epoch(state.seed, state.epoch), &mut self.step.order)?;
        ops.set_state(state, &mut self.step.state)?;
        let graph = rows.graph.map(|graph| graph.resident);
        while self.batch < batches {
            if watch.stop() {
                return Ok(false);
            }
            match self.plan.goal {
                Goal::Cut => self.step.run(ops, rows.x, graph)?,
                Goal::Targets => self.step.run_to_targets(ops, rows.x)?,
            }
            self.batch += 1;
            self.steps += 1;
            watch.step(self.epoch + 1, self.plan.epochs, self.batch, batches);
        }
        self.labeller.queue(ops, &self.step, rows.x)?;
        Ok(true)
    }

    /// Waits for the epoch that is queued, and tells what has become of the network.
    ///
    /// # Errors
    /// [`Error::Diverged`] when a loss is not finite.
    pub fn judge(&mut self, watch: &mut dyn Watch<O::Real>) -> Result<()> {
        let (ops, plan, batches) = (self.ops, &self.plan, self.sampler.batches());
        let losses = to_host(ops, &self.step.losses)?;
        check_losses(&losses, self.epoch)?;
        let mean = |column: usize| {
            losses.chunks_exact(3).map(|l| f64::from(l[column])).sum::<f64>() / batches as f64
        };
        ops.download_labels(&self.labeller.labels, &mut self.labels)?;
        let cut = self.cut_of(&self.labels);
        // Of the networks that have learned the targets well enough, the first is as good as any: later ones know these rows by heart.
        let enough = match (plan.goal, &self.targets) {
            (Goal::Targets, Some(targets)) => targets.enough,
            (Goal::Targets, None) => f64::INFINITY,
            (Goal::Cut, _) => f64::NEG_INFINITY,
        };
        let better = cut
            .map(|cut| (cut, cut.max(enough)))
            .filter(|&(_, rank)| plan.ranked && self.best.as_ref().is_none_or(|best| rank < best.rank));
        if let Some((cut, rank)) = better {
            let model = self.step.learner.network.to_model(ops)?;
            self.best = Some(Best { cut, rank, model });
        }
        let agreement = match (plan.goal, &self.targets) {
            (Goal::Targets, Some(targets)) => Some(agreement(&self.labels, &targets.labels)),
            _ => None,
        };
        let scores = self
            .rows
            .truth
            .map(|truth| Scores::of(&self.labels, plan.clusters, truth.index, truth.classes));
        watch.epoch(&EpochRecord {
            attempt: self.stage.attempt + 1,
            epoch: plan.first_epoch + self.epoch + 1,
            l_lap: mean(0),
            l_orth: mean(1),
            loss: mean(2),
            learning_rate: plan.learning_rate_at(self.epoch),
            sizes: count_labels(&self.labels, plan.clusters),
            cut,
            kept: better.is_some(),
            agreement,
            cut_of_targets: agreement.and(self.targets_cut),
            seconds: self.seconds(),
            scores: scores.transpose()?,
        })?;
        self.epoch += 1;
        self.batch = 0;
        let settled = match (agreement, cut) {
            (Some(agreement), cut) => match (cut, self.targets_cut) {
                (Some(cut), Some(of_targets)) => cut <= of_targets * (1.0 + SAME_CUT),
                _ => agreement >= AGREEMENT,
            },
            (None, Some(cut)) => self.patience.is_over(-cut, batches),
            (None, None) => false,
        };
        self.over = settled || self.epoch >= self.plan.epochs;
        if !self.over && watch.wants_checkpoint(self.stage.attempt) {
            watch.checkpoint(&self.checkpoint()?)?;
        }
        Ok(())
    }

    /// All that it needs to go on, once what is queued is done; or [`Error::Diverged`]: what is no number must be neither saved nor
    /// handed on.
    pub fn checkpoint(&self) -> Result<Checkpoint<O::Real>> {
        let (ops, step) = (self.ops, &self.step);
        let mut losses = download(ops, &step.losses)?;
        losses.truncate(3 * self.batch);
        check_losses(&losses, self.epoch)?;
        let taken = Checkpoint {
            data: self.data.clone(),
            model: step.learner.network.to_model(ops)?,
            first_moments: step.learner.first_moments.to_model(ops)?,
            second_moments: step.learner.second_moments.to_model(ops)?,
            epoch: self.epoch,
            batch: self.batch,
            step: self.steps,
            losses,
            seconds: self.seconds(),
            patience: self.patience,
            best: self.best.clone(),
            stage: self.stage,
            targets: self.targets.clone(),
            ended: None,
            finished: false,
        };
        let parts = [&taken.model, &taken.first_moments, &taken.second_moments];
        if parts.iter().all(|part| part.is_finite()) {
            return Ok(taken);
        }
        // The last update did it; the next loss would have shown it.
        let (epoch, batch) = match self.batch {
            0 => (self.epoch, step.losses.rows()),
            batch => (self.epoch + 1, batch),
        };
        Err(Error::Diverged {
            loss: f64::NAN,
            epoch,
            batch,
        })
    }

    /// The error that says how far it has come.
    pub fn interrupted(&self) -> Error {
        Error::Interrupted(format!(
            "stopped in epoch {} of {}",
            self.epoch + 1,
            self.plan.epochs
        ))
    }

    /// What the stage ends with.
    ///
    /// # Errors
    /// [`Error::Diverged`] when a parameter is not finite.
    pub fn finish(self) -> Result<Trained> {
        let last = self.checkpoint()?;
        Ok(Trained {
            model: last.model.cast(),
            labels: self.labels,
            best: last.best.map(|best| best.cast()),
            epochs: self.epoch,
            seconds: last.seconds,
        })
    }

    fn cut_of(&self, labels: &[u32]) -> Option<f64> {
        let graph = self.rows.graph?;
        let cut = self.plan.rule.objective.cut;
        Some(ranking(graph.edges, labels, self.plan.clusters, cut))
    }

    fn seconds(&self) -> f64 {
        self.seconds + self.clock.elapsed().as_secs_f64()
    }
}

/// Share of the rows that have their targets.
fn agreement(labels: &[u32], targets: &[u32]) -> f64 {
    let same = labels
        .iter()
        .zip(targets)
        .filter(|(label, target)| label == target);
    same.count() as f64 / labels.len() as f64
}

/// Labels all training rows with the network as it stands.
struct Labeller<O: Ops> {
    x: O::Matrix,
    activations: Activations<O>,
    labels: O::Labels,
    chunk: usize,
}

impl<O: Ops> Labeller<O> {
    fn new(ops: &O, step: &Step<O>, rows: usize, chunk: usize) -> Result<Self> {
        Ok(Labeller {
            x: ops.matrix("rows to be labelled", chunk, step.x.cols())?,
            activations: step.learner.network.activations(ops, chunk)?,
            labels: ops.labels("labels of the training rows", rows)?,
            chunk,
        })
    }

    fn queue(&mut self, ops: &O, step: &Step<O>, data: &O::Matrix) -> Result<()> {
        let rows = data.rows();
        for first in (0..rows).step_by(self.chunk) {
            self.x.set_rows(self.chunk.min(rows - first));
            ops.copy_rows(data, first, &mut self.x)?;
            let network = &step.learner.network;
            network.infer(ops, &self.x, &mut self.activations, &mut self.labels, first)?;
        }
        Ok(())
    }
}

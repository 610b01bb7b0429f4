//! Labels for any number of rows: read a chunk, transform it, pass it through the network, hand the labels on.

use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::features::{Pipeline, Prepared, Reader};
use crate::model::Model;
use crate::network::{Activations, Network, to_host, to_real};
use crate::ops::{Ops, Shape};
use crate::progress::Progress;

/// Rows in flight at a time. Memory does not depend on the number of rows.
pub const CHUNK: usize = 4096;

/// A model and its features, ready to label rows on a backend.
pub struct Predictor<'a, O: Ops> {
    ops: &'a O,
    reader: Reader,
    pipeline: Prepared<O>,
    network: Network<O>,
    x: O::Matrix,
    activations: Activations<O>,
    membership: O::Matrix,
    labels: O::Labels,
}

impl<'a, O: Ops> Predictor<'a, O> {
    /// Uploads `model` and `pipeline` and allocates room for [`CHUNK`] rows.
    pub fn new(ops: &'a O, model: &Model, pipeline: &Pipeline) -> Result<Self> {
        if model.inputs() != pipeline.outputs() {
            return Err(Error::Shape {
                what: "the input of the network".into(),
                found: format!("{} numbers", model.inputs()),
                expected: format!("{}, as the features give", pipeline.outputs()),
            });
        }
        let network = Network::new(ops, model)?;
        Ok(Predictor {
            ops,
            reader: pipeline.reader().clone(),
            pipeline: pipeline.prepare(ops, CHUNK)?,
            x: ops.matrix("a chunk of rows", CHUNK, pipeline.reader().outputs())?,
            activations: network.activations(ops, CHUNK)?,
            membership: ops.matrix("a chunk of memberships", CHUNK, model.clusters())?,
            labels: ops.labels("a chunk of labels", CHUNK)?,
            network,
        })
    }

    /// Labels of at most [`CHUNK`] raw rows, and their memberships (rows x k) when `probabilities` has room for them.
    pub fn label(
        &mut self,
        rows: &[f32],
        labels: &mut [u32],
        probabilities: Option<&mut Vec<f32>>,
    ) -> Result<()> {
        let ops = self.ops;
        self.x.set_rows(labels.len());
        ops.upload(&to_real::<O>(&self.reader.read(ops, rows)), &mut self.x, 0)?;
        let x = self.pipeline.apply(ops, &mut self.x)?;
        self.network.forward(ops, x, &mut self.activations)?;
        ops.argmax(self.activations.logits(), &mut self.labels, 0)?;
        ops.download_labels(&self.labels, labels)?;
        if let Some(probabilities) = probabilities {
            self.membership.set_rows(labels.len());
            ops.softmax(self.activations.logits(), &mut self.membership)?;
            *probabilities = to_host(ops, &self.membership)?;
        }
        Ok(())
    }

    /// Labels all rows of `data`, chunk by chunk in order: `sink(labels, memberships)`, the latter empty unless
    /// `with_probabilities`.
    pub fn label_all(
        &mut self,
        data: &Dataset,
        with_probabilities: bool,
        progress: &mut dyn Progress,
        mut sink: impl FnMut(&[u32], &[f32]) -> Result<()>,
    ) -> Result<()> {
        self.reader.check(data)?;
        let (rows, cols) = (data.rows(), data.cols());
        let mut raw = vec![0.0; CHUNK.min(rows) * cols];
        let mut labels = vec![0; CHUNK.min(rows)];
        let mut probabilities = Vec::new();
        progress.begin("labelling", rows as u64, "rows");
        for first in (0..rows).step_by(CHUNK) {
            if progress.interrupted() {
                return Err(Error::Interrupted(format!(
                    "{first} of {rows} rows were labelled, nothing was written"
                )));
            }
            let count = CHUNK.min(rows - first);
            let (raw, labels) = (&mut raw[..count * cols], &mut labels[..count]);
            data.read_rows(first, raw)?;
            self.label(raw, labels, with_probabilities.then_some(&mut probabilities))?;
            sink(labels, &probabilities)?;
            progress.advance((first + count) as u64, "");
        }
        progress.end();
        Ok(())
    }
}

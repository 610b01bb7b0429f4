//! Labels for any number of rows: read a chunk, transform it, pass it through the network, hand the labels on; chunk after chunk, all at
//! the same time.

use std::ops::Range;

use crate::data::Dataset;
use crate::data::cache::Cache;
use crate::data::raw::Raw;
use crate::error::{Error, Result};
use crate::features::stream::Source;
use crate::features::{Extractor, Pipeline};
use crate::model::Model;
use crate::network::{Activations, Network, of_real, to_host};
use crate::ops::{Ops, Shape};
use crate::progress::Progress;

/// Rows in flight at a time. Memory does not depend on the number of rows.
pub const CHUNK: usize = 4096;

/// A model and its features, ready to label rows on a backend.
pub struct Predictor<'a, O: Ops> {
    ops: &'a O,
    extractor: Extractor<O>,
    network: Network<O>,
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
            extractor: pipeline.extractor(ops, CHUNK)?,
            activations: network.activations(ops, CHUNK)?,
            membership: ops.matrix("a chunk of memberships", CHUNK, model.clusters())?,
            labels: ops.labels("a chunk of labels", CHUNK)?,
            network,
        })
    }

    /// Takes the features of rows from a cache, if there is one, and keeps them there; `pipeline` is what makes them.
    pub fn caching(mut self, pipeline: &Pipeline, cache: Option<&Cache>) -> Self {
        self.extractor = self.extractor.caching(self.ops, pipeline, cache);
        self
    }

    /// Asks for the labels of at most [`CHUNK`] raw rows, and for their memberships if they are wanted; returns how many rows there are.
    fn ask(&mut self, rows: Raw, with_probabilities: bool) -> Result<usize> {
        let ops = self.ops;
        let x = self.extractor.extract(ops, rows)?;
        let count = x.rows();
        if !with_probabilities {
            self.network
                .infer(ops, x, &mut self.activations, &mut self.labels, 0)?;
            return Ok(count);
        }
        self.network.forward(ops, x, &mut self.activations)?;
        ops.argmax(self.activations.logits(), &mut self.labels, 0)?;
        self.membership.set_rows(count);
        ops.softmax(self.activations.logits(), &mut self.membership)?;
        Ok(count)
    }

    /// Labels of at most [`CHUNK`] raw rows, and their memberships (rows x k) when `probabilities` has room for them.
    pub fn label(
        &mut self,
        rows: &[f32],
        labels: &mut [u32],
        probabilities: Option<&mut Vec<f32>>,
    ) -> Result<()> {
        self.ask(Raw::F32(rows), probabilities.is_some())?;
        self.ops.download_labels(&self.labels, labels)?;
        if let Some(probabilities) = probabilities {
            *probabilities = to_host(self.ops, &self.membership)?;
        }
        Ok(())
    }

    /// Labels the given rows of `data`, chunk by chunk in order: `sink(labels, memberships)`, the latter empty unless
    /// `with_probabilities`, on a thread of its own. The next chunk is read and brought to the device while one is labelled there, and
    /// the one before written.
    pub fn label_all(
        &mut self,
        data: &Dataset,
        rows: Range<usize>,
        with_probabilities: bool,
        progress: &mut dyn Progress,
        mut sink: impl FnMut(&[u32], &[f32]) -> Result<()> + Send,
    ) -> Result<()> {
        self.extractor.reader().check(data)?;
        let ops = self.ops;
        let source = Source {
            data,
            rows,
            chunk: CHUNK,
            stage: "labelling",
        };
        source.each_result(
            progress,
            |rows| {
                let count = self.ask(rows, with_probabilities)?;
                let labels = ops.post_labels(&self.labels, count)?;
                let memberships = with_probabilities.then(|| ops.post(&self.membership));
                Ok((labels, memberships.transpose()?))
            },
            |(labels, memberships)| {
                let memberships = memberships.map(|coming| ops.collect(coming)).transpose()?;
                Ok((ops.collect(labels)?, memberships.map_or(Vec::new(), of_real)))
            },
            |(labels, memberships)| sink(&labels, &memberships),
        )?;
        self.extractor.tell(progress);
        Ok(())
    }
}

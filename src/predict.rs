//! Labels for any number of rows: read a chunk, transform it, pass it through the network, hand the labels on.

use std::ops::Range;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, Scope};

use crate::data::Dataset;
use crate::data::cache::Cache;
use crate::error::{Error, Result};
use crate::features::{KeptRows, Loader, Pipeline, Prepared};
use crate::model::Model;
use crate::network::{Activations, Network, to_host};
use crate::ops::{Ops, Shape};
use crate::progress::Progress;

/// Rows in flight at a time. Memory does not depend on the number of rows.
pub const CHUNK: usize = 4096;

/// A thread that reads rows, a chunk ahead of whoever takes them.
struct ReadAhead {
    chunks: Receiver<Result<Chunk>>,
    /// Room for further chunks.
    room: Sender<Vec<f32>>,
}

/// Some rows of the data, and what they hold.
type Chunk = (Range<usize>, Vec<f32>);

impl ReadAhead {
    fn start<'scope>(scope: &'scope Scope<'scope, '_>, data: &'scope Dataset, rows: Range<usize>) -> Self {
        let (room, spare) = channel::<Vec<f32>>();
        let (full, chunks) = channel();
        for _ in 0..2 {
            // Nobody has hung up yet.
            let _ = room.send(Vec::new());
        }
        scope.spawn(move || {
            for first in rows.clone().step_by(CHUNK) {
                let chunk = first..rows.end.min(first + CHUNK);
                // Whoever takes the chunks has gone: so does this thread.
                let Ok(mut values) = spare.recv() else {
                    return;
                };
                values.resize(chunk.len() * data.cols(), 0.0);
                let read = data.read_rows(first, &mut values);
                let failed = read.is_err();
                if full.send(read.map(|()| (chunk, values))).is_err() || failed {
                    return;
                }
            }
        });
        ReadAhead { chunks, room }
    }

    fn next(&self) -> Result<Option<Chunk>> {
        self.chunks.recv().ok().transpose()
    }

    fn give_back(&self, values: Vec<f32>) {
        // After the last chunk nobody needs it.
        let _ = self.room.send(values);
    }
}

/// A model and its features, ready to label rows on a backend.
pub struct Predictor<'a, O: Ops> {
    ops: &'a O,
    loader: Loader<O>,
    pipeline: Prepared<O>,
    kept: KeptRows<O>,
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
            loader: Loader::new(ops, pipeline.reader())?,
            pipeline: pipeline.prepare(ops, CHUNK)?,
            kept: KeptRows::new(ops, pipeline, None, CHUNK),
            x: ops.matrix("a chunk of rows", CHUNK, pipeline.reader().outputs())?,
            activations: network.activations(ops, CHUNK)?,
            membership: ops.matrix("a chunk of memberships", CHUNK, model.clusters())?,
            labels: ops.labels("a chunk of labels", CHUNK)?,
            network,
        })
    }

    /// Takes the features of rows from a cache, if there is one, and keeps them there; `pipeline` is what makes them.
    pub fn caching(mut self, pipeline: &Pipeline, cache: Option<&Cache>) -> Self {
        self.kept = KeptRows::new(self.ops, pipeline, cache, CHUNK);
        self
    }

    /// Labels of at most [`CHUNK`] raw rows, and their memberships (rows x k) when `probabilities` has room for them.
    pub fn label(
        &mut self,
        rows: &[f32],
        labels: &mut [u32],
        probabilities: Option<&mut Vec<f32>>,
    ) -> Result<()> {
        let ops = self.ops;
        let x = self.kept.get(ops, rows, || {
            self.x.set_rows(labels.len());
            self.loader.load(ops, rows, &mut self.x)?;
            self.pipeline.apply(ops, &mut self.x)
        })?;
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

    /// Labels the given rows of `data`, chunk by chunk in order: `sink(labels, memberships)`, the latter empty unless
    /// `with_probabilities`. The next chunk is read while one is labelled.
    pub fn label_all(
        &mut self,
        data: &Dataset,
        rows: Range<usize>,
        with_probabilities: bool,
        progress: &mut dyn Progress,
        mut sink: impl FnMut(&[u32], &[f32]) -> Result<()>,
    ) -> Result<()> {
        self.loader.reader().check(data)?;
        let mut labels = vec![0; CHUNK.min(rows.len())];
        let mut probabilities = Vec::new();
        progress.begin("labelling", rows.len() as u64, "rows");
        let begin = rows.start;
        thread::scope(|scope| {
            let ahead = ReadAhead::start(scope, data, rows);
            while let Some((rows, raw)) = ahead.next()? {
                let done = rows.start - begin;
                if progress.interrupted() {
                    return Err(Error::Interrupted(format!(
                        "{done} rows were labelled, nothing was written"
                    )));
                }
                let labels = &mut labels[..rows.len()];
                self.label(&raw, labels, with_probabilities.then_some(&mut probabilities))?;
                self.kept.tell(progress);
                sink(labels, &probabilities)?;
                progress.advance((done + rows.len()) as u64, "");
                ahead.give_back(raw);
            }
            Ok(())
        })?;
        progress.end();
        Ok(())
    }
}

//! The way of rows of the data into a backend's memory: as they are, or as the scattering coefficients of the pictures that they are,
//! which the host computes, or the device where it is the better place.

use super::scattering::Steps;
use super::{Kept, Pipeline, Reader};
use crate::data::cache::Cache;
use crate::error::Result;
use crate::network::{download, to_real};
use crate::ops::Ops;

/// Brings rows of the data into a backend's memory.
pub struct Loader<O: Ops> {
    reader: Reader,
    /// What the device does of it.
    steps: Option<Steps<O>>,
    /// What training rows became in other runs.
    kept: Option<Kept>,
}

impl<O: Ops> Loader<O> {
    /// For what `reader` makes of rows.
    pub fn new(ops: &O, reader: &Reader) -> Result<Self> {
        let steps = match reader.scattering() {
            Some(scattering) => Steps::for_device(ops, scattering)?,
            None => None,
        };
        Ok(Loader {
            reader: reader.clone(),
            steps,
            kept: None,
        })
    }

    /// Takes what training rows become from a cache, if there is one, and keeps it there.
    pub fn caching(mut self, ops: &O, cache: Option<&Cache>) -> Self {
        self.kept = Kept::new(ops, &Pipeline::new(self.reader.clone()), cache);
        self
    }

    /// The rows that this is for.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Makes `rows` of the data, whole ones, all rows in use of `to`.
    pub fn load(&mut self, ops: &O, rows: &[f32], to: &mut O::Matrix) -> Result<()> {
        match &mut self.steps {
            Some(steps) => steps.transform(ops, rows, to),
            None => ops.upload(&to_real::<O>(&self.reader.read(ops, rows)), to, 0),
        }
    }

    /// Makes `rows` of the data those of `to` from `first_row` on, which may be [training rows](Ops::training_rows).
    pub fn load_training_rows(
        &mut self,
        ops: &O,
        rows: &[f32],
        to: &mut O::Matrix,
        first_row: usize,
    ) -> Result<()> {
        if let Some(values) = self.kept.as_ref().and_then(|kept| kept.find(rows)) {
            return ops.upload(bytemuck::cast_slice(&values), to, first_row);
        }
        let values = match &mut self.steps {
            None => to_real::<O>(&self.reader.read(ops, rows)),
            Some(steps) => {
                let count = rows.len() / self.reader.columns();
                let mut chunk = ops.matrix("a chunk of rows", count, self.reader.outputs())?;
                steps.transform(ops, rows, &mut chunk)?;
                download(ops, &chunk)?
            }
        };
        if let Some(kept) = &self.kept {
            kept.keep::<O>(rows, &values);
        }
        ops.upload(&values, to, first_row)
    }
}

//! The way of rows of the data into a backend's memory: as they are, or as the scattering coefficients of the pictures that they are,
//! which the host computes, or the device where it is the better place.

use super::Reader;
use super::scattering::Steps;
use crate::error::Result;
use crate::network::{download, to_real};
use crate::ops::Ops;

/// Brings rows of the data into a backend's memory.
pub struct Loader<O: Ops> {
    reader: Reader,
    /// What the device does of it.
    steps: Option<Steps<O>>,
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
        })
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
        let Some(steps) = &mut self.steps else {
            return ops.upload(&to_real::<O>(&self.reader.read(ops, rows)), to, first_row);
        };
        let count = rows.len() / self.reader.columns();
        let mut chunk = ops.matrix("a chunk of rows", count, self.reader.outputs())?;
        steps.transform(ops, rows, &mut chunk)?;
        ops.upload(&download(ops, &chunk)?, to, first_row)
    }
}

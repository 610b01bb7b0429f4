//! The way of rows of the data into a backend's memory: as they are, or as the scattering coefficients of the pictures that they are,
//! which the host computes, or the device where it is the better place.

use super::scattering::Steps;
use super::{Kept, Reader};
use crate::data::raw::Raw;
use crate::error::Result;
use crate::network::{download, to_real};
use crate::ops::Ops;

/// Brings rows of the data into a backend's memory, while that computes.
pub struct Loader<O: Ops> {
    reader: Reader,
    way: Way<O>,
    /// What training rows became in other runs.
    kept: Option<Kept>,
}

enum Way<O: Ops> {
    /// As the reader hands rows on.
    Host(O::Inbox),
    /// As pictures, which the device scatters.
    Device(Steps<O>),
}

impl<O: Ops> Loader<O> {
    /// For what `reader` makes of up to `rows` rows at a time.
    pub fn new(ops: &O, reader: &Reader, rows: usize) -> Result<Self> {
        let steps = match reader.scattering() {
            Some(scattering) => Steps::for_device(ops, scattering)?,
            None => None,
        };
        let way = match steps {
            Some(steps) => Way::Device(steps),
            None => Way::Host(ops.inbox("a chunk of rows", rows * reader.outputs())?),
        };
        Ok(Loader {
            reader: reader.clone(),
            way,
            kept: None,
        })
    }

    /// Takes what training rows become from a cache, if there is one, and keeps it there.
    pub fn caching(self, kept: Option<Kept>) -> Self {
        Loader { kept, ..self }
    }

    /// The rows that this is for.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Makes `rows` of the data, whole ones, all rows in use of `to`.
    pub fn load(&mut self, ops: &O, rows: Raw, to: &mut O::Matrix) -> Result<()> {
        match &mut self.way {
            Way::Device(steps) => steps.transform(ops, &rows.to_pixels(), to),
            Way::Host(inbox) => match self.reader.scattered(ops, rows) {
                Some(coefficients) => ops.widen(Raw::F32(&coefficients), inbox, to),
                None => ops.widen(rows, inbox, to),
            },
        }
    }

    /// Makes `rows` of the data those of `to` from `first_row` on, which may be [training rows](Ops::training_rows).
    pub fn load_training_rows(
        &mut self,
        ops: &O,
        rows: Raw,
        to: &mut O::Matrix,
        first_row: usize,
    ) -> Result<()> {
        if let Some(values) = self.kept.as_ref().and_then(|kept| kept.find(rows)) {
            return ops.upload(bytemuck::cast_slice(&values), to, first_row);
        }
        let values = match &mut self.way {
            Way::Device(steps) => {
                let count = rows.count() / self.reader.columns();
                let mut chunk = ops.matrix("a chunk of rows", count, self.reader.outputs())?;
                steps.transform(ops, &rows.to_pixels(), &mut chunk)?;
                download(ops, &chunk)?
            }
            Way::Host(_) => match self.reader.scattered(ops, rows) {
                Some(coefficients) => to_real::<O>(&coefficients),
                None => to_real::<O>(&rows.to_f32()),
            },
        };
        if let Some(kept) = &self.kept {
            kept.keep::<O>(rows, &values);
        }
        ops.upload(&values, to, first_row)
    }
}

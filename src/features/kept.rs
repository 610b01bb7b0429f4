//! Rows that went through a chain of transforms, kept in the data's cache from one run to the next, a chunk at a time.
//!
//! Keys are made of what rows hold, not of where they lie, and of all else that decides the bits of a result: version, device, precision,
//! processor.

use std::fs;

use crate::data::bytes::Bytes;
use crate::data::cache::{Cache, Key};
use crate::data::raw::Raw;
use crate::error::Result;
use crate::network::download;
use crate::ops::{Ops, Shape};
use crate::progress::Progress;

/// What decides the bits of a result beside its input.
pub fn maker<O: Ops>(ops: &O) -> String {
    // Numeric libraries choose by these how to compute.
    const PROCESSOR: [&str; 5] = ["model name", "flags", "cache size", "CPU part", "Features"];
    let told = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let first = told.lines().take_while(|line| !line.is_empty());
    let processor = first.filter(|line| PROCESSOR.iter().any(|name| line.starts_with(name)));
    let processor: Vec<&str> = processor.collect();
    format!("{} {} {processor:?}", env!("CARGO_PKG_VERSION"), ops.arithmetic())
}

/// Rows that went through a chain of transforms, in the cache.
pub struct Kept {
    cache: Cache,
    chain: Key,
    /// Numbers in a row before them.
    columns: usize,
    /// Bytes in a row behind them.
    row: usize,
}

impl Kept {
    /// Those of the chain that `chain` describes to the last bit, which makes rows of `outputs` numbers of rows of `columns`.
    pub fn new<O: Ops>(ops: &O, cache: &Cache, chain: &[u8], columns: usize, outputs: usize) -> Self {
        Kept {
            cache: cache.clone(),
            chain: Key::of(&[b"rows", maker(ops).as_bytes(), chain]),
            columns,
            row: outputs * size_of::<O::Real>(),
        }
    }

    /// What became of rows `raw` of the data, as the backend's numbers.
    pub fn find(&self, raw: Raw) -> Option<Bytes> {
        let whole = |found: &Bytes| found.len() == raw.count() / self.columns * self.row;
        self.cache.find(self.key(raw)).filter(whole)
    }

    /// Keeps what became of them.
    pub fn keep<O: Ops>(&self, raw: Raw, values: &[O::Real]) {
        let rows = raw.count() / self.columns;
        self.cache.keep(self.key(raw), rows, bytemuck::cast_slice(values));
    }

    /// By the numbers, whatever they are stored as.
    fn key(&self, raw: Raw) -> Key {
        Key::of(&[&self.chain.bytes(), bytemuck::cast_slice(&raw.to_f32())])
    }
}

/// Rows on their way through a chain of transforms in a backend's memory: found in the cache, or made and kept there.
pub struct KeptRows<O: Ops> {
    kept: Option<Kept>,
    /// Some that were found.
    found: Option<O::Matrix>,
    /// How many there may be.
    most: usize,
}

impl<O: Ops> KeptRows<O> {
    /// For up to `most` rows at a time, all of which are made.
    pub fn new(most: usize) -> Self {
        KeptRows {
            kept: None,
            found: None,
            most,
        }
    }

    /// With what a cache holds of them, if there is one.
    pub fn caching(self, kept: Option<Kept>) -> Self {
        KeptRows { kept, ..self }
    }

    /// Rows `raw` of the data, transformed, which `make` does where they are not found.
    pub fn get<'a>(
        &'a mut self,
        ops: &O,
        raw: Raw,
        make: impl FnOnce() -> Result<&'a mut O::Matrix>,
    ) -> Result<&'a O::Matrix> {
        let Some(kept) = &self.kept else {
            return Ok(make()?);
        };
        let Some(values) = kept.find(raw) else {
            let made = make()?;
            kept.keep::<O>(raw, &download(ops, made)?);
            return Ok(made);
        };
        let found = match self.found.take() {
            Some(found) => found,
            None => ops.matrix("a chunk of features", self.most, kept.row / size_of::<O::Real>())?,
        };
        let found = self.found.insert(found);
        found.set_rows(raw.count() / kept.columns);
        ops.upload(bytemuck::cast_slice(&values), found, 0)?;
        Ok(found)
    }

    /// Tells what the user should know of the cache.
    pub fn tell(&self, progress: &mut dyn Progress) {
        if let Some(kept) = &self.kept {
            kept.cache.tell(progress);
        }
    }
}

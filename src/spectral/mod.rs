//! Spectra of graphs, and the labels that spectral clustering gives.

mod embedding;
mod kmeans;
mod lanczos;
mod moves;
mod spectrum;

pub use embedding::{EXTRA, Embedding, Labelling, cluster, embed, starts, vectors_wanted};
pub use kmeans::{Kmeans, kmeans};
pub use lanczos::{Eigenpairs, columns_held, leading};
pub use moves::split_and_merge;
pub use spectrum::{Gap, Spectrum};

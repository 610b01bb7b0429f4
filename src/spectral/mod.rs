//! Spectra of graphs, and the labels that spectral clustering gives.

mod eigenpairs;
mod embedding;
mod kmeans;
mod moves;
mod spectrum;

pub use eigenpairs::leading;
pub use embedding::{
    EXTRA, Embedding, Labelling, bytes_of_embedding, cluster, embed, starts, vectors_wanted,
};
pub use kmeans::{Kmeans, kmeans};
pub use moves::split_and_merge;
pub use spectrum::{Gap, Spectrum};

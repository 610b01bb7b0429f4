//! The graph of the training rows: nearest neighbours, weights, mini-batches that are parts of it, cuts of it, and labels
//! improved on it.

mod cut;
mod information;
mod merge;
mod neighbors;
mod refine;
mod sampler;
mod weights;

pub use cut::{Cuts, count, cut_matrix, ranking};
pub use information::information;
pub use merge::merge;
pub use neighbors::{GraphRule, Width, build, distinct};
pub use refine::refine;
pub use sampler::Sampler;

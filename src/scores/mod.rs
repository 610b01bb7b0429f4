//! Agreement of two labellings.

use serde::{Deserialize, Serialize};

/// How well clusters agree with classes; 1 is perfect.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Accuracy under the best one-to-one map of clusters to classes.
    pub acc: f64,
    /// Normalised mutual information, geometric mean of the entropies.
    pub nmi: f64,
    /// Adjusted Rand index.
    pub ari: f64,
}

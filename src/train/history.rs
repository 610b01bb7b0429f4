//! What is recorded of every epoch: one line of `history.jsonl`.

use serde::{Deserialize, Serialize};

use crate::scores::Scores;

/// One epoch of training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// Counted from 1.
    pub epoch: usize,
    /// Mean over the epoch's mini-batches of `L_lap = trace(H' L H)`.
    pub l_lap: f64,
    /// Mean of the orthogonality penalty `L_orth`, without its factor gamma / 2.
    pub l_orth: f64,
    /// Mean of `L_lap + gamma / 2 * L_orth`.
    pub loss: f64,
    /// Learning rate of this epoch.
    pub learning_rate: f64,
    /// Training rows in each cluster by arg-max after the epoch, k numbers.
    pub sizes: Vec<u64>,
    /// Wall seconds since training began, up to the end of this epoch (resumed parts add up).
    pub seconds: f64,
    /// Agreement with the labels on the training rows, when there are labels.
    #[serde(flatten)]
    pub scores: Option<Scores>,
}

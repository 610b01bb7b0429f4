//! The hard label of each row under a network: a block of rows through all layers while what they put out is in cache.
//!
//! Blocks, and the products of each, are those of layer by layer: so are the bits.

use rayon::prelude::*;

use super::argmax::first_largest;
use super::linear::linear_block;
use super::product::BLOCK;
use crate::cpu::Matrix;
use crate::ops::{Layer, Shape};

/// The first column that holds the largest of each row's logits.
pub fn infer(x: &Matrix<f32>, layers: &[Layer<Matrix<f32>>], labels: &mut [u32]) {
    let widest = layers.iter().map(|layer| layer.weight.rows()).max().unwrap_or(0);
    let room = || vec![0.0; BLOCK.min(x.rows()) * widest];
    labels
        .par_chunks_mut(BLOCK)
        .zip(x.par_chunks(BLOCK * x.cols()))
        .for_each_init(
            || [room(), room()],
            |[from, to], (labels, x)| {
                let m = labels.len();
                for (i, layer) in layers.iter().enumerate() {
                    let Layer { weight, bias } = layer;
                    let (inputs, outputs) = (weight.cols(), weight.rows());
                    let rows = if i == 0 { x } else { &from[..m * inputs] };
                    let relu = i + 1 < layers.len();
                    linear_block(rows, weight, bias, relu, &mut to[..m * outputs]);
                    std::mem::swap(from, to);
                }
                let logits = from.chunks_exact(layers[layers.len() - 1].weight.rows());
                for (label, row) in labels.iter_mut().zip(logits) {
                    *label = first_largest(row);
                }
            },
        );
}

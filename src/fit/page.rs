//! Gathers what the report of a run shows.

use super::Metrics;
use crate::data::Dataset;
use crate::error::Result;
use crate::ops::Ops;
use crate::options::FitOptions;
use crate::predict::{CHUNK, Predictor};
use crate::random::{Permutation, Purpose};
use crate::report::{ClusterImages, Confusion, Report, Samples};
use crate::scores::Contingency;
use crate::train::EpochRecord;

/// Images shown of each cluster, half of them confident, half doubtful.
const IMAGES: usize = 20;

/// The report of a run as HTML.
pub fn page<O: Ops>(
    options: &FitOptions,
    data: &Dataset,
    predictor: &mut Predictor<O>,
    history: &[EpochRecord],
    metrics: &Metrics,
    table: Option<&Contingency>,
) -> Result<String> {
    let sample = Sample::draw(options, data, predictor)?;
    let images: Vec<ClusterImages>;
    let points: Vec<[f32; 2]>;
    let samples = match data.image() {
        Some(shape) if data.is_pixels() && matches!(shape.channels, 1 | 3) => {
            images = sample.images(options.clusters);
            let (height, width, channels) = (shape.height, shape.width, shape.channels);
            Some(Samples::Images {
                height,
                width,
                channels,
                per_cluster: &images,
            })
        }
        _ if data.cols() == 2 => {
            points = sample.rows.chunks_exact(2).map(|row| [row[0], row[1]]).collect();
            Some(Samples::Points {
                xy: &points,
                cluster: &sample.labels,
            })
        }
        _ => None,
    };
    let classes: Vec<String> = data.labels().map_or(Vec::new(), |labels| {
        labels.classes.iter().map(i64::to_string).collect()
    });
    Report {
        title: &format!("{} in {} clusters", data.name(), options.clusters),
        summary: &summary(metrics),
        config: &settings(options),
        history,
        sizes: &metrics.sizes,
        confusion: table.map(|table| Confusion {
            classes: &classes,
            table,
        }),
        samples,
        warnings: &metrics.warnings,
    }
    .to_html()
}

fn summary(metrics: &Metrics) -> Vec<(String, String)> {
    let mut lines = Vec::new();
    let mut add = |name: &str, value: String| lines.push((name.to_string(), value));
    if let Some(scores) = metrics.scores {
        add("ACC", format!("{:.3}", scores.acc));
        add("NMI", format!("{:.3}", scores.nmi));
        add("ARI", format!("{:.3}", scores.ari));
    }
    add("Ncut", format!("{:.4}", metrics.cuts.ncut));
    add("Rows", metrics.rows.to_string());
    add("Seconds", format!("{:.1}", metrics.seconds));
    lines
}

fn settings(options: &FitOptions) -> Vec<(String, String)> {
    // Through TOML, so that names and values are those of config.toml.
    let table = toml::Table::try_from(options).unwrap_or_default();
    table
        .into_iter()
        .map(|(name, value)| match value {
            toml::Value::String(text) => (name, text),
            other => (name, other.to_string()),
        })
        .collect()
}

/// Some rows at random, with what the network says of them.
struct Sample {
    rows: Vec<f32>,
    cols: usize,
    labels: Vec<u32>,
    /// Largest membership of each row.
    confidence: Vec<f32>,
}

impl Sample {
    fn draw<O: Ops>(options: &FitOptions, data: &Dataset, predictor: &mut Predictor<O>) -> Result<Self> {
        let count = CHUNK.min(data.rows());
        let order = Permutation::new(options.seed, Purpose::Estimate, 3, data.rows() as u64);
        let chosen: Vec<u64> = (0..count as u64).map(|i| order.at(i)).collect();
        let mut rows = vec![0.0; count * data.cols()];
        data.gather_rows(&chosen, &mut rows)?;
        let mut labels = vec![0; count];
        let mut memberships = Vec::new();
        predictor.label(&rows, &mut labels, Some(&mut memberships))?;
        let confidence = memberships
            .chunks_exact(options.clusters)
            .map(|row| row.iter().copied().fold(0.0, f32::max))
            .collect();
        Ok(Sample {
            rows,
            cols: data.cols(),
            labels,
            confidence,
        })
    }

    fn images(&self, clusters: usize) -> Vec<ClusterImages> {
        let pixels = |i: usize| {
            self.rows[i * self.cols..][..self.cols]
                .iter()
                .map(|&v| v as u8)
                .collect()
        };
        (0..clusters as u32)
            .map(|cluster| {
                let mut members: Vec<usize> = (0..self.labels.len())
                    .filter(|&i| self.labels[i] == cluster)
                    .collect();
                members.sort_by(|&a, &b| self.confidence[b].total_cmp(&self.confidence[a]));
                let doubtful = members.split_off((members.len() - members.len() / 2).min(members.len()));
                ClusterImages {
                    confident: members.into_iter().take(IMAGES / 2).map(pixels).collect(),
                    doubtful: doubtful.into_iter().rev().take(IMAGES / 2).map(pixels).collect(),
                }
            })
            .collect()
    }
}

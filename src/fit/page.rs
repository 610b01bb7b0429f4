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
use crate::spectral::Spectrum;
use crate::train::EpochRecord;

/// Images shown of each cluster, half of them confident, half doubtful.
const IMAGES: usize = 20;

/// The report of a run as HTML; `history` is that of the attempt whose network was kept.
pub fn page<O: Ops>(
    options: &FitOptions,
    data: &Dataset,
    predictor: &mut Predictor<O>,
    history: &[EpochRecord],
    metrics: &Metrics,
    spectrum: Option<&Spectrum>,
    table: Option<&Contingency>,
) -> Result<String> {
    let sample = Sample::draw(options, data, predictor)?;
    let images: Vec<ClusterImages>;
    let points: Vec<[f32; 2]>;
    let samples = match data.image() {
        _ if data.cols() == 2 => {
            points = sample.rows.chunks_exact(2).map(|row| [row[0], row[1]]).collect();
            Some(Samples::Points {
                xy: &points,
                cluster: &sample.labels,
            })
        }
        Some(shape) => {
            let range = if data.is_pixels() {
                (0.0, 255.0)
            } else {
                sample.range(shape.channels)
            };
            images = sample.images(options.clusters, shape.channels, range);
            Some(Samples::Images {
                height: shape.height,
                width: shape.width,
                channels: shown(shape.channels),
                per_cluster: &images,
            })
        }
        None => None,
    };
    let classes: Vec<String> = data.labels().map_or(Vec::new(), |labels| {
        labels.classes.iter().map(i64::to_string).collect()
    });
    Report {
        title: &format!("{} in {} clusters", data.name(), options.clusters),
        summary: &summary(metrics, options, history),
        config: &settings(options),
        history,
        spectrum,
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

fn summary(metrics: &Metrics, options: &FitOptions, history: &[EpochRecord]) -> Vec<(String, String)> {
    let mut lines = Vec::new();
    let mut add = |name: &str, value: String| lines.push((name.to_string(), value));
    if let Some(scores) = metrics.scores {
        add("ACC", format!("{:.3}", scores.acc));
        add("NMI", format!("{:.3}", scores.nmi));
        add("ARI", format!("{:.3}", scores.ari));
    }
    add("Ncut", format!("{:.4}", metrics.cuts.ncut));
    if let Some(record) = history.first().filter(|_| options.restarts > 1) {
        add("Attempt", format!("{} of {}", record.attempt, options.restarts));
    }
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

/// Channels of a pixel that are shown: of four, the last is its opacity.
fn shown(channels: usize) -> usize {
    channels.min(3)
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

    /// Smallest and largest value that is shown.
    fn range(&self, channels: usize) -> (f32, f32) {
        visible(&self.rows, channels).fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), v| {
            (low.min(v), high.max(v))
        })
    }

    /// The surest and the least sure rows of each cluster, in bytes: `range` becomes 0 to 255.
    fn images(&self, clusters: usize, channels: usize, (low, high): (f32, f32)) -> Vec<ClusterImages> {
        // In f64, so that the difference of two f32 is finite; values that are all the same become 0.
        let (low, span) = (f64::from(low), f64::from(high) - f64::from(low));
        let pixels = |i: usize| {
            visible(&self.rows[i * self.cols..][..self.cols], channels)
                .map(|v| ((f64::from(v) - low) / span * 255.0).round() as u8)
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

/// The values of pixels that are shown.
fn visible(values: &[f32], channels: usize) -> impl Iterator<Item = f32> {
    values
        .chunks_exact(channels)
        .flat_map(move |pixel| &pixel[..shown(channels)])
        .copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(rows: &[f32], cols: usize) -> Sample {
        let count = rows.len() / cols;
        Sample {
            rows: rows.to_vec(),
            cols,
            labels: vec![0; count],
            confidence: (0..count).map(|i| 1.0 / (i + 1) as f32).collect(),
        }
    }

    fn shown_bytes(sample: &Sample, channels: usize, range: (f32, f32)) -> Vec<Vec<u8>> {
        let [images] = &sample.images(1, channels, range)[..] else {
            panic!("not one cluster");
        };
        images.confident.iter().chain(&images.doubtful).cloned().collect()
    }

    #[test]
    fn floating_point_images_are_scaled_by_the_range_of_all() {
        let grey = sample(&[-1.0, 0.0, 3.0, 1.0], 2);
        let range = grey.range(1);
        assert_eq!(range, (-1.0, 3.0));
        assert_eq!(shown_bytes(&grey, 1, range), [[0, 64], [255, 128]]);
        let wide = sample(&[f32::MIN, f32::MAX], 1);
        assert_eq!(shown_bytes(&wide, 1, wide.range(1)), [[0], [255]]);
        let flat = sample(&[7.0, 7.0], 1);
        assert_eq!(shown_bytes(&flat, 1, flat.range(1)), [[0], [0]]);
    }

    #[test]
    fn opacity_is_left_out_and_bytes_stay() {
        let pixels = sample(&[1.0, 2.0, 3.0, 200.0, 4.0, 5.0, 255.0, 0.0], 8);
        assert_eq!(shown_bytes(&pixels, 4, (0.0, 255.0)), [[1, 2, 3, 4, 5, 255]]);
        assert_eq!(pixels.range(4), (1.0, 255.0));
    }
}

//! The leading eigenvalues of a graph, and the gap that stands out.

use maud::html;

use super::axis::Axis;
use super::chart::{CHARACTER, Frame, Picture, px};
use super::number::{significant, superscript};
use super::page::{Chart, Sheet, Table};
use crate::spectral::Spectrum;

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 300.0;

/// More points than this are no longer told apart by a dot each.
const MOST_DOTS: usize = 120;

/// The chart of a spectrum.
pub fn chart(spectrum: &Spectrum) -> Option<Chart> {
    let values = &spectrum.eigenvalues;
    let largest = values
        .iter()
        .copied()
        .filter(|v| v.is_finite())
        .fold(f64::NAN, f64::max);
    if values.len() < 2 || largest.is_nan() {
        return None;
    }
    let x = Axis::whole(1.0, values.len() as f64, 6);
    let frame = Frame::new(WIDTH, HEIGHT, 18.0, x, Axis::linear(0.0, largest.max(1e-9), 4));
    let numbers: Vec<f64> = (1..=values.len()).map(|i| i as f64).collect();
    let body = html! {
        (frame.y_axis())
        (frame.x_axis("number of the eigenvalue"))
        @if let Some(gap) = spectrum.gap {
            @if let Some(x) = frame.px(gap.clusters as f64 + 0.5) {
                @let text = format!("k = {}", gap.clusters);
                // On the side where there is room.
                @let end = x + 8.0 + CHARACTER * text.len() as f64 > WIDTH - frame.right;
                line.even x1=(px(x)) x2=(px(x)) y1=(px(frame.top)) y2=(px(frame.floor())) {}
                text.ink.end[end] x=(px(if end { x - 6.0 } else { x + 6.0 })) y=(px(frame.top + 12.0)) { (text) }
            }
        }
        @if values.len() <= MOST_DOTS {
            @for (number, &value) in numbers.iter().zip(values) {
                @if let (Some(x), Some(y)) = (frame.px(*number), frame.py(value)) {
                    circle.swatch.s0 cx=(px(x)) cy=(px(y)) r="3.2" {}
                }
            }
        } @else {
            @for pair in numbers.windows(2) {
                @let at = pair[0] as usize;
                @if let (Some(x), Some(y), Some(to_x), Some(to_y)) =
                    (frame.px(pair[0]), frame.py(values[at - 1]), frame.px(pair[1]), frame.py(values[at])) {
                    line.line.s0 x1=(px(x)) y1=(px(y)) x2=(px(to_x)) y2=(px(to_y)) {}
                }
            }
        }
        (frame.pointer_columns(&numbers, |i| format!("eigenvalue {}: {}", i + 1, significant(values[i]))))
    };
    Some(Chart {
        title: "Spectrum of the training graph".into(),
        caption: format!(
            "The smallest eigenvalues of the graph's Laplacian. As many lie near 0 as there are parts that hardly hold together. {}",
            verdict(spectrum)
        ),
        picture: Picture {
            width: WIDTH,
            height: HEIGHT,
            label: format!("{} eigenvalues", values.len()),
            body,
        },
    })
}

/// What the spectrum suggests, in a sentence.
pub fn verdict(spectrum: &Spectrum) -> String {
    match spectrum.gap {
        Some(gap) => format!(
            "A gap stands out after eigenvalue {}: the next is {} times as large, which suggests k = {}.",
            gap.clusters,
            significant(gap.ratio),
            gap.clusters
        ),
        None => format!(
            "No gap stands out among the first {} eigenvalues: the graph by itself suggests no number of clusters up to {}.",
            spectrum.eigenvalues.len(),
            spectrum.eigenvalues.len().saturating_sub(2)
        ),
    }
}

/// The eigenvalues with their gaps.
pub fn table(spectrum: &Spectrum) -> Table {
    let values = &spectrum.eigenvalues;
    let row = |i: usize| {
        let following = (i + 1 < values.len()).then(|| values[i + 1] - values[i]);
        let ratio = (i + 1 < values.len()).then(|| spectrum.ratio(i + 1));
        let residual = match spectrum.residuals[i] {
            0.0 => "0".to_string(),
            residual => {
                let exponent = residual.log10().floor() as i32;
                format!(
                    "{:.0}×10{}",
                    residual / 10f64.powi(exponent),
                    superscript(exponent)
                )
            }
        };
        vec![
            (i + 1).to_string(),
            // What rounding makes of 0 may lie below it.
            format!("{:.6}", values[i].max(0.0)),
            format!("{:.6}", 1.0 - values[i].max(0.0)),
            following.map_or("".into(), |gap| format!("{gap:.6}")),
            ratio.map_or("".into(), |ratio| format!("{ratio:.3}")),
            residual,
        ]
    };
    let headings = ["k", "Laplacian", "affinity", "gap", "ratio", "residual"];
    Table {
        headings: headings.map(String::from).to_vec(),
        rows: (0..values.len()).map(row).collect(),
    }
}

/// A page about a spectrum.
pub fn sheet(title: String, subtitle: String, spectrum: &Spectrum) -> Sheet {
    Sheet {
        title,
        subtitle,
        charts: chart(spectrum).into_iter().collect(),
        table: table(spectrum),
    }
}

//! Points in the plane, coloured by cluster.

use maud::{Markup, html};

use super::axis::Axis;
use super::chart::{Frame, cluster_class, figure, svg};
use super::number::{grouped, plural, point, stride};

/// More points than this are drawn by an even choice: the page stays small and quick.
const MOST_POINTS: usize = 5000;
/// Colours times shapes: up to this many clusters look different from each other.
const DISTINCT: usize = 20;
const WIDTH: f64 = 900.0;

/// The scatter plot of `xy`, which may be a sample of the rows that `sizes` counts, with its legend; `None` without a
/// finite point.
pub fn chart(xy: &[[f32; 2]], cluster: &[u32], sizes: &[u64]) -> Option<Markup> {
    let finite: Vec<usize> = (0..xy.len())
        .filter(|&i| xy[i].iter().all(|v| v.is_finite()))
        .collect();
    let shown: Vec<usize> = stride(finite.len(), MOST_POINTS)
        .into_iter()
        .map(|i| finite[i])
        .collect();
    let range = |axis: usize| {
        finite
            .iter()
            .map(|&i| f64::from(xy[i][axis]))
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), v| {
                (lo.min(v), hi.max(v))
            })
    };
    let rows: u64 = sizes.iter().sum();
    let clusters = cluster.iter().max().map_or(0, |&c| c as usize + 1);
    if finite.is_empty() {
        return None;
    }
    let frame = equal_frame(range(0), range(1));
    let mut paths = vec![String::new(); clusters];
    for &i in &shown {
        if let (Some(x), Some(y)) = (frame.px(f64::from(xy[i][0])), frame.py(f64::from(xy[i][1]))) {
            let path = &mut paths[cluster[i] as usize];
            point(path, 'M', x, y);
            // A stroke of no length: its ends make the dot.
            path.push_str("h0");
        }
    }
    let body = html! {
        (frame.y_axis())
        (frame.x_axis(""))
        @for (c, path) in paths.iter().enumerate() {
            @if !path.is_empty() { path class={ "dots " (shape(c)) " " (cluster_class(c)) } d=(path) {} }
        }
    };
    let label = format!(
        "{} in the plane, coloured by cluster",
        plural(shown.len(), "point")
    );
    let caption = html! {
        @if shown.len() < finite.len() {
            (grouped(shown.len() as u64)) " points, evenly chosen out of " (grouped(finite.len() as u64)) "."
        } @else {
            (plural(shown.len(), "point")) "."
        }
        @if finite.len() < xy.len() {
            " Left out because they are not finite: " (grouped((xy.len() - finite.len()) as u64)) "."
        }
        @if xy.len() < rows as usize {
            " A sample of " (grouped(xy.len() as u64)) " of the " (grouped(rows)) " rows."
        }
        @if clusters > DISTINCT { " Colours and shapes repeat after " (DISTINCT) " clusters." }
    };
    let legend = html! {
        @if clusters <= DISTINCT {
            ul.legend {
                @for c in 0..clusters {
                    li {
                        span class={ "swatch " (shape(c)) " " (cluster_class(c)) } {}
                        "cluster " (c)
                        @if let Some(&size) = sizes.get(c) { small { (grouped(size)) } }
                    }
                }
            }
        }
    };
    Some(figure(
        "Points",
        caption,
        html! { (legend) div.fitted style=(format!("width:{WIDTH:.0}px")) { (svg(WIDTH, frame.height, &label, body)) } },
    ))
}

fn shape(cluster: usize) -> &'static str {
    if cluster % DISTINCT < DISTINCT / 2 {
        "round"
    } else {
        "square"
    }
}

/// A frame in which one unit is as long on both axes, so that shapes are seen as they are.
fn equal_frame(x: (f64, f64), y: (f64, f64)) -> Frame {
    let room = 0.04 * (x.1 - x.0).max(y.1 - y.0);
    let padded = |(lo, hi): (f64, f64)| (lo - room, hi + room);
    let (mut x, mut y) = (padded(x), padded(y));
    let grown = |(lo, hi): (f64, f64), span: f64| ((lo + hi - span) / 2.0, (lo + hi + span) / 2.0);
    // Neither very flat nor very tall, whatever the data.
    let (wide, high) = (x.1 - x.0, y.1 - y.0);
    x = grown(x, wide.max(0.9 * high));
    y = grown(y, high.max(0.4 * (x.1 - x.0)));
    let mut frame = Frame::new(
        WIDTH,
        0.0,
        12.0,
        Axis::tight(x.0, x.1, 6),
        Axis::tight(y.0, y.1, 5),
    );
    frame.bottom = 26.0;
    let ratio = (y.1 - y.0) / (x.1 - x.0);
    // A single place has no extent; its frame is square.
    let ratio = if ratio.is_finite() { ratio } else { 1.0 };
    frame.height = frame.top + frame.bottom + frame.plot_width() * ratio;
    frame
}

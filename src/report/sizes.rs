//! How many rows each cluster holds: at the end, and over the epochs.

use maud::{Markup, html};

use super::axis::Axis;
use super::chart::{CHARACTER, Frame, cluster_class, figure, px, svg};
use super::number::{grouped, percent, plural, point};
use crate::train::EpochRecord;

/// Above this many clusters the final sizes are one sorted curve instead of a bar each.
const MOST_BARS: usize = 60;
/// Above this many clusters the history is a band of quantiles instead of a layer each.
const MOST_LAYERS: usize = 20;
const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 300.0;

/// The final sizes: a bar for each cluster, or a sorted curve when there are many.
pub fn last(sizes: &[u64]) -> Markup {
    let rows: u64 = sizes.iter().sum();
    let mut sorted = sizes.to_vec();
    sorted.sort_unstable_by(|a, b| b.cmp(a));
    let empty = sizes.iter().filter(|&&size| size == 0).count();
    let caption = html! {
        (plural(sizes.len(), "cluster")) ", " (grouped(rows)) " rows: largest " (grouped(sorted[0]))
        ", median " (grouped(sorted[sizes.len() / 2])) ", smallest " (grouped(sorted[sizes.len() - 1]))
        @if empty > 0 { ", " (grouped(empty as u64)) " empty" }
        ". Dashed: equal sizes, " (grouped((rows as f64 / sizes.len() as f64).round() as u64)) "."
    };
    let bars = sizes.len() <= MOST_BARS;
    let picture = if bars { bars_of(sizes) } else { curve_of(&sorted) };
    figure("Final sizes", caption, picture)
}

fn frame_of(x: Axis, largest: u64) -> Frame {
    Frame::new(WIDTH, HEIGHT, 10.0, x, Axis::linear(0.0, largest as f64, 4))
}

fn even_line(frame: &Frame, sizes: &[u64]) -> Markup {
    let mean = sizes.iter().sum::<u64>() as f64 / sizes.len() as f64;
    html! {
        @if let Some(y) = frame.py(mean) {
            line.even x1=(px(frame.left)) x2=(px(WIDTH - frame.right)) y1=(px(y)) y2=(px(y)) {}
        }
    }
}

fn bars_of(sizes: &[u64]) -> Markup {
    let largest = sizes.iter().copied().max().unwrap_or(0);
    let rows = sizes.iter().sum();
    let mut frame = frame_of(Axis::tight(-0.5, sizes.len() as f64 - 0.5, 1), largest);
    frame.top = 22.0;
    let slot = frame.plot_width() / sizes.len() as f64;
    let width = (slot * 0.72).min(90.0);
    let longest = sizes.iter().map(|&n| grouped(n).len()).max().unwrap_or(0);
    let numbered = longest as f64 * CHARACTER <= slot;
    // Names must not touch: every second, fifth, ... where slots are narrow.
    let every = [1, 2, 5, 10]
        .into_iter()
        .find(|&n| n as f64 * slot >= 20.0)
        .unwrap_or(20);
    let coloured = sizes.len() <= MOST_LAYERS;
    let body = html! {
        (frame.y_axis())
        @for (cluster, &size) in sizes.iter().enumerate() {
            @if let (Some(x), Some(y)) = (frame.px(cluster as f64), frame.py(size as f64)) {
                g {
                    title { "cluster " (cluster) ": " (grouped(size)) " rows, " (percent(size, rows)) }
                    rect class={ "bar " (if coloured { cluster_class(cluster) } else { "s0".to_string() }) }
                        x=(px(x - width / 2.0)) y=(px(y)) width=(px(width)) height=(px(frame.floor() - y)) rx="1.5" {}
                }
                @if cluster % every == 0 { text.mid x=(px(x)) y=(px(frame.floor() + 16.0)) { (cluster) } }
            }
        }
        (even_line(&frame, sizes))
        @if numbered {
            @for (cluster, &size) in sizes.iter().enumerate() {
                @if let (Some(x), Some(y)) = (frame.px(cluster as f64), frame.py(size as f64)) {
                    text.mid.ink.halo x=(px(x)) y=(px(y - 5.0)) { (grouped(size)) }
                }
            }
        }
        (frame.base())
        text.mid x=(px(frame.left + frame.plot_width() / 2.0)) y=(px(HEIGHT - 5.0)) { "cluster" }
    };
    svg(
        WIDTH,
        HEIGHT,
        &format!("Rows in each of {} clusters", sizes.len()),
        body,
    )
}

fn curve_of(sorted: &[u64]) -> Markup {
    let frame = frame_of(Axis::whole(1.0, sorted.len() as f64, 6), sorted[0]);
    let mut line = String::new();
    for (i, &size) in sorted.iter().enumerate() {
        if let (Some(x), Some(y)) = (frame.px(i as f64 + 1.0), frame.py(size as f64)) {
            point(&mut line, if i == 0 { 'M' } else { 'L' }, x, y);
        }
    }
    let mut area = line.clone();
    point(&mut area, 'L', WIDTH - frame.right, frame.floor());
    point(&mut area, 'L', frame.left, frame.floor());
    let body = html! {
        (frame.y_axis())
        path.area.s0 d={ (area) "Z" } {}
        path.line.s0 d=(line) {}
        (even_line(&frame, sorted))
        (frame.x_axis("clusters, largest first"))
    };
    svg(
        WIDTH,
        HEIGHT,
        &format!("Rows in each of {} clusters, sorted", sorted.len()),
        body,
    )
}

/// The sizes over the epochs: a layer for each cluster, or quantiles when there are many. `None` when the
/// history holds no sizes.
pub fn over_epochs(history: &[&EpochRecord]) -> Option<Markup> {
    let clusters = history.iter().map(|e| e.sizes.len()).max().filter(|&k| k > 0)?;
    let epochs: Vec<f64> = history.iter().map(|e| e.epoch as f64).collect();
    let x = Axis::whole(epochs[0], epochs[epochs.len() - 1], 5);
    // One epoch has no width of its own: it fills the plot.
    let stretched: Vec<(f64, &EpochRecord)> = match history {
        [one] => vec![(epochs[0] - 0.5, *one), (epochs[0] + 0.5, *one)],
        _ => epochs.iter().copied().zip(history.iter().copied()).collect(),
    };
    let (picture, caption) = if clusters <= MOST_LAYERS {
        layers(x, &epochs, &stretched, clusters, history)
    } else {
        quantiles(x, &epochs, &stretched, history)
    };
    Some(figure("Sizes while training", caption, picture))
}

fn layers(
    x: Axis,
    epochs: &[f64],
    stretched: &[(f64, &EpochRecord)],
    clusters: usize,
    history: &[&EpochRecord],
) -> (Markup, Markup) {
    let frame = Frame::new(WIDTH, HEIGHT, 30.0, x, Axis::shares());
    // Cumulated shares, cluster 0 on top as in a list.
    let edge = |e: &EpochRecord, cluster: usize| {
        let above: u64 = e.sizes.iter().take(cluster).sum();
        let all: u64 = e.sizes.iter().sum();
        1.0 - if all == 0 {
            cluster as f64 / clusters as f64
        } else {
            above as f64 / all as f64
        }
    };
    let layer = |cluster: usize| {
        let mut path = String::new();
        let upper = stretched.iter().map(|(x, e)| (*x, edge(e, cluster)));
        let lower = stretched.iter().rev().map(|(x, e)| (*x, edge(e, cluster + 1)));
        for (i, (x, y)) in upper.chain(lower).enumerate() {
            if let (Some(x), Some(y)) = (frame.px(x), frame.py(y)) {
                point(&mut path, if i == 0 { 'M' } else { 'L' }, x, y);
            }
        }
        path.push('Z');
        path
    };
    let name_place = |cluster: usize| {
        let (_, end) = stretched.last()?;
        let (top, floor) = (frame.py(edge(end, cluster))?, frame.py(edge(end, cluster + 1))?);
        (floor - top >= 10.0).then_some((top + floor) / 2.0 + 4.0)
    };
    let body = html! {
        (frame.y_axis())
        @for cluster in 0..clusters { path class={ "layer " (cluster_class(cluster)) } d=(layer(cluster)) {} }
        @for cluster in 0..clusters {
            @if let Some(y) = name_place(cluster) {
                text.ink x=(px(WIDTH - frame.right + 7.0)) y=(px(y)) { (cluster) }
            }
        }
        (frame.x_axis("epoch"))
        (frame.pointer_columns(epochs, |i| {
            let sizes = history[i].sizes.iter().enumerate().map(|(c, &n)| format!("{c}: {}", grouped(n)));
            format!("epoch {}\n{}", epochs[i], sizes.collect::<Vec<_>>().join("\n"))
        }))
    };
    let label = format!("Share of the training rows in each of {clusters} clusters over the epochs");
    let caption = html! {
        "Share of the training rows in each cluster, by arg-max after the epoch. At the right, the cluster's number."
    };
    (svg(WIDTH, HEIGHT, &label, body), caption)
}

fn quantiles(
    x: Axis,
    epochs: &[f64],
    stretched: &[(f64, &EpochRecord)],
    history: &[&EpochRecord],
) -> (Markup, Markup) {
    let of = |e: &EpochRecord| -> [u64; 5] {
        let mut sorted = e.sizes.clone();
        sorted.sort_unstable();
        [0, 10, 50, 90, 100].map(|p| {
            sorted
                .get((sorted.len().max(1) - 1) * p / 100)
                .copied()
                .unwrap_or(0)
        })
    };
    let cuts: Vec<(f64, [u64; 5])> = stretched.iter().map(|(x, e)| (*x, of(e))).collect();
    let largest = cuts.iter().map(|(_, q)| q[4]).max().unwrap_or(0);
    let frame = Frame::new(WIDTH, HEIGHT, 66.0, x, Axis::linear(0.0, largest as f64, 4));
    let along = |path: &mut String, points: &mut dyn Iterator<Item = (f64, u64)>| {
        for (x, size) in points {
            if let (Some(x), Some(y)) = (frame.px(x), frame.py(size as f64)) {
                point(path, if path.is_empty() { 'M' } else { 'L' }, x, y);
            }
        }
    };
    let band = |lower: usize, upper: usize| {
        let mut path = String::new();
        along(&mut path, &mut cuts.iter().map(|(x, q)| (*x, q[upper])));
        along(&mut path, &mut cuts.iter().rev().map(|(x, q)| (*x, q[lower])));
        path.push('Z');
        path
    };
    let mut median = String::new();
    along(&mut median, &mut cuts.iter().map(|(x, q)| (*x, q[2])));
    let median_end = cuts
        .last()
        .and_then(|(_, q)| frame.py(q[2] as f64))
        .unwrap_or(frame.floor());
    let body = html! {
        (frame.y_axis())
        path.area.s0 d=(band(0, 4)) {}
        path.area.s0 d=(band(1, 3)) {}
        path.line.s0 d=(median) {}
        text.ink x=(px(WIDTH - frame.right + 8.0)) y=(px(median_end + 4.0)) { "median" }
        (frame.x_axis("epoch"))
        (frame.pointer_columns(epochs, |i| {
            let q = of(history[i]).map(grouped);
            format!("epoch {}: smallest {}, median {}, largest {}", epochs[i], q[0], q[2], q[4])
        }))
    };
    let caption = html! {
        "Training rows in a cluster, by arg-max after the epoch. Pale band: smallest to largest; darker band: \
         from the tenth to the ninetieth percentile."
    };
    (
        svg(WIDTH, HEIGHT, "Spread of the cluster sizes over the epochs", body),
        caption,
    )
}

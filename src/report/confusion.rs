//! Clusters against classes: a heat map with the best one-to-one match along its diagonal.

use std::cmp::Reverse;

use maud::{Markup, html};

use super::chart::{CHARACTER, figure, px, svg};
use super::image::tint;
use super::number::{grouped, percent, shortened};
use crate::Result;
use crate::scores::{Contingency, best_map};

/// Clusters and their true classes.
#[derive(Clone, Copy, Debug)]
pub struct Confusion<'a> {
    /// One name for each class of the table.
    pub classes: &'a [String],
    /// Rows counted by cluster and class; as many clusters as the report has.
    pub table: &'a Contingency,
}

/// Up to this many clusters and classes, each count is written in its cell.
const MOST_NUMBERED: usize = 50;
/// A picture has no more rows or columns of pixels than this; what falls on one pixel shows its largest share.
const MOST_PIXELS: usize = 400;
/// From this opacity on, the other of black and white is the easier to read (the style sheet's colours meet here).
const DARK: f64 = 0.72;
const LONGEST_NAME: usize = 18;
/// Visible on white and on near-black.
const TINT: [u8; 3] = [0x2f, 0x7f, 0xc8];

/// The heat map.
pub fn chart(confusion: Confusion) -> Result<Markup> {
    let table = confusion.table;
    let map = best_map(table);
    let mut order: Vec<usize> = (0..table.clusters()).collect();
    order.sort_by_key(|&i| (map[i].unwrap_or(usize::MAX), Reverse(table.cluster_sizes()[i])));
    let numbered = table.clusters().max(table.classes()) <= MOST_NUMBERED;
    let picture = if numbered {
        cells(confusion, &order, &map)
    } else {
        pixels(table, &order)?
    };
    let caption = html! {
        "Rows are clusters in the order of the class that the best one-to-one match gives them"
        @if table.clusters() > table.classes() { " (those without a class last)" }
        ", columns are classes. Shade: share of the class, on a square-root scale so that small leaks show."
        @if numbered { " Outlined: the match that ACC counts." }
        @if table.clusters().max(table.classes()) > MOST_PIXELS {
            " Several cells share a pixel, which shows the largest."
        }
    };
    Ok(figure("Rows by cluster and class", caption, picture))
}

/// Opacity of a cell: the square root of its share of the class.
fn shade(table: &Contingency, cluster: usize, class: usize) -> f64 {
    let whole = table.class_sizes()[class].max(1);
    (table.count(cluster, class) as f64 / whole as f64).sqrt()
}

fn cells(confusion: Confusion, order: &[usize], map: &[Option<usize>]) -> Markup {
    let table = confusion.table;
    let names: Vec<String> = confusion
        .classes
        .iter()
        .map(|n| shortened(n, LONGEST_NAME))
        .collect();
    let longest_name = names.iter().map(|n| n.chars().count()).max().unwrap_or(0) as f64;
    let roomy = table.classes() <= 20;
    let font = if roomy { 12.0 } else { 9.5 };
    let written = |count: u64| if roomy { grouped(count) } else { count.to_string() };
    let longest_count = table
        .counts()
        .iter()
        .map(|&n| written(n).len())
        .max()
        .unwrap_or(0) as f64;
    // Wide enough for the longest count; where there is more room, the page is filled.
    let cell = (longest_count * font * 0.58 + 5.0).max((1060.0 / table.classes() as f64).min(104.0));
    let tall = cell.min(34.0);
    let slanted = longest_name * CHARACTER > cell;
    let left = 22.0 + CHARACTER * grouped(table.clusters() as u64).len() as f64 + 12.0;
    let top = if slanted {
        34.0 + longest_name * CHARACTER * 0.72
    } else {
        44.0
    };
    let right = if slanted {
        longest_name * CHARACTER * 0.72
    } else {
        4.0
    };
    let width = left + cell * table.classes() as f64 + right;
    let height = top + tall * order.len() as f64 + 4.0;
    let body = html! {
        text.mid x=(px(left + cell * table.classes() as f64 / 2.0)) y="13" { "class" }
        text.mid transform=(format!("translate(13 {:.1}) rotate(-90)", top + tall * order.len() as f64 / 2.0)) { "cluster" }
        @for (j, name) in names.iter().enumerate() {
            @let x = left + cell * (j as f64 + 0.5);
            @if slanted {
                text.ink transform=(format!("translate({:.1} {:.1}) rotate(-45)", x + 3.0, top - 7.0)) { (name) }
            } @else {
                text.mid.ink x=(px(x)) y=(px(top - 9.0)) { (name) }
            }
        }
        @for (i, &cluster) in order.iter().enumerate() {
            @let y = top + tall * i as f64;
            text.end.ink x=(px(left - 8.0)) y=(px(y + tall / 2.0 + 4.0)) { (cluster) }
            @for (j, name) in confusion.classes.iter().enumerate() {
                @let x = left + cell * j as f64;
                @let count = table.count(cluster, j);
                @let opacity = shade(table, cluster, j);
                @let outlined = map[cluster] == Some(j);
                rect.cell x=(px(x + 0.5)) y=(px(y + 0.5)) width=(px(cell - 1.0)) height=(px(tall - 1.0)) {}
                @if count > 0 {
                    g {
                        title {
                            "cluster " (cluster) ", class " (name) ": " (grouped(count)) " rows, "
                            (percent(count, table.class_sizes()[j])) " of the class, "
                            (percent(count, table.cluster_sizes()[cluster])) " of the cluster"
                        }
                        rect.heat x=(px(x + 0.5)) y=(px(y + 0.5)) width=(px(cell - 1.0)) height=(px(tall - 1.0))
                            fill-opacity=(format!("{opacity:.2}")) {}
                        text.mid.(if opacity > DARK { "on-heat" } else { "off-heat" })
                            x=(px(x + cell / 2.0)) y=(px(y + tall / 2.0 + font * 0.36))
                            style=(format!("font-size:{font}px")) { (written(count)) }
                    }
                }
                @if outlined {
                    rect.outline x=(px(x + 1.0)) y=(px(y + 1.0)) width=(px(cell - 2.0)) height=(px(tall - 2.0)) {}
                }
            }
        }
    };
    let label = format!(
        "Counts of {} clusters by {} classes",
        table.clusters(),
        table.classes()
    );
    html! {
        div.scroll tabindex="0" role="region" aria-label=(label) {
            // At its natural size: narrower screens scroll instead of shrinking the counts.
            div.natural style=(format!("width:{width:.0}px")) { (svg(width, height, &label, body)) }
        }
    }
}

fn pixels(table: &Contingency, order: &[usize]) -> Result<Markup> {
    let (columns, rows) = (
        table.classes().min(MOST_PIXELS),
        table.clusters().min(MOST_PIXELS),
    );
    let mut opacities = vec![0u8; rows * columns];
    for (i, &cluster) in order.iter().enumerate() {
        for class in 0..table.classes() {
            let at = i * rows / order.len() * columns + class * columns / table.classes();
            opacities[at] = opacities[at].max((255.0 * shade(table, cluster, class)).round() as u8);
        }
    }
    let side = 2.0 * MOST_PIXELS as f64;
    let (width, height) = if columns >= rows {
        (side, (side * rows as f64 / columns as f64).max(80.0))
    } else {
        ((side * columns as f64 / rows as f64).max(80.0), side)
    };
    let (left, top) = (24.0, 24.0);
    let body = html! {
        text.mid x=(px(left + width / 2.0)) y="14" { "class" }
        text.mid transform=(format!("translate(14 {:.1}) rotate(-90)", top + height / 2.0)) { "cluster" }
        rect.cell x=(px(left)) y=(px(top)) width=(px(width)) height=(px(height)) {}
        image x=(px(left)) y=(px(top)) width=(px(width)) height=(px(height)) preserveAspectRatio="none"
            href=(tint(columns, rows, &opacities, TINT)?) {}
        rect.frame x=(px(left)) y=(px(top)) width=(px(width)) height=(px(height)) {}
    };
    let label = format!(
        "Heat map of {} clusters by {} classes",
        table.clusters(),
        table.classes()
    );
    Ok(html! {
        div.fitted style=(format!("width:{:.0}px", left + width + 4.0)) {
            (svg(left + width + 4.0, top + height + 4.0, &label, body))
        }
    })
}

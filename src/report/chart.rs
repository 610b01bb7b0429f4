//! What every chart is built of: the figure, the frame with its axes, lines with their names at the end.
//!
//! Charts are SVG written out here, not drawn by a plotting crate: those fix their colours in hexadecimal
//! and their places to whole pixels, while ours take both from the page's style sheet, light or dark.

use maud::{Markup, html};

use super::axis::Axis;
use super::number::{point, significant};

/// Mean width of a character at the 12 px of chart text, a little on the generous side.
pub const CHARACTER: f64 = 6.7;
const LINES_HEIGHT: f64 = 270.0;

/// A chart's heading, picture and caption.
pub fn figure(title: &str, caption: Markup, picture: Markup) -> Markup {
    html! {
        figure {
            h3 { (title) }
            div.picture { (picture) }
            figcaption { (caption) }
        }
    }
}

/// A picture of `width` by `height` that scales with the page; `label` is what a screen reader says.
pub fn svg(width: f64, height: f64, label: &str, body: Markup) -> Markup {
    html! {
        svg viewBox=(format!("0 0 {width:.0} {height:.0}")) role="img" aria-label=(label) { (body) }
    }
}

/// A picture that has a place of its own in a page, or in a larger picture.
pub struct Picture {
    /// Width, in the picture's units.
    pub width: f64,
    /// Height.
    pub height: f64,
    /// What a screen reader says.
    pub label: String,
    /// What is drawn.
    pub body: Markup,
}

impl Picture {
    /// For a page.
    pub fn markup(&self) -> Markup {
        svg(self.width, self.height, &self.label, html! { (self.body) })
    }
}

/// The class that carries a cluster's colour, the same all over the page. Ten colours, told apart by the
/// colour-blind too; further clusters start again.
pub fn cluster_class(cluster: usize) -> String {
    format!("c{}", cluster % 10)
}

/// The rectangle of a plot inside its picture, with an axis along the bottom and one up the left side.
pub struct Frame {
    /// Width of the picture.
    pub width: f64,
    /// Height of the picture.
    pub height: f64,
    /// Room left of the plot.
    pub left: f64,
    /// Room right of the plot.
    pub right: f64,
    /// Room above the plot.
    pub top: f64,
    /// Room below the plot.
    pub bottom: f64,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
}

impl Frame {
    /// A frame with room for the marks of both axes, and `right` beside the plot.
    pub fn new(width: f64, height: f64, right: f64, x: Axis, y: Axis) -> Self {
        Frame {
            width,
            height,
            left: 10.0 + CHARACTER * y.widest_tick() as f64,
            right,
            top: 10.0,
            bottom: 40.0,
            x,
            y,
        }
    }

    /// Width of the plot.
    pub fn plot_width(&self) -> f64 {
        self.width - self.left - self.right
    }

    /// The plot's lower edge.
    pub fn floor(&self) -> f64 {
        self.height - self.bottom
    }

    /// From left, in the picture's units.
    pub fn px(&self, value: f64) -> Option<f64> {
        Some(self.left + self.x.place(value)? * self.plot_width())
    }

    /// From the top, in the picture's units.
    pub fn py(&self, value: f64) -> Option<f64> {
        Some(self.floor() - self.y.place(value)? * (self.floor() - self.top))
    }

    /// Grid lines and marks of the vertical axis.
    pub fn y_axis(&self) -> Markup {
        html! {
            @for (value, text) in self.y.ticks() {
                @if let Some(y) = self.py(*value) {
                    line.grid x1=(px(self.left)) x2=(px(self.width - self.right)) y1=(px(y)) y2=(px(y)) {}
                    text.end x=(px(self.left - 7.0)) y=(px(y + 4.0)) { (text) }
                }
            }
        }
    }

    /// Base line and marks of the horizontal axis, with its name below.
    pub fn x_axis(&self, name: &str) -> Markup {
        html! {
            @for (value, text) in self.x.ticks() {
                @if let Some(x) = self.px(*value) {
                    line.base x1=(px(x)) x2=(px(x)) y1=(px(self.floor())) y2=(px(self.floor() + 4.0)) {}
                    text.mid x=(px(x)) y=(px(self.floor() + 17.0)) { (text) }
                }
            }
            (self.base())
            text.mid x=(px(self.left + self.plot_width() / 2.0)) y=(px(self.height - 5.0)) { (name) }
        }
    }

    /// The line under the plot.
    pub fn base(&self) -> Markup {
        html! {
            line.base x1=(px(self.left)) x2=(px(self.width - self.right))
                y1=(px(self.floor())) y2=(px(self.floor())) {}
        }
    }

    /// Invisible columns, one about each of `xs`, that show a rule and their `text` under the pointer: the
    /// exact numbers, without a script.
    pub fn pointer_columns(&self, xs: &[f64], text: impl Fn(usize) -> String) -> Markup {
        let places: Vec<f64> = xs.iter().filter_map(|&x| self.px(x)).collect();
        let edge = |a: usize, b: usize| (places[a] + places[b]) / 2.0;
        html! {
            @for (i, &x) in places.iter().enumerate() {
                @let from = if i == 0 { self.left } else { edge(i - 1, i) };
                @let to = if i + 1 == places.len() { self.width - self.right } else { edge(i, i + 1) };
                g.column {
                    title { (text(i)) }
                    rect x=(px(from)) y=(px(self.top)) width=(px(to - from)) height=(px(self.floor() - self.top)) {}
                    line x1=(px(x)) x2=(px(x)) y1=(px(self.top)) y2=(px(self.floor())) {}
                }
            }
        }
    }
}

/// One line of a chart.
pub struct Series<'a> {
    /// What stands at its end.
    pub name: &'a str,
    /// The class with its colour.
    pub class: &'a str,
    /// One value for each place along the horizontal axis; what is not finite is left out.
    pub values: Vec<f64>,
}

/// The axis that holds all the series; `None` without a finite value.
pub fn common_axis(series: &[Series], may_be_log: bool) -> Option<Axis> {
    Axis::fitted(
        series.iter().flat_map(|s| s.values.iter().copied()),
        may_be_log,
        4,
    )
}

/// Lines over the epochs, each with a dot, its name and its value at the end; `None` without an epoch or a
/// finite value.
pub fn lines(width: f64, label: &str, epochs: &[f64], series: &[Series], y: Axis) -> Option<Markup> {
    let x = Axis::whole(*epochs.first()?, *epochs.last()?, 5);
    lines_over("epoch", width, label, (epochs, x), series, y).map(|picture| picture.markup())
}

/// The same over the values of anything that `name` tells, with its axis.
pub fn lines_over(
    name: &str,
    width: f64,
    label: &str,
    (xs, x): (&[f64], Axis),
    series: &[Series],
    y: Axis,
) -> Option<Picture> {
    let ends: Vec<(&Series, usize)> = series
        .iter()
        .filter_map(|s| Some((s, s.values.iter().rposition(|v| v.is_finite())?)))
        .collect();
    let end_text = |s: &Series, last: usize| format!("{} {}", s.name, significant(s.values[last]));
    let longest = ends
        .iter()
        .map(|&(s, last)| end_text(s, last).chars().count())
        .max()?;
    let frame = Frame::new(width, LINES_HEIGHT, 18.0 + CHARACTER * longest as f64, x, y);
    let places: Vec<f64> = ends
        .iter()
        .filter_map(|&(s, last)| frame.py(s.values[last]))
        .collect();
    let places = apart(&places, 16.0, frame.top + 2.0, frame.floor() - 4.0);
    let body = html! {
        (frame.y_axis())
        (frame.x_axis(name))
        @for s in series {
            path class={ "line " (s.class) } d=(line_path(&frame, xs, &s.values)) {}
        }
        @for (&(s, last), &y) in ends.iter().zip(&places) {
            @let name_x = width - frame.right + 16.0;
            @if let (Some(x), Some(end)) = (frame.px(xs[last]), frame.py(s.values[last])) {
                // From the end of the line to its name, which may have had to move.
                line.leader.(s.class) x1=(px(x)) y1=(px(end)) x2=(px(name_x - 4.0)) y2=(px(y)) {}
                circle.swatch.(s.class) cx=(px(x)) cy=(px(end)) r="3.2" {}
            }
            text.ink x=(px(name_x)) y=(px(y + 4.0)) { (end_text(s, last)) }
        }
        (frame.pointer_columns(xs, |i| {
            let values = series.iter().map(|s| format!("{} {}", s.name, significant(s.values[i])));
            format!("{name} {}: {}", xs[i], values.collect::<Vec<_>>().join(", "))
        }))
    };
    Some(Picture {
        width,
        height: LINES_HEIGHT,
        label: label.to_string(),
        body,
    })
}

/// The path through the finite values, broken where there is none. A value alone is a stroke of no length,
/// which its round ends make a dot.
fn line_path(frame: &Frame, xs: &[f64], values: &[f64]) -> String {
    let mut path = String::new();
    let mut drawing = false;
    for (&x, &value) in xs.iter().zip(values) {
        match (frame.px(x), frame.py(value)) {
            (Some(x), Some(y)) => {
                if !drawing {
                    point(&mut path, 'M', x, y);
                }
                point(&mut path, 'L', x, y);
                drawing = true;
            }
            _ => drawing = false,
        }
    }
    path
}

/// The same places, moved as little as a sweep down and one up can until `gap` lies between neighbours.
fn apart(places: &[f64], gap: f64, top: f64, floor: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..places.len()).collect();
    order.sort_by(|&a, &b| places[a].total_cmp(&places[b]));
    let mut moved = places.to_vec();
    let mut next = top;
    for &i in &order {
        moved[i] = moved[i].max(next);
        next = moved[i] + gap;
    }
    let mut limit = floor;
    for &i in order.iter().rev() {
        moved[i] = moved[i].min(limit);
        limit = moved[i] - gap;
    }
    moved
}

/// A length in the picture's units, to a tenth.
pub fn px(length: f64) -> String {
    format!("{length:.1}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_breaks_where_a_value_is_missing() {
        let series = [Series {
            name: "loss",
            class: "s0",
            values: vec![1.0, 2.0, f64::NAN, 3.0, f64::INFINITY],
        }];
        let y = common_axis(&series, true).unwrap();
        let page = lines(400.0, "loss", &[1.0, 2.0, 3.0, 4.0, 5.0], &series, y)
            .unwrap()
            .into_string();
        let path = page.split(" d=\"").nth(1).unwrap().split('"').next().unwrap();
        assert_eq!(path.matches('M').count(), 2, "{path}");
        assert_eq!(path.matches('L').count(), 3, "{path}");
        assert!(!page.contains("NaN") && !page.contains("inf"));
        assert!(
            page.contains("loss 3.000"),
            "the last finite value is the one named"
        );
    }

    #[test]
    fn nothing_finite_is_no_chart() {
        let series = [Series {
            name: "loss",
            class: "s0",
            values: vec![f64::NAN],
        }];
        assert!(common_axis(&series, true).is_none());
        assert!(common_axis(&[], true).is_none());
        let y = Axis::linear(0.0, 1.0, 4);
        assert!(lines(400.0, "loss", &[1.0], &series, y.clone()).is_none());
        assert!(lines(400.0, "loss", &[], &[], y).is_none());
    }

    #[test]
    fn names_at_the_ends_do_not_overlap() {
        let moved = apart(&[50.0, 50.0, 199.0, 52.0], 16.0, 10.0, 200.0);
        assert_eq!(moved, [50.0, 66.0, 199.0, 82.0]);
        let crowded = apart(&[200.0, 199.0, 198.0], 16.0, 10.0, 200.0);
        assert_eq!(crowded, [200.0, 184.0, 168.0]);
    }
}

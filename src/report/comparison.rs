//! Methods beside one another: a dot for each run, a stroke at the mean.

use maud::html;

use super::axis::Axis;
use super::chart::{CHARACTER, Frame, Picture, px};
use super::number::significant;
use super::page::{Chart, Sheet, Table};

const WIDTH: f64 = 560.0;
/// Height of a method's lane.
const LANE: f64 = 30.0;

/// One measure of all methods.
#[derive(Clone, Debug)]
pub struct Measure {
    /// Its name.
    pub name: String,
    /// What is better, in a few words.
    pub caption: String,
    /// Digits after the point.
    pub digits: usize,
    /// For each method its values, run by run; what is not finite is left out.
    pub values: Vec<Vec<f64>>,
}

/// Mean and standard deviation of some values (over n - 1; 0 of one value).
pub fn mean_and_deviation(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    let deviation = if values.len() > 1 {
        (squares / (n - 1.0)).sqrt()
    } else {
        0.0
    };
    (mean, deviation)
}

/// A page that compares methods.
pub fn sheet(title: String, subtitle: String, methods: &[String], measures: &[Measure]) -> Sheet {
    Sheet {
        title,
        subtitle,
        charts: measures
            .iter()
            .filter_map(|measure| chart(methods, measure))
            .collect(),
        table: table(methods, measures),
    }
}

fn finite(values: &[f64]) -> Vec<f64> {
    values.iter().copied().filter(|v| v.is_finite()).collect()
}

fn table(methods: &[String], measures: &[Measure]) -> Table {
    let cell = |measure: &Measure, method: usize| {
        let values = finite(&measure.values[method]);
        let digits = measure.digits;
        match (mean_and_deviation(&values), values.len()) {
            (_, 0) => "–".to_string(),
            ((mean, _), 1) => format!("{mean:.digits$}"),
            ((mean, deviation), _) => format!("{mean:.digits$} ± {deviation:.digits$}"),
        }
    };
    let headings = std::iter::once("method".to_string()).chain(measures.iter().map(|m| m.name.clone()));
    let rows = methods.iter().enumerate().map(|(i, name)| {
        let cells = measures.iter().map(|measure| cell(measure, i));
        std::iter::once(name.clone()).chain(cells).collect()
    });
    Table {
        headings: headings.collect(),
        rows: rows.collect(),
    }
}

fn chart(methods: &[String], measure: &Measure) -> Option<Chart> {
    let all = measure.values.iter().flatten().copied();
    let x = Axis::fitted(all, true, 5)?;
    let lanes = methods.len() as f64;
    let height = 50.0 + LANE * lanes;
    // Lanes have names, not numbers.
    let y = Axis::tight(0.0, lanes, 1);
    let mut frame = Frame::new(WIDTH, height, 16.0, x, y);
    let longest = methods.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    frame.left = 14.0 + CHARACTER * longest as f64;
    let logarithmic = frame.x.is_log();
    let body = html! {
        @for (value, _) in frame.x.ticks() {
            @if let Some(x) = frame.px(*value) {
                line.grid x1=(px(x)) x2=(px(x)) y1=(px(frame.top)) y2=(px(frame.floor())) {}
            }
        }
        @for (i, (name, values)) in methods.iter().zip(&measure.values).enumerate() {
            @let values = finite(values);
            @if let Some(y) = frame.py(lanes - 0.5 - i as f64) {
                text.end.ink x=(px(frame.left - 8.0)) y=(px(y + 4.0)) { (name) }
                @for value in &values {
                    @if let Some(x) = frame.px(*value) {
                        circle.swatch.(format!("c{}", i % 10)) cx=(px(x)) cy=(px(y)) r="4" fill-opacity="0.7" {
                            title { (name) ": " (significant(*value)) }
                        }
                    }
                }
                @let (mean, _) = mean_and_deviation(&values);
                @if let Some(x) = frame.px(mean) {
                    line.outline x1=(px(x)) x2=(px(x)) y1=(px(y - 10.0)) y2=(px(y + 10.0)) {}
                }
            }
        }
        (frame.x_axis(&measure.name))
    };
    let scale = if logarithmic { " Logarithmic scale." } else { "" };
    Some(Chart {
        title: measure.name.clone(),
        caption: format!(
            "{} A dot for each run, a stroke at the mean.{scale}",
            measure.caption
        ),
        picture: Picture {
            width: WIDTH,
            height,
            label: format!("{} of {} methods", measure.name, methods.len()),
            body,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_means_and_spreads_and_the_page_a_dot_for_each_run() {
        let methods = ["a".to_string(), "<b>".to_string(), "none".to_string()];
        let measures = [Measure {
            name: "ACC".into(),
            caption: "Larger is better.".into(),
            digits: 2,
            values: vec![vec![0.5, 0.7], vec![0.25], vec![f64::NAN]],
        }];
        let sheet = sheet("title".into(), "about".into(), &methods, &measures);
        // Of 0.5 and 0.7: squares of 0.1 twice, over 1.
        assert_eq!(sheet.table.rows[0], ["a", "0.60 ± 0.14"]);
        assert_eq!(sheet.table.rows[1], ["<b>", "0.25"]);
        assert_eq!(sheet.table.rows[2], ["none", "–"]);
        assert_eq!(sheet.table.to_text().lines().count(), 4);
        for text in [sheet.to_html(), sheet.to_svg()] {
            assert_eq!(text.matches("<circle").count(), 3);
            assert!(!text.contains("<b>") && !text.contains("NaN"), "{text}");
        }
        assert!(sheet.to_svg().contains("xmlns=\"http://www.w3.org/2000/svg\""));
    }
}

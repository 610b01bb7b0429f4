//! The curves of a search for gamma (figure 4 of the paper).

use super::axis::Axis;
use super::chart::{Series, common_axis, lines_over};
use super::number::significant;
use super::page::{Chart, Sheet, Table};

const WIDTH: f64 = 560.0;

/// What a training with one gamma came to.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    /// The weight of the penalty.
    pub gamma: f64,
    /// The relaxed cut.
    pub l_lap: f64,
    /// The penalty.
    pub l_orth: f64,
    /// The exact cut; not a number where there is none.
    pub cut: f64,
    /// Accuracy; not a number without labels.
    pub acc: f64,
}

/// A curve: its name, the class of its colour, and its value at a point.
type Curve = (&'static str, &'static str, fn(&Point) -> f64);

/// A page of the curves; the points may come in any order of gamma.
pub fn sheet(title: String, subtitle: String, points: &[Point]) -> Sheet {
    let mut sorted = points.to_vec();
    sorted.sort_by(|a, b| a.gamma.total_cmp(&b.gamma));
    let gammas: Vec<f64> = sorted.iter().map(|point| point.gamma).collect();
    let chart = |title: &str, caption: &str, picks: &[Curve]| {
        let series: Vec<Series> = picks
            .iter()
            .map(|&(name, class, pick)| Series {
                name,
                class,
                values: sorted.iter().map(pick).collect(),
            })
            .collect();
        let x = Axis::fitted(gammas.iter().copied(), true, 5)?;
        let y = common_axis(&series, true)?;
        let label = format!("{title} by gamma");
        let picture = lines_over("gamma", WIDTH, &label, (&gammas, x), &series, y)?;
        Some(Chart {
            title: title.into(),
            caption: caption.into(),
            picture,
        })
    };
    let charts = [
        chart(
            "Penalty",
            "The smallest mean L_orth of an epoch. Gammas that reach the floor, which the largest one shows, hold the clusters apart.",
            &[("L_orth", "s2", |p| p.l_orth)],
        ),
        chart(
            "Relaxed cut",
            "The mean L_lap of the same epoch; the smallest among the gammas that reach the floor is taken.",
            &[("L_lap", "s1", |p| p.l_lap)],
        ),
        chart(
            "Exact cut",
            "Of the whole training graph, by the hard labels.",
            &[("cut", "s0", |p| p.cut)],
        ),
        chart(
            "Agreement with the labels",
            "Accuracy on the training rows; it plays no part in the search.",
            &[("ACC", "s0", |p| p.acc)],
        ),
    ];
    let headings = ["gamma", "L_orth", "L_lap", "exact cut", "ACC"];
    let row = |p: &Point| {
        [p.gamma, p.l_orth, p.l_lap, p.cut, p.acc]
            .map(significant)
            .to_vec()
    };
    Sheet {
        title,
        subtitle,
        charts: charts.into_iter().flatten().collect(),
        table: Table {
            headings: headings.map(String::from).to_vec(),
            rows: points.iter().map(row).collect(),
        },
    }
}

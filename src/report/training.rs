//! How the run went: loss, agreement and learning rate over the epochs.

use maud::{Markup, html};

use super::chart::{Series, common_axis, figure, lines};
use super::number::{duration, grouped, significant};
use crate::train::EpochRecord;

/// A line of a chart: its name, the class of its colour, and its value in an epoch.
type Line<'a> = (&'static str, &'static str, &'a dyn Fn(&EpochRecord) -> f64);

/// The charts of the training section, as many as the history has numbers for.
pub fn charts(history: &[&EpochRecord]) -> Vec<Markup> {
    // An epoch that fits the network to labels has another loss, the cross-entropy, and neither L_lap nor L_orth.
    let of_cut = |e: &EpochRecord, value: f64| if e.agreement.is_some() { f64::NAN } else { value };
    let loss: [Line; 3] = [
        ("loss", "s0", &|e| of_cut(e, e.loss)),
        ("L_lap", "s1", &|e| of_cut(e, e.l_lap)),
        ("L_orth", "s2", &|e| of_cut(e, e.l_orth)),
    ];
    let cut: [Line; 1] = [("cut", "s0", &|e| e.cut.unwrap_or(f64::NAN))];
    let agreement: [Line; 1] = [("rows", "s0", &|e| e.agreement.unwrap_or(f64::NAN))];
    let scores: [Line; 3] = [
        ("ACC", "s0", &|e| e.scores.map_or(f64::NAN, |s| s.acc)),
        ("NMI", "s1", &|e| e.scores.map_or(f64::NAN, |s| s.nmi)),
        ("ARI", "s2", &|e| e.scores.map_or(f64::NAN, |s| s.ari)),
    ];
    let rate: [Line; 1] = [("lr", "s0", &|e| e.learning_rate)];
    let all: [(&str, bool, &[Line], Markup); 5] = [
        (
            "Loss",
            true,
            &loss,
            html! {
                "loss = L_lap + γ/2 · L_orth, means over the mini-batches of an epoch. L_lap is the relaxed \
                 cut, L_orth keeps the clusters apart."
            },
        ),
        (
            "Exact cut",
            false,
            &cut,
            html! {
                "Cut of the whole training graph by the hard labels after each epoch; an empty cluster counts as if it were \
                 cut off from everything. The network with the smallest is kept."
            },
        ),
        (
            "Warm-up",
            false,
            &agreement,
            html! { "Share of the training rows to which the network gives the label that training began with." },
        ),
        (
            "Agreement with the labels",
            false,
            &scores,
            html! {
                "Agreement with the given labels on the training rows; they play no part in training. 1 is perfect."
            },
        ),
        (
            "Learning rate",
            false,
            &rate,
            html! { "As scheduled, per epoch." },
        ),
    ];
    let epochs: Vec<f64> = history.iter().map(|e| e.epoch as f64).collect();
    let drawn: Vec<_> = all
        .into_iter()
        .filter_map(|(title, may_be_log, picks, caption)| {
            let series: Vec<Series> = picks
                .iter()
                .map(|&(name, class, pick)| Series {
                    name,
                    class,
                    values: history.iter().map(|e| pick(e)).collect(),
                })
                .collect();
            // Losses fall through decades; scores and the cosine of the rate are read on a plain scale.
            let y = common_axis(&series, may_be_log)?;
            Some((title, caption, series, y))
        })
        .collect();
    // Two charts side by side are wider than three; the text of both then has the same size on the page.
    let width = if columns(drawn.len()) == 3 { 384.0 } else { 560.0 };
    drawn
        .into_iter()
        .filter_map(|(title, caption, series, y)| {
            let caption = html! { (caption) @if y.is_log() { " Logarithmic scale." } };
            let label = format!("{title} over {} epochs", history.len());
            let picture = lines(width, &label, &epochs, &series, y)?;
            Some(figure(title, caption, picture))
        })
        .collect()
}

/// How many of so many charts stand side by side.
pub fn columns(charts: usize) -> usize {
    match charts {
        0..=2 | 4 => 2,
        _ => 3,
    }
}

/// The same numbers to read and copy.
pub fn table(history: &[&EpochRecord]) -> Markup {
    let scored = history.iter().any(|e| e.scores.is_some());
    let cut = history.iter().any(|e| e.cut.is_some());
    let warmed_up = history.iter().any(|e| e.agreement.is_some());
    html! {
        div.scroll tabindex="0" role="region" aria-label="Epoch by epoch" {
            table.figures {
                thead {
                    tr {
                        @for name in ["epoch", "loss", "L_lap", "L_orth", "learning rate"] { th scope="col" { (name) } }
                        @if cut { th scope="col" { "exact cut" } }
                        @if warmed_up { th scope="col" { "warm-up" } }
                        @if scored { th scope="col" { "ACC" } th scope="col" { "NMI" } th scope="col" { "ARI" } }
                        @for name in ["largest cluster", "smallest cluster", "time"] { th scope="col" { (name) } }
                    }
                }
                tbody {
                    @for e in history {
                        tr {
                            th scope="row" { (e.epoch) }
                            @let [l_lap, l_orth] = if e.agreement.is_some() { [f64::NAN; 2] } else { [e.l_lap, e.l_orth] };
                            @for v in [e.loss, l_lap, l_orth, e.learning_rate] { td { (significant(v)) } }
                            @if cut { td { (significant(e.cut.unwrap_or(f64::NAN))) } }
                            @if warmed_up { td { (significant(e.agreement.unwrap_or(f64::NAN))) } }
                            @if scored {
                                @let s = e.scores.map_or([f64::NAN; 3], |s| [s.acc, s.nmi, s.ari]);
                                @for v in s { td { (significant(v)) } }
                            }
                            td { (e.sizes.iter().max().map_or_else(|| "–".to_string(), |&n| grouped(n))) }
                            td { (e.sizes.iter().min().map_or_else(|| "–".to_string(), |&n| grouped(n))) }
                            td { (duration(e.seconds)) }
                        }
                    }
                }
            }
        }
    }
}

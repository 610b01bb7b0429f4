//! How the run went: loss, agreement and learning rate over the epochs.

use maud::{Markup, html};

use super::chart::{Series, common_axis, figure, lines};
use super::number::{duration, grouped, significant};
use crate::train::EpochRecord;

/// A line of a chart: its name, the class of its colour, and its value in an epoch.
type Line = (&'static str, &'static str, fn(&EpochRecord) -> f64);

/// The charts of the training section, as many as the history has numbers for.
pub fn charts(history: &[&EpochRecord]) -> Vec<Markup> {
    let loss: [Line; 3] = [
        ("loss", "s0", |e| e.loss),
        ("L_lap", "s1", |e| e.l_lap),
        ("L_orth", "s2", |e| e.l_orth),
    ];
    let scores: [Line; 3] = [
        ("ACC", "s0", |e| e.scores.map_or(f64::NAN, |s| s.acc)),
        ("NMI", "s1", |e| e.scores.map_or(f64::NAN, |s| s.nmi)),
        ("ARI", "s2", |e| e.scores.map_or(f64::NAN, |s| s.ari)),
    ];
    let rate: [Line; 1] = [("lr", "s0", |e| e.learning_rate)];
    let about_loss = html! {
        "loss = L_lap + γ/2 · L_orth, means over the mini-batches of an epoch. L_lap is the relaxed normalised \
         cut, L_orth keeps the clusters apart."
    };
    let about_scores = html! {
        "Agreement with the given labels on the training rows; they play no part in training. 1 is perfect."
    };
    let all: [(&str, bool, &[Line], Markup); 3] = [
        ("Loss", true, &loss, about_loss),
        ("Agreement with the labels", false, &scores, about_scores),
        (
            "Learning rate",
            false,
            &rate,
            html! { "As scheduled, per epoch." },
        ),
    ];
    let scored = history.iter().any(|e| e.scores.is_some());
    // Two charts side by side are wider than three; the text of both then has the same size on the page.
    let width = if scored { 384.0 } else { 560.0 };
    let epochs: Vec<f64> = history.iter().map(|e| e.epoch as f64).collect();
    all.into_iter()
        .filter_map(|(title, may_be_log, picks, caption)| {
            let series: Vec<Series> = picks
                .iter()
                .map(|&(name, class, pick)| Series {
                    name,
                    class,
                    values: history.iter().map(|e| pick(e)).collect(),
                })
                .collect();
            let label = format!("{title} over {} epochs", history.len());
            // Losses fall through decades; scores and the cosine of the rate are read on a plain scale.
            let y = common_axis(&series, may_be_log)?;
            let caption = html! { (caption) @if y.is_log() { " Logarithmic scale." } };
            let picture = lines(width, &label, &epochs, &series, y)?;
            Some(figure(title, caption, picture))
        })
        .collect()
}

/// The same numbers to read and copy.
pub fn table(history: &[&EpochRecord]) -> Markup {
    let scored = history.iter().any(|e| e.scores.is_some());
    html! {
        div.scroll tabindex="0" role="region" aria-label="Epoch by epoch" {
            table.figures {
                thead {
                    tr {
                        @for name in ["epoch", "loss", "L_lap", "L_orth", "learning rate"] { th scope="col" { (name) } }
                        @if scored { th scope="col" { "ACC" } th scope="col" { "NMI" } th scope="col" { "ARI" } }
                        @for name in ["largest cluster", "smallest cluster", "time"] { th scope="col" { (name) } }
                    }
                }
                tbody {
                    @for e in history {
                        tr {
                            th scope="row" { (e.epoch) }
                            @for v in [e.loss, e.l_lap, e.l_orth, e.learning_rate] { td { (significant(v)) } }
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

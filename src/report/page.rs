//! The shell of every page, and pages of a few charts that are no run: for a browser, or as one picture.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::chart::{Picture, figure, px};

const STYLE: &str = include_str!("style.css");

/// Room between the charts of one picture, and for the heading of each.
const GAP: f64 = 26.0;
const HEADING: f64 = 34.0;

/// A page, complete in itself.
pub fn page(title: &str, subtitle: &str, main: Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                // The browser itself sees to it that nothing is loaded from elsewhere.
                meta http-equiv="Content-Security-Policy"
                    content="default-src 'none'; img-src data:; style-src 'unsafe-inline'";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header { h1 { (title) } p { (subtitle) } }
                main { (main) }
                footer { "Made by neuncut " (env!("CARGO_PKG_VERSION")) "." }
            }
        }
    };
    page.into_string()
}

/// A few charts and a table under a heading.
pub struct Sheet {
    /// The heading.
    pub title: String,
    /// What it is about, in a line.
    pub subtitle: String,
    /// The charts.
    pub charts: Vec<Chart>,
    /// Numbers to read and copy; may be empty.
    pub table: Table,
}

/// A chart with its heading and caption.
pub struct Chart {
    pub(super) title: String,
    pub(super) caption: String,
    pub(super) picture: Picture,
}

/// Rows of texts under headings.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// One for each column.
    pub headings: Vec<String>,
    /// As many texts each; the first names the row.
    pub rows: Vec<Vec<String>>,
}

impl Sheet {
    /// As a page.
    pub fn to_html(&self) -> String {
        let main = html! {
            section {
                div.charts.n2 {
                    @for chart in &self.charts {
                        (figure(&chart.title, html! { (chart.caption) }, chart.picture.markup()))
                    }
                }
            }
            @if !self.table.rows.is_empty() { section { (self.table.markup()) } }
        };
        page(&self.title, &self.subtitle, main)
    }

    /// The charts as one SVG picture, one below the other.
    pub fn to_svg(&self) -> String {
        let width = self
            .charts
            .iter()
            .map(|chart| chart.picture.width)
            .fold(0.0, f64::max)
            + 2.0 * GAP;
        let mut tops = vec![GAP + HEADING];
        for chart in &self.charts {
            tops.push(tops[tops.len() - 1] + HEADING + chart.picture.height + GAP);
        }
        let height = tops[self.charts.len()];
        let picture = html! {
            svg xmlns="http://www.w3.org/2000/svg" viewBox=(format!("0 0 {width:.0} {height:.0}"))
                width=(px(width)) height=(px(height)) {
                title { (self.title) }
                style { (PreEscaped(STYLE)) "text{font-family:system-ui,sans-serif}" }
                rect width="100%" height="100%" style="fill:var(--card)" {}
                text.ink x=(px(GAP)) y=(px(GAP + 6.0)) style="font-size:17px;font-weight:600" { (self.title) }
                text x=(px(GAP)) y=(px(GAP + 24.0)) { (self.subtitle) }
                @for (chart, &top) in self.charts.iter().zip(&tops) {
                    text.ink x=(px(GAP)) y=(px(top + 20.0)) style="font-size:13px;font-weight:600" { (chart.title) }
                    g transform=(format!("translate({GAP:.1} {:.1})", top + HEADING)) { (chart.picture.body) }
                }
            }
        };
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{}\n",
            picture.into_string()
        )
    }
}

impl Table {
    fn markup(&self) -> Markup {
        html! {
            div.scroll tabindex="0" role="region" aria-label="Numbers" {
                table.figures {
                    thead { tr { @for name in &self.headings { th scope="col" { (name) } } } }
                    tbody {
                        @for row in &self.rows {
                            tr {
                                @for (i, text) in row.iter().enumerate() {
                                    @if i == 0 { th scope="row" { (text) } } @else { td { (text) } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    /// For a terminal: columns parted by blanks, numbers to the right.
    pub fn to_text(&self) -> String {
        let lines: Vec<&Vec<String>> = std::iter::once(&self.headings).chain(&self.rows).collect();
        let count = |text: &String| text.chars().count();
        let widths: Vec<usize> = (0..self.headings.len())
            .map(|c| lines.iter().map(|line| count(&line[c])).max().unwrap_or(0))
            .collect();
        let line = |texts: &Vec<String>| {
            let padded = texts.iter().zip(&widths).enumerate().map(|(c, (text, width))| {
                let blanks = " ".repeat(width - count(text));
                if c == 0 {
                    format!("{text}{blanks}")
                } else {
                    format!("{blanks}{text}")
                }
            });
            padded.collect::<Vec<_>>().join("  ").trim_end().to_string()
        };
        lines.into_iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

//! The run as one HTML page: figures, charts and sample members, readable without a network or a script.

mod axis;
mod chart;
pub mod comparison;
mod confusion;
pub mod gamma_search;
mod image;
mod images;
mod number;
mod page;
mod sizes;
mod scatter;
pub mod spectrum;
mod training;

pub use confusion::Confusion;
pub use images::ClusterImages;
pub use page::{Chart, Sheet, Table};

use maud::{Markup, html};

use crate::scores::best_map;
use crate::spectral::Spectrum;
use crate::train::EpochRecord;
use crate::{Error, Result};

/// A longer history is drawn by an even choice of this many epochs.
const MOST_EPOCHS: usize = 500;

/// What a page is made of. Every part may be empty; an empty part leaves no trace on the page.
#[derive(Clone, Debug)]
pub struct Report<'a> {
    /// The heading.
    pub title: &'a str,
    /// Headline figures: name and value, as they are to be read.
    pub summary: &'a [(String, String)],
    /// The settings of the run: name and value.
    pub config: &'a [(String, String)],
    /// The epochs of one attempt, in order. Numbers that are not finite are left out of the charts.
    pub history: &'a [EpochRecord],
    /// The leading eigenvalues of the training graph, when there is one.
    pub spectrum: Option<&'a Spectrum>,
    /// Rows in each of the k clusters at the end, over all rows.
    pub sizes: &'a [u64],
    /// Clusters against classes, when there are labels.
    pub confusion: Option<Confusion<'a>>,
    /// Members to look at.
    pub samples: Option<Samples<'a>>,
    /// What the reader should know before trusting the result.
    pub warnings: &'a [String],
}

/// Members of the clusters to look at.
#[derive(Clone, Copy, Debug)]
pub enum Samples<'a> {
    /// Some images of each cluster.
    Images {
        /// Pixels from top to bottom.
        height: usize,
        /// Pixels from left to right.
        width: usize,
        /// 1 (grey) or 3 (red, green, blue, interleaved).
        channels: usize,
        /// The images of each cluster; about twenty each make a good page.
        per_cluster: &'a [ClusterImages],
    },
    /// Rows as points in the plane; fewer than `sizes` count are a sample, and the page says so.
    Points {
        /// Where each of the rows lies.
        xy: &'a [[f32; 2]],
        /// The cluster of each of them, below k.
        cluster: &'a [u32],
    },
}

impl Report<'_> {
    /// The page, complete in itself: styles, charts (SVG) and pictures (PNG) are all inside.
    ///
    /// # Errors
    /// [`Error::Shape`] when two parts do not fit together.
    pub fn to_html(&self) -> Result<String> {
        self.check()?;
        let main = html! {
            (self.warnings())
            (self.headline())
            (self.training())
            (self.spectrum())
            (self.clusters())
            (self.confusion()?)
            (self.samples()?)
            (self.details())
        };
        Ok(page::page(self.title, &self.subtitle(), main))
    }

    /// `10 clusters · 70,000 rows · 100 epochs · 1 min 12 s`, as far as known.
    fn subtitle(&self) -> String {
        let mut parts = Vec::new();
        if !self.sizes.is_empty() {
            parts.push(number::plural(self.sizes.len(), "cluster"));
            parts.push(format!("{} rows", number::grouped(self.sizes.iter().sum())));
        }
        if let Some(last) = self.history.last() {
            parts.push(number::plural(last.epoch, "epoch"));
            parts.push(format!("trained in {}", number::duration(last.seconds)));
        }
        parts.join(" · ")
    }

    fn warnings(&self) -> Markup {
        html! {
            @if !self.warnings.is_empty() {
                section.warnings aria-label="Warnings" {
                    h2 { "Before you trust this" }
                    ul { @for warning in self.warnings { li { (warning) } } }
                }
            }
        }
    }

    fn headline(&self) -> Markup {
        html! {
            @if !self.summary.is_empty() {
                dl.headline { @for (name, value) in self.summary { div { dt { (name) } dd { (value) } } } }
            }
        }
    }

    fn epochs(&self) -> Vec<&EpochRecord> {
        let shown = number::stride(self.history.len(), MOST_EPOCHS);
        shown.into_iter().map(|i| &self.history[i]).collect()
    }

    fn training(&self) -> Markup {
        let charts = training::charts(&self.epochs());
        html! {
            @if !charts.is_empty() {
                section {
                    h2 { "Training" }
                    @if self.history.len() > MOST_EPOCHS {
                        p.lead {
                            "Drawn: " (MOST_EPOCHS) " epochs, evenly chosen out of "
                            (number::grouped(self.history.len() as u64)) "."
                        }
                    }
                    div class={ "charts n" (training::columns(charts.len())) } { @for chart in &charts { (chart) } }
                }
            }
        }
    }

    fn spectrum(&self) -> Markup {
        html! {
            @if let Some(chart) = self.spectrum.and_then(spectrum::chart) {
                section {
                    h2 { "Graph" }
                    div.charts.n2 {
                        (chart::figure(&chart.title, html! { (chart.caption) }, chart.picture.markup()))
                    }
                }
            }
        }
    }

    fn clusters(&self) -> Markup {
        let last = (!self.sizes.is_empty()).then(|| sizes::last(self.sizes));
        let over_epochs = sizes::over_epochs(&self.epochs());
        html! {
            @if last.is_some() || over_epochs.is_some() {
                section {
                    h2 { "Cluster sizes" }
                    div.charts.n2 {
                        @if let Some(chart) = last { (chart) }
                        @if let Some(chart) = over_epochs { (chart) }
                    }
                }
            }
        }
    }

    fn confusion(&self) -> Result<Markup> {
        let Some(confusion) = self.confusion else {
            return Ok(html! {});
        };
        Ok(html! { section { h2 { "Clusters and classes" } (confusion::chart(confusion)?) } })
    }

    fn samples(&self) -> Result<Markup> {
        let body = match self.samples {
            None => None,
            Some(Samples::Points { xy, cluster }) => scatter::chart(xy, cluster, self.sizes),
            Some(Samples::Images {
                height,
                width,
                channels,
                per_cluster,
            }) => {
                let dimensions = [height, width, channels];
                Some(images::grid(
                    dimensions,
                    per_cluster,
                    self.sizes,
                    &self.matches(),
                )?)
            }
        };
        Ok(html! { @if let Some(body) = body { section { h2 { "Members" } (body) } } })
    }

    /// For each cluster, which class it is matched with and how pure it is.
    fn matches(&self) -> Vec<Option<String>> {
        let Some(Confusion { classes, table }) = self.confusion else {
            return Vec::new();
        };
        let describe = |(cluster, class): (usize, Option<usize>)| {
            let class = class?;
            let share = number::percent(table.count(cluster, class), table.cluster_sizes()[cluster]);
            Some(format!("{share} are “{}”", classes[class]))
        };
        best_map(table).into_iter().enumerate().map(describe).collect()
    }

    fn details(&self) -> Markup {
        html! {
            @if !self.config.is_empty() || !self.history.is_empty() {
                section {
                    h2 { "Details" }
                    @if !self.config.is_empty() {
                        details open {
                            summary { "Settings" }
                            dl.config { @for (name, value) in self.config { div { dt { (name) } dd { (value) } } } }
                        }
                    }
                    @if !self.history.is_empty() {
                        details { summary { "Epoch by epoch" } (training::table(&self.epochs())) }
                    }
                }
            }
        }
    }

    fn check(&self) -> Result<()> {
        if let Some(Confusion { classes, table }) = self.confusion {
            expect("the number of class names", classes.len(), table.classes())?;
            expect(
                "the number of clusters in the table of classes",
                table.clusters(),
                self.sizes.len(),
            )?;
        }
        match self.samples {
            None => Ok(()),
            Some(Samples::Points { xy, cluster }) => {
                expect("the number of point labels", cluster.len(), xy.len())?;
                match cluster.iter().position(|&c| c as usize >= self.sizes.len()) {
                    None => Ok(()),
                    Some(row) => Err(shape(
                        format!("the cluster of point {row}"),
                        cluster[row],
                        format!("a number below {}", self.sizes.len()),
                    )),
                }
            }
            Some(Samples::Images {
                height,
                width,
                channels,
                per_cluster,
            }) => {
                if height == 0 || width == 0 || !matches!(channels, 1 | 3) {
                    let found = format!("{height} x {width} x {channels}");
                    return Err(shape(
                        "the size of a sample image",
                        found,
                        "height x width x 1 or 3",
                    ));
                }
                expect(
                    "the number of clusters with sample images",
                    per_cluster.len(),
                    self.sizes.len(),
                )?;
                for (cluster, images) in per_cluster.iter().enumerate() {
                    for image in images.confident.iter().chain(&images.doubtful) {
                        let what = format!("the size in bytes of a sample image of cluster {cluster}");
                        expect(what, image.len(), height * width * channels)?;
                    }
                }
                Ok(())
            }
        }
    }
}

fn expect(what: impl Into<String>, found: usize, expected: usize) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(shape(what, found, expected.to_string()))
}

fn shape(what: impl Into<String>, found: impl ToString, expected: impl Into<String>) -> Error {
    Error::Shape {
        what: what.into(),
        found: found.to_string(),
        expected: expected.into(),
    }
}

#[cfg(test)]
mod tests;

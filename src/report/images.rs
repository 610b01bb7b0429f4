//! What the clusters look like: sure and doubtful members of each, one picture per cluster.

use maud::{Markup, html};

use super::chart::cluster_class;
use super::image::rgba;
use super::number::{grouped, plural, stride};
use crate::Result;

/// Members of one cluster, as images of the same size: `height * width * channels` bytes each, row by row.
#[derive(Clone, Debug, Default)]
pub struct ClusterImages {
    /// The members the network is surest of.
    pub confident: Vec<Vec<u8>>,
    /// The members it is least sure of.
    pub doubtful: Vec<Vec<u8>>,
}

/// More clusters than this are shown by an even choice.
const MOST_CLUSTERS: usize = 60;
const COLUMNS: usize = 10;

/// Height, width and channels of every image.
pub type Dimensions = [usize; 3];

/// The picture of each cluster under its name and size; `notes` adds a line where it has one.
pub fn grid(
    dimensions: Dimensions,
    per_cluster: &[ClusterImages],
    sizes: &[u64],
    notes: &[Option<String>],
) -> Result<Markup> {
    let shown = stride(per_cluster.len(), MOST_CLUSTERS);
    let few = per_cluster.len() <= 20;
    let mut figures = Vec::with_capacity(shown.len());
    for &cluster in &shown {
        let images = &per_cluster[cluster];
        let picture = sheet(dimensions, images)?;
        let alt = format!(
            "{} of cluster {cluster}: {} it is sure of, {} it is not",
            plural(images.confident.len() + images.doubtful.len(), "member"),
            images.confident.len(),
            images.doubtful.len()
        );
        figures.push(html! {
            figure.members {
                h3 {
                    @if few { span.swatch.(cluster_class(cluster)) {} }
                    "Cluster " (cluster)
                    @if let Some(&size) = sizes.get(cluster) { small { (grouped(size)) " rows" } }
                }
                @if let Some(note) = notes.get(cluster).and_then(Option::as_ref) { p { (note) } }
                @match picture {
                    Some((address, width)) => img src=(address) alt=(alt) style=(format!("width:{width}px"));,
                    None => p { "no members" },
                }
            }
        });
    }
    Ok(html! {
        p.lead {
            "Above, the members of each cluster that the network is surest of; below the gap, those it is least sure of."
            @if shown.len() < per_cluster.len() {
                " Shown: " (plural(shown.len(), "cluster")) ", evenly chosen out of "
                (grouped(per_cluster.len() as u64)) "."
            }
        }
        div.sheets { @for figure in &figures { (figure) } }
    })
}

/// All images of a cluster as one PNG, ten to a line, and its width on the page in pixels; `None` without images.
fn sheet([height, width, channels]: Dimensions, images: &ClusterImages) -> Result<Option<(String, usize)>> {
    let gap = (width / 14).max(1);
    let lines = |count: usize| count.div_ceil(COLUMNS);
    let (sure, unsure) = (lines(images.confident.len()), lines(images.doubtful.len()));
    if sure + unsure == 0 {
        return Ok(None);
    }
    let columns = images.confident.len().max(images.doubtful.len()).min(COLUMNS);
    // Between the two kinds there is room to tell them apart.
    let divide = if sure > 0 && unsure > 0 { height / 3 } else { 0 };
    let total_width = columns * (width + gap) - gap;
    let total_height = (sure + unsure) * (height + gap) - gap + divide;
    let mut pixels = vec![0; 4 * total_width * total_height];
    let confident = images
        .confident
        .iter()
        .enumerate()
        .map(|(i, image)| (i, 0, image));
    let first_below = sure * (height + gap) + divide;
    let doubtful = images
        .doubtful
        .iter()
        .enumerate()
        .map(|(i, image)| (i, first_below, image));
    for (i, offset, image) in confident.chain(doubtful) {
        let x = i % COLUMNS * (width + gap);
        let y = offset + i / COLUMNS * (height + gap);
        for (line, bytes) in image.chunks_exact(width * channels).enumerate() {
            let start = 4 * ((y + line) * total_width + x);
            let target = &mut pixels[start..start + 4 * width];
            for (pixel, colour) in target.chunks_exact_mut(4).zip(bytes.chunks_exact(channels)) {
                let rgb = if channels == 3 {
                    [colour[0], colour[1], colour[2]]
                } else {
                    [colour[0]; 3]
                };
                pixel[..3].copy_from_slice(&rgb);
                pixel[3] = 255;
            }
        }
    }
    // Small images are enlarged to a comfortable 48 pixels; large ones shrink to the width they are given.
    let enlarged = total_width * 48 / width;
    Ok(Some((rgba(total_width, total_height, &pixels)?, enlarged)))
}

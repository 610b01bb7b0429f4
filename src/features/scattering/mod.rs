//! Scattering coefficients of pictures: local means of how much waves of some scale and direction there are in a picture, and in how
//! these vary (Bruna and Mallat, "Invariant scattering convolution networks", 2013).
//!
//! With Morlet wavelets psi of scales j and L directions and a Gaussian phi as wide as 2^J pixels, the paths of a picture x are
//! `x * phi`, `|x * psi_1| * phi` for all wavelets, and `||x * psi_1| * psi_2| * phi` for all pairs of which the second is of the
//! larger scale; each is taken at every 2^J-th pixel. Filters and order of the paths are those of Kymatio 0.3.0 (numpy), pictures are
//! prepared and paths normalised as the authors of NeuNcut do.
//!
//! What the speed comes from: each modulus is computed on the coarsest grid that its wavelet allows, by folding the spectrum; a phi
//! is a product of two small matrices and needs no spectrum; real pictures are transformed two at a time.

mod filters;
mod picture;
mod steps;

use std::sync::Arc;

use num_complex::Complex;
use rayon::prelude::*;

use crate::cpu::fast::{Fft2, vectorised};
use crate::data::ImageShape;
use crate::error::{Error, Result};

use picture::{Enlarger, mirrored};
pub use steps::Steps;

/// What decides the paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScatteringRule {
    /// Scales J: the widest wavelet is 2^(J - 1) times as wide as the narrowest, and paths are taken at every 2^J-th pixel.
    pub scales: usize,
    /// Directions L of the wavelets, over half a turn.
    pub angles: usize,
    /// Wavelets that a path goes through at most.
    pub order: usize,
}

impl Default for ScatteringRule {
    fn default() -> Self {
        ScatteringRule {
            scales: 3,
            angles: 8,
            order: 2,
        }
    }
}

impl ScatteringRule {
    /// Reads `J`, `J:L` or `J:L:ORDER`; what is not given is as in the default.
    pub fn parse(text: &str) -> Option<Self> {
        let numbers: Option<Vec<usize>> = text.split(':').map(|number| number.parse().ok()).collect();
        let mut rule = ScatteringRule::default();
        match numbers?[..] {
            [scales] => rule.scales = scales,
            [scales, angles] => (rule.scales, rule.angles) = (scales, angles),
            [scales, angles, order] => {
                rule = ScatteringRule {
                    scales,
                    angles,
                    order,
                }
            }
            _ => return None,
        }
        let known = (1..=4).contains(&rule.scales)
            && (1..=16).contains(&rule.angles)
            && (1..=2).contains(&rule.order);
        known.then_some(rule)
    }

    /// The inverse of [`parse`](Self::parse), in full.
    pub fn describe(self) -> String {
        format!("{}:{}:{}", self.scales, self.angles, self.order)
    }

    /// Paths of each channel of a picture.
    pub fn paths(self) -> usize {
        let ScatteringRule {
            scales,
            angles,
            order,
        } = self;
        let pairs = match order {
            1 => 0,
            _ => angles * angles * scales * (scales - 1) / 2,
        };
        1 + scales * angles + pairs
    }

    /// Rows and columns that a picture is enlarged to: multiples of 2^J.
    fn enlarged(self, image: ImageShape) -> (usize, usize) {
        let side = |len: usize| len.next_multiple_of(1 << self.scales);
        (side(image.height), side(image.width))
    }

    /// By how many pixels these are then mirrored on all sides: far enough that a picture does not meet its other end under the widest
    /// filter.
    fn margin(self) -> usize {
        1 << self.scales
    }

    /// The wavelets on a grid, in the Fourier domain, columns x rows; all of the first scale before those of the next.
    fn wavelets(self, grid: (usize, usize)) -> Vec<Vec<f64>> {
        let transform = Fft2::new(grid.0, grid.1);
        (0..self.scales * self.angles)
            .into_par_iter()
            .map(|n| filters::wavelet(&transform, grid, n / self.angles, n % self.angles, self.angles))
            .collect()
    }

    /// Numbers that a picture becomes: channels x paths x height x width, or an error for the option that asked for it where the picture is
    /// too small.
    pub fn outputs(self, option: &'static str, image: ImageShape) -> Result<usize> {
        let least = 1 << self.scales;
        if image.height < least || image.width < least {
            return Err(Error::option(
                option,
                format!(
                    "scatnet with {} scales needs pictures of at least {least} x {least} pixels, these have {} x {}",
                    self.scales, image.height, image.width
                ),
                "choose fewer scales, as in scatnet=1, or other features",
            ));
        }
        let (rows, columns) = self.enlarged(image);
        Ok(image.channels * self.paths() * (rows >> self.scales) * (columns >> self.scales))
    }
}

/// A wavelet in the Fourier domain as it is applied to the spectrum of a picture: multiplied, and folded onto a coarser grid.
struct Filter {
    segments: Vec<Segment>,
    /// Every value twice, for both parts of a complex number; those of one segment after the other.
    values: Vec<f32>,
}

/// A part of a line of the spectrum, and the place in the folded one that it is added to.
struct Segment {
    from: usize,
    to: usize,
}

/// Values of a wavelet below this, beside a peak of about 1, are left out where they fill a whole segment: a hundredth of the rounding
/// of the others.
const NOTHING: f64 = 1e-9;

impl Filter {
    /// `values` on a grid of `fine` lines of frequencies, folded onto one of `coarse`, of which both have a number and a length.
    fn new(values: impl Fn(usize, usize) -> f64, fine: (usize, usize), coarse: (usize, usize)) -> Self {
        // Folding adds up; subsampling in space is the mean. And the inverse transform does not divide.
        let scale = 1.0 / (fine.0 * fine.1) as f64;
        let mut filter = Filter {
            segments: Vec::new(),
            values: Vec::new(),
        };
        for line in 0..fine.0 {
            for first in (0..fine.1).step_by(coarse.1) {
                let segment = (first..first + coarse.1).map(|at| values(line, at));
                if segment.clone().all(|value| value.abs() < NOTHING) {
                    continue;
                }
                filter.segments.push(Segment {
                    from: line * fine.1 + first,
                    to: line % coarse.0 * coarse.1,
                });
                filter
                    .values
                    .extend(segment.flat_map(|value| [(value * scale) as f32; 2]));
            }
        }
        filter
    }

    /// Writes the filtered and folded spectrum; `line` is the length of its lines.
    #[inline(always)]
    fn apply(&self, spectrum: &[Complex<f32>], line: usize, folded: &mut [Complex<f32>]) {
        let spectrum: &[f32] = bytemuck::cast_slice(spectrum);
        let folded: &mut [f32] = bytemuck::cast_slice_mut(folded);
        folded.fill(0.0);
        for (segment, values) in self.segments.iter().zip(self.values.chunks_exact(2 * line)) {
            let from = &spectrum[2 * segment.from..][..2 * line];
            let to = &mut folded[2 * segment.to..][..2 * line];
            add_products(to, from, values);
        }
    }
}

/// The Gaussian for pictures of one grid.
struct LowPass {
    /// Rows of a path, and of the grid.
    heights: [usize; 2],
    /// Columns of a path, and of the grid.
    widths: [usize; 2],
    /// Rows of a path x rows of the grid.
    left: Vec<f32>,
    /// For every [`LANES`] columns of a path, filled up with zeros: columns of the grid x these.
    right: Vec<[f32; LANES]>,
}

/// Columns of a path that are computed at a time.
const LANES: usize = 4;

impl LowPass {
    fn new((rows, columns): (usize, usize), scales: usize, level: usize) -> Self {
        let left = filters::low_pass(rows, scales, level);
        let right = filters::low_pass(columns, scales, level);
        let (height, width) = (rows >> level, columns >> level);
        let widths = right.len() / width;
        let lanes = (0..widths).step_by(LANES).flat_map(|first| {
            let entry = |column: usize, at: usize| {
                if column < widths {
                    right[column * width + at] as f32
                } else {
                    0.0
                }
            };
            (0..width).map(move |at| std::array::from_fn(|lane| entry(first + lane, at)))
        });
        LowPass {
            heights: [left.len() / height, height],
            widths: [widths, width],
            right: lanes.collect(),
            left: left.into_iter().map(|value| value as f32).collect(),
        }
    }

    /// `S = P U Q'` of a picture; `between` is room to work in.
    #[inline(always)]
    fn apply(&self, picture: &[f32], between: &mut [f32], path: &mut [f32]) {
        let ([heights, height], [widths, width]) = (self.heights, self.widths);
        let between = &mut between[..heights * width];
        between.fill(0.0);
        for (at, row) in picture.chunks_exact(width).enumerate() {
            for (output, sums) in between.chunks_exact_mut(width).enumerate() {
                let weight = self.left[output * height + at];
                add_multiple(sums, weight, row);
            }
        }
        for (path, sums) in path.chunks_exact_mut(widths).zip(between.chunks_exact(width)) {
            for (path, weights) in path.chunks_mut(LANES).zip(self.right.chunks_exact(width)) {
                let mut totals = [0.0; LANES];
                for (sum, weights) in sums.iter().zip(weights) {
                    for (total, weight) in totals.iter_mut().zip(weights) {
                        *total += sum * weight;
                    }
                }
                path.copy_from_slice(&totals[..path.len()]);
            }
        }
    }
}

/// All that one scale of first wavelets needs.
struct Level {
    /// The transforms of pictures that have gone through a wavelet of this scale.
    fft: Fft2<f32>,
    /// Rows and columns of these.
    grid: (usize, usize),
    low_pass: LowPass,
    /// The wavelets of this scale for the padded picture.
    first: Vec<Filter>,
    /// Those of each larger scale for pictures that have gone through one of this.
    second: Vec<Vec<Filter>>,
}

/// What is computed once for pictures of one shape.
struct Plan {
    enlarger: Enlarger,
    /// Where the rows and the columns of the padded picture come from.
    mirrors: [Vec<usize>; 2],
    /// The transform of the padded picture is that of level 0.
    levels: Vec<Level>,
    /// Columns of the enlarged picture.
    width: usize,
    /// Numbers in a path.
    positions: usize,
}

impl Plan {
    fn new(rule: ScatteringRule, image: ImageShape) -> Self {
        let (height, width) = rule.enlarged(image);
        let margin = rule.margin();
        let (rows, columns) = (height + 2 * margin, width + 2 * margin);
        let wavelets = rule.wavelets((rows, columns));
        let of_scale = |j: usize, level: usize| -> Vec<Filter> {
            let fine = (columns >> level, rows >> level);
            let (line, at) = (filters::lowest(columns, fine.0), filters::lowest(rows, fine.1));
            wavelets[j * rule.angles..(j + 1) * rule.angles]
                .iter()
                .map(|values| {
                    Filter::new(
                        |l, k| values[line(l) * rows + at(k)],
                        fine,
                        (columns >> j, rows >> j),
                    )
                })
                .collect()
        };
        let levels = (0..rule.scales).map(|j| {
            let grid = (rows >> j, columns >> j);
            Level {
                fft: Fft2::new(grid.0, grid.1),
                grid,
                low_pass: LowPass::new((rows, columns), rule.scales, j),
                first: of_scale(j, 0),
                second: match rule.order {
                    1 => Vec::new(),
                    _ => (j + 1..rule.scales).map(|larger| of_scale(larger, j)).collect(),
                },
            }
        });
        Plan {
            enlarger: Enlarger::new((image.height, image.width), (height, width)),
            mirrors: [mirrored(height, margin), mirrored(width, margin)],
            levels: levels.collect(),
            width,
            positions: (height >> rule.scales) * (width >> rule.scales),
        }
    }
}

/// Memory for one picture at a time.
struct Workspace {
    pixels: Vec<u8>,
    between: Vec<u8>,
    enlarged: Vec<u8>,
    picture: Vec<Complex<f32>>,
    /// The spectrum of the padded picture.
    whole: Vec<Complex<f32>>,
    /// Those of two moduli.
    pair: [Vec<Complex<f32>>; 2],
    filtered: Vec<Complex<f32>>,
    moduli: [Vec<f32>; 2],
    sums: Vec<f32>,
    scratch: Vec<Complex<f32>>,
}

impl Workspace {
    fn new(plan: &Plan) -> Self {
        let len = plan.levels[0].fft.len();
        let scratch = plan.levels.iter().map(|level| level.fft.scratch()).max();
        let complex = || vec![Complex::default(); len];
        Workspace {
            pixels: Vec::new(),
            between: Vec::new(),
            enlarged: Vec::new(),
            picture: complex(),
            whole: complex(),
            pair: [complex(), complex()],
            filtered: complex(),
            moduli: [vec![0.0; len], vec![0.0; len]],
            sums: vec![0.0; len],
            scratch: vec![Complex::default(); scratch.unwrap_or(0)],
        }
    }
}

/// The scattering transform of pictures of one shape, ready to be applied.
#[derive(Clone)]
pub struct Scattering {
    rule: ScatteringRule,
    image: ImageShape,
    outputs: usize,
    plan: Arc<Plan>,
}

impl Scattering {
    /// Makes the filters for pictures of this shape; `option` is the one that asked for it.
    ///
    /// # Errors
    /// [`Error::Option`] where the pictures are too small.
    pub fn new(option: &'static str, rule: ScatteringRule, image: ImageShape) -> Result<Self> {
        Ok(Scattering {
            rule,
            image,
            outputs: rule.outputs(option, image)?,
            plan: Arc::new(Plan::new(rule, image)),
        })
    }

    /// What decides the paths.
    pub fn rule(&self) -> ScatteringRule {
        self.rule
    }

    /// The shape of the pictures.
    pub fn image(&self) -> ImageShape {
        self.image
    }

    /// Numbers that a picture becomes.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// The coefficients of pictures, on the threads of the current pool. A picture is height x width x channels pixels, its
    /// coefficients are channels x paths x height x width, each path divided by its largest absolute value; a path that is
    /// nothing beside the mean brightness is 0.
    ///
    /// # Panics
    /// If `pictures` and `coefficients` do not hold equally many.
    pub fn transform(&self, pictures: &[u8], coefficients: &mut [f32]) {
        self.paths(pictures, coefficients, |paths| self.normalise(paths));
    }

    /// The same, with what becomes of the paths of a channel left to `finish`.
    fn paths(&self, pictures: &[u8], coefficients: &mut [f32], finish: impl Fn(&mut [f32]) + Sync) {
        let ImageShape {
            height,
            width,
            channels,
        } = self.image;
        let pixels = height * width * channels;
        assert_eq!(pictures.len() / pixels, coefficients.len() / self.outputs);
        coefficients
            .par_chunks_exact_mut(self.outputs)
            .zip(pictures.par_chunks_exact(pixels))
            .for_each_init(
                || Workspace::new(&self.plan),
                |workspace, (coefficients, picture)| {
                    let of_channel = coefficients.chunks_exact_mut(self.outputs / channels);
                    for (channel, paths) in of_channel.enumerate() {
                        workspace.pixels.clear();
                        let pixels = picture[channel..].iter().step_by(channels);
                        workspace.pixels.extend(pixels);
                        // What is not inlined is not compiled for the widest registers, and of itself so much would not be.
                        vectorised(
                            #[inline(always)]
                            || self.scatter(workspace, paths),
                        );
                        finish(paths);
                    }
                },
            );
    }

    /// All paths of the pixels in the workspace.
    #[inline(always)]
    fn scatter(&self, workspace: &mut Workspace, paths: &mut [f32]) {
        let Plan {
            enlarger,
            mirrors,
            levels,
            width,
            positions,
        } = &*self.plan;
        let Workspace {
            pixels,
            between,
            enlarged,
            picture,
            whole,
            pair,
            filtered,
            moduli,
            sums,
            scratch,
        } = workspace;
        let angles = self.rule.angles;
        let (orders_0_and_1, order_2) = paths.split_at_mut((1 + levels.len() * angles) * positions);
        let mut paths_1 = orders_0_and_1.chunks_exact_mut(*positions);
        let mut paths_2 = order_2.chunks_exact_mut(*positions);

        enlarger.enlarge(pixels, between, enlarged);
        let (rows, columns) = levels[0].grid;
        let padded = &mut moduli[0];
        for (row, &at) in padded.chunks_exact_mut(columns).zip(&mirrors[0]) {
            let pixels = &enlarged[at * width..(at + 1) * width];
            for (value, &at) in row.iter_mut().zip(&mirrors[1]) {
                *value = f32::from(pixels[at]) / 255.0;
            }
        }
        for (complex, &value) in picture.iter_mut().zip(padded.iter()) {
            *complex = Complex::new(value, 0.0);
        }
        levels[0].fft.forward(picture, whole, scratch);
        if let Some(path) = paths_1.next() {
            levels[0].low_pass.apply(&padded[..rows * columns], sums, path);
        }

        for (j, level) in levels.iter().enumerate() {
            let len = level.fft.len();
            for first in level.first.chunks(2) {
                for (filter, modulus) in first.iter().zip(moduli.iter_mut()) {
                    let (filtered, modulus) = (&mut filtered[..len], &mut modulus[..len]);
                    filter.apply(whole, level.grid.0, filtered);
                    level.fft.inverse(filtered, &mut picture[..len], scratch);
                    absolute(&picture[..len], modulus);
                    if let Some(path) = paths_1.next() {
                        level.low_pass.apply(modulus, sums, path);
                    }
                }
                if level.second.is_empty() {
                    continue;
                }
                let [a, b] = moduli;
                let picture_of_two = &mut picture[..len];
                for ((complex, &a), &b) in picture_of_two.iter_mut().zip(a.iter()).zip(b.iter()) {
                    *complex = Complex::new(a, b);
                }
                level.fft.forward(picture_of_two, &mut filtered[..len], scratch);
                part(&filtered[..len], level.grid.0, pair);
                for spectrum in &pair[..first.len()] {
                    for (filters, coarse) in level.second.iter().zip(&levels[j + 1..]) {
                        let len = coarse.fft.len();
                        for filter in filters {
                            filter.apply(&spectrum[..level.fft.len()], coarse.grid.0, &mut filtered[..len]);
                            coarse
                                .fft
                                .inverse(&mut filtered[..len], &mut picture[..len], scratch);
                            let modulus = &mut moduli[0][..len];
                            absolute(&picture[..len], modulus);
                            if let Some(path) = paths_2.next() {
                                coarse.low_pass.apply(modulus, sums, path);
                            }
                        }
                    }
                }
            }
        }
    }

    /// Divides each path by its largest absolute value. One that rounding alone has left, as of a picture without any contrast, is 0.
    fn normalise(&self, paths: &mut [f32]) {
        let largest = |path: &[f32]| path.iter().fold(0.0, |most: f32, value| most.max(value.abs()));
        let positions = self.plan.positions;
        let least = ROUNDING * largest(&paths[..positions]);
        for path in paths.chunks_exact_mut(positions) {
            let largest = largest(path);
            let factor = if largest > least { 1.0 / largest } else { 0.0 };
            for value in path {
                *value *= factor;
            }
        }
    }
}

/// What sums in f32 leave of a path that is nothing, beside the mean brightness. Paths of pictures of things are above a ten-thousandth.
const ROUNDING: f32 = 1e-6;

impl PartialEq for Scattering {
    fn eq(&self, other: &Self) -> bool {
        (self.rule, self.image) == (other.rule, other.image)
    }
}

impl std::fmt::Debug for Scattering {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "scatnet={} of {:?}", self.rule.describe(), self.image)
    }
}

/// Numbers that short loops do at a time: lines are too short for what the compiler would choose, and would be left to its scalar rest. All
/// are computed before one is written, or else each might depend on the last.
const AT_A_TIME: usize = 8;

/// `to <- to + a b`, number by number.
#[inline(always)]
fn add_products(to: &mut [f32], a: &[f32], b: &[f32]) {
    let (to, to_rest) = to.as_chunks_mut::<AT_A_TIME>();
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<AT_A_TIME>(), b.as_chunks::<AT_A_TIME>());
    for ((to, a), b) in to.iter_mut().zip(a).zip(b) {
        *to = std::array::from_fn(|i| to[i] + a[i] * b[i]);
    }
    for ((to, a), b) in to_rest.iter_mut().zip(a_rest).zip(b_rest) {
        *to += a * b;
    }
}

/// `to <- to + factor a`.
#[inline(always)]
fn add_multiple(to: &mut [f32], factor: f32, a: &[f32]) {
    let (to, to_rest) = to.as_chunks_mut::<AT_A_TIME>();
    let (a, a_rest) = a.as_chunks::<AT_A_TIME>();
    for (to, a) in to.iter_mut().zip(a) {
        *to = std::array::from_fn(|i| to[i] + factor * a[i]);
    }
    for (to, a) in to_rest.iter_mut().zip(a_rest) {
        *to += factor * a;
    }
}

#[inline(always)]
fn absolute(values: &[Complex<f32>], moduli: &mut [f32]) {
    for (modulus, value) in moduli.iter_mut().zip(values) {
        *modulus = (value.re * value.re + value.im * value.im).sqrt();
    }
}

/// The spectra of two real pictures a and b from that of a + i b, on lines of `line` frequencies: `A(k) = (Z(k) + conj Z(-k)) / 2`,
/// `B(k) = (Z(k) - conj Z(-k)) / 2i`.
#[inline(always)]
fn part(of_both: &[Complex<f32>], line: usize, [a, b]: &mut [Vec<Complex<f32>>; 2]) {
    let lines = of_both.len() / line;
    for l in 0..lines {
        let opposite = &of_both[(lines - l) % lines * line..][..line];
        let here = &of_both[l * line..][..line];
        let (a, b) = (&mut a[l * line..][..line], &mut b[l * line..][..line]);
        for k in 0..line {
            let (z, mirror) = (here[k], opposite[if k == 0 { 0 } else { line - k }]);
            a[k] = Complex::new(0.5 * (z.re + mirror.re), 0.5 * (z.im - mirror.im));
            b[k] = Complex::new(0.5 * (z.im + mirror.im), 0.5 * (mirror.re - z.re));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::{Fast, Reference};
    use crate::data::npz::read_arrays;
    use crate::network::to_host;
    use crate::ops::Ops;
    use crate::random::{Purpose, Stream};

    fn golden() -> impl Iterator<Item = (ScatteringRule, ImageShape, Vec<u8>, Vec<f64>, Vec<f64>)> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/scattering.npz");
        let arrays = read_arrays(path).expect("the golden files come with the tests");
        let names: Vec<String> = arrays
            .keys()
            .filter_map(|name| Some(name.strip_suffix(".pictures")?.into()))
            .collect();
        assert!(names.len() > 8);
        names.into_iter().map(move |name| {
            let array = |what: &str| &arrays[&format!("{name}.{what}")];
            let pictures = array("pictures");
            let [_, height, width, channels] = pictures.shape[..] else {
                panic!("{name}: pictures of shape {:?}", pictures.shape)
            };
            let rule = name
                .split('_')
                .next()
                .and_then(|rule| ScatteringRule::parse(&rule.replace('-', ":")));
            (
                rule.expect("names begin with a rule"),
                ImageShape {
                    height,
                    width,
                    channels,
                },
                pictures.values.iter().map(|&v| v as u8).collect(),
                array("enlarged").values.clone(),
                array("paths").values.clone(),
            )
        })
    }

    #[test]
    fn paths_are_those_of_kymatio() {
        for (rule, image, pictures, _, expected) in golden() {
            let scattering = Scattering::new("--features", rule, image).expect("large enough");
            let count = pictures.len() / (image.height * image.width * image.channels);
            assert_eq!(expected.len(), count * scattering.outputs());
            let mut plain = vec![f32::NAN; expected.len()];
            let mut normalised = plain.clone();
            scattering.paths(&pictures, &mut plain, |_| {});
            scattering.transform(&pictures, &mut normalised);
            let positions = scattering.plan.positions;
            let found = plain
                .chunks_exact(positions)
                .zip(normalised.chunks_exact(positions));
            let mut worst = 0f64;
            for (expected, (plain, normalised)) in expected.chunks_exact(positions).zip(found) {
                let largest = expected.iter().fold(0.0, |most: f64, v| most.max(v.abs()));
                for (&expected, (&plain, &normalised)) in expected.iter().zip(plain.iter().zip(normalised)) {
                    let apart = (f64::from(plain) - expected).abs() / largest;
                    worst = worst
                        .max(apart)
                        .max((f64::from(normalised) - expected / largest).abs());
                }
            }
            println!("{rule:?} {image:?}: {worst:.1e}");
            assert!(
                worst < 1e-5,
                "{rule:?} {image:?}: {worst:.1e} of a path's largest number"
            );
        }
    }

    /// Normalised paths, by steps in a backend's memory.
    fn stepwise<O: Ops>(ops: &O, scattering: &Scattering, pictures: &[u8]) -> Vec<f32> {
        let mut steps = Steps::new(ops, scattering).expect("enough memory");
        let image = scattering.image;
        let count = pictures.len() / (image.height * image.width * image.channels);
        let mut to = ops
            .matrix("paths", count, scattering.outputs)
            .expect("enough memory");
        steps.transform(ops, pictures, &mut to).expect("enough memory");
        to_host(ops, &to).expect("they are there")
    }

    #[test]
    fn paths_by_steps_are_those_of_kymatio() {
        let (fast, exact) = (Fast::new(2).expect("two threads"), Reference::<f64>::new());
        for (rule, image, pictures, _, expected) in golden() {
            let scattering = Scattering::new("--features", rule, image).expect("large enough");
            let positions = scattering.plan.positions;
            for (name, found) in [
                ("fast", stepwise(&fast, &scattering, &pictures)),
                ("reference", stepwise(&exact, &scattering, &pictures)),
            ] {
                assert_eq!(found.len(), expected.len());
                let mut worst = 0f64;
                for (expected, found) in expected
                    .chunks_exact(positions)
                    .zip(found.chunks_exact(positions))
                {
                    let largest = expected.iter().fold(0.0, |most: f64, v| most.max(v.abs()));
                    for (&expected, &found) in expected.iter().zip(found) {
                        let apart = (f64::from(found) - expected / largest).abs();
                        assert!(apart.is_finite());
                        worst = worst.max(apart);
                    }
                }
                println!("{name} {rule:?} {image:?}: {worst:.1e}");
                assert!(
                    worst < 1e-5,
                    "{name} {rule:?} {image:?}: {worst:.1e} of a path's largest number"
                );
            }
        }
    }

    #[test]
    fn a_picture_by_itself_has_the_bits_that_it_has_among_others() {
        let seed = rand::random();
        println!("seed {seed}");
        let stream = Stream::new(seed, Purpose::Synthetic, 88);
        let ops = Fast::new(2).expect("two threads");
        let rule = ScatteringRule::parse("1:3:2").expect("a rule");
        for channels in [1, 3] {
            let image = ImageShape {
                height: 6,
                width: 5,
                channels,
            };
            // More than are scattered at a time.
            let (count, pixels) = (521, 30 * channels);
            let pictures: Vec<u8> = (0..count * pixels)
                .map(|at| stream.below(at as u64, 256) as u8)
                .collect();
            let scattering = Scattering::new("--features", rule, image).expect("large enough");
            let all = stepwise(&ops, &scattering, &pictures);
            for i in [0, 511 / channels, 512 / channels, 520] {
                let alone = stepwise(&ops, &scattering, &pictures[i * pixels..][..pixels]);
                assert_eq!(alone, all[i * scattering.outputs..][..scattering.outputs], "{i}");
            }
            let mut on_the_host = vec![f32::NAN; all.len()];
            scattering.transform(&pictures, &mut on_the_host);
            for (a, b) in all.iter().zip(&on_the_host) {
                assert!((a - b).abs() < 1e-5, "{a} and {b}");
            }
        }
    }

    #[test]
    fn pictures_are_enlarged_as_pillow_does() {
        for (rule, image, pictures, expected, _) in golden() {
            let (height, width) = rule.enlarged(image);
            let enlarger = Enlarger::new((image.height, image.width), (height, width));
            let pixels = image.height * image.width * image.channels;
            for (picture, expected) in pictures
                .chunks_exact(pixels)
                .zip(expected.chunks_exact(height * width * image.channels))
            {
                for channel in 0..image.channels {
                    let of_channel = |values: &mut dyn Iterator<Item = f64>| -> Vec<u8> {
                        values
                            .skip(channel)
                            .step_by(image.channels)
                            .map(|v| v as u8)
                            .collect()
                    };
                    let picture = of_channel(&mut picture.iter().map(|&v| f64::from(v)));
                    let (mut between, mut enlarged) = (Vec::new(), Vec::new());
                    enlarger.enlarge(&picture, &mut between, &mut enlarged);
                    assert_eq!(enlarged, of_channel(&mut expected.iter().copied()), "{image:?}");
                }
            }
        }
    }

    #[test]
    fn pictures_without_contrast_have_no_paths_but_their_brightness() {
        let ops = Fast::new(1).expect("a thread");
        let image = ImageShape {
            height: 28,
            width: 28,
            channels: 1,
        };
        let scattering =
            Scattering::new("--features", ScatteringRule::default(), image).expect("large enough");
        for brightness in [0, 1, 128, 255] {
            let mut paths = vec![f32::NAN; scattering.outputs()];
            scattering.transform(&[brightness; 784], &mut paths);
            for paths in [paths, stepwise(&ops, &scattering, &[brightness; 784])] {
                let positions = scattering.plan.positions;
                assert!(paths[positions..].iter().all(|&v| v == 0.0), "{brightness}");
                let mean = if brightness > 0 { 1.0 } else { 0.0 };
                assert!(
                    paths[..positions].iter().all(|v| (v - mean).abs() < 1e-5),
                    "{brightness}"
                );
            }
        }
    }

    #[test]
    fn rules_are_read_as_they_are_written() {
        let rule = |scales, angles, order| ScatteringRule {
            scales,
            angles,
            order,
        };
        for (text, expected) in [
            ("3", rule(3, 8, 2)),
            ("4:16", rule(4, 16, 2)),
            ("1:1:1", rule(1, 1, 1)),
        ] {
            assert_eq!(ScatteringRule::parse(text), Some(expected));
            assert_eq!(ScatteringRule::parse(&expected.describe()), Some(expected));
        }
        for wrong in [
            "", "0", "5", "3:0", "3:17", "3:8:0", "3:8:3", "3:8:2:1", "3:", "-1", "three",
        ] {
            assert_eq!(ScatteringRule::parse(wrong), None, "{wrong}");
        }
        assert_eq!(rule(3, 8, 2).paths(), 217);
        assert_eq!(rule(3, 8, 1).paths(), 25);
        assert_eq!(rule(1, 4, 2).paths(), 5);
    }

    #[test]
    fn pictures_too_small_are_refused_in_one_line() {
        let image = ImageShape {
            height: 7,
            width: 28,
            channels: 1,
        };
        let refused = Scattering::new("--features", ScatteringRule::default(), image).expect_err("7 < 8");
        let message = refused.to_string();
        assert!(
            message.contains("at least 8 x 8") && message.contains("7 x 28"),
            "{message}"
        );
        assert!(!message.contains('\n'));
    }
}

//! The same transform on a backend's device: a step for the wavelets of each scale, applied to the pictures, and to their moduli under
//! the wavelets of each smaller scale.

use rayon::prelude::*;

use super::{ROUNDING, Scattering, ScatteringRule, filters};
use crate::data::raw::Raw;
use crate::error::Result;
use crate::network::to_real;
use crate::ops::{Ops, ScatteringStep, Shape};

/// Pictures, each of one channel, that are scattered at a time: enough to keep a card busy, and few enough for what lies between the
/// steps to stay near it.
const AT_A_TIME: usize = 512;

/// The brightest pixel.
const WHITE: f64 = 255.0;

/// The scattering transform in a backend's memory.
pub struct Steps<O: Ops> {
    scattering: Scattering,
    /// A few pictures of one channel each, enlarged, on the host.
    enlarged: Vec<u8>,
    /// Their way to the device, where others are scattered meanwhile.
    inbox: O::Inbox,
    /// The same, from 0 to 255.
    pictures: O::Matrix,
    /// Of each scale of first wavelets that others follow.
    moduli: Vec<O::Matrix>,
    /// Before they are normalised.
    paths: O::Matrix,
    /// The low-pass filter for each scale, of rows and of columns.
    low_pass: Vec<[O::Matrix; 2]>,
    steps: Vec<Step<O>>,
}

struct Step<O: Ops> {
    rule: ScatteringStep,
    filters: O::Matrix,
    /// The scale of the wavelets that have made the moduli that are filtered; `None`: the pictures are.
    from: Option<usize>,
    /// The scale of these wavelets, if the moduli that they make are filtered again.
    to: Option<usize>,
    /// The coarser grid, as the scale of the wavelets that allow it.
    level: usize,
}

impl<O: Ops> Steps<O> {
    /// What `scattering` does, or `None` where the host does it better.
    pub fn for_device(ops: &O, scattering: &Scattering) -> Result<Option<Self>> {
        let (height, width) = scattering.rule.enlarged(scattering.image);
        let margin = scattering.rule.margin();
        match ops.scatters([height, width].map(|side| side + 2 * margin)) {
            true => Steps::new(ops, scattering).map(Some),
            false => Ok(None),
        }
    }

    /// Makes the filters, uploads them, and allocates room for a few pictures.
    pub(super) fn new(ops: &O, scattering: &Scattering) -> Result<Self> {
        let (rule, image) = (scattering.rule, scattering.image);
        let ScatteringRule {
            scales,
            angles,
            order,
        } = rule;
        let (height, width) = rule.enlarged(image);
        let margin = rule.margin();
        let grid = |level: usize| [height, width].map(|side| (side + 2 * margin) >> level);
        let points = |level: usize| grid(level).iter().product::<usize>();
        let upload = |what: &str, rows: usize, values: &[f64]| {
            let mut matrix = ops.matrix(what, rows, values.len() / rows)?;
            ops.upload(&to_real::<O>(values), &mut matrix, 0)?;
            Ok(matrix)
        };
        let low_pass = |level: usize| {
            let [rows, columns] = grid(0).map(|side| {
                let means = filters::low_pass(side, scales, level);
                upload("the low-pass filter", (side >> scales) - 2, &means)
            });
            Ok([rows?, columns?])
        };

        let wavelets = rule.wavelets((grid(0)[0], grid(0)[1]));
        // Rows by columns, for pictures of a level whose brightest number is `white`: the filters bring it to 1.
        let of_scale = |scale: usize, level: usize, white: f64| {
            let ([rows, columns], [all_rows, all_columns]) = (grid(level), grid(0));
            let (row, column) = (
                filters::lowest(all_rows, rows),
                filters::lowest(all_columns, columns),
            );
            let of_level = wavelets[scale * angles..][..angles].iter().flat_map(|values| {
                let entry = |at: usize| values[column(at % columns) * all_rows + row(at / columns)];
                (0..rows * columns).map(entry)
            });
            // Folding adds up; subsampling in space is the mean. And the inverse transform does not divide.
            let scale = 1.0 / (points(level) as f64 * white);
            let values: Vec<f64> = of_level.map(|value| value * scale).collect();
            upload("the wavelets", angles, &values)
        };
        let first = |scale: usize, first_path: usize| ScatteringStep {
            picture: [height, width],
            margin,
            coarse: grid(scale),
            group: 1,
            first_path,
            path_step: 0,
        };
        // The picture itself is what a filter leaves that is 1 everywhere, and its own modulus, being nowhere negative.
        let whole = vec![1.0 / (points(0) as f64 * WHITE); points(0)];
        let mut steps = vec![Step {
            rule: first(0, 0),
            filters: upload("the wavelets", 1, &whole)?,
            from: None,
            to: None,
            level: 0,
        }];
        let followed = if order > 1 { scales - 1 } else { 0 };
        for scale in 0..scales {
            steps.push(Step {
                rule: first(scale, 1 + scale * angles),
                filters: of_scale(scale, 0, WHITE)?,
                from: None,
                to: (scale < followed).then_some(scale),
                level: scale,
            });
        }
        let mut first_path = 1 + scales * angles;
        for level in 0..followed {
            let larger = scales - level - 1;
            for scale in level + 1..scales {
                steps.push(Step {
                    rule: ScatteringStep {
                        picture: grid(level),
                        margin: 0,
                        coarse: grid(scale),
                        group: angles,
                        first_path: first_path + (scale - level - 1) * angles,
                        path_step: larger * angles,
                    },
                    filters: of_scale(scale, level, 1.0)?,
                    from: Some(level),
                    to: None,
                    level: scale,
                });
            }
            first_path += angles * larger * angles;
        }

        let held = AT_A_TIME.next_multiple_of(image.channels);
        let moduli =
            (0..followed).map(|level| ops.matrix("moduli of pictures", held * angles, points(level)));
        Ok(Steps {
            scattering: scattering.clone(),
            enlarged: Vec::new(),
            inbox: ops.inbox("a few pictures", held * height * width)?,
            pictures: ops.matrix("a few pictures", held, height * width)?,
            moduli: moduli.collect::<Result<_>>()?,
            paths: ops.matrix(
                "paths of a few pictures",
                held,
                scattering.outputs / image.channels,
            )?,
            low_pass: (0..scales).map(low_pass).collect::<Result<_>>()?,
            steps,
        })
    }

    /// As [`Scattering::transform`]; the coefficients become all rows in use of `to`.
    ///
    /// # Panics
    /// If `to` does not use as many rows as there are pictures.
    pub fn transform(&mut self, ops: &O, pictures: &[u8], to: &mut O::Matrix) -> Result<()> {
        let image = self.scattering.image;
        let (channels, pixels) = (image.channels, image.height * image.width * image.channels);
        assert_eq!(pictures.len(), to.rows() * pixels);
        let held = AT_A_TIME.div_ceil(channels);
        for (i, pictures) in pictures.chunks(held * pixels).enumerate() {
            let count = pictures.len() / pixels * channels;
            let (scattering, enlarged) = (&self.scattering, &mut self.enlarged);
            ops.on_host(|| enlarge(scattering, pictures, enlarged));
            self.pictures.set_rows(count);
            ops.widen(Raw::U8(&self.enlarged), &mut self.inbox, &mut self.pictures)?;
            self.paths.set_rows(count);
            for step in &self.steps {
                let low_pass = &self.low_pass[step.level];
                let low_pass = [&low_pass[0], &low_pass[1]];
                let (from, mut moduli) = match (step.from, step.to) {
                    (Some(scale), _) => (&self.moduli[scale], None),
                    (None, Some(scale)) => (&self.pictures, Some(&mut self.moduli[scale])),
                    (None, None) => (&self.pictures, None),
                };
                if let Some(moduli) = &mut moduli {
                    moduli.set_rows(count * step.filters.rows());
                }
                ops.scatter(&step.rule, from, &step.filters, low_pass, moduli, &mut self.paths)?;
            }
            let positions = self.scattering.plan.positions;
            ops.normalize_paths(positions, ROUNDING.into(), &self.paths, to, i * held)?;
        }
        Ok(())
    }
}

/// The channels of pictures, each as one, enlarged.
fn enlarge(scattering: &Scattering, pictures: &[u8], enlarged: &mut Vec<u8>) {
    let image = scattering.image;
    let pixels = image.height * image.width * image.channels;
    let (height, width) = scattering.rule.enlarged(image);
    enlarged.resize(pictures.len() / pixels * image.channels * height * width, 0);
    let of_channel = enlarged.par_chunks_exact_mut(height * width).enumerate();
    of_channel.for_each_init(
        || (Vec::new(), Vec::new(), Vec::new()),
        |(bytes, between, larger), (i, enlarged)| {
            let picture = &pictures[i / image.channels * pixels..][..pixels];
            let channel = picture[i % image.channels..].iter().step_by(image.channels);
            bytes.clear();
            bytes.extend(channel);
            scattering.plan.enlarger.enlarge(bytes, between, larger);
            enlarged.copy_from_slice(larger);
        },
    );
}

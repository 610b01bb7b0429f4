//! How rows of the data are read: as they are, or as the scattering coefficients of the pictures that they are.

use super::{Scattering, Transform};
use crate::data::raw::Raw;
use crate::data::{Dataset, ImageShape};
use crate::eigen::{bytes_of_eigen, bytes_of_leading};
use crate::error::{Error, Result};
use crate::ops::Ops;

/// What rows of the data are before the transforms, on the host or on the device (see [`Loader`](super::Loader)).
#[derive(Clone, Debug, PartialEq)]
pub struct Reader {
    columns: usize,
    scattering: Option<Scattering>,
}

/// Lengths of rows on their way to the network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Widths {
    /// As they come into the backend's memory.
    pub read: usize,
    /// After all transforms.
    pub transformed: usize,
    /// Parameters of the networks that the transforms train, in all.
    pub trained: usize,
    /// Bytes that the largest eigenproblem of their columns takes.
    pub eigenproblem: f64,
}

impl Widths {
    /// Those that `transforms`, which `option` asked for, make of the rows of `data`.
    ///
    /// # Errors
    /// [`Error::Option`] where the rows cannot go through the transforms.
    pub fn of(option: &'static str, transforms: &[Transform], data: &Dataset) -> Result<Self> {
        let read = match transforms.first() {
            Some(Transform::Scatnet(rule)) => {
                let image = pixels(option, data)?;
                let read = rule.outputs(option, image)?;
                if read == image.channels * rule.paths() {
                    return Err(Error::option(
                        option,
                        format!(
                            "scatnet with {} scales leaves one number of each path of a picture of {} x {}, and that divided by \
                             the largest of its path, 1",
                            rule.scales, image.height, image.width
                        ),
                        "choose fewer scales, as in scatnet=1, or other features",
                    ));
                }
                read
            }
            _ => data.cols(),
        };
        let (mut transformed, mut trained, mut eigenproblem) = (read, 0, 0f64);
        for transform in transforms {
            match transform {
                Transform::Pca(dims) if *dims > transformed.min(data.rows()) => {
                    return Err(Error::option(
                        option,
                        format!(
                            "{dims} principal components of {} rows of {transformed} numbers",
                            data.rows()
                        ),
                        format!("ask for at most {}", transformed.min(data.rows())),
                    ));
                }
                Transform::Autoencoder(rule) => trained += rule.parameters(transformed),
                Transform::Pca(dims) => eigenproblem = eigenproblem.max(bytes_of_leading(transformed, *dims)),
                Transform::Whiten(_) => eigenproblem = eigenproblem.max(bytes_of_eigen(transformed)),
                _ => {}
            }
            transformed = transform.outputs(transformed);
        }
        Ok(Widths {
            read,
            transformed,
            trained,
            eigenproblem,
        })
    }
}

/// The shape of the pictures in the data, which must be of bytes.
fn pixels(option: &'static str, data: &Dataset) -> Result<ImageShape> {
    data.image().filter(|_| data.is_pixels()).ok_or_else(|| {
        Error::option(
            option,
            format!("{} does not hold pictures of 8-bit pixels, which scatnet needs", data.name()),
            "give an array of bytes (u8), n x height x width, or n x height x width x channels with 1, 3 or 4 channels (what NumPy's \
             reshape, or transpose(0, 2, 3, 1) where channels come first, makes of others)",
        )
    })
}

impl Reader {
    /// Rows of so many numbers, as they are.
    pub fn plain(columns: usize) -> Self {
        Reader {
            columns,
            scattering: None,
        }
    }

    /// What a chain of transforms, which `option` asked for, begins with on the rows of `data`.
    ///
    /// # Errors
    /// Those of [`Widths::of`].
    pub fn new(option: &'static str, transforms: &[Transform], data: &Dataset) -> Result<Self> {
        Widths::of(option, transforms, data)?;
        match transforms.first() {
            Some(&Transform::Scatnet(rule)) => {
                Ok(Reader::of(Scattering::new(option, rule, pixels(option, data)?)?))
            }
            _ => Ok(Reader::plain(data.cols())),
        }
    }

    /// Pictures, to be scattered.
    pub fn of(scattering: Scattering) -> Self {
        let image = scattering.image();
        Reader {
            columns: image.height * image.width * image.channels,
            scattering: Some(scattering),
        }
    }

    /// Numbers in a row of the data.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Numbers that it becomes.
    pub fn outputs(&self) -> usize {
        self.scattering.as_ref().map_or(self.columns, Scattering::outputs)
    }

    /// What is done to pictures, if that is what rows are.
    pub fn scattering(&self) -> Option<&Scattering> {
        self.scattering.as_ref()
    }

    /// Refuses data whose rows are not like those that this is for.
    pub fn check(&self, data: &Dataset) -> Result<()> {
        if data.cols() != self.columns {
            return Err(Error::Shape {
                what: format!("a row of {}", data.name()),
                found: format!("{} numbers", data.cols()),
                expected: format!("{}, as in training", self.columns),
            });
        }
        let Some(scattering) = &self.scattering else {
            return Ok(());
        };
        let (expected, found) = (scattering.image(), data.image().filter(|_| data.is_pixels()));
        // As many bytes without a shape are taken to be such a picture.
        if found == Some(expected) || data.is_flat_bytes() {
            return Ok(());
        }
        let shape = |image: ImageShape| format!("{} x {} x {}", image.height, image.width, image.channels);
        Err(Error::Shape {
            what: format!("a row of {}", data.name()),
            found: found.map_or("no picture of 8-bit pixels".into(), shape),
            expected: format!("{} 8-bit pixels, as in training", shape(expected)),
        })
    }

    /// The scattering coefficients of rows, whole ones, if that is what they become; else they stay as they are.
    pub fn scattered(&self, ops: &impl Ops, rows: Raw) -> Option<Vec<f32>> {
        let scattering = self.scattering.as_ref()?;
        let mut coefficients = vec![0.0; rows.count() / self.columns * scattering.outputs()];
        ops.on_host(|| scattering.transform(&rows.to_pixels(), &mut coefficients));
        Some(coefficients)
    }
}

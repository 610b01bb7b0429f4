//! Folders in MNIST's layout, and the data set that is built in.

use std::path::{Path, PathBuf};

use super::idx;
use super::matrix::Matrix;
use crate::error::{Error, Result};

/// Matrices that are joined row-wise, and the labels of each.
pub type Parts = (Vec<Matrix>, Option<Vec<Matrix>>);

/// The parts of a folder, in the order in which they are joined.
const PARTS: [&str; 2] = ["train", "t10k"];

/// Names that can be given in place of a path.
pub const BUILT_IN: [&str; 1] = ["mnist-t10k"];

static IMAGES: &[u8] = include_bytes!("builtin/t10k-images-idx3-ubyte.gz");
static LABELS: &[u8] = include_bytes!("builtin/t10k-labels-idx1-ubyte.gz");

/// The 10,000 MNIST test images and labels, from this program itself.
pub fn built_in(name: &str) -> Result<Parts> {
    let images = idx::gunzip(Path::new(name), IMAGES)?;
    let labels = idx::gunzip(Path::new(name), LABELS)?;
    Ok((vec![images], Some(vec![labels])))
}

/// Opens a folder with `train-images-idx3-ubyte`, `train-labels-idx1-ubyte` and the same for `t10k`, each plain or
/// `.gz`; one of the two parts is enough, and labels may be missing from all of them.
pub fn open(folder: &Path) -> Result<Parts> {
    let mut parts: Vec<Matrix> = Vec::new();
    let mut labels: Vec<Matrix> = Vec::new();
    let mut unlabelled: Option<PathBuf> = None;
    for part in PARTS {
        let images = find(folder, &format!("{part}-images-idx3-ubyte"));
        let classes = find(folder, &format!("{part}-labels-idx1-ubyte"));
        let (Some(images), classes) = (images, &classes) else {
            match classes {
                None => continue,
                Some(labels) => {
                    let problem = format!("labels without {part}-images-idx3-ubyte (or .gz) beside them");
                    return Err(Error::file(
                        labels,
                        problem,
                        "add the images, or move the labels away",
                    ));
                }
            }
        };
        let matrix = idx::open(&images)?;
        if let Some(path) = classes {
            let classes = idx::open(path)?;
            if classes.rows() != matrix.rows() {
                let problem = format!("{} labels for {} images", classes.rows(), matrix.rows());
                return Err(Error::file(
                    path,
                    problem,
                    "fetch both files again: they must belong together",
                ));
            }
            labels.push(classes);
        } else {
            unlabelled = Some(images);
        }
        parts.push(matrix);
    }
    if parts.is_empty() {
        let problem = "no MNIST-style files in this folder";
        let advice =
            "it should hold train-images-idx3-ubyte and train-labels-idx1-ubyte, or t10k-..., plain or .gz";
        return Err(Error::file(folder, problem, advice));
    }
    match unlabelled {
        Some(images) if !labels.is_empty() => {
            let advice = "add its labels, or move the other labels away";
            Err(Error::file(
                images,
                "no labels beside these images, unlike the other part",
                advice,
            ))
        }
        Some(_) => Ok((parts, None)),
        None => Ok((parts, Some(labels))),
    }
}

/// The file of that name, or else its gzipped form.
fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    let candidates = [folder.join(name), folder.join(format!("{name}.gz"))];
    candidates.into_iter().find(|path| path.exists())
}
